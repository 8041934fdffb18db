/* The command table and the form in which a command travels in the log.
 *
 * commands/<name>.json is the only source: tools/generate_commands.py makes the table (command_table.c),
 * the ids (command_ids.h), the machine's dispatch table and docs/commands.md from it.
 *
 * An id never changes and is never used again: it stands in logs. */
#pragma once

#include "base/buffer.h"
#include "base/status.h"
#include "command/command_ids.h" /* generated: enum command_id { COMMAND_NONE = 0, COMMAND_GET = …, COMMAND_MAXIMUM } */

/* MAY_REPLICATE: it waits for CLIENT PAUSE WRITE though it writes no key. */
enum command_flag { /* as COMMAND reports them, but for MAY_REPLICATE */
                    COMMAND_WRITE = 1 << 0,
                    COMMAND_READONLY = 1 << 1,
                    COMMAND_DENYOOM = 1 << 2,
                    COMMAND_ADMIN = 1 << 3,
                    COMMAND_NOSCRIPT = 1 << 4,
                    COMMAND_LOADING = 1 << 5,
                    COMMAND_STALE = 1 << 6,
                    COMMAND_FAST = 1 << 7,
                    COMMAND_NO_AUTH = 1 << 8,
                    COMMAND_MAY_REPLICATE = 1 << 9,
                    COMMAND_SKIP_MONITOR = 1 << 10,
                    COMMAND_SKIP_SLOWLOG = 1 << 11,
                    COMMAND_BLOCKING = 1 << 12,
                    COMMAND_PUBSUB = 1 << 13,
                    COMMAND_MOVABLEKEYS = 1 << 14,
                    COMMAND_NO_MULTI = 1 << 15,
                    COMMAND_NO_ASYNC_LOADING = 1 << 16,
                    COMMAND_ALLOW_BUSY = 1 << 17,
                    COMMAND_SENTINEL = 1 << 18,
                    COMMAND_NO_MANDATORY_KEYS = 1 << 19,
};

enum command_place {
    COMMAND_AT_SERVER,  /* about the connection or the node: answered by src/server */
    COMMAND_AT_MACHINE, /* about replicated data: write → through the log, readonly → from the state */
    COMMAND_AT_LOG,     /* stands in log entries only, made and read by the shard: COHORT.ORIGIN */
};

struct command_spec {
    const char *name;  /* lower case: "get"; a subcommand's is "object|encoding" */
    const char *shown; /* upper case, as users type it: "GET", "OBJECT ENCODING" */
    uint16_t id;       /* enum command_id */
    int16_t arity;     /* counts the name(s); negative: at least −arity */
    uint32_t flags;    /* enum command_flag */
    int16_t first_key; /* position in argv of the first key; 0: no keys */
    int16_t last_key;  /* negative: counted from the end, −1 is the last argument */
    int16_t key_step;
    uint8_t key_count; /* position of the argument that says how many keys there are (last_key means nothing); or 0 */
    uint8_t place;     /* enum command_place */
    uint8_t words;     /* 1, or 2 for a subcommand: words of the name in argv */
    bool internal;     /* from node to node: found by its id alone */
    bool locks;        /* its keys are names of locks */
    bool varies;       /* replicas that execute it may reply differently: by order, or by what each knows alone */
    const struct command_spec *subcommands; /* of a container command; else NULL */
    uint16_t subcommand_count;
    const struct command_docs *docs; /* for COMMAND DOCS; see command_docs.h */
};

/* A command with its arguments. argv[0] (and argv[1] of a subcommand) is the name, so that positions are those of
 * Redis's documentation. All slices are borrowed. */
struct command {
    const struct command_spec *spec;
    const struct slice *argv;
    uint32_t argc;
    uint8_t protocol; /* RESP2 or RESP3: how the reply is to be written */
    bool by_name;     /* an EVAL or EVAL_RO that its client called by name: for those who look at what runs */
};

/* Room for decoded arguments, used again and again. */
struct command_arguments {
    struct slice *items;
    size_t capacity;
};

void command_arguments_init(struct command_arguments *arguments);
void command_arguments_deinit(struct command_arguments *arguments);
/* Makes room for `count` slices. */
void command_arguments_reserve(struct command_arguments *arguments, size_t count);

/* The top-level commands in order of name. */
const struct command_spec *command_table(size_t *ret_count);

enum command_lookup {
    COMMAND_FOUND,
    COMMAND_UNKNOWN,            /* no command of that name */
    COMMAND_UNKNOWN_SUBCOMMAND, /* container known, subcommand not; *ret_spec is the container */
    COMMAND_WRONG_ARITY,        /* *ret_spec is the command whose arity is not met */
};

/* Finds the command for argv, case-insensitively, subcommands resolved, arity checked; argc > 0.
 * A container command with no subcommand given (arity satisfied by none) answers COMMAND_WRONG_ARITY. */
enum command_lookup command_lookup(const struct slice *argv, uint32_t argc, const struct command_spec **ret_spec);

/* The spec with this id, or NULL; internal ones too. */
const struct command_spec *command_by_id(uint16_t id);

const struct command_spec *command_called_by_name(const struct command *command);
/* What its client called it: EVALSHA of an EVAL by name. */
static inline const struct command_spec *command_called(const struct command *command)
{
    return __builtin_expect(command->by_name, 0) ? command_called_by_name(command) : command->spec;
}

/* It may execute scripts, itself or inside. */
static inline bool command_may_script(const struct command_spec *spec)
{
    return spec->key_count != 0 || spec->id == COMMAND_EXEC || spec->id == COMMAND_LOCK_GUARD;
}

/* True when argc satisfies the arity. */
bool command_arity_ok(const struct command_spec *spec, uint32_t argc);

/* Positions of keys in argv: calls back in order. False when the arguments name no valid set of keys: the arity is not
 * met, they say another number than there is room for, or the command takes none. */
bool command_keys(const struct command_spec *spec, const struct slice *argv, uint32_t argc,
                  void (*key)(void *owner, uint32_t position), void *owner);

/* ---- the form in the log ----
 * id u16 LE · flags u8 (bit 0: RESP3; bit 1, of EVAL and EVAL_RO alone: by_name) · argument count varint · for each
 * argument after the name: size varint, bytes. The words of the name are neither counted nor stored. Only commands at
 * the machine, and at the log, are written.
 *
 * EXEC carries the transaction: argv = EXEC, n, n times (watched key, its version as seen), then one argument for each
 * queued command, which holds that command in this same form; neither EXEC itself nor internal commands are queued. */

/* Appends the encoded command. */
void command_encode(struct buffer *out, const struct command *command);

/* Takes one command from the front of *from; slices point into it and into the table. STATUS_CORRUPT on anything
 * that command_encode cannot have made (arity, place and the inner commands of an EXEC are checked too);
 * STATUS_VERSION on an id this binary does not know. */
MUST_USE enum status command_decode(struct slice *from, struct command_arguments *arguments,
                                    struct command *ret_command);
/* The same for bytes from the log, where commands at the log may stand; to command_decode they are CORRUPT. */
MUST_USE enum status command_decode_logged(struct slice *from, struct command_arguments *arguments,
                                           struct command *ret_command);

/* The parts of an EXEC in the form of the log; borrowed from its argv. */
struct command_exec {
    const struct slice *watches; /* 2 × watch_count: key, version in decimal (number_parse_int64 takes it) */
    uint32_t watch_count;
    const struct slice *queued; /* encoded commands */
    uint32_t queued_count;
};

/* False when argv has not the shape above; the inner commands are not looked into. */
bool command_exec_parts(const struct command *command, struct command_exec *ret_exec);

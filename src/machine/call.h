/* One command on its way through the machine: what a handler gets, and the few words all handlers share.
 *
 * A handler is `void NAME(struct call *call)`. It checks its arguments in the order Redis does, writes exactly one
 * reply, and ends every change with call_changed or keyspace_remove: there and only there a watcher of the key may
 * see its version move. The command's arity has been checked before.
 *
 * Invariants
 * 1. A handler of a read-only command uses call_find and call_look, never call_edit.
 * 2. Nothing in a reply decides what is changed, and no change depends on call->prng: replicas that discard replies
 *    and draw other numbers stay equal. */
#pragma once

#include "base/number.h"
#include "base/prng.h"
#include "command/command.h"
#include "machine/events.h"
#include "machine/keys/keyspace.h"
#include "wire/resp_writer.h"

/* A reply may be larger than what is read, when the same key is asked for many times: past this it is refused. */
enum { CALL_REPLY_BYTES = 1 << 30 };

/* As Redis's proto-max-bulk-len: no string grows beyond. */
enum { CALL_STRING_BYTES = 512 << 20 };

struct feed_log;
struct locks;
struct meets;
struct origins;
struct services;
struct sessions;
struct ties;
struct txns;
struct machine_scripts;
struct scripts_spent;

struct call {
    struct keyspace *keyspace;
    const struct origins *origins;
    struct txns *txns;
    struct feed_log *history;
    struct locks *locks;
    struct sessions *sessions;
    struct ties *ties;
    struct meets *meets;
    struct services *services;
    const struct machine_scripts *scripts; /* NULL: none are executed */
    struct scripts_spent *spent;           /* by scripts of this command so far */
    struct machine_events *events;         /* what happens is told there; NULL: nobody listens */
    struct keyspace_time time;
    int64_t ahead_ms, ahead_wall_ms; /* of `time`'s present: machine_context's; 0 but in reads */
    uint64_t position;               /* becomes the version of what is changed; 0 in reads */
    uint64_t applied_position;       /* of the last apply, this one included */
    uint64_t term;                   /* of the entry */
    const struct command_spec *spec;
    const struct slice *argv; /* positions as in Redis's documentation; argv[0] is the name */
    uint32_t argc;
    struct resp_writer reply;
    size_t reply_start;               /* where in the reply's buffer this command's reply begins */
    size_t reply_base;                /* the same, of the EXEC around it */
    struct prng *prng;                /* for random picks in replies */
    struct command_arguments *queued; /* room for the commands inside an EXEC */
    bool must_log;                    /* a read met a key that is due by the present but not by the applied time */
    uint32_t hits, misses;            /* look-ups of reads, for the figures */
};

/* ---- keys ---- */

/* The live entry, or NULL. Counts nothing. */
static inline const struct entry *call_look(struct call *call, struct slice key)
{
    return keyspace_find(call->keyspace, &call->time, key, &call->must_log);
}

/* Tells those who listen; after the change. */
static inline void call_notify(struct call *call, uint16_t class, const char *name, struct slice key)
{
    machine_events_note(call->events, class, name, key);
}

/* The same for a read that counts as hit or miss. */
static inline const struct entry *call_find(struct call *call, struct slice key)
{
    const struct entry *entry = call_look(call, key);
    if (entry != NULL) {
        call->hits++;
    } else {
        call->misses++;
        call_notify(call, EVENT_MISSED, "keymiss", key);
    }
    return entry;
}

/* The live entry for a change, or NULL. */
static inline struct entry *call_edit(struct call *call, struct slice key)
{
    return keyspace_edit(call->keyspace, &call->time, key);
}

static inline void call_changed(struct call *call, struct entry *entry)
{
    keyspace_changed(call->keyspace, entry, call->position);
}

/* The same when only its expiry did. */
static inline void call_due_changed(struct call *call, struct entry *entry)
{
    keyspace_due_changed(call->keyspace, entry, call->position);
}

static inline void call_remove(struct call *call, struct entry *entry)
{
    keyspace_remove(call->keyspace, entry, call->position);
}

/* True when the entry is of this type; else the reply is WRONGTYPE. */
bool call_has_type(struct call *call, const struct entry *entry, enum entry_type type);

/* For entries that are met by walking, not found by key: walk at the applied time, and ask of each entry that counts
 * whether it is due by the present one; true when it is, and the read must then be logged. */
struct keyspace_time call_applied_time(const struct call *call);
bool call_meets_due(struct call *call, const struct entry *entry);

/* ---- arguments ---- */

/* The argument as an int64; else the reply is Redis's error. */
bool call_integer(struct call *call, struct slice text, int64_t *ret_value);
bool call_long_double(struct call *call, struct slice text, long double *ret_value);
/* Of FLUSHALL and FLUSHDB: nothing, SYNC or ASYNC, which are the same here; else the reply is Redis's error. */
bool call_flush_asked(struct call *call);

/* ---- replies ---- */

void call_syntax_error(struct call *call);
/* "wrong number of arguments for '…' command" */
void call_arity_error(struct call *call);
/* "invalid expire time in '…' command" */
void call_expire_error(struct call *call);
/* "ERR <text><what>", where `what` came from the user: it ends at a NUL, its line ends are removed. */
void call_error_about(struct call *call, const char *text, struct slice what);

static inline void call_ok(struct call *call) { resp_raw(&call->reply, SLICE_LITERAL("+OK\r\n")); }

/* The string of an entry as a bulk. */
static inline void call_bulk_entry(struct call *call, const struct entry *entry)
{
    char digits[NUMBER_INT64_BYTES];
    resp_bulk(&call->reply, entry_string(entry, digits));
}

/* An array whose length is known only at its end: write the elements between the two calls. */
size_t call_array_begin(struct call *call);
void call_array_end(struct call *call, size_t begin, size_t count);
/* The same, as the second of two elements: the first is the cursor. */
void call_cursor_end(struct call *call, size_t begin, size_t count, uint64_t cursor);
/* Puts bytes of RESP in front of what was written since call_array_begin. */
void call_insert(struct call *call, size_t begin, struct slice bytes);

/* False when the reply has grown past CALL_REPLY_BYTES: this command's part of it has then been replaced by an error,
 * and the handler returns. */
bool call_reply_fits(struct call *call);

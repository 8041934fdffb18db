/* What COMMAND INFO, COMMAND DOCS and HELP tell beyond struct command_spec; the data is generated (command_docs.c).
 *
 * Lists of words are NULL when empty and end with NULL. Everything is static. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct command_argument {
    const char *name;
    const char *type;       /* "string", "integer", "key", "oneof", … as COMMAND DOCS names them */
    const char *token;      /* the word before it, or the word itself of a pure-token; NULL: none */
    const char *since;      /* NULL: as old as the command */
    const char *deprecated; /* since when; NULL: not */
    int key;                /* index of its key specification, or -1 */
    const char *const *flags;
    const struct command_argument *arguments; /* of a oneof or block */
    size_t argument_count;
};

/* Where keys stand: from argv[first] to `last` (relative to first; negative: counted from the end) by `step`; or as
 * many as argv[count] says, when that is not 0. */
struct command_key_spec {
    const char *const *flags; /* "RW", "access", … */
    int first, last, step, limit, count;
    const char *notes; /* or NULL */
};

struct command_docs {
    const char *group;
    const char *since;
    const char *summary;
    const char *complexity;
    const char *syntax;     /* the arguments as one line */
    const char *deprecated; /* since when; NULL: not */
    const char *replaced_by;
    bool system_command; /* a tool for developers */
    const char *const *flags;
    const char *const *categories; /* without '@' */
    const char *const *hints;
    const struct command_key_spec *keys;
    size_t key_count;
    const struct command_argument *arguments;
    size_t argument_count;
};

extern const struct command_docs command_docs_by_id[];

/* What the subcommands of `cohort` share: the table's row, options, errors.
 *
 * Exit codes are those of <sysexits.h>. Results go to stdout; errors, progress and hints to stderr. */
#pragma once

#include "base/slice.h"

#include <sysexits.h>

struct cli_command {
    const char *name;      /* "bench" */
    const char *arguments; /* for the usage line, after the options: "[URL]"; "" when there are none */
    int arguments_maximum; /* positional ones */
    const char *summary;   /* one line without a full stop, lower case */
    const char *details;   /* paragraphs for --help, lines of at most 79 columns; may be NULL */
    const char *examples;  /* lines with two spaces in front */
    /* argv starts after the command's name. Returns the exit code. */
    int (*run)(const struct cli_command *command, int argc, char **argv);
};

enum cli_option_kind {
    CLI_FLAG,     /* bool * */
    CLI_TEXT,     /* const char ** */
    CLI_NUMBER,   /* int64_t * */
    CLI_DURATION, /* int64_t *, milliseconds */
    CLI_SIZE,     /* int64_t *, bytes */
    CLI_EACH, /* struct cli_each *, told of each as it comes: one may be given several times, and their order counts */
};

struct cli_each {
    /* CLI_CONTINUE, or the exit code after an error that it has told. */
    int (*take)(const struct cli_command *command, void *data, const char *text);
    void *data;
};

struct cli_option {
    const char *name; /* without the dashes */
    enum cli_option_kind kind;
    void *value;             /* by kind; holds the default before parsing */
    const char *placeholder; /* "N", "DURATION"; NULL for a flag */
    const char *help;        /* one line, with the default */
    int64_t minimum;         /* of a number, a duration, a size */
    int64_t maximum;         /* 0: no maximum */
};

enum { CLI_ARGUMENTS_MAXIMUM = 16 };

struct cli_arguments {
    const char *items[CLI_ARGUMENTS_MAXIMUM]; /* positional, in order */
    int count;
    char **rest; /* what follows "--"; NULL when there is no "--" */
    int rest_count;
};

enum { CLI_CONTINUE = -1 };

/* Parses "--name value", "--name=value", "--flag", positional arguments and "--". Options end with an entry whose name
 * is NULL. Returns CLI_CONTINUE, or the exit code: EX_OK after --help, EX_USAGE after an error that it has reported. */
int cli_parse(const struct cli_command *command, const struct cli_option *options, int argc, char **argv,
              struct cli_arguments *ret_arguments);

/* "cohort bench: …" and a newline on stderr; returns exit_code. */
__attribute__((format(printf, 3, 4))) int cli_error(const struct cli_command *command, int exit_code,
                                                    const char *format, ...);

/* Hints how to get help, after a usage error; returns EX_USAGE. */
int cli_usage_hint(const struct cli_command *command);

/* The candidate that `word` was probably meant to be, or NULL. `names` ends with NULL. */
const char *cli_suggest(const char *word, const char *const *names);

extern const struct cli_command cli_serve;
extern const struct cli_command cli_dev;
extern const struct cli_command cli_balance;
extern const struct cli_command cli_bench;
extern const struct cli_command cli_status;
extern const struct cli_command cli_node;
extern const struct cli_command cli_lock;
extern const struct cli_command cli_elect;
extern const struct cli_command cli_txn;
extern const struct cli_command cli_service;
extern const struct cli_command cli_sim;
extern const struct cli_command cli_check;

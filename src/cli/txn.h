/* The actions of `cohort txn`. */
#pragma once

#include "cli/cli.h"

enum {
    TXN_ROLLED_BACK = 1,       /* nothing was done anywhere */
    TXN_LATER = EX_TEMPFAIL,   /* decided, or to be; not done everywhere yet */
    TXN_UNKNOWN = EX_PROTOCOL, /* nobody could say yet */
    TXN_PERSON = EX_DATAERR,   /* what only a person can decide */
};

extern const struct cli_command cli_txn_run;
extern const struct cli_command cli_txn_list;
extern const struct cli_command cli_txn_status;
extern const struct cli_command cli_txn_resolve;

/* NAME=URL, taken apart: `ret_label` is a copy, the URL borrowed. CLI_CONTINUE, or the exit code. */
enum { TXN_LABEL_BYTES = 32 };
int txn_take_participant(const struct cli_command *command, const char *option, const char *text,
                         char ret_label[static TXN_LABEL_BYTES], const char **ret_url);

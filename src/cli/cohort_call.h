/* What the subcommands that stand on libcohort share: opening, exit codes, words, and replies as JSON. */
#pragma once

#include "cli/cli.h"

#include <cohort/cohort.h>
#include <jansson.h>

/* CLI_CONTINUE, or the exit code after an error that it has told. NULL: the default URL. */
int cohort_call_open(const struct cli_command *command, const char *url, struct cohort **ret_cohort);

/* The same when it says that only one process may use this URL at a time, for those who share something by it. */
int cohort_call_shared(const struct cli_command *command, const char *url);

/* The exit code for a call that failed. */
int cohort_call_code(enum cohort_status status);

/* What went wrong, fit for a terminal: the reply's words, else the status's. */
void cohort_call_problem(enum cohort_status status, const struct cohort_reply *reply, char *ret_text, size_t capacity);

/* Tells of a call that failed; returns the exit code. */
int cohort_call_failed(const struct cli_command *command, enum cohort_status status, const struct cohort_reply *reply);

/* Maps become objects, nil becomes null; strings that are not UTF-8 are escaped (base/printable.h). */
json_t *cohort_call_json(const struct cohort_reply *reply);

/* On standard output; takes the value over. */
void cohort_call_print_json(json_t *json);

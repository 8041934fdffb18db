/* Holding a lock, or an office, while a command runs: the loop of `cohort lock run` and `cohort elect run`, on
 * libcohort and a guardian.
 *
 *    asking ──granted──▶ running ──the guardian has ended──▶ releasing ──▶ over
 *       └──not granted, or a signal──▶ over (what a signal finds asked for is waited for, and given back)
 *
 * Signals that end, stop or continue the holder go on to the command and all that it has started, but for those of the
 * terminal, which it gets itself. A holder that is stopped renews nothing, so its command is ended when the lease is.
 */
#pragma once

#include "cli/cli.h"

#include <cohort/cohort.h>

enum {
    HOLD_NOT_GRANTED = EX_TEMPFAIL, /* as flock(1) with -E */
    HOLD_LOST = EX_PROTOCOL,        /* the command was ended, or may have overlapped with another's */
};

/* Of the options. */
enum {
    HOLD_TTL_MINIMUM_MS = 1000, /* less leaves no room for a renewal, and then SIGTERM and SIGKILL, on a busy machine */
    HOLD_TTL_MAXIMUM_MS = 24 * 3600 * 1000,
    HOLD_TTL_MS = 10000, /* the default */
};
#define HOLD_WAIT_MAXIMUM_MS ((int64_t)365 * 24 * 3600 * 1000) /* the server's */

struct hold_options {
    const char *url; /* NULL: the default */
    const char *name;
    bool is_office;
    const char *note;  /* of a lock; "": none */
    const char *value; /* of an office; NULL: none */
    char *const *argv;
    int64_t ttl_ms;
    int64_t wait_ms; /* negative: `wait_default_ms`, and only for what others have */
    int64_t wait_default_ms;
    int64_t grace_ms; /* negative: a part of the time to live */
    enum cohort_lock_mode mode;
    uint32_t permits;
    uint32_t limit;
};

/* Takes NAME, and the command behind --, and looks at what of the times belongs together. CLI_CONTINUE, or the exit
 * code.
 */
int hold_take_words(const struct cli_command *command, const struct cli_arguments *arguments,
                    struct hold_options *options);

/* The exit code. What went wrong is told on standard error. */
int hold_run(const struct cli_command *command, const struct hold_options *options);

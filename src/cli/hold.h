/* Holding a lock while a command runs: the loop of `cohort lock run`, on libcohort and a guardian.
 *
 *    asking ──granted──▶ running ──the guardian has ended──▶ releasing ──▶ over
 *       └──not granted, or a signal──▶ over
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

struct hold_options {
    const char *url; /* NULL: the default */
    const char *name;
    const char *note;
    char *const *argv;
    int64_t ttl_ms;
    int64_t wait_ms;
    int64_t grace_ms;
    enum cohort_lock_mode mode;
    uint32_t permits;
    uint32_t limit;
};

/* The exit code. What went wrong is told on standard error. */
int hold_run(const struct cli_command *command, const struct hold_options *options);

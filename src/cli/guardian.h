/* A guardian: the process between the holder of a lease and the command that runs under it, which ends the command and
 * all that it has started before the lease is over, whatever becomes of the holder.
 *
 *    holder ──socket, shared page──▶ guardian ──parent of──▶ command ──▶ its own processes
 *
 *    running ──SIGTERM: valid_until − margin − grace; the lease is lost; the command has ended──▶ ending
 *    running, ending ──SIGKILL: valid_until − margin; the grace is over; the holder is gone──▶ killing
 *    any of them ──nobody is left──▶ over
 *
 * Invariants
 * 1. Nothing below the guardian runs later than `margin` before the end of the lease, by CLOCK_BOOTTIME; the holder may
 *    be stopped, stuck or dead. (After the machine itself slept, it is a moment later.)
 * 2. The guardian is a subreaper, so orphans stay below it; it ends when nothing is below it any more, and not before.
 * 3. Killed itself, the kernel kills the command (PR_SET_PDEATHSIG), and the holder, a subreaper too, ends the rest.
 * 4. Stopped, or stuck, it is killed by the holder half a margin after it should have ended all, with what 3 says.
 * 5. It stands in a group of its own, in the same session: what is sent to the holder's group does not reach it, and
 *    the command, which is in the holder's group, has job control as if the holder had been exec'd away. */
#pragma once

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Written by one side, read by the other, in a page that both have. */
struct guardian_page {
    _Atomic int64_t valid_until_ns; /* the holder's word, CLOCK_BOOTTIME */
    atomic_bool is_late;            /* the lease was not extended in time */
    atomic_bool has_ended;          /* the command, with: */
    atomic_int status;              /* as of waitpid */
    atomic_int exec_errno;          /* 0, or why it did not become the command */
    atomic_int refused_pid;         /* that may not be signalled; 0: none */
};

struct guardian {
    pid_t pid;
    int channel; /* readable: it is over */
    struct guardian_page *page;
    int64_t margin_ns;
    int64_t lost_ns; /* when the lease was lost; INT64_MAX: it was not */
    bool was_stuck;
};

struct guardian_options {
    char *const *argv;      /* of the command; found by PATH, with the holder's environment */
    const sigset_t *mask;   /* of signals, for the command */
    int64_t valid_until_ns; /* CLOCK_BOOTTIME */
    int64_t grace_ms;       /* between SIGTERM and SIGKILL */
    int64_t margin_ms;      /* between SIGKILL and the end of the lease */
};

enum { GUARDIAN_LOST_MS = 250 /* the grace when the lease is another's already */ };

struct guardian_end {
    int code;        /* what a shell says of the command: its exit status, 128 + n for signal n, 126, 127 */
    int exec_errno;  /* it could not be run */
    int refused_pid; /* goes on, as another user; 0: none */
    bool is_late;    /* it was ended because the lease was not extended in time */
    bool was_killed; /* the guardian itself */
};

/* The holder has no other child processes. False with errno. */
bool guardian_start(struct guardian *guardian, const struct guardian_options *options);

/* The lease is longer now. */
void guardian_extend(struct guardian *guardian, int64_t valid_until_ns);

/* Sends a signal to the command and all that it has started. */
void guardian_signal(struct guardian *guardian, int signal_number);

/* The lease is over before its time: SIGTERM now, SIGKILL in GUARDIAN_LOST_MS at the latest. */
void guardian_lost(struct guardian *guardian);

/* How long it may be waited for: in so many ms guardian_watch has something to do, and so when the lease was extended
 * or lost. */
int guardian_patience_ms(const struct guardian *guardian);

/* Ends the guardian, and with it the command, when it should have ended all by now and has not. */
void guardian_watch(struct guardian *guardian);

/* Waits for the end, which comes by itself; frees what belongs to it. */
struct guardian_end guardian_finish(struct guardian *guardian);

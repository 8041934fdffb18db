/* A resource: a participant of a transaction that is not Cohort's own (a database, a service).
 *
 *      idle ──begin──▶ working ──prepare──▶ PREPARED ──finish(commit)──▶ committed
 *                         │   │                 └──────finish(abort)───▶ aborted
 *                         │   └──refused, or the connection is lost──▶ aborted
 *                         └──roll_back──▶ aborted
 *
 * Who did the work prepares it: only its connection can. From then on anybody may finish it by its name, over any
 * connection, and nobody may who does not know what home decided.
 *
 * Invariants
 * 1. RESOURCE_REFUSED and RESOURCE_DOWN say surely that nothing was done, and of `prepare` that nothing will be.
 * 2. No outcome is guessed. A branch that is not found is RESOURCE_UNKNOWN until something proves what became of it:
 * the evidence that came with its vote.
 * 3. `list` tells every branch that is prepared here under a name of Cohort's; names are parsed by the caller, which
 *    touches its own alone.
 * 4. Every call ends by `deadline_ns`.
 * 5. Finishing is idempotent: a branch may be finished by several at once, each of whom knows the decision. */
#pragma once

#include "base/status.h"
#include "resource/resource_name.h"

enum {
    RESOURCE_PROBLEM_BYTES = 400,
    RESOURCE_EVIDENCE_BYTES = 65, /* with the NUL; printable */
    RESOURCE_OWNER_BYTES = 128,
    RESOURCE_LISTED_MAXIMUM = 10000, /* branches of one look */
};

enum resource_code {
    RESOURCE_OK,
    RESOURCE_REFUSED, /* the other side said no, in words */
    RESOURCE_DOWN,    /* it was not reached, or does not answer: nothing was done */
    RESOURCE_UNKNOWN, /* it may have been done */
};

struct resource;

struct resource_branch {
    struct slice name;
    int64_t age_ms;                         /* −1: the other side does not say */
    const char *owner;                      /* who prepared it; "": not said */
    char evidence[RESOURCE_EVIDENCE_BYTES]; /* "": none */
};

/* Called for each branch; what it points to is gone when it returns. */
typedef void (*resource_listed)(void *data, const struct resource_branch *branch);

struct resource_ops {
    const char *scheme;

    /* Connects to nothing yet. STATUS_INVALID, STATUS_NOMEM with words. `url` is the caller's, and stays. */
    enum status (*open)(const char *url, struct resource **ret_resource,
                        char ret_problem[static RESOURCE_PROBLEM_BYTES]);
    void (*close)(struct resource *resource);

    /* The work on the branch of this name, which is the caller's and stays. What the other side lacks for a transaction
     * is said at `begin`; a statement that would end the block by itself is refused before it is sent. After a failure
     * only roll_back. */
    enum resource_code (*begin)(struct resource *resource, const char *name,
                                char ret_evidence[static RESOURCE_EVIDENCE_BYTES]);
    enum resource_code (*run)(struct resource *resource, const char *statement, int64_t *ret_changed);
    void (*roll_back)(struct resource *resource);

    /* The vote. OK: prepared, on its disk. */
    enum resource_code (*prepare)(struct resource *resource);

    /* By anybody. `finish`: OK when it is done, or was; REFUSED when the other side proves the opposite. */
    enum resource_code (*finish)(struct resource *resource, const char *name, const char *evidence, bool commits);
    enum resource_code (*list)(struct resource *resource, resource_listed listed, void *data);

    /* An abort is told also of a branch that nobody has seen there, so that it is refused should it come. */
    bool cancels_unseen;
};

/* What all resources begin with. */
struct resource {
    const struct resource_ops *ops;
    int64_t deadline_ns; /* of the next calls, CLOCK_MONOTONIC */
    char problem[RESOURCE_PROBLEM_BYTES];
};

__attribute__((format(printf, 3, 4))) enum resource_code
resource_problem(struct resource *resource, enum resource_code code, const char *format, ...);

/* The resource of a URL; STATUS_UNSUPPORTED: its module cannot be had. The URL's text is used as long as it is open. */
MUST_USE enum status resource_open(const char *url, struct resource **ret_resource,
                                   char ret_problem[static RESOURCE_PROBLEM_BYTES]);
void resource_close(struct resource *resource); /* NULL is fine */

/* CLOCK_MONOTONIC. */
int64_t resource_clock_ns(void);
/* Sleeps so long, or until the deadline. False: that has come. */
bool resource_pause(const struct resource *resource, int64_t pause_ms);

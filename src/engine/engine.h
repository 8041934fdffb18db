/* An engine: locks in a store that people have already (files, a database), as libcohort's calls want them.
 *
 * What libcohort sends are commands (LOCK.ACQUIRE …), and what it takes are replies. So an engine is a small server
 * within the process: a thread (host.h) that reads commands from one end of a socket pair and executes them here, one
 * after the other. Deadlines, callbacks, keepers, cancelling: all of that is libcohort's own, and the same for every
 * engine.
 *
 * Invariants
 * 1. All calls of an engine but `open` come from the host's thread, one at a time. They may block until `deadline_ns`.
 * 2. A code other than ENGINE_UNCERTAIN says surely what was done: what is ENGINE_DOWN, ENGINE_BUSY or ENGINE_REFUSED
 * changed nothing.
 * 3. `acquire` never waits: ENGINE_WAITS, and it is called again after `again_ms`, or when the engine has heard
 * something, with what is left of the wait.
 * 4. What an engine cannot do is not in `can`, and is refused by the host in words. */
#pragma once

#include "client/connector.h"
#include "engine/engine_url.h"
#include "engine/lock_state.h"

enum { ENGINE_PROBLEM_BYTES = 1280 };

enum engine_code {
    ENGINE_OK,
    ENGINE_NOT,       /* not granted; not held; there is none */
    ENGINE_WAITS,     /* acquire: it is in the queue */
    ENGINE_DOWN,      /* the store does not answer: not executed */
    ENGINE_BUSY,      /* a limit, or somebody else at the store: not executed */
    ENGINE_UNCERTAIN, /* it may have been executed */
    ENGINE_REFUSED,   /* `problem` begins with the error's code */
};

struct engine;

/* Called for each lock that is held. */
typedef void (*engine_listed)(void *data, struct slice key);

struct engine_ops {
    const char *scheme;
    unsigned can; /* COHORT_CAN_… */

    /* Makes an engine; what the store lacks is said at the first command. On failure `problem` has words. */
    enum status (*open)(const struct engine_url *url, struct engine **ret_engine,
                        char ret_problem[static ENGINE_PROBLEM_BYTES]);
    void (*close)(struct engine *engine);

    /* An engine that is a server itself has these, from `connect` on nothing else, and no host: libcohort speaks with
     * it over descriptors that it makes (struct client_connector says how). NULL for all others. */
    enum status (*connect)(struct engine *engine, int *ret_fd);
    void (*explain)(struct engine *engine, char ret_why[static CLIENT_WHY_BYTES]);

    /* A descriptor that is readable when something has changed; −1: none. `heard` reads it. Both may be NULL. */
    int (*fd)(const struct engine *engine);
    void (*heard)(struct engine *engine);

    enum engine_code (*acquire)(struct engine *engine, const struct lock_wanted *wanted,
                                struct lock_granted *ret_granted);
    enum engine_code (*renew)(struct engine *engine, struct slice key, struct slice owner, uint64_t token,
                              int64_t ttl_ms, int64_t *ret_left_ms);
    enum engine_code (*release)(struct engine *engine, struct slice key, struct slice owner, uint64_t token);
    /* Who waited does so no longer. */
    enum engine_code (*leave)(struct engine *engine, struct slice key, struct slice owner);
    /* Fills an initialised state, of which what is over has been ended. */
    enum engine_code (*look)(struct engine *engine, struct slice key, struct lock_state *ret_state,
                             int64_t *ret_now_ms);
    /* ENGINE_OK: no newer token has been seen, or this one holds the lock. */
    enum engine_code (*fence)(struct engine *engine, struct slice key, uint64_t token);
    enum engine_code (*list)(struct engine *engine, engine_listed listed, void *data);
};

/* What all engines begin with. */
struct engine {
    const struct engine_ops *ops;
    int64_t deadline_ns; /* of the command that is being executed, CLOCK_MONOTONIC */
    char problem[ENGINE_PROBLEM_BYTES];
};

__attribute__((format(printf, 3, 4))) enum engine_code engine_problem(struct engine *engine, enum engine_code code,
                                                                      const char *format, ...);

/* CLOCK_MONOTONIC. */
int64_t engine_clock_ns(void);

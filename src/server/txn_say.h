/* The commands of transactions that shards are asked (src/machine/txn/README.md has their forms), made of a plan. Each
 * is borrowed from `arguments` and from the plan until the next one is made. */
#pragma once

#include "machine/txn/prepare.h"
#include "server/txn_plan.h"

struct say_attempt {
    struct slice id;
    uint32_t home;
    uint64_t epoch;
    enum txn_protocol protocol;
    int64_t timeout_ms;         /* OPEN's */
    int64_t kept_ms;            /* OPEN's, of a client's id; 0: it is ours */
    struct txn_runner runner;   /* PREPARE's, of a client's id; 0: the id tells it */
    enum txn_prepare_mode mode; /* PREPARE's; HOLD: before anything is read */
    uint64_t begun;             /* LAST's: where home noted TXN.BEGIN; 0: there was none */
};

struct say_arguments {
    struct command_arguments arguments;
    uint32_t argc;
    struct buffer text, values;
};

void say_arguments_init(struct say_arguments *arguments);
void say_arguments_deinit(struct say_arguments *arguments);

/* To home. OPEN with no parts takes the id alone. `votes`: of each part. */
struct command txn_say_open(struct say_arguments *arguments, const struct say_attempt *attempt,
                            const struct txn_plan *plan);
struct command txn_say_commit(struct say_arguments *arguments, const struct say_attempt *attempt,
                              const struct txn_plan *plan, const uint64_t *votes);
/* The own part of home, if it has one, goes with it; `votes` of the others. */
struct command txn_say_last(struct say_arguments *arguments, const struct say_attempt *attempt,
                            const struct txn_plan *plan, const uint64_t *votes);
/* Home is asked what was decided, and aborts what is not OPEN yet; `replies`: and what it has replied to LAST. */
struct command txn_say_resolve(struct say_arguments *arguments, const struct say_attempt *attempt, bool replies);
struct command txn_say_abort(struct say_arguments *arguments, const struct say_attempt *attempt, const char *reason);

/* To a part's shard. */
struct command txn_say_prepare(struct say_arguments *arguments, const struct say_attempt *attempt,
                               const struct txn_plan *plan, uint32_t at);
/* It is aborted, by who alone would have said LAST. */
struct command txn_say_drop(struct say_arguments *arguments, const struct say_attempt *attempt);
struct command txn_say_read(struct say_arguments *arguments, const struct txn_plan *plan, uint32_t part);
struct command txn_say_dump(struct say_arguments *arguments, const struct txn_plan *plan, uint32_t part);
/* To PRECOMMIT or PREABORT; and how it stands: one that has not voted refuses to, from now on. */
struct command txn_say_move(struct say_arguments *arguments, const struct say_attempt *attempt, bool commit);
struct command txn_say_ask(struct say_arguments *arguments, const struct say_attempt *attempt);

/* Runs one transaction over several shards: at the node of the client that asked for it, in memory alone. Whatever
 * becomes of the driver, the shards end the transaction, and tell the participants what was decided
 * (src/cluster/txn_finisher.h).
 *
 *   READ ─▶ CONFIRM ─▶ end      only reads: two strong rounds with equal versions, nothing is written
 *     └────────┴──▶ PREPARE     after READS_MAXIMUM more rounds that differ: with read locks that it waits for
 *   DUMP ─▶ PREPARE             a plan of values: what it reads, then its commands here
 *   HOLD ─▶ PREPARE             its later attempts: the locks first, one shard after the other; so what they read stays
 *   DUMP, HOLD ─▶ TIE ─▶ PREPARE      it takes keys of sessions to other shards (txn_ties.h)
 *   PREPARE ─▶ DECIDE ─▶ end    2PC: the first attempt PREPAREs everywhere but at home, then LAST at home opens,
 *                               prepares and decides; later ones OPEN and PREPARE, then the decision
 *   PREPARE ─▶ MOVE ─▶ end      3PC: pre-commit decides, home is told
 *   PREPARE, HOLD, TIE ─▶ ABORT ─▶ end, or PAUSE ─▶ again, under another id
 *
 * Invariants
 * 1. DECIDE(COMMIT) is said only after OPEN was answered OK and every participant voted yes, in this attempt; LAST
 * after every participant but home did, and once.
 * 2. "committed" is told only after home said COMMIT, or YES to LAST (2PC), or a quorum said PRECOMMIT (3PC).
 * 3. "refused" is told only when nobody can ever have decided COMMIT: this driver alone would have said it, and did
 * not, or home said ABORT.
 * 4. The first attempt waits for nobody: a lock is a no vote. Later ones, and those of what has only read, prepare
 * shard after shard in ascending order, and wait at each, so that no two transactions wait for each other in a circle.
 * 5. The host hears of the end once, and then once, after the last answer that a shard owes, that all is settled. */
#pragma once

#include "machine/txn/prepare.h"
#include "machine/txn/txn_limits.h"
#include "server/txn_plan.h"
#include "server/txn_round.h"
#include "server/txn_say.h"
#include "server/txn_ties.h"

struct txn_driver;

enum txn_end {
    TXN_END_DONE,    /* committed, or read: the plan has the replies */
    TXN_END_CHANGED, /* aborted: a watched key had another version */
    TXN_END_REFUSED, /* aborted: driver->why says why, and what to do */
    TXN_END_LOST,    /* committed, but a shard's replies are lost */
    TXN_END_UNKNOWN, /* it may be committed, now or later */
};

struct txn_driver_host {
    /* As cluster_submit. */
    enum status (*submit)(struct txn_driver *driver, uint32_t shard, const struct command *command, uint64_t tag);
    /* The term in which the shard is led, as far as this node knows. */
    uint64_t (*term)(struct txn_driver *driver, uint32_t shard);
    /* It is led by this node. */
    bool (*leads)(struct txn_driver *driver, uint32_t shard);
    /* A new id, of Cohort's form; its size. */
    size_t (*new_id)(struct txn_driver *driver, uint32_t home, char id[static TXN_ID_BYTES]);
    /* Home has told its position. */
    void (*told_position)(struct txn_driver *driver, uint32_t home, uint64_t position);
    int64_t (*now_ns)(struct txn_driver *driver);
    /* Calls txn_driver_wake at that time, once. */
    void (*wake_at)(struct txn_driver *driver, int64_t at_ns);
    uint64_t (*random)(struct txn_driver *driver);
    void (*ended)(struct txn_driver *driver, enum txn_end end);
    /* It has ended and is owed nothing: it may be freed, here and now. */
    void (*settled)(struct txn_driver *driver);
    /* A shard has answered: something of it was seen (cluster_told_index). May be NULL. */
    void (*told)(struct txn_driver *driver, uint32_t shard);
};

enum txn_driver_state {
    DRIVER_NEW,
    DRIVER_READ,
    DRIVER_CONFIRM,
    DRIVER_DUMP,
    DRIVER_HOLD,
    DRIVER_TIE,
    DRIVER_PREPARE,
    DRIVER_MOVE,
    DRIVER_DECIDE,
    DRIVER_ABORT,
    DRIVER_PAUSE,
    DRIVER_ENDED,
    DRIVER_STATES,
};

enum { DRIVER_WHY_BYTES = 384 };

struct txn_driver {
    struct txn_round round; /* first; a question for each part, and the last one for home */
    const struct txn_driver_host *host;
    struct txn_plan plan; /* owned */
    enum txn_driver_state state;
    enum txn_protocol protocol;
    int64_t deadline_ns;     /* no new attempt begins after it */
    uint32_t attempt;        /* from 0 */
    uint32_t reads;          /* rounds of reads that differed */
    uint64_t *votes;         /* of each part */
    struct buffer *versions; /* of each part, as the first round of reads told them */

    char id[TXN_ID_BYTES];
    size_t id_size;
    uint32_t home;
    uint64_t epoch, known_epoch; /* of this attempt; what home told */
    bool last;                   /* home's vote is the decision: it is not opened before */
    bool opened;                 /* home has opened it */
    bool decided_commit;         /* DECIDE(COMMIT) or LAST may have been executed */
    bool changed;                /* a vote said so */
    bool again;                  /* what went wrong may go right */
    bool deciding;               /* PAUSE is between two DECIDEs */
    struct txn_tie tie;
    char why[DRIVER_WHY_BYTES];
    struct say_arguments arguments; /* scratch */
};

/* Takes over the plan (sealed). */
void txn_driver_init(struct txn_driver *driver, const struct txn_driver_host *host, struct txn_plan *plan,
                     enum txn_protocol protocol, int64_t deadline_ns);
void txn_driver_deinit(struct txn_driver *driver);
void txn_driver_start(struct txn_driver *driver);
void txn_driver_wake(struct txn_driver *driver);
/* Whoever asked waits no longer: ends it, honestly; a transaction that is not decided never will be committed. */
void txn_driver_give_up(struct txn_driver *driver);

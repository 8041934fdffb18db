/* Home records: what was decided about each transaction whose home is this shard. README.md has the states and rules.
 */
#pragma once

#include "base/buffer.h"
#include "base/list.h"
#include "machine/keys/table.h"
#include "machine/txn/branch.h"
#include "machine/txn/prepare.h"
#include "machine/txn/txn_id.h"
#include "machine/txn/txn_limits.h"

enum home_state {
    HOME_ABSENT, /* no record */
    HOME_BEGUN,  /* the id is taken, the participants are not known yet */
    HOME_OPEN,
    HOME_COMMIT,
    HOME_ABORT,
    HOME_DONE, /* decided, and every participant has acknowledged; of COMMIT every branch, too */
    HOME_STATES,
};

struct home_participant {
    uint32_t shard;
    bool done;     /* it has acknowledged the outcome */
    uint64_t vote; /* position of its PREPARE; 0: none is named */
};

struct home {
    uint32_t id_size;       /* first: struct table_item */
    uint8_t state, outcome; /* outcome: HOME_COMMIT or HOME_ABORT, once decided; else HOME_ABSENT */
    uint8_t protocol;
    bool made; /* the id is Cohort's */
    uint64_t epoch;
    uint64_t id_position;                                /* in the id; 0 in a client's */
    uint64_t opened, decided, done;                      /* positions of the entries; 0: not yet */
    int64_t opened_ms, deadline_ms, decided_ms, done_ms; /* of the shard's time */
    int64_t kept_ms;                                     /* so long after done_ms its id is remembered; 0: it is ours */
    uint32_t participant_count, done_count;
    struct home_participant *participants;
    struct branch *branches;              /* in order of joining */
    uint32_t branch_count, branches_left; /* left: JOINED */
    char *reason;                         /* why it was aborted; or NULL */
    struct buffer replies; /* of home's own part, for whoever has lost the answer to LAST; mostly empty */
    struct list node;      /* in the list of its state */
    struct list replied;   /* in homes.replied, when it is DONE and has replies */
    uint8_t id[];
};

struct homes {
    struct table table;
    struct list open;                 /* BEGUN and OPEN, in order of opening */
    struct list decided;              /* COMMIT and ABORT, in order of decision */
    struct list done;                 /* DONE, of Cohort's ids, in order of becoming so */
    struct list kept;                 /* DONE, of clients', in order of becoming so; the first one goes first, even when
                                       * one behind it was to be remembered for less */
    uint64_t open_count;              /* of open and decided */
    uint64_t done_count, named_count; /* named: all clients' ids */
    struct list replied;              /* in order of becoming DONE; the first one loses its replies first */
    uint64_t reply_bytes;             /* of all */
    uint64_t joined_count;            /* of those that are not DONE and have branches */
    uint64_t abandoned;               /* no branch of a commit that joined behind this position was abandoned */
    uint64_t watermark;               /* an id whose position is below, and that has no record, is refused for ever */
};

void homes_init(struct homes *homes, uint64_t seed);
void homes_deinit(struct homes *homes);

static inline struct slice home_id(const struct home *home) { return slice_of(home->id, home->id_size); }
/* What is told of it: a state before the decision, the outcome after. */
const char *home_told(const struct home *home);
const char *home_state_name(enum home_state state);
/* Of a state that a record can have. */
bool home_state_parse(struct slice word, enum home_state *ret_state);
struct home *homes_find(const struct homes *homes, struct slice id);

enum home_outcome { HOME_OPENED, HOME_EPOCH, HOME_OLD, HOME_EXISTS, HOME_FULL };

struct home_open {
    struct slice id;
    uint64_t epoch, term, position; /* of the request; of the entry */
    enum txn_protocol protocol;
    int64_t time_ms, timeout_ms, kept_ms; /* kept: of a client's id */
    const struct slice *participants;
    uint32_t participant_count;
    const struct slice *votes; /* of the participants, for homes_open_last: decimal; "0" is this entry's */
    uint64_t begun;            /* for homes_open_last: where the record was made that it goes on from; 0: nowhere */
};
enum home_outcome homes_open(struct homes *homes, const struct home_open *open);

/* OPEN and DECIDE(COMMIT) at once. Whether it would be opened; nothing is changed but what is due to be forgotten. */
enum home_outcome homes_take_last(struct homes *homes, const struct home_open *open);
/* It would be (asserted): the record, which is COMMIT now. */
struct home *homes_open_last(struct homes *homes, const struct home_open *open);

/* Of a record that is COMMIT or DONE now: kept, when they are few and there is room. The same on every replica. */
void home_keep_replies(struct homes *homes, struct home *home, struct slice replies);

/* The record with this id; one that is absent becomes an abort. NULL: it is OLD, or, with *ret_full, there is no room.
 */
struct home *homes_resolve(struct homes *homes, struct slice id, uint64_t position, int64_t time_ms, bool *ret_full);

/* The votes are of exactly its participants: shard, position, …. False: it changes nothing (not open in this epoch, or
 * other participants). */
bool home_commit(struct homes *homes, struct home *home, uint64_t epoch, const struct slice *votes, uint32_t vote_count,
                 uint64_t position, int64_t time_ms);
/* False when it is decided already. */
bool home_abort(struct homes *homes, struct home *home, struct slice reason, uint64_t position, int64_t time_ms);
/* A participant has acknowledged the outcome; nothing before the decision, or of a shard that is none. */
void home_acknowledge(struct homes *homes, struct home *home, uint32_t shard, uint64_t position, int64_t time_ms);

/* ---- branches (home_branches.c) ---- */

enum home_join {
    HOME_JOINED,
    HOME_JOIN_NONE,  /* no record of this id that was begun there */
    HOME_JOIN_LATE,  /* it is prepared, or over */
    HOME_JOIN_THREE, /* three phases */
    HOME_JOIN_OTHER, /* this label has another resource, or other evidence */
    HOME_JOIN_MANY,  /* TXN_BRANCHES */
    HOME_JOIN_FULL,  /* TXN_JOINED */
};

struct home_joining {
    struct slice label, resource, evidence; /* evidence: may be empty; then it stays as it is */
    uint64_t restores, position, begun;
    int64_t time_ms;
};

/* The branch; the same one when it is said again. NULL: *ret_why, and nothing is changed. */
const struct branch *home_join(struct homes *homes, struct home *home, const struct home_joining *joining,
                               enum home_join *ret_why);
/* NULL: there is none, though the label may have come again. */
struct branch *home_branch(const struct home *home, struct slice label, uint64_t restores, uint64_t position);
/* Notes how it ended; the record is decided, and so. Afterwards it may be DONE, and forgotten. */
void home_end_branch(struct homes *homes, struct home *home, struct branch *branch, enum branch_state state,
                     uint64_t position, int64_t time_ms);

/* ---- snapshots (txn_snapshot.c) ---- */
void home_put(const struct home *home, struct buffer *out);
/* `joined`: it has branches. */
MUST_USE enum status homes_load(struct homes *homes, struct slice record, bool joined);

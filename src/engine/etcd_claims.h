/* What this handle has in etcd: the keys by which it holds locks and waits for them, and what is done for them without
 * anybody asking: places are kept alive, holds end, what is of no use is deleted.
 *
 *      fresh ──put──▶ WAITS ──nobody before──▶ HOLDS ──released──▶ gone
 *                       └─no longer asked for─▶ ENDS ◀─time over─┘ ──deleted, for sure──▶ gone
 *
 * Invariants
 * 1. A claim that holds is told of until `due_ns` at most, which is no later than the end of the lease that its key is
 * attached to, counted from before that was asked for.
 * 2. Keys of those that wait are attached to one lease of the handle, which ends WAITING_S after it was last kept
 * alive.
 * 3. Who wrote a key last is who ends it: a hold's end is by its mod revision. So somebody else (another process of the
 * same owner) who extends it writes it. */
#pragma once

#include "base/list.h"
#include "engine/etcd_http.h"
#include "engine/etcd_words.h"

enum {
    ETCD_WAITING_S = 3,
    ETCD_PAST_S = 3600,
    ETCD_CLAIMS = 65536,
    ETCD_BUCKETS = 256,
    ETCD_WATCHES = 32,
    ETCD_LOOK_MS = 1000, /* who waits looks so often, whatever a watch says */
};

enum etcd_claim_state { ETCD_WAITS, ETCD_HOLDS, ETCD_ENDS, ETCD_GONE };

struct etcd_watch {
    struct list node;
    struct list claims;
    struct etcd_stream *stream; /* NULL: it has ended */
    int64_t revision;           /* newest that it told of */
    bool has_ended;
    struct buffer key;
};

struct etcd_claim {
    struct list node;
    struct list watch_node;
    struct etcd *etcd;
    enum etcd_claim_state state;
    struct slice key, owner, note;
    struct slice name; /* its key in etcd; the first `below` bytes are all those of the lock */
    size_t below;
    int64_t create, mod; /* revisions; 0: not known */
    int64_t since_ms;    /* wall clock */
    /* HOLDS */
    uint64_t lease;
    int64_t lease_ms, due_ns, ttl_ms;
    /* WAITS */
    int64_t asked_ns, looked_ns;
    bool dirty;
    struct buffer before; /* the key that is waited for */
    struct etcd_watch *watch;
    /* ENDS */
    bool is_sent;
    int64_t again_ns, since_ns;
};

/* Of the request that is made; room is reserved. */
struct etcd_scratch {
    struct buffer body, value, name;
};

struct etcd {
    struct engine engine;
    struct etcd_http *http;
    char prefix[ETCD_PREFIX_BYTES];
    struct etcd_scratch *scratch; /* of the operation, or of what is done meanwhile */
    struct etcd_scratch own, meanwhile;
    struct list claims[ETCD_BUCKETS];
    uint32_t claim_count;
    struct list watches;
    uint32_t watch_count;
    const struct etcd_claim *busy; /* of the operation that is executed: not to be ended */
    bool has_news;
    uint64_t waiting_lease; /* 0: none */
    int64_t keep_ns;
    uint64_t past_lease;
    int64_t past_until_ns;
};

int64_t etcd_wall_ms(void);
uint64_t etcd_new_id(void);

/* PREFIX/NAME/, and the name of a key of that lease's. The bytes are in the scratch. */
struct slice etcd_below(struct etcd *etcd, struct slice key);
struct slice etcd_name(struct etcd *etcd, struct slice key, uint64_t lease);

/* NULL: there is none that waits or holds. */
struct etcd_claim *etcd_find(struct etcd *etcd, struct slice key, struct slice owner);
/* NULL, and a problem: memory was refused, or there are too many. `name` is copied, as all else is. */
struct etcd_claim *etcd_add(struct etcd *etcd, const struct lock_wanted *wanted, struct slice name);
void etcd_forget(struct etcd_claim *claim);
/* It is to be deleted, however long that takes. */
void etcd_end(struct etcd_claim *claim);

/* The value of a claim's key, in the scratch. */
struct slice etcd_value_of(const struct etcd_claim *claim, bool holds, int64_t ttl_ms);
/* How it ended: appends a put to the transaction in the scratch, when there is a lease for that. */
void etcd_put_past(const struct etcd_claim *claim, enum lock_why why);

/* Watches the locks' deletions from that revision on, unless it is watched already. */
void etcd_watch_lock(struct etcd_claim *claim, int64_t revision);

void etcd_unwatch(struct etcd_claim *claim);

/* A lease of ours is of no use any more. */
void etcd_revoke(struct etcd *etcd, uint64_t lease);

/* For etcd_http_create. */
void etcd_tick(void *data);
/* After an operation: what came meanwhile wakes the host. */
void etcd_leave(struct etcd *etcd);

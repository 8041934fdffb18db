/* What all nodes must agree on: the replicated state of the meta group (group 0). Pure: changes in, verdicts out.
 *
 * Invariants
 * 1. Before the bootstrap there is nothing; the bootstrap happens once and fixes cluster id and number of shards.
 * 2. Nodes are sorted by id. An id is used once: an added node gets one larger than any before it.
 * 3. A node's incarnation is bound by the founding, or when it is seen first, and never changes: whoever comes with
 *    another one has lost the disk on which it voted, and is refused.
 * 4. No two nodes have the same client address, nor the same peer address.
 * 5. Each shard has between 1 and `replicas` voters, all of them nodes, none of them joining; its leader is one of
 *    them.
 * 6. `format` is known to the binary of every node that was seen.
 * 7. Applying depends on state and entry alone, and never on how a placement is computed: entries carry placements.
 * 8. A node's start never goes back. The node itself sees to it that its data folder knows the start that stands here
 *    (lineage.h) before it puts its own in that place.
 *
 * A node's way:
 *
 *     bootstrap ──────────────► ACTIVE ── remove ──► LEAVING ── forget, when it votes nowhere ──► gone
 *     add ──► JOINING ─ promote ──┘                     ▲
 *                └───────────── remove ─────────────────┘
 */
#pragma once

#include "base/buffer.h"
#include "base/id128.h"
#include "base/status.h"
#include "cluster/placement.h"

enum {
    MEMBERS_HOST_BYTES = 256, /* with the NUL */
    MEMBERS_FORMAT = 1,       /* the newest format of logs and messages that this binary knows */
    MEMBERS_EXPLAIN_BYTES = 768,
};

#define MEMBERS_MAXIMUM_ID UINT32_MAX

enum member_state {
    MEMBER_JOINING = 1, /* catches up; votes nowhere */
    MEMBER_ACTIVE = 2,
    MEMBER_LEAVING = 3, /* gets nothing new; what it has is moved away */
};

struct member_address {
    char host[MEMBERS_HOST_BYTES]; /* letters, digits and .:_%- */
    uint16_t port;                 /* not 0 */
};

struct member {
    uint64_t id;                  /* 1 … MEMBERS_MAXIMUM_ID */
    struct id128 incarnation;     /* none until it is bound */
    struct member_address client; /* where clients find it */
    struct member_address peer;   /* where nodes find it */
    uint32_t format;              /* the newest that its binary knows; 0 until the node was seen */
    /* Of its process (lineage.h), so that all know it though they were restarted themselves; 0 until it was seen. Told
     * a moment after a process begins, so the newest one may not be here yet. */
    uint64_t start;
    enum member_state state;
};

struct members {
    struct id128 cluster; /* none before the bootstrap */
    uint64_t epoch;       /* how many changes there were */
    uint64_t last_id;     /* the largest id that was ever used */
    uint32_t format;      /* of logs and messages: what all may write */
    uint32_t replicas;    /* voters of a shard, while there are nodes enough */
    uint32_t count;
    struct member nodes[PLACEMENT_MAXIMUM_NODES];
    struct placement placement;
};

/* About 120 KB; empty, as before the bootstrap. */
struct members *members_create(void);
void members_destroy(struct members *members);

static inline bool members_bootstrapped(const struct members *members) { return members->count > 0; }
/* Borrowed; NULL when there is none. */
const struct member *members_find(const struct members *members, uint64_t id);
bool member_address_valid(const struct member_address *address);
/* Makes an address from HOST and PORT; false when it is none. */
bool member_address_make(struct member_address *ret_address, struct slice host, int64_t port);
/* Ids of the nodes on which shards may be placed (ACTIVE), ascending. Returns how many. */
size_t members_placeable(const struct members *members, uint64_t ret_ids[static PLACEMENT_MAXIMUM_NODES]);

/* ---- the first state ---- */

/* Makes what a bootstrap proposes: `nodes` (ids, incarnations and addresses are taken) sorted, all ACTIVE, shards
 * placed on them. STATUS_INVALID when that breaks an invariant (two nodes with one id or address, too many, …). */
MUST_USE enum status members_make(struct members *members, const struct id128 *cluster, uint32_t shard_count,
                                  uint32_t replicas, const struct member *nodes, size_t node_count);

/* ---- changes ---- */

enum members_change_kind {
    MEMBERS_BOOTSTRAP = 1, /* state */
    MEMBERS_SEEN = 2,      /* node, incarnation, client, peer, format, start: it is up, and says who and where it is */
    MEMBERS_ADD = 3,       /* node, client, peer */
    MEMBERS_PROMOTE = 4,   /* node */
    MEMBERS_REMOVE = 5,    /* node */
    MEMBERS_FORGET = 6,    /* node */
    MEMBERS_PLACE = 7,     /* shard, place */
    MEMBERS_RAISE = 8,     /* format */
};

struct members_change {
    enum members_change_kind kind;
    uint64_t node;
    struct id128 incarnation;
    struct member_address client, peer;
    uint32_t format;
    uint64_t start;
    uint32_t shard;
    struct placement_shard place;
    struct slice state; /* as members_encode makes it; borrowed */
};

enum members_verdict {
    MEMBERS_CHANGED,
    MEMBERS_UNCHANGED, /* it is so already */
    /* refused, nothing changed: */
    MEMBERS_NO_CLUSTER,        /* before the bootstrap */
    MEMBERS_HAS_CLUSTER,       /* bootstrapped already */
    MEMBERS_UNKNOWN_NODE,      /* not, or no longer, a node of this cluster */
    MEMBERS_OTHER_INCARNATION, /* invariant 3 */
    MEMBERS_COPY,              /* invariant 8 */
    MEMBERS_ADDRESS_TAKEN,     /* by another node */
    MEMBERS_OLD_BINARY,        /* a node's binary does not know the format */
    MEMBERS_ID_USED,           /* invariant 2 */
    MEMBERS_FULL,              /* PLACEMENT_MAXIMUM_NODES */
    MEMBERS_NOT_SEEN,          /* it must have been up once */
    MEMBERS_WRONG_STATE,       /* no such arrow above */
    MEMBERS_LAST_NODE,         /* the last ACTIVE node stays */
    MEMBERS_STILL_VOTES,       /* of FORGET */
    MEMBERS_BAD_PLACE,         /* no such shard, or voters that break invariant 5 or get something new while LEAVING */
};

/* Appends the entry; the change makes sense by itself (asserted). */
void members_change_encode(const struct members_change *change, struct buffer *out);
/* The whole of `bytes`. STATUS_CORRUPT, or STATUS_VERSION when a newer binary made it. */
MUST_USE enum status members_change_decode(struct slice bytes, struct members_change *ret_change);

/* What members_apply would answer now: to refuse without a log entry. */
enum members_verdict members_judge(const struct members *members, const struct members_change *change);
/* Applies a decoded entry. STATUS_CORRUPT or STATUS_VERSION is about the state that a bootstrap carries. */
MUST_USE enum status members_apply(struct members *members, const struct members_change *change,
                                   enum members_verdict *ret_verdict);

/* One line for a person that says what is wrong and what to do; of CHANGED and UNCHANGED "ok". */
void members_explain(const struct members *members, const struct members_change *change, enum members_verdict verdict,
                     char ret_text[static MEMBERS_EXPLAIN_BYTES]);

/* What a node says of itself when its data folder is a copy; thrice its id. */
#define MEMBERS_COPY_FORMAT                                                                                            \
    "this data folder is an older copy of node %" PRIu64 "'s, or another process runs on a copy of it; it must not "   \
    "be started again: it has forgotten what node %" PRIu64 " has promised since. Go on with the folder as node "      \
    "%" PRIu64 " left it last; the others serve without it"

/* ---- the whole state: snapshots, bootstraps ----
 * version u8 (1) · cluster id (16) · varints: epoch, last id, format, replicas, count of nodes
 * each node: varint id · incarnation (16) · client · peer · varint format · varint start · state u8
 *   an address: size u8 · host · port u16
 * varint count of shards · each shard: voter count u8 · varint ids · varint leader
 * Equal states have equal bytes. */
void members_encode(const struct members *members, struct buffer *out);
/* The whole of `bytes`; *ret_members is untouched on failure. STATUS_CORRUPT, or STATUS_VERSION. */
MUST_USE enum status members_decode(struct slice bytes, struct members *ret_members);
uint64_t members_digest(const struct members *members);

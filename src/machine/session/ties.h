/* What sessions have in this shard, wherever they live: the locks (machine/lock), keys (machine/keys/bonds.h) and
 * endpoints of services (machine/service) that end with them. Pure; a part of the machine.
 *
 *                 ┌──asked for SESSION_ASKED_MS, or the session's end is told──▶ forgotten
 *   asked for ──▶ ASKED ──the session's shard knows of this one, and says it lives──▶ LIVES ──its end is told──▶ ENDS
 *                                                                                     ENDS ──nothing is left──▶
 * forgotten
 *
 * Invariants
 * 1. Only a tie that LIVES has locks, waits, keys or endpoints, and gets new ones; one that ENDS loses them.
 * 2. A tie lives only after the session's shard has listed this shard, and it did so after the tie was asked for (which
 *    the ordinal proves: no other tie has it). So the end of a session is told to each shard where something ends with
 *    it, and whatever is told there later finds no tie that could live.
 * 3. Ordinals never come again: they are in keys, in the place of a time.
 * 4. All of it is bounded by session_limits.h.
 *
 * Ties that are `open` are those of an overlay at a client's node (machine/txn/overlay.h): there any session may be
 * named. LIVES says then that the overlay's shard has the tie, ASKED that it is to be brought about. */
#pragma once

#include "base/buffer.h"
#include "base/list.h"
#include "base/status.h"
#include "machine/keys/table.h"
#include "machine/session/session_id.h"
#include "machine/session/session_limits.h"
#include "machine/snapshot_walk.h"

enum tie_state { TIE_ASKED, TIE_LIVES, TIE_ENDS, TIE_STATES };

enum { TIE_KEY_BYTES = 12 };

struct tie {
    uint32_t key_size;  /* first: struct table_item */
    uint32_t epoch;     /* of the last snapshot that has it, or need not */
    uint64_t ordinal;   /* 0: loading, only its locks have come so far; … */
    uint32_t zero;      /* … with this it is a key as large as `key` */
    struct list claims; /* of the locks: claim.tie_node */
    struct list node;   /* of the asked ones, the oldest first */
    int64_t asked_ms;
    struct list endpoints; /* of services: endpoint.tie_node */
    uint32_t claim_count, endpoint_count;
    uint8_t state;              /* enum tie_state */
    uint8_t key[TIE_KEY_BYTES]; /* number u64, shard u32 */
};

struct ties {
    struct table table;
    struct table ordinals; /* the same ties, but those with ordinal 0 */
    struct list asked;
    uint64_t last_ordinal;
    bool open;
    uint64_t memory_bytes;
    /* No part of the state. */
    uint64_t ended; /* since the process started */
    struct snapshot_walk walk;
};

void ties_init(struct ties *ties, uint64_t seed);
void ties_deinit(struct ties *ties);
struct session_id tie_id(const struct tie *tie);
struct tie *ties_find(const struct ties *ties, struct session_id id);
/* NULL: no tie has it. */
struct tie *ties_of_ordinal(const struct ties *ties, uint64_t ordinal);
/* Of open ones: the tie, made when it is not there; `lives`: the shard has it. */
struct tie *ties_name(struct ties *ties, struct session_id id, bool lives);
/* Of open ones: none is there any more. */
void ties_clear(struct ties *ties);
/* The tie; NULL: there are SESSION_TIES. */
struct tie *ties_ask(struct ties *ties, struct session_id id, int64_t time_ms);
/* False: there is no such tie any more; ask anew. */
bool ties_confirm(struct ties *ties, struct session_id id, uint64_t ordinal);
/* The session has ended: nothing new. */
void tie_end(struct ties *ties, struct tie *tie);
/* Forgets one without locks and endpoints (asserted). */
void ties_forget(struct ties *ties, struct tie *tie);
/* Forgets what was asked for long ago, at most `limit`. */
void ties_expire(struct ties *ties, int64_t time_ms, size_t limit);
/* INT64_MAX: nothing is asked for. */
int64_t ties_next_due(const struct ties *ties);

/* ---- tie_snapshot.c ---- */

extern const struct snapshot_walk_kind ties_snapshot;
/* Before each change of a tie: the running snapshot has it as it was. */
static inline void tie_keep(struct ties *ties, struct tie *tie) { snapshot_walk_keep(&ties->walk, tie); }
/* For loading: the tie, made when it is not there. */
struct tie *ties_enter(struct ties *ties, struct session_id id);
/* It gets its ordinal, which no other one has. */
void tie_set_ordinal(struct ties *ties, struct tie *tie, uint64_t ordinal);

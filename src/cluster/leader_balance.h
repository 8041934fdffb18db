/* Who should lead: which shard this node hands to the voter that the caller prefers as its leader, and when. Pure.
 *
 * Leadership goes where it can when nodes come and go; this brings it back, so that no node keeps the work of all. A
 * transfer costs the requests of its shard a pause, so it is done only when it is likely to work, one at a time, and
 * ever more rarely where it did not work or did not last.
 *
 * Invariants
 * 1. Only a shard that this node leads is handed over, and only to the one that should: the leader that the placement
 *    prefers, or any other voter while this node has no space for writes.
 * 2. That one was up and caught up in every look of the last LEADER_BALANCE_STEADY_MS, or it was asked for and is so in
 *    this look. Caught up: it has durably what the log had at the look before, so a log that grows all the time
 *    hinders nothing.
 * 3. But for what was asked for, between two transfers of this node pass LEADER_BALANCE_PAUSE_MS at least: longer than
 * a transfer lasts.
 * 4. Between two of one shard pass that long the first time and twice as long each further time, up to
 *    LEADER_BALANCE_MAXIMUM_MS; a shard that is asked for, or was left alone for twice that long, begins anew.
 *
 * The caller looks some times a second: leader_balance_see for each shard, then leader_balance_choose once. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct leader_balance;

enum {
    LEADER_BALANCE_STEADY_MS = 3000,
    LEADER_BALANCE_PAUSE_MS = 5000,
    LEADER_BALANCE_MAXIMUM_MS = 600000,
    LEADER_BALANCE_GAP_MS = 1000, /* looks further apart than that prove nothing about the time between */
};

/* A shard as this node sees it. */
struct leader_balance_view {
    bool leading;       /* this node leads it, and takes requests */
    uint64_t preferred; /* who should; this node itself: nothing to do */
    bool up;            /* the preferred one is connected, votes here, and follows the log without gaps */
    uint64_t match;     /* it has the log up to here, durably */
    uint64_t last;      /* index of the log */
};

struct leader_balance *leader_balance_create(uint64_t node, uint32_t shard_count);
/* Takes NULL. */
void leader_balance_destroy(struct leader_balance *balance);

/* shard: 1 … shard_count. now_ns never goes back. */
void leader_balance_see(struct leader_balance *balance, int64_t now_ns, uint32_t shard,
                        const struct leader_balance_view *view);
/* Somebody wants the preferred leader of this shard to be another one: it is handed over as soon as that can work,
 * once; if it does not work, at the usual pace. */
void leader_balance_ask(struct leader_balance *balance, uint32_t shard);
/* True when the shard should be handed to the node now; it counts as done, whatever comes of it. */
bool leader_balance_choose(struct leader_balance *balance, int64_t now_ns, uint32_t *ret_shard, uint64_t *ret_node);

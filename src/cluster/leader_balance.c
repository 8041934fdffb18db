#include "cluster/leader_balance.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

#define MS_NS 1000000LL

struct watched {
    bool ready; /* at the last look: it could be handed over */
    uint64_t preferred;
    uint64_t last;    /* of the log, then */
    int64_t seen_ns;  /* the last look */
    int64_t since_ns; /* ready in all looks since */
    bool asked;       /* for another leader, while this node leads, and not handed over since */
    bool moved;       /* ever */
    int64_t moved_ns; /* the last transfer */
    int64_t pause_ns; /* after it */
};

struct leader_balance {
    uint64_t node;
    uint32_t shard_count;
    bool moved; /* any, ever */
    int64_t moved_ns;
    struct watched *shards; /* shard s is at s − 1 */
};

struct leader_balance *leader_balance_create(uint64_t node, uint32_t shard_count)
{
    struct leader_balance *balance = memory_allocate_zeroed(1, sizeof(*balance));
    balance->node = node;
    balance->shard_count = shard_count;
    balance->shards = memory_allocate_zeroed(shard_count, sizeof(*balance->shards));
    return balance;
}

void leader_balance_destroy(struct leader_balance *balance)
{
    if (balance != NULL) {
        free(balance->shards);
        free(balance);
    }
}

void leader_balance_see(struct leader_balance *balance, int64_t now_ns, uint32_t shard,
                        const struct leader_balance_view *view)
{
    ASSERT(shard >= 1 && shard <= balance->shard_count);
    struct watched *watched = &balance->shards[shard - 1];
    bool steady = watched->ready && watched->preferred == view->preferred &&
                  now_ns - watched->seen_ns <= LEADER_BALANCE_GAP_MS * MS_NS;
    bool before = watched->seen_ns != 0 && now_ns - watched->seen_ns <= LEADER_BALANCE_GAP_MS * MS_NS;
    bool grown = steady || (watched->asked && before); /* what is asked for need not have been ready */
    uint64_t needed = grown && watched->last < view->last ? watched->last : view->last;
    watched->ready =
        view->leading && view->preferred != 0 && view->preferred != balance->node && view->up && view->match >= needed;
    watched->asked = watched->asked && view->leading && view->preferred != balance->node;
    watched->since_ns = steady && watched->ready ? watched->since_ns : now_ns;
    watched->preferred = view->preferred;
    watched->last = view->last;
    watched->seen_ns = now_ns;
}

static bool is_due(const struct watched *watched, int64_t now_ns, bool pausing)
{
    if (!watched->ready || watched->seen_ns != now_ns) {
        return false;
    }
    return watched->asked || (!pausing && now_ns - watched->since_ns >= LEADER_BALANCE_STEADY_MS * MS_NS &&
                              (!watched->moved || now_ns - watched->moved_ns >= watched->pause_ns));
}

void leader_balance_ask(struct leader_balance *balance, uint32_t shard)
{
    ASSERT(shard >= 1 && shard <= balance->shard_count);
    struct watched *watched = &balance->shards[shard - 1];
    watched->asked = true;
    watched->moved = false; /* what was done before for others says nothing of this one */
}

/* Those that are asked for first, then those that were never moved, then the one that was moved longest ago. */
static bool goes_before(const struct watched *one, const struct watched *other)
{
    if (one->asked != other->asked) {
        return one->asked;
    }
    return one->moved != other->moved ? !one->moved : one->moved && one->moved_ns < other->moved_ns;
}

static void note_move(struct watched *watched, int64_t now_ns)
{
    const int64_t maximum_ns = LEADER_BALANCE_MAXIMUM_MS * MS_NS;
    bool again = watched->moved && now_ns - watched->moved_ns < 2 * maximum_ns;
    int64_t pause_ns = again ? 2 * watched->pause_ns : LEADER_BALANCE_PAUSE_MS * MS_NS;
    watched->pause_ns = pause_ns < maximum_ns ? pause_ns : maximum_ns;
    watched->moved = true;
    watched->asked = false;
    watched->moved_ns = now_ns;
}

bool leader_balance_choose(struct leader_balance *balance, int64_t now_ns, uint32_t *ret_shard, uint64_t *ret_node)
{
    bool pausing = balance->moved && now_ns - balance->moved_ns < LEADER_BALANCE_PAUSE_MS * MS_NS;
    struct watched *best = NULL;
    for (uint32_t i = 0; i < balance->shard_count; i++) {
        struct watched *watched = &balance->shards[i];
        if (is_due(watched, now_ns, pausing) && (best == NULL || goes_before(watched, best))) {
            best = watched;
        }
    }
    if (best == NULL) {
        return false;
    }
    note_move(best, now_ns);
    balance->moved = true;
    balance->moved_ns = now_ns;
    *ret_shard = (uint32_t)(best - balance->shards) + 1;
    *ret_node = best->preferred;
    return true;
}

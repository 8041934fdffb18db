/* What the shards' own records show of transactions. */
#include "machine/txn/txn.h"
#include "node_world.h"

enum {
    IN_DOUBT_MS = 4000,       /* longer than a participant waits before it asks */
    DOUBT_MAXIMUM_MS = 10000, /* after the last fault */
};

void node_txn_look(struct node *node, int shard, uint64_t term)
{
    struct node_world *world = node->world;
    int64_t time_ms = 0;
    const struct txns *txns = node_txns(node, shard, &time_ms);
    if (txns == NULL) {
        return;
    }
    LIST_FOR_EACH (at, (struct list *)(uintptr_t)&txns->parts.prepared) {
        const struct part *part = CONTAINER_OF(at, struct part, node);
        node_reach(world, NODE_MARK_TXN_HELD, part->state == PART_HELD);
        node_reach(world, NODE_MARK_TXN_PRECOMMIT, part->state == PART_PRECOMMIT);
        node_reach(world, NODE_MARK_TXN_PREABORT, part->state == PART_PREABORT);
        node_reach(world, NODE_MARK_TXN_IN_DOUBT, time_ms - part->since_ms > IN_DOUBT_MS);
        int64_t whole_ms = world->healed_ns == 0 ? 0 : (sim_now_ns(world->sim) - world->healed_ns) / 1000000;
        if (whole_ms > DOUBT_MAXIMUM_MS && time_ms - part->since_ms > DOUBT_MAXIMUM_MS) {
            node_fail(world, "shard %d: a transaction is in doubt %lld ms after the last fault", shard,
                      (long long)whole_ms);
            return;
        }
    }
    LIST_FOR_EACH (at, (struct list *)(uintptr_t)&txns->homes.decided) {
        const struct home *home = CONTAINER_OF(at, struct home, node);
        node_reach(world, NODE_MARK_TXN_LATER_LEADER, home->opened != 0 && home->epoch < term);
    }
    if (!list_empty(&txns->homes.done)) {
        const struct home *last = CONTAINER_OF(txns->homes.done.prev, struct home, node);
        node_reach(world, NODE_MARK_TXN_RESOLVED, last->opened == 0);
    }
}

/* One that is begun, and whose client has gone, hurts nobody until its time is over. */
static bool is_open(const struct homes *homes, int64_t time_ms)
{
    uint64_t begun = 0;
    LIST_FOR_EACH (at, (struct list *)(uintptr_t)&homes->open) {
        const struct home *home = CONTAINER_OF(at, struct home, node);
        begun += home->state == HOME_BEGUN && home->deadline_ms > time_ms ? 1 : 0;
    }
    return homes->open_count > begun;
}

const char *node_txn_left(struct node_world *world, int shard)
{
    int64_t time_ms = 0;
    struct node *leader = node_leader(world, shard, SIM_DRAW_TIMING);
    const struct txns *txns = leader == NULL ? NULL : node_txns(leader, shard, &time_ms);
    if (leader == NULL) {
        return "nobody leads it";
    }
    if (txns == NULL) {
        return NULL;
    }
    return txns->parts.prepared_count != 0   ? "a transaction is in doubt"
           : is_open(&txns->homes, time_ms)  ? "a transaction is not done"
           : txns->parts.finished_count != 0 ? "an outcome is not forgotten"
                                             : NULL;
}

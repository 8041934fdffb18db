/* Transactions whose node is lost do not wait for their time: home is asked about what they have prepared, and what
 * they have opened is aborted by home. Both may be done at any time (src/machine/txn/README.md), so who is taken for
 * lost and lives has to begin anew, no more.
 *
 * What is young is looked at every FINISHER_PAUSE_MS: mostly the few that just run. What is older has had its time. */
#include "cluster/cluster_mutation.h"
#include "cluster/txn_finisher_internal.h"

static bool is_lost(const struct finisher *finisher, const struct txn_runner *runner)
{
    return runner->node != 0 && finisher->events.runner_lost != NULL && !CLUSTER_MUTATED(LOST_WAITED_FOR) &&
           finisher->events.runner_lost(finisher->owner, runner);
}

/* Of a command or a MULTI, which nobody else may finish. What TXN.PREPARE has prepared waits for its client, who may
 * come back by another node. */
static bool runner_of(const struct home *home, struct txn_runner *ret_runner)
{
    struct txn_id id;
    if (!home->made || !txn_id_parse(home_id(home), &id) || !id.runs) {
        return false;
    }
    *ret_runner = (struct txn_runner){id.node, id.start};
    return true;
}

static void hurry(struct finisher *finisher, enum role role, uint32_t shard, struct slice id, const struct txns *txns)
{
    finisher->early += finisher_task_find(finisher, role, shard, id) == NULL ? 1 : 0;
    (void)finisher_run(finisher, role, shard, id, txns);
}

bool finisher_forsaken(const struct finisher *finisher, const struct home *home)
{
    struct txn_runner runner;
    return home->state == HOME_OPEN && runner_of(home, &runner) && is_lost(finisher, &runner);
}

static void look_at_homes(struct finisher *finisher, uint32_t shard, const struct txns *txns, int64_t time_ms)
{
    for (const struct list *at = txns->homes.open.prev; at != &txns->homes.open; at = at->prev) {
        const struct home *home = CONTAINER_OF(at, struct home, node);
        if (time_ms - home->opened_ms >= FINISHER_YOUNG_MS) {
            return;
        }
        if (finisher_forsaken(finisher, home)) {
            hurry(finisher, HOME_OVERDUE, shard, home_id(home), txns);
        }
    }
}

/* Of three phases many would ask each other at once; home's leader sees to those. */
static bool may_hurry(const struct part *part)
{
    return part->state == PART_HELD || (part->state == PART_WAIT && part->participant_count <= FINISHER_FEW);
}

static void look_at_parts(struct finisher *finisher, uint32_t shard, const struct txns *txns, int64_t time_ms)
{
    for (const struct list *at = txns->parts.prepared.prev; at != &txns->parts.prepared; at = at->prev) {
        const struct part *part = CONTAINER_OF(at, struct part, node);
        if (time_ms - part->since_ms >= FINISHER_YOUNG_MS) {
            return;
        }
        if (may_hurry(part) && is_lost(finisher, &part->runner)) {
            hurry(finisher, PART_PREPARED, shard, part_id(part), txns);
        }
    }
}

/* When the newest of the list came. */
static bool is_young(int64_t newest_ms, int64_t time_ms) { return time_ms - newest_ms < FINISHER_YOUNG_MS; }

void finisher_look_at_lost(struct finisher *finisher, struct watch *watch, uint32_t shard, const struct txns *txns,
                           int64_t time_ms)
{
    const struct list *homes = &txns->homes.open;
    const struct list *parts = &txns->parts.prepared;
    bool any = (!list_empty(homes) && is_young(CONTAINER_OF(homes->prev, struct home, node)->opened_ms, time_ms)) ||
               (!list_empty(parts) && is_young(CONTAINER_OF(parts->prev, struct part, node)->since_ms, time_ms));
    if (!any) {
        return;
    }
    if (time_ms >= watch->lost_ms) {
        watch->lost_ms = time_ms + FINISHER_PAUSE_MS;
        look_at_homes(finisher, shard, txns, time_ms);
        look_at_parts(finisher, shard, txns, time_ms);
    }
    finisher_want_at(finisher, env_monotonic_ns(finisher->env) + (watch->lost_ms - time_ms) * NS_PER_MS);
}

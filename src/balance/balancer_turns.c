/* Policies that go by turns: round robin; smooth weighted round robin, as nginx's documentation of `weight` describes
 * it; least outstanding, where those with equal loads take turns. */
#include "balance/balancer_internal.h"

static uint32_t rank_after(const struct balancer *balancer, uint32_t rank)
{
    return rank + 1 < balancer->preferred_count ? rank + 1 : 0;
}

static const int64_t FULL_CREDIT = 1 << WEIGHT_ONE_BITS;

/* Whether it takes this turn: always, or in a slow start in a part of its turns. */
static bool takes_turn(struct balancer_slot *slot)
{
    uint32_t credit = slot->effective / slot->weight;
    if (credit == FULL_CREDIT) {
        return true;
    }
    slot->turn += credit;
    if (slot->turn < FULL_CREDIT) {
        return false;
    }
    slot->turn -= FULL_CREDIT;
    return true;
}

uint32_t balancer_pick_round_robin(struct balancer *balancer)
{
    uint32_t rank = balancer->cursor;
    uint32_t first = BALANCER_NONE; /* who may, though it would rather not */
    for (uint32_t i = 0; i < balancer->preferred_count; i++, rank = rank_after(balancer, rank)) {
        struct balancer_slot *slot = &balancer->slots[balancer->members[rank]];
        if (!balancer_allows(balancer, slot)) {
            continue;
        }
        if (takes_turn(slot)) {
            balancer->cursor = rank_after(balancer, rank);
            return balancer->members[rank];
        }
        first = first == BALANCER_NONE ? rank : first;
    }
    if (first == BALANCER_NONE) {
        return BALANCER_NONE;
    }
    balancer->cursor = rank_after(balancer, first);
    return balancer->members[first];
}

uint32_t balancer_pick_weighted_round_robin(struct balancer *balancer)
{
    int64_t total = 0;
    int64_t largest = INT64_MIN;
    uint32_t taken = BALANCER_NONE;
    for (uint32_t i = 0; i < balancer->preferred_count; i++) {
        uint32_t handle = balancer->members[i];
        struct balancer_slot *slot = &balancer->slots[handle];
        if (!balancer_allows(balancer, slot)) {
            continue;
        }
        slot->turn += slot->effective;
        total += slot->effective;
        if (slot->turn > largest) {
            largest = slot->turn;
            taken = handle;
        }
    }
    if (taken != BALANCER_NONE) {
        balancer->slots[taken].turn -= total;
    }
    return taken;
}

/* Whoever came or went took a debt or a credit along: what is left over is spread evenly. A turn that is larger than a
 * whole cycle comes from weights that were larger once; with it an endpoint would wait, or be asked, for too long. */
void balancer_settle_turns(struct balancer *balancer)
{
    if (balancer->options.policy != BALANCER_WEIGHTED_ROUND_ROBIN || balancer->preferred_count == 0) {
        return;
    }
    int64_t count = balancer->preferred_count;
    int64_t cycle = (int64_t)balancer->sums[count - 1];
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++) {
        struct balancer_slot *slot = &balancer->slots[balancer->members[i]];
        slot->turn = slot->turn > cycle ? cycle : slot->turn < -cycle ? -cycle : slot->turn;
        sum += slot->turn;
    }
    int64_t each = sum / count;
    int64_t rest = sum % count; /* has the sign of sum */
    for (int64_t i = 0; i < count; i++) {
        int64_t one = rest > 0 && i < rest ? 1 : rest < 0 && i < -rest ? -1 : 0;
        balancer->slots[balancer->members[i]].turn -= each + one;
    }
}

/* The least loaded one so far; what decides is at hand, so that a look at each reads one place. */
struct least {
    uint32_t rank; /* BALANCER_NONE: none yet */
    uint64_t load, weight;
};

static void look_for_least(const struct balancer *balancer, uint32_t from, uint32_t to, struct least *least)
{
    for (uint32_t rank = from; rank < to; rank++) {
        const struct balancer_slot *slot = &balancer->slots[balancer->members[rank]];
        uint64_t load = (uint64_t)slot->in_flight + 1;
        if (load * least->weight < least->load * slot->effective && balancer_allows(balancer, slot)) {
            *least = (struct least){rank, load, slot->effective};
        }
    }
}

uint32_t balancer_pick_least_outstanding(struct balancer *balancer)
{
    struct least least = {BALANCER_NONE, 1, 0}; /* any load is below that of no weight */
    look_for_least(balancer, balancer->cursor, balancer->preferred_count, &least);
    look_for_least(balancer, 0, balancer->cursor, &least);
    if (least.rank == BALANCER_NONE) {
        return BALANCER_NONE;
    }
    balancer->cursor = rank_after(balancer, least.rank);
    return balancer->members[least.rank];
}

/* Who is eligible, and how much of its weight counts: worked out anew whenever a list, a check, an ejection or a step
 * of a slow start changes it; O(n). Picks find it ready. */
#include "balance/balancer_internal.h"
#include "base/assert.h"

/* A slow start begins at this part and grows in this many steps. */
enum { SLOW_PARTS = 10, SLOW_STEPS = 64 };

struct balancer_census balancer_count_candidates(const struct balancer *balancer)
{
    struct balancer_census census = {0};
    for (uint32_t i = 0; i < balancer->listed; i++) {
        const struct balancer_endpoint *endpoint = &balancer->endpoints[balancer->list[i]];
        if (balancer_is_candidate(endpoint)) {
            census.candidates++;
            census.healthy += balancer_is_healthy(endpoint);
            census.ejected += endpoint->ejected_until_ns != 0;
        }
    }
    return census;
}

static bool is_eligible(const struct balancer *balancer, const struct balancer_endpoint *endpoint)
{
    return balancer_is_candidate(endpoint) && (balancer->panic || balancer_is_healthy(endpoint));
}

static bool in_own_zone(const struct balancer *balancer, const struct balancer_endpoint *endpoint)
{
    return slice_equal(balancer_endpoint_zone(endpoint), balancer->options.zone);
}

/* The own zone has its share when its eligible weight is zone_share_percent of what each zone would have if all
 * eligible weight were spread evenly over the zones: then it carries its own clients, as many as any other zone's. */
static bool prefers_own_zone(const struct balancer *balancer)
{
    if (balancer->options.zone.size == 0 || balancer->panic) {
        return false;
    }
    uint64_t own = 0;
    uint64_t all = 0;
    for (uint32_t i = 0; i < balancer->listed; i++) {
        const struct balancer_endpoint *endpoint = &balancer->endpoints[balancer->list[i]];
        if (is_eligible(balancer, endpoint)) {
            uint64_t weight = balancer->slots[balancer->list[i]].weight;
            all += weight;
            own += in_own_zone(balancer, endpoint) ? weight : 0;
        }
    }
    return own > 0 && own * balancer->zones * 100 >= all * balancer->options.zone_share_percent;
}

static uint32_t gather(const struct balancer *balancer, bool all, bool own, uint32_t count)
{
    for (uint32_t i = 0; i < balancer->listed; i++) {
        const struct balancer_endpoint *endpoint = &balancer->endpoints[balancer->list[i]];
        if (is_eligible(balancer, endpoint) && (all || in_own_zone(balancer, endpoint) == own)) {
            balancer->members[count++] = balancer->list[i];
        }
    }
    return count;
}

/* 1 << WEIGHT_ONE_BITS outside of a slow start. */
static uint32_t slow_factor(const struct balancer *balancer, const struct balancer_endpoint *endpoint)
{
    if (endpoint->slow_since_ns < 0) {
        return 1 << WEIGHT_ONE_BITS;
    }
    double part = (double)(balancer->now_ns - endpoint->slow_since_ns) / (double)balancer->options.slow_start_ns;
    part = part < 1.0 / SLOW_PARTS ? 1.0 / SLOW_PARTS : part;
    return (uint32_t)(part * (1 << WEIGHT_ONE_BITS));
}

/* Who begins to get requests while others had them before starts slowly; but nobody does while all are needed. */
static void weigh(struct balancer *balancer, uint32_t handle, bool entered)
{
    struct balancer_endpoint *endpoint = &balancer->endpoints[handle];
    struct balancer_slot *slot = &balancer->slots[handle];
    if (entered) {
        endpoint->slow_since_ns = balancer->options.slow_start_ns > 0 ? balancer->now_ns : -1;
    }
    if (balancer->panic || (endpoint->slow_since_ns >= 0 &&
                            balancer->now_ns - endpoint->slow_since_ns >= balancer->options.slow_start_ns)) {
        endpoint->slow_since_ns = -1;
    }
    balancer->slow = balancer->slow || endpoint->slow_since_ns >= 0;
    slot->effective = slot->weight * slow_factor(balancer, endpoint); /* 65535 << 16 at most */
    ASSERT(slot->effective > 0);
}

/* Whose turn was next has it still; if it is there no more, the next one of the old order has it. */
static void move_cursor(struct balancer *balancer, uint32_t old_preferred)
{
    uint32_t at = balancer->cursor;
    balancer->cursor = 0;
    for (uint32_t i = 0; i < old_preferred; i++, at = at + 1 < old_preferred ? at + 1 : 0) {
        uint32_t rank = balancer->slots[balancer->old_members[at]].rank;
        if (rank < balancer->preferred_count) {
            balancer->cursor = rank;
            return;
        }
    }
    if (balancer->preferred_count > 0) {
        balancer->cursor = (uint32_t)prng_below(&balancer->prng, balancer->preferred_count);
    }
}

static void sum_up(struct balancer *balancer)
{
    uint64_t sum = 0;
    balancer->preferred_in_flight = 0;
    balancer->even = true;
    for (uint32_t i = 0; i < balancer->preferred_count; i++) {
        const struct balancer_slot *slot = &balancer->slots[balancer->members[i]];
        sum += slot->effective;
        balancer->sums[i] = sum;
        balancer->preferred_in_flight += slot->in_flight;
        balancer->even = balancer->even && slot->effective == balancer->slots[balancer->members[0]].effective;
    }
}

static void set_deadline(struct balancer *balancer)
{
    int64_t deadline_ns = balancer->interval_end_ns;
    for (uint32_t i = 0; i < balancer->listed; i++) {
        int64_t until_ns = balancer->endpoints[balancer->list[i]].ejected_until_ns;
        deadline_ns = until_ns != 0 && until_ns < deadline_ns ? until_ns : deadline_ns;
    }
    if (balancer->slow) {
        int64_t step_ns = balancer->now_ns + balancer->options.slow_start_ns / SLOW_STEPS + 1;
        deadline_ns = step_ns < deadline_ns ? step_ns : deadline_ns;
    }
    balancer->deadline_ns = deadline_ns;
}

static void change_members(struct balancer *balancer)
{
    uint32_t *old = balancer->members;
    uint32_t old_count = balancer->member_count;
    uint32_t old_preferred = balancer->preferred_count;
    balancer->members = balancer->old_members;
    balancer->old_members = old;
    balancer->own_zone = prefers_own_zone(balancer);
    if (balancer->own_zone) {
        balancer->preferred_count = gather(balancer, false, true, 0);
        balancer->member_count = gather(balancer, false, false, balancer->preferred_count);
    } else {
        balancer->preferred_count = balancer->member_count = gather(balancer, true, false, 0);
    }
    balancer->slow = false;
    for (uint32_t i = 0; i < balancer->member_count; i++) {
        uint32_t handle = balancer->members[i];
        weigh(balancer, handle, balancer->slots[handle].rank == BALANCER_NONE && old_count > 0);
    }
    for (uint32_t i = 0; i < old_count; i++) {
        balancer->slots[old[i]].rank = BALANCER_NONE;
    }
    for (uint32_t i = 0; i < balancer->member_count; i++) {
        balancer->slots[balancer->members[i]].rank = i;
    }
    move_cursor(balancer, old_preferred);
}

void balancer_refresh(struct balancer *balancer)
{
    balancer_end_ejections(balancer);
    struct balancer_census census = balancer_count_candidates(balancer);
    uint64_t unhealthy = census.candidates - census.healthy;
    balancer->panic = unhealthy * 100 > (uint64_t)census.candidates * balancer->options.panic_percent;
    change_members(balancer);
    sum_up(balancer);
    balancer_settle_turns(balancer);
    set_deadline(balancer);
}

void balancer_tick(struct balancer *balancer, int64_t now_ns)
{
    balancer_advance(balancer, now_ns);
    if (balancer->now_ns < balancer->deadline_ns) {
        return;
    }
    balancer_end_ejections(balancer); /* whose time is over has its place again before others are compared */
    if (balancer->now_ns >= balancer->interval_end_ns) {
        balancer_compare_rates(balancer);
    }
    balancer_refresh(balancer);
}

int64_t balancer_next_deadline(const struct balancer *balancer) { return balancer->deadline_ns; }

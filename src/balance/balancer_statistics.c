#include "balance/balancer_internal.h"
#include "base/assert.h"

bool balancer_endpoint_statistics(const struct balancer *balancer, uint32_t handle,
                                  struct balancer_statistics *ret_statistics)
{
    if (handle >= balancer->slot_count || balancer->endpoints[handle].presence == BALANCER_FREE) {
        return false;
    }
    const struct balancer_endpoint *endpoint = &balancer->endpoints[handle];
    const struct balancer_slot *slot = &balancer->slots[handle];
    bool eligible = slot->rank != BALANCER_NONE;
    uint64_t full = (uint64_t)slot->weight << WEIGHT_ONE_BITS;
    *ret_statistics = (struct balancer_statistics){
        .id = balancer_endpoint_id(endpoint),
        .address = balancer_endpoint_address(endpoint),
        .zone = balancer_endpoint_zone(endpoint),
        .weight = slot->weight,
        .effective_weight_permille = eligible ? (uint32_t)((uint64_t)slot->effective * 1000 / full) : 1000,
        .listed = endpoint->presence == BALANCER_LISTED,
        .draining = endpoint->draining,
        .healthy = !endpoint->unhealthy,
        .ejected = endpoint->ejected_until_ns != 0,
        .eligible = eligible,
        .ejected_until_ns = endpoint->ejected_until_ns,
        .in_flight = slot->in_flight,
        .consecutive_errors = endpoint->errors_in_row,
        .picked = endpoint->picked,
        .succeeded = endpoint->succeeded,
        .failed = endpoint->failed,
        .cancelled = endpoint->cancelled,
        .ejections = endpoint->ejections,
        .checks_passed = endpoint->checks_passed,
        .checks_failed = endpoint->checks_failed,
        .average_ns = slot->sampled_ns >= 0 ? slot->average_ns : 0,
    };
    return true;
}

uint32_t balancer_listed(const struct balancer *balancer, size_t at)
{
    ASSERT(at < balancer->listed);
    return balancer->list[at];
}

uint32_t balancer_find(const struct balancer *balancer, struct slice id)
{
    for (uint32_t i = 0; i < balancer->listed; i++) {
        if (slice_equal(balancer_endpoint_id(&balancer->endpoints[balancer->list[i]]), id)) {
            return balancer->list[i];
        }
    }
    return BALANCER_NONE;
}

void balancer_summarize(const struct balancer *balancer, struct balancer_summary *ret_summary)
{
    struct balancer_summary summary = {
        .listed = balancer->listed,
        .eligible = balancer->member_count,
        .panic = balancer->panic,
        .own_zone = balancer->own_zone,
        .frozen = balancer->frozen_since_ns >= 0,
        .frozen_since_ns = balancer->frozen_since_ns,
        .picked = balancer->picked,
        .picked_none = balancer->picked_none,
    };
    for (uint32_t i = 0; i < balancer->slot_count; i++) {
        const struct balancer_endpoint *endpoint = &balancer->endpoints[i];
        bool listed = endpoint->presence == BALANCER_LISTED;
        summary.draining += listed && endpoint->draining;
        summary.unhealthy += listed && endpoint->unhealthy;
        summary.ejected += listed && endpoint->ejected_until_ns != 0;
        summary.leaving += endpoint->presence == BALANCER_LEFT && balancer->slots[i].in_flight > 0;
    }
    *ret_summary = summary;
}

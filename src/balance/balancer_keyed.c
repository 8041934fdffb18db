/* From a key to an endpoint. Ring and table are made of the whole list; an owner that cannot take a key now (unhealthy,
 * draining, excluded, at its bound) is passed over, and the search goes on from the key's own place. So only keys of
 * those that cannot take them move, and they come back.
 *
 * A slow start gives an endpoint back a growing part of its keys, always the same ones first.
 *
 * The bound (Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016): an endpoint takes a
 * request when afterwards it has at most ceil(c × (all in flight, this one too) × its part of the weight). The bounds'
 * sum is above what is in flight, so there is always one that is below its own. */
#include "balance/balancer_internal.h"

enum { WALK_STEPS = 512 }; /* past that, who takes it is found by looking at everybody */

__extension__ typedef unsigned __int128 wide;

/* in flight < ceil(x) is in flight < x, so nothing is rounded. */
static bool below_bound(const struct balancer *balancer, const struct balancer_slot *slot)
{
    uint64_t weight = balancer->sums[balancer->preferred_count - 1] - balancer->excluded_weight;
    uint64_t in_flight = balancer->preferred_in_flight - balancer->excluded_in_flight + 1;
    return (wide)slot->in_flight * 100 * weight <
           (wide)balancer->options.ring_load_percent * in_flight * slot->effective;
}

static uint64_t hash_of_pair(const struct balancer *balancer, uint32_t handle, uint64_t key)
{
    return balancer_mix(key ^ balancer->endpoints[handle].id_hash);
}

static bool admitted(const struct balancer *balancer, uint32_t handle, uint64_t key)
{
    const struct balancer_slot *slot = &balancer->slots[handle];
    uint64_t part = slot->effective / slot->weight; /* of 1 << 16 */
    return (hash_of_pair(balancer, handle, key) >> (64 - WEIGHT_ONE_BITS)) < part;
}

static bool can_take(const struct balancer *balancer, uint32_t handle, bool bounded)
{
    const struct balancer_slot *slot = &balancer->slots[handle];
    return slot->rank < balancer->preferred_count && balancer_allows(balancer, slot) &&
           (!bounded || below_bound(balancer, slot));
}

static bool takes(const struct balancer *balancer, uint32_t handle, uint64_t key, bool bounded)
{
    return can_take(balancer, handle, bounded) && (!balancer->slow || admitted(balancer, handle, key));
}

/* Of all that take the key, that with the highest hash of both (Thaler and Ravishankar's rendezvous, 1998). */
static uint32_t pick_by_looking(const struct balancer *balancer, uint64_t key, bool bounded)
{
    uint32_t best = BALANCER_NONE;
    bool best_admitted = false;
    uint64_t best_hash = 0;
    for (uint32_t i = 0; i < balancer->preferred_count; i++) {
        uint32_t handle = balancer->members[i];
        if (!can_take(balancer, handle, bounded)) {
            continue;
        }
        bool in = admitted(balancer, handle, key);
        uint64_t hash = hash_of_pair(balancer, handle, balancer_mix(key));
        if (best == BALANCER_NONE || (in && !best_admitted) || (in == best_admitted && hash > best_hash)) {
            best = handle;
            best_admitted = in;
            best_hash = hash;
        }
    }
    return best;
}

/* The first point at or after this hash, going round. */
static size_t point_at(const struct balancer_ring *ring, uint64_t hash)
{
    size_t low = 0;
    size_t high = ring->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ring->hashes[middle] >= hash) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low == ring->count ? 0 : low;
}

uint32_t balancer_pick_ring(struct balancer *balancer, uint64_t key)
{
    const struct balancer_ring *ring = &balancer->ring;
    uint64_t hash = balancer_mix(key);
    size_t at = point_at(ring, hash);
    for (size_t i = 0; i < WALK_STEPS && i < ring->count; i++) {
        if (takes(balancer, ring->owners[at], hash, true)) {
            return ring->owners[at];
        }
        at = at + 1 == ring->count ? 0 : at + 1;
    }
    return pick_by_looking(balancer, hash, true);
}

uint32_t balancer_pick_maglev(struct balancer *balancer, uint64_t key)
{
    uint64_t hash = balancer_mix(key);
    uint32_t at = (uint32_t)(hash % BALANCER_MAGLEV_SLOTS);
    uint32_t skip = (uint32_t)(balancer_mix(hash) % (BALANCER_MAGLEV_SLOTS - 1)) + 1;
    for (int i = 0; i < WALK_STEPS; i++) {
        if (takes(balancer, balancer->table[at], hash, false)) {
            return balancer->table[at];
        }
        at = (at + skip) % BALANCER_MAGLEV_SLOTS;
    }
    return pick_by_looking(balancer, hash, false);
}

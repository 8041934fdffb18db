/* The ring: each endpoint has points, whose places depend on its id, and whose number depends on its weight, alone; a
 * key belongs to the owner of the first point at or after its own place (Karger et al., "Consistent Hashing and Random
 * Trees", 1997). So an endpoint that comes or goes moves only keys of its own. */
#include "balance/balancer_internal.h"
#include "base/memory.h"

struct point {
    uint64_t hash;
    uint64_t id_hash; /* decides where two hashes are equal, the same at every balancer */
    uint32_t owner;
};

uint64_t balancer_ring_points(const struct balancer *balancer, uint32_t weight, uint32_t ring_weight)
{
    uint64_t points = ((uint64_t)balancer->options.ring_points * weight + ring_weight / 2) / ring_weight;
    return points == 0 ? 1 : points;
}

static int compare_points(const void *left, const void *right)
{
    const struct point *a = left;
    const struct point *b = right;
    if (a->hash != b->hash) {
        return a->hash < b->hash ? -1 : 1;
    }
    return (a->id_hash > b->id_hash) - (a->id_hash < b->id_hash);
}

static void add_points(const struct balancer *balancer, uint32_t handle, struct point *points, size_t *count)
{
    uint64_t id_hash = balancer->endpoints[handle].id_hash;
    uint64_t state = balancer_mix(id_hash);
    uint64_t mine = balancer_ring_points(balancer, balancer->slots[handle].weight, balancer->ring.weight);
    for (uint64_t i = 0; i < mine; i++) {
        points[(*count)++] = (struct point){prng_splitmix(&state), id_hash, handle};
    }
}

void balancer_ring_build(struct balancer *balancer)
{
    struct balancer_ring *ring = &balancer->ring;
    size_t total = 0;
    for (uint32_t i = 0; i < balancer->listed; i++) {
        total += balancer_ring_points(balancer, balancer->slots[balancer->list[i]].weight, ring->weight);
    }
    ring->count = 0;
    if (total == 0) {
        return;
    }
    struct point *points = memory_allocate(total * sizeof(*points));
    for (uint32_t i = 0; i < balancer->listed; i++) {
        add_points(balancer, balancer->list[i], points, &ring->count);
    }
    qsort(points, total, sizeof(*points), compare_points);
    ring->hashes = memory_resize(ring->hashes, total * sizeof(ring->hashes[0]));
    ring->owners = memory_resize(ring->owners, total * sizeof(ring->owners[0]));
    for (size_t i = 0; i < total; i++) {
        ring->hashes[i] = points[i].hash;
        ring->owners[i] = points[i].owner;
    }
    free(points);
}

/* The table of Maglev (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
 * section 3.4): each endpoint has an order of preference over all slots, from an offset and a skip that two hashes of
 * its id give; they take turns, each taking the first free slot of its order.
 *
 * Weights: an endpoint's slots are its exact part of the table, rounded down or up, the largest remainders up; its k-th
 * turn comes at (k + 1/2) / weight. With equal weights these are rounds, as in the paper. An endpoint whose part is far
 * below one slot may have none, and then gets only keys that others cannot take.
 *
 * The endpoints are taken in the order of their ids' hashes, so the order of the list does not matter. */
#include "balance/balancer_internal.h"
#include "base/assert.h"
#include "base/memory.h"

struct taker {
    uint32_t handle;
    uint32_t weight;
    uint32_t at, skip; /* the next slot of its order */
    uint32_t quota;    /* slots that it gets */
    uint32_t taken;
    uint32_t place;     /* among the takers; decides between turns at the same time */
    uint64_t remainder; /* of its exact part */
    uint64_t id_hash;
    struct slice id;
};

static int compare_ids(const void *left, const void *right)
{
    const struct taker *a = left;
    const struct taker *b = right;
    if (a->id_hash != b->id_hash) {
        return a->id_hash < b->id_hash ? -1 : 1;
    }
    return slice_compare(a->id, b->id);
}

static int compare_remainders(const void *left, const void *right)
{
    const struct taker *a = *(struct taker *const *)left;
    const struct taker *b = *(struct taker *const *)right;
    if (a->remainder != b->remainder) {
        return a->remainder > b->remainder ? -1 : 1;
    }
    return (a->place > b->place) - (a->place < b->place);
}

static void init_takers(const struct balancer *balancer, struct taker *takers)
{
    for (uint32_t i = 0; i < balancer->listed; i++) {
        uint32_t handle = balancer->list[i];
        uint64_t hash = balancer->endpoints[handle].id_hash;
        uint64_t first = balancer_mix(hash);
        takers[i] = (struct taker){.handle = handle,
                                   .weight = balancer->slots[handle].weight,
                                   .at = (uint32_t)(first % BALANCER_MAGLEV_SLOTS),
                                   .skip = (uint32_t)(balancer_mix(first) % (BALANCER_MAGLEV_SLOTS - 1)) + 1,
                                   .id_hash = hash,
                                   .id = balancer_endpoint_id(&balancer->endpoints[handle])};
    }
    qsort(takers, balancer->listed, sizeof(*takers), compare_ids);
    for (uint32_t i = 0; i < balancer->listed; i++) {
        takers[i].place = i;
    }
}

/* By largest remainders; `order` is in the order of places. */
static void share_out(struct taker **order, uint32_t count)
{
    uint64_t weight = 0;
    for (uint32_t i = 0; i < count; i++) {
        weight += order[i]->weight;
    }
    uint32_t left = BALANCER_MAGLEV_SLOTS;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t part = (uint64_t)BALANCER_MAGLEV_SLOTS * order[i]->weight;
        order[i]->quota = (uint32_t)(part / weight);
        order[i]->remainder = part % weight;
        left -= order[i]->quota;
    }
    ASSERT(left < count);
    qsort(order, count, sizeof(order[0]), compare_remainders);
    for (uint32_t i = 0; i < left; i++) {
        order[i]->quota++;
    }
}

/* Whether a's next turn comes before b's: (taken + 1/2) / weight. */
static bool turn_before(const struct taker *a, const struct taker *b)
{
    uint64_t of_a = (2 * (uint64_t)a->taken + 1) * b->weight;
    uint64_t of_b = (2 * (uint64_t)b->taken + 1) * a->weight;
    return of_a != of_b ? of_a < of_b : a->place < b->place;
}

/* A binary heap of who still takes turns; the one at `at` may have to go down. */
static void sift_down(struct taker **heap, uint32_t count, uint32_t at)
{
    struct taker *moved = heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count) {
            break;
        }
        if (child + 1 < count && turn_before(heap[child + 1], heap[child])) {
            child++;
        }
        if (!turn_before(heap[child], moved)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static void take_turn(uint16_t *table, struct taker *taker)
{
    while (table[taker->at] != BALANCER_TABLE_EMPTY) {
        taker->at = (taker->at + taker->skip) % BALANCER_MAGLEV_SLOTS;
    }
    table[taker->at] = (uint16_t)taker->handle;
    taker->taken++;
}

static void fill(uint16_t *table, struct taker **heap, uint32_t count)
{
    uint32_t some = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (heap[i]->quota > 0) {
            heap[some++] = heap[i];
        }
    }
    for (uint32_t i = some / 2; i > 0; i--) {
        sift_down(heap, some, i - 1);
    }
    while (some > 0) {
        take_turn(table, heap[0]);
        if (heap[0]->taken == heap[0]->quota) {
            heap[0] = heap[--some];
        }
        sift_down(heap, some, 0);
    }
}

void balancer_maglev_build(struct balancer *balancer)
{
    if (balancer->table == NULL) {
        balancer->table = memory_allocate(BALANCER_MAGLEV_SLOTS * sizeof(balancer->table[0]));
    }
    memset(balancer->table, 0xff, BALANCER_MAGLEV_SLOTS * sizeof(balancer->table[0]));
    uint32_t count = balancer->listed;
    if (count == 0) {
        return;
    }
    struct taker *takers = memory_allocate_zeroed(count, sizeof(*takers));
    struct taker **order = memory_allocate_zeroed(count, sizeof(*order));
    init_takers(balancer, takers);
    for (uint32_t i = 0; i < count; i++) {
        order[i] = &takers[i];
    }
    share_out(order, count);
    fill(balancer->table, order, count);
    free(order);
    free(takers);
}

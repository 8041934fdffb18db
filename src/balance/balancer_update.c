/* A new list: checked as a whole first, then taken over. An id's slot stays its own for as long as it is known, so
 * nothing has to be carried over. */
#include "balance/balancer_internal.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

const char *balancer_refusal_text(enum balancer_refusal why)
{
    switch (why) {
    case BALANCER_REFUSED_NOTHING: return "nothing was refused";
    case BALANCER_REFUSED_COUNT: return "more than 4096 endpoints: balance over fewer, or in two steps";
    case BALANCER_REFUSED_ID: return "an endpoint's id is 1 to 255 bytes without spaces or control characters";
    case BALANCER_REFUSED_DUPLICATE: return "two endpoints have the same id: give each its own";
    case BALANCER_REFUSED_ADDRESS:
        return "an endpoint's address is 1 to 255 bytes without spaces or control characters";
    case BALANCER_REFUSED_WEIGHT: return "an endpoint's weight is 1 to 65535; to send it nothing new, drain it";
    case BALANCER_REFUSED_ZONE: return "a zone's name is at most 63 bytes without spaces or control characters";
    case BALANCER_REFUSED_RING_POINTS:
        return "the ring would have more than 4096 points for one endpoint or 1048576 in all: give fewer points, or a "
               "larger ring weight";
    case BALANCER_REFUSED_IN_FLIGHT:
        return "more than 4096 endpoints that left still have requests in flight: try again when some have ended";
    }
    return "refused";
}

static bool is_name(struct slice text, size_t least, size_t most)
{
    if (text.size < least || text.size > most) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] <= ' ' || text.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static enum balancer_refusal check_listing(const struct balancer_listing *listing)
{
    if (!is_name(listing->id, 1, BALANCER_MAXIMUM_ID_BYTES)) {
        return BALANCER_REFUSED_ID;
    }
    if (!is_name(listing->address, 1, BALANCER_MAXIMUM_ADDRESS_BYTES)) {
        return BALANCER_REFUSED_ADDRESS;
    }
    if (listing->weight < 1 || listing->weight > BALANCER_MAXIMUM_WEIGHT) {
        return BALANCER_REFUSED_WEIGHT;
    }
    return is_name(listing->zone, 0, BALANCER_MAXIMUM_ZONE_BYTES) ? BALANCER_REFUSED_NOTHING : BALANCER_REFUSED_ZONE;
}

/* What an update works with. */
struct update {
    const struct balancer_listing *list;
    size_t count;
    uint32_t *handles; /* of each in the list; BALANCER_NONE: new */
    uint64_t *hashes;  /* of their ids */
    bool *stays;       /* by slot: it is in the new list */
    uint32_t ring_weight;
};

/* Slots by their ids, and what is new in the list: open addressing, half empty at least. */
struct id_table {
    uint32_t *items; /* a slot; NEW_BIT and an index of the list; BALANCER_NONE */
    size_t mask;
};

static const uint32_t NEW_BIT = 1U << 31;

static void id_table_init(struct id_table *table, size_t items)
{
    size_t size = 16;
    while (size < 2 * items) {
        size *= 2;
    }
    table->mask = size - 1;
    table->items = memory_allocate(size * sizeof(table->items[0]));
    memset(table->items, 0xff, size * sizeof(table->items[0]));
}

static struct slice id_of_item(const struct balancer *balancer, const struct update *update, uint32_t item)
{
    return item & NEW_BIT ? update->list[item & ~NEW_BIT].id : balancer_endpoint_id(&balancer->endpoints[item]);
}

/* Where the id is, or would be. */
static uint32_t *id_table_find(const struct balancer *balancer, const struct update *update,
                               const struct id_table *table, struct slice id, uint64_t hash)
{
    size_t at = hash & table->mask;
    while (table->items[at] != BALANCER_NONE && !slice_equal(id_of_item(balancer, update, table->items[at]), id)) {
        at = (at + 1) & table->mask;
    }
    return &table->items[at];
}

/* Finds the slot of each in the list; false at an id that is there twice, which *ret_at says. */
static bool find_slots(const struct balancer *balancer, struct update *update, size_t *ret_at)
{
    struct id_table table;
    id_table_init(&table, balancer->slot_count + update->count);
    for (uint32_t i = 0; i < balancer->slot_count; i++) {
        const struct balancer_endpoint *endpoint = &balancer->endpoints[i];
        if (endpoint->presence != BALANCER_FREE) {
            *id_table_find(balancer, update, &table, balancer_endpoint_id(endpoint), endpoint->id_hash) = i;
        }
    }
    bool unique = true;
    for (size_t i = 0; i < update->count && unique; i++) {
        struct slice id = update->list[i].id;
        update->hashes[i] = hash_bytes(0, id.data, id.size);
        uint32_t *item = id_table_find(balancer, update, &table, id, update->hashes[i]);
        if (*item == BALANCER_NONE) {
            *item = NEW_BIT | (uint32_t)i;
            update->handles[i] = BALANCER_NONE;
        } else if (*item & NEW_BIT || update->stays[*item]) {
            *ret_at = i;
            unique = false;
        } else {
            update->handles[i] = *item;
            update->stays[*item] = true;
        }
    }
    free(table.items);
    return unique;
}

static bool too_many_leave(const struct balancer *balancer, const struct update *update)
{
    uint32_t busy = 0;
    for (uint32_t i = 0; i < balancer->slot_count; i++) {
        busy += balancer->slots[i].in_flight > 0 && !update->stays[i];
    }
    return busy > BALANCER_MAXIMUM_REMEMBERED;
}

static bool ring_fits(const struct balancer *balancer, struct update *update)
{
    update->ring_weight = balancer->ring.weight;
    for (size_t i = 0; i < update->count && balancer->ring.weight == 0; i++) {
        update->ring_weight =
            update->list[i].weight > update->ring_weight ? update->list[i].weight : update->ring_weight;
    }
    uint64_t total = 0;
    for (size_t i = 0; i < update->count && balancer->options.policy == BALANCER_RING; i++) {
        uint64_t points = balancer_ring_points(balancer, update->list[i].weight, update->ring_weight);
        total += points;
        if (points > BALANCER_MAXIMUM_RING_POINTS || total > BALANCER_MAXIMUM_RING_TOTAL_POINTS) {
            return false;
        }
    }
    return true;
}

static struct balancer_refused check_list(const struct balancer *balancer, struct update *update)
{
    for (size_t i = 0; i < update->count; i++) {
        enum balancer_refusal why = check_listing(&update->list[i]);
        if (why != BALANCER_REFUSED_NOTHING) {
            return (struct balancer_refused){why, i};
        }
    }
    size_t at = 0;
    if (!find_slots(balancer, update, &at)) {
        return (struct balancer_refused){BALANCER_REFUSED_DUPLICATE, at};
    }
    if (!ring_fits(balancer, update)) {
        return (struct balancer_refused){.why = BALANCER_REFUSED_RING_POINTS};
    }
    if (too_many_leave(balancer, update)) {
        return (struct balancer_refused){.why = BALANCER_REFUSED_IN_FLIGHT};
    }
    return (struct balancer_refused){.why = BALANCER_REFUSED_NOTHING};
}

/* ---- taking over ---- */

static void forget(struct balancer *balancer, uint32_t handle)
{
    free(balancer->endpoints[handle].text);
    balancer->endpoints[handle] = (struct balancer_endpoint){.presence = BALANCER_FREE};
    balancer->slots[handle] = (struct balancer_slot){.rank = BALANCER_NONE};
}

struct leaver {
    uint64_t number;
    uint32_t handle;
};

static int compare_leavers(const void *left, const void *right)
{
    uint64_t a = ((const struct leaver *)left)->number;
    uint64_t b = ((const struct leaver *)right)->number;
    return (a > b) - (a < b);
}

/* Those that left first are forgotten first, but none with requests in flight. */
static void forget_surplus(struct balancer *balancer)
{
    struct leaver *idle = memory_allocate((balancer->slot_count + 1) * sizeof(*idle));
    uint32_t idle_count = 0;
    uint32_t left = 0;
    for (uint32_t i = 0; i < balancer->slot_count; i++) {
        if (balancer->endpoints[i].presence == BALANCER_LEFT) {
            left++;
            if (balancer->slots[i].in_flight == 0) {
                idle[idle_count++] = (struct leaver){balancer->endpoints[i].left_number, i};
            }
        }
    }
    if (left > BALANCER_MAXIMUM_REMEMBERED) {
        qsort(idle, idle_count, sizeof(*idle), compare_leavers);
        for (uint32_t i = 0; i < left - BALANCER_MAXIMUM_REMEMBERED; i++) {
            forget(balancer, idle[i].handle);
        }
    }
    free(idle);
}

/* Whether anybody left or came back. */
static bool note_presence(struct balancer *balancer, const struct update *update)
{
    bool any = false;
    for (uint32_t i = 0; i < balancer->listed; i++) {
        uint32_t handle = balancer->list[i];
        if (!update->stays[handle]) {
            balancer->endpoints[handle].presence = BALANCER_LEFT;
            balancer->endpoints[handle].left_number = balancer->leavers++;
            any = true;
        }
    }
    for (size_t i = 0; i < update->count; i++) {
        uint32_t handle = update->handles[i];
        if (handle != BALANCER_NONE && balancer->endpoints[handle].presence == BALANCER_LEFT) {
            balancer->endpoints[handle].presence = BALANCER_LISTED;
            any = true;
        }
    }
    return any;
}

static void reserve_slots(struct balancer *balancer, size_t count)
{
    if (count <= balancer->slot_capacity) {
        return;
    }
    size_t capacity = count < BALANCER_MAXIMUM_SLOTS / 2 ? count * 2 : BALANCER_MAXIMUM_SLOTS;
    balancer->slots = memory_resize(balancer->slots, capacity * sizeof(balancer->slots[0]));
    balancer->endpoints = memory_resize(balancer->endpoints, capacity * sizeof(balancer->endpoints[0]));
    balancer->slot_capacity = (uint32_t)capacity;
}

static void reserve_list(struct balancer *balancer, size_t count)
{
    if (count <= balancer->list_capacity) {
        return;
    }
    size_t capacity = count < BALANCER_MAXIMUM_ENDPOINTS / 2 ? count * 2 : BALANCER_MAXIMUM_ENDPOINTS;
    balancer->list = memory_resize(balancer->list, capacity * sizeof(balancer->list[0]));
    balancer->members = memory_resize(balancer->members, capacity * sizeof(balancer->members[0]));
    balancer->old_members = memory_resize(balancer->old_members, capacity * sizeof(balancer->old_members[0]));
    balancer->sums = memory_resize(balancer->sums, capacity * sizeof(balancer->sums[0]));
    balancer->list_capacity = (uint32_t)capacity;
}

/* A slot for a new id; *free_from is where to look for one that is free. */
static uint32_t slot_create(struct balancer *balancer, uint64_t id_hash, uint32_t *free_from)
{
    while (*free_from < balancer->slot_count && balancer->endpoints[*free_from].presence != BALANCER_FREE) {
        (*free_from)++;
    }
    uint32_t handle = *free_from;
    if (handle == balancer->slot_count) {
        ASSERT(handle < BALANCER_MAXIMUM_SLOTS);
        reserve_slots(balancer, (size_t)handle + 1);
        balancer->slot_count++;
    }
    balancer->slots[handle] = (struct balancer_slot){.sampled_ns = -1, .rank = BALANCER_NONE};
    balancer->endpoints[handle] = (struct balancer_endpoint){.id_hash = id_hash, .slow_since_ns = -1};
    return handle;
}

static void keep_texts(struct balancer_endpoint *endpoint, const struct balancer_listing *listing)
{
    size_t size = listing->id.size + listing->address.size + listing->zone.size;
    char *text = memory_allocate(size);
    memcpy(text, listing->id.data, listing->id.size);
    memcpy(text + listing->id.size, listing->address.data, listing->address.size);
    if (listing->zone.size > 0) {
        memcpy(text + listing->id.size + listing->address.size, listing->zone.data, listing->zone.size);
    }
    free(endpoint->text);
    endpoint->text = text;
    endpoint->id_size = (uint16_t)listing->id.size;
    endpoint->address_size = (uint16_t)listing->address.size;
    endpoint->zone_size = (uint16_t)listing->zone.size;
}

/* Whether the ring and the table, which are made of ids and weights, have to be made anew. */
static bool take_over(struct balancer *balancer, const struct update *update)
{
    uint32_t free_from = 0;
    bool changed = false;
    for (size_t i = 0; i < update->count; i++) {
        const struct balancer_listing *listing = &update->list[i];
        uint32_t handle = update->handles[i];
        if (handle == BALANCER_NONE) {
            handle = slot_create(balancer, update->hashes[i], &free_from);
        }
        struct balancer_endpoint *endpoint = &balancer->endpoints[handle];
        changed = changed || endpoint->presence != BALANCER_LISTED || balancer->slots[handle].weight != listing->weight;
        keep_texts(endpoint, listing);
        endpoint->presence = BALANCER_LISTED;
        endpoint->draining = listing->draining;
        balancer->slots[handle].weight = listing->weight;
        balancer->list[i] = handle;
    }
    balancer->listed = (uint32_t)update->count;
    return changed;
}

static int compare_hashes(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Uses `scratch`, with room for one of each in the list. */
static void count_zones(struct balancer *balancer, uint64_t *scratch)
{
    size_t count = 0;
    for (uint32_t i = 0; i < balancer->listed; i++) {
        const struct balancer_endpoint *endpoint = &balancer->endpoints[balancer->list[i]];
        if (!endpoint->draining) {
            struct slice zone = balancer_endpoint_zone(endpoint);
            scratch[count++] = hash_bytes(0, zone.data, zone.size);
        }
    }
    qsort(scratch, count, sizeof(scratch[0]), compare_hashes);
    balancer->zones = 0;
    for (size_t i = 0; i < count; i++) {
        balancer->zones += i == 0 || scratch[i] != scratch[i - 1];
    }
}

static void apply(struct balancer *balancer, const struct update *update)
{
    bool changed = note_presence(balancer, update);
    forget_surplus(balancer);
    reserve_list(balancer, update->count);
    changed = take_over(balancer, update) || changed;
    balancer->ring.weight = update->ring_weight;
    if (balancer->options.policy == BALANCER_RING && changed) {
        balancer_ring_build(balancer);
    }
    if (balancer->options.policy == BALANCER_MAGLEV && changed) {
        balancer_maglev_build(balancer);
    }
    count_zones(balancer, update->hashes);
    balancer->frozen_since_ns = -1;
    balancer_refresh(balancer);
}

static enum status status_of(enum balancer_refusal why)
{
    switch (why) {
    case BALANCER_REFUSED_NOTHING: return STATUS_OK;
    case BALANCER_REFUSED_COUNT:
    case BALANCER_REFUSED_RING_POINTS: return STATUS_TOO_LARGE;
    case BALANCER_REFUSED_IN_FLIGHT: return STATUS_FULL;
    default: return STATUS_INVALID;
    }
}

enum status balancer_update(struct balancer *balancer, const struct balancer_listing *list, size_t count,
                            int64_t now_ns, struct balancer_refused *ret_refused)
{
    balancer_advance(balancer, now_ns);
    struct balancer_refused refused = {.why = BALANCER_REFUSED_COUNT};
    if (count <= BALANCER_MAXIMUM_ENDPOINTS) {
        struct update update = {.list = list,
                                .count = count,
                                .handles = memory_allocate((count + 1) * sizeof(uint32_t)),
                                .hashes = memory_allocate((count + 1) * sizeof(uint64_t)),
                                .stays = memory_allocate_zeroed(balancer->slot_count + 1, sizeof(bool))};
        refused = check_list(balancer, &update);
        if (refused.why == BALANCER_REFUSED_NOTHING) {
            apply(balancer, &update);
        }
        free(update.handles);
        free(update.hashes);
        free(update.stays);
    }
    if (ret_refused != NULL && refused.why != BALANCER_REFUSED_NOTHING) {
        *ret_refused = refused;
    }
    return status_of(refused.why);
}

#include "cluster/members.h"

#include "base/hash.h"
#include "base/memory.h"
#include "cluster/members_internal.h"

#include <stdlib.h>

struct members *members_create(void)
{
    struct members *members = memory_allocate_zeroed(1, sizeof(*members));
    return members;
}

void members_destroy(struct members *members) { free(members); }

struct member *members_find_mutable(struct members *members, uint64_t id)
{
    for (uint32_t i = 0; i < members->count; i++) {
        if (members->nodes[i].id == id) {
            return &members->nodes[i];
        }
    }
    return NULL;
}

const struct member *members_find(const struct members *members, uint64_t id)
{
    return members_find_mutable((struct members *)members, id);
}

size_t members_placeable(const struct members *members, uint64_t ret_ids[static PLACEMENT_MAXIMUM_NODES])
{
    size_t count = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        if (members->nodes[i].state == MEMBER_ACTIVE) {
            ret_ids[count++] = members->nodes[i].id;
        }
    }
    return count;
}

uint64_t members_digest(const struct members *members)
{
    struct buffer bytes;
    buffer_init(&bytes);
    members_encode(members, &bytes);
    uint64_t digest = hash_bytes(0, bytes.data, bytes.size);
    buffer_deinit(&bytes);
    return digest;
}

/* ---- addresses ---- */

static bool host_valid(struct slice host)
{
    for (size_t i = 0; i < host.size; i++) {
        uint8_t c = host.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && (c == '\0' || strchr(".:_%-", c) == NULL)) {
            return false;
        }
    }
    return host.size > 0 && host.size < MEMBERS_HOST_BYTES;
}

bool member_address_valid(const struct member_address *address)
{
    return address->port != 0 && host_valid(slice_of(address->host, strnlen(address->host, MEMBERS_HOST_BYTES)));
}

bool member_address_make(struct member_address *ret_address, struct slice host, int64_t port)
{
    if (!host_valid(host) || port < 1 || port > UINT16_MAX) {
        return false;
    }
    *ret_address = (struct member_address){.port = (uint16_t)port};
    memcpy(ret_address->host, host.data, host.size);
    return true;
}

bool members_address_equal(const struct member_address *a, const struct member_address *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

bool members_address_taken(const struct members *members, uint64_t id, const struct member_address *client,
                           const struct member_address *peer)
{
    for (uint32_t i = 0; i < members->count; i++) {
        const struct member *node = &members->nodes[i];
        if (node->id != id &&
            (members_address_equal(&node->client, client) || members_address_equal(&node->peer, peer))) {
            return true;
        }
    }
    return false;
}

/* ---- the invariants ---- */

static bool node_valid(const struct members *members, uint32_t at)
{
    const struct member *node = &members->nodes[at];
    bool seen = node->format != 0;
    return node->id > (at == 0 ? 0 : members->nodes[at - 1].id) && node->id <= members->last_id &&
           node->id <= MEMBERS_MAXIMUM_ID && node->state >= MEMBER_JOINING && node->state <= MEMBER_LEAVING &&
           member_address_valid(&node->client) && member_address_valid(&node->peer) &&
           !members_address_taken(members, node->id, &node->client, &node->peer) &&
           (!seen || (node->format >= members->format && !id128_is_zero(&node->incarnation)));
}

bool members_place_sound(const struct placement_shard *place)
{
    for (size_t i = 0; i < place->voter_count; i++) {
        if (place->voters[i] <= (i == 0 ? 0 : place->voters[i - 1])) {
            return false;
        }
    }
    return place->voter_count > 0 && placement_votes(place, place->leader);
}

bool members_place_valid(const struct members *members, const struct placement_shard *place)
{
    if (place->voter_count > members->replicas || !members_place_sound(place)) {
        return false;
    }
    for (size_t i = 0; i < place->voter_count; i++) {
        const struct member *node = members_find(members, place->voters[i]);
        if (node == NULL || node->state == MEMBER_JOINING) {
            return false;
        }
    }
    return true;
}

static bool is_empty(const struct members *members)
{
    return members->epoch == 0 && members->last_id == 0 && members->format == 0 && members->replicas == 0 &&
           members->placement.shard_count == 0 && id128_is_zero(&members->cluster);
}

bool members_valid(const struct members *members)
{
    if (members->count == 0) {
        return is_empty(members);
    }
    uint32_t shards = members->placement.shard_count;
    uint64_t active[PLACEMENT_MAXIMUM_NODES];
    if (id128_is_zero(&members->cluster) || members->epoch == 0 || members->format == 0 || members->replicas == 0 ||
        members->replicas > PLACEMENT_MAXIMUM_REPLICAS || members->count > PLACEMENT_MAXIMUM_NODES || shards == 0 ||
        shards > SLOT_MAXIMUM_SHARDS || members_placeable(members, active) == 0) {
        return false;
    }
    for (uint32_t i = 0; i < members->count; i++) {
        if (!node_valid(members, i)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < shards; i++) {
        if (!members_place_valid(members, &members->placement.shards[i])) {
            return false;
        }
    }
    return true;
}

/* ---- the first state ---- */

static int by_id(const void *a, const void *b)
{
    const struct member *one = a;
    const struct member *other = b;
    return (one->id > other->id) - (one->id < other->id);
}

enum status members_make(struct members *members, const struct id128 *cluster, uint32_t shard_count, uint32_t replicas,
                         const struct member *nodes, size_t node_count)
{
    if (node_count == 0 || node_count > PLACEMENT_MAXIMUM_NODES || shard_count == 0 ||
        shard_count > SLOT_MAXIMUM_SHARDS || replicas == 0 || replicas > PLACEMENT_MAXIMUM_REPLICAS) {
        return STATUS_INVALID;
    }
    struct members *made = members_create();
    *made = (struct members){.cluster = *cluster, .epoch = 1, .format = MEMBERS_FORMAT, .replicas = replicas};
    made->count = (uint32_t)node_count;
    for (size_t i = 0; i < node_count; i++) {
        made->nodes[i] =
            (struct member){.id = nodes[i].id, .incarnation = nodes[i].incarnation, .state = MEMBER_ACTIVE};
        made->nodes[i].client = nodes[i].client;
        made->nodes[i].peer = nodes[i].peer;
    }
    qsort(made->nodes, node_count, sizeof(made->nodes[0]), by_id);
    made->last_id = made->nodes[node_count - 1].id;
    bool distinct = made->nodes[0].id != 0;
    for (size_t i = 1; i < node_count; i++) {
        distinct = distinct && made->nodes[i].id != made->nodes[i - 1].id;
    }
    uint64_t ids[PLACEMENT_MAXIMUM_NODES];
    if (distinct) {
        placement_init(&made->placement, shard_count);
        placement_balance(&made->placement, replicas, ids, members_placeable(made, ids));
    }
    bool valid = distinct && members_valid(made);
    if (valid) {
        *members = *made;
    }
    members_destroy(made);
    return valid ? STATUS_OK : STATUS_INVALID;
}

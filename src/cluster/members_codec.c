/* Bytes of the state (members.h) and of changes:
 *
 *   version u8 (1) · kind u8 · then by kind
 *   BOOTSTRAP state · SEEN node, incarnation, client, peer, format, start · ADD node, client, peer
 *   PROMOTE, REMOVE, FORGET node · PLACE shard, place · RAISE format
 *
 * Numbers are varints unless members.h says otherwise. */
#include "base/assert.h"
#include "base/record.h"
#include "cluster/members_internal.h"

enum { STATE_VERSION = 1, CHANGE_VERSION = 1 };

/* ---- writing ---- */

static void put_id128(struct buffer *out, const struct id128 *id) { buffer_append(out, id->bytes, sizeof(id->bytes)); }

static void put_address(struct buffer *out, const struct member_address *address)
{
    size_t size = strlen(address->host);
    buffer_append_byte(out, (uint8_t)size);
    buffer_append(out, address->host, size);
    put_u16(buffer_reserve(out, 2), address->port);
    out->size += 2;
}

static void put_place(struct buffer *out, const struct placement_shard *place)
{
    buffer_append_byte(out, place->voter_count);
    record_put_numbers(out, place->voters, place->voter_count);
    record_put_number(out, place->leader);
}

void members_encode(const struct members *members, struct buffer *out)
{
    ASSERT(members_valid(members));
    buffer_append_byte(out, STATE_VERSION);
    put_id128(out, &members->cluster);
    record_put_number(out, members->epoch);
    record_put_number(out, members->last_id);
    record_put_number(out, members->format);
    record_put_number(out, members->replicas);
    record_put_number(out, members->count);
    for (uint32_t i = 0; i < members->count; i++) {
        const struct member *node = &members->nodes[i];
        record_put_number(out, node->id);
        put_id128(out, &node->incarnation);
        put_address(out, &node->client);
        put_address(out, &node->peer);
        record_put_number(out, node->format);
        record_put_number(out, node->start);
        buffer_append_byte(out, (uint8_t)node->state);
    }
    record_put_number(out, members->placement.shard_count);
    for (uint32_t i = 0; i < members->placement.shard_count; i++) {
        put_place(out, &members->placement.shards[i]);
    }
}

/* ---- reading ---- */

static bool take_byte(struct slice *from, uint8_t *ret_byte)
{
    if (from->size == 0) {
        return false;
    }
    *ret_byte = from->data[0];
    *from = slice_of(from->data + 1, from->size - 1);
    return true;
}

static bool take_u32(struct slice *from, uint32_t *ret_value)
{
    uint64_t value;
    if (!varint_take(from, &value) || value > UINT32_MAX) {
        return false;
    }
    *ret_value = (uint32_t)value;
    return true;
}

static bool take_id128(struct slice *from, struct id128 *ret_id)
{
    if (from->size < sizeof(ret_id->bytes)) {
        return false;
    }
    memcpy(ret_id->bytes, from->data, sizeof(ret_id->bytes));
    *from = slice_of(from->data + sizeof(ret_id->bytes), from->size - sizeof(ret_id->bytes));
    return true;
}

static bool take_address(struct slice *from, struct member_address *ret_address)
{
    uint8_t size;
    if (!take_byte(from, &size) || from->size < (size_t)size + 2 ||
        !member_address_make(ret_address, slice_of(from->data, size), get_u16(from->data + size))) {
        return false;
    }
    *from = slice_of(from->data + size + 2, from->size - size - 2);
    return true;
}

static bool take_place(struct slice *from, struct placement_shard *place)
{
    *place = (struct placement_shard){0};
    if (!take_byte(from, &place->voter_count) || place->voter_count > PLACEMENT_MAXIMUM_REPLICAS) {
        return false;
    }
    for (size_t i = 0; i < place->voter_count; i++) {
        if (!varint_take(from, &place->voters[i])) {
            return false;
        }
    }
    return varint_take(from, &place->leader);
}

static bool take_node(struct slice *from, struct member *node)
{
    uint8_t state;
    *node = (struct member){0};
    if (!varint_take(from, &node->id) || !take_id128(from, &node->incarnation) || !take_address(from, &node->client) ||
        !take_address(from, &node->peer) || !take_u32(from, &node->format) || !varint_take(from, &node->start) ||
        !take_byte(from, &state)) {
        return false;
    }
    node->state = (enum member_state)state;
    return true;
}

static bool take_state(struct slice *from, struct members *members)
{
    if (!take_id128(from, &members->cluster) || !varint_take(from, &members->epoch) ||
        !varint_take(from, &members->last_id) || !take_u32(from, &members->format) ||
        !take_u32(from, &members->replicas) || !take_u32(from, &members->count) ||
        members->count > PLACEMENT_MAXIMUM_NODES) {
        return false;
    }
    for (uint32_t i = 0; i < members->count; i++) {
        if (!take_node(from, &members->nodes[i])) {
            return false;
        }
    }
    if (!take_u32(from, &members->placement.shard_count) || members->placement.shard_count > SLOT_MAXIMUM_SHARDS) {
        return false;
    }
    for (uint32_t i = 0; i < members->placement.shard_count; i++) {
        if (!take_place(from, &members->placement.shards[i])) {
            return false;
        }
    }
    return from->size == 0 && members_valid(members);
}

/* The version byte: one that this binary knows, from the front. */
static enum status take_version(struct slice *from, uint8_t known)
{
    uint8_t version;
    if (!take_byte(from, &version) || version == 0) {
        return STATUS_CORRUPT;
    }
    return version > known ? STATUS_VERSION : STATUS_OK;
}

enum status members_decode(struct slice bytes, struct members *ret_members)
{
    enum status status = take_version(&bytes, STATE_VERSION);
    if (status != STATUS_OK) {
        return status;
    }
    struct members *members = members_create();
    bool good = take_state(&bytes, members);
    if (good) {
        *ret_members = *members;
    }
    members_destroy(members);
    return good ? STATUS_OK : STATUS_CORRUPT;
}

/* ---- changes ---- */

static bool change_sound(const struct members_change *change)
{
    if (change->node > MEMBERS_MAXIMUM_ID) {
        return false;
    }
    switch (change->kind) {
    case MEMBERS_BOOTSTRAP: return change->state.size > 0;
    case MEMBERS_SEEN:
        return change->node != 0 && !id128_is_zero(&change->incarnation) && member_address_valid(&change->client) &&
               member_address_valid(&change->peer) && change->format != 0;
    case MEMBERS_ADD:
        return change->node != 0 && member_address_valid(&change->client) && member_address_valid(&change->peer);
    case MEMBERS_PROMOTE:
    case MEMBERS_REMOVE:
    case MEMBERS_FORGET: return change->node != 0;
    case MEMBERS_PLACE: return change->shard != 0 && members_place_sound(&change->place);
    case MEMBERS_RAISE: return change->format != 0;
    }
    return false;
}

void members_change_encode(const struct members_change *change, struct buffer *out)
{
    ASSERT(change_sound(change));
    buffer_append_byte(out, CHANGE_VERSION);
    buffer_append_byte(out, (uint8_t)change->kind);
    switch (change->kind) {
    case MEMBERS_BOOTSTRAP: buffer_append_slice(out, change->state); return;
    case MEMBERS_SEEN:
        record_put_number(out, change->node);
        put_id128(out, &change->incarnation);
        put_address(out, &change->client);
        put_address(out, &change->peer);
        record_put_number(out, change->format);
        record_put_number(out, change->start);
        return;
    case MEMBERS_ADD:
        record_put_number(out, change->node);
        put_address(out, &change->client);
        put_address(out, &change->peer);
        return;
    case MEMBERS_PROMOTE:
    case MEMBERS_REMOVE:
    case MEMBERS_FORGET: record_put_number(out, change->node); return;
    case MEMBERS_PLACE:
        record_put_number(out, change->shard);
        put_place(out, &change->place);
        return;
    case MEMBERS_RAISE: record_put_number(out, change->format); return;
    }
    UNREACHABLE();
}

static bool take_change(struct slice *from, struct members_change *change)
{
    switch (change->kind) {
    case MEMBERS_BOOTSTRAP:
        change->state = *from;
        from->size = 0;
        return true;
    case MEMBERS_SEEN:
        return varint_take(from, &change->node) && take_id128(from, &change->incarnation) &&
               take_address(from, &change->client) && take_address(from, &change->peer) &&
               take_u32(from, &change->format) && varint_take(from, &change->start);
    case MEMBERS_ADD:
        return varint_take(from, &change->node) && take_address(from, &change->client) &&
               take_address(from, &change->peer);
    case MEMBERS_PROMOTE:
    case MEMBERS_REMOVE:
    case MEMBERS_FORGET: return varint_take(from, &change->node);
    case MEMBERS_PLACE: return take_u32(from, &change->shard) && take_place(from, &change->place);
    case MEMBERS_RAISE: return take_u32(from, &change->format);
    }
    return false;
}

enum status members_change_decode(struct slice bytes, struct members_change *ret_change)
{
    enum status status = take_version(&bytes, CHANGE_VERSION);
    if (status != STATUS_OK) {
        return status;
    }
    uint8_t kind;
    struct members_change change = {0};
    if (!take_byte(&bytes, &kind)) {
        return STATUS_CORRUPT;
    }
    change.kind = (enum members_change_kind)kind;
    if (!take_change(&bytes, &change) || bytes.size != 0 || !change_sound(&change)) {
        return STATUS_CORRUPT;
    }
    *ret_change = change;
    return STATUS_OK;
}

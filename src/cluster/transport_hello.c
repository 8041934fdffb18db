#include "cluster/transport_hello.h"

#include "base/varint.h"

/* A byte over 127 first: no text protocol. A line end last: a proxy that mangles text is found out. */
const uint8_t transport_magic[TRANSPORT_MAGIC_BYTES] = {0xc0, 'C', 'O', 'H', 'O', 'R', 'T', '\n'};

void transport_hello_encode(const struct transport_hello *hello, struct buffer *out)
{
    size_t begin = frame_begin(out);
    uint8_t *at = buffer_reserve(out, TRANSPORT_HELLO_BYTES);
    memset(at, 0, TRANSPORT_HELLO_BYTES);
    put_u16(at, hello->version_lowest);
    put_u16(at + 2, hello->version_highest);
    at[4] = hello->purpose;
    memcpy(at + 8, hello->cluster.bytes, sizeof(hello->cluster.bytes));
    put_u64(at + 24, hello->from);
    memcpy(at + 32, hello->incarnation.bytes, sizeof(hello->incarnation.bytes));
    put_u64(at + 48, hello->to);
    put_u64(at + 56, hello->run);
    put_u64(at + 64, hello->attempt);
    put_u64(at + 72, hello->lineage.start);
    put_u64(at + 80, hello->lineage.joined);
    put_u64(at + 88, hello->lineage.count);
    out->size += TRANSPORT_HELLO_BYTES;
    for (uint32_t i = 0; i < hello->lineage.count; i++) {
        put_u64(buffer_reserve(out, 8), hello->lineage.between[i]);
        out->size += 8;
    }
    frame_end(out, begin, TRANSPORT_TYPE_HELLO);
}

void transport_refusal_encode(const struct transport_refusal *refusal, struct buffer *out)
{
    size_t begin = frame_begin(out);
    uint8_t *at = buffer_reserve(out, TRANSPORT_REFUSAL_BYTES);
    at[0] = refusal->reason;
    at[1] = 0;
    put_u16(at + 2, refusal->version_lowest);
    put_u16(at + 4, refusal->version_highest);
    out->size += TRANSPORT_REFUSAL_BYTES;
    frame_end(out, begin, TRANSPORT_TYPE_REFUSE);
}

static bool take_lineage(struct slice payload, struct lineage *lineage)
{
    uint64_t count = get_u64(payload.data + 88);
    if (count > LINEAGE_BETWEEN || payload.size < TRANSPORT_HELLO_BYTES + 8 * count) {
        return false;
    }
    lineage->start = get_u64(payload.data + 72);
    lineage->joined = get_u64(payload.data + 80);
    lineage->count = (uint32_t)count;
    for (uint32_t i = 0; i < count; i++) {
        lineage->between[i] = get_u64(payload.data + TRANSPORT_HELLO_BYTES + 8 * i);
    }
    return lineage_valid(lineage);
}

enum status transport_hello_decode(struct slice payload, struct transport_hello *ret_hello)
{
    if (payload.size < TRANSPORT_HELLO_BYTES) {
        return STATUS_INVALID;
    }
    const uint8_t *at = payload.data;
    struct transport_hello hello = {
        .version_lowest = get_u16(at),
        .version_highest = get_u16(at + 2),
        .purpose = at[4],
        .from = get_u64(at + 24),
        .to = get_u64(at + 48),
        .run = get_u64(at + 56),
        .attempt = get_u64(at + 64),
    };
    memcpy(hello.cluster.bytes, at + 8, sizeof(hello.cluster.bytes));
    memcpy(hello.incarnation.bytes, at + 32, sizeof(hello.incarnation.bytes));
    if (hello.version_lowest == 0 || hello.version_lowest > hello.version_highest || hello.from == 0 ||
        id128_is_zero(&hello.incarnation) || !take_lineage(payload, &hello.lineage)) {
        return STATUS_INVALID;
    }
    *ret_hello = hello;
    return STATUS_OK;
}

enum status transport_refusal_decode(struct slice payload, struct transport_refusal *ret_refusal)
{
    if (payload.size < TRANSPORT_REFUSAL_BYTES) {
        return STATUS_INVALID;
    }
    *ret_refusal = (struct transport_refusal){.reason = payload.data[0],
                                              .version_lowest = get_u16(payload.data + 2),
                                              .version_highest = get_u16(payload.data + 4)};
    return STATUS_OK;
}

uint16_t transport_common_version(const struct transport_hello *one, const struct transport_hello *other)
{
    uint16_t highest = one->version_highest < other->version_highest ? one->version_highest : other->version_highest;
    return highest >= one->version_lowest && highest >= other->version_lowest ? highest : 0;
}

#include "machine/lock/lock_notice.h"

#include "base/varint.h"
#include "machine/lock/lock_limits.h"

void lock_notice_put(struct buffer *out, const struct lock_notice *notice)
{
    uint8_t *at = buffer_reserve(out, LOCK_NOTICE_HEAD_BYTES);
    at[0] = (uint8_t)notice->kind;
    const uint64_t numbers[] = {notice->to.node,   notice->to.start, notice->to.client,
                                notice->to.number, notice->token,    (uint64_t)notice->ttl_ms};
    for (size_t i = 0; i < 6; i++) {
        put_u64(at + 1 + 8 * i, numbers[i]);
    }
    put_u16(at + 49, (uint16_t)notice->key.size);
    put_u16(at + 51, (uint16_t)notice->owner.size);
    out->size += LOCK_NOTICE_HEAD_BYTES;
    buffer_append_slice(out, notice->key);
    buffer_append_slice(out, notice->owner);
}

bool lock_notice_take(struct slice *from, struct lock_notice *ret_notice)
{
    if (from->size < LOCK_NOTICE_HEAD_BYTES || from->data[0] >= LOCK_NOTICES) {
        return false;
    }
    const uint8_t *at = from->data;
    size_t key = get_u16(at + 49);
    size_t owner = get_u16(at + 51);
    size_t size = LOCK_NOTICE_HEAD_BYTES + key + owner;
    if (key > LOCK_KEY_BYTES || owner > LOCK_OWNER_BYTES || from->size < size) {
        return false;
    }
    *ret_notice = (struct lock_notice){
        .kind = (enum lock_notice_kind)at[0],
        .to = {get_u64(at + 1), get_u64(at + 9), get_u64(at + 17), get_u64(at + 25)},
        .token = get_u64(at + 33),
        .ttl_ms = (int64_t)get_u64(at + 41),
        .key = slice_of(at + LOCK_NOTICE_HEAD_BYTES, key),
        .owner = slice_of(at + LOCK_NOTICE_HEAD_BYTES + key, owner),
    };
    *from = slice_of(from->data + size, from->size - size);
    return true;
}

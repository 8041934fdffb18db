#include "cluster/forward_frame.h"

#include "base/varint.h"

enum { ANSWER_SLOW = 0x80 };

static struct slice skip(struct slice from, size_t size) { return slice_of(from.data + size, from.size - size); }

void forward_head_put(uint8_t at[static FORWARD_HEAD_BYTES], const struct forward_head *head)
{
    put_u32(at, head->shard);
    put_u32(at + 4, head->count);
    put_u32(at + 8, head->logged);
    put_u64(at + 12, head->parcel);
    put_u64(at + 20, head->term);
    put_u64(at + 28, head->start);
    put_u64(at + 36, head->sequence);
    put_u64(at + 44, head->settled_below);
    put_u32(at + 52, head->slow_us);
}

enum status forward_head_take(struct slice *from, struct forward_head *ret_head)
{
    if (from->size < FORWARD_HEAD_BYTES) {
        return STATUS_CORRUPT;
    }
    const uint8_t *at = from->data;
    struct forward_head head = {
        .shard = get_u32(at),
        .count = get_u32(at + 4),
        .logged = get_u32(at + 8),
        .parcel = get_u64(at + 12),
        .term = get_u64(at + 20),
        .start = get_u64(at + 28),
        .sequence = get_u64(at + 36),
        .settled_below = get_u64(at + 44),
        .slow_us = get_u32(at + 52),
    };
    if (head.count == 0 || head.count > FORWARD_REQUESTS || head.logged > head.count || head.term == 0 ||
        (head.logged == 0) != (head.sequence == 0) || (head.logged != 0 && head.settled_below > head.sequence)) {
        return STATUS_CORRUPT;
    }
    *ret_head = head;
    *from = skip(*from, FORWARD_HEAD_BYTES);
    return STATUS_OK;
}

void answers_head_put(uint8_t at[static ANSWERS_HEAD_BYTES], uint32_t shard, uint64_t parcel)
{
    put_u32(at, shard);
    put_u64(at + 4, parcel);
}

enum status answers_head_take(struct slice *from, uint32_t *ret_shard, uint64_t *ret_parcel)
{
    if (from->size < ANSWERS_HEAD_BYTES) {
        return STATUS_CORRUPT;
    }
    *ret_shard = get_u32(from->data);
    *ret_parcel = get_u64(from->data + 4);
    *from = skip(*from, ANSWERS_HEAD_BYTES);
    return STATUS_OK;
}

void answer_head_put(uint8_t at[static ANSWER_HEAD_BYTES], const struct answer_head *head)
{
    put_u32(at, head->place);
    at[4] = (uint8_t)head->outcome | (head->slow ? ANSWER_SLOW : 0);
    at[5] = (uint8_t)(int8_t)head->status;
    put_u32(at + 6, head->size);
    put_u64(at + 10, head->index);
}

static bool replies(enum forward_outcome outcome)
{
    return outcome == FORWARD_REPLIED || outcome == FORWARD_REPLIED_LONG;
}

enum status answer_take(struct slice *from, struct answer_head *ret_head, struct slice *ret_reply)
{
    if (from->size < ANSWER_HEAD_BYTES) {
        return STATUS_AGAIN;
    }
    struct answer_head head = {
        .place = get_u32(from->data),
        .outcome = (enum forward_outcome)(from->data[4] & ~ANSWER_SLOW),
        .slow = (from->data[4] & ANSWER_SLOW) != 0,
        .status = (enum status)(int8_t)from->data[5],
        .size = get_u32(from->data + 6),
        .index = get_u64(from->data + 10),
    };
    struct slice rest = skip(*from, ANSWER_HEAD_BYTES);
    if (head.outcome >= FORWARD_OUTCOMES || head.size > FORWARD_REPLY_BYTES || head.place >= FORWARD_REQUESTS ||
        replies(head.outcome) == (head.size == 0) || head.status > STATUS_OK ||
        (head.outcome == FORWARD_REFUSED) != (head.status != STATUS_OK) || (head.slow && !replies(head.outcome)) ||
        (head.index != 0 && !replies(head.outcome))) {
        return STATUS_CORRUPT;
    }
    size_t size = head.size + (head.slow ? (size_t)ANSWER_TOOK_BYTES : 0);
    if (size > rest.size) {
        return STATUS_AGAIN;
    }
    head.took_us = head.slow ? get_u32(rest.data + head.size) : 0;
    *ret_head = head;
    *ret_reply = slice_of(rest.data, head.size);
    *from = skip(rest, size);
    return STATUS_OK;
}

#include "shard/shard_entry.h"

#include "base/varint.h"

void entry_header_put(uint8_t at[static ENTRY_HEADER_BYTES], const struct entry_header *header)
{
    at[0] = ENTRY_VERSION;
    at[1] = 0;
    put_u16(at + 2, header->commands);
    put_u64(at + 4, (uint64_t)header->time_ms);
    put_u64(at + 12, (uint64_t)header->wall_ms);
}

enum status entry_header_take(struct slice *payload, struct entry_header *ret_header)
{
    if (payload->size < ENTRY_HEADER_BYTES) {
        return STATUS_CORRUPT;
    }
    const uint8_t *at = payload->data;
    if (at[0] > ENTRY_VERSION || at[1] != 0) {
        return STATUS_VERSION;
    }
    if (at[0] != ENTRY_VERSION) {
        return STATUS_CORRUPT;
    }
    ret_header->commands = get_u16(at + 2);
    ret_header->time_ms = (int64_t)get_u64(at + 4);
    ret_header->wall_ms = (int64_t)get_u64(at + 12);
    *payload = slice_of(at + ENTRY_HEADER_BYTES, payload->size - ENTRY_HEADER_BYTES);
    return STATUS_OK;
}

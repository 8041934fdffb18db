#include "shard/shard_entry.h"

#include "base/assert.h"
#include "base/number.h"
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
    if (at[0] == 0) {
        return STATUS_CORRUPT;
    }
    ret_header->commands = get_u16(at + 2);
    ret_header->time_ms = (int64_t)get_u64(at + 4);
    ret_header->wall_ms = (int64_t)get_u64(at + 12);
    *payload = slice_of(at + ENTRY_HEADER_BYTES, payload->size - ENTRY_HEADER_BYTES);
    return STATUS_OK;
}

enum { ORIGIN_ARGUMENTS = 6 };

void entry_origin_put(struct buffer *out, const struct machine_origin *origin, bool part, uint32_t count)
{
    const uint64_t numbers[] = {origin->node, origin->start, origin->sequence, origin->settled_below, count};
    char digits[ORIGIN_ARGUMENTS][NUMBER_INT64_BYTES];
    struct slice argv[ORIGIN_ARGUMENTS] = {SLICE_LITERAL("COHORT.ORIGIN")};
    for (int i = 1; i < ORIGIN_ARGUMENTS; i++) {
        argv[i] = slice_of(digits[i], number_format_uint64(digits[i], numbers[i - 1]));
    }
    struct command command = {command_by_id(part ? COMMAND_COHORT_PART : COMMAND_COHORT_ORIGIN), argv, ORIGIN_ARGUMENTS,
                              RESP2};
    size_t before = out->size;
    command_encode(out, &command);
    ASSERT(out->size - before <= ENTRY_ORIGIN_BYTES);
}

bool entry_origin_take(const struct command *command, struct machine_origin *ret_origin, bool *ret_part,
                       uint32_t *ret_count)
{
    int64_t numbers[ORIGIN_ARGUMENTS];
    bool part = command->spec->id == COMMAND_COHORT_PART;
    if (!part && command->spec->id != COMMAND_COHORT_ORIGIN) {
        return false;
    }
    for (int i = 1; i < ORIGIN_ARGUMENTS; i++) {
        if (!number_parse_int64(command->argv[i], &numbers[i]) || numbers[i] < 0) {
            return false;
        }
    }
    struct machine_origin origin = {(uint64_t)numbers[1], (uint64_t)numbers[2], (uint64_t)numbers[3],
                                    (uint64_t)numbers[4]};
    if (!machine_origin_valid(&origin) || numbers[5] == 0 || numbers[5] > UINT16_MAX) {
        return false;
    }
    *ret_origin = origin;
    *ret_part = part;
    *ret_count = (uint32_t)numbers[5];
    return true;
}

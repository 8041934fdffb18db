/* Messages of a founding, as founding.h has them. */
#include "base/hash.h"
#include "cluster/founding_internal.h"

enum { MESSAGE_VERSION = 1, HEAD_BYTES = 18 };

void founding_message_encode(const struct founding_record *record, enum founding_state state, struct buffer *out)
{
    buffer_append_byte(out, MESSAGE_VERSION);
    buffer_append_byte(out, (uint8_t)state);
    buffer_append(out, &record->cluster, sizeof(record->cluster));
    for (uint32_t i = 0; state != FOUNDING_FRESH && i < record->count; i++) {
        buffer_append(out, &record->nodes[i].incarnation, sizeof(struct id128));
    }
}

enum status founding_message_decode(const struct founding_record *record, struct slice payload,
                                    struct founding_message *ret_message)
{
    if (payload.size >= 1 && payload.data[0] > MESSAGE_VERSION) {
        return STATUS_VERSION;
    }
    if (payload.size < HEAD_BYTES || payload.data[0] != MESSAGE_VERSION || payload.data[1] > FOUNDING_FOUNDED ||
        memcmp(payload.data + 2, &record->cluster, sizeof(record->cluster)) != 0) {
        return STATUS_CORRUPT;
    }
    ret_message->state = (enum founding_state)payload.data[1];
    size_t set_bytes = ret_message->state == FOUNDING_FRESH ? 0 : record->count * sizeof(struct id128);
    if (payload.size != HEAD_BYTES + set_bytes) {
        return STATUS_CORRUPT;
    }
    memcpy(ret_message->set, payload.data + HEAD_BYTES, set_bytes);
    for (uint32_t i = 0; ret_message->state != FOUNDING_FRESH && i < record->count; i++) {
        if (id128_is_zero(&ret_message->set[i])) {
            return STATUS_CORRUPT;
        }
    }
    return STATUS_OK;
}

struct id128 founding_set_name(const struct id128 *incarnations, uint32_t count)
{
    return hash_name(incarnations, count * sizeof(*incarnations));
}

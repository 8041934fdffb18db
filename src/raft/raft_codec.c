#include "raft/raft_codec.h"

#include "base/assert.h"
#include "base/varint.h"

/* Indices, terms and clocks stay below this, so that sums cannot overflow. */
#define NUMBER_LIMIT (UINT64_MAX / 4)

/* ---- sense ---- */

static bool append_valid(const struct raft_message *m)
{
    if (m->append.count > RAFT_MAXIMUM_APPEND_ENTRIES || m->append.prev_index >= NUMBER_LIMIT ||
        m->append.commit >= NUMBER_LIMIT || (m->append.prev_index == 0) != (m->append.prev_term == 0)) {
        return false;
    }
    uint64_t term = m->append.prev_term;
    for (uint32_t i = 0; i < m->append.count; i++) {
        const struct raft_entry *entry = &m->append.entries[i];
        if (entry->index != m->append.prev_index + 1 + i || entry->term < term || entry->term == 0) {
            return false;
        }
        term = entry->term;
    }
    return term <= m->term;
}

static bool ident_valid(const struct raft_message *m, const struct raft_snapshot_ident *ident, uint64_t offset)
{
    return ident->index > 0 && ident->index < NUMBER_LIMIT && ident->term > 0 && ident->term <= m->term &&
           ident->size_bytes > 0 && ident->size_bytes < NUMBER_LIMIT && offset <= ident->size_bytes;
}

bool raft_message_valid(const struct raft_message *m)
{
    if (m->from == 0 || m->to == 0 || m->from == m->to || m->term >= NUMBER_LIMIT) {
        return false;
    }
    switch (m->type) {
    case RAFT_PRE_VOTE:
        return m->pre_vote.next_term == m->term + 1 && m->pre_vote.last_index < NUMBER_LIMIT &&
               m->pre_vote.last_term <= m->term;
    case RAFT_PRE_VOTE_REPLY: return m->pre_vote_reply.next_term > 0;
    case RAFT_VOTE: return m->term > 0 && m->vote.last_index < NUMBER_LIMIT && m->vote.last_term < m->term;
    case RAFT_VOTE_REPLY: return m->term > 0;
    case RAFT_APPEND: return m->term > 0 && append_valid(m);
    case RAFT_APPEND_REPLY:
        return m->term > 0 && m->append_reply.index < NUMBER_LIMIT &&
               (!m->append_reply.rejected || m->append_reply.hint_index < NUMBER_LIMIT);
    case RAFT_HEARTBEAT:
        return m->term > 0 && m->heartbeat.sequence > 0 && m->heartbeat.sequence < NUMBER_LIMIT &&
               m->heartbeat.sent_ms < NUMBER_LIMIT && m->heartbeat.commit < NUMBER_LIMIT;
    case RAFT_HEARTBEAT_REPLY:
        return m->term > 0 && m->heartbeat_reply.sequence < NUMBER_LIMIT && m->heartbeat_reply.matched < NUMBER_LIMIT &&
               m->heartbeat_reply.durable <= m->heartbeat_reply.matched;
    case RAFT_SNAPSHOT:
        return ident_valid(m, &m->snapshot.ident, m->snapshot.offset) &&
               m->snapshot.data.size <= m->snapshot.ident.size_bytes - m->snapshot.offset;
    case RAFT_SNAPSHOT_REPLY: return ident_valid(m, &m->snapshot_reply.ident, m->snapshot_reply.offset);
    case RAFT_TIMEOUT_NOW: return m->term > 0;
    }
    return false;
}

/* ---- encoding ---- */

static void put(struct buffer *out, uint64_t value)
{
    uint8_t *at = buffer_reserve(out, VARINT_MAXIMUM_BYTES);
    out->size += (size_t)(varint_put(at, value) - at);
}

static void put_ident(struct buffer *out, const struct raft_snapshot_ident *ident)
{
    put(out, ident->index);
    put(out, ident->term);
    put(out, ident->id);
    put(out, ident->size_bytes);
}

/* Returns the last payload, which is not appended. */
static struct slice encode_append(const struct raft_message *m, struct buffer *out)
{
    struct slice tail = {0};
    put(out, m->append.prev_index);
    put(out, m->append.prev_term);
    put(out, m->append.commit);
    put(out, m->append.count);
    uint64_t term = m->append.prev_term;
    for (uint32_t i = 0; i < m->append.count; i++) {
        const struct raft_entry *entry = &m->append.entries[i];
        put(out, entry->term - term);
        buffer_append_byte(out, entry->kind);
        buffer_append_byte(out, entry->version);
        put(out, entry->payload.size);
        if (i + 1 == m->append.count) {
            tail = entry->payload;
        } else {
            buffer_append_slice(out, entry->payload);
        }
        term = entry->term;
    }
    return tail;
}

/* Returns the last bytes, which are not appended. */
static struct slice encode_body(const struct raft_message *m, struct buffer *out)
{
    struct slice tail = {0};
    switch (m->type) {
    case RAFT_PRE_VOTE:
        put(out, m->pre_vote.next_term);
        put(out, m->pre_vote.last_index);
        put(out, m->pre_vote.last_term);
        return tail;
    case RAFT_PRE_VOTE_REPLY:
        put(out, m->pre_vote_reply.next_term);
        put(out, m->pre_vote_reply.granted);
        return tail;
    case RAFT_VOTE:
        put(out, m->vote.last_index);
        put(out, m->vote.last_term);
        put(out, m->vote.transfer);
        return tail;
    case RAFT_VOTE_REPLY: put(out, m->vote_reply.granted); return tail;
    case RAFT_APPEND: return encode_append(m, out);
    case RAFT_APPEND_REPLY:
        put(out, m->append_reply.rejected);
        put(out, m->append_reply.index);
        if (m->append_reply.rejected) {
            put(out, m->append_reply.hint_index);
            put(out, m->append_reply.hint_term);
        }
        return tail;
    case RAFT_HEARTBEAT:
        put(out, m->heartbeat.sequence);
        put(out, m->heartbeat.sent_ms);
        put(out, m->heartbeat.commit);
        put(out, (uint64_t)m->heartbeat.time.time_ms);
        put(out, (uint64_t)m->heartbeat.time.wall_ms);
        return tail;
    case RAFT_HEARTBEAT_REPLY:
        put(out, m->heartbeat_reply.sequence);
        put(out, m->heartbeat_reply.sent_ms);
        put(out, m->heartbeat_reply.matched);
        put(out, m->heartbeat_reply.matched - m->heartbeat_reply.durable);
        put(out, m->heartbeat_reply.overtook);
        return tail;
    case RAFT_SNAPSHOT:
        put_ident(out, &m->snapshot.ident);
        put(out, m->snapshot.offset);
        put(out, m->snapshot.data.size);
        return m->snapshot.data;
    case RAFT_SNAPSHOT_REPLY:
        put_ident(out, &m->snapshot_reply.ident);
        put(out, m->snapshot_reply.offset);
        return tail;
    case RAFT_TIMEOUT_NOW: return tail;
    }
    UNREACHABLE();
}

struct slice raft_message_encode_head(const struct raft_message *message, struct buffer *out)
{
    ASSERT(raft_message_valid(message));
    buffer_append_byte(out, (uint8_t)message->type);
    put(out, message->from);
    put(out, message->to);
    put(out, message->term);
    return encode_body(message, out);
}

void raft_message_encode(const struct raft_message *message, struct buffer *out)
{
    buffer_append_slice(out, raft_message_encode_head(message, out));
}

/* ---- decoding ---- */

static bool take_flag(struct slice *from, bool *ret_flag)
{
    uint64_t value;
    if (!varint_take(from, &value) || value > 1) {
        return false;
    }
    *ret_flag = value == 1;
    return true;
}

static bool take_byte(struct slice *from, uint8_t *ret_byte)
{
    if (from->size == 0) {
        return false;
    }
    *ret_byte = from->data[0];
    *from = slice_of(from->data + 1, from->size - 1);
    return true;
}

static bool take_bytes(struct slice *from, struct slice *ret_bytes)
{
    uint64_t size;
    if (!varint_take(from, &size) || size > from->size) {
        return false;
    }
    *ret_bytes = slice_of(from->data, size);
    *from = slice_of(from->data + size, from->size - size);
    return true;
}

static bool take_signed(struct slice *from, int64_t *ret_value)
{
    uint64_t value;
    if (!varint_take(from, &value)) {
        return false;
    }
    *ret_value = (int64_t)value;
    return true;
}

static bool take_ident(struct slice *from, struct raft_snapshot_ident *ident)
{
    return varint_take(from, &ident->index) && varint_take(from, &ident->term) && varint_take(from, &ident->id) &&
           varint_take(from, &ident->size_bytes);
}

static bool decode_append(struct slice *from, struct raft_entry *entries, struct raft_message *m)
{
    uint64_t count;
    if (!varint_take(from, &m->append.prev_index) || !varint_take(from, &m->append.prev_term) ||
        !varint_take(from, &m->append.commit) || !varint_take(from, &count) || count > RAFT_MAXIMUM_APPEND_ENTRIES ||
        m->append.prev_index >= NUMBER_LIMIT || m->append.prev_term >= NUMBER_LIMIT) {
        return false;
    }
    uint64_t term = m->append.prev_term;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t step;
        struct raft_entry *entry = &entries[i];
        if (!varint_take(from, &step) || step >= NUMBER_LIMIT || term + step >= NUMBER_LIMIT ||
            !take_byte(from, &entry->kind) || !take_byte(from, &entry->version) || !take_bytes(from, &entry->payload)) {
            return false;
        }
        term += step;
        entry->term = term;
        entry->index = m->append.prev_index + 1 + i;
    }
    m->append.entries = entries;
    m->append.count = (uint32_t)count;
    return true;
}

static bool decode_heartbeat_reply(struct slice *from, struct raft_message *m)
{
    uint64_t behind;
    if (!varint_take(from, &m->heartbeat_reply.sequence) || !varint_take(from, &m->heartbeat_reply.sent_ms) ||
        !varint_take(from, &m->heartbeat_reply.matched) || !varint_take(from, &behind) ||
        !take_flag(from, &m->heartbeat_reply.overtook) || behind > m->heartbeat_reply.matched) {
        return false;
    }
    m->heartbeat_reply.durable = m->heartbeat_reply.matched - behind;
    return true;
}

static bool decode_body(struct slice *from, struct raft_entry *entries, struct raft_message *m)
{
    switch (m->type) {
    case RAFT_PRE_VOTE:
        return varint_take(from, &m->pre_vote.next_term) && varint_take(from, &m->pre_vote.last_index) &&
               varint_take(from, &m->pre_vote.last_term);
    case RAFT_PRE_VOTE_REPLY:
        return varint_take(from, &m->pre_vote_reply.next_term) && take_flag(from, &m->pre_vote_reply.granted);
    case RAFT_VOTE:
        return varint_take(from, &m->vote.last_index) && varint_take(from, &m->vote.last_term) &&
               take_flag(from, &m->vote.transfer);
    case RAFT_VOTE_REPLY: return take_flag(from, &m->vote_reply.granted);
    case RAFT_APPEND: return decode_append(from, entries, m);
    case RAFT_APPEND_REPLY:
        return take_flag(from, &m->append_reply.rejected) && varint_take(from, &m->append_reply.index) &&
               (!m->append_reply.rejected ||
                (varint_take(from, &m->append_reply.hint_index) && varint_take(from, &m->append_reply.hint_term)));
    case RAFT_HEARTBEAT:
        return varint_take(from, &m->heartbeat.sequence) && varint_take(from, &m->heartbeat.sent_ms) &&
               varint_take(from, &m->heartbeat.commit) && take_signed(from, &m->heartbeat.time.time_ms) &&
               take_signed(from, &m->heartbeat.time.wall_ms);
    case RAFT_HEARTBEAT_REPLY: return decode_heartbeat_reply(from, m);
    case RAFT_SNAPSHOT:
        return take_ident(from, &m->snapshot.ident) && varint_take(from, &m->snapshot.offset) &&
               take_bytes(from, &m->snapshot.data);
    case RAFT_SNAPSHOT_REPLY:
        return take_ident(from, &m->snapshot_reply.ident) && varint_take(from, &m->snapshot_reply.offset);
    case RAFT_TIMEOUT_NOW: return true;
    }
    return false;
}

enum status raft_message_decode(struct slice bytes, struct raft_entry *entries, struct raft_message *ret_message)
{
    uint8_t type;
    struct raft_message m = {0};
    if (!take_byte(&bytes, &type) || type < RAFT_PRE_VOTE || type > RAFT_TIMEOUT_NOW) {
        return STATUS_INVALID;
    }
    m.type = (enum raft_message_type)type;
    if (!varint_take(&bytes, &m.from) || !varint_take(&bytes, &m.to) || !varint_take(&bytes, &m.term) ||
        !decode_body(&bytes, entries, &m) || bytes.size != 0 || !raft_message_valid(&m)) {
        return STATUS_INVALID;
    }
    *ret_message = m;
    return STATUS_OK;
}

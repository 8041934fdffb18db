/* A state as bytes: kind 'L', version 1, then numbers and texts (base/record.h). */
#include "base/record.h"
#include "engine/lock_state.h"

enum { KIND = 'L', VERSION = 1 };

static size_t most_bytes(const struct lock_claim *claims, uint32_t count)
{
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        size += claims[i].owner.size + claims[i].note.size + 9 * VARINT_MAXIMUM_BYTES;
    }
    return size;
}

static void put_claims(struct buffer *out, const struct lock_claim *claims, uint32_t count)
{
    record_put_number(out, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct lock_claim *claim = &claims[i];
        record_put_text(out, claim->owner);
        record_put_text(out, claim->note);
        record_put_numbers(out,
                           (uint64_t[]){(uint64_t)claim->kind, claim->permits, claim->token, (uint64_t)claim->since_ms,
                                        (uint64_t)claim->due_ms, (uint64_t)claim->asked_ms},
                           6);
    }
}

bool lock_state_write(const struct lock_state *state, struct buffer *out)
{
    size_t size = most_bytes(state->holders, state->holder_count) + most_bytes(state->waiters, state->waiter_count) +
                  LOCK_STATE_PAST * (LOCK_STATE_OWNER_BYTES + 5 * VARINT_MAXIMUM_BYTES) + 16 * VARINT_MAXIMUM_BYTES;
    if (!buffer_try_reserve(out, size)) {
        return false;
    }
    record_put_head(out, KIND, VERSION);
    record_put_numbers(out, (uint64_t[]){state->token, state->fence, state->limit}, 3);
    put_claims(out, state->holders, state->holder_count);
    put_claims(out, state->waiters, state->waiter_count);
    record_put_number(out, state->past_count);
    for (uint32_t i = 0; i < state->past_count; i++) {
        const struct lock_past *past = &state->past[i];
        record_put_text(out, past->owner);
        record_put_numbers(
            out, (uint64_t[]){past->token, (uint64_t)past->from_ms, (uint64_t)past->to_ms, (uint64_t)past->why}, 4);
    }
    return true;
}

static enum status take_claim(struct lock_state *state, bool waits, struct slice *from)
{
    struct lock_claim claim = {0};
    uint64_t numbers[6];
    if (!record_take_text(from, LOCK_STATE_OWNER_BYTES, &claim.owner) ||
        !record_take_text(from, LOCK_STATE_NOTE_BYTES, &claim.note) ||
        !record_take_numbers(from, INT64_MAX, numbers, 6) || numbers[0] >= LOCK_KINDS || numbers[1] > UINT32_MAX) {
        return STATUS_CORRUPT;
    }
    claim.kind = (enum lock_kind)numbers[0];
    claim.permits = (uint32_t)numbers[1];
    claim.token = numbers[2];
    claim.since_ms = (int64_t)numbers[3];
    claim.due_ms = (int64_t)numbers[4];
    claim.asked_ms = (int64_t)numbers[5];
    return lock_state_add(state, waits, &claim) ? STATUS_OK : STATUS_NOMEM;
}

static enum status take_claims(struct lock_state *state, bool waits, struct slice *from)
{
    uint64_t count;
    if (!record_take_number(from, waits ? LOCK_STATE_WAITERS : LOCK_STATE_HOLDERS, &count)) {
        return STATUS_CORRUPT;
    }
    enum status status = STATUS_OK;
    for (uint64_t i = 0; i < count && status == STATUS_OK; i++) {
        status = take_claim(state, waits, from);
    }
    return status;
}

static enum status take_past(struct lock_state *state, struct slice *from)
{
    struct lock_past past;
    uint64_t numbers[4];
    if (!record_take_text(from, LOCK_STATE_OWNER_BYTES, &past.owner) ||
        !record_take_numbers(from, INT64_MAX, numbers, 4) || numbers[3] >= LOCK_WHYS) {
        return STATUS_CORRUPT;
    }
    past.token = numbers[0];
    past.from_ms = (int64_t)numbers[1];
    past.to_ms = (int64_t)numbers[2];
    past.why = (enum lock_why)numbers[3];
    return lock_state_add_past(state, &past) ? STATUS_OK : STATUS_NOMEM;
}

static enum status take_state(struct lock_state *state, struct slice *from)
{
    uint8_t kind;
    uint64_t numbers[3];
    enum status status = record_take_head(from, VERSION, &kind);
    if (status != STATUS_OK) {
        return status;
    }
    if (kind != KIND || !record_take_numbers(from, INT64_MAX, numbers, 3) || numbers[2] > UINT32_MAX) {
        return STATUS_CORRUPT;
    }
    state->token = numbers[0];
    state->fence = numbers[1];
    state->limit = (uint32_t)numbers[2];
    status = take_claims(state, false, from);
    status = status == STATUS_OK ? take_claims(state, true, from) : status;
    uint64_t count = 0;
    if (status == STATUS_OK && !record_take_number(from, LOCK_STATE_PAST, &count)) {
        return STATUS_CORRUPT;
    }
    for (uint64_t i = 0; i < count && status == STATUS_OK; i++) {
        status = take_past(state, from);
    }
    return status == STATUS_OK && from->size != 0 ? STATUS_CORRUPT : status;
}

enum status lock_state_read(struct lock_state *state, struct slice from)
{
    enum status status = take_state(state, &from);
    if (status != STATUS_OK) {
        lock_state_deinit(state);
    }
    return status;
}

#include "engine/postgresql_row.h"

#include "engine/postgresql_link.h"

#include <stdio.h>
#include <time.h>

enum part { PART_HOLDERS, PART_WAITERS, PART_PAST, PARTS };

/* Of PG_SELECT (postgresql_sql.c). */
enum column {
    COLUMN_NOW,
    COLUMN_FORM,
    COLUMN_TOKEN,
    COLUMN_FENCE,
    COLUMN_LIMIT,
    COLUMN_CHANGED,
    COLUMN_SERVER,
    COLUMN_PART,
    COLUMN_OWNER,
    COLUMN_NOTE,
    COLUMN_MODE,
    COLUMN_PERMITS,
    COLUMN_CLAIM_TOKEN,
    COLUMN_SINCE,
    COLUMN_UNTIL,
    COLUMN_ASKED,
    COLUMN_WHY,
};

/* ---- reading ---- */

static bool take_kind(struct slice text, enum lock_kind *ret_kind)
{
    for (int i = 0; i < LOCK_KINDS; i++) {
        if (slice_equal(text, slice_from_string(lock_kind_text((enum lock_kind)i)))) {
            *ret_kind = (enum lock_kind)i;
            return true;
        }
    }
    return false;
}

static bool take_why(struct slice text, enum lock_why *ret_why)
{
    for (int i = 0; i < LOCK_WHYS; i++) {
        if (slice_equal(text, slice_from_string(lock_why_text((enum lock_why)i)))) {
            *ret_why = (enum lock_why)i;
            return true;
        }
    }
    return false;
}

static bool take_token(const PGresult *result, int row, uint64_t *ret_token)
{
    int64_t token;
    bool fine = pg_number(result, row, COLUMN_CLAIM_TOKEN, &token) && token >= 0;
    *ret_token = fine ? (uint64_t)token : 0;
    return fine;
}

static enum status take_claim(const PGresult *result, int row, bool waits, struct lock_state *state)
{
    struct lock_claim claim = {0};
    struct slice mode;
    int64_t permits = 0;
    bool fine = pg_bytes(result, row, COLUMN_OWNER, &claim.owner) && pg_bytes(result, row, COLUMN_NOTE, &claim.note) &&
                pg_bytes(result, row, COLUMN_MODE, &mode) && take_kind(mode, &claim.kind) &&
                pg_number(result, row, COLUMN_PERMITS, &permits) &&
                pg_number(result, row, COLUMN_SINCE, &claim.since_ms) &&
                pg_number(result, row, COLUMN_UNTIL, &claim.due_ms) &&
                (waits ? pg_number(result, row, COLUMN_ASKED, &claim.asked_ms) : take_token(result, row, &claim.token));
    uint32_t count = waits ? state->waiter_count : state->holder_count;
    uint32_t most = waits ? (uint32_t)LOCK_STATE_WAITERS : (uint32_t)LOCK_STATE_HOLDERS;
    if (!fine || permits < 1 || permits > UINT32_MAX || count >= most || claim.owner.size > LOCK_STATE_OWNER_BYTES ||
        claim.note.size > LOCK_STATE_NOTE_BYTES) {
        return STATUS_CORRUPT;
    }
    claim.permits = (uint32_t)permits;
    return lock_state_add(state, waits, &claim) ? STATUS_OK : STATUS_NOMEM;
}

static enum status take_past(const PGresult *result, int row, struct lock_state *state)
{
    struct lock_past past = {0};
    struct slice why;
    if (!pg_bytes(result, row, COLUMN_OWNER, &past.owner) || past.owner.size > LOCK_STATE_OWNER_BYTES ||
        !take_token(result, row, &past.token) || !pg_number(result, row, COLUMN_SINCE, &past.from_ms) ||
        !pg_number(result, row, COLUMN_UNTIL, &past.to_ms) || !pg_bytes(result, row, COLUMN_WHY, &why) ||
        !take_why(why, &past.why)) {
        return STATUS_CORRUPT;
    }
    return lock_state_add_past(state, &past) ? STATUS_OK : STATUS_NOMEM;
}

static enum status take_lock(const PGresult *result, struct lock_state *state, struct pg_row *ret_row)
{
    int64_t form = 0;
    int64_t token = 0;
    int64_t fence = 0;
    int64_t limit = 0;
    struct slice server = {0};
    if (pg_number(result, 0, COLUMN_FORM, &form) && form > PG_ROW_FORM) {
        return STATUS_VERSION;
    }
    if (form != PG_ROW_FORM || !pg_number(result, 0, COLUMN_NOW, &ret_row->now_ms) ||
        !pg_number(result, 0, COLUMN_TOKEN, &token) || token < 0 || !pg_number(result, 0, COLUMN_FENCE, &fence) ||
        fence < 0 || !pg_number(result, 0, COLUMN_LIMIT, &limit) || limit < 0 || limit > UINT32_MAX ||
        !pg_number(result, 0, COLUMN_CHANGED, &ret_row->changed_ms) || !pg_bytes(result, 0, COLUMN_SERVER, &server) ||
        server.size >= sizeof(ret_row->server)) {
        return STATUS_CORRUPT;
    }
    memcpy(ret_row->server, server.data, server.size);
    ret_row->server[server.size] = '\0';
    state->token = (uint64_t)token;
    state->fence = (uint64_t)fence;
    state->limit = (uint32_t)limit;
    return STATUS_OK;
}

enum status pg_row_read(const PGresult *result, struct lock_state *state, struct pg_row *ret_row)
{
    int rows = PQntuples(result);
    if (rows == 0) {
        return STATUS_NOTFOUND;
    }
    enum status status = take_lock(result, state, ret_row);
    for (int row = 0; row < rows && status == STATUS_OK; row++) {
        int64_t part;
        if (pg_number(result, row, COLUMN_PART, &part)) {
            status = part == PART_PAST ? take_past(result, row, state)
                                       : take_claim(result, row, part == PART_WAITERS, state);
        }
    }
    return status;
}

/* ---- writing ---- */

void pg_row_time(int64_t ms, char ret_text[static PG_ROW_TIME_BYTES])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;
    (void)gmtime_r(&seconds, &parts);
    size_t size = strftime(ret_text, PG_ROW_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(ret_text + size, PG_ROW_TIME_BYTES - size, ".%03dZ", (int)(ms % 1000));
}

enum { LETTER_BYTES = 5, NUMBERS_BYTES = 400 };

/* Reserved are LETTER_BYTES for each of its bytes. */
static void put_text(struct buffer *out, const char *name, struct slice text)
{
    buffer_append_format(out, "\"%s\": \"", name);
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte < 0x20 || byte > 0x7e) {
            buffer_append_format(out, "\\\\%03o", byte);
        } else if (byte == '\\') {
            buffer_append_string(out, "\\\\\\\\"); /* JSON's, of escape's */
        } else if (byte == '"') {
            buffer_append_string(out, "\\\"");
        } else {
            buffer_append_byte(out, byte);
        }
    }
    buffer_append_string(out, "\", ");
}

static void put_time(struct buffer *out, const char *name, int64_t ms, const char *after)
{
    char text[PG_ROW_TIME_BYTES];
    pg_row_time(ms, text);
    buffer_append_format(out, "\"%s\": \"%s\"%s", name, text, after);
}

static void put_claim(struct buffer *out, const struct lock_claim *claim)
{
    put_text(out, "owner", claim->owner);
    buffer_append_format(out, "\"mode\": \"%s\", \"permits\": %u, ", lock_kind_text(claim->kind), claim->permits);
    if (claim->token != 0) {
        buffer_append_format(out, "\"token\": %llu, ", (unsigned long long)claim->token);
    } else {
        put_time(out, "asked", claim->asked_ms, ", ");
    }
    put_text(out, "note", claim->note);
    put_time(out, "since", claim->since_ms, ", ");
    put_time(out, "until", claim->due_ms, "");
}

bool pg_row_write_claims(const struct lock_claim *claims, uint32_t count, struct buffer *out)
{
    size_t size = 8;
    for (uint32_t i = 0; i < count; i++) {
        size += LETTER_BYTES * (claims[i].owner.size + claims[i].note.size) + NUMBERS_BYTES;
    }
    buffer_clear(out);
    if (!buffer_try_reserve(out, size)) {
        return false;
    }
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; i < count; i++) {
        buffer_append_string(out, i == 0 ? "{" : ", {");
        put_claim(out, &claims[i]);
        buffer_append_byte(out, '}');
    }
    buffer_append(out, "]", 2);
    return true;
}

bool pg_row_write_past(const struct lock_state *state, struct buffer *out)
{
    buffer_clear(out);
    if (!buffer_try_reserve(out, LOCK_STATE_PAST * (LETTER_BYTES * LOCK_STATE_OWNER_BYTES + NUMBERS_BYTES) + 8)) {
        return false;
    }
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; i < state->past_count; i++) {
        const struct lock_past *past = &state->past[i];
        buffer_append_string(out, i == 0 ? "{" : ", {");
        put_text(out, "owner", past->owner);
        buffer_append_format(out, "\"token\": %llu, \"why\": \"%s\", ", (unsigned long long)past->token,
                             lock_why_text(past->why));
        put_time(out, "since", past->from_ms, ", ");
        put_time(out, "until", past->to_ms, "}");
    }
    buffer_append(out, "]", 2);
    return true;
}

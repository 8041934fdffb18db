#include "engine/zookeeper_nodes.h"

#include "base/number.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define EXCLUSIVE "__lock__"
#define SHARED "__rlock__"

#define MARK SLICE_LITERAL("cohort ")

/* ---- escapes ---- */

static size_t escape(struct slice text, const char *special, char *at)
{
    static const char digits[] = "0123456789abcdef";
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte > 0x20 - (strchr(special, ' ') == NULL) && byte < 0x7f && strchr(special, byte) == NULL) {
            at[size++] = (char)byte;
        } else {
            at[size++] = '%';
            at[size++] = digits[byte >> 4];
            at[size++] = digits[byte & 15];
        }
    }
    return size;
}

static int digit_of(uint8_t letter)
{
    const char *digits = "0123456789abcdef0123456789ABCDEF";
    const char *found = letter == 0 ? NULL : strchr(digits, letter);
    return found == NULL ? -1 : (int)((found - digits) & 15);
}

/* What does not fit is cut. */
static size_t unescape(struct slice text, uint8_t *at, size_t room)
{
    size_t size = 0;
    for (size_t i = 0; i < text.size && size < room; i++) {
        uint8_t byte = text.data[i];
        if (byte == '%' && i + 2 < text.size && digit_of(text.data[i + 1]) >= 0 && digit_of(text.data[i + 2]) >= 0) {
            byte = (uint8_t)(16 * digit_of(text.data[i + 1]) + digit_of(text.data[i + 2]));
            i += 2;
        }
        at[size++] = byte;
    }
    return size;
}

/* ---- names ---- */

void nodes_name(struct slice key, char ret_name[static NODES_NAME_BYTES])
{
    bool dots = slice_equal(key, SLICE_LITERAL(".")) || slice_equal(key, SLICE_LITERAL(".."));
    size_t size = escape(key, dots ? "/%." : "/%", ret_name);
    if (size == 0) {
        ret_name[size++] = '%'; /* as no other name is written */
    }
    ret_name[size] = '\0';
}

size_t nodes_key(const char *name, uint8_t *ret_key)
{
    size_t size = strlen(name);
    return strcmp(name, "%") == 0 ? 0 : unescape(slice_of(name, size), ret_key, size);
}

const char *nodes_suffix(bool shared) { return shared ? SHARED : EXCLUSIVE; }

static bool ends_with(const char *name, size_t size, const char *what)
{
    size_t length = strlen(what);
    return size >= length && memcmp(name + size - length, what, length) == 0;
}

bool nodes_read_contender(const char *name, struct contender *ret_contender)
{
    size_t size = strlen(name);
    size_t digits = size;
    while (digits > 0 && name[digits - 1] >= '0' && name[digits - 1] <= '9') {
        digits--;
    }
    if (digits == size || size - digits > 10) {
        return false;
    }
    int64_t sequence = strtoll(name + digits, NULL, 10);
    if (digits > 0 && name[digits - 1] == '-') {
        sequence = -sequence;
        digits--;
    }
    ret_contender->name = name;
    ret_contender->sequence = (int32_t)sequence;
    ret_contender->shared = ends_with(name, digits, SHARED);
    return ret_contender->shared || ends_with(name, digits, EXCLUSIVE);
}

static int compare(const void *a, const void *b)
{
    const struct contender *first = a;
    const struct contender *second = b;
    int32_t apart = (int32_t)((uint32_t)first->sequence - (uint32_t)second->sequence);
    return (apart > 0) - (apart < 0);
}

struct contender *nodes_contenders(char *const *names, size_t count, size_t *ret_count)
{
    struct contender *contenders = malloc((count + 1) * sizeof(*contenders));
    *ret_count = 0;
    for (size_t i = 0; contenders != NULL && i < count; i++) {
        *ret_count += nodes_read_contender(names[i], &contenders[*ret_count]);
    }
    if (contenders != NULL && *ret_count > 1) {
        qsort(contenders, *ret_count, sizeof(*contenders), compare);
    }
    return contenders;
}

ptrdiff_t nodes_predecessor(const struct contender *contenders, size_t index)
{
    for (size_t i = index; i-- > 0;) {
        if (!contenders[i].shared || !contenders[index].shared) {
            return (ptrdiff_t)i;
        }
    }
    return -1;
}

/* ---- data ---- */

/* The value behind `name`, up to a space or the end. False: there is none. */
static bool find_field(struct slice line, const char *name, struct slice *ret_value)
{
    size_t length = strlen(name);
    for (size_t i = 0; i + length < line.size; i++) {
        bool starts = i == 0 || line.data[i - 1] == ' ';
        if (starts && memcmp(&line.data[i], name, length) == 0 && line.data[i + length] == '=') {
            size_t from = i + length + 1;
            size_t to = from;
            while (to < line.size && line.data[to] != ' ') {
                to++;
            }
            *ret_value = slice_of(&line.data[from], to - from);
            return true;
        }
    }
    return false;
}

static int64_t find_number(struct slice line, const char *name)
{
    struct slice text;
    int64_t number = 0;
    return find_field(line, name, &text) && number_parse_int64(text, &number) && number >= 0 ? number : 0;
}

static void append_field(struct buffer *out, const char *name, struct slice value)
{
    char text[3 * LOCK_STATE_NOTE_BYTES];
    buffer_append_string(out, name);
    buffer_append(out, text, escape(value, " %", text));
}

static void append_number(struct buffer *out, const char *name, int64_t value)
{
    char text[NUMBER_INT64_BYTES];
    buffer_append_string(out, name);
    buffer_append(out, text, number_format_int64(text, value));
}

enum { CONTENDER_BYTES = 3 * (LOCK_STATE_OWNER_BYTES + LOCK_STATE_NOTE_BYTES) + 128 };

bool nodes_write_contender(struct buffer *out, int64_t ttl_ms, struct slice owner, struct slice note)
{
    if (!buffer_try_reserve(out, CONTENDER_BYTES)) {
        return false;
    }
    buffer_append_slice(out, MARK);
    append_number(out, "ttl_ms=", ttl_ms);
    append_field(out, " owner=", owner);
    append_field(out, " note=", note);
    return true;
}

void nodes_read_contender_data(struct slice from, struct contender_data *ret_data)
{
    struct contender_data *data = ret_data;
    struct slice owner = from;
    struct slice note = slice_of("", 0);
    data->ours = slice_starts_with(from, MARK) && find_field(from, "owner", &owner);
    data->ttl_ms = data->ours ? find_number(from, "ttl_ms") : 0;
    if (data->ours) {
        (void)find_field(from, "note", &note);
        data->owner = slice_of(data->bytes, unescape(owner, data->bytes, LOCK_STATE_OWNER_BYTES));
    } else {
        size_t size = from.size < LOCK_STATE_OWNER_BYTES ? from.size : LOCK_STATE_OWNER_BYTES;
        if (size > 0) {
            memcpy(data->bytes, from.data, size);
        }
        data->owner = slice_of(data->bytes, size);
    }
    uint8_t *at = data->bytes + LOCK_STATE_OWNER_BYTES;
    data->note = slice_of(at, unescape(note, at, LOCK_STATE_NOTE_BYTES));
}

enum { PAST_BYTES = 3 * LOCK_STATE_OWNER_BYTES + 160 };

bool nodes_write_lock(struct buffer *out, const struct lock_state *state)
{
    if (!buffer_try_reserve(out, 64 + (size_t)state->past_count * PAST_BYTES)) {
        return false;
    }
    buffer_append_slice(out, MARK);
    append_number(out, "fence=", (int64_t)state->fence);
    for (uint32_t i = 0; i < state->past_count; i++) {
        const struct lock_past *past = &state->past[i];
        append_field(out, "\npast owner=", past->owner);
        append_number(out, " token=", (int64_t)past->token);
        append_number(out, " from_ms=", past->from_ms);
        append_number(out, " to_ms=", past->to_ms);
        append_field(out, " why=", slice_from_string(lock_why_text(past->why)));
    }
    return true;
}

static enum lock_why read_why(struct slice line)
{
    struct slice text = slice_of("", 0);
    uint8_t bytes[32];
    (void)find_field(line, "why", &text);
    text = slice_of(bytes, unescape(text, bytes, sizeof(bytes)));
    enum lock_why why = LOCK_WHY_RELEASED;
    while (why < LOCK_WHY_GONE && !slice_equal(text, slice_from_string(lock_why_text(why)))) {
        why++;
    }
    return why;
}

static bool read_past(struct slice line, struct lock_state *state)
{
    uint8_t bytes[LOCK_STATE_OWNER_BYTES];
    struct slice owner;
    if (!find_field(line, "owner", &owner)) {
        return true; /* of a newer Cohort's */
    }
    struct lock_past past = {.owner = slice_of(bytes, unescape(owner, bytes, sizeof(bytes))),
                             .token = (uint64_t)find_number(line, "token"),
                             .from_ms = find_number(line, "from_ms"),
                             .to_ms = find_number(line, "to_ms"),
                             .why = read_why(line)};
    return lock_state_add_past(state, &past);
}

enum status nodes_read_lock(struct slice from, struct lock_state *state)
{
    if (from.size == 0) {
        return STATUS_OK; /* as kazoo makes them */
    }
    if (!slice_starts_with(from, MARK)) {
        return STATUS_CORRUPT;
    }
    for (bool first = true; from.size > 0; first = false) {
        const uint8_t *end = memchr(from.data, '\n', from.size);
        size_t size = end == NULL ? from.size : (size_t)(end - from.data);
        struct slice line = slice_of(from.data, size);
        if (first) {
            state->fence = (uint64_t)find_number(line, "fence");
        } else if (!read_past(line, state)) {
            return STATUS_NOMEM;
        }
        size += end != NULL;
        from = slice_of(from.data + size, from.size - size);
    }
    return STATUS_OK;
}

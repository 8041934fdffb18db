#include "engine/etcd_words.h"

#include "base/number.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- %xx ---- */

static bool is_plain(uint8_t byte) { return byte > ' ' && byte < 0x7f && strchr("%/@&=\"\\", byte) == NULL; }

static void append_escaped(struct buffer *out, struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (is_plain(text.data[i])) {
            buffer_append_byte(out, text.data[i]);
        } else {
            buffer_append_format(out, "%%%02x", text.data[i]);
        }
    }
}

static int digit_of(uint8_t byte)
{
    static const char digits[] = "0123456789abcdef";
    const char *found = byte == 0 ? NULL : strchr(digits, byte);
    return found == NULL ? -1 : (int)(found - digits);
}

/* False: it is not what append_escaped writes, or too long. */
static bool read_escaped(struct slice text, uint8_t *at, size_t capacity, size_t *ret_size)
{
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        int byte = text.data[i];
        if (byte == '%') {
            bool whole = i + 2 < text.size;
            int high = whole ? digit_of(text.data[i + 1]) : -1;
            int low = whole ? digit_of(text.data[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return false;
            }
            byte = 16 * high + low;
            i += 2;
        }
        if (size == capacity) {
            return false;
        }
        at[size++] = (uint8_t)byte;
    }
    *ret_size = size;
    return true;
}

/* ---- names ---- */

void etcd_append_key(struct buffer *out, const char *prefix, const char *part, struct slice key)
{
    buffer_append_string(out, prefix);
    buffer_append_byte(out, '/');
    buffer_append_string(out, part);
    if (key.size == 0) {
        buffer_append_byte(out, '%');
        return;
    }
    bool is_election = key.data[0] == 0;
    if (is_election) {
        buffer_append_byte(out, '@');
    }
    append_escaped(out, slice_of(key.data + is_election, key.size - is_election));
}

bool etcd_read_name(struct slice name, uint8_t ret_key[static LOCK_STATE_KEY_BYTES], size_t *ret_size)
{
    *ret_size = 0;
    if (slice_equal(name, SLICE_LITERAL("%"))) {
        return true;
    }
    size_t is_election = name.size > 0 && name.data[0] == '@';
    size_t size = 0;
    ret_key[0] = 0;
    bool is_name = name.size > 0 && read_escaped(slice_of(name.data + is_election, name.size - is_election),
                                                 ret_key + is_election, LOCK_STATE_KEY_BYTES - is_election, &size);
    *ret_size = size + is_election;
    return is_name;
}

/* ---- values ---- */

static void append_start(struct buffer *out, const struct etcd_value *value)
{
    buffer_append_string(out, "cohort owner=");
    append_escaped(out, value->owner);
    buffer_append_string(out, " note=");
    append_escaped(out, value->note);
    buffer_append_format(out, " since_ms=%" PRId64, value->since_ms);
}

void etcd_append_value(struct buffer *out, const struct etcd_value *value)
{
    append_start(out, value);
    if (value->holds) {
        buffer_append_format(out, " ttl_ms=%" PRId64, value->ttl_ms);
    }
}

void etcd_append_past(struct buffer *out, const struct etcd_value *past)
{
    append_start(out, past);
    buffer_append_format(out, " to_ms=%" PRId64 " token=%" PRIu64 " why=%d", past->to_ms, past->token, (int)past->why);
}

static bool take_word(struct slice *text, struct slice *ret_name, struct slice *ret_value)
{
    if (text->size == 0) {
        return false;
    }
    const uint8_t *end = memchr(text->data, ' ', text->size);
    size_t size = end == NULL ? text->size : (size_t)(end - text->data);
    const uint8_t *equal = memchr(text->data, '=', size);
    size_t name = equal == NULL ? size : (size_t)(equal - text->data);
    *ret_name = slice_of(text->data, name);
    *ret_value = equal == NULL ? slice_of("", 0) : slice_of(equal + 1, size - name - 1);
    size += end != NULL;
    *text = slice_of(text->data + size, text->size - size);
    return true;
}

static bool read_words(struct slice text, struct etcd_value *value)
{
    struct slice name;
    struct slice word;
    size_t owner = 0;
    size_t note = 0;
    bool sound = true;
    uint8_t *notes = value->bytes + LOCK_STATE_OWNER_BYTES;
    while (sound && take_word(&text, &name, &word)) {
        int64_t number = 0;
        if (slice_is_word(name, "owner")) {
            sound = read_escaped(word, value->bytes, LOCK_STATE_OWNER_BYTES, &owner);
            continue;
        }
        if (slice_is_word(name, "note")) {
            sound = read_escaped(word, notes, LOCK_STATE_NOTE_BYTES, &note);
            continue;
        }
        sound = number_parse_int64(word, &number);
        if (slice_is_word(name, "since_ms")) {
            value->since_ms = number;
        } else if (slice_is_word(name, "ttl_ms")) {
            value->ttl_ms = number;
            value->holds = true;
        } else if (slice_is_word(name, "to_ms")) {
            value->to_ms = number;
        } else if (slice_is_word(name, "token")) {
            value->token = (uint64_t)number;
        } else if (slice_is_word(name, "why") && number >= 0 && number < LOCK_WHYS) {
            value->why = (enum lock_why)number;
        }
    }
    value->owner = slice_of(value->bytes, owner);
    value->note = slice_of(notes, note);
    return sound;
}

/* The owner of somebody else's key is "etcd:" and its last part, which is a lease where it is a lock of etcd's. */
static void read_foreign(const struct etcd_kv *kv, struct etcd_value *value)
{
    *value = (struct etcd_value){.holds = true};
    const uint8_t *slash = memrchr(kv->key.data, '/', kv->key.size);
    size_t at = slash == NULL ? 0 : (size_t)(slash - kv->key.data) + 1;
    int size = snprintf((char *)value->bytes, LOCK_STATE_OWNER_BYTES, "etcd:%.*s", (int)(kv->key.size - at),
                        (const char *)kv->key.data + at);
    size = size < LOCK_STATE_OWNER_BYTES ? size : LOCK_STATE_OWNER_BYTES - 1;
    value->owner = slice_of(value->bytes, (size_t)size);
    uint8_t *note = value->bytes + LOCK_STATE_OWNER_BYTES;
    size_t note_size = kv->value.size < LOCK_STATE_NOTE_BYTES ? kv->value.size : LOCK_STATE_NOTE_BYTES;
    if (note_size > 0) {
        memcpy(note, kv->value.data, note_size);
    }
    value->note = slice_of(note, note_size);
}

void etcd_read_value(const struct etcd_kv *kv, struct etcd_value *ret_value)
{
    struct slice text = kv->value;
    struct slice magic = SLICE_LITERAL("cohort ");
    *ret_value = (struct etcd_value){.is_ours = true};
    if (!slice_starts_with(text, magic) ||
        !read_words(slice_of(text.data + magic.size, text.size - magic.size), ret_value)) {
        read_foreign(kv, ret_value);
    }
}

/* The half of etcd_words.h that is requests and answers. */
#include "engine/etcd_words.h"

#include "base/assert.h"
#include "base/number.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- base64 (RFC 4648, section 4) ---- */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void append_base64(struct buffer *out, const char *name, struct slice bytes)
{
    buffer_append_format(out, "\"%s\":\"", name);
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t count = bytes.size - i < 3 ? bytes.size - i : 3;
        uint32_t three = (uint32_t)bytes.data[i] << 16 | (count > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0) |
                         (count > 2 ? bytes.data[i + 2] : 0U);
        for (size_t j = 0; j < 4; j++) {
            buffer_append_byte(out, j <= count ? (uint8_t)alphabet[three >> (18 - 6 * j) & 63] : (uint8_t)'=');
        }
    }
    buffer_append_byte(out, '"');
}

/* Into `at`, which has room; false: it is none. */
static bool read_base64(const char *text, size_t size, uint8_t *at, size_t *ret_size)
{
    uint32_t bits = 0;
    size_t have = 0;
    size_t done = 0;
    for (size_t i = 0; i < size && text[i] != '='; i++) {
        const char *found = strchr(alphabet, text[i]);
        if (found == NULL || text[i] == '\0') {
            return false;
        }
        bits = bits << 6 | (uint32_t)(found - alphabet);
        have += 6;
        if (have >= 8) {
            have -= 8;
            at[done++] = (uint8_t)(bits >> have);
        }
    }
    *ret_size = done;
    return true;
}

/* ---- requests ---- */

void etcd_append_lease(struct buffer *out, uint64_t lease, int64_t ttl_s)
{
    buffer_append_format(out, "{\"ID\":\"%" PRIu64 "\"", lease);
    if (ttl_s > 0) {
        buffer_append_format(out, ",\"TTL\":\"%" PRId64 "\"", ttl_s);
    }
    buffer_append_byte(out, '}');
}

/* The first key behind all that begin with this one. Keys that are asked for so end with a slash, and are shorter than
 * ETCD_KEY_BYTES. */
static void append_end(struct buffer *out, struct slice key)
{
    uint8_t end[ETCD_KEY_BYTES];
    ASSERT(key.size > 0 && key.size <= sizeof(end));
    memcpy(end, key.data, key.size);
    end[key.size - 1]++;
    append_base64(out, "range_end", slice_of(end, key.size));
}

static void append_keys(struct buffer *out, struct slice key, bool below)
{
    append_base64(out, "key", key);
    if (below) {
        buffer_append_byte(out, ',');
        append_end(out, key);
    }
}

static void append_comma(struct buffer *out)
{
    if (out->data[out->size - 1] != '[') {
        buffer_append_byte(out, ',');
    }
}

void etcd_txn_begin(struct buffer *out) { buffer_append_string(out, "{\"compare\":["); }
void etcd_txn_then(struct buffer *out) { buffer_append_string(out, "],\"success\":["); }
void etcd_txn_else(struct buffer *out) { buffer_append_string(out, "],\"failure\":["); }
void etcd_txn_end(struct buffer *out) { buffer_append_string(out, "]}"); }

void etcd_txn_if(struct buffer *out, struct slice key, bool below, enum etcd_target target, int64_t revision)
{
    append_comma(out);
    buffer_append_format(out, "{\"target\":\"%s\",\"result\":\"EQUAL\",\"%s_revision\":\"%" PRId64 "\",",
                         target == ETCD_CREATE ? "CREATE" : "MOD", target == ETCD_CREATE ? "create" : "mod", revision);
    append_keys(out, key, below);
    buffer_append_byte(out, '}');
}

void etcd_txn_put(struct buffer *out, struct slice key, struct slice value, uint64_t lease)
{
    append_comma(out);
    buffer_append_string(out, "{\"request_put\":{");
    append_base64(out, "key", key);
    buffer_append_byte(out, ',');
    append_base64(out, "value", value);
    buffer_append_format(out, ",\"lease\":\"%" PRIu64 "\"}}", lease);
}

void etcd_txn_delete(struct buffer *out, struct slice key)
{
    append_comma(out);
    buffer_append_string(out, "{\"request_delete_range\":{");
    append_base64(out, "key", key);
    buffer_append_string(out, "}}");
}

void etcd_append_range(struct buffer *out, const struct etcd_range *range)
{
    buffer_append_byte(out, '{');
    append_keys(out, range->key, range->below && range->until.size == 0);
    if (range->until.size > 0) {
        buffer_append_byte(out, ',');
        append_base64(out, "range_end", range->until);
    }
    if (range->limit > 0) {
        buffer_append_format(out, ",\"limit\":\"%" PRId64 "\"", range->limit);
    }
    if (range->most_create > 0) {
        buffer_append_format(out, ",\"max_create_revision\":\"%" PRId64 "\"", range->most_create);
    }
    if (range->only_keys) {
        buffer_append_string(out, ",\"keys_only\":true");
    } else if (range->below) {
        buffer_append_format(out, ",\"sort_target\":\"CREATE\",\"sort_order\":\"%s\"",
                             range->newest_first ? "DESCEND" : "ASCEND");
    }
    buffer_append_byte(out, '}');
}

void etcd_txn_range(struct buffer *out, const struct etcd_range *range)
{
    append_comma(out);
    buffer_append_string(out, "{\"request_range\":");
    etcd_append_range(out, range);
    buffer_append_byte(out, '}');
}

void etcd_append_watch(struct buffer *out, struct slice key, int64_t revision)
{
    buffer_append_string(out, "{\"create_request\":{");
    append_keys(out, key, true);
    buffer_append_format(out, ",\"start_revision\":\"%" PRId64 "\",\"filters\":[\"NOPUT\"]}}", revision);
}

/* ---- answers ---- */

int64_t etcd_number(const json_t *object, const char *name)
{
    const json_t *found = json_object_get(object, name);
    int64_t number = json_integer_value(found);
    const char *text = json_string_value(found);
    return text != NULL && !number_parse_int64(slice_from_string(text), &number) ? 0 : number;
}

int64_t etcd_header(const json_t *answer, const char *name)
{
    return etcd_number(json_object_get(answer, "header"), name);
}

bool etcd_succeeded(const json_t *answer) { return json_is_true(json_object_get(answer, "succeeded")); }

static size_t text_bytes(const json_t *kv)
{
    return json_string_length(json_object_get(kv, "key")) + json_string_length(json_object_get(kv, "value"));
}

static struct slice take_text(const json_t *kv, const char *name, uint8_t *at)
{
    const json_t *found = json_object_get(kv, name);
    size_t size = 0;
    if (found == NULL || !read_base64(json_string_value(found), json_string_length(found), at, &size)) {
        return slice_of("", 0);
    }
    return slice_of(at, size);
}

/* Returns how many bytes its texts take. */
static size_t take_kv(const json_t *kv, uint8_t *bytes, struct etcd_kv *ret_kv)
{
    *ret_kv = (struct etcd_kv){.create = etcd_number(kv, "create_revision"),
                               .mod = etcd_number(kv, "mod_revision"),
                               .lease = (uint64_t)etcd_number(kv, "lease")};
    ret_kv->key = take_text(kv, "key", bytes);
    ret_kv->value = take_text(kv, "value", bytes + ret_kv->key.size);
    return ret_kv->key.size + ret_kv->value.size;
}

static bool make_room(struct etcd_kvs *kvs, size_t count, size_t bytes)
{
    *kvs = (struct etcd_kvs){.at = calloc(count + 1, sizeof(*kvs->at)), .bytes = malloc(bytes + 1)};
    if (kvs->at == NULL || kvs->bytes == NULL) {
        etcd_free_kvs(kvs);
        return false;
    }
    return true;
}

bool etcd_take_kvs(const json_t *answer, int response, struct etcd_kvs *ret_kvs)
{
    if (response >= 0) {
        const json_t *responses = json_object_get(answer, "responses");
        answer = json_object_get(json_array_get(responses, (size_t)response), "response_range");
    }
    const json_t *found = json_object_get(answer, "kvs");
    size_t count = json_array_size(found);
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += text_bytes(json_array_get(found, i));
    }
    if (!make_room(ret_kvs, count, bytes)) {
        return false;
    }
    size_t used = 0;
    for (; ret_kvs->count < count; ret_kvs->count++) {
        used += take_kv(json_array_get(found, ret_kvs->count), ret_kvs->bytes + used, &ret_kvs->at[ret_kvs->count]);
    }
    return true;
}

bool etcd_take_kv(const json_t *kv, struct etcd_kvs *ret_kvs)
{
    if (!make_room(ret_kvs, 1, text_bytes(kv))) {
        return false;
    }
    (void)take_kv(kv, ret_kvs->bytes, &ret_kvs->at[0]);
    ret_kvs->count = 1;
    return true;
}

void etcd_free_kvs(struct etcd_kvs *kvs)
{
    free(kvs->at);
    free(kvs->bytes);
    *kvs = (struct etcd_kvs){0};
}

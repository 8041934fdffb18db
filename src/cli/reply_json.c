#include "cli/reply_json.h"

#include "base/memory.h"
#include "base/printable.h"
#include "wire/resp_reply.h"

#include <math.h>
#include <stdlib.h>

struct source {
    struct resp_reader reader;
    struct slice left;
};

static json_t *take_value(struct source *source);

static bool take_token(struct source *source, struct resp_token *ret_token)
{
    const struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    enum resp_reply_result result =
        resp_reader_next(&source->reader, &limits, source->left.data, source->left.size, ret_token);
    size_t used = source->reader.consumed;
    source->left = slice_of(source->left.data + used, source->left.size - used);
    return result == RESP_REPLY_READY;
}

static json_t *text_json(struct slice text)
{
    json_t *json = json_stringn((const char *)text.data, text.size);
    if (json == NULL) { /* not UTF-8 */
        size_t capacity = 4 * text.size + 1;
        char *shown = memory_allocate(capacity);
        (void)printable_copy(text, shown, capacity);
        json = json_string(shown);
        free(shown);
    }
    return json;
}

static json_t *take_array(struct source *source, uint64_t count)
{
    json_t *array = json_array();
    for (uint64_t i = 0; i < count; i++) {
        json_t *value = take_value(source);
        if (value == NULL) {
            json_decref(array);
            return NULL;
        }
        (void)json_array_append_new(array, value);
    }
    return array;
}

static json_t *take_map(struct source *source, uint64_t count)
{
    json_t *object = json_object();
    for (uint64_t i = 0; i < count; i += 2) {
        json_t *name = take_value(source);
        json_t *value = name == NULL ? NULL : take_value(source);
        bool good = value != NULL && json_is_string(name);
        if (good) {
            (void)json_object_set_new(object, json_string_value(name), value);
        } else {
            json_decref(value);
        }
        json_decref(name);
        if (!good) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

/* NULL when there is none. */
static json_t *take_value(struct source *source)
{
    struct resp_token token;
    if (!take_token(source, &token)) {
        return NULL;
    }
    switch (token.type) {
    case RESP_STATUS:
    case RESP_ERROR:
    case RESP_BULK:
    case RESP_VERBATIM:
    case RESP_BIG_NUMBER: return text_json(token.text);
    case RESP_INTEGER: return json_integer(token.integer);
    case RESP_DOUBLE: return isfinite(token.number) ? json_real(token.number) : json_null();
    case RESP_BOOLEAN: return json_boolean(token.integer != 0);
    case RESP_NULL: return json_null();
    case RESP_ARRAY:
    case RESP_SET:
    case RESP_PUSH: return take_array(source, token.count);
    case RESP_MAP: return take_map(source, token.count);
    case RESP_ATTRIBUTE: break; /* no node sends any */
    }
    return NULL;
}

enum status reply_json(struct slice reply, json_t **ret_json)
{
    if (reply.size > REPLY_JSON_BYTES) {
        return STATUS_TOO_LARGE;
    }
    struct source source = {.left = reply};
    resp_reader_init(&source.reader);
    json_t *json = take_value(&source);
    if (json == NULL || source.left.size != 0) {
        json_decref(json);
        return STATUS_CORRUPT;
    }
    *ret_json = json;
    return STATUS_OK;
}

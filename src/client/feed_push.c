/* What a server pushes to a feed (feed.h): [feed, prefix, position, [[kind, key, version, …] …]]. */
#include "client/feed.h"

#include <stdlib.h>

enum { PARTS_MINIMUM = 3 }; /* kind, key, version */

static const struct {
    const char *name;
    size_t parts;
} kinds[] = {
    [COHORT_FEED_SET] = {"set", 4},         [COHORT_FEED_HSET] = {"hset", 5},
    [COHORT_FEED_HDEL] = {"hdel", 4},       [COHORT_FEED_DEL] = {"del", 3},
    [COHORT_FEED_EXPIRED] = {"expired", 3}, [COHORT_FEED_EXPIRE] = {"expire", 4},
    [COHORT_FEED_PERSIST] = {"persist", 3}, [COHORT_FEED_FLUSH] = {"flush", 5},
    [COHORT_FEED_RELOAD] = {"reload", 3},   [COHORT_FEED_STALE] = {"stale", 5},
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static bool is_text(const struct cohort_reply *reply) { return cohort_reply_type(reply) == COHORT_REPLY_STRING; }

static bool take_number(const struct cohort_reply *reply, int64_t maximum, int64_t *ret_number)
{
    *ret_number = cohort_reply_integer(reply);
    return cohort_reply_type(reply) == COHORT_REPLY_INTEGER && *ret_number >= 0 && *ret_number <= maximum;
}

static bool take_text(const struct cohort_reply *reply, struct cohort_bytes *ret_bytes)
{
    *ret_bytes = cohort_reply_bytes(reply);
    return is_text(reply);
}

static bool take_slots(const struct cohort_reply *parts, struct cohort_feed_change *change)
{
    int64_t first;
    int64_t last;
    if (!take_number(cohort_reply_at(parts, 3), KEY_SLOTS - 1, &first) ||
        !take_number(cohort_reply_at(parts, 4), KEY_SLOTS - 1, &last) || last < first) {
        return false;
    }
    change->first_slot = (uint32_t)first;
    change->last_slot = (uint32_t)last;
    return true;
}

/* What stands behind the version. */
static bool take_rest(const struct cohort_reply *parts, struct cohort_feed_change *change)
{
    switch (change->kind) {
    case COHORT_FEED_SET: return take_text(cohort_reply_at(parts, 3), &change->value);
    case COHORT_FEED_HSET:
        return take_text(cohort_reply_at(parts, 3), &change->field) &&
               take_text(cohort_reply_at(parts, 4), &change->value);
    case COHORT_FEED_HDEL: return take_text(cohort_reply_at(parts, 3), &change->field);
    case COHORT_FEED_EXPIRE:
        change->expires_ms = cohort_reply_integer(cohort_reply_at(parts, 3));
        return cohort_reply_type(cohort_reply_at(parts, 3)) == COHORT_REPLY_INTEGER;
    case COHORT_FEED_FLUSH:
    case COHORT_FEED_STALE: return take_slots(parts, change);
    case COHORT_FEED_DEL:
    case COHORT_FEED_EXPIRED:
    case COHORT_FEED_PERSIST:
    case COHORT_FEED_RELOAD: break;
    }
    return true;
}

static enum status take_change(const struct cohort_reply *parts, struct cohort_feed_change *change,
                               const char **ret_kind)
{
    static const struct cohort_feed_change nothing = {.field = {"", 0}, .value = {"", 0}};
    const struct cohort_reply *kind = cohort_reply_at(parts, 0);
    int64_t version;
    *change = nothing;
    if (cohort_reply_count(parts) < PARTS_MINIMUM || !is_text(kind) ||
        !take_text(cohort_reply_at(parts, 1), &change->key) ||
        !take_number(cohort_reply_at(parts, 2), INT64_MAX, &version)) {
        return STATUS_CORRUPT;
    }
    change->version = (uint64_t)version;
    for (size_t i = 0; i < KINDS; i++) {
        if (slice_equal(reply_slice(kind), slice_from_string(kinds[i].name))) {
            change->kind = (enum cohort_feed_kind)i;
            bool whole = cohort_reply_count(parts) == kinds[i].parts && take_rest(parts, change);
            return whole ? STATUS_OK : STATUS_CORRUPT;
        }
    }
    *ret_kind = cohort_reply_text(kind);
    return STATUS_VERSION;
}

static enum status take_changes(const struct cohort_reply *changes, struct feed_push *push, const char **ret_kind)
{
    for (size_t i = 0; i < push->count; i++) {
        enum status status = take_change(cohort_reply_at(changes, i), &push->changes[i], ret_kind);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

/* A position stands in C strings: it has no zero in it. */
static bool is_position(const struct cohort_reply *position)
{
    size_t size = cohort_reply_bytes(position).size;
    return is_text(position) && size > 0 && strlen(cohort_reply_text(position)) == size;
}

struct feed_push *client_feed_push_begin(struct cohort_bytes position)
{
    struct feed_push *push = malloc(sizeof(*push) + position.size + 1);
    if (push != NULL) {
        char *text = (char *)(push + 1);
        memcpy(text, position.data, position.size);
        text[position.size] = '\0';
        *push = (struct feed_push){.position = text};
    }
    return push;
}

enum status client_feed_push_create(struct cohort_reply *reply, struct slice prefix, struct feed_push **ret_push,
                                    const char **ret_kind)
{
    const struct cohort_reply *position = cohort_reply_at(reply, 2);
    const struct cohort_reply *changes = cohort_reply_at(reply, 3);
    if (cohort_reply_count(reply) != 4 || !slice_equal(reply_slice(cohort_reply_at(reply, 1)), prefix) ||
        !is_position(position) || cohort_reply_type(changes) != COHORT_REPLY_ARRAY) {
        return STATUS_CORRUPT;
    }
    size_t count = cohort_reply_count(changes);
    struct feed_push *push = malloc(sizeof(*push) + count * sizeof(push->changes[0]));
    if (push == NULL) {
        return STATUS_NOMEM;
    }
    *push = (struct feed_push){.position = cohort_reply_text(position), .count = count};
    enum status status = take_changes(changes, push, ret_kind);
    if (status != STATUS_OK) {
        free(push);
        return status;
    }
    push->reply = reply;
    *ret_push = push;
    return STATUS_OK;
}

void client_feed_push_free(struct feed_push *push)
{
    if (push != NULL) {
        cohort_reply_free(push->reply);
        free(push);
    }
}

/* What the history is told of an entry (feed/feed_log.h): of strings the value as it is now, of hashes field after
 * field. A hash that appears as a whole is told by its fields while it is packed, in their order, which is the same at
 * every replica; a larger one is to be read. */
#include "base/number.h"
#include "machine/keys/keyspace_internal.h"

void keyspace_record_to(struct keyspace *keyspace, struct feed_log *history) { keyspace->history = history; }

void keyspace_tell_due(struct keyspace *keyspace, const struct entry *entry)
{
    struct feed_log *history = keyspace->history;
    if (entry->due_kind == DUE_NEVER || entry->due_kind == DUE_SESSION) { /* a session's end is told as a DEL */
        feed_log_key(history, FEED_PERSIST, entry_key(entry));
        return;
    }
    int64_t due_ms = entry->due_ms;
    if (entry->due_kind == DUE_TIME &&
        __builtin_add_overflow(history->wall_ms, entry->due_ms - history->time_ms, &due_ms)) {
        due_ms = INT64_MAX;
    }
    feed_log_expire(history, entry_key(entry), due_ms);
}

void keyspace_tell_value(struct keyspace *keyspace, const struct entry *entry)
{
    if (!entry_is_string(entry)) {
        return;
    }
    char digits[NUMBER_INT64_BYTES];
    feed_log_set(keyspace->history, entry_key(entry), entry_string(entry, digits));
    if (entry->due_kind != DUE_NEVER && entry->due_kind != DUE_SESSION) {
        keyspace_tell_due(keyspace, entry);
    }
}

struct telling {
    struct feed_log *history;
    struct slice key;
};

static bool tell_field(void *owner, struct slice name, struct slice value)
{
    struct telling *telling = owner;
    feed_log_field(telling->history, telling->key, name, value);
    return true;
}

void keyspace_tell_whole(struct keyspace *keyspace, const struct entry *entry, bool instead)
{
    struct feed_log *history = keyspace_told(keyspace);
    if (history == NULL || entry_is_string(entry)) { /* of a string keyspace_changed tells the value */
        return;
    }
    struct telling telling = {history, entry_key(entry)};
    if (entry->kind == VALUE_TABLE) {
        feed_log_key(history, FEED_RELOAD, telling.key);
        return; /* with its expiry */
    }
    if (instead) {
        feed_log_key(history, FEED_DEL, telling.key);
    }
    entry_hash_each(entry, tell_field, &telling);
    if (entry->due_kind != DUE_NEVER && entry->due_kind != DUE_SESSION) {
        keyspace_tell_due(keyspace, entry);
    }
}

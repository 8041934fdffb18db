/* Digest of the logical state: a sum over entries, fields and traces, so that the order in which tables hold them does
 * not matter, under a seed of its own, so that the keyspace's does not matter either. */
#include "base/hash.h"
#include "machine/keys/keyspace_internal.h"

enum { DIGEST_SEED = 0x5eed, TRACE_SEED, FIELD_SEED };

static uint64_t mix(uint64_t digest, uint64_t value) { return hash_bytes(digest, &value, sizeof(value)); }

static bool add_field(void *owner, struct slice name, struct slice value)
{
    uint64_t digest = mix(FIELD_SEED, name.size);
    digest = hash_bytes(digest, name.data, name.size);
    *(uint64_t *)owner += hash_bytes(digest, value.data, value.size);
    return true;
}

static uint64_t value_digest(const struct entry *entry)
{
    if (entry->kind == VALUE_INT) {
        return mix(0, (uint64_t)entry_number(entry));
    }
    if (entry->kind == VALUE_PACKED) { /* the order counts */
        const struct packed *packed = entry_pointer(entry);
        return hash_bytes(0, packed->bytes, packed->size);
    }
    if (entry->kind == VALUE_TABLE) {
        uint64_t sum = entry_hash_size(entry);
        entry_hash_each(entry, add_field, &sum);
        return sum;
    }
    struct slice value = entry_string(entry, NULL);
    return hash_bytes(0, value.data, value.size);
}

static void add_entry(void *owner, void *item)
{
    const struct entry *entry = item;
    uint64_t digest = hash_bytes(DIGEST_SEED, entry->bytes, entry->key_size);
    digest = mix(digest, (uint64_t)entry_encoding(entry) | (uint64_t)entry->due_kind << 8);
    digest = mix(digest, entry->version);
    digest = mix(digest, entry->due_kind == DUE_NEVER ? 0 : (uint64_t)entry->due_ms);
    *(uint64_t *)owner += mix(digest, value_digest(entry));
}

uint64_t keyspace_digest(const struct keyspace *keyspace)
{
    uint64_t sum = mix(mix(DIGEST_SEED, keyspace->clear_position), keyspace->last_position);
    uint64_t cursor = 0;
    do {
        cursor = table_walk(&keyspace->table, cursor, add_entry, &sum);
    } while (cursor != 0);
    for (uint64_t i = 0; keyspace->traces != NULL && i < KEYSPACE_TRACES; i++) {
        if (keyspace->traces[i] != 0) {
            sum += mix(mix(TRACE_SEED, i), keyspace->traces[i]);
        }
    }
    return sum;
}

/* Records of a snapshot: any bytes are taken or refused. What was taken can be read and changed, and once it is
 * complete a snapshot of it, taken while it changes, gives the same state again. */
#include "base/buffer.h"
#include "base/number.h"
#include "base/varint.h"
#include "fuzz.h"
#include "machine/keys/keyspace.h"

enum { SEED = 7 };

static const struct keyspace_time NOW = {0, 0, 0, 0};

/* Loads framed records until one is refused; true when the last one that a snapshot makes was taken. */
static bool load(struct keyspace *keyspace, struct slice from)
{
    bool complete = false;
    uint64_t size;
    while (from.size > 0 && varint_take(&from, &size) && size <= from.size) {
        enum status status = keyspace_load_record(keyspace, slice_of(from.data, size));
        ASSERT(status == STATUS_OK || status == STATUS_CORRUPT || status == STATUS_VERSION);
        if (status != STATUS_OK) {
            return false;
        }
        complete = from.data[0] == KEYSPACE_RECORD_END;
        from = slice_of(from.data + size, from.size - size);
    }
    return complete;
}

static bool touch_field(void *owner, struct slice field, struct slice value)
{
    *(size_t *)owner += field.size + value.size;
    return true;
}

static void touch(void *owner, const struct entry *entry)
{
    char digits[NUMBER_INT64_BYTES];
    if (entry_type(entry) == ENTRY_STRING) {
        *(size_t *)owner += entry_string(entry, digits).size;
    } else {
        entry_hash_each(entry, touch_field, owner);
    }
}

static void read_all(const struct keyspace *keyspace)
{
    size_t bytes = 0;
    uint64_t cursor = 0;
    do {
        cursor = keyspace_scan(keyspace, &NOW, cursor, 10, touch, &bytes);
    } while (cursor != 0);
    (void)keyspace_random(keyspace, &NOW, bytes);
}

/* Changes some key in a way that its number chooses. */
static void change(struct keyspace *keyspace, uint64_t number, uint64_t position)
{
    const struct entry *found = keyspace_random(keyspace, &NOW, number);
    struct entry *entry = found == NULL ? NULL : keyspace_edit(keyspace, &NOW, entry_key(found));
    if (entry == NULL) {
        return;
    }
    uint8_t *bytes;
    switch (number % 5) {
    case 0: keyspace_remove(keyspace, entry, position); return;
    case 1: keyspace_clear(keyspace, position); return;
    case 2: entry_set_due(keyspace, entry, DUE_TIME, 100); break;
    case 3: entry = entry_set_string(keyspace, entry, SLICE_LITERAL("new")); break;
    default:
        if (entry_type(entry) == ENTRY_STRING) {
            entry = entry_string_writable(keyspace, entry, 3, &bytes);
            memcpy(bytes, "xyz", 3);
        } else {
            entry_hash_set(keyspace, entry, SLICE_LITERAL("new"), SLICE_LITERAL("x"));
        }
    }
    keyspace_changed(keyspace, entry, position);
}

static void check_snapshot(struct keyspace *keyspace)
{
    uint64_t digest = keyspace_digest(keyspace), memory_bytes = keyspace_memory_bytes(keyspace);
    struct buffer records;
    buffer_init(&records);
    keyspace_snapshot_begin(keyspace);
    for (uint64_t i = 0; keyspace_snapshot_step(keyspace, &records, 64); i++) {
        change(keyspace, digest >> (i % 61), ((uint64_t)INT64_MAX) + 1 + i);
    }
    keyspace_snapshot_end(keyspace);
    struct keyspace *loaded = keyspace_create(SEED);
    ASSERT(load(loaded, buffer_slice(&records)));
    ASSERT(keyspace_digest(loaded) == digest && keyspace_memory_bytes(loaded) == memory_bytes);
    keyspace_destroy(loaded);
    buffer_deinit(&records);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct keyspace *keyspace = keyspace_create(SEED);
    bool complete = load(keyspace, slice_of(data, size));
    read_all(keyspace);
    if (complete) {
        check_snapshot(keyspace);
        read_all(keyspace);
    }
    keyspace_destroy(keyspace);
    return 0;
}

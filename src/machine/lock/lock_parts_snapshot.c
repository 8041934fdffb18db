/* Parts of LOCK.MACQUIREs, and what home has refused, as records of snapshots.
 *
 * After the kind and a version (1), u8 each; numbers are varints, texts a size and bytes:
 *   'Q' part      key · owner · deadline · home; behind the record of the lock
 *   'q' refused   count, then so many: node · start · number */
#include "base/memory.h"
#include "base/record.h"
#include "machine/lock/lock.h"

#include <stdlib.h>

static void put_parts(struct buffer *out, const struct lock *lock, const struct list *claims, struct buffer *record)
{
    LIST_FOR_EACH (at, claims) {
        const struct claim *claim = claim_of(at);
        if (claim->part == NULL) {
            continue;
        }
        buffer_clear(record);
        record_put_head(record, LOCK_RECORD_PART, LOCK_RECORD_VERSION);
        record_put_text(record, lock_key(lock));
        record_put_text(record, claim_owner(claim));
        record_put_number(record, (uint64_t)claim->part->deadline_ms);
        record_put_text(record, lock_part_home(claim->part));
        record_put_text(out, buffer_slice(record));
    }
}

void lock_parts_put(struct buffer *out, const struct lock *lock)
{
    struct buffer record;
    buffer_init(&record);
    put_parts(out, lock, &lock->holders, &record);
    put_parts(out, lock, &lock->waiters, &record);
    buffer_deinit(&record);
}

void lock_refused_put(struct buffer *out, const struct locks *locks)
{
    if (locks->refused_count == 0) {
        return;
    }
    struct buffer record;
    buffer_init(&record);
    record_put_head(&record, LOCK_RECORD_REFUSED, LOCK_RECORD_VERSION);
    record_put_number(&record, locks->refused_count);
    for (uint32_t i = 0; i < locks->refused_count; i++) {
        record_put_number(&record, locks->refused[i].node);
        record_put_number(&record, locks->refused[i].start);
        record_put_number(&record, locks->refused[i].number);
    }
    record_put_text(out, buffer_slice(&record));
    buffer_deinit(&record);
}

/* ---- back: whatever the bytes are, what was taken before stays sound ---- */

enum status lock_part_load(struct locks *locks, struct slice record)
{
    struct slice key, owner;
    struct lock_part_ask ask;
    uint64_t deadline_ms;
    if (!record_take_text(&record, LOCK_KEY_BYTES, &key) || !record_take_text(&record, LOCK_OWNER_BYTES, &owner) ||
        !record_take_number(&record, INT64_MAX / 2, &deadline_ms) ||
        !record_take_text(&record, LOCK_KEY_BYTES, &ask.home) || record.size != 0) {
        return STATUS_CORRUPT;
    }
    const struct lock *lock = lock_find(locks, key);
    struct claim *claim = lock == NULL ? NULL : lock_claim(locks, lock, owner);
    if (claim == NULL || claim->part != NULL || claim->token != 0 || claim->mode != LOCK_EXCLUSIVE) {
        return STATUS_CORRUPT;
    }
    locks->memory_bytes -= claim_charge(claim);
    claim->part = lock_part_create(&ask, (int64_t)deadline_ms);
    claim->part->claim = claim;
    locks->memory_bytes += claim_charge(claim);
    if (claim_is_reserved(claim)) {
        list_append(&locks->reserved, &claim->part->node);
    }
    return STATUS_OK;
}

enum status lock_refused_load(struct locks *locks, struct slice record)
{
    uint64_t count;
    if (locks->refused_count != 0 || !record_take_number(&record, LOCK_REFUSED_WORKERS, &count) || count == 0) {
        return STATUS_CORRUPT;
    }
    struct lock_refused *refused = memory_allocate_zeroed(count, sizeof(*refused));
    for (uint64_t i = 0; i < count; i++) {
        if (!varint_take(&record, &refused[i].node) || !varint_take(&record, &refused[i].start) ||
            !varint_take(&record, &refused[i].number)) {
            free(refused);
            return STATUS_CORRUPT;
        }
    }
    if (record.size != 0) {
        free(refused);
        return STATUS_CORRUPT;
    }
    locks->refused = refused;
    locks->refused_count = (uint32_t)count;
    return STATUS_OK;
}

#include "machine/lock/lock_ids.h"

#include "base/memory.h"

static bool next_id(struct slice *from, struct slice *ret_id)
{
    if (from->size == 0) {
        return false;
    }
    *ret_id = slice_of(from->data + 1, from->data[0]);
    *from = slice_of(from->data + 1 + ret_id->size, from->size - 1 - ret_id->size);
    return true;
}

bool claim_has_id(const struct claim *claim, struct slice id)
{
    struct slice rest = claim->ids == NULL ? slice_of(NULL, 0) : buffer_slice(claim->ids);
    struct slice one;
    while (next_id(&rest, &one)) {
        if (slice_equal(one, id)) {
            return true;
        }
    }
    return false;
}

void claim_add_id(struct locks *locks, struct claim *claim, struct slice id)
{
    if (claim->ids == NULL) {
        claim->ids = memory_allocate_zeroed(1, sizeof(*claim->ids));
    }
    buffer_append_byte(claim->ids, (uint8_t)id.size);
    buffer_append_slice(claim->ids, id);
    claim->id_count++;
    if (claim->heap_index != 0) { /* it is in, and counted without */
        locks->memory_bytes += 1 + id.size;
    }
}

bool claim_take_id(struct locks *locks, struct claim *claim, struct slice id)
{
    if (claim->ids == NULL) {
        return false;
    }
    struct slice rest = buffer_slice(claim->ids);
    struct slice one;
    size_t at = 0, found = SIZE_MAX, size = 0;
    while (next_id(&rest, &one)) {
        if (id.size == 0 || slice_equal(one, id)) {
            found = at;
            size = 1 + one.size;
        }
        at += 1 + one.size;
    }
    if (found == SIZE_MAX) {
        return false;
    }
    memmove(claim->ids->data + found, claim->ids->data + found + size, claim->ids->size - found - size);
    claim->ids->size -= size;
    claim->id_count--;
    locks->memory_bytes -= size;
    return true;
}

void claim_set_id(struct locks *locks, struct claim *claim, struct slice id)
{
    locks->memory_bytes -= claim->ids == NULL ? 0 : claim->ids->size;
    claim_free_ids(claim);
    if (id.size > 0) {
        claim_add_id(locks, claim, id);
    }
}

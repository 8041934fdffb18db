#include "machine/origin.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/varint.h"

#include <stdlib.h>

enum {
    RECORD_VERSION = 1,
    HEAD_BYTES = 2 + 4 * 8,
    BITS_BYTES = MACHINE_ORIGIN_WINDOW / 8,
    WORDS = MACHINE_ORIGIN_WINDOW / 64,
};

bool machine_origin_valid(const struct machine_origin *origin)
{
    return origin->node != 0 && origin->node <= INT64_MAX && origin->start <= INT64_MAX && origin->sequence != 0 &&
           origin->sequence <= INT64_MAX && origin->settled_below <= origin->sequence &&
           origin->sequence - origin->settled_below < MACHINE_ORIGIN_WINDOW;
}

void origins_deinit(struct origins *origins)
{
    free(origins->windows);
    *origins = (struct origins){0};
}

static struct origin_window *find(const struct origins *origins, uint64_t node)
{
    for (size_t i = 0; i < origins->count; i++) {
        if (origins->windows[i].node == node) {
            return &origins->windows[i];
        }
    }
    return NULL;
}

static struct origin_window *longest_unused(const struct origins *origins)
{
    struct origin_window *oldest = &origins->windows[0];
    for (size_t i = 1; i < origins->count; i++) {
        oldest = origins->windows[i].used < oldest->used ? &origins->windows[i] : oldest;
    }
    return oldest;
}

/* Room for one more; its content is the caller's to make. */
static struct origin_window *add(struct origins *origins)
{
    ASSERT(origins->count < MACHINE_ORIGIN_NODES);
    if (origins->count == origins->capacity) {
        origins->capacity = origins->capacity == 0 ? 8 : origins->capacity * 2;
        origins->windows = memory_resize(origins->windows, origins->capacity * sizeof(*origins->windows));
    }
    return &origins->windows[origins->count++];
}

static struct origin_window *window_for(struct origins *origins, uint64_t node)
{
    struct origin_window *window = find(origins, node);
    if (window == NULL) {
        window = origins->count < MACHINE_ORIGIN_NODES ? add(origins) : longest_unused(origins);
        *window = (struct origin_window){.node = node};
    }
    return window;
}

static uint64_t *word_of(struct origin_window *window, uint64_t sequence)
{
    return &window->executed[sequence % MACHINE_ORIGIN_WINDOW / 64];
}

static uint64_t bit_of(uint64_t sequence) { return UINT64_C(1) << sequence % 64; }

static bool is_executed(const struct origin_window *window, uint64_t sequence)
{
    return (window->executed[sequence % MACHINE_ORIGIN_WINDOW / 64] & bit_of(sequence)) != 0;
}

/* Lets the window begin at `below`, which makes room at its end. */
static void settle(struct origin_window *window, uint64_t below)
{
    if (below >= window->settled_below + MACHINE_ORIGIN_WINDOW) {
        memset(window->executed, 0, sizeof(window->executed));
        window->settled_below = below;
    }
    for (; window->settled_below < below; window->settled_below++) {
        *word_of(window, window->settled_below) &= ~bit_of(window->settled_below);
    }
}

bool origins_take(struct origins *origins, const struct machine_origin *origin, uint64_t position)
{
    ASSERT(machine_origin_valid(origin));
    struct origin_window *window = window_for(origins, origin->node);
    window->used = position;
    if (origin->start < window->start) {
        return false;
    }
    if (origin->start > window->start) {
        *window = (struct origin_window){.node = origin->node, .start = origin->start, .used = position};
    }
    settle(window, origin->settled_below);
    if (origin->sequence < window->settled_below || is_executed(window, origin->sequence)) {
        return false;
    }
    *word_of(window, origin->sequence) |= bit_of(origin->sequence);
    return true;
}

int origins_outcome(const struct origins *origins, uint64_t node, uint64_t start, uint64_t sequence)
{
    const struct origin_window *window = find(origins, node);
    if (window == NULL || start > window->start) {
        return 0;
    }
    if (start < window->start || sequence < window->settled_below) {
        return -1;
    }
    return sequence - window->settled_below < MACHINE_ORIGIN_WINDOW && is_executed(window, sequence) ? 1 : 0;
}

/* ---- records ---- */

/* The bits in the order of sequences; returns how many bytes up to the last that is not zero. */
static size_t put_bits(const struct origin_window *window, uint8_t bits[static BITS_BYTES])
{
    size_t size = 0;
    memset(bits, 0, BITS_BYTES);
    for (uint64_t i = 0; i < MACHINE_ORIGIN_WINDOW; i++) {
        if (is_executed(window, window->settled_below + i)) {
            bits[i / 8] |= (uint8_t)(1U << i % 8);
            size = i / 8 + 1;
        }
    }
    return size;
}

static size_t put_window(const struct origin_window *window, uint8_t record[static HEAD_BYTES + BITS_BYTES])
{
    record[0] = ORIGIN_RECORD;
    record[1] = RECORD_VERSION;
    put_u64(record + 2, window->node);
    put_u64(record + 10, window->start);
    put_u64(record + 18, window->settled_below);
    put_u64(record + 26, window->used);
    return HEAD_BYTES + put_bits(window, record + HEAD_BYTES);
}

void origins_emit(const struct origins *origins, struct buffer *out)
{
    for (size_t i = 0; i < origins->count; i++) {
        uint8_t record[HEAD_BYTES + BITS_BYTES];
        size_t size = put_window(&origins->windows[i], record);
        uint8_t *at = buffer_reserve(out, VARINT_MAXIMUM_BYTES);
        out->size += (size_t)(varint_put(at, size) - at);
        buffer_append(out, record, size);
    }
}

enum status origins_load(struct origins *origins, struct slice record)
{
    if (record.size < 2 || record.data[0] != ORIGIN_RECORD) {
        return STATUS_CORRUPT;
    }
    if (record.data[1] > RECORD_VERSION) {
        return STATUS_VERSION;
    }
    if (record.data[1] != RECORD_VERSION || record.size < HEAD_BYTES) {
        return STATUS_CORRUPT;
    }
    size_t bits = record.size - HEAD_BYTES;
    if (bits > BITS_BYTES || (bits > 0 && record.data[record.size - 1] == 0)) {
        return STATUS_CORRUPT;
    }
    struct origin_window window = {
        .node = get_u64(record.data + 2),
        .start = get_u64(record.data + 10),
        .settled_below = get_u64(record.data + 18),
        .used = get_u64(record.data + 26),
    };
    if (window.node == 0 || window.node > INT64_MAX || window.start > INT64_MAX || window.settled_below > INT64_MAX ||
        find(origins, window.node) != NULL || origins->count == MACHINE_ORIGIN_NODES) {
        return STATUS_CORRUPT;
    }
    for (uint64_t i = 0; i < bits * 8; i++) {
        if ((record.data[HEAD_BYTES + i / 8] & 1U << i % 8) != 0) {
            *word_of(&window, window.settled_below + i) |= bit_of(window.settled_below + i);
        }
    }
    *add(origins) = window;
    return STATUS_OK;
}

uint64_t origins_digest(const struct origins *origins)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < origins->count; i++) {
        uint8_t record[HEAD_BYTES + BITS_BYTES];
        size_t size = put_window(&origins->windows[i], record);
        sum += hash_bytes(0, record, size);
    }
    return sum;
}

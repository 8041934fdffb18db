#include "machine/origin.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/record.h"

#include <stdlib.h>

enum {
    RECORD_VERSION = 2,
    HEAD_BYTES = 2 + 4 * 8,
    BITS_BYTES = MACHINE_ORIGIN_WINDOW / 8,
    RECORD_BYTES = HEAD_BYTES + 2 + 2 * BITS_BYTES,
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

static size_t word_of(uint64_t sequence) { return sequence % MACHINE_ORIGIN_WINDOW / 64; }

static uint64_t bit_of(uint64_t sequence) { return UINT64_C(1) << sequence % 64; }

static bool is_executed(const struct origin_window *window, uint64_t sequence)
{
    return (window->executed[word_of(sequence)] & bit_of(sequence)) != 0;
}

static bool is_part(const struct origin_window *window, uint64_t sequence)
{
    return (window->parts[word_of(sequence)] & bit_of(sequence)) != 0;
}

/* Lets the window begin at `below`, which makes room at its end. */
static void settle(struct origin_window *window, uint64_t below)
{
    if (below >= window->settled_below + MACHINE_ORIGIN_WINDOW) {
        memset(window->executed, 0, sizeof(window->executed));
        memset(window->parts, 0, sizeof(window->parts));
        window->settled_below = below;
    }
    for (; window->settled_below < below; window->settled_below++) {
        window->executed[word_of(window->settled_below)] &= ~bit_of(window->settled_below);
        window->parts[word_of(window->settled_below)] &= ~bit_of(window->settled_below);
    }
}

bool origins_take(struct origins *origins, const struct machine_origin *origin, bool part, uint64_t position)
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
    bool again = is_executed(window, origin->sequence) && !(part && is_part(window, origin->sequence));
    if (origin->sequence < window->settled_below || again) {
        return false;
    }
    window->executed[word_of(origin->sequence)] |= bit_of(origin->sequence);
    window->parts[word_of(origin->sequence)] |= part ? bit_of(origin->sequence) : 0;
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
    if (sequence - window->settled_below >= MACHINE_ORIGIN_WINDOW || !is_executed(window, sequence)) {
        return 0;
    }
    return is_part(window, sequence) ? 2 : 1;
}

/* ---- records ---- */

/* Bits in the order of sequences; returns how many bytes up to the last that is not zero. */
static size_t put_bits(const struct origin_window *window, bool (*is_set)(const struct origin_window *, uint64_t),
                       uint8_t bits[static BITS_BYTES])
{
    size_t size = 0;
    memset(bits, 0, BITS_BYTES);
    for (uint64_t i = 0; i < MACHINE_ORIGIN_WINDOW; i++) {
        if (is_set(window, window->settled_below + i)) {
            bits[i / 8] |= (uint8_t)(1U << i % 8);
            size = i / 8 + 1;
        }
    }
    return size;
}

static size_t put_window(const struct origin_window *window, uint8_t record[static RECORD_BYTES])
{
    uint8_t executed[BITS_BYTES];
    uint8_t parts[BITS_BYTES];
    size_t executed_size = put_bits(window, is_executed, executed);
    size_t parts_size = put_bits(window, is_part, parts);
    record[0] = ORIGIN_RECORD;
    record[1] = parts_size != 0 ? 2 : 1;
    put_u64(record + 2, window->node);
    put_u64(record + 10, window->start);
    put_u64(record + 18, window->settled_below);
    put_u64(record + 26, window->used);
    size_t size = HEAD_BYTES;
    if (parts_size != 0) {
        put_u16(record + size, (uint16_t)executed_size);
        size += 2;
    }
    memcpy(record + size, executed, executed_size);
    memcpy(record + size + executed_size, parts, parts_size);
    return size + executed_size + parts_size;
}

void origins_emit(const struct origins *origins, struct buffer *out)
{
    for (size_t i = 0; i < origins->count; i++) {
        uint8_t record[RECORD_BYTES];
        size_t size = put_window(&origins->windows[i], record);
        record_put_text(out, slice_of(record, size));
    }
}

/* Version 2: how many bytes of the bits are of what was executed; the rest is of what came in parts. */
static bool split_bits(struct slice *executed, struct slice *ret_parts)
{
    if (executed->size < 2 || get_u16(executed->data) > executed->size - 2) {
        return false;
    }
    size_t size = get_u16(executed->data);
    *ret_parts = slice_of(executed->data + 2 + size, executed->size - 2 - size);
    *executed = slice_of(executed->data + 2, size);
    return ret_parts->size != 0;
}

static bool bits_sound(struct slice bits)
{
    return bits.size <= BITS_BYTES && (bits.size == 0 || bits.data[bits.size - 1] != 0);
}

static void take_bits(struct slice bits, uint64_t first, uint64_t words[static WORDS])
{
    for (uint64_t i = 0; i < bits.size * 8; i++) {
        if ((bits.data[i / 8] & 1U << i % 8) != 0) {
            words[word_of(first + i)] |= bit_of(first + i);
        }
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
    if (record.data[1] == 0 || record.size < HEAD_BYTES) {
        return STATUS_CORRUPT;
    }
    struct slice executed = slice_of(record.data + HEAD_BYTES, record.size - HEAD_BYTES);
    struct slice parts = slice_of(NULL, 0);
    if (record.data[1] == 2 && !split_bits(&executed, &parts)) {
        return STATUS_CORRUPT;
    }
    if (!bits_sound(executed) || !bits_sound(parts)) {
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
    take_bits(executed, window.settled_below, window.executed);
    take_bits(parts, window.settled_below, window.parts);
    for (size_t i = 0; i < WORDS; i++) {
        if ((window.parts[i] & ~window.executed[i]) != 0) {
            return STATUS_CORRUPT;
        }
    }
    *add(origins) = window;
    return STATUS_OK;
}

uint64_t origins_digest(const struct origins *origins)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < origins->count; i++) {
        uint8_t record[RECORD_BYTES];
        size_t size = put_window(&origins->windows[i], record);
        sum += hash_bytes(0, record, size);
    }
    return sum;
}

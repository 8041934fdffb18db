#include "cli/bench_lock.h"

#include "base/assert.h"
#include "base/memory.h"
#include "wire/resp_command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOCK_BYTES = 32, NUMBER_BYTES = 24, ARGUMENTS = 7 };

static struct slice decimal(char *room, uint64_t number)
{
    return slice_of(room, (size_t)snprintf(room, NUMBER_BYTES, "%" PRIu64, number));
}

static struct slice lock_name(char *room, uint64_t lock)
{
    return slice_of(room, (size_t)snprintf(room, LOCK_BYTES, "lock:%012" PRIu64, lock));
}

void bench_locks_init(struct bench_locks *locks, const struct bench_mix *mix, uint32_t index, uint32_t clients,
                      uint32_t pipeline)
{
    *locks = (struct bench_locks){.mix = mix,
                                  .next = (uint64_t)index * pipeline,
                                  .step = (uint64_t)clients * pipeline,
                                  .tries = memory_allocate_zeroed(pipeline, sizeof(*locks->tries))};
    (void)snprintf(locks->owner, sizeof(locks->owner), "owner:%06" PRIu32, index);
}

void bench_locks_deinit(struct bench_locks *locks) { free(locks->tries); }

static void append_acquire(const struct bench_locks *locks, uint64_t lock, struct buffer *out)
{
    const struct bench_lock *form = &locks->mix->lock;
    char name[LOCK_BYTES];
    char ttl[NUMBER_BYTES];
    char wait[NUMBER_BYTES];
    struct slice owner = slice_from_string(locks->owner);
    struct slice key = lock_name(name, lock);
    struct slice px = decimal(ttl, (uint64_t)form->ttl_ms);
    if (form->by_set) {
        struct slice argv[] = {SLICE_LITERAL("SET"), key, owner, SLICE_LITERAL("NX"), SLICE_LITERAL("PX"), px};
        resp_command(out, argv, ARGUMENTS - 1);
    } else { /* a request that may wait holds up what its connection sends behind it */
        struct slice argv[] = {
            SLICE_LITERAL("LOCK.ACQUIRE"),         key, owner, SLICE_LITERAL("PX"), px, SLICE_LITERAL("WAIT"),
            decimal(wait, (uint64_t)form->wait_ms)};
        resp_command(out, argv, form->wait_ms == 0 ? ARGUMENTS - 2 : ARGUMENTS);
    }
}

void bench_locks_acquire(struct bench_locks *locks, uint32_t count, struct buffer *out)
{
    for (uint32_t i = 0; i < count; i++) {
        locks->tries[i] = (struct bench_lock_try){.lock = (locks->next + i) % locks->mix->keys};
        append_acquire(locks, locks->tries[i].lock, out);
    }
    locks->count = count;
    locks->next += locks->step;
}

bool bench_locks_answered(struct bench_locks *locks, uint32_t i, struct slice reply)
{
    static const char granted[] = "*2\r\n:";
    struct bench_lock_try *this = &locks->tries[i];
    ASSERT(i < locks->count);
    if (locks->mix->lock.by_set) {
        this->held = reply.data[0] == '+';
    } else if (reply.size > sizeof(granted) && memcmp(reply.data, granted, sizeof(granted) - 1) == 0) {
        this->held = true;
        for (const uint8_t *digit = reply.data + sizeof(granted) - 1; *digit >= '0' && *digit <= '9'; digit++) {
            this->token = this->token * 10 + (*digit - '0');
        }
    }
    return this->held;
}

static void append_release(const struct bench_locks *locks, const struct bench_lock_try *held, struct buffer *out)
{
    char name[LOCK_BYTES];
    char token[NUMBER_BYTES];
    struct slice owner = slice_from_string(locks->owner);
    struct slice key = lock_name(name, held->lock);
    if (locks->mix->lock.by_set) {
        struct slice argv[] = {SLICE_LITERAL("EVAL"), SLICE_LITERAL(BENCH_SCRIPT), SLICE_LITERAL("1"), key, owner};
        resp_command(out, argv, 5);
    } else {
        struct slice argv[] = {SLICE_LITERAL("LOCK.RELEASE"), key, owner, decimal(token, held->token)};
        resp_command(out, argv, 4);
    }
}

uint32_t bench_locks_release(struct bench_locks *locks, struct buffer *out)
{
    uint32_t held = 0;
    for (uint32_t i = 0; i < locks->count; i++) {
        if (locks->tries[i].held) {
            append_release(locks, &locks->tries[i], out);
            held++;
        }
    }
    locks->count = held;
    return held;
}

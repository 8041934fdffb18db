/* How fast and how large the keyspace is: a million keys of 16 bytes with values of 64 bytes. Times are of the CPU, so
 * that other work on the machine disturbs them less.
 *
 *   keyspace_bench [keys]
 */
#include "base/prng.h"
#include "base/varint.h"
#include "machine/keys/keyspace.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { KEY_BYTES = 16, VALUE_BYTES = 64 };

static const struct keyspace_time NOW = {0, 0, 0, 0};

struct run {
    struct keyspace *keyspace;
    struct prng prng;
    uint64_t keys, position;
    double started;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void report(struct run *run, const char *name, uint64_t count)
{
    printf("%-34s %8.1f ns\n", name, (now_s() - run->started) * 1e9 / (double)count);
}

static struct slice key_of(char *room, uint64_t number)
{
    return slice_of(room, (size_t)sprintf(room, "key:%012llu", (unsigned long long)number));
}

static void set(struct run *run, uint64_t number, int digit)
{
    char key_room[32], value[VALUE_BYTES];
    struct slice key = key_of(key_room, number);
    memset(value, digit, sizeof(value));
    struct entry *entry = keyspace_edit(run->keyspace, &NOW, key);
    entry = entry == NULL ? keyspace_add_string(run->keyspace, key, slice_of(value, sizeof(value)))
                          : entry_set_string(run->keyspace, entry, slice_of(value, sizeof(value)));
    keyspace_changed(run->keyspace, entry, ++run->position);
}

static void run_loop(struct run *run)
{
    run->started = now_s();
    char room[32];
    uint64_t sum = 0;
    for (uint64_t i = 0; i < run->keys; i++) {
        sum += key_of(room, prng_below(&run->prng, run->keys)).size;
    }
    report(run, sum > 0 ? "(making a key's text)" : "", run->keys);
}

static void run_fill(struct run *run)
{
    double worst = 0;
    struct mallinfo2 before = mallinfo2();
    run->started = now_s();
    double last = run->started;
    for (uint64_t i = 0; i < run->keys; i++) {
        set(run, i, 'a');
        if (i % 64 == 0) {
            double now = now_s();
            worst = now - last > worst ? now - last : worst;
            last = now;
        }
    }
    report(run, "SET of a new key", run->keys);
    struct mallinfo2 after = mallinfo2();
    double bytes = (double)(after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / (double)run->keys;
    printf("%-34s %8.1f us\n", "  the slowest 64 of them", worst * 1e6);
    printf("%-34s %8.1f bytes, %.1f over key and value\n", "  memory per key (malloc)", bytes,
           bytes - KEY_BYTES - VALUE_BYTES);
    printf("%-34s %8.1f bytes\n", "  charged per key",
           (double)keyspace_memory_bytes(run->keyspace) / (double)run->keys);
}

static void run_overwrite(struct run *run)
{
    run->started = now_s();
    for (uint64_t i = 0; i < run->keys; i++) {
        set(run, prng_below(&run->prng, run->keys), 'b');
    }
    report(run, "SET of a key that is there", run->keys);
}

static void run_get(struct run *run, const char *name, uint64_t first)
{
    char room[32], digits[32];
    uint64_t sum = 0;
    run->started = now_s();
    for (uint64_t i = 0; i < run->keys; i++) {
        struct slice key = key_of(room, first + prng_below(&run->prng, run->keys));
        const struct entry *entry = keyspace_find(run->keyspace, &NOW, key, NULL);
        sum += entry == NULL ? 1 : entry_string(entry, digits).data[VALUE_BYTES - 1];
    }
    report(run, sum > 0 ? name : "", run->keys);
}

static void run_get_batches(struct run *run)
{
    enum { BATCH = 32 };
    char rooms[BATCH][32], digits[32];
    struct slice keys[BATCH];
    uint64_t hashes[BATCH];
    uint64_t sum = 0;
    run->started = now_s();
    for (uint64_t i = 0; i < run->keys; i += BATCH) {
        for (int j = 0; j < BATCH; j++) {
            keys[j] = key_of(rooms[j], prng_below(&run->prng, run->keys));
            hashes[j] = keyspace_hash(run->keyspace, keys[j]);
            keyspace_prefetch_bucket(run->keyspace, hashes[j]);
        }
        for (int j = 0; j < BATCH; j++) {
            keyspace_prefetch_entry(run->keyspace, hashes[j]);
        }
        for (int j = 0; j < BATCH; j++) {
            const struct entry *entry = keyspace_find(run->keyspace, &NOW, keys[j], NULL);
            sum += entry_string(entry, digits).data[VALUE_BYTES - 1];
        }
    }
    report(run, sum > 0 ? "GET in batches of 32, prefetched" : "", run->keys);
}

static void count_entry(void *owner, const struct entry *entry) { ++*(uint64_t *)owner; }

static void run_scan(struct run *run)
{
    uint64_t seen = 0, cursor = 0;
    run->started = now_s();
    do {
        cursor = keyspace_scan(run->keyspace, &NOW, cursor, 10, count_entry, &seen);
    } while (cursor != 0);
    report(run, "SCAN COUNT 10, per key", seen);
}

static void run_snapshot(struct run *run)
{
    struct buffer out;
    buffer_init(&out);
    double begin = now_s();
    run->started = begin;
    keyspace_snapshot_begin(run->keyspace);
    printf("%-34s %8.1f us\n", "snapshot begin", (now_s() - begin) * 1e6);
    double worst = 0;
    struct keyspace *loaded = keyspace_create(1);
    double loading = 0;
    for (bool more = true; more;) {
        double at = now_s();
        buffer_clear(&out);
        more = keyspace_snapshot_step(run->keyspace, &out, 65536);
        double done = now_s();
        worst = done - at > worst ? done - at : worst;
        for (struct slice rest = buffer_slice(&out); rest.size > 0;) {
            uint64_t size = 0;
            if (!varint_take(&rest, &size) || keyspace_load_record(loaded, slice_of(rest.data, size)) != STATUS_OK) {
                abort();
            }
            rest = slice_of(rest.data + size, rest.size - size);
        }
        loading += now_s() - done;
    }
    run->started += loading;
    report(run, "snapshot, per key", run->keys);
    printf("%-34s %8.1f us\n", "  the slowest step of 64 KiB", worst * 1e6);
    keyspace_snapshot_end(run->keyspace);
    run->started = now_s() - loading;
    report(run, "loading, per key", run->keys);
    if (keyspace_digest(loaded) != keyspace_digest(run->keyspace)) {
        abort();
    }
    keyspace_destroy(loaded);
    buffer_deinit(&out);
}

static void run_expire(struct run *run)
{
    char room[32];
    run->started = now_s();
    for (uint64_t i = 0; i < run->keys; i++) {
        struct entry *entry = keyspace_edit(run->keyspace, &NOW, key_of(room, i));
        entry_set_due(run->keyspace, entry, DUE_TIME, 1 + (int64_t)prng_below(&run->prng, 1000000));
        keyspace_changed(run->keyspace, entry, ++run->position);
    }
    report(run, "PEXPIRE", run->keys);
    run->started = now_s();
    struct keyspace_time later = {500000, 0, 500000, 0};
    uint64_t removed = 0, now_removed;
    do {
        now_removed = keyspace_expire(run->keyspace, &later, 128, ++run->position);
        removed += now_removed;
    } while (now_removed > 0);
    report(run, "expiring half of them, per key", removed);
}

static void run_clear(struct run *run)
{
    double worst = 0, at = now_s();
    keyspace_clear(run->keyspace, ++run->position);
    printf("%-34s %8.1f us\n", "FLUSHALL", (now_s() - at) * 1e6);
    run->started = now_s();
    uint64_t steps = 1;
    for (bool more = true; more; steps++) {
        at = now_s();
        more = keyspace_work(run->keyspace);
        worst = now_s() - at > worst ? now_s() - at : worst;
    }
    report(run, "freeing, per step", steps);
    printf("%-34s %8.1f us\n", "  the slowest of them", worst * 1e6);
}

int main(int argc, char **argv)
{
    struct run run = {.keyspace = keyspace_create(1), .keys = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000};
    (void)mallopt(M_MXFAST, 0); /* as `cohort serve` does */
    prng_seed(&run.prng, 1);
    run_loop(&run);
    run_fill(&run);
    run_overwrite(&run);
    run_get(&run, "GET of a key that is there", 0);
    run_get(&run, "GET of an absent key", run.keys);
    run_get_batches(&run);
    run_scan(&run);
    run_snapshot(&run);
    run_expire(&run);
    run_clear(&run);
    keyspace_destroy(run.keyspace);
    return 0;
}

/* The machine as a whole: the same log gives the same state, whatever else was done; snapshots carry all of it. */
#include "harness.h"

#include "base/key_slot.h"
#include "base/prng.h"
#include "base/varint.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEYS = 24, LOG_COMMANDS = 6000 };

/* Writes a random argument for the placeholder. */
static int fill_in(struct prng *prng, char placeholder, char *at, size_t room)
{
    static const char *const values[] = {"1",   "-7",     "9223372036854775807", "abc", "\"\"",
                                         "1.5", "x\"y\"", "zzzzzzzzzz"};
    switch (placeholder) {
    case 'k': return snprintf(at, room, "k%d", (int)prng_below(prng, KEYS));
    case 'f': return snprintf(at, room, "f%d", (int)prng_below(prng, 700));
    case 'v':
        if (prng_chance(prng, 1, 8)) {
            return snprintf(at, room, "%0*d", (int)prng_below(prng, 1500) + 1, (int)prng_below(prng, 1000));
        }
        return snprintf(at, room, "%s", values[prng_below(prng, sizeof(values) / sizeof(values[0]))]);
    case 'n': return snprintf(at, room, "%d", (int)prng_below(prng, 200) - 50);
    case 'o': return snprintf(at, room, "%d", (int)prng_below(prng, prng_chance(prng, 1, 20) ? 90000 : 60));
    default: return snprintf(at, room, "%lld", 1700000000000LL + (long long)prng_below(prng, 40000));
    }
}

static void random_command(struct prng *prng, char *out, size_t size)
{
    static const char *const templates[] = {
        "SET %k %v",
        "SET %k %v PX %n",
        "SET %k %v PXAT %t",
        "SET %k %v XX KEEPTTL GET",
        "SETNX %k %v",
        "GETSET %k %v",
        "GETDEL %k",
        "GETEX %k PX %n",
        "GETEX %k PERSIST",
        "MSET %k %v %k %v",
        "MSETNX %k %v %k %v",
        "APPEND %k %v",
        "SETRANGE %k %o %v",
        "INCR %k",
        "DECRBY %k %n",
        "INCRBYFLOAT %k 0.25",
        "DEL %k %k",
        "UNLINK %k",
        "RENAME %k %k",
        "RENAMENX %k %k",
        "COPY %k %k",
        "COPY %k %k REPLACE",
        "EXPIRE %k 1",
        "PEXPIRE %k %n GT",
        "PEXPIREAT %k %t",
        "PERSIST %k",
        "HSET %k %f %v",
        "HSET %k %f %v %f %v %f %v",
        "HSETNX %k %f %v",
        "HINCRBY %k %f %n",
        "HINCRBYFLOAT %k %f 0.5",
        "HDEL %k %f %f %f",
        "HSET %k %f %v",
        "HMSET %k %f %v %f %v",
        "GET %k",
        "HGETALL %k",
        "RANDOMKEY",
        "HRANDFIELD %k -3",
        "SET %k %v IFEQ %v",
        "COHORT.SETV %k %v 0",
    };
    const char *template = templates[prng_below(prng, sizeof(templates) / sizeof(templates[0]))];
    if (prng_chance(prng, 1, 600)) {
        template = "FLUSHALL";
    }
    size_t used = 0;
    for (const char *at = template; *at != '\0'; at++) {
        if (*at == '%') {
            used += (size_t)fill_in(prng, *++at, out + used, size - used);
        } else {
            out[used++] = *at;
        }
    }
    out[used] = '\0';
}

/* One entry of the log: mostly a command, sometimes an EXEC or only the time. */
static void apply_one(struct harness *h, struct prng *prng)
{
    char command[8192];
    char other[8192];
    harness_pass(h, (int64_t)prng_below(prng, 4));
    h->wall_ms += (int64_t)prng_below(prng, 2);
    random_command(prng, command, sizeof(command));
    if (prng_chance(prng, 1, 200)) { /* sometimes it ends before somebody wants it again */
        (void)harness_apply(h, prng_chance(prng, 1, 2) ? "COHORT.FEED.KEEP 3000 300 0 0"
                                                       : "COHORT.FEED.KEEP 90000 50 0 0");
    }
    switch (prng_below(prng, 16)) {
    case 0:
        random_command(prng, other, sizeof(other));
        (void)harness_exec(h, "", command, other, NULL);
        break;
    case 1: {
        struct machine_context context = {++h->position, h->time_ms, h->wall_ms};
        machine_apply_time(h->machine, &context);
        break;
    }
    case 2: { /* a batch from another node, sometimes one that was there */
        struct machine_context context = {++h->position, h->time_ms, h->wall_ms};
        uint64_t sequence = h->position / 8 + prng_below(prng, 8) + 100;
        struct machine_origin origin = {prng_below(prng, 300) + 1, prng_below(prng, 3), sequence,
                                        sequence - prng_below(prng, 100)};
        if (!machine_apply_origin(h->machine, &context, &origin, false)) {
            break;
        }
    } /* fall through */
    default: (void)harness_apply(h, command);
    }
}

/* What a node may do beside its applies, in any order. */
struct disturbance {
    struct prng prng;
    bool snapshot_runs;
    uint64_t digest; /* at the snapshot's begin */
    struct buffer records;
    int snapshots;
};

static void disturb_snapshot(struct disturbance *d, struct harness *h)
{
    if (!d->snapshot_runs) {
        d->digest = machine_digest(h->machine);
        buffer_clear(&d->records);
        machine_snapshot_begin(h->machine);
        d->snapshot_runs = true;
        return;
    }
    if (machine_snapshot_step(h->machine, &d->records, prng_below(&d->prng, 3000))) {
        return;
    }
    machine_snapshot_end(h->machine);
    d->snapshot_runs = false;
    d->snapshots++;
    struct machine *loaded = harness_load(buffer_slice(&d->records));
    assert_true(machine_digest(loaded) == d->digest);
    machine_destroy(loaded);
}

static void disturb(struct disturbance *d, struct harness *h)
{
    static const struct {
        const char *before, *after;
    } reads[] = {{"GET k", ""},     {"HGETALL k", ""}, {"HRANDFIELD k", " 5"}, {"SCAN ", ""},
                 {"HSCAN k", " 0"}, {"KEYS *", ""},    {"TTL k", ""},          {"TOUCH k", ""}};
    for (uint64_t i = prng_below(&d->prng, 3); i > 0; i--) {
        char command[64];
        size_t read = prng_below(&d->prng, sizeof(reads) / sizeof(reads[0]));
        (void)snprintf(command, sizeof(command), "%s%d%s", reads[read].before, (int)prng_below(&d->prng, KEYS),
                       reads[read].after);
        (void)harness_read(h, command);
        (void)harness_read(h, "RANDOMKEY");
    }
    if (prng_chance(&d->prng, 1, 3)) {
        (void)machine_work(h->machine);
    }
    if (prng_chance(&d->prng, 1, d->snapshot_runs ? 4 : 40)) {
        disturb_snapshot(d, h);
    }
}

/* Each key of these tests has a slot of its own. */
static void check_slots(const struct machine *machine)
{
    uint64_t found = 0;
    for (int i = 0; i < KEYS; i++) {
        char key[8];
        (void)snprintf(key, sizeof(key), "k%d", i);
        uint64_t count = machine_count_in_slot(machine, key_slot(slice_from_string(key)));
        assert_in_range(count, 0, 1);
        found += count;
    }
    struct machine_stats stats;
    machine_stats(machine, &stats);
    assert_int_equal(found, stats.keys);
}

static void check_same_log(uint64_t seed)
{
    struct harness quiet;
    struct harness busy;
    struct harness silent;
    harness_init(&quiet);
    harness_init(&busy);
    harness_init(&silent);
    silent.discard = true;
    struct prng prngs[3];
    struct disturbance d = {0};
    prng_seed(&d.prng, seed * 7);
    for (int i = 0; i < 3; i++) {
        prng_seed(&prngs[i], seed);
    }
    for (int i = 0; i < LOG_COMMANDS; i++) {
        apply_one(&quiet, &prngs[0]);
        apply_one(&busy, &prngs[1]);
        apply_one(&silent, &prngs[2]);
        disturb(&d, &busy);
        if (i % 100 == 0) {
            uint64_t digest = machine_digest(quiet.machine);
            assert_true(machine_digest(busy.machine) == digest);
            assert_true(machine_digest(silent.machine) == digest);
            check_slots(busy.machine);
        }
    }
    assert_true(d.snapshots > 5);
    struct machine_stats a;
    struct machine_stats b;
    machine_stats(quiet.machine, &a);
    machine_stats(busy.machine, &b);
    assert_int_equal(a.keys, b.keys);
    assert_int_equal(a.memory_bytes, b.memory_bytes);
    buffer_deinit(&d.records);
    harness_deinit(&quiet);
    harness_deinit(&busy);
    harness_deinit(&silent);
}

static void test_same_log_same_state(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        check_same_log(seed);
    }
}

/* A loaded machine goes on like the one it was taken from. */
static void test_loaded_machine_goes_on(void **state)
{
    (void)state;
    struct harness a;
    harness_init(&a);
    struct prng prng;
    prng_seed(&prng, 5);
    for (int i = 0; i < 2000; i++) {
        apply_one(&a, &prng);
    }
    struct harness b = a;
    b.machine = harness_copy(a.machine, 100);
    buffer_init(&b.reply);
    buffer_init(&b.text);
    struct machine_stats stats_a;
    struct machine_stats stats_b;
    machine_stats(a.machine, &stats_a);
    machine_stats(b.machine, &stats_b);
    assert_int_equal(stats_a.keys, stats_b.keys);
    assert_int_equal(stats_a.keys_with_expiry, stats_b.keys_with_expiry);
    assert_int_equal(stats_a.memory_bytes, stats_b.memory_bytes);
    assert_int_equal(stats_a.time_ms, stats_b.time_ms);
    check_slots(b.machine);
    struct prng other = prng;
    for (int i = 0; i < 2000; i++) {
        apply_one(&a, &prng);
        apply_one(&b, &other);
    }
    assert_true(machine_digest(a.machine) == machine_digest(b.machine));
    harness_deinit(&a);
    harness_deinit(&b);
}

static void test_keys_in_a_slot(void **state)
{
    struct harness *h = *state;
    uint16_t slot = key_slot(SLICE_LITERAL("a"));
    (void)harness_apply(h, "MSET {a}1 x {a}2 x {a}3 x {b}1 x");
    assert_int_equal(machine_count_in_slot(h->machine, slot), 3);
    (void)harness_apply(h, "RENAME {a}1 {b}2");
    (void)harness_apply(h, "COPY {b}1 {a}4");
    (void)harness_apply(h, "DEL {a}2 {b}1");
    assert_int_equal(machine_count_in_slot(h->machine, slot), 2);
    (void)harness_apply(h, "PEXPIRE {a}3 5");
    harness_pass(h, 10);
    struct machine_context context = {++h->position, h->time_ms, h->wall_ms};
    assert_int_equal(machine_count_in_slot(h->machine, slot), 2); /* due, not removed */
    machine_apply_time(h->machine, &context);
    assert_int_equal(machine_count_in_slot(h->machine, slot), 1);
    (void)harness_apply(h, "FLUSHALL");
    assert_int_equal(machine_count_in_slot(h->machine, slot), 0);
}

static void test_digest_sees_everything(void **state)
{
    struct harness *h = *state;
    const char *const commands[] = {"SET a 1",    "SET a 2",    "EXPIRE a 10", "PEXPIREAT a 1700000010000",
                                    "HSET h f v", "HSET h f w", "HSET h g v",  "HDEL h g",
                                    "DEL a",      "SET a 2",    "FLUSHALL"};
    uint64_t last = machine_digest(h->machine);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        (void)harness_apply(h, commands[i]);
        uint64_t digest = machine_digest(h->machine);
        assert_true(digest != last);
        last = digest;
    }
    harness_pass(h, 1);
    (void)harness_apply(h, "DBSIZE");
    assert_true(machine_digest(h->machine) != last);
}

static void test_bad_records(void **state)
{
    struct harness *h = *state;
    uint8_t record[26] = {'M', 1};
    put_u64(record + 2, 5000);
    put_u64(record + 10, 1700000005000);
    assert_int_equal(machine_load_record(h->machine, slice_of(record, 0)), STATUS_CORRUPT);
    assert_int_equal(machine_load_record(h->machine, slice_of(record, 1)), STATUS_CORRUPT);
    assert_int_equal(machine_load_record(h->machine, slice_of(record, 25)), STATUS_CORRUPT);
    assert_int_equal(machine_load_record(h->machine, slice_of(record, 26)), STATUS_OK);
    struct machine_stats stats;
    machine_stats(h->machine, &stats);
    assert_int_equal(stats.time_ms, 5000);
    assert_int_equal(stats.wall_ms, 1700000005000);
    record[1] = 2;
    assert_int_equal(machine_load_record(h->machine, slice_of(record, 26)), STATUS_VERSION);
    record[10 + 7] = 0xff;
    record[1] = 1;
    assert_int_equal(machine_load_record(h->machine, slice_of(record, 26)), STATUS_CORRUPT);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_log_same_state),
        cmocka_unit_test(test_loaded_machine_goes_on),
        CASE(test_keys_in_a_slot),
        CASE(test_digest_sees_everything),
        CASE(test_bad_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Forwarded batches: each is taken once at most, against a model that forgets nothing. */
#include "harness.h"

#include "base/prng.h"
#include "base/varint.h"
#include "machine/origin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 3, STARTS = 4, SEQUENCES = 40000, STEPS = 60000 };

/* What a node did, seen from outside. */
struct model_node {
    uint64_t start, settled_below;
    bool taken[STARTS][SEQUENCES];
};

static bool take(struct harness *h, uint64_t node, uint64_t start, uint64_t sequence, uint64_t settled_below)
{
    struct machine_context context = {++h->position, h->time_ms, h->wall_ms};
    struct machine_origin origin = {node, start, sequence, settled_below};
    assert_true(machine_origin_valid(&origin));
    return machine_apply_origin(h->machine, &context, &origin, false);
}

/* The reply to an internal command whose arguments are these. */
static const char *ask(struct harness *h, uint16_t id, const char *const *arguments, uint32_t count)
{
    struct slice argv[8] = {SLICE_LITERAL("COHORT")};
    for (uint32_t i = 0; i < count; i++) {
        argv[1 + i] = slice_from_string(arguments[i]);
    }
    struct command command = {command_by_id(id), argv, count + 1, RESP2};
    assert_true(command_arity_ok(command.spec, command.argc));
    struct machine_context context = {0, h->time_ms, h->wall_ms};
    buffer_clear(&h->reply);
    struct resp_writer writer = resp_writer_to(&h->reply, RESP2);
    bool read = machine_read(h->machine, &context, &command, &writer);
    buffer_append_byte(&h->reply, 0);
    return read ? (const char *)h->reply.data : NULL;
}

static int outcome(struct harness *h, uint64_t node, uint64_t start, uint64_t sequence)
{
    char texts[3][24];
    (void)snprintf(texts[0], sizeof(texts[0]), "%llu", (unsigned long long)node);
    (void)snprintf(texts[1], sizeof(texts[1]), "%llu", (unsigned long long)start);
    (void)snprintf(texts[2], sizeof(texts[2]), "%llu", (unsigned long long)sequence);
    const char *const arguments[] = {texts[0], texts[1], texts[2]};
    const char *reply = ask(h, COMMAND_COHORT_OUTCOME, arguments, 3);
    assert_true(strncmp(reply, "*1\r\n:", 5) == 0);
    return atoi(reply + 5);
}

static int model_outcome(const struct model_node *node, uint64_t start, uint64_t sequence)
{
    if (start < node->start || (start == node->start && sequence < node->settled_below)) {
        return -1;
    }
    return start == node->start && node->taken[start][sequence];
}

/* One batch, sometimes new, sometimes again, sometimes late; returns whether it was taken. */
static bool model_step(struct harness *h, struct prng *prng, struct model_node *nodes)
{
    uint64_t number = prng_below(prng, NODES);
    struct model_node *node = &nodes[number];
    uint64_t start = prng_chance(prng, 1, 20) ? prng_below(prng, STARTS) : node->start;
    if (start > node->start && !prng_chance(prng, 1, 100)) {
        start = node->start;
    }
    uint64_t sequence = node->settled_below + prng_below(prng, prng_chance(prng, 1, 50) ? 400 : 12);
    if (prng_chance(prng, 1, 10)) {
        sequence = prng_below(prng, sequence + 1);
    }
    sequence = sequence == 0 ? 1 : sequence >= SEQUENCES ? SEQUENCES - 1 : sequence;
    uint64_t back = prng_below(prng, prng_chance(prng, 1, 50) ? 300 : 40);
    uint64_t settled_below = sequence > back ? sequence - back : 0;
    if (start > node->start) {
        node->start = start;
        node->settled_below = 0;
    }
    bool expected = start == node->start;
    if (expected) {
        node->settled_below = settled_below > node->settled_below ? settled_below : node->settled_below;
        expected = sequence >= node->settled_below && !node->taken[start][sequence];
        node->taken[start][sequence] |= expected;
    }
    assert_int_equal(take(h, number + 1, start, sequence, settled_below), expected);
    return expected;
}

static void check_outcomes(struct harness *h, struct prng *prng, const struct model_node *nodes)
{
    uint64_t number = prng_below(prng, NODES);
    const struct model_node *node = &nodes[number];
    uint64_t start = prng_below(prng, STARTS);
    uint64_t sequence = 1 + prng_below(prng, SEQUENCES - 1);
    assert_int_equal(outcome(h, number + 1, start, sequence), model_outcome(node, start, sequence));
    sequence = node->settled_below + prng_below(prng, 20);
    if (sequence < SEQUENCES) {
        assert_int_equal(outcome(h, number + 1, node->start, sequence), model_outcome(node, node->start, sequence));
    }
}

static void test_as_the_model(void **state)
{
    struct harness *h = *state;
    struct prng prng;
    prng_seed(&prng, 11);
    struct model_node *nodes = calloc(NODES, sizeof(*nodes));
    assert_non_null(nodes);
    int taken = 0;
    for (int i = 0; i < STEPS; i++) {
        taken += model_step(h, &prng, nodes);
        check_outcomes(h, &prng, nodes);
        if (i % 1000 == 0) {
            struct machine *loaded = harness_copy(h->machine, 100);
            assert_true(machine_digest(loaded) == machine_digest(h->machine));
            machine_destroy(h->machine);
            h->machine = loaded;
        }
    }
    for (int i = 0; i < NODES; i++) {
        assert_int_equal(nodes[i].start, STARTS - 1);
    }
    assert_in_range(taken, STEPS / 6, STEPS * 3 / 4);
    free(nodes);
}

static void test_the_whole_window(void **state)
{
    struct harness *h = *state;
    for (uint64_t sequence = MACHINE_ORIGIN_WINDOW; sequence >= 1; sequence--) {
        assert_true(take(h, 7, 1, sequence, 1));
        assert_false(take(h, 7, 1, sequence, 1));
    }
    assert_int_equal(outcome(h, 7, 1, MACHINE_ORIGIN_WINDOW), 1);
    assert_int_equal(outcome(h, 7, 1, MACHINE_ORIGIN_WINDOW + 1), 0); /* the place of 1 is not 1's alone */
    assert_true(take(h, 7, 1, MACHINE_ORIGIN_WINDOW + 1, 2));
    assert_int_equal(outcome(h, 7, 1, 1), -1);
    uint64_t far = UINT64_C(1) << 62;
    assert_true(take(h, 7, 1, far, far - MACHINE_ORIGIN_WINDOW + 1));
    assert_int_equal(outcome(h, 7, 1, far - 1), 0);
    assert_int_equal(outcome(h, 7, 1, far), 1);
    const struct machine_origin invalid[] = {
        {0, 1, 1, 1},
        {1, 1, 0, 0},
        {1, 1, 5, 6},
        {1, 1, MACHINE_ORIGIN_WINDOW, 0},
        {1, UINT64_MAX, 1, 1},
        {UINT64_MAX, 1, 1, 1},
        {1, 1, UINT64_MAX, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        assert_false(machine_origin_valid(&invalid[i]));
    }
}

/* The node that was silent for the longest is forgotten, also by a machine that was loaded in between. */
static void test_a_full_table(void **state)
{
    struct harness *h = *state;
    for (uint64_t node = 1; node <= MACHINE_ORIGIN_NODES; node++) {
        assert_true(take(h, node, 1, 1, 1));
    }
    assert_false(take(h, 1, 1, 1, 1)); /* a repetition is a sign of life */
    struct machine *loaded = harness_copy(h->machine, 100);
    machine_destroy(h->machine);
    h->machine = loaded;
    assert_true(take(h, 1000, 1, 1, 1));
    assert_int_equal(outcome(h, 1, 1, 1), 1);
    assert_int_equal(outcome(h, 2, 1, 1), 0);
    for (uint64_t node = 3; node <= MACHINE_ORIGIN_NODES; node++) {
        assert_int_equal(outcome(h, node, 1, 1), 1);
    }
    assert_int_equal(outcome(h, 1000, 1, 1), 1);
}

static void test_a_snapshot_is_that_of_its_begin(void **state)
{
    struct harness *h = *state;
    struct buffer records;
    buffer_init(&records);
    (void)harness_apply(h, "SET a 1");
    assert_true(take(h, 1, 1, 1, 1));
    uint64_t digest = machine_digest(h->machine);
    machine_snapshot_begin(h->machine);
    assert_true(take(h, 1, 1, 2, 2));
    assert_true(take(h, 2, 1, 1, 1));
    while (machine_snapshot_step(h->machine, &records, 1)) {
    }
    machine_snapshot_end(h->machine);
    struct machine *loaded = harness_load(buffer_slice(&records));
    assert_true(machine_digest(loaded) == digest);
    assert_true(machine_digest(h->machine) != digest);
    machine_destroy(loaded);
    buffer_deinit(&records);
}

static void test_flush_forgets_nothing(void **state)
{
    struct harness *h = *state;
    assert_true(take(h, 1, 1, 1, 1));
    (void)harness_apply(h, "FLUSHALL");
    assert_false(take(h, 1, 1, 1, 1));
}

static bool take_part(struct harness *h, uint64_t sequence)
{
    struct machine_context context = {++h->position, h->time_ms, h->wall_ms};
    struct machine_origin origin = {1, 1, sequence, 1};
    return machine_apply_origin(h->machine, &context, &origin, true);
}

/* Commands of one batch in several entries: each of these is executed; the outcome says that not all need have been. */
static void test_parts(void **state)
{
    struct harness *h = *state;
    assert_true(take_part(h, 1));
    assert_true(take_part(h, 1));
    assert_true(take(h, 1, 1, 2, 1));
    assert_false(take_part(h, 2)); /* it was executed as a whole */
    assert_false(take(h, 1, 1, 1, 1));
    assert_int_equal(outcome(h, 1, 1, 1), 2);
    assert_int_equal(outcome(h, 1, 1, 2), 1);
    struct machine *copy = harness_copy(h->machine, 100);
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    machine_destroy(h->machine);
    h->machine = copy;
    assert_int_equal(outcome(h, 1, 1, 1), 2);
    assert_true(take_part(h, 1));
    assert_true(take(h, 1, 1, 3, 2)); /* the first is settled, and gone */
    assert_false(take_part(h, 1));
    assert_int_equal(outcome(h, 1, 1, 1), -1);
}

static size_t record_of(uint8_t record[static 40], uint64_t node, uint64_t settled_below, uint8_t bits)
{
    record[0] = 'O';
    record[1] = 1;
    put_u64(record + 2, node);
    put_u64(record + 10, 5);
    put_u64(record + 18, settled_below);
    put_u64(record + 26, 9);
    record[34] = bits;
    return bits == 0 ? 34 : 35;
}

static void test_bad_records(void **state)
{
    struct harness *h = *state;
    uint8_t record[40];
    size_t size = record_of(record, 1, 10, 0x05);
    for (size_t less = 0; less < 34; less++) {
        assert_int_equal(machine_load_record(h->machine, slice_of(record, less)), STATUS_CORRUPT);
    }
    assert_int_equal(machine_load_record(h->machine, slice_of(record, size)), STATUS_OK);
    assert_int_equal(outcome(h, 1, 5, 10), 1);
    assert_int_equal(outcome(h, 1, 5, 11), 0);
    assert_int_equal(outcome(h, 1, 5, 12), 1);
    assert_int_equal(outcome(h, 1, 5, 9), -1);
    assert_int_equal(machine_load_record(h->machine, slice_of(record, size)), STATUS_CORRUPT); /* twice the same node */
    size = record_of(record, 2, 10, 1);
    record[1] = 3;
    assert_int_equal(machine_load_record(h->machine, slice_of(record, size)), STATUS_VERSION);
    record[1] = 2; /* its size of bits is missing */
    assert_int_equal(machine_load_record(h->machine, slice_of(record, size)), STATUS_CORRUPT);
    record[1] = 0;
    assert_int_equal(machine_load_record(h->machine, slice_of(record, size)), STATUS_CORRUPT);
    record[1] = 1;
    record[35] = 0; /* a last byte without a bit */
    assert_int_equal(machine_load_record(h->machine, slice_of(record, size + 1)), STATUS_CORRUPT);
    size = record_of(record, 0, 10, 1);
    assert_int_equal(machine_load_record(h->machine, slice_of(record, size)), STATUS_CORRUPT);
    size = record_of(record, 2, UINT64_MAX, 1);
    assert_int_equal(machine_load_record(h->machine, slice_of(record, size)), STATUS_CORRUPT);
    uint8_t large[34 + MACHINE_ORIGIN_WINDOW / 8 + 1];
    memset(large, 0xff, sizeof(large));
    (void)record_of(large, 3, 10, 0xff);
    assert_int_equal(machine_load_record(h->machine, slice_of(large, sizeof(large))), STATUS_CORRUPT);
    assert_int_equal(machine_load_record(h->machine, slice_of(large, sizeof(large) - 1)), STATUS_OK);
    for (uint64_t node = 4; node < MACHINE_ORIGIN_NODES + 2; node++) {
        size = record_of(record, node, 10, 0);
        assert_int_equal(machine_load_record(h->machine, slice_of(record, size)), STATUS_OK);
    }
    size = record_of(record, 9999, 10, 0); /* more than there can be */
    assert_int_equal(machine_load_record(h->machine, slice_of(record, size)), STATUS_CORRUPT);
}

static void test_questions(void **state)
{
    struct harness *h = *state;
    assert_true(take(h, 3, 8, 2, 2));
    const char *const many[] = {"3", "8", "1", "2", "3"};
    assert_string_equal(ask(h, COMMAND_COHORT_OUTCOME, many, 5), "*3\r\n:-1\r\n:1\r\n:0\r\n");
    const char *const older[] = {"3", "7", "3"};
    assert_string_equal(ask(h, COMMAND_COHORT_OUTCOME, older, 3), "*1\r\n:-1\r\n");
    const char *const newer[] = {"3", "9", "1"}; /* nothing of that start has come */
    assert_string_equal(ask(h, COMMAND_COHORT_OUTCOME, newer, 3), "*1\r\n:0\r\n");
    const char *const bad[] = {"3", "8", "1", "x"};
    assert_string_equal(ask(h, COMMAND_COHORT_OUTCOME, bad, 4), "-ERR value is not an integer or out of range\r\n");
}

static void test_versions(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "SET a 1");
    (void)harness_apply(h, "SET c 1 PX 100");
    const char *const keys[] = {"a", "b", "a"};
    char expected[128];
    char a[24];
    char b[24];
    (void)snprintf(a, sizeof(a), "%llu", (unsigned long long)harness_version(h, "a"));
    (void)snprintf(b, sizeof(b), "%llu", (unsigned long long)harness_version(h, "b"));
    (void)snprintf(expected, sizeof(expected), "*3\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(a), a,
                   strlen(b), b, strlen(a), a);
    assert_string_equal(ask(h, COMMAND_COHORT_VERSIONS, keys, 3), expected);
    const char *const due[] = {"a", "c"};
    assert_non_null(ask(h, COMMAND_COHORT_VERSIONS, due, 2));
    h->time_ms += 200;
    assert_null(ask(h, COMMAND_COHORT_VERSIONS, due, 2)); /* through the log, as any read of a key that is due */
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_as_the_model),
        CASE(test_the_whole_window),
        CASE(test_a_full_table),
        CASE(test_a_snapshot_is_that_of_its_begin),
        CASE(test_flush_forgets_nothing),
        CASE(test_parts),
        CASE(test_bad_records),
        CASE(test_questions),
        CASE(test_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

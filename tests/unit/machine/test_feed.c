/* The history of changes: what each command tells, what is kept and forgotten, what a mark means. */
#include "harness.h"

#include "base/varint.h"
#include "machine/feed/feed_log.h"
#include "machine/keys/keyspace.h"

#include <stdio.h>
#include <stdlib.h>

enum { STEP = 3 }; /* between positions, as the harness makes them */

/* ---- what commands tell ---- */

static const char *const kind_names[FEED_KINDS] = {"set",    "hset",    "hdel",  "del",    "expired",
                                                   "expire", "persist", "flush", "reload", "stale"};

static void put_text(struct buffer *out, const struct feed_change *change)
{
    buffer_append_format(out, "%s%s", out->size == 0 ? "" : "; ", kind_names[change->kind]);
    const struct slice parts[] = {change->key, change->field, change->value};
    for (int i = 0; i < 3; i++) {
        if (parts[i].data != NULL && (i > 0 || parts[i].size > 0)) {
            buffer_append_format(out, " %.*s", (int)parts[i].size, (const char *)parts[i].data);
        }
    }
    if (change->kind == FEED_EXPIRE) {
        buffer_append_format(out, " %+lld", (long long)(change->due_ms - 1700000000000));
    }
}

/* Everything behind a mark, which moves. */
static void read_behind(struct harness *h, struct feed_mark *mark, size_t most_bytes, struct buffer *out)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "COHORT.FEED.READ %llu %u %zu", (unsigned long long)mark->position,
                   mark->sub, most_bytes);
    (void)harness_read(h, command);
    struct slice reply = buffer_slice(&h->reply);
    static const char head[] = "*5\r\n$4\r\nHERE\r\n:";
    assert_true(slice_starts_with(reply, slice_from_string(head)));
    unsigned long long position;
    unsigned int sub;
    size_t size;
    int consumed;
    buffer_append_byte(&h->reply, '\0');
    assert_int_equal(sscanf((const char *)h->reply.data + sizeof(head) - 1, "%llu\r\n:%u\r\n$%zu%n", &position, &sub,
                            &size, &consumed),
                     3);
    *mark = (struct feed_mark){position, sub};
    buffer_append(out, h->reply.data + sizeof(head) - 1 + consumed + 2, size);
}

static void check_tells(struct harness *h, const char *command, const char *expected, int line)
{
    struct feed_mark mark = {0, 0};
    char state[256];
    (void)snprintf(state, sizeof(state), "%s", harness_read(h, "COHORT.FEED.STATE 0 0"));
    unsigned long long position;
    assert_int_equal(sscanf(state, "*6 :%*d $4 GONE :%*d :%*d :%llu :%u", &position, &mark.sub), 2);
    mark.position = position;
    (void)harness_apply(h, command);
    struct buffer records = {0};
    struct buffer text = {0};
    read_behind(h, &mark, 1 << 20, &records);
    struct slice rest = buffer_slice(&records);
    while (rest.size > 0) {
        struct feed_change change;
        assert_true(feed_take(&rest, &change));
        assert_int_equal(change.mark.position, h->position);
        put_text(&text, &change);
    }
    buffer_append_byte(&text, '\0');
    if (strcmp((const char *)text.data, expected) != 0) {
        fail_msg("line %d: %s tells: %s", line, command, (const char *)text.data);
    }
    buffer_deinit(&records);
    buffer_deinit(&text);
}
#define TELLS(command, expected) check_tells(h, command, expected, __LINE__)

static void test_what_commands_tell(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "SET early 1");
    (void)harness_apply(h, "COHORT.FEED.KEEP 100000 100000 0 0");
    TELLS("SET a 1", "set a 1");
    TELLS("SET a 1 NX", "");
    TELLS("SET a 2 PX 100", "set a 2; expire a +100");
    TELLS("INCR a", "set a 3; expire a +100");
    TELLS("APPEND a x", "set a 3x; expire a +100");
    TELLS("PERSIST a", "persist a");
    TELLS("PERSIST a", "");
    TELLS("PEXPIREAT a 1700000000500", "expire a +500");
    TELLS("GETEX a PERSIST", "persist a");
    TELLS("GETDEL a", "del a");
    TELLS("DEL a", "");
    TELLS("MSET a 1 b 2", "set a 1; set b 2");
    TELLS("RENAME a b", "del b; del a; set b 1");
    TELLS("COPY b c", "set c 1");
    TELLS("PEXPIRE c -1", "del c");
    TELLS("HSET h f 1 g 2", "hset h f 1; hset h g 2");
    TELLS("HINCRBY h f 5", "hset h f 6");
    TELLS("EXPIRE h 1", "expire h +1000");
    TELLS("HDEL h f nothing", "hdel h f");
    TELLS("COPY h i", "hset i g 2; expire i +1000");
    TELLS("RENAME h j", "del h; hset j g 2; expire j +1000");
    TELLS("HDEL j g", "hdel j g; del j");
    TELLS("SET i x", "set i x");
    TELLS("HSET i f v", "");
    TELLS("SET gone x PX 10", "set gone x; expire gone +10");
    harness_pass(h, 10);
    TELLS("SET gone y", "expired gone; set gone y");
    TELLS("FLUSHALL", "flush");
    TELLS("FLUSHALL", "");
}

static void test_expiry_is_told(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "COHORT.FEED.KEEP 100000 100000 0 0");
    (void)harness_apply(h, "MSET a 1 b 1");
    (void)harness_apply(h, "PEXPIRE a 10");
    (void)harness_apply(h, "PEXPIRE b 5");
    harness_pass(h, 10);
    struct feed_mark mark = {h->position, 1};
    struct machine_context context = {++h->position, h->time_ms, h->wall_ms};
    machine_apply_time(h->machine, &context);
    struct buffer records = {0};
    struct buffer text = {0};
    read_behind(h, &mark, 1 << 20, &records);
    struct slice rest = buffer_slice(&records);
    for (struct feed_change change; rest.size > 0 && feed_take(&rest, &change);) {
        put_text(&text, &change);
    }
    assert_true(slice_equal(buffer_slice(&text), SLICE_LITERAL("expired b; expired a")));
    buffer_deinit(&records);
    buffer_deinit(&text);
}

static void test_exec_has_one_position(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "COHORT.FEED.KEEP 100000 100000 0 0");
    (void)harness_exec(h, "", "SET a 1", "INCR nothing", "HSET h f v", "DEL a", NULL);
    struct feed_mark mark = {h->position - STEP, 0};
    struct buffer records = {0};
    read_behind(h, &mark, 1 << 20, &records);
    struct slice rest = buffer_slice(&records);
    uint32_t sub = 0;
    for (struct feed_change change; rest.size > 0 && feed_take(&rest, &change);) {
        assert_int_equal(change.mark.position, h->position);
        assert_int_equal(change.mark.sub, ++sub);
    }
    assert_int_equal(sub, 4);
    buffer_deinit(&records);
}

/* ---- large ones ---- */

static void test_large_values_are_to_be_read(void **state)
{
    struct harness *h = *state;
    char command[20000];
    char expected[20000];
    (void)harness_apply(h, "COHORT.FEED.KEEP 8000 100000 0 0");
    (void)snprintf(command, sizeof(command), "SET a %01000d", 7);
    (void)snprintf(expected, sizeof(expected), "set a %01000d", 7);
    TELLS(command, expected);
    (void)snprintf(command, sizeof(command), "SET a %01001d", 7);
    TELLS(command, "reload a");
    (void)snprintf(command, sizeof(command), "HSET h f %01001d", 7);
    TELLS(command, "reload h");
    TELLS("COPY h i", "reload i"); /* a large hash is not told field by field */
    TELLS("HDEL i f", "hdel i f; del i");
}

/* ---- what is kept ---- */

/* The look of STATE at a mark. */
static const char *look(struct harness *h, uint64_t position, uint32_t sub)
{
    static char word[16];
    char command[64];
    (void)snprintf(command, sizeof(command), "COHORT.FEED.STATE %llu %u", (unsigned long long)position, sub);
    assert_int_equal(sscanf(harness_read(h, command), "*6 :%*d $%*d %15s", word), 1);
    return word;
}

static void test_marks(void **state)
{
    struct harness *h = *state;
    assert_string_equal(look(h, 0, 0), "GONE");
    (void)harness_apply(h, "SET a 1");
    assert_string_equal(look(h, h->position, 1), "GONE"); /* nobody wanted it */
    (void)harness_apply(h, "COHORT.FEED.KEEP 100000 1000 0 0");
    uint64_t begin = h->position;
    assert_string_equal(look(h, begin, 0), "HERE");
    assert_string_equal(look(h, begin, 1), "UNKNOWN");
    assert_string_equal(look(h, begin - 1, 0), "GONE");
    assert_string_equal(look(h, begin + 1, 0), "AHEAD");
    (void)harness_apply(h, "MSET a 1 b 2");
    (void)harness_apply(h, "SET a 3");
    assert_string_equal(look(h, begin, 0), "HERE");
    assert_string_equal(look(h, begin, 5), "UNKNOWN");
    assert_string_equal(look(h, begin + STEP, 0), "UNKNOWN");
    assert_string_equal(look(h, begin + STEP, 1), "HERE");
    assert_string_equal(look(h, begin + STEP, 2), "HERE");
    assert_string_equal(look(h, begin + STEP, 3), "UNKNOWN");
    assert_string_equal(look(h, begin + 2 * STEP, 1), "HERE");
    assert_string_equal(look(h, begin + 2 * STEP, 2), "UNKNOWN");
}

static void test_nothing_is_forgotten_while_nothing_changes(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "COHORT.FEED.KEEP 100000 1000 0 0");
    uint64_t begin = h->position;
    (void)harness_apply(h, "SET a 1");
    harness_pass(h, 5000);
    (void)harness_apply(h, "DEL nothing");
    assert_string_equal(look(h, begin, 0), "HERE");
    (void)harness_apply(h, "COHORT.FEED.KEEP 100000 1000 0 0");
    assert_string_equal(look(h, begin, 0), "HERE"); /* it is still whole */
    harness_pass(h, 1000);
    (void)harness_apply(h, "SET a 2");
    assert_string_equal(look(h, begin, 0), "HERE");
    harness_pass(h, 1);
    (void)harness_apply(h, "SET a 3");
    assert_string_equal(look(h, begin, 0), "GONE");
    struct machine_stats stats;
    machine_stats(h->machine, &stats);
    assert_int_equal(stats.history_bytes, 0);
    (void)harness_apply(h, "COHORT.FEED.KEEP 100000 1000 0 0");
    assert_string_equal(look(h, h->position, 0), "HERE");
    assert_string_equal(look(h, begin, 0), "GONE");
}

/* Two applies without changes, and all that is there is old. */
static void grow_old(struct harness *h)
{
    for (int i = 0; i < 2; i++) {
        harness_pass(h, FEED_YOUNG_MS);
        (void)harness_apply(h, "DEL nothing");
    }
}

static void test_limit(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "COHORT.FEED.KEEP 4000 100000 0 0");
    uint64_t begin = h->position;
    h->time_ms += 2 * FEED_YOUNG_MS;
    for (int i = 0; i < 200; i++) {
        char command[64];
        (void)snprintf(command, sizeof(command), "SET key%03d %020d", i, i);
        (void)harness_apply(h, command);
        struct machine_stats stats;
        machine_stats(h->machine, &stats);
        assert_in_range(stats.history_bytes, 0, FEED_BURST * 4000);
    }
    grow_old(h);
    uint64_t size = FEED_HEAD_BYTES + 6 + 20;
    uint64_t kept = 4000 / size;
    assert_string_equal(look(h, begin, 0), "GONE");
    uint64_t last = h->position - 2 * STEP;
    assert_string_equal(look(h, last - kept * STEP, 1), "HERE");
    assert_string_equal(look(h, last - (kept + 1) * STEP, 1), "GONE");
    (void)harness_apply(h, "COHORT.FEED.KEEP 1024 100000 0 0"); /* less from now on */
    assert_string_equal(look(h, last - kept * STEP, 1), "GONE");
    assert_string_equal(look(h, last - 1024 / size * STEP, 1), "HERE");
    char command[3000]; /* a key that is too large for all of it */
    (void)snprintf(command, sizeof(command), "SET %01500d x", 1);
    (void)harness_apply(h, command);
    uint64_t large = h->position;
    grow_old(h);
    assert_string_equal(look(h, last, 1), "GONE");
    assert_string_equal(look(h, large, 1), "HERE");
    (void)harness_apply(h, "SET small x");
    assert_string_equal(look(h, large, 1), "HERE");
}

static void test_read_in_parts(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "COHORT.FEED.KEEP 10000000 100000 0 0");
    struct feed_mark mark = {h->position, 0};
    uint64_t begin = h->position;
    for (int i = 0; i < 3000; i++) {
        char command[128];
        (void)snprintf(command, sizeof(command), "SET key%03d %0*d", i, i % 80 + 1, i);
        (void)harness_apply(h, command);
    }
    struct buffer records = {0};
    uint64_t next = begin;
    size_t step = 1;
    while (mark.position != h->position) {
        buffer_clear(&records);
        read_behind(h, &mark, step, &records);
        assert_true(records.size > 0 && (records.size <= step || step < 200));
        struct slice rest = buffer_slice(&records);
        struct feed_change change = {0};
        while (rest.size > 0) {
            assert_true(feed_take(&rest, &change));
            assert_int_equal(change.mark.position, next += STEP);
        }
        assert_int_equal(change.mark.position, mark.position);
        step = step * 3 / 2 + 1;
        step = step > 100000 ? 1 : step;
    }
    buffer_clear(&records);
    read_behind(h, &mark, 1000, &records);
    assert_int_equal(records.size, 0);
    buffer_deinit(&records);
}

/* ---- what was undone is not told ---- */

static void test_undone(void **state)
{
    (void)state;
    struct keyspace *keyspace = keyspace_create(1);
    struct feed_log history = {0};
    struct keyspace_time time = {0};
    feed_log_at(&history, 1, 0, 0);
    feed_log_keep(&history, 2000, 100);
    keyspace_record_to(keyspace, &history);
    feed_log_at(&history, 2, 0, 0);
    keyspace_changed(keyspace, keyspace_add_string(keyspace, SLICE_LITERAL("a"), SLICE_LITERAL("1")), 2);
    struct feed_mark before = history.last;
    uint64_t digest = feed_log_digest(&history);
    for (int undo = 1; undo >= 0; undo--) {
        feed_log_at(&history, 3 + (uint64_t)undo, 0, 0);
        keyspace_journal_begin(keyspace);
        for (int i = 0; i < 3000; i++) { /* more than the limit, and than a chunk */
            struct entry *entry = keyspace_edit(keyspace, &time, SLICE_LITERAL("a"));
            keyspace_changed(keyspace, entry_set_integer(keyspace, entry, i), 3 + (uint64_t)undo);
        }
        keyspace_journal_end(keyspace, undo != 0, 3 + (uint64_t)undo);
        if (undo != 0) {
            assert_true(feed_log_digest(&history) == digest);
            assert_int_equal(feed_log_find(&history, before), FEED_HERE);
            assert_int_equal(feed_mark_compare(history.last, before), 0);
            feed_log_at(&history, 3, 0, 0);
        }
    }
    assert_int_equal(feed_log_find(&history, before), FEED_HERE);
    assert_in_range(history.last.sub, FEED_APPLY_FULL * 2000 / 26, 3000); /* the rest is to be read */
    assert_in_range(history.bytes, (FEED_APPLY_FULL - 1) * 2000, FEED_APPLY_FULL * 2000 + 100);
    keyspace_destroy(keyspace);
    feed_log_deinit(&history);
}

/* ---- snapshots ---- */

static void test_bad_records(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "COHORT.FEED.KEEP 8000 1000 0 0");
    (void)harness_apply(h, "HSET h f v");
    (void)harness_apply(h, "SET a 1");
    machine_snapshot_begin(h->machine);
    struct buffer records = {0};
    while (machine_snapshot_step(h->machine, &records, 1000)) {
    }
    machine_snapshot_end(h->machine);
    struct slice rest = buffer_slice(&records);
    struct slice parts[2] = {0};
    struct slice head = {0};
    int found = 0;
    while (rest.size > 0) {
        uint64_t size;
        assert_true(varint_take(&rest, &size));
        if (rest.data[0] == FEED_RECORD_HEAD || rest.data[0] == FEED_RECORD_CHUNK) {
            parts[found++] = slice_of(rest.data, size);
        } else if (rest.data[0] == 'M') {
            head = slice_of(rest.data, size);
        }
        rest = slice_of(rest.data + size, rest.size - size);
    }
    assert_int_equal(found, 2);
    struct machine *empty = machine_create(&(struct machine_options){.hash_seed = 1});
    assert_int_equal(machine_load_record(empty, parts[0]), STATUS_CORRUPT); /* it is of a time to come */
    assert_int_equal(machine_load_record(empty, head), STATUS_OK);
    assert_int_equal(machine_load_record(empty, parts[1]), STATUS_CORRUPT); /* no head yet */
    for (size_t cut = 1; cut < parts[0].size; cut++) {
        assert_int_equal(machine_load_record(empty, slice_of(parts[0].data, cut)), STATUS_CORRUPT);
    }
    uint8_t copy[256];
    assert_true(parts[0].size <= sizeof(copy) && parts[1].size <= sizeof(copy));
    memcpy(copy, parts[0].data, parts[0].size);
    copy[1] = 3;
    assert_int_equal(machine_load_record(empty, slice_of(copy, parts[0].size)), STATUS_VERSION);
    copy[1] = 2;
    memset(copy + 54, 0, 12);
    assert_int_equal(machine_load_record(empty, slice_of(copy, parts[0].size)), STATUS_CORRUPT); /* noted before old */
    assert_int_equal(machine_load_record(empty, parts[0]), STATUS_OK);
    assert_int_equal(machine_load_record(empty, parts[0]), STATUS_CORRUPT); /* twice */
    memcpy(copy, parts[1].data, parts[1].size);
    copy[2 + 16] = FEED_KINDS;
    assert_int_equal(machine_load_record(empty, slice_of(copy, parts[1].size)), STATUS_CORRUPT);
    assert_int_equal(machine_load_record(empty, slice_of(parts[1].data, parts[1].size - 1)), STATUS_CORRUPT);
    machine_destroy(empty);
    empty = machine_create(&(struct machine_options){.hash_seed = 1});
    assert_int_equal(machine_load_record(empty, head), STATUS_OK);
    memcpy(copy, parts[0].data, 42); /* as it was in version 1 */
    copy[1] = 1;
    assert_int_equal(machine_load_record(empty, slice_of(copy, 42)), STATUS_OK);
    memcpy(copy, parts[1].data, parts[1].size);
    copy[1] = 1;
    assert_int_equal(machine_load_record(empty, slice_of(copy, parts[1].size)), STATUS_OK);
    machine_destroy(empty);
    buffer_deinit(&records);
}

static void test_refusals(void **state)
{
    struct harness *h = *state;
    static const char *const bad[] = {
        "COHORT.FEED.KEEP 1023 1 0 0",  "COHORT.FEED.KEEP 1073741825 1 0 0",
        "COHORT.FEED.KEEP 2000 -1 0 0", "COHORT.FEED.KEEP 2000 86400001 0 0",
        "COHORT.FEED.KEEP 2000 1 -1 0", "COHORT.FEED.KEEP 2000 1 0 4294967296",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_string_equal(harness_apply(h, bad[i]), "-ERR malformed command of a feed");
    }
    CHECK(h, "COHORT.FEED.STATE x 0", "-ERR malformed command of a feed");
    CHECK(h, "COHORT.FEED.READ 1 1 16777217", "-ERR malformed command of a feed");
    CHECK(h, "COHORT.FEED.READ 0 0 100", "*5 $4 GONE :0 :0 $0  :0");
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_what_commands_tell),
        CASE(test_expiry_is_told),
        CASE(test_exec_has_one_position),
        CASE(test_large_values_are_to_be_read),
        CASE(test_marks),
        CASE(test_nothing_is_forgotten_while_nothing_changes),
        CASE(test_limit),
        CASE(test_read_in_parts),
        cmocka_unit_test(test_undone),
        CASE(test_bad_records),
        CASE(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

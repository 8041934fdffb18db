/* What is about all keys in a PREPARE, FLUSHALL and looks: the lock of all keys, and what becomes of them
 * (src/machine/txn/README.md). */
#include "harness.h"
#include "machine/txn/txn.h"

#include <stdio.h>

#define NOW "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 0 0"
#define OTHER "COHORT.TXN.PREPARE u 1 0 2 NOW 1 1 0 0"
#define COMMIT "COHORT.TXN.FINISH t 0 COMMIT"

static const char *const committed = "*1 $9 COMMITTED";
static const char *busy = "-BUSY a transaction holds a key of this command; it was not executed, try again";

static const struct parts *parts_of(const struct harness *h) { return &machine_txns(h->machine)->parts; }

static void reload(struct harness *h)
{
    struct machine *copy = harness_copy(h->machine, 10);
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    machine_destroy(h->machine);
    h->machine = copy;
}

/* Whoever flushes has every key, whether it is there or not, until the outcome. */
static void a_flush_has_every_key(void **state)
{
    struct harness *h = *state;
    CHECK(h, "MSET a 1 b 2", "+OK");
    uint64_t version = harness_version(h, "a");
    assert_string_equal(harness_nested(h, NOW, "FLUSHALL", NULL), "*3 $3 YES :6 *1 +OK");
    CHECK(h, "MGET a b", "*2 $1 1 $1 2");
    CHECK(h, "SET a 2", busy);
    CHECK(h, "SET none 2", busy);
    CHECK(h, "FLUSHDB", busy);
    assert_string_equal(harness_nested(h, OTHER, "GET none", NULL), "*3 $2 NO $6 LOCKED $1 t");
    assert_string_equal(harness_nested(h, OTHER, "FLUSHALL", NULL), "*3 $2 NO $6 LOCKED $1 t");
    CHECK(h, COMMIT, committed);
    CHECK(h, "DBSIZE", ":0");
    assert_true(harness_version(h, "a") > version);
    assert_true(lock_table_empty(&parts_of(h)->locks));
    CHECK(h, "SET a 2", "+OK");
}

/* One key that somebody holds, to read it alone, keeps a flush out. */
static void one_key_keeps_it_out(void **state)
{
    struct harness *h = *state;
    static const char *const holds[] = {"GET r", "SET r 1", "FLUSHDB"};
    for (size_t i = 0; i < 3; i++) {
        assert_non_null(strstr(harness_nested(h, OTHER, holds[i], NULL), "YES"));
        assert_non_null(strstr(harness_nested(h, NOW, "SET other 1", "FLUSHALL ASYNC", NULL), "*3 $2 NO $6 LOCKED"));
        CHECK(h, "COHORT.TXN.FINISH u 0 ABORT", "*1 $7 ABORTED");
    }
    assert_non_null(strstr(harness_nested(h, NOW, "SET other 1", "FLUSHALL", NULL), "YES"));
    CHECK(h, COMMIT, committed);
    CHECK(h, "DBSIZE", ":0");
}

/* The commands before it have no effect left, and those behind it find nothing; what they write stays. */
static void what_stands_around_it(void **state)
{
    struct harness *h = *state;
    CHECK(h, "MSET a 1 b 2 c 3 d 4", "+OK");
    assert_string_equal(
        harness_nested(h, NOW, "INCR a", "SET new 1", "FLUSHALL", "EXISTS a new b", "INCR b", "SET c x", "DEL c", NULL),
        "*3 $3 YES :6 *7 :2 +OK +OK :0 :1 +OK :1");
    reload(h);
    CHECK(h, "SET e 1", busy);
    CHECK(h, COMMIT, committed);
    CHECK(h, "KEYS *", "*1 $1 b");
    CHECK(h, "GET b", "$1 1");
    assert_int_equal(harness_version(h, "b"), harness_version(h, "c"));
    assert_int_equal(harness_version(h, "b"), harness_version(h, "d"));
}

static void an_abort_leaves_all(void **state)
{
    struct harness *h = *state;
    CHECK(h, "MSET a 1 b 2", "+OK");
    uint64_t digest = machine_digest(h->machine);
    (void)harness_nested(h, NOW, "SET a 2", "FLUSHALL", "SET c 3", NULL);
    CHECK(h, "COHORT.TXN.FINISH t 0 ABORT", "*1 $7 ABORTED");
    CHECK(h, "MGET a b c", "*3 $1 1 $1 2 $-1");
    assert_int_not_equal(digest, 0);
    assert_true(lock_table_empty(&parts_of(h)->locks));
}

/* A mistake is a reply, as in EXEC; it flushes nothing. */
static void a_mistake_flushes_nothing(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET a 1", "+OK");
    assert_string_equal(harness_nested(h, NOW, "FLUSHALL NOW", "FLUSHDB SYNC x", "GET a", NULL),
                        "*3 $3 YES :6 *3 -ERR syntax error -ERR syntax error $1 1");
    CHECK(h, COMMIT, committed);
    CHECK(h, "GET a", "$1 1");
}

/* A watched key is looked at before: one that is flushed has changed, and one that was watched keeps a flush out. */
static void versions_are_checked(void **state)
{
    struct harness *h = *state;
    char text[128];
    CHECK(h, "SET a 1", "+OK");
    (void)snprintf(text, sizeof(text), "COHORT.TXN.PREPARE u 1 0 2 NOW 1 1 1 a %llu 0",
                   (unsigned long long)harness_version(h, "a"));
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 1 a 9 0", "FLUSHALL", NULL),
                        "*3 $2 NO $7 CHANGED $1 a");
    (void)harness_nested(h, NOW, "FLUSHALL", NULL);
    CHECK(h, COMMIT, committed);
    assert_string_equal(harness_nested(h, text, "SET b 1", NULL), "*3 $2 NO $7 CHANGED $1 a");
}

/* A later attempt of what moves values: all locks first, then the values, which are put when everything is gone. */
static void locks_come_before_the_vote(void **state)
{
    struct harness *h = *state;
    CHECK(h, "MSET a 1 b 2", "+OK");
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 HOLD 1 1 0 1 none -", "FLUSHALL", NULL),
                        "*3 $3 YES :6 *1 *4 :1000 :1700000000000 :0 $-1");
    CHECK(h, "SET x 1", busy);
    reload(h);
    CHECK(h, "SET x 1", busy);
    /* \001 is the head of a short string's value. */
    assert_non_null(
        strstr(harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 1 none 0 2 none \"\\x00\\x01v\" b \"\"",
                              "FLUSHALL", NULL),
               "ERR"));
    assert_int_equal(parts_of(h)->prepared_count, 0);
    assert_non_null(strstr(
        harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 1 none 0 2 none \001v b \"\"", "FLUSHALL", NULL), "YES"));
    CHECK(h, COMMIT, committed);
    CHECK(h, "KEYS *", "*1 $4 none");
    CHECK(h, "GET none", "$1 v");
}

/* More keys than leave a trace each: everybody's version moves. A snapshot that runs keeps what was. */
static void many_keys(void **state)
{
    enum { KEYS = 6000 };
    struct harness *h = *state;
    char text[64];
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(text, sizeof(text), "SET k%d v", i);
        (void)harness_apply(h, text);
    }
    assert_non_null(
        strstr(harness_nested(h, "COHORT.TXN.PREPARE t 1 0 3 NOW 1 1 0 0", "FLUSHALL", "SET k1 w", NULL), "YES"));
    assert_true(parts_of(h)->bytes < 64);
    CHECK(h, "COHORT.TXN.MOVE t PRECOMMIT", "*2 $9 PRECOMMIT :18003");
    reload(h);
    CHECK(h, "COHORT.TXN.FINISH t 0 COMMIT", committed);
    CHECK(h, "DBSIZE", ":1");
    assert_int_equal(harness_version(h, "k2"), harness_version(h, "k1"));
    reload(h);
    CHECK(h, "COHORT.TXN.FORGET t", "*1 $4 NONE");
    CHECK(h, "SET k3 1", "+OK");
}

/* ---- looks ---- */

/* Who looks at all keys keeps away whoever writes one, and nobody else. */
static void a_look_reads_every_key(void **state)
{
    struct harness *h = *state;
    CHECK(h, "MSET a 1 b 2", "+OK");
    assert_string_equal(harness_nested(h, NOW, "DBSIZE", NULL), "*3 $3 YES :6 *1 :2");
    CHECK(h, "SET a 2", busy);
    CHECK(h, "SET none 2", busy);
    CHECK(h, "FLUSHALL", busy);
    assert_string_equal(harness_nested(h, OTHER, "SET none 1", NULL), "*3 $2 NO $6 LOCKED $1 t");
    assert_non_null(strstr(harness_nested(h, OTHER, "GET a", "KEYS *", NULL), "YES"));
    reload(h);
    CHECK(h, "COHORT.TXN.FINISH u 0 COMMIT", committed);
    CHECK(h, "SET a 2", busy);
    CHECK(h, COMMIT, committed);
    CHECK(h, "SET a 2", "+OK");
    assert_non_null(strstr(harness_nested(h, OTHER, "SET w 1", NULL), "YES"));
    assert_string_equal(harness_nested(h, NOW, "DBSIZE", NULL), "*3 $2 NO $6 LOCKED $0 ");
    CHECK(h, "COHORT.TXN.FINISH u 0 ABORT", "*1 $7 ABORTED");
    assert_non_null(strstr(harness_nested(h, NOW, "DBSIZE", "SET w 1", NULL), "YES"));
    assert_string_equal(harness_nested(h, OTHER, "DBSIZE", NULL), "*3 $2 NO $6 LOCKED $0 ");
    reload(h);
    CHECK(h, COMMIT, committed);
    assert_true(lock_table_empty(&parts_of(h)->locks));
}

/* They see what the transaction has made of its own keys, at that place among its commands. */
static void a_look_sees_what_was_done(void **state)
{
    struct harness *h = *state;
    CHECK(h, "MSET a 1 b 2", "+OK");
    assert_string_equal(harness_nested(h, NOW, "DBSIZE", "DEL a", "DBSIZE", "KEYS *", "HSET c f v", "SET d 1", "DBSIZE",
                                       "KEYS [a-c]", NULL),
                        "*3 $3 YES :6 *8 :2 :1 :1 *1 $1 b :1 +OK :3 *2 $1 c $1 b");
    CHECK(h, COMMIT, committed);
    assert_string_equal(harness_nested(h, NOW, "DEL b d", "RANDOMKEY", "HSET b f v", "SCAN 0 TYPE string",
                                       "SCAN 0 MATCH b", "SCAN 0 COUNT 0", "DEL b c", "RANDOMKEY", "FLUSHDB", "SET e 1",
                                       "RANDOMKEY", "SCAN 0", "SCAN 7", NULL),
                        "*3 $3 YES :12 *13 :2 $1 c :1 *2 $1 0 *0 *2 $1 0 *1 $1 b -ERR syntax error :2 $-1 +OK +OK $1 e "
                        "*2 $1 0 *1 $1 e *2 $1 0 *0");
    CHECK(h, COMMIT, committed);
    CHECK(h, "KEYS *", "*1 $1 e");
}

/* What is due is gone, though it may be counted yet; made again, it is there. */
static void a_look_at_what_is_due(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET a 1 PX 100", "+OK");
    CHECK(h, "SET b 1 PX 100", "+OK");
    harness_pass(h, 200);
    assert_string_equal(harness_nested(h, NOW, "KEYS *", "SET a 2", "KEYS *", "SCAN 0", "DBSIZE", "RANDOMKEY", "DEL a",
                                       "KEYS *", "RANDOMKEY", NULL),
                        "*3 $3 YES :9 *9 *0 +OK *1 $1 a *2 $1 0 *1 $1 a :2 $1 a :1 *0 $-1");
}

/* A key is found among many of the transaction's own that are gone; and every other one has its turn. */
static void random_keys(void **state)
{
    enum { KEYS = 24 };
    struct harness *h = *state;
    struct buffer all;
    buffer_init(&all);
    char text[64];
    buffer_append_string(&all, "DEL");
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(text, sizeof(text), "SET k%d v", i);
        (void)harness_apply(h, text);
        if (i != 7) {
            buffer_append_format(&all, " k%d", i);
        }
    }
    buffer_append_byte(&all, '\0');
    assert_non_null(strstr(harness_nested(h, NOW, (const char *)all.data, "RANDOMKEY", NULL), ":23 $2 k7"));
    buffer_deinit(&all);
}

/* Two rounds of reads that are equal had no change in between, of whichever key. */
static void reads_tell_when_all_is_as_it_was(void **state)
{
    struct harness *h = *state;
    static const char *const changes[] = {"SET new 1", "SET new 2", "DEL new", "SET a 1", "FLUSHALL"};
    char before[256];
    CHECK(h, "SET a 1", "+OK");
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        (void)snprintf(before, sizeof(before), "%s", harness_nested_read(h, "COHORT.TXN.READ", "DBSIZE", NULL));
        assert_string_equal(harness_nested_read(h, "COHORT.TXN.READ", "DBSIZE", NULL), before);
        (void)harness_apply(h, changes[i]);
        assert_string_not_equal(harness_nested_read(h, "COHORT.TXN.READ", "DBSIZE", NULL), before);
    }
    assert_non_null(strstr(harness_nested_read(h, "COHORT.TXN.READ", "SET b 1", "KEYS *", NULL), "malformed"));
}

/* What its node has made of its keys by then is said before a look; its values come behind all commands. */
static void a_look_is_told_what_was_done(void **state)
{
    struct harness *h = *state;
    CHECK(h, "MSET a 1 b 2 c 3", "+OK");
    const char *prepare = "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 0 2 a \"\" d \001v";
    assert_string_equal(harness_nested(h, prepare, "DBSIZE", "COHORT.TXN.SEEM BESIDES a NONE d HASH", "DBSIZE",
                                       "KEYS [ad]", "SCAN 0 TYPE hash COUNT 99",
                                       "COHORT.TXN.SEEM BESIDES a STRING d NONE", "DBSIZE", "FLUSHALL", "DBSIZE",
                                       "COHORT.TXN.SEEM BESIDES d STRING", "RANDOMKEY", NULL),
                        "*3 $3 YES :6 *11 :3 +OK :3 *1 $1 d *2 $1 0 *1 $1 d +OK :3 +OK :0 +OK $1 d");
    CHECK(h, COMMIT, committed);
    CHECK(h, "KEYS *", "*1 $1 d");
    CHECK(h, "GET d", "$1 v");
    /* of keys that are none of its own nothing can be said, nor that others are gone */
    static const char *const wrong[] = {"COHORT.TXN.SEEM BESIDES b STRING", "COHORT.TXN.SEEM FLUSHED a NONE",
                                        "COHORT.TXN.SEEM BESIDES a LIST", "COHORT.TXN.SEEM BESIDES a",
                                        "COHORT.TXN.SEEM x"};
    for (size_t i = 0; i < 5; i++) {
        assert_non_null(strstr(harness_nested(h, prepare, wrong[i], "DBSIZE", NULL), "-ERR malformed"));
        assert_int_equal(parts_of(h)->prepared_count, 0);
    }
    CHECK(h, "COHORT.TXN.SEEM BESIDES a NONE", "-ERR malformed command of a transaction");
}

/* The same of a read, whose transaction is not prepared. */
static void a_read_is_told_what_was_done(void **state)
{
    struct harness *h = *state;
    CHECK(h, "MSET a 1 b 2", "+OK");
    assert_string_equal(harness_nested_read(h, "COHORT.TXN.READ", "COHORT.TXN.SEEM BESIDES a NONE d HASH c STRING",
                                            "DBSIZE", "KEYS *", NULL),
                        "*2 *2 :3 :2 *3 +OK :3 *3 $1 d $1 c $1 b");
    assert_string_equal(
        harness_nested_read(h, "COHORT.TXN.READ", "COHORT.TXN.SEEM FLUSHED d HASH", "DBSIZE", "KEYS *", NULL),
        "*2 *2 :3 :2 *3 +OK :1 *1 $1 d");
    const char *error = "-ERR malformed command of a transaction";
    assert_string_equal(harness_nested_read(h, "COHORT.TXN.READ", "COHORT.TXN.SEEM BESIDES", "GET a", NULL), error);
    assert_string_equal(harness_nested_read(h, "COHORT.TXN.READ", "DBSIZE", "COHORT.TXN.SEEM BESIDES", NULL), error);
}

/* It was told, and must still be so: a write in between, or a key that is due, is a no. */
static void a_look_is_compared(void **state)
{
    struct harness *h = *state;
    CHECK(h, "MSET a 1 b 2", "+OK");
    assert_string_equal(harness_nested(h, NOW, "COHORT.TXN.SEEN 3 2", "SET c 1", NULL), "*3 $3 YES :6 *2 +OK +OK");
    CHECK(h, "SET none 2", busy);
    CHECK(h, COMMIT, committed);
    assert_string_equal(harness_nested(h, NOW, "COHORT.TXN.SEEN 3 2", NULL), "*3 $2 NO $7 CHANGED $0 ");
    CHECK(h, "SET d 1 PX 100", "+OK");
    char seen[64];
    (void)snprintf(seen, sizeof(seen), "COHORT.TXN.SEEN %llu 4", (unsigned long long)harness_version(h, "d"));
    reload(h);
    assert_non_null(strstr(harness_nested(h, NOW, seen, NULL), "YES"));
    CHECK(h, "COHORT.TXN.FINISH t 0 ABORT", "*1 $7 ABORTED");
    harness_pass(h, 100);
    assert_string_equal(harness_nested(h, NOW, seen, NULL), "*3 $2 NO $7 CHANGED $0 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_flush_has_every_key, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(one_key_keeps_it_out, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(what_stands_around_it, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(an_abort_leaves_all, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_mistake_flushes_nothing, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(versions_are_checked, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(locks_come_before_the_vote, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(many_keys, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_look_reads_every_key, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_look_sees_what_was_done, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_look_at_what_is_due, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(random_keys, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_look_is_told_what_was_done, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_read_is_told_what_was_done, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_look_is_compared, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(reads_tell_when_all_is_as_it_was, harness_setup, harness_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

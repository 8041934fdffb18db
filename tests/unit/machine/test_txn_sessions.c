/* Keys that end with a session, in transactions over several shards: what a part keeps, takes in, and gives up when the
 * session ends before the outcome. Positions grow by 3. */
#include "harness.h"
#include "machine/keys/dump.h"
#include "machine/session/session_limits.h"
#include "machine/txn/txn.h"

#include <stdio.h>
#include <string.h>

#define PREPARE "COHORT.TXN.PREPARE t 1 0 2 NOW 0 0 0"
#define OVER "-NOSESSION the session has ended, or never was; open another one"

static struct machine_stats stats_of(struct harness *h)
{
    struct machine_stats stats;
    machine_stats(h->machine, &stats);
    return stats;
}

static uint64_t bonded(struct harness *h) { return stats_of(h).session_keys; }

static void reload(struct harness *h)
{
    uint64_t digest = machine_digest(h->machine);
    struct machine *copy = harness_copy(h->machine, 64);
    assert_true(machine_digest(copy) == digest);
    machine_destroy(h->machine);
    h->machine = copy;
}

static void tie(struct harness *h, const char *id, int ordinal)
{
    char command[128];
    char expected[32];
    (void)snprintf(command, sizeof(command), "COHORT.SESSION.TIE %s", id);
    (void)snprintf(expected, sizeof(expected), ":%d", ordinal);
    CHECK(h, command, expected);
    (void)snprintf(command, sizeof(command), "COHORT.SESSION.TIE %s %d", id, ordinal);
    CHECK(h, command, ":1");
}

/* A value as another shard tells it: "v", of the session 9-number. */
static const char *value_of(uint64_t number)
{
    static char text[128];
    uint8_t bytes[] = {ENCODING_EMBSTR | DUMP_NAMED << 4, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 'v'};
    memcpy(bytes + 1, &number, sizeof(number));
    size_t size = 0;
    text[size++] = '"';
    for (size_t i = 0; i < sizeof(bytes); i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "\\x%02x", bytes[i]);
    }
    text[size++] = '"';
    text[size] = '\0';
    return text;
}

static const char *prepare_value(struct harness *h, const char *key, uint64_t number)
{
    char command[256];
    (void)snprintf(command, sizeof(command), "COHORT.TXN.PREPARE t 1 0 2 NOW 0 0 1 %s %s", key, value_of(number));
    return harness_apply(h, command);
}

/* As the same commands would by themselves. */
static void what_commands_keep_is_kept(void **state)
{
    struct harness *h = *state;
    tie(h, "9-1", 1);
    CHECK(h, "SET kept v SESSION 9-1", "+OK");
    CHECK(h, "SET lost v SESSION 9-1", "+OK");
    CHECK(h, "SET moved v SESSION 9-1", "+OK");
    assert_string_equal(harness_nested(h, PREPARE, "APPEND kept w", "SET lost w", "RENAME moved there",
                                       "SET given v SESSION 9-1", "SET none v SESSION 9-2", NULL),
                        "*3 $3 YES :18 *5 :2 +OK +OK +OK -NOSESSION the session has ended, or this shard has nothing "
                        "of it yet; send one command with SESSION for a key of this shard outside of scripts and "
                        "LOCK.GUARD first");
    reload(h);
    CHECK(h, "COHORT.TXN.FINISH t 0 COMMIT", "*1 $9 COMMITTED");
    assert_int_equal(bonded(h), 3);
    reload(h);
    CHECK(h, "COHORT.SESSION.END 9-1", "*1 :1");
    CHECK(h, "EXISTS kept there given moved", ":0");
    CHECK(h, "GET lost", "$1 w");
}

/* A session that ends between vote and outcome: its writes end with it, all others stay. */
static void an_end_before_the_outcome(void **state)
{
    struct harness *h = *state;
    tie(h, "9-1", 1);
    CHECK(h, "SET kept v SESSION 9-1", "+OK");
    assert_non_null(
        strstr(harness_nested(h, PREPARE, "APPEND kept w", "SET given v SESSION 9-1", "SET other v", NULL), "YES"));
    CHECK(h, "COHORT.SESSION.END 9-1", "*1 :1");
    assert_int_equal(stats_of(h).session_ties, 0);
    reload(h);
    CHECK(h, "COHORT.TXN.FINISH t 0 COMMIT", "*1 $9 COMMITTED");
    CHECK(h, "EXISTS kept given", ":0");
    CHECK(h, "GET other", "$1 v");
    assert_int_equal(bonded(h), 0);
    tie(h, "9-1", 2); /* whatever asks for it now is not what wrote then */
    assert_int_equal(bonded(h), 0);
}

/* What comes from another shard names the session; it votes no unless this one is tied to it. */
static void values_bring_their_sessions(void **state)
{
    struct harness *h = *state;
    assert_string_equal(prepare_value(h, "k", 1), "*3 $2 NO $7 SESSION $1 k");
    CHECK(h, "COHORT.SESSION.TIE 9-1", ":1");
    assert_string_equal(prepare_value(h, "k", 1), "*3 $2 NO $7 SESSION $1 k");
    CHECK(h, "COHORT.SESSION.TIE 9-1 1", ":1");
    assert_non_null(strstr(prepare_value(h, "k", 1), "YES"));
    CHECK(h, "COHORT.TXN.FINISH t 0 COMMIT", "*1 $9 COMMITTED");
    CHECK(h, "GET k", "$1 v");
    assert_int_equal(bonded(h), 1);
    CHECK(h, "COHORT.SESSION.END 9-1", "*1 :1");
    CHECK(h, "EXISTS k", ":0");
    assert_string_equal(prepare_value(h, "k", 1), "*3 $2 NO $7 SESSION $1 k");
    assert_string_equal(prepare_value(h, "k", UINT64_MAX), "*3 $2 NO $7 SESSION $1 k");
}

static void no_more_keys_than_a_session_may_have(void **state)
{
    struct harness *h = *state;
    char command[128];
    tie(h, "9-1", 1);
    for (int i = 0; i < SESSION_CLAIMS; i++) {
        (void)snprintf(command, sizeof(command), "SET k%d v SESSION 9-1", i);
        (void)harness_apply(h, command);
    }
    assert_string_equal(prepare_value(h, "more", 1), "*3 $2 NO $5 BONDS $4 more");
    assert_string_equal(harness_nested(h, PREPARE, "SET more v SESSION 9-1", NULL), "*3 $2 NO $5 BONDS $4 more");
    CHECK(h, "COPY k1 more",
          "-BUSY this session has 16384 keys in this shard, which is the most; delete some, or open another one");
    assert_non_null(strstr(prepare_value(h, "k7", 1), "YES")); /* one that it has */
    CHECK(h, "COHORT.TXN.FINISH t 0 COMMIT", "*1 $9 COMMITTED");
    assert_int_equal(bonded(h), SESSION_CLAIMS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_commands_keep_is_kept, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(an_end_before_the_outcome, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(values_bring_their_sessions, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(no_more_keys_than_a_session_may_have, harness_setup, harness_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

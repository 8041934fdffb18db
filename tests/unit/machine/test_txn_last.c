/* Home votes last: COHORT.TXN.LAST opens, prepares home's part and commits in one entry, or changes nothing
 * (src/machine/txn/README.md). Home is shard 1; the shards 2 and 3 have voted yes at the positions 70 and 71. */
#include "base/number.h"
#include "harness.h"
#include "machine/txn/txn.h"

#include <stdio.h>

#define MADE "~1.0.1.1.1"
#define LAST(id, epoch, begun) "COHORT.TXN.LAST " id " 1 " epoch " " begun " 3 1 2 3 3 0 70 71 0 0"
#define NOTHING "*3 $2 NO $7 REFUSED $0 "

static const struct homes *homes_of(const struct harness *h) { return &machine_txns(h->machine)->homes; }
static const struct parts *parts_of(const struct harness *h) { return &machine_txns(h->machine)->parts; }

static enum home_state state_of(const struct harness *h, const char *id)
{
    const struct home *home = homes_find(homes_of(h), slice_from_string(id));
    return home == NULL ? HOME_ABSENT : (enum home_state)home->state;
}

/* It is decided and visible at home at once, and no lock is left there; the others are told as after a DECIDE. */
static void its_yes_is_the_decision(void **state)
{
    struct harness *h = *state;
    h->term = 5;
    (void)harness_apply(h, "SET a 1");
    assert_string_equal(harness_nested(h, LAST(MADE, "5", "0"), "INCR a", "SET b x", "GET a", NULL),
                        "*3 $3 YES :6 *3 :2 +OK $1 2");
    CHECK(h, "MGET a b", "*2 $1 2 $1 x");
    assert_int_equal(harness_version(h, "a"), 6);
    assert_int_equal(harness_version(h, "b"), 6);
    assert_true(lock_table_empty(&parts_of(h)->locks));
    assert_int_equal(parts_of(h)->prepared_count, 0);
    assert_int_equal(state_of(h, MADE), HOME_COMMIT);
    const struct home *home = homes_find(homes_of(h), slice_from_string(MADE));
    assert_int_equal(home->epoch, 5);
    assert_int_equal(home->done_count, 1);
    assert_true(home->participants[0].done && home->participants[0].vote == 6);
    assert_true(home->participants[1].vote == 70 && home->participants[2].vote == 71);
    CHECK(h, "COHORT.TXN.RESOLVE " MADE, "*3 $6 COMMIT :5 :0");
    CHECK(h, "COHORT.TXN.DONE " MADE " 2 3", "*1 $4 DONE");
}

/* What it replied is kept for whoever has lost it, also over snapshots, when it is little and the same everywhere. */
static void its_replies_are_kept(void **state)
{
    struct harness *h = *state;
    static const char *const too_much[] = {"MGET long long long long long", "HGETALL a", "TTL b", "RANDOMKEY"};
    (void)harness_apply(h, "SETRANGE long 999 x");
    (void)harness_apply(h, "SET b x");
    assert_non_null(strstr(harness_nested(h, LAST(MADE, "0", "0"), "INCR a", "GET b", "INCR b", NULL), "YES"));
    struct machine *copy = harness_copy(h->machine, 10);
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    machine_destroy(h->machine);
    h->machine = copy;
#define KEPT "$57 :1 $1 x -ERR value is not an integer or out of range "
    assert_string_equal(harness_apply(h, "COHORT.TXN.RESOLVE " MADE " REPLIES"), "*4 $6 COMMIT :0 :0 " KEPT);
    CHECK(h, "COHORT.TXN.DONE " MADE " 2 3", "*1 $4 DONE");
    assert_string_equal(harness_apply(h, "COHORT.TXN.RESOLVE " MADE " REPLIES"), "*4 $6 COMMIT :0 :1 " KEPT);
    CHECK(h, "COHORT.TXN.RESOLVE " MADE, "*3 $6 COMMIT :0 :1");
    CHECK(h, "COHORT.TXN.RESOLVE " MADE " ALL", "-ERR malformed command of a transaction");
    for (int i = 0; i < 4; i++) {
        char text[128];
        (void)snprintf(text, sizeof(text), "COHORT.TXN.LAST ~1.0.1.1.1%d 1 0 0 2 1 2 2 0 70 0 0", 2 * i + 1);
        assert_non_null(strstr(harness_nested(h, text, "INCR n", too_much[i], NULL), "YES"));
        (void)snprintf(text, sizeof(text), "COHORT.TXN.RESOLVE ~1.0.1.1.1%d REPLIES", 2 * i + 1);
        CHECK(h, text, "*4 $6 COMMIT :0 :0 $-1");
    }
    CHECK(h, "COHORT.TXN.RESOLVE ~1.0.1.1.2 REPLIES", "*4 $5 ABORT :0 :1 $-1");
}

/* Those that are DONE lose them when there is no room; those that are not keep them, and then no more is kept. */
static void replies_are_bounded(void **state)
{
    enum { FIT = TXN_REPLIES_BYTES / 4000 };
    struct harness *h = *state;
    char text[128];
    (void)harness_apply(h, "SETRANGE long 3989 x");
    for (int i = 0; i < 2 * FIT + 1; i++) {
        (void)snprintf(text, sizeof(text), "COHORT.TXN.LAST ~1.0.1.1.1%x1 1 0 0 2 1 2 2 0 70 0 0", i);
        assert_non_null(strstr(harness_nested(h, text, "GET long", NULL), "YES"));
        if (i < FIT) {
            (void)snprintf(text, sizeof(text), "COHORT.TXN.DONE ~1.0.1.1.1%x1 2", i);
            CHECK(h, text, "*1 $4 DONE");
        }
        assert_true(homes_of(h)->reply_bytes <= TXN_REPLIES_BYTES);
    }
    for (int i = 0; i < 2 * FIT + 1; i++) {
        (void)snprintf(text, sizeof(text), "~1.0.1.1.1%x1", i);
        const struct home *home = homes_find(homes_of(h), slice_from_string(text));
        assert_int_equal(home->replies.size != 0, i >= FIT && i < 2 * FIT);
    }
    struct machine *copy = harness_copy(h->machine, 1000);
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    machine_destroy(copy);
}

/* Home need not have a part, nor anybody else. */
static void parts_at_home_and_elsewhere(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COHORT.TXN.LAST ~1.0.1.1.1 1 0 0 1 2 1 70 0 0", "*3 $3 YES :3 *0");
    assert_int_equal(state_of(h, "~1.0.1.1.1"), HOME_COMMIT);
    CHECK(h, "COHORT.TXN.DONE ~1.0.1.1.1 2", "*1 $4 DONE");
    CHECK(h, "COHORT.TXN.LAST ~1.0.1.1.2 1 0 0 1 1 1 0 0 0", "*3 $3 YES :9 *0");
    assert_int_equal(state_of(h, "~1.0.1.1.2"), HOME_DONE);
    assert_int_equal(parts_of(h)->prepared_count, 0);
}

/* A vote is named of everybody but home. */
static void every_vote_is_named(void **state)
{
    struct harness *h = *state;
    static const char malformed[] = "-ERR malformed command of a transaction";
    CHECK(h, "COHORT.TXN.LAST ~1.0.1.1.1 1 0 0 3 1 2 3 3 0 70 0 0 0", malformed);
    CHECK(h, "COHORT.TXN.LAST ~1.0.1.1.1 1 0 0 3 1 2 3 3 9 70 71 0 0", malformed);
    CHECK(h, "COHORT.TXN.LAST ~1.0.1.1.1 1 0 0 3 1 2 3 2 0 70 0 0 0", malformed);
    CHECK(h, "COHORT.TXN.LAST ~1.0.1.1.1 1 0 0 0 0 0 0 0 0 0 0", malformed);
    CHECK(h, "COHORT.TXN.LAST ~1.0.1.1.1 1 0 0 2 2 3 2 70 -1 0 0", malformed);
    CHECK(h, "COHORT.TXN.LAST ~1.0.1.1.1 1 0 -1 2 2 3 2 70 71 0 0", malformed);
    assert_int_equal(state_of(h, "~1.0.1.1.1"), HOME_ABSENT);
}

/* Its no leaves nothing: neither a record nor a lock nor a write. The same may be said again. */
static void its_no_changes_nothing(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "SET a 1");
    (void)harness_nested(h, "COHORT.TXN.PREPARE t 2 0 2 NOW 2 1 2 0 0", "SET b 1", NULL);
    uint64_t digest = machine_digest(h->machine);
    assert_string_equal(harness_nested(h, LAST(MADE, "0", "0"), "SET a 2", "SET b 2", NULL), "*3 $2 NO $6 LOCKED $1 t");
    assert_string_equal(harness_nested(h, "COHORT.TXN.LAST " MADE " 1 0 0 2 1 2 2 0 70 1 a 9 0", "SET a 2", NULL),
                        "*3 $2 NO $7 CHANGED $1 a");
    assert_string_equal(harness_nested(h, LAST(MADE, "7", "0"), "SET a 2", NULL), "*3 $2 NO $5 EPOCH $1 0");
    assert_string_equal(harness_nested(h, LAST("name", "0", "0"), "SET a 2", NULL), NOTHING);
    assert_int_equal(machine_digest(h->machine), digest);
    assert_int_equal(state_of(h, MADE), HOME_ABSENT);
    CHECK(h, "COHORT.TXN.FINISH t 0 COMMIT", "*1 $9 COMMITTED");
    assert_non_null(strstr(harness_nested(h, LAST(MADE, "0", "0"), "SET a 2", "SET b 2", NULL), "YES"));
    CHECK(h, "MGET a b", "*2 $1 2 $1 2");
}

/* Who asked before has made an abort of it. */
static void absence_was_no_answer(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COHORT.TXN.RESOLVE " MADE, "*3 $5 ABORT :0 :1");
    assert_string_equal(harness_nested(h, LAST(MADE, "0", "0"), "SET a 1", NULL), NOTHING);
    CHECK(h, "COHORT.TXN.OPEN begun 0 2 60000", "*3 $2 OK :0 :9");
    CHECK(h, "COHORT.TXN.RESOLVE begun", "*3 $5 ABORT :0 :1");
    assert_string_equal(harness_nested(h, LAST("begun", "0", "9"), "SET a 1", NULL), NOTHING);
    CHECK(h, "EXISTS a", ":0");
    /* Nor is it committed twice. */
    assert_non_null(strstr(harness_nested(h, LAST("~1.0.1.1.2", "0", "0"), "INCR a", NULL), "YES"));
    assert_string_equal(harness_nested(h, LAST("~1.0.1.1.2", "0", "0"), "INCR a", NULL), NOTHING);
    CHECK(h, "GET a", "$1 1");
}

/* What TXN.BEGIN has opened is gone on from, if it is that very record and nobody was elected since. */
static void it_goes_on_from_begun(void **state)
{
    struct harness *h = *state;
    h->term = 4;
    CHECK(h, "COHORT.TXN.OPEN t 4 2 60000 KEPT 70000", "*3 $2 OK :4 :3");
    harness_pass(h, 100);
    assert_string_equal(harness_nested(h, LAST("t", "4", "0"), "SET a 1", NULL), NOTHING);
    assert_string_equal(harness_nested(h, LAST("t", "4", "2"), "SET a 1", NULL), NOTHING);
    h->term = 5;
    assert_string_equal(harness_nested(h, LAST("t", "4", "3"), "SET a 1", NULL), "*3 $2 NO $5 EPOCH $1 5");
    h->term = 4;
    assert_int_equal(state_of(h, "t"), HOME_BEGUN);
    assert_non_null(strstr(harness_nested(h, LAST("t", "4", "3"), "SET a 1", NULL), "YES"));
    assert_int_equal(state_of(h, "t"), HOME_COMMIT);
    CHECK(h, "COHORT.TXN.DONE t 2 3", "*1 $4 DONE");
    harness_pass(h, 69999); /* it is kept as BEGIN said */
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.OPEN t 4 2 1000 1"), "EXISTS"));
    harness_pass(h, 1);
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.OPEN t 4 2 1000 1"), "OK"));
}

/* A rolled back one has ended, and so has one whose time was over. */
static void begun_may_have_ended(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COHORT.TXN.OPEN t 0 2 60000", "*3 $2 OK :0 :3");
    CHECK(h, "COHORT.TXN.DECIDE t 0 ABORT \"rolled back\"", "*2 $5 ABORT $11 rolled back");
    assert_string_equal(harness_nested(h, LAST("t", "0", "3"), "SET a 1", NULL), NOTHING);
    CHECK(h, "COHORT.TXN.RESOLVE t", "*3 $5 ABORT :0 :1");
}

static void old_ids_and_full_tables(void **state)
{
    struct harness *h = *state;
    char text[128];
    for (int i = 0; i <= TXN_DONE; i++) {
        (void)snprintf(text, sizeof(text), "COHORT.TXN.RESOLVE ~1.%x.1.1.%x", i, i);
        (void)harness_apply(h, text);
    }
    assert_int_equal(homes_of(h)->watermark, 1);
    (void)snprintf(text, sizeof(text), "*3 $2 NO $3 OLD $5 %d", 3 * (TXN_DONE + 2));
    assert_string_equal(harness_nested(h, LAST("~1.0.1.1.fff", "0", "0"), "SET a 1", NULL), text);
    for (int i = 0; i < TXN_OPEN; i++) {
        (void)snprintf(text, sizeof(text), "COHORT.TXN.OPEN t%d 0 2 1000 1", i);
        (void)harness_apply(h, text);
    }
    assert_string_equal(harness_nested(h, LAST("~1.1.1.1.fff", "0", "0"), "SET a 1", NULL), "*3 $2 NO $4 FULL $0 ");
    CHECK(h, "EXISTS a", ":0");
}

/* A replica that writes no replies comes to the same, and a snapshot carries it. */
static void replicas_are_equal(void **state)
{
    struct harness *h = *state;
    struct harness other;
    harness_init(&other);
    other.discard = true;
    for (int i = 0; i < 2; i++) {
        struct harness *each = i == 0 ? h : &other;
        (void)harness_apply(each, "SET a 1");
        (void)harness_nested(each, LAST(MADE, "0", "0"), "INCR a", "SET b x", NULL);
    }
    assert_int_equal(machine_digest(h->machine), machine_digest(other.machine));
    struct machine *copy = harness_copy(h->machine, 10);
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    machine_destroy(copy);
    harness_deinit(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(its_yes_is_the_decision, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(its_replies_are_kept, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(replies_are_bounded, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(parts_at_home_and_elsewhere, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(every_vote_is_named, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(its_no_changes_nothing, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(absence_was_no_answer, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(it_goes_on_from_begun, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(begun_may_have_ended, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(old_ids_and_full_tables, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(replicas_are_equal, harness_setup, harness_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

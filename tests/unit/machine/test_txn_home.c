/* Home records, by the rules of src/machine/txn/README.md. */
#include "base/number.h"
#include "harness.h"
#include "machine/txn/txn.h"

#include <stdio.h>

static const struct homes *homes_of(const struct harness *h) { return &machine_txns(h->machine)->homes; }

static enum home_state state_of(const struct harness *h, const char *id)
{
    const struct home *home = homes_find(homes_of(h), slice_from_string(id));
    return home == NULL ? HOME_ABSENT : (enum home_state)home->state;
}

/* Rule 1: the epoch is the term of the entry; what was opened in another is refused and may be opened anew. */
static void open_needs_the_term(void **state)
{
    struct harness *h = *state;
    h->term = 7;
    CHECK(h, "COHORT.TXN.OPEN a 6 2 1000 1 2", "*3 $5 EPOCH :7 :3");
    assert_int_equal(state_of(h, "a"), HOME_ABSENT);
    CHECK(h, "COHORT.TXN.OPEN a 7 2 1000 1 2", "*3 $2 OK :7 :6");
    assert_int_equal(state_of(h, "a"), HOME_OPEN);
    CHECK(h, "COHORT.TXN.OPEN a 7 2 1000 1 2", "*3 $6 EXISTS :7 :9");
}

/* Rule 2: a commit needs an OPEN of the same epoch and the vote of each of its participants, of no one else. */
static void commit_needs_every_vote(void **state)
{
    struct harness *h = *state;
    h->term = 3;
    CHECK(h, "COHORT.TXN.OPEN a 3 2 1000 1 2", "*3 $2 OK :3 :3");
    CHECK(h, "COHORT.TXN.DECIDE a 3 COMMIT 1 10", "*2 $4 OPEN $0 ");
    CHECK(h, "COHORT.TXN.DECIDE a 3 COMMIT 1 10 1 10", "*2 $4 OPEN $0 ");
    CHECK(h, "COHORT.TXN.DECIDE a 3 COMMIT 1 10 3 11", "*2 $4 OPEN $0 ");
    CHECK(h, "COHORT.TXN.DECIDE a 3 COMMIT 1 10 2 0", "*2 $4 OPEN $0 ");
    CHECK(h, "COHORT.TXN.DECIDE a 2 COMMIT 1 10 2 11", "*2 $4 OPEN $0 ");
    CHECK(h, "COHORT.TXN.DECIDE a 3 COMMIT 1 10 2 11", "*2 $6 COMMIT $0 ");
    CHECK(h, "COHORT.TXN.DECIDE a 3 ABORT late", "*2 $6 COMMIT $0 ");
    CHECK(h, "COHORT.TXN.RESOLVE a", "*3 $6 COMMIT :3 :0");
}

/* The epoch stays that of the OPEN: a later leader of home decides what an earlier one opened. */
static void a_later_term_decides(void **state)
{
    struct harness *h = *state;
    h->term = 3;
    CHECK(h, "COHORT.TXN.OPEN a 3 2 1000 1", "*3 $2 OK :3 :3");
    h->term = 4;
    CHECK(h, "COHORT.TXN.DECIDE a 3 COMMIT 1 10", "*2 $6 COMMIT $0 ");
}

static void abort_is_final(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COHORT.TXN.OPEN a 0 2 1000 1", "*3 $2 OK :0 :3");
    CHECK(h, "COHORT.TXN.DECIDE a 0 ABORT \"key k changed\"", "*2 $5 ABORT $13 key k changed");
    CHECK(h, "COHORT.TXN.DECIDE a 0 COMMIT 1 10", "*2 $5 ABORT $13 key k changed");
    CHECK(h, "COHORT.TXN.DONE a 1", "*1 $4 DONE");
    CHECK(h, "COHORT.TXN.RESOLVE a", "*3 $5 ABORT :0 :1");
    CHECK(h, "COHORT.TXN.OPEN a 0 2 1000 1", "*3 $6 EXISTS :0 :18");
}

/* Rule 3: who asks about what nobody knows aborts it; its OPEN comes too late. So does a DECIDE. */
static void absence_is_no_answer(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COHORT.TXN.RESOLVE a", "*3 $5 ABORT :0 :1");
    CHECK(h, "COHORT.TXN.OPEN a 0 2 1000 1", "*3 $6 EXISTS :0 :6");
    const char *late = "*2 $5 ABORT $39 it was asked about before it was opened";
    CHECK(h, "COHORT.TXN.DECIDE b 0 COMMIT 1 10", late);
    CHECK(h, "COHORT.TXN.RESOLVE b", "*3 $5 ABORT :0 :1");
}

/* Rule 3, where a node is lost between the PREPAREs and the OPEN of an interactive transaction: its parts must not stay
 * locked until the time of BEGUN is over. */
static void begun_is_no_answer(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COHORT.TXN.OPEN a 0 2 60000", "*3 $2 OK :0 :3");
    CHECK(h, "COHORT.TXN.RESOLVE a", "*3 $5 ABORT :0 :1");
    CHECK(h, "COHORT.TXN.OPEN a 0 2 1000 1 2", "*3 $6 EXISTS :0 :9");
    CHECK(h, "COHORT.TXN.DECIDE a 0 COMMIT 1 10 2 11", "*2 $5 ABORT $39 it was asked about before it was opened");
}

static void done_when_all_have_acknowledged(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COHORT.TXN.OPEN a 0 2 1000 1 2 3", "*3 $2 OK :0 :3");
    CHECK(h, "COHORT.TXN.DONE a 1 2 3", "*1 $4 OPEN");
    CHECK(h, "COHORT.TXN.DECIDE a 0 COMMIT 1 1 2 1 3 1", "*2 $6 COMMIT $0 ");
    CHECK(h, "COHORT.TXN.DONE a 1 3 3 9", "*1 $6 COMMIT");
    CHECK(h, "COHORT.TXN.DONE a 2", "*1 $4 DONE");
    CHECK(h, "COHORT.TXN.DONE b 2", "*1 $6 ABSENT");
}

/* An interactive transaction takes its id first. */
static void begun_becomes_open(void **state)
{
    struct harness *h = *state;
    h->term = 2;
    CHECK(h, "COHORT.TXN.OPEN a 2 2 1000", "*3 $2 OK :2 :3");
    assert_int_equal(state_of(h, "a"), HOME_BEGUN);
    CHECK(h, "COHORT.TXN.OPEN a 2 2 1000", "*3 $6 EXISTS :2 :6");
    h->term = 3;
    CHECK(h, "COHORT.TXN.OPEN a 2 3 1000 1 2", "*3 $5 EPOCH :3 :9");
    CHECK(h, "COHORT.TXN.OPEN a 3 3 1000 1 2", "*3 $2 OK :3 :12");
    assert_int_equal(state_of(h, "a"), HOME_OPEN);
    CHECK(h, "COHORT.TXN.OPEN b 3 2 1000", "*3 $2 OK :3 :15");
    CHECK(h, "COHORT.TXN.DECIDE b 3 ABORT \"rolled back\"", "*2 $5 ABORT $11 rolled back");
    assert_int_equal(state_of(h, "b"), HOME_DONE);
}

/* Rule 4: what Cohort named is forgotten behind a watermark, and refused for ever. */
static void the_watermark_refuses_what_is_forgotten(void **state)
{
    struct harness *h = *state;
    char text[256];
    for (int i = 0; i <= TXN_DONE; i++) {
        (void)snprintf(text, sizeof(text), "COHORT.TXN.OPEN ~1.%x.1.1.%x 0 2 1000 1", i, i);
        (void)harness_apply(h, text);
        (void)snprintf(text, sizeof(text), "COHORT.TXN.DECIDE ~1.%x.1.1.%x 0 ABORT x", i, i);
        (void)harness_apply(h, text);
        (void)snprintf(text, sizeof(text), "COHORT.TXN.DONE ~1.%x.1.1.%x 1", i, i);
        (void)harness_apply(h, text);
    }
    assert_int_equal(homes_of(h)->done_count, TXN_DONE);
    assert_int_equal(homes_of(h)->watermark, 1);
    CHECK(h, "COHORT.TXN.RESOLVE ~1.0.1.1.0", "*2 $3 OLD $0 ");
    CHECK(h, "COHORT.TXN.RESOLVE ~1.1.1.1.1", "*3 $5 ABORT :0 :1");
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.OPEN ~1.0.1.1.0 0 2 1000 1"), "$3 OLD"));
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.OPEN ~1.0.1.1.fff 0 2 1000 1"), "$3 OLD"));
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.OPEN ~1.1.1.1.fff 0 2 1000 1"), "$2 OK"));
}

/* … or for as long as its OPEN said. Every replica does as the log says, whatever its own setting is. */
static void clients_ids_are_kept_as_said(void **state)
{
    struct harness *h = *state;
    static const char malformed[] = "-ERR malformed command of a transaction";
    CHECK(h, "COHORT.TXN.OPEN short 0 2 1000 1 KEPT 60000", "*3 $2 OK :0 :3");
    CHECK(h, "COHORT.TXN.OPEN a 0 2 1000 1 KEPT 59999", malformed);
    CHECK(h, "COHORT.TXN.OPEN a 0 2 1000 1 KEPT 604800001", malformed);
    CHECK(h, "COHORT.TXN.OPEN a 0 2 1000 1 KEPT", malformed);
    (void)harness_apply(h, "COHORT.TXN.OPEN begun 0 2 1000 KEPT 70000");
    assert_int_equal(state_of(h, "begun"), HOME_BEGUN);
    (void)harness_apply(h, "COHORT.TXN.OPEN begun 0 2 1000 1 KEPT 120000"); /* the last word holds */
    (void)harness_apply(h, "COHORT.TXN.DECIDE short 0 ABORT x");
    (void)harness_apply(h, "COHORT.TXN.DONE short 1");
    (void)harness_apply(h, "COHORT.TXN.DECIDE begun 0 ABORT x");
    (void)harness_apply(h, "COHORT.TXN.DONE begun 1");
    struct machine *copy = harness_copy(h->machine, 10); /* a snapshot carries it */
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    machine_destroy(h->machine);
    h->machine = copy;
    harness_pass(h, 59999);
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.OPEN short 0 2 1000 1"), "EXISTS"));
    harness_pass(h, 1);
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.OPEN short 0 2 1000 1"), "OK"));
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.OPEN begun 0 2 1000 1"), "EXISTS"));
    harness_pass(h, 60000);
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.OPEN begun 0 2 1000 1"), "OK"));
}

/* What a client named is remembered for a day, and its reuse refused. */
static void clients_ids_are_kept(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COHORT.TXN.OPEN job 0 2 1000 1", "*3 $2 OK :0 :3");
    CHECK(h, "COHORT.TXN.DECIDE job 0 COMMIT 1 1", "*2 $6 COMMIT $0 ");
    harness_pass(h, TXN_ID_KEPT_MS);
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.OPEN job 0 2 1000 1"), "EXISTS")); /* not done yet */
    CHECK(h, "COHORT.TXN.DONE job 1", "*1 $4 DONE");
    harness_pass(h, TXN_ID_KEPT_MS - 1);
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.OPEN job 0 2 1000 1"), "EXISTS"));
    harness_pass(h, 1);
    (void)harness_apply(h, "COHORT.TXN.OPEN next 0 2 1000 1"); /* whoever opens, forgets */
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.OPEN job 0 2 1000 1"), "OK"));
}

static void open_transactions_are_bounded(void **state)
{
    struct harness *h = *state;
    char text[128];
    for (int i = 0; i < TXN_OPEN; i++) {
        (void)snprintf(text, sizeof(text), "COHORT.TXN.OPEN t%d 0 2 1000 1", i);
        assert_non_null(strstr(harness_apply(h, text), "$2 OK"));
    }
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.OPEN more 0 2 1000 1"), "$4 FULL"));
    /* Whoever asks holds locks, and must not hold them until others are done. */
    CHECK(h, "COHORT.TXN.RESOLVE more", "*3 $5 ABORT :0 :1");
    CHECK(h, "COHORT.TXN.DECIDE ~1.0.1.1.1 0 ABORT no", "*2 $5 ABORT $39 it was asked about before it was opened");
    (void)harness_apply(h, "COHORT.TXN.DECIDE t0 0 ABORT x");
    (void)harness_apply(h, "COHORT.TXN.DONE t0 1");
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.OPEN last 0 2 1000 1"), "$2 OK"));
}

static void ids_are_checked(void **state)
{
    struct harness *h = *state;
    const char *error = "-ERR malformed command of a transaction";
    CHECK(h, "COHORT.TXN.RESOLVE \"\"", error);
    CHECK(h, "COHORT.TXN.RESOLVE ~1.2", error);
    CHECK(h, "COHORT.TXN.RESOLVE ~0.1.1.1.1", error);
    CHECK(h, "COHORT.TXN.RESOLVE ~1.01.1.1.1", error);
    CHECK(h, "COHORT.TXN.OPEN a 0 4 1000 1", error);
    CHECK(h, "COHORT.TXN.OPEN a 0 2 1000 0", error);
    CHECK(h, "COHORT.TXN.OPEN a 0 2 -1 1", error);
    struct txn_id id = {
        .made = true, .home = 1024, .position = INT64_MAX, .node = 3, .start = UINT64_MAX, .sequence = 0};
    for (int i = 0; i < 4; i++) {
        char text[TXN_ID_BYTES];
        id.runs = (i & 1) != 0;
        id.sequence = (i & 2) != 0 ? INT64_MAX : 0;
        size_t size = txn_id_make(text, &id);
        struct txn_id parsed;
        assert_true(txn_id_parse(slice_of(text, size), &parsed));
        assert_true(parsed.made);
        assert_int_equal(parsed.home, id.home);
        assert_int_equal(parsed.position, id.position);
        assert_int_equal(parsed.node, id.node);
        assert_int_equal(parsed.start, id.start);
        assert_int_equal(parsed.sequence, id.sequence);
        assert_int_equal(parsed.runs, id.runs);
    }
}

/* Snapshots carry every state, and load to the same digest. */
static void snapshots_carry_homes(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "COHORT.TXN.OPEN begun 0 2 1000");
    (void)harness_apply(h, "COHORT.TXN.OPEN open 0 3 1000 1 2");
    (void)harness_apply(h, "COHORT.TXN.OPEN committed 0 2 1000 1 2");
    (void)harness_apply(h, "COHORT.TXN.DECIDE committed 0 COMMIT 1 5 2 6");
    (void)harness_apply(h, "COHORT.TXN.DONE committed 2");
    (void)harness_apply(h, "COHORT.TXN.OPEN aborted 0 2 1000 1");
    (void)harness_apply(h, "COHORT.TXN.DECIDE aborted 0 ABORT why");
    (void)harness_apply(h, "COHORT.TXN.RESOLVE asked");
    struct machine *copy = harness_copy(h->machine, 10);
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    machine_destroy(h->machine);
    h->machine = copy;
    CHECK(h, "COHORT.TXN.DONE committed 1", "*1 $4 DONE");
    CHECK(h, "COHORT.TXN.RESOLVE aborted", "*3 $5 ABORT :0 :0");
    assert_int_equal(state_of(h, "begun"), HOME_BEGUN);
}

static void status_tells(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COHORT.TXN.STATUS a", "$-1");
    (void)harness_apply(h, "COHORT.TXN.OPEN a 0 3 1000 1");
    assert_string_equal(
        harness_read(h, "COHORT.TXN.STATUS a"),
        "*20 $2 id $1 a $8 protocol $3 3PC $5 state $4 OPEN $7 outcome $0  $6 reason $0  $5 epoch :0 $6 age_ms "
        ":0 $10 decided_ms $-1 $7 done_ms $-1 $12 participants *1 *3 :1 :0 :0");
    assert_string_equal(
        harness_read(h, "COHORT.TXN.STATUS a BRIEF"),
        "*18 $2 id $1 a $8 protocol $3 3PC $5 state $4 OPEN $7 outcome $0  $6 reason $0  $5 epoch :0 $6 age_ms "
        ":0 $10 decided_ms $-1 $7 done_ms $-1");
    CHECK(h, "COHORT.TXN.STATUS b BRIEF", "$-1");
    assert_non_null(strstr(harness_read(h, "COHORT.TXN.STATUS a LONG"), "-ERR malformed"));
    assert_non_null(strstr(harness_read(h, "COHORT.TXN.LIST 0 10 ANY 0"), "*2 $1 0 *1 *20 $2 id $1 a"));
}

static void list_chooses(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "COHORT.TXN.OPEN begun 0 2 1000");
    harness_pass(h, 500);
    (void)harness_apply(h, "COHORT.TXN.OPEN open 0 2 1000 1");
    assert_non_null(strstr(harness_read(h, "COHORT.TXN.LIST 0 10 BEGUN 0"), "*2 $1 0 *1 *20 $2 id $5 begun"));
    assert_non_null(strstr(harness_read(h, "COHORT.TXN.LIST 0 10 open 0"), "*2 $1 0 *1 *20 $2 id $4 open"));
    assert_non_null(strstr(harness_read(h, "COHORT.TXN.LIST 0 10 ANY 500"), "*2 $1 0 *1 *20 $2 id $5 begun"));
    assert_string_equal(harness_read(h, "COHORT.TXN.LIST 0 10 ANY 501"), "*2 $1 0 *0");
    assert_string_equal(harness_read(h, "COHORT.TXN.LIST 0 10 COMMIT 0"), "*2 $1 0 *0");
    assert_non_null(strstr(harness_read(h, "COHORT.TXN.LIST 0 10 ABSENT 0"), "-ERR malformed"));
    assert_non_null(strstr(harness_read(h, "COHORT.TXN.LIST 0 10 ANY -1"), "-ERR malformed"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(open_needs_the_term, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(commit_needs_every_vote, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_later_term_decides, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(abort_is_final, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(absence_is_no_answer, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(begun_is_no_answer, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(done_when_all_have_acknowledged, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(begun_becomes_open, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(the_watermark_refuses_what_is_forgotten, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(clients_ids_are_kept_as_said, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(clients_ids_are_kept, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(open_transactions_are_bounded, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(ids_are_checked, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(snapshots_carry_homes, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(status_tells, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(list_chooses, harness_setup, harness_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

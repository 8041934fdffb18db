/* External participants, by the rules of src/machine/txn/branch.h. */
#include "harness.h"
#include "machine/txn/txn.h"

#include <stdio.h>

#define CLUSTER "00112233445566778899aabbccddeeff"
#define MADE "~1.1.1.1.2"
#define URL "db://host/money"
#define NO_SUCH "-ERR no such branch is known; it was finished and forgotten, or never joined"
#define OTHERWISE                                                                                                      \
    "-ERR the transaction is committed, so its branch must not be aborted; if it is, set it right by hand and say "    \
    "ABANDONED"

static const struct homes *homes_of(const struct harness *h) { return &machine_txns(h->machine)->homes; }

static const struct home *home_of(const struct harness *h, const char *id)
{
    return homes_find(homes_of(h), slice_from_string(id));
}

/* Begun at 3, joined at 6. */
static void begin(struct harness *h, const char *id)
{
    char text[256];
    (void)snprintf(text, sizeof(text), "COHORT.TXN.OPEN %s 0 2 60000", id);
    CHECK(h, text, "*3 $2 OK :0 :3");
    (void)snprintf(text, sizeof(text), "COHORT.TXN.JOIN %s 3 " URL " bank", id);
    CHECK(h, text, "*3 $6 JOINED :0 :6");
}

/* By its own participant, shard 2. */
static void commit(struct harness *h, const char *id)
{
    char text[256];
    (void)snprintf(text, sizeof(text), "COHORT.TXN.OPEN %s 0 2 60000 2", id);
    (void)harness_apply(h, text);
    (void)snprintf(text, sizeof(text), "COHORT.TXN.DECIDE %s 0 COMMIT 2 1", id);
    CHECK(h, text, "*2 $6 COMMIT $0 ");
}

static void the_same_again_is_the_same(void **state)
{
    struct harness *h = *state;
    begin(h, "a");
    CHECK(h, "COHORT.TXN.JOIN a 3 " URL " bank", "*3 $6 JOINED :0 :6");
    CHECK(h, "COHORT.TXN.JOIN a 3 " URL " bank 77", "*3 $6 JOINED :0 :6");
    CHECK(h, "COHORT.TXN.JOIN a 3 " URL " bank", "*3 $6 JOINED :0 :6");
    CHECK(h, "COHORT.TXN.JOIN a 3 " URL " bank 78", "*3 $5 OTHER :0 :0");
    CHECK(h, "COHORT.TXN.JOIN a 3 db://other bank", "*3 $5 OTHER :0 :0");
    assert_int_equal(home_of(h, "a")->branch_count, 1);
    assert_string_equal(home_of(h, "a")->branches[0].evidence, "77");
}

/* Only while it is begun, and by who began it. */
static void who_may_not_join(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COHORT.TXN.JOIN a 3 " URL " bank", "*3 $4 NONE :0 :0");
    CHECK(h, "COHORT.TXN.OPEN a 0 2 60000", "*3 $2 OK :0 :6");
    CHECK(h, "COHORT.TXN.JOIN a 3 " URL " bank", "*3 $4 NONE :0 :0");
    CHECK(h, "COHORT.TXN.OPEN a 0 2 60000 1 2", "*3 $2 OK :0 :12");
    CHECK(h, "COHORT.TXN.JOIN a 12 " URL " bank", "*3 $4 LATE :0 :0");
    CHECK(h, "COHORT.TXN.OPEN b 0 3 60000", "*3 $2 OK :0 :18");
    CHECK(h, "COHORT.TXN.JOIN b 18 " URL " bank", "*3 $3 3PC :0 :0");
    CHECK(h, "COHORT.TXN.DECIDE b 0 ABORT no", "*2 $5 ABORT $2 no");
    CHECK(h, "COHORT.TXN.JOIN b 18 " URL " bank", "*3 $4 LATE :0 :0");
    const char *const malformed[] = {"bank:1", "0123456789012345678901234567890x", "\"\""};
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        char text[128];
        (void)snprintf(text, sizeof(text), "COHORT.TXN.JOIN a 3 " URL " %s", malformed[i]);
        CHECK(h, text, "-ERR malformed command of a transaction");
    }
    CHECK(h, "COHORT.TXN.JOIN a 3 db://u:secret@h bank", "-ERR malformed command of a transaction");
}

/* Rule 2: a commit is remembered until every branch is finished, whatever else goes; then it may go. */
static void a_commit_waits_for_its_branches(void **state)
{
    struct harness *h = *state;
    begin(h, "a");
    CHECK(h, "COHORT.TXN.JOIN a 3 db://other shop", "*3 $6 JOINED :0 :9");
    CHECK(h, "COHORT.TXN.ENDED a bank 0 6 COMMITTED",
          "-ERR the transaction is not decided yet, so no branch of it may be finished; ask TXN.OUTCOME first");
    commit(h, "a");
    CHECK(h, "COHORT.TXN.DONE a 2", "*1 $6 COMMIT");
    harness_pass(h, TXN_ID_KEPT_MAXIMUM_MS);
    CHECK(h, "COHORT.TXN.OUTCOME a bank 0 6", "*2 $6 COMMIT :0");
    CHECK(h, "COHORT.TXN.OUTCOME a", "*2 $6 COMMIT :0");
    CHECK(h, "COHORT.TXN.ENDED a bank 0 6 ABORTED", OTHERWISE);
    CHECK(h, "COHORT.TXN.ENDED a bank 0 7 COMMITTED", NO_SUCH);
    CHECK(h, "COHORT.TXN.ENDED a bank 0 6 COMMITTED", ":1");
    CHECK(h, "COHORT.TXN.ENDED a bank 0 6 COMMITTED", ":1");
    assert_int_equal(home_of(h, "a")->state, HOME_COMMIT);
    assert_int_equal(homes_of(h)->joined_count, 1);
    CHECK(h, "COHORT.TXN.ENDED a shop 0 9 COMMITTED", ":0");
    assert_int_equal(home_of(h, "a")->state, HOME_DONE);
    assert_int_equal(homes_of(h)->joined_count, 0);
    harness_pass(h, TXN_ID_KEPT_MS);
    (void)harness_apply(h, "COHORT.TXN.OPEN c 0 2 1000 1");
    assert_null(home_of(h, "a"));
}

/* … until its shards have it, too. */
static void shards_are_waited_for(void **state)
{
    struct harness *h = *state;
    begin(h, "a");
    commit(h, "a");
    CHECK(h, "COHORT.TXN.ENDED a bank 0 6 COMMITTED", ":0");
    assert_int_equal(home_of(h, "a")->state, HOME_COMMIT);
    CHECK(h, "COHORT.TXN.DONE a 2", "*1 $4 DONE");
}

/* Presumed abort: an abort does not wait, and its branches hear it when nobody knows it any more. */
static void an_abort_need_not_be_remembered(void **state)
{
    struct harness *h = *state;
    begin(h, "a");
    CHECK(h, "COHORT.TXN.DECIDE a 0 ABORT no", "*2 $5 ABORT $2 no");
    assert_int_equal(home_of(h, "a")->state, HOME_DONE);
    CHECK(h, "COHORT.TXN.OUTCOME a bank 0 6", "*2 $5 ABORT :0");
    CHECK(h, "COHORT.TXN.BRANCHES 0 10 \"\" " CLUSTER,
          "*2 $1 0 *1 *14 $2 id $1 a $6 branch $4 bank $4 name $50 cohort:" CLUSTER ":0.6:a:bank $8 resource $15 " URL
          " $8 evidence $0  $5 state $5 ABORT $6 age_ms :0");
    CHECK(h, "COHORT.TXN.ENDED a bank 0 6 ABORTED", ":0");
    harness_pass(h, TXN_ID_KEPT_MS);
    (void)harness_apply(h, "COHORT.TXN.OPEN c 0 2 1000 1");
    assert_null(home_of(h, "a"));
    CHECK(h, "COHORT.TXN.OUTCOME a bank 0 6", "*2 $5 ABORT :0");
    assert_non_null(home_of(h, "a")); /* and nobody begins it any more while it may matter */
    CHECK(h, "COHORT.TXN.OUTCOME a bank 0 999999", "*2 $9 FORGOTTEN :0");
}

/* Whoever asks does not race a client at work; when its time is over, it hears an abort that is one. */
static void undecided_until_its_time(void **state)
{
    struct harness *h = *state;
    begin(h, "a");
    CHECK(h, "COHORT.TXN.OUTCOME a bank 0 6", "*2 $4 OPEN :60000");
    harness_pass(h, 59999);
    CHECK(h, "COHORT.TXN.OUTCOME a bank 0 6", "*2 $4 OPEN :1");
    harness_pass(h, 1);
    CHECK(h, "COHORT.TXN.OUTCOME a bank 0 6", "*2 $5 ABORT :0");
    CHECK(h, "COHORT.TXN.OPEN a 0 2 60000 2", "*3 $6 EXISTS :0 :18");
    CHECK(h, "COHORT.TXN.DECIDE a 0 COMMIT 2 1", "*2 $5 ABORT $17 its time was over");
}

static void absence_is_no_answer(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COHORT.TXN.OUTCOME a", "*2 $5 ABORT :0");
    CHECK(h, "COHORT.TXN.OPEN a 0 2 60000", "*3 $6 EXISTS :0 :6");
    char text[64];
    for (int i = 0; i <= TXN_DONE; i++) {
        (void)snprintf(text, sizeof(text), "COHORT.TXN.RESOLVE ~1.%x.1.1.%x", i, i);
        (void)harness_apply(h, text);
    }
    CHECK(h, "COHORT.TXN.OUTCOME ~1.0.1.1.fff", "*2 $9 FORGOTTEN :0"); /* of one that may have been committed */
}

/* The same id again, once the first one was forgotten: another branch, and the first one's is not answered for it. */
static void names_do_not_come_twice(void **state)
{
    struct harness *h = *state;
    begin(h, "a");
    CHECK(h, "COHORT.TXN.DECIDE a 0 ABORT no", "*2 $5 ABORT $2 no");
    harness_pass(h, TXN_ID_KEPT_MS);
    CHECK(h, "COHORT.TXN.OPEN a 0 2 60000", "*3 $2 OK :0 :12");
    CHECK(h, "COHORT.TXN.JOIN a 12 " URL " bank", "*3 $6 JOINED :0 :15");
    commit(h, "a");
    CHECK(h, "COHORT.TXN.OUTCOME a bank 0 6", "*2 $5 ABORT :0");
    CHECK(h, "COHORT.TXN.OUTCOME a bank 0 15", "*2 $6 COMMIT :0");
    CHECK(h, "COHORT.TXN.OUTCOME a bank 1 15", "*2 $9 FORGOTTEN :0"); /* of another life of the cluster */
}

/* A person gives up what was committed: from then on nobody is told that it was aborted. */
static void what_was_abandoned_is_for_a_person(void **state)
{
    struct harness *h = *state;
    begin(h, "a");
    commit(h, "a");
    CHECK(h, "COHORT.TXN.DONE a 2", "*1 $6 COMMIT");
    CHECK(h, "COHORT.TXN.ENDED a bank 0 6 ABANDONED", ":0");
    CHECK(h, "COHORT.TXN.OUTCOME a bank 0 6", "*2 $6 COMMIT :0");
    harness_pass(h, TXN_ID_KEPT_MS);
    (void)harness_apply(h, "COHORT.TXN.OPEN c 0 2 60000");
    CHECK(h, "COHORT.TXN.OUTCOME a bank 0 6", "*2 $9 FORGOTTEN :0");
    struct machine *copy = harness_copy(h->machine, 10);
    assert_int_equal(machine_txns(copy)->homes.abandoned, 6);
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    machine_destroy(copy);
}

/* LAST goes on from a record that has branches. */
static void home_may_vote_last(void **state)
{
    struct harness *h = *state;
    begin(h, MADE);
    assert_string_equal(harness_nested(h, "COHORT.TXN.LAST " MADE " 1 0 3 1 1 1 0 0 0", "SET a 1", NULL),
                        "*3 $3 YES :9 *1 +OK");
    assert_int_equal(home_of(h, MADE)->state, HOME_COMMIT);
    CHECK(h, "COHORT.TXN.OUTCOME " MADE " bank 0 6", "*2 $6 COMMIT :0");
    CHECK(h, "COHORT.TXN.ENDED " MADE " bank 0 6 COMMITTED", ":0");
    assert_int_equal(home_of(h, MADE)->state, HOME_DONE);
}

static void branches_are_bounded(void **state)
{
    struct harness *h = *state;
    char text[128];
    (void)harness_apply(h, "COHORT.TXN.OPEN a 0 2 60000");
    for (int i = 0; i < TXN_BRANCHES; i++) {
        (void)snprintf(text, sizeof(text), "COHORT.TXN.JOIN a 3 " URL " b%d", i);
        (void)harness_apply(h, text);
    }
    CHECK(h, "COHORT.TXN.JOIN a 3 " URL " more", "*3 $4 MANY :0 :0");
    for (int i = 1; i < TXN_JOINED; i++) {
        (void)snprintf(text, sizeof(text), "COHORT.TXN.OPEN t%d 0 2 60000", i);
        (void)harness_apply(h, text);
        (void)snprintf(text, sizeof(text), "COHORT.TXN.JOIN t%d %d " URL " bank", i, (int)h->position);
        (void)harness_apply(h, text);
    }
    assert_int_equal(homes_of(h)->joined_count, TXN_JOINED);
    (void)harness_apply(h, "COHORT.TXN.OPEN z 0 2 60000");
    (void)snprintf(text, sizeof(text), "COHORT.TXN.JOIN z %d " URL " bank", (int)h->position);
    CHECK(h, text, "*3 $4 FULL :0 :0");
    CHECK(h, "COHORT.TXN.DECIDE a 0 ABORT no", "*2 $5 ABORT $2 no");
    assert_non_null(strstr(harness_apply(h, text), "JOINED"));
}

static void snapshots_carry_branches(void **state)
{
    struct harness *h = *state;
    begin(h, "a");
    CHECK(h, "COHORT.TXN.JOIN a 3 db://other shop evidence", "*3 $6 JOINED :0 :9");
    struct machine *copy = harness_copy(h->machine, 10);
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    machine_destroy(copy);
    uint64_t digest = machine_digest(h->machine);
    commit(h, "a");
    (void)harness_apply(h, "COHORT.TXN.ENDED a shop 0 9 COMMITTED");
    copy = harness_copy(h->machine, 10);
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    assert_int_not_equal(machine_digest(copy), digest);
    assert_int_equal(machine_txns(copy)->homes.joined_count, 1);
    const struct home *home = homes_find(&machine_txns(copy)->homes, SLICE_LITERAL("a"));
    assert_int_equal(home->branches_left, 1);
    assert_string_equal(home->branches[1].evidence, "evidence");
    assert_int_equal(home->branches[1].state, BRANCH_COMMITTED);
    machine_destroy(copy);
}

/* ---- URLs and names: pure ---- */

static void urls_have_no_passwords(void **state)
{
    (void)state;
    static const char *const good[] = {"postgresql://bank@db.example:5432/money?sslmode=require",
                                       "http://host/path:1@2", "mariadb://[::1]:3306/x", "x://h"};
    static const char *const bad[] = {"postgresql://bank:secret@db/money",
                                      "postgresql://bank:@db",
                                      "postgresql:///money?user=a&password=b",
                                      "x://h?sslPassword=b",
                                      "x://h?p%61ssword=b",
                                      "x://a:b@c@h",
                                      "x://h#password=1"};
    static const char *const none[] = {"", "x", "x:/h", "://h", "x://", "x://h o", "x://h\n"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_null(branch_url_problem(slice_from_string(good[i])));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_non_null(strstr(branch_url_problem(slice_from_string(bad[i])), "password"));
    }
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_non_null(strstr(branch_url_problem(slice_from_string(none[i])), "scheme"));
    }
    char large[TXN_URL_BYTES + 2];
    memset(large, 'h', sizeof(large) - 1);
    memcpy(large, "x://", 4);
    large[sizeof(large) - 1] = '\0';
    assert_non_null(branch_url_problem(slice_from_string(large)));
    large[TXN_URL_BYTES] = '\0';
    assert_null(branch_url_problem(slice_from_string(large)));
}

static void names_are_what_they_say(void **state)
{
    (void)state;
    struct slice cluster = SLICE_LITERAL(CLUSTER);
    struct slice id = SLICE_LITERAL("order 17");
    struct branch_name name = {.cluster = CLUSTER, .restores = 2, .position = 0x1f3, .id = id};
    name.label = SLICE_LITERAL("bank");
    char text[BRANCH_NAME_BYTES];
    struct slice made = slice_of(text, branch_name_make(text, &name));
    assert_string_equal(text, "cohort:" CLUSTER ":2.1f3:order%2017:bank");
    struct branch_name parsed;
    assert_true(branch_name_parse(made, cluster, id, &parsed));
    assert_int_equal(parsed.restores, 2);
    assert_int_equal(parsed.position, 0x1f3);
    assert_true(slice_is_word(parsed.label, "bank"));
    static const char *const foreign[] = {"cohort:" CLUSTER ":2.1F3:order%2017:bank",
                                          "cohort:" CLUSTER ":02.1f3:order%2017:bank",
                                          "cohort:" CLUSTER ":2.01f3:order%2017:bank",
                                          "cohort:" CLUSTER ":2.1f3:order 17:bank",
                                          "cohort:" CLUSTER ":2.1f3:order%2018:bank",
                                          "cohort:" CLUSTER ":2:order%2017:bank",
                                          "cohort:" CLUSTER ":2.1f3:order%2017:",
                                          "cohort:" CLUSTER ":2.1f3:order%2017",
                                          "cohort:10112233445566778899aabbccddeeff:2.1f3:order%2017:bank",
                                          "other:" CLUSTER ":2.1f3:order%2017:bank",
                                          ""};
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        assert_false(branch_name_parse(slice_from_string(foreign[i]), cluster, id, &parsed));
    }
}

/* The longest of each: a name that both PostgreSQL and an XA xid can have. */
static void names_are_short_enough(void **state)
{
    (void)state;
    struct slice label = SLICE_LITERAL("0123456789012345678901234567890");
    struct slice id = SLICE_LITERAL("01234567890123456789012345678901");
    assert_int_equal(label.size, TXN_LABEL_BYTES);
    assert_true(branch_name_fits(id, label));
    assert_false(branch_name_fits(SLICE_LITERAL("012345678901234567890123456789012"), label));
    assert_false(branch_name_fits(SLICE_LITERAL("0123456789012345678901234567890 "), label));
    struct branch_name name = {
        .cluster = CLUSTER, .restores = 255, .position = (UINT64_C(1) << 56) - 1, .id = id, .label = label};
    char text[BRANCH_NAME_BYTES];
    size_t size = branch_name_make(text, &name);
    assert_true(size < 200);
    const char *second = strchr(strchr(strchr(text, ':') + 1, ':') + 1, ':');
    assert_true(second - text <= BRANCH_PART_BYTES && strlen(second + 1) <= BRANCH_PART_BYTES);
    struct branch_name parsed;
    assert_true(branch_name_parse(slice_of(text, size), SLICE_LITERAL(CLUSTER), id, &parsed));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_same_again_is_the_same, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(who_may_not_join, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_commit_waits_for_its_branches, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(shards_are_waited_for, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(an_abort_need_not_be_remembered, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(undecided_until_its_time, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(absence_is_no_answer, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(names_do_not_come_twice, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(what_was_abandoned_is_for_a_person, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(home_may_vote_last, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(branches_are_bounded, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(snapshots_carry_branches, harness_setup, harness_teardown),
        cmocka_unit_test(urls_have_no_passwords),
        cmocka_unit_test(names_are_what_they_say),
        cmocka_unit_test(names_are_short_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Prepared parts and their locks, by the rules of src/machine/txn/README.md. */
#include "base/number.h"
#include "harness.h"
#include "machine/txn/txn.h"

#include <stdio.h>

static const struct parts *parts_of(const struct harness *h) { return &machine_txns(h->machine)->parts; }

static const char *busy = "-BUSY a transaction holds a key of this command; it was not executed, try again";

/* Commands are executed at PREPARE; their replies come with the vote; nobody sees the values before FINISH. */
static void writes_are_kept_back(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET a 1", "+OK");
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 0 0", "INCR a", "SET b x", "GET a", NULL),
                        "*3 $3 YES :6 *3 :2 +OK $1 2");
    CHECK(h, "GET a", "$1 1");
    CHECK(h, "MGET a b", "*2 $1 1 $-1");
    CHECK(h, "DBSIZE", ":1");
    CHECK(h, "KEYS *", "*1 $1 a");
    CHECK(h, "COHORT.TXN.FINISH t 0 COMMIT", "*1 $9 COMMITTED");
    CHECK(h, "MGET a b", "*2 $1 2 $1 x");
    assert_int_equal(harness_version(h, "a"), harness_version(h, "b"));
    assert_true(lock_table_empty(&parts_of(h)->locks));
}

/* Traces of deletion are shared by keys: one that is absent and only read is not written when a deleted one shares its
 * trace. So many are read here that one does. */
static void traces_are_shared(void **state)
{
    enum { TIMES = 4000, READ = 20 };
    struct harness *h = *state;
    char text[64 + READ * 16];
    CHECK(h, "SET a 1", "+OK");
    for (int t = 0; t < TIMES; t++) {
        size_t size = (size_t)snprintf(text, sizeof(text), "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 %d", READ);
        for (int i = 0; i < READ; i++) {
            size += (size_t)snprintf(text + size, sizeof(text) - size, " r%d 0", t * READ + i);
        }
        (void)snprintf(text + size, sizeof(text) - size, " 1 a \"\"");
        assert_non_null(strstr(harness_apply(h, text), "YES"));
        CHECK(h, "COHORT.TXN.FINISH t 0 ABORT", "*1 $7 ABORTED");
    }
}

static void an_abort_leaves_nothing(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "SET a 1");
    uint64_t version = harness_version(h, "a");
    (void)harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 0 0", "DEL a", "HSET h f v", NULL);
    CHECK(h, "COHORT.TXN.FINISH t 0 ABORT", "*1 $7 ABORTED");
    CHECK(h, "GET a", "$1 1");
    assert_int_equal(harness_version(h, "a"), version);
    CHECK(h, "EXISTS h", ":0");
    CHECK(h, "SET a 2", "+OK");
    CHECK(h, "COHORT.TXN.FINISH t 0 ABORT", "*1 $4 NONE");
}

/* EXEC's run-time errors are replies, as in Redis, not no votes. */
static void errors_are_replies(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "SET a x");
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 0 0", "INCR a", "SET b 1", NULL),
                        "*3 $3 YES :6 *2 -ERR value is not an integer or out of range +OK");
}

/* Rule 1: locks, read locks too, stand until the outcome; a conflict is a no vote that names the holder. */
static void locks_conflict(void **state)
{
    struct harness *h = *state;
    (void)harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 0 0", "GET r", "SET w 1", NULL);
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE u 1 0 2 NOW 1 1 0 0", "SET r 1", NULL),
                        "*3 $2 NO $6 LOCKED $1 t");
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE u 1 0 2 NOW 1 1 0 0", "GET w", NULL),
                        "*3 $2 NO $6 LOCKED $1 t");
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE u 1 0 2 NOW 1 1 0 0", "GET r", NULL),
                        "*3 $3 YES :12 *1 $-1");
    /* The reader that came first leaves, the other stays. */
    CHECK(h, "COHORT.TXN.FINISH u 0 COMMIT", "*1 $9 COMMITTED");
    assert_non_null(strstr(harness_nested(h, "COHORT.TXN.PREPARE v 1 0 2 NOW 1 1 0 0", "SET r 1", NULL), "LOCKED"));
    CHECK(h, "COHORT.TXN.FINISH t 0 COMMIT", "*1 $9 COMMITTED");
    assert_non_null(strstr(harness_nested(h, "COHORT.TXN.PREPARE v 1 0 2 NOW 1 1 0 0", "SET r 1", NULL), "YES"));
}

/* A participant that only read must not leave early: what it read would change before the others commit. */
static void a_reader_stays_until_the_outcome(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "SET r old");
    (void)harness_nested(h, "COHORT.TXN.PREPARE t 2 0 2 NOW 2 1 2 0 0", "GET r", NULL);
    CHECK(h, "SET r new", busy);
    CHECK(h, "GET r", "$3 old");
    CHECK(h, "COHORT.TXN.FINISH t 0 COMMIT", "*1 $9 COMMITTED");
    CHECK(h, "SET r new", "+OK");
}

/* Rule 6: the second line of defence. */
static void ordinary_writes_are_refused(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "SET a 1");
    (void)harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 0 0", "SET a 2", NULL);
    CHECK(h, "SET a 3", busy);
    CHECK(h, "MSET b 1 a 3", busy);
    CHECK(h, "FLUSHALL", busy);
    assert_string_equal(harness_exec(h, "", "SET c 1", "APPEND a x", NULL), busy);
    assert_string_equal(harness_exec(h, "a 3", "SET c 1", NULL), busy);
    CHECK(h, "SET c 1", "+OK");
    struct machine_stats stats;
    machine_stats(h->machine, &stats);
    assert_int_equal(stats.blocked, 5);
    CHECK(h, "EXISTS b", ":0");
}

/* Versions as read, of keys that are not there too: delete-and-recreate never passes unseen. */
static void versions_are_checked(void **state)
{
    struct harness *h = *state;
    char text[128];
    (void)harness_apply(h, "SET a 1");
    uint64_t version = harness_version(h, "a");
    (void)snprintf(text, sizeof(text), "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 1 a %llu 0", (unsigned long long)version);
    (void)harness_apply(h, "DEL a");
    (void)harness_apply(h, "SET a 1");
    assert_string_equal(harness_nested(h, text, "SET b 1", NULL), "*3 $2 NO $7 CHANGED $1 a");
    version = harness_version(h, "none");
    (void)harness_apply(h, "SET none 1");
    (void)harness_apply(h, "DEL none");
    (void)snprintf(text, sizeof(text), "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 1 none %llu 0", (unsigned long long)version);
    assert_string_equal(harness_nested(h, text, NULL), "*3 $2 NO $7 CHANGED $4 none");
    (void)snprintf(text, sizeof(text), "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 1 none %llu 0",
                   (unsigned long long)harness_version(h, "none"));
    assert_non_null(strstr(harness_nested(h, text, NULL), "YES"));
    CHECK(h, "SET none 1", busy);
}

/* A key that comes and goes within the transaction is a change for whoever watches it. */
static void made_and_deleted_is_seen(void **state)
{
    struct harness *h = *state;
    uint64_t version = harness_version(h, "k");
    (void)harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 0 0", "SET k 1", "DEL k", "DEL other", NULL);
    uint64_t other = harness_version(h, "other");
    CHECK(h, "COHORT.TXN.FINISH t 0 COMMIT", "*1 $9 COMMITTED");
    assert_true(harness_version(h, "k") > version);
    assert_int_equal(harness_version(h, "other"), other);
}

/* Final values, as a node computes them over an overlay of its own. */
static void values_are_taken(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "HSET from f v g w");
    (void)harness_apply(h, "SET to x");
    struct overlay *overlay = overlay_create(1);
    overlay_set_time(overlay, 1000, 1700000000000);
    assert_int_equal(overlay_load(overlay, SLICE_LITERAL("to"), 1, slice_of(NULL, 0)), STATUS_OK);
    struct slice argv[] = {SLICE_LITERAL("HSET"), SLICE_LITERAL("to"), SLICE_LITERAL("f"), SLICE_LITERAL("v")};
    struct command command = {command_by_id(COMMAND_HSET), argv, 4, RESP2};
    struct resp_writer none = {NULL, RESP2};
    overlay_run(overlay, &command, &none);
    struct buffer value;
    buffer_init(&value);
    overlay_dump(overlay, SLICE_LITERAL("to"), &value);
    struct buffer text;
    buffer_init(&text);
    buffer_append_string(&text, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 0 2 from \"\" to \"");
    for (size_t i = 0; i < value.size; i++) {
        buffer_append_format(&text, "\\x%02x", value.data[i]);
    }
    buffer_append(&text, "\"", 2);
    assert_non_null(strstr(harness_nested(h, (const char *)text.data, NULL), "YES"));
    CHECK(h, "COHORT.TXN.FINISH t 0 COMMIT", "*1 $9 COMMITTED");
    CHECK(h, "HGETALL to", "*2 $1 f $1 v");
    CHECK(h, "EXISTS from", ":0");
    CHECK(h, "COHORT.TXN.PREPARE u 1 0 2 NOW 1 1 0 1 to \"\\xff\\x00\"", "-ERR malformed value in a transaction");
    assert_int_equal(parts_of(h)->prepared_count, 0);
    buffer_deinit(&value);
    buffer_deinit(&text);
    overlay_destroy(overlay);
}

/* Rule 3: expiry counts at the PREPARE's time. */
static void expiry_under_a_lock(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "SET a 1 PX 100");
    (void)harness_apply(h, "SET b 1 PX 100");
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 0 0", "INCR a", "PERSIST b", NULL),
                        "*3 $3 YES :9 *2 :2 :1");
    harness_pass(h, 200);
    struct machine_context context = {++h->position, h->time_ms, h->wall_ms, 0};
    machine_apply_time(h->machine, &context); /* both are due, and go */
    CHECK(h, "EXISTS a b", ":0");
    h->position += 3;
    CHECK(h, "COHORT.TXN.FINISH t 0 COMMIT", "*1 $9 COMMITTED");
    CHECK(h, "GET a", "$-1"); /* kept its expiry */
    CHECK(h, "GET b", "$1 1");
}

/* Rule 5, and the PREPARE of an attempt that was opened anew. */
static void older_epochs_are_refused(void **state)
{
    struct harness *h = *state;
    (void)harness_nested(h, "COHORT.TXN.PREPARE t 1 5 2 NOW 1 1 0 0", "SET a 1", NULL);
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE u 1 4 2 NOW 1 1 0 0", "SET b 1", NULL),
                        "*3 $2 NO $5 EPOCH $0 ");
    assert_non_null(strstr(harness_nested(h, "COHORT.TXN.PREPARE u 2 4 2 NOW 1 1 0 0", "SET b 1", NULL), "YES"));
    assert_non_null(strstr(harness_nested(h, "COHORT.TXN.PREPARE t 1 6 2 NOW 1 1 0 0", "SET a 2", NULL), "YES"));
    CHECK(h, "COHORT.TXN.FINISH t 5 COMMIT", "*1 $4 WAIT"); /* of the attempt that is no more */
    CHECK(h, "COHORT.TXN.FINISH t 6 COMMIT", "*1 $9 COMMITTED");
    CHECK(h, "GET a", "$1 2");
}

/* The home shard's own part ends with the decision. */
static void home_finishes_its_own_part(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "COHORT.TXN.OPEN t 0 2 1000 1 2");
    (void)harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 2 1 2 0 0", "SET a 1", NULL);
    CHECK(h, "COHORT.TXN.DECIDE t 0 COMMIT 1 6 2 9", "*2 $6 COMMIT $0 ");
    CHECK(h, "GET a", "$1 1");
    CHECK(h, "COHORT.TXN.DONE t 2", "*1 $4 DONE");
}

/* Three-phase commit: moves are compare-and-sets, and sticky. */
static void three_phases(void **state)
{
    struct harness *h = *state;
    (void)harness_nested(h, "COHORT.TXN.PREPARE t 1 0 3 NOW 1 1 0 0", "SET a 1", NULL);
    CHECK(h, "COHORT.TXN.ASK t 1 0 1 1", "*2 $4 WAIT :3");
    CHECK(h, "COHORT.TXN.MOVE t PRECOMMIT", "*2 $9 PRECOMMIT :3");
    CHECK(h, "COHORT.TXN.MOVE t PREABORT", "*2 $9 PRECOMMIT :3");
    CHECK(h, "GET a", "$-1");
    CHECK(h, "COHORT.TXN.FINISH t 0 COMMIT", "*1 $9 COMMITTED");
    CHECK(h, "COHORT.TXN.FINISH t 0 ABORT", "*1 $9 COMMITTED");
    CHECK(h, "GET a", "$1 1");
    CHECK(h, "COHORT.TXN.ASK t 1 0 1 1", "*2 $9 COMMITTED :3");
    CHECK(h, "COHORT.TXN.FORGET t", "*1 $4 NONE");
    CHECK(h, "COHORT.TXN.MOVE u PRECOMMIT", "*2 $4 NONE :0");
    CHECK(h, "COHORT.TXN.ASK u 1 0 1 1", "*2 $7 ABORTED :36");
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE u 1 0 3 NOW 1 1 0 0", "SET a 2", NULL),
                        "*3 $2 NO $7 REFUSED $1 u");
    (void)harness_nested(h, "COHORT.TXN.PREPARE v 1 0 3 NOW 1 1 0 0", "SET a 2", NULL);
    CHECK(h, "COHORT.TXN.MOVE v PREABORT", "*2 $8 PREABORT :42");
    CHECK(h, "COHORT.TXN.MOVE v PRECOMMIT", "*2 $8 PREABORT :42");
    CHECK(h, "COHORT.TXN.FINISH v 0 COMMIT", "*1 $9 COMMITTED"); /* the quorum was others' */
    CHECK(h, "GET a", "$1 2");
    (void)harness_nested(h, "COHORT.TXN.PREPARE w 1 0 2 NOW 1 1 0 0", "SET a 3", NULL);
    CHECK(h, "COHORT.TXN.MOVE w PRECOMMIT", "*2 $4 WAIT :57"); /* two phases have none */
}

/* Every limit, with nothing changed. */
static void parts_are_bounded(void **state)
{
    struct harness *h = *state;
    char text[128];
    for (int i = 0; i < TXN_PARTS; i++) {
        (void)snprintf(text, sizeof(text), "COHORT.TXN.PREPARE t%d 1 0 2 NOW 1 1 0 0", i);
        assert_non_null(strstr(harness_nested(h, text, NULL), "YES"));
    }
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE more 1 0 2 NOW 1 1 0 0", "SET a 1", NULL),
                        "*3 $2 NO $4 FULL $0 ");
    CHECK(h, "COHORT.TXN.FINISH t0 0 ABORT", "*1 $7 ABORTED");
    assert_non_null(
        strstr(harness_nested(h, "COHORT.TXN.PREPARE more 1 0 2 NOW 1 1 0 0", "SETRANGE a 33554432 x", NULL), "LARGE"));
    assert_string_equal(
        harness_nested(h, "COHORT.TXN.PREPARE more 1 0 2 NOW 1 1 0 0", "SETRANGE a 67108864 x", "DEL a", NULL),
        "*3 $2 NO $5 LARGE $0 "); /* on the way */
    for (int i = 0; i < 4; i++) {
        (void)snprintf(text, sizeof(text), "COHORT.TXN.FINISH t%d 0 ABORT", i + 1);
        (void)harness_apply(h, text);
        (void)snprintf(text, sizeof(text), "COHORT.TXN.PREPARE l%d 1 0 2 NOW 1 1 0 0", i);
        char command[64];
        (void)snprintf(command, sizeof(command), "SETRANGE k%d 33550000 x", i);
        assert_non_null(strstr(harness_nested(h, text, command, NULL), "YES"));
    }
    (void)harness_apply(h, "COHORT.TXN.FINISH t9 0 ABORT");
    assert_non_null(
        strstr(harness_nested(h, "COHORT.TXN.PREPARE more 1 0 2 NOW 1 1 0 0", "SETRANGE a 33550000 x", NULL), "FULL"));
}

static void refused_outcomes_are_bounded(void **state)
{
    struct harness *h = *state;
    char text[128];
    for (int i = 0; i < TXN_FINISHED; i++) {
        (void)snprintf(text, sizeof(text), "COHORT.TXN.ASK t%d 1 0 1 1", i);
        (void)harness_apply(h, text);
    }
    CHECK(h, "COHORT.TXN.ASK more 1 0 1 1", "*1 $4 FULL");
    assert_non_null(strstr(harness_nested(h, "COHORT.TXN.PREPARE more 1 0 3 NOW 1 1 0 0", "SET a 1", NULL), "FULL"));
    assert_non_null(strstr(harness_nested(h, "COHORT.TXN.PREPARE more 1 0 2 NOW 1 1 0 0", "SET a 1", NULL), "YES"));
}

/* Of three phases a part knows the others, of two it asks home alone. */
static void participants_are_ranges(void **state)
{
    struct harness *h = *state;
    assert_non_null(
        strstr(harness_nested(h, "COHORT.TXN.PREPARE t 1 0 3 NOW 3 2-4 7 1000-1024 0 0", "SET a 1", NULL), "YES"));
    assert_non_null(strstr(harness_nested(h, "COHORT.TXN.PREPARE u 1 0 2 NOW 0 0 0", "SET b 1", NULL), "YES"));
    const struct part *three = parts_find(parts_of(h), SLICE_LITERAL("t"));
    assert_int_equal(three->participant_count, 3 + 1 + 25);
    assert_int_equal(three->participants[2], 4);
    assert_int_equal(three->participants[3], 7);
    assert_int_equal(three->participants[28], 1024);
    assert_int_equal(parts_find(parts_of(h), SLICE_LITERAL("u"))->participant_count, 0);
    struct machine *copy = harness_copy(h->machine, 10);
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    machine_destroy(copy);
}

static void what_cannot_be_run_is_refused(void **state)
{
    struct harness *h = *state;
    const char *error = "-ERR malformed command of a transaction";
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 HOLD 1 1 0 0", "GET a", NULL), error);
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 0 0", "COHORT.DUMP a", NULL), error);
    CHECK(h, "COHORT.TXN.PREPARE t 1 0 2 LATER 1 1 0 0", error);
    CHECK(h, "COHORT.TXN.PREPARE t 1 0 3 NOW 0 0 0", error);
    CHECK(h, "COHORT.TXN.PREPARE t 1 0 3 NOW 1 2-1 0 0", error);
    CHECK(h, "COHORT.TXN.PREPARE t 1 0 3 NOW 1 2- 0 0", error);
    CHECK(h, "COHORT.TXN.PREPARE t 1 0 3 NOW 1 1-1025 0 0", error);
    CHECK(h, "COHORT.TXN.PREPARE t 1 0 3 NOW 2 1-3 3 0 0", error);
    CHECK(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 9 0", error);
    CHECK(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 1 a x 0", error);
    assert_int_equal(parts_of(h)->prepared_count, 0);
}

/* Locks before the vote (HOLD): the keys are taken, what is there is told, and the PREPARE that follows has them. */
static void locks_come_before_the_vote(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "SET w 1");
    CHECK(h, "COHORT.TXN.PREPARE t 1 0 2 HOLD 1 1 1 w 9 1 a -", "*3 $2 NO $7 CHANGED $1 w");
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.PREPARE t 1 0 2 HOLD 1 1 1 w 3 2 a - b -"), "YES"));
    CHECK(h, "SET a 1", busy);
    CHECK(h, "SET w 2", busy);
    CHECK(h, "GET w", "$1 1");
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE u 1 0 2 NOW 1 1 0 0", "GET b", NULL),
                        "*3 $2 NO $6 LOCKED $1 t");
    CHECK(h, "COHORT.TXN.PREPARE t 1 0 2 HOLD 1 1 0 1 a -", "*3 $2 NO $7 REFUSED $1 t");
    CHECK(h, "COHORT.TXN.FINISH t 0 COMMIT", "*1 $4 HELD"); /* who has not voted cannot be committed */
    CHECK(h, "COHORT.TXN.ASK t 1 0 1 1", "*2 $4 HELD :9");
    struct machine *copy = harness_copy(h->machine, 10);
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    machine_destroy(h->machine);
    h->machine = copy;
    CHECK(h, "SET b 1", busy);
    assert_non_null(strstr(harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 0 0", "SET a 1", NULL), "YES"));
    CHECK(h, "SET b 1", "+OK"); /* it holds what the PREPARE says */
    CHECK(h, "SET a 2", busy);
    CHECK(h, "COHORT.TXN.FINISH t 0 COMMIT", "*1 $9 COMMITTED");
    CHECK(h, "GET a", "$1 1");
    assert_true(lock_table_empty(&parts_of(h)->locks));
}

/* Three phases: one that has not voted refuses when it is asked; it makes no other move. */
static void held_is_no_vote(void **state)
{
    struct harness *h = *state;
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.PREPARE t 1 0 3 HOLD 1 1 0 1 a -"), "YES"));
    CHECK(h, "COHORT.TXN.MOVE t PRECOMMIT", "*2 $4 HELD :3");
    CHECK(h, "COHORT.TXN.ASK t 1 0 1 1", "*2 $7 ABORTED :3");
    CHECK(h, "SET a 1", "+OK");
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE t 1 0 3 NOW 1 1 0 0", "SET a 2", NULL),
                        "*3 $2 NO $7 REFUSED $1 t");
    assert_non_null(strstr(harness_apply(h, "COHORT.TXN.PREPARE u 1 0 2 HOLD 1 1 0 1 a -"), "YES"));
    CHECK(h, "COHORT.TXN.FINISH u 0 ABORT", "*1 $7 ABORTED");
    CHECK(h, "SET a 2", "+OK");
    assert_string_equal(harness_nested(h, "COHORT.TXN.PREPARE u 1 0 2 HOLD 1 1 0 0", "SET a 2", NULL),
                        "-ERR malformed command of a transaction");
}

static void snapshots_carry_parts(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "SET a 1");
    (void)harness_nested(h, "COHORT.TXN.PREPARE t 1 3 2 NOW 2 1 2 0 0", "INCR a", "DEL b", "GET r", "SET c 1", "DEL c",
                         NULL);
    (void)harness_nested(h, "COHORT.TXN.PREPARE u 2 4 3 NOW 2 1 2 0 0", "HSET h f v", "GET r", NULL);
    (void)harness_apply(h, "COHORT.TXN.MOVE u PREABORT");
    (void)harness_apply(h, "COHORT.TXN.ASK v 1 0 1 1");
    struct machine *copy = harness_copy(h->machine, 10);
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    machine_destroy(h->machine);
    h->machine = copy;
    CHECK(h, "SET r 1", busy);
    CHECK(h, "COHORT.TXN.FINISH t 3 COMMIT", "*1 $9 COMMITTED");
    CHECK(h, "GET a", "$1 2");
    CHECK(h, "SET r 1", busy);
    CHECK(h, "COHORT.TXN.ASK u 2 4 1 1", "*2 $8 PREABORT :9");
    CHECK(h, "COHORT.TXN.FINISH u 4 ABORT", "*1 $7 ABORTED");
    CHECK(h, "SET r 1", "+OK");
    assert_non_null(strstr(harness_nested(h, "COHORT.TXN.PREPARE w 2 3 2 NOW 1 1 0 0", "GET a", NULL), "EPOCH"));
}

/* A made id says it itself; a snapshot carries what it does not say. */
static void who_runs_it_is_known(void **state)
{
    struct harness *h = *state;
    static const struct {
        const char *id, *said;
        uint64_t node, start;
    } cases[] = {{"t", "BY 3 17 ", 3, 17}, {"u", "", 0, 0}, {"~1.0.a.b.1", "", 10, 11}};
    char text[128];
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(text, sizeof(text), "COHORT.TXN.PREPARE %s 1 0 2 NOW %s0 0 1 k%zu \001v", cases[i].id,
                       cases[i].said, i);
        assert_non_null(strstr(harness_apply(h, text), "YES"));
    }
    struct machine *copy = harness_copy(h->machine, 10);
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    machine_destroy(h->machine);
    h->machine = copy;
    for (size_t i = 0; i < 3; i++) {
        const struct part *part = parts_find(&machine_txns(copy)->parts, slice_from_string(cases[i].id));
        assert_int_equal(part->runner.node, cases[i].node);
        assert_int_equal(part->runner.start, cases[i].start);
    }
    static const char *const wrong[] = {"~1.0.a.b.3 1 0 2 NOW BY 3 17 0 0 0", "w 1 0 2 NOW BY 3 17",
                                        "w 1 0 2 NOW BY x 17 0 0 0", "w 1 0 2 NOW BY 0 17 0 0 0",
                                        "w 1 0 2 NOW 0 BY 3 17 0 0 0"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        (void)snprintf(text, sizeof(text), "COHORT.TXN.PREPARE %s", wrong[i]);
        assert_string_equal(harness_apply(h, text), "-ERR malformed command of a transaction");
    }
}

/* The read-only participant that leaves early: t reads x in one shard and writes y in another, u the reverse. Whichever
 * order their four PREPAREs come in, they never have all their votes both: a read lock is held until the outcome. */
static void write_skew_is_not_possible(void **state)
{
    static const char *const said[2][2] = {{"GET x", "SET x u"}, {"SET y t", "GET y"}};
    static const int orders[6][4] = {{0, 1, 2, 3}, {0, 2, 1, 3}, {0, 2, 3, 1},
                                     {2, 0, 1, 3}, {2, 0, 3, 1}, {2, 3, 0, 1}};
    for (int order = 0; order < 6; order++) {
        void *shards[2] = {NULL, NULL};
        int votes[2] = {0, 0};
        for (int i = 0; i < 2; i++) {
            assert_int_equal(harness_setup(&shards[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
            int txn = orders[order][i] / 2;
            int at = orders[order][i] % 2 ^ txn; /* where it reads first */
            const char *prepare =
                txn == 0 ? "COHORT.TXN.PREPARE t 1 0 2 NOW 3 1 2 3 0 0" : "COHORT.TXN.PREPARE u 2 0 2 NOW 3 1 2 3 0 0";
            votes[txn] += strstr(harness_nested(shards[at], prepare, said[at][txn], NULL), "YES") != NULL;
        }
        assert_int_not_equal(votes[0] + votes[1], 4);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(harness_teardown(&shards[i]), 0);
        }
    }
}

/* Values, small and large, of every kind, come out of an overlay as they went in. */
static void every_kind_of_value(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "SETRANGE large 100000 x");
    (void)harness_apply(h, "SET short abc PX 5000");
    (void)harness_apply(h, "INCRBYFLOAT text 1.5");
    (void)harness_apply(h, "HSET small f v");
    for (int i = 0; i < 600; i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "HSET big f%d v%d", i, i);
        (void)harness_apply(h, text);
    }
    (void)harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 1 1 0 0", "APPEND large y", "APPEND short d",
                         "HSET big g w", "HSET small g w", "INCRBYFLOAT text 1", NULL);
    struct machine *copy = harness_copy(h->machine, 1000);
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    machine_destroy(copy);
    (void)harness_apply(h, "COHORT.TXN.FINISH t 0 COMMIT");
    CHECK(h, "STRLEN large", ":100002");
    CHECK(h, "GET short", "$4 abcd");
    CHECK(h, "PTTL short", ":5000");
    CHECK(h, "HLEN big", ":601");
    CHECK(h, "HGET big f599", "$4 v599");
    CHECK(h, "OBJECT ENCODING big", "$9 hashtable");
    CHECK(h, "HGETALL small", "*4 $1 f $1 v $1 g $1 w");
    CHECK(h, "GET text", "$3 2.5");
}

static void reads_tell_versions(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "SET a 1");
    assert_string_equal(harness_nested_read(h, "COHORT.TXN.READ", "GET a", "MGET b a", NULL),
                        "*2 *3 :3 :0 :3 *2 $1 1 *2 $-1 $1 1");
    assert_string_equal(harness_nested_read(h, "COHORT.TXN.READ", "SET a 1", NULL),
                        "-ERR malformed command of a transaction");
    assert_string_equal(harness_read(h, "COHORT.DUMP a none"), "*6 :1000 :1700000000000 :3 $9 \x00\x01");
}

static void parts_are_listed(void **state)
{
    struct harness *h = *state;
    (void)harness_nested(h, "COHORT.TXN.PREPARE t 2 7 2 NOW 1 1 0 0", "SET a 1", NULL);
    harness_pass(h, 50);
    assert_string_equal(
        harness_read(h, "COHORT.TXN.PARTS 0 10"),
        "*2 $1 0 *1 *14 $2 id $1 t $8 protocol $3 2PC $5 state $4 WAIT $4 home :2 $5 epoch :7 $4 keys :1 $6 "
        "age_ms :50");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_are_kept_back, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(traces_are_shared, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(an_abort_leaves_nothing, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(errors_are_replies, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(locks_conflict, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_reader_stays_until_the_outcome, harness_setup, harness_teardown),
        cmocka_unit_test(write_skew_is_not_possible),
        cmocka_unit_test_setup_teardown(ordinary_writes_are_refused, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(versions_are_checked, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(made_and_deleted_is_seen, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(values_are_taken, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(expiry_under_a_lock, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(older_epochs_are_refused, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(home_finishes_its_own_part, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(three_phases, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(parts_are_bounded, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(refused_outcomes_are_bounded, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(participants_are_ranges, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_run_is_refused, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(locks_come_before_the_vote, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(held_is_no_vote, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(snapshots_carry_parts, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(who_runs_it_is_known, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(every_kind_of_value, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(reads_tell_versions, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(parts_are_listed, harness_setup, harness_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A driver by itself: what it asks of the shards, in which order, and what it makes of every answer. A transcript of
 * what it said, one word and the shard for each question. */
#include "server/txn_driver.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SHARDS = 3, QUESTIONS = 256 };

/* Keys whose shards, of three, are 1, 2 and 3. */
static const char *const keys[SHARDS] = {"b", "c", "a"};

struct question {
    uint32_t shard;
    uint64_t tag;
    char word[32];
    bool answered;
};

struct scene {
    struct txn_driver driver; /* first */
    struct question questions[QUESTIONS];
    uint32_t count;
    char said[4096];
    enum status refuse; /* every question, unless OK */
    uint32_t led;       /* the shard that is led here; 0: none */
    uint64_t term;
    int64_t now_ns, wake_ns;
    int ended, settled;
    enum txn_end end;
};

static struct scene *of(struct txn_driver *driver) { return (struct scene *)driver; }

/* "PREPARE/WAIT", "DECIDE/COMMIT": the command, and the argument that matters. */
static void name(const struct command *command, char word[static 32])
{
    static const struct {
        uint16_t id;
        const char *word;
        uint32_t argument;
    } names[] = {
        {COMMAND_COHORT_TXN_OPEN, "OPEN", 2},     {COMMAND_COHORT_TXN_PREPARE, "PREPARE", 5},
        {COMMAND_COHORT_TXN_DECIDE, "DECIDE", 3}, {COMMAND_COHORT_TXN_MOVE, "MOVE", 2},
        {COMMAND_COHORT_TXN_READ, "READ", 0},     {COMMAND_COHORT_DUMP, "DUMP", 1},
        {COMMAND_COHORT_TXN_LAST, "LAST", 3},     {COMMAND_COHORT_TXN_RESOLVE, "RESOLVE", 0},
        {COMMAND_COHORT_TXN_FINISH, "FINISH", 3},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].id == command->spec->id) {
            struct slice argument = command->argv[names[i].argument];
            (void)snprintf(word, 32, names[i].argument == 0 ? "%s" : "%s/%.*s", names[i].word, (int)argument.size,
                           (const char *)argument.data);
            return;
        }
    }
    fail();
}

static enum status submit(struct txn_driver *driver, uint32_t shard, const struct command *command, uint64_t tag)
{
    struct scene *scene = of(driver);
    assert_true(scene->count < QUESTIONS);
    struct question *question = &scene->questions[scene->count];
    name(command, question->word);
    size_t used = strlen(scene->said);
    (void)snprintf(scene->said + used, sizeof(scene->said) - used, "%s%s@%u", used == 0 ? "" : " ", question->word,
                   shard);
    if (scene->refuse == STATUS_OK) {
        question->shard = shard;
        question->tag = tag;
        scene->count++;
    }
    return scene->refuse;
}

static uint64_t term(struct txn_driver *driver, uint32_t shard)
{
    (void)shard;
    return of(driver)->term;
}

static size_t new_id(struct txn_driver *driver, uint32_t home, char id[static TXN_ID_BYTES])
{
    const struct txn_id made = {.made = true, .home = home, .node = 1, .start = 1, .sequence = of(driver)->count};
    return txn_id_make(id, &made);
}

static void told_position(struct txn_driver *driver, uint32_t home, uint64_t position)
{
    (void)driver;
    (void)home;
    assert_true(position == 77 || position == 9);
}

static bool leads(struct txn_driver *driver, uint32_t shard) { return of(driver)->led == shard; }
static int64_t now_ns(struct txn_driver *driver) { return of(driver)->now_ns; }
static void wake_at(struct txn_driver *driver, int64_t at_ns) { of(driver)->wake_ns = at_ns; }
static uint64_t no_random(struct txn_driver *driver) { return driver == NULL; }

static void ended(struct txn_driver *driver, enum txn_end end)
{
    of(driver)->ended++;
    of(driver)->end = end;
}

static void settled(struct txn_driver *driver) { of(driver)->settled++; }

static const struct txn_driver_host host = {submit, term,    leads,     new_id, told_position,
                                            now_ns, wake_at, no_random, ended,  settled};

/* ---- scenes ---- */

static void add(struct txn_plan *plan, const char *text)
{
    struct slice argv[8];
    uint32_t argc = 0;
    char *copy = memory_copy_text(text);
    char *rest = NULL;
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        argv[argc++] = slice_from_string(word);
    }
    const struct command_spec *spec = NULL;
    assert_int_equal(command_lookup(argv, argc, &spec), COMMAND_FOUND);
    const struct command command = {spec, argv, argc, 2};
    txn_plan_add(plan, &command);
    free(copy);
}

static struct scene *begin_led(uint32_t led, enum txn_protocol protocol, bool of_values, const char *first,
                               const char *second)
{
    struct scene *scene = memory_allocate_zeroed(1, sizeof(*scene));
    scene->led = led;
    struct txn_plan plan;
    scene->term = 5;
    txn_plan_init(&plan, SHARDS, of_values);
    add(&plan, first);
    if (second != NULL) {
        add(&plan, second);
    }
    txn_plan_seal(&plan);
    txn_driver_init(&scene->driver, &host, &plan, protocol, 1000);
    txn_driver_start(&scene->driver);
    return scene;
}

static struct scene *begin(enum txn_protocol protocol, bool of_values, const char *first, const char *second)
{
    return begin_led(0, protocol, of_values, first, second);
}

/* What was said since the last look. */
static void expect(struct scene *scene, const char *said)
{
    assert_string_equal(scene->said, said);
    scene->said[0] = '\0';
}

static struct question *find(struct scene *scene, const char *word, uint32_t shard)
{
    for (uint32_t i = scene->count; i-- > 0;) {
        struct question *question = &scene->questions[i];
        if (!question->answered && question->shard == shard && strncmp(question->word, word, strlen(word)) == 0) {
            question->answered = true;
            return question;
        }
    }
    fail_msg("no %s was asked of %u", word, shard);
    return NULL;
}

static void answer(struct scene *scene, const char *word, uint32_t shard, const char *reply)
{
    struct requester *requester = &scene->driver.round.requester;
    const struct question *question = find(scene, word, shard);
    struct resp_writer *writer = requester->events->begin(requester, question->tag);
    if (writer != NULL) {
        resp_raw(writer, slice_from_string(reply));
    }
    requester->events->end(requester, question->tag, NULL);
}

static void lose(struct scene *scene, const char *word, uint32_t shard, enum status status)
{
    struct requester *requester = &scene->driver.round.requester;
    requester->events->failed(requester, find(scene, word, shard)->tag, status);
}

static void finish(struct scene *scene, enum txn_end end)
{
    assert_int_equal(scene->ended, 1);
    assert_int_equal(scene->end, end);
    assert_int_equal(scene->settled, 1);
    expect(scene, "");
    txn_driver_deinit(&scene->driver);
    free(scene);
}

#define OPENED "*3\r\n$2\r\nOK\r\n:5\r\n:77\r\n"
#define YES "*3\r\n$3\r\nYES\r\n:9\r\n*1\r\n+OK\r\n"
#define NO(why) "*3\r\n$2\r\nNO\r\n$6\r\n" why "\r\n$0\r\n\r\n"
#define TOLD(state, size) "*2\r\n$" size "\r\n" state "\r\n$0\r\n\r\n"

static void reply_is(const struct scene *scene, const char *expected)
{
    struct buffer text;
    buffer_init(&text);
    for (uint32_t i = 0; i < scene->driver.plan.command_count; i++) {
        struct resp_writer reply = resp_writer_to(&text, 2);
        txn_plan_reply(&scene->driver.plan, i, &reply);
    }
    assert_true(slice_equal(buffer_slice(&text), slice_from_string(expected)));
    buffer_deinit(&text);
}

/* ---- two phases ---- */

static void test_keys(void **state)
{
    (void)state;
    struct txn_plan plan;
    txn_plan_init(&plan, SHARDS, false);
    add(&plan, "MSET a 1 b 2 c 3");
    txn_plan_seal(&plan);
    assert_int_equal(plan.part_count, SHARDS);
    for (uint32_t i = 0; i < SHARDS; i++) {
        assert_int_equal(plan.parts[i].shard, i + 1);
        assert_non_null(memmem(plan.steps[i].encoded.data, plan.steps[i].encoded.size, keys[i], 1));
    }
    txn_plan_deinit(&plan);
}

#define MISSED(why, size, now) "*3\r\n$2\r\nNO\r\n$" size "\r\n" why "\r\n$2\r\n" now "\r\n"

/* Home votes last: what the others said comes first, and its yes is the decision. */
static void test_commit(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_2PC, false, "MSET a 1 b 2 c 3", "SET b 4");
    expect(scene, "PREPARE/NOW@2 PREPARE/NOW@3");
    answer(scene, "PREPARE", 3, YES);
    expect(scene, "");
    answer(scene, "PREPARE", 2, YES);
    expect(scene, "LAST/5@1");
    assert_int_equal(scene->ended, 0); /* nothing is told before it is decided */
    answer(scene, "LAST", 1, "*3\r\n$3\r\nYES\r\n:9\r\n*2\r\n+OK\r\n+OK\r\n");
    reply_is(scene, "+OK\r\n+OK\r\n");
    finish(scene, TXN_END_DONE);
}

/* Home is one of the participants, and one that is led here if any is. */
static void test_home(void **state)
{
    (void)state;
    for (uint32_t led = 1; led <= SHARDS; led++) {
        struct scene *scene = begin_led(led, TXN_2PC, false, "SET b 1", "SET a 2");
        const bool third = led == 3;
        expect(scene, third ? "PREPARE/NOW@1" : "PREPARE/NOW@3");
        answer(scene, "PREPARE", third ? 1 : 3, YES);
        expect(scene, third ? "LAST/5@3" : "LAST/5@1");
        answer(scene, "LAST", third ? 3 : 1, YES);
        finish(scene, TXN_END_DONE);
    }
}

/* Home is not asked when another has not voted yes; those that may be prepared are told, by whoever ran it. */
static void test_a_vote_is_no(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_2PC, false, "MSET a 1 b 2 c 3", NULL);
    expect(scene, "PREPARE/NOW@2 PREPARE/NOW@3");
    answer(scene, "PREPARE", 2, YES);
    answer(scene, "PREPARE", 3, NO("LOCKED"));
    expect(scene, "FINISH/ABORT@2");
    assert_int_equal(scene->wake_ns, 0);
    answer(scene, "FINISH", 2, TOLD("ABORTED", "7"));
    assert_true(scene->wake_ns > 0);
    scene->now_ns = 1001;
    txn_driver_give_up(&scene->driver);
    finish(scene, TXN_END_REFUSED);

    static const enum status lost[] = {STATUS_UNCERTAIN, STATUS_EXECUTED, STATUS_NO_LEADER};
    for (size_t i = 0; i < sizeof(lost) / sizeof(lost[0]); i++) {
        scene = begin(TXN_2PC, false, "MSET a 1 b 2 c 3", NULL);
        scene->said[0] = '\0';
        scene->now_ns = 1001;
        answer(scene, "PREPARE", 2, NO("LARGE!"));
        lose(scene, "PREPARE", 3, lost[i]);
        if (lost[i] != STATUS_NO_LEADER) { /* who has not executed it is not prepared */
            expect(scene, "FINISH/ABORT@3");
            lose(scene, "FINISH", 3, STATUS_NO_LEADER);
        }
        finish(scene, TXN_END_REFUSED);
    }
}

/* Home's own no ends it as well; what it knows better is believed next time. */
static void test_home_says_no(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_2PC, false, "SET b 1", "SET a 2");
    expect(scene, "PREPARE/NOW@3");
    answer(scene, "PREPARE", 3, YES);
    expect(scene, "LAST/5@1");
    answer(scene, "LAST", 1, MISSED("EPOCH", "5", "16"));
    expect(scene, "FINISH/ABORT@3");
    answer(scene, "FINISH", 3, TOLD("ABORTED", "7"));
    txn_driver_wake(&scene->driver);
    expect(scene, "OPEN/16@1 PREPARE/WAIT@1");
    txn_driver_give_up(&scene->driver);
    scene->said[0] = '\0';
    answer(scene, "OPEN", 1, OPENED);
    answer(scene, "PREPARE", 1, YES);
    answer(scene, "DECIDE", 1, TOLD("ABORT", "5"));
    finish(scene, TXN_END_REFUSED);

    static const char *const no[] = {NO("LOCKED"), NO("CHANGE"), MISSED("OLD", "3", "77"), "-ERR what?\r\n"};
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        scene = begin(TXN_2PC, false, "SET b 1", "SET a 2");
        scene->now_ns = 1001;
        answer(scene, "PREPARE", 3, YES);
        scene->said[0] = '\0';
        answer(scene, "LAST", 1, no[i]);
        expect(scene, "FINISH/ABORT@3");
        answer(scene, "FINISH", 3, TOLD("ABORTED", "7"));
        finish(scene, TXN_END_REFUSED);
    }
}

/* A later attempt OPENs first. A vote without its OPEN is worth nothing, and home would not tell who has voted. */
static void test_open_is_needed(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_2PC, false, "SET b 1", "SET a 2");
    expect(scene, "PREPARE/NOW@3");
    answer(scene, "PREPARE", 3, NO("LOCKED"));
    txn_driver_wake(&scene->driver);
    expect(scene, "OPEN/5@1 PREPARE/WAIT@1");
    answer(scene, "PREPARE", 1, YES);
    expect(scene, "PREPARE/WAIT@3");
    answer(scene, "PREPARE", 3, YES);
    answer(scene, "OPEN", 1, "*3\r\n$5\r\nEPOCH\r\n:6\r\n:77\r\n");
    expect(scene, "FINISH/ABORT@1 FINISH/ABORT@3 DECIDE/ABORT@1");
    answer(scene, "DECIDE", 1, TOLD("ABORT", "5"));
    answer(scene, "FINISH", 1, TOLD("ABORTED", "7"));
    answer(scene, "FINISH", 3, TOLD("ABORTED", "7"));
    txn_driver_wake(&scene->driver);
    expect(scene, "OPEN/6@1 PREPARE/WAIT@1"); /* with the term that home told */
    lose(scene, "OPEN", 1, STATUS_NO_LEADER);
    lose(scene, "PREPARE", 1, STATUS_NO_LEADER);
    expect(scene, "DECIDE/ABORT@1");
    lose(scene, "DECIDE", 1, STATUS_NO_LEADER);
    finish(scene, TXN_END_REFUSED);
}

/* A lock is a no vote; the next attempt waits, in the order of shards, and asks the next one only after a yes. */
static void test_conflict(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_2PC, false, "MSET a 1 b 2 c 3", NULL);
    expect(scene, "PREPARE/NOW@2 PREPARE/NOW@3");
    answer(scene, "PREPARE", 2, NO("LOCKED"));
    answer(scene, "PREPARE", 3, NO("LOCKED"));
    txn_driver_wake(&scene->driver);
    expect(scene, "OPEN/5@1 PREPARE/WAIT@1");
    answer(scene, "PREPARE", 1, YES);
    expect(scene, "PREPARE/WAIT@2");
    answer(scene, "OPEN", 1, OPENED);
    answer(scene, "PREPARE", 2, YES);
    expect(scene, "PREPARE/WAIT@3");
    answer(scene, "PREPARE", 3, YES);
    expect(scene, "DECIDE/COMMIT@1");
    answer(scene, "DECIDE", 1, TOLD("COMMIT", "6"));
    reply_is(scene, "+OK\r\n");
    finish(scene, TXN_END_DONE);
}

static void test_conflict_for_too_long(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_2PC, false, "MSET a 1 b 2", NULL);
    scene->said[0] = '\0';
    scene->now_ns = 1001; /* past the deadline */
    answer(scene, "PREPARE", 3, NO("LOCKED"));
    assert_memory_equal(scene->driver.why, "BUSY ", 5);
    finish(scene, TXN_END_REFUSED);
}

static void test_watch(void **state)
{
    (void)state;
    struct scene *scene = memory_allocate_zeroed(1, sizeof(*scene));
    struct txn_plan plan;
    txn_plan_init(&plan, SHARDS, false);
    txn_plan_watch(&plan, slice_from_string("c"), 12);
    add(&plan, "GET a");
    txn_plan_seal(&plan);
    assert_false(plan.readonly); /* a watch is checked by a vote */
    txn_driver_init(&scene->driver, &host, &plan, TXN_2PC, 1000);
    txn_driver_start(&scene->driver);
    expect(scene, "PREPARE/NOW@3");
    answer(scene, "PREPARE", 3, YES);
    expect(scene, "LAST/0@2");
    answer(scene, "LAST", 2, "*3\r\n$2\r\nNO\r\n$7\r\nCHANGED\r\n$1\r\nc\r\n");
    expect(scene, "FINISH/ABORT@3");
    answer(scene, "FINISH", 3, TOLD("ABORTED", "7"));
    finish(scene, TXN_END_CHANGED);
}

/* Home has kept its replies, or some that cannot be these. */
static void test_replies_that_home_kept(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        struct scene *scene = begin(TXN_2PC, false, "MSET a 1 b 2", "INCR a");
        answer(scene, "PREPARE", 3, "*3\r\n$3\r\nYES\r\n:9\r\n*2\r\n+OK\r\n:2\r\n");
        lose(scene, "LAST", 1, STATUS_UNCERTAIN);
        txn_driver_wake(&scene->driver);
        scene->said[0] = '\0';
        answer(scene, "RESOLVE", 1,
               which == 0 ? "*4\r\n$6\r\nCOMMIT\r\n:0\r\n:1\r\n$5\r\n+OK\r\n\r\n"
                          : "*4\r\n$6\r\nCOMMIT\r\n:0\r\n:1\r\n$10\r\n+OK\r\n+OK\r\n\r\n");
        if (which == 0) {
            reply_is(scene, "+OK\r\n:2\r\n");
        }
        finish(scene, which == 0 ? TXN_END_DONE : TXN_END_LOST);
    }
}

/* The answer to LAST is lost: home is asked until it tells what it was. Then home's replies are lost, unless they were
 * made here or home has kept them. */
static void test_lost_decision(void **state)
{
    (void)state;
    enum { LATE, COMMITTED, ABORTED, CASES };
    for (int which = 0; which < CASES; which++) {
        struct scene *scene = begin(TXN_2PC, false, "MSET a 1 b 2", NULL);
        answer(scene, "PREPARE", 3, YES);
        scene->said[0] = '\0';
        scene->now_ns = which == LATE ? 1001 : 0;
        lose(scene, "LAST", 1, which == COMMITTED ? STATUS_EXECUTED : STATUS_UNCERTAIN);
        if (which != LATE) {
            expect(scene, "");
            txn_driver_wake(&scene->driver);
            expect(scene, "RESOLVE@1");
            lose(scene, "RESOLVE", 1, STATUS_NO_LEADER);
            txn_driver_wake(&scene->driver);
            expect(scene, "RESOLVE@1");
            scene->now_ns = 1001;
            answer(scene, "RESOLVE", 1, which == COMMITTED ? TOLD("COMMIT", "6") : TOLD("ABORT", "5"));
        }
        if (which == ABORTED) {
            expect(scene, "FINISH/ABORT@3"); /* home does not know whom to tell */
            answer(scene, "FINISH", 3, TOLD("ABORTED", "7"));
        }
        finish(scene, which == LATE ? TXN_END_UNKNOWN : which == COMMITTED ? TXN_END_LOST : TXN_END_REFUSED);
    }
}

/* The same of a later attempt, whose replies came with the votes: it says the decision again. */
static void test_lost_decision_of_a_later_attempt(void **state)
{
    (void)state;
    for (int late = 0; late <= 1; late++) {
        struct scene *scene = begin(TXN_2PC, false, "MSET a 1 b 2", NULL);
        answer(scene, "PREPARE", 3, NO("LOCKED"));
        txn_driver_wake(&scene->driver);
        answer(scene, "OPEN", 1, OPENED);
        answer(scene, "PREPARE", 1, YES);
        scene->said[0] = '\0';
        answer(scene, "PREPARE", 3, YES);
        expect(scene, "DECIDE/COMMIT@1");
        scene->now_ns = late ? 1001 : 0;
        lose(scene, "DECIDE", 1, STATUS_UNCERTAIN);
        if (!late) {
            txn_driver_wake(&scene->driver);
            expect(scene, "DECIDE/COMMIT@1");
            answer(scene, "DECIDE", 1, TOLD("COMMIT", "6"));
        }
        finish(scene, late ? TXN_END_UNKNOWN : TXN_END_DONE);
    }
}

/* Home aborted it before the decision came: that is an abort, whatever the votes were. */
static void test_home_aborts(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_2PC, false, "MSET a 1 b 2", NULL);
    answer(scene, "PREPARE", 3, NO("LOCKED"));
    txn_driver_wake(&scene->driver);
    answer(scene, "OPEN", 1, OPENED);
    answer(scene, "PREPARE", 1, YES);
    answer(scene, "PREPARE", 3, YES);
    scene->said[0] = '\0';
    scene->now_ns = 1001;
    answer(scene, "DECIDE", 1, TOLD("ABORT", "5"));
    finish(scene, TXN_END_REFUSED);
}

static void test_gives_up(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_2PC, false, "MSET a 1 b 2 c 3", NULL);
    scene->said[0] = '\0';
    answer(scene, "PREPARE", 2, NO("LOCKED"));
    txn_driver_give_up(&scene->driver);
    expect(scene, "FINISH/ABORT@3"); /* it never said LAST, and never will */
    assert_int_equal(scene->end, TXN_END_REFUSED);
    assert_int_equal(scene->settled, 0); /* what shards owe yet is nobody's */
    answer(scene, "PREPARE", 3, YES);
    answer(scene, "FINISH", 3, TOLD("ABORTED", "7"));
    finish(scene, TXN_END_REFUSED);

    scene = begin(TXN_2PC, false, "MSET a 1 b 2", NULL);
    answer(scene, "PREPARE", 3, YES);
    scene->said[0] = '\0';
    txn_driver_give_up(&scene->driver); /* LAST is out */
    assert_int_equal(scene->end, TXN_END_UNKNOWN);
    answer(scene, "LAST", 1, YES);
    finish(scene, TXN_END_UNKNOWN);
}

static void test_nobody_takes_it(void **state)
{
    (void)state;
    struct scene *scene = memory_allocate_zeroed(1, sizeof(*scene));
    struct txn_plan plan;
    scene->refuse = STATUS_FULL;
    txn_plan_init(&plan, SHARDS, false);
    add(&plan, "MSET a 1 b 2");
    txn_plan_seal(&plan);
    txn_driver_init(&scene->driver, &host, &plan, TXN_2PC, 1000);
    txn_driver_start(&scene->driver);
    scene->said[0] = '\0';
    assert_memory_equal(scene->driver.why, "BUSY ", 5);
    finish(scene, TXN_END_REFUSED);
}

/* ---- three phases ---- */

/* ---- many participants ---- */

enum { WIDE_SHARDS = PLAN_NARROW_PARTS + 1 };

static struct scene *begin_flush(enum txn_protocol protocol, uint32_t shards)
{
    struct scene *scene = memory_allocate_zeroed(1, sizeof(*scene));
    struct txn_plan plan;
    scene->term = 5;
    txn_plan_init(&plan, shards, false);
    add(&plan, "FLUSHALL");
    txn_plan_seal(&plan);
    txn_driver_init(&scene->driver, &host, &plan, protocol, 1000);
    txn_driver_start(&scene->driver);
    return scene;
}

/* What wide transactions ask all shards. */
static void expect_of_all(struct scene *scene, const char *word)
{
    char text[sizeof(scene->said)];
    int used = 0;
    for (uint32_t shard = 1; shard <= WIDE_SHARDS; shard++) {
        used += snprintf(text + used, sizeof(text) - (size_t)used, "%s%s@%u", used == 0 ? "" : " ", word, shard);
    }
    expect(scene, text);
}

/* They may take longer than those wait that are prepared: home has opened it before anybody can ask. */
static void test_home_opens_what_is_wide_first(void **state)
{
    (void)state;
    struct scene *scene = begin_flush(TXN_2PC, WIDE_SHARDS);
    expect(scene, "OPEN/5@1");
    answer(scene, "OPEN", 1, OPENED);
    expect_of_all(scene, "PREPARE/NOW");
    for (uint32_t shard = 1; shard <= WIDE_SHARDS; shard++) {
        answer(scene, "PREPARE", shard, YES);
    }
    expect(scene, "DECIDE/COMMIT@1");
    answer(scene, "DECIDE", 1, TOLD("COMMIT", "6"));
    reply_is(scene, "+OK\r\n");
    finish(scene, TXN_END_DONE);
}

static void test_wide_and_three_phases(void **state)
{
    (void)state;
    struct scene *scene = begin_flush(TXN_3PC, WIDE_SHARDS);
    expect(scene, "OPEN/5@1");
    answer(scene, "OPEN", 1, OPENED);
    expect_of_all(scene, "PREPARE/NOW");
    for (uint32_t shard = 1; shard <= WIDE_SHARDS; shard++) {
        answer(scene, "PREPARE", shard, YES);
    }
    expect_of_all(scene, "MOVE/PRECOMMIT");
    for (uint32_t shard = 1; shard <= WIDE_SHARDS; shard++) {
        answer(scene, "MOVE", shard, TOLD("PRECOMMIT", "9"));
    }
    expect(scene, "DECIDE/COMMIT@1");
    answer(scene, "DECIDE", 1, TOLD("COMMIT", "6"));
    finish(scene, TXN_END_DONE);
}

/* Nobody is asked when home does not open it, or was lost with its answer; and one part fewer is not wide. */
static void test_wide_that_home_does_not_open(void **state)
{
    (void)state;
    struct scene *scene = begin_flush(TXN_2PC, WIDE_SHARDS);
    answer(scene, "OPEN", 1, "*3\r\n$5\r\nEPOCH\r\n:6\r\n:77\r\n");
    expect(scene, "OPEN/5@1");
    txn_driver_wake(&scene->driver);
    expect(scene, "OPEN/6@1");
    lose(scene, "OPEN", 1, STATUS_UNCERTAIN);
    expect(scene, "DECIDE/ABORT@1");
    scene->now_ns = 1001; /* past the deadline */
    answer(scene, "DECIDE", 1, TOLD("ABORT", "5"));
    finish(scene, TXN_END_REFUSED);
    scene = begin_flush(TXN_2PC, WIDE_SHARDS - 1);
    assert_non_null(strstr(scene->said, "PREPARE/NOW@2 PREPARE/NOW@3"));
    txn_driver_give_up(&scene->driver);
    for (uint32_t shard = 2; shard < WIDE_SHARDS; shard++) {
        lose(scene, "PREPARE", shard, STATUS_NO_LEADER);
        lose(scene, "FINISH", shard, STATUS_NO_LEADER);
    }
    scene->said[0] = '\0';
    finish(scene, TXN_END_REFUSED);
}

static void test_three_phases(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_3PC, false, "MSET a 1 b 2 c 3", NULL);
    scene->said[0] = '\0';
    answer(scene, "OPEN", 1, OPENED);
    for (uint32_t shard = 1; shard <= 3; shard++) {
        answer(scene, "PREPARE", shard, YES);
    }
    expect(scene, "MOVE/PRECOMMIT@1 MOVE/PRECOMMIT@2 MOVE/PRECOMMIT@3");
    answer(scene, "MOVE", 2, TOLD("PRECOMMIT", "9"));
    lose(scene, "MOVE", 1, STATUS_UNCERTAIN); /* home is lost: two of three are a quorum */
    assert_int_equal(scene->ended, 0);
    answer(scene, "MOVE", 3, TOLD("PRECOMMIT", "9"));
    expect(scene, "DECIDE/COMMIT@1");
    assert_int_equal(scene->end, TXN_END_DONE);
    lose(scene, "DECIDE", 1, STATUS_NO_LEADER);
    finish(scene, TXN_END_DONE);
}

static void test_no_quorum(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_3PC, false, "MSET a 1 b 2 c 3", NULL);
    answer(scene, "OPEN", 1, OPENED);
    for (uint32_t shard = 1; shard <= 3; shard++) {
        answer(scene, "PREPARE", shard, YES);
    }
    scene->said[0] = '\0';
    answer(scene, "MOVE", 2, TOLD("PRECOMMIT", "9"));
    lose(scene, "MOVE", 1, STATUS_UNCERTAIN);
    lose(scene, "MOVE", 3, STATUS_NO_LEADER);
    finish(scene, TXN_END_UNKNOWN); /* the participants will decide */
}

/* ---- reading ---- */

#define YES_WITH(value) "*3\r\n$3\r\nYES\r\n:9\r\n*1\r\n*1\r\n$1\r\n" value "\r\n"
#define SEEN(version, value) "*2\r\n*1\r\n:" version "\r\n*1\r\n*1\r\n$1\r\n" value "\r\n"

static void test_read(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_2PC, false, "MGET a b", NULL);
    expect(scene, "READ@1 READ@3");
    answer(scene, "READ", 1, SEEN("3", "x"));
    answer(scene, "READ", 3, SEEN("4", "y"));
    expect(scene, "READ@1 READ@3");
    answer(scene, "READ", 1, SEEN("3", "x"));
    answer(scene, "READ", 3, SEEN("5", "z")); /* written in between */
    expect(scene, "READ@1 READ@3");
    answer(scene, "READ", 1, SEEN("3", "x"));
    answer(scene, "READ", 3, SEEN("5", "z"));
    reply_is(scene, "*2\r\n$1\r\nz\r\n$1\r\nx\r\n");
    finish(scene, TXN_END_DONE);
}

/* What is about all keys asks every shard, and SCAN the one where its cursor is. */
static void test_all_keys(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_2PC, false, "FLUSHALL", NULL);
    expect(scene, "PREPARE/NOW@2 PREPARE/NOW@3");
    answer(scene, "PREPARE", 2, YES);
    answer(scene, "PREPARE", 3, YES);
    expect(scene, "LAST/5@1");
    answer(scene, "LAST", 1, YES);
    reply_is(scene, "+OK\r\n");
    finish(scene, TXN_END_DONE);
#define COUNTED(count, key) "*2\r\n*2\r\n:7\r\n:" count "\r\n*3\r\n:" count "\r\n:" count "\r\n" key
    scene = begin(TXN_2PC, false, "DBSIZE", "RANDOMKEY");
    for (int round = 0; round < 2; round++) {
        expect(scene, "READ@1 READ@2 READ@3");
        answer(scene, "READ", 1, COUNTED("0", "$-1\r\n"));
        answer(scene, "READ", 2, COUNTED("5", "$1\r\nc\r\n"));
        answer(scene, "READ", 3, COUNTED("0", "$-1\r\n"));
    }
    reply_is(scene, ":5\r\n$1\r\nc\r\n");
    finish(scene, TXN_END_DONE);
#define SCANNED(cursor) "*2\r\n*2\r\n:7\r\n:2\r\n*1\r\n*2\r\n$1\r\n" cursor "\r\n*1\r\n$1\r\na\r\n"
    const char *const cursors[][3] = {{"SCAN 2", SCANNED("0"), "0"}, {"SCAN 2", SCANNED("4"), "14"}};
    for (int i = 0; i < 2; i++) {
        char text[64];
        scene = begin(TXN_2PC, false, cursors[i][0], NULL);
        for (int round = 0; round < 2; round++) {
            expect(scene, "READ@3");
            answer(scene, "READ", 3, cursors[i][1]);
        }
        (void)snprintf(text, sizeof(text), "*2\r\n$%zu\r\n%s\r\n*1\r\n$1\r\na\r\n", strlen(cursors[i][2]),
                       cursors[i][2]);
        reply_is(scene, text);
        finish(scene, TXN_END_DONE);
    }
}

/* Others write all the time: after four looks it takes locks, waiting for them from the first attempt on. */
static void test_read_with_locks(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_2PC, false, "MGET a b", NULL);
    const char *const versions[] = {SEEN("1", "x"), SEEN("2", "x"), SEEN("3", "x"), SEEN("4", "x")};
    for (int round = 0; round < 4; round++) {
        expect(scene, "READ@1 READ@3");
        answer(scene, "READ", 1, versions[round]);
        answer(scene, "READ", 3, SEEN("5", "z"));
    }
    expect(scene, "OPEN/5@1 PREPARE/WAIT@1");
    answer(scene, "OPEN", 1, OPENED);
    answer(scene, "PREPARE", 1, YES_WITH("y"));
    expect(scene, "PREPARE/WAIT@3");
    answer(scene, "PREPARE", 3, YES_WITH("z"));
    expect(scene, "DECIDE/COMMIT@1");
    answer(scene, "DECIDE", 1, TOLD("COMMIT", "6"));
    reply_is(scene, "*2\r\n$1\r\nz\r\n$1\r\ny\r\n");
    finish(scene, TXN_END_DONE);
}

/* ---- a plan of values ---- */

#define NOTHING_THERE "*4\r\n:1000\r\n:1000\r\n:4\r\n$-1\r\n"

#define HELD(dump) "*3\r\n$3\r\nYES\r\n:8\r\n*1\r\n" dump

/* Locks that are not to be had, or a home that does not open it: no vote is asked for, and the next attempt begins
 * anew; a watched key that has changed ends it. */
static void test_values_without_locks(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_2PC, true, "RENAME a b", NULL);
    answer(scene, "DUMP", 1, NOTHING_THERE);
    answer(scene, "DUMP", 3, NOTHING_THERE);
    answer(scene, "PREPARE", 3, NO("LOCKED"));
    txn_driver_wake(&scene->driver);
    scene->said[0] = '\0';
    answer(scene, "OPEN", 1, OPENED);
    answer(scene, "PREPARE/HOLD", 1, HELD(NOTHING_THERE));
    answer(scene, "PREPARE/HOLD", 3, NO("LOCKED"));
    expect(scene, "PREPARE/HOLD@3 DECIDE/ABORT@1");
    answer(scene, "DECIDE", 1, TOLD("ABORT", "5"));
    txn_driver_wake(&scene->driver);
    expect(scene, "OPEN/5@1 PREPARE/HOLD@1");
    answer(scene, "PREPARE/HOLD", 1, HELD(NOTHING_THERE));
    answer(scene, "PREPARE/HOLD", 3, HELD(NOTHING_THERE));
    answer(scene, "OPEN", 1, "*3\r\n$5\r\nEPOCH\r\n:6\r\n:77\r\n");
    expect(scene, "PREPARE/HOLD@3 FINISH/ABORT@1 FINISH/ABORT@3 DECIDE/ABORT@1");
    answer(scene, "DECIDE", 1, TOLD("ABORT", "5"));
    answer(scene, "FINISH", 1, TOLD("ABORTED", "7"));
    answer(scene, "FINISH", 3, TOLD("ABORTED", "7"));
    txn_driver_wake(&scene->driver);
    expect(scene, "OPEN/6@1 PREPARE/HOLD@1");
    txn_driver_give_up(&scene->driver);
    expect(scene, "DECIDE/ABORT@1");
    answer(scene, "OPEN", 1, OPENED);
    answer(scene, "PREPARE/HOLD", 1, HELD(NOTHING_THERE));
    answer(scene, "DECIDE", 1, TOLD("ABORT", "5"));
    finish(scene, TXN_END_REFUSED);
}

static void test_values(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_2PC, true, "RENAME a b", NULL);
    expect(scene, "DUMP/b@1 DUMP/a@3");
    answer(scene, "DUMP", 1, NOTHING_THERE);
    answer(scene, "DUMP", 3, NOTHING_THERE);
    expect(scene, "PREPARE/NOW@3"); /* that it is not there is checked, too */
    answer(scene, "PREPARE", 3, "*3\r\n$2\r\nNO\r\n$7\r\nCHANGED\r\n$1\r\na\r\n");
    txn_driver_wake(&scene->driver);
    expect(scene, "OPEN/5@1 PREPARE/HOLD@1"); /* it is read again, under its locks */
    answer(scene, "OPEN", 1, OPENED);
    answer(scene, "PREPARE", 1, HELD(NOTHING_THERE));
    expect(scene, "PREPARE/HOLD@3");
    answer(scene, "PREPARE", 3, HELD(NOTHING_THERE));
    expect(scene, "PREPARE/NOW@1 PREPARE/NOW@3"); /* the record is open already */
    answer(scene, "PREPARE", 1, "*3\r\n$3\r\nYES\r\n:9\r\n*0\r\n");
    answer(scene, "PREPARE", 3, "*3\r\n$3\r\nYES\r\n:9\r\n*0\r\n");
    expect(scene, "DECIDE/COMMIT@1");
    answer(scene, "DECIDE", 1, TOLD("COMMIT", "6"));
    reply_is(scene, "-ERR no such key\r\n");
    finish(scene, TXN_END_DONE);
}

/* A flush among what moves values: the shards are told FLUSHALL, and what to put behind it. */
static void test_values_and_a_flush(void **state)
{
    (void)state;
    struct scene *scene = begin(TXN_2PC, true, "FLUSHALL", "MSETNX b 1 a 2");
    expect(scene, "DUMP/b@1 DUMP/a@3");
    answer(scene, "DUMP", 1, NOTHING_THERE);
    answer(scene, "DUMP", 3, NOTHING_THERE);
    expect(scene, "PREPARE/NOW@2 PREPARE/NOW@3");
    answer(scene, "PREPARE", 2, YES);
    answer(scene, "PREPARE", 3, YES);
    expect(scene, "LAST/5@1");
    answer(scene, "LAST", 1, YES);
    reply_is(scene, "+OK\r\n:1\r\n");
    finish(scene, TXN_END_DONE);
}

/* The replies were made here, so they are not lost with the answer to LAST. */
static void test_values_vote_last(void **state)
{
    (void)state;
    for (int lost = 0; lost <= 1; lost++) {
        struct scene *scene = begin(TXN_2PC, true, "RENAME a b", NULL);
        answer(scene, "DUMP", 1, NOTHING_THERE);
        answer(scene, "DUMP", 3, NOTHING_THERE);
        answer(scene, "PREPARE", 3, "*3\r\n$3\r\nYES\r\n:9\r\n*0\r\n");
        expect(scene, "DUMP/b@1 DUMP/a@3 PREPARE/NOW@3 LAST/5@1");
        if (lost) {
            lose(scene, "LAST", 1, STATUS_EXECUTED);
            txn_driver_wake(&scene->driver);
            expect(scene, "RESOLVE@1");
            answer(scene, "RESOLVE", 1, TOLD("COMMIT", "6"));
        } else {
            answer(scene, "LAST", 1, "*3\r\n$3\r\nYES\r\n:9\r\n*0\r\n");
        }
        reply_is(scene, "-ERR no such key\r\n");
        finish(scene, TXN_END_DONE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_commit),
        cmocka_unit_test(test_home),
        cmocka_unit_test(test_a_vote_is_no),
        cmocka_unit_test(test_home_says_no),
        cmocka_unit_test(test_open_is_needed),
        cmocka_unit_test(test_conflict),
        cmocka_unit_test(test_conflict_for_too_long),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_replies_that_home_kept),
        cmocka_unit_test(test_lost_decision),
        cmocka_unit_test(test_lost_decision_of_a_later_attempt),
        cmocka_unit_test(test_home_aborts),
        cmocka_unit_test(test_gives_up),
        cmocka_unit_test(test_nobody_takes_it),
        cmocka_unit_test(test_home_opens_what_is_wide_first),
        cmocka_unit_test(test_wide_and_three_phases),
        cmocka_unit_test(test_wide_that_home_does_not_open),
        cmocka_unit_test(test_three_phases),
        cmocka_unit_test(test_no_quorum),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_all_keys),
        cmocka_unit_test(test_values_and_a_flush),
        cmocka_unit_test(test_read_with_locks),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_values_vote_last),
        cmocka_unit_test(test_values_without_locks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

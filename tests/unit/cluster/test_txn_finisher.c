/* The finisher by itself, over records made by hand: what it asks for, and how little it looks at
 * (src/cluster/txn_finisher.h). */
#include "cluster/txn_finisher.h"
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MANY = 1000, TIMEOUT_MS = 5000 };

struct scene {
    struct sim *sim;
    struct env *env;
    struct finisher *finisher;
    struct txns txns;
    uint64_t position;
    int64_t time_ms;
    uint64_t lost; /* a node */
    int asked[COMMAND_MAXIMUM];
    uint32_t words; /* of the last question */
    struct requester *last;
    uint64_t last_tag;
};

static enum status submit(void *owner, uint32_t shard, const struct command *command, struct requester *requester,
                          uint64_t tag)
{
    struct scene *scene = owner;
    assert_true(shard >= 1 && shard <= 2);
    scene->asked[command->spec->id]++;
    scene->words = command->argc;
    scene->last = requester;
    scene->last_tag = tag;
    return STATUS_OK;
}

static bool runner_lost(void *owner, const struct txn_runner *runner)
{
    return runner->node == ((struct scene *)owner)->lost;
}

static int set_up(void **state)
{
    static const struct finisher_events events = {submit, runner_lost};
    struct scene *scene = calloc(1, sizeof(*scene));
    assert_non_null(scene);
    scene->sim = sim_create(1);
    scene->env = sim_node_start(scene->sim, 0);
    scene->finisher = finisher_create(scene->env, &events, scene);
    txns_init(&scene->txns, 0);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    finisher_destroy(scene->finisher);
    txns_deinit(&scene->txns);
    sim_destroy(scene->sim);
    free(scene);
    return 0;
}

/* A turn with a look at shard 1; how many records were looked at. */
static uint64_t look(struct scene *scene)
{
    uint64_t before = finisher_looked(scene->finisher);
    finisher_begin_turn(scene->finisher);
    finisher_look(scene->finisher, &(struct finisher_shard){1, &scene->txns, scene->time_ms, false});
    finisher_end_turn(scene->finisher);
    return finisher_looked(scene->finisher) - before;
}

static struct slice id_of(char text[static 16], int number)
{
    return slice_of(text, (size_t)snprintf(text, 16, "t%d", number));
}

static void open_one(struct scene *scene, int number, int64_t timeout_ms)
{
    char text[16];
    const struct slice participants[] = {SLICE_LITERAL("2")};
    const struct home_open open = {.id = id_of(text, number),
                                   .position = ++scene->position,
                                   .protocol = TXN_2PC,
                                   .time_ms = scene->time_ms,
                                   .timeout_ms = timeout_ms,
                                   .participants = participants,
                                   .participant_count = 1};
    assert_int_equal(homes_open(&scene->txns.homes, &open), HOME_OPENED);
}

static void abort_one(struct scene *scene, int number)
{
    char text[16];
    struct home *home = homes_find(&scene->txns.homes, id_of(text, number));
    assert_true(home_abort(&scene->txns.homes, home, SLICE_LITERAL("so"), ++scene->position, scene->time_ms));
}

/* What runs costs nothing while it runs; all are looked at when the soonest deadline is over, and once. */
static void open_records(void **state)
{
    struct scene *scene = *state;
    for (int i = 0; i < MANY; i++) {
        open_one(scene, i, TIMEOUT_MS);
    }
    assert_int_equal(look(scene), MANY);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(look(scene), 0);
    }
    open_one(scene, MANY, TIMEOUT_MS / 2);
    assert_int_equal(look(scene), 1);
    scene->time_ms += TIMEOUT_MS / 2 - 1;
    assert_int_equal(look(scene), 0);
    scene->time_ms++;
    assert_int_equal(look(scene), MANY + 1);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_DECIDE], 1);
    assert_int_equal(look(scene), 0);
    scene->time_ms += TIMEOUT_MS / 2;
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_DECIDE], MANY + 1);
}

/* A deadline that came later, with the participants, counts; the record is new then. */
static void a_deadline_that_moves(void **state)
{
    struct scene *scene = *state;
    const struct home_open begin = {.id = SLICE_LITERAL("t0"), .position = 1, .protocol = TXN_2PC, .timeout_ms = 10};
    assert_int_equal(homes_open(&scene->txns.homes, &begin), HOME_OPENED);
    scene->position = 1;
    (void)look(scene);
    open_one(scene, 0, TIMEOUT_MS);
    scene->time_ms += 10;
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_DECIDE], 0);
    scene->time_ms += TIMEOUT_MS;
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_DECIDE], 1);
}

/* Of three phases one that has no participants yet may be OPEN when this arrives: RESOLVE aborts it only if it is not.
 */
static void one_that_was_not_opened_in_time(void **state)
{
    struct scene *scene = *state;
    for (int i = 0; i < 2; i++) {
        char text[16];
        const struct home_open begin = {.id = id_of(text, i),
                                        .position = ++scene->position,
                                        .protocol = i == 0 ? TXN_2PC : TXN_3PC,
                                        .timeout_ms = 10};
        assert_int_equal(homes_open(&scene->txns.homes, &begin), HOME_OPENED);
    }
    (void)look(scene);
    scene->time_ms += 10;
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_DECIDE], 1);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_RESOLVE], 1);
}

/* Each decision is looked at once; its task asks again by itself, after a pause. */
static void decided_records(void **state)
{
    struct scene *scene = *state;
    for (int i = 0; i < MANY; i++) {
        open_one(scene, i, TIMEOUT_MS);
    }
    (void)look(scene);
    for (int i = 0; i < 10; i++) {
        abort_one(scene, MANY - 1 - i);
    }
    assert_int_equal(look(scene), 10);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_FINISH], 10);
    assert_int_equal(look(scene), 0);
    scene->last->events->failed(scene->last, scene->last_tag, STATUS_UNCERTAIN);
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_FINISH], 10);
    sim_run_for(scene->sim, 2 * FINISHER_PAUSE_MS * INT64_C(1000000));
    assert_int_equal(look(scene), 0);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_FINISH], 11);
}

/* Led elsewhere in between: everything is looked at again. */
static void leadership_comes_back(void **state)
{
    struct scene *scene = *state;
    open_one(scene, 1, TIMEOUT_MS);
    open_one(scene, 2, TIMEOUT_MS);
    abort_one(scene, 2);
    assert_int_equal(look(scene), 2);
    finisher_begin_turn(scene->finisher);
    finisher_end_turn(scene->finisher);
    assert_int_equal(look(scene), 2);
}

/* Prepared parts that are young are not looked at; an old one asks its home. */
static void prepared_parts(void **state)
{
    struct scene *scene = *state;
    char text[16];
    struct buffer body;
    buffer_init(&body);
    for (int i = 0; i < MANY; i++) {
        const struct slice participants[] = {SLICE_LITERAL("1")};
        const struct txn_prepare said = {.id = id_of(text, i),
                                         .home = 2,
                                         .protocol = i == 0 ? TXN_3PC : TXN_2PC,
                                         .participants = participants,
                                         .participant_count = 1,
                                         .shard_count = 1};
        const struct part_prepare prepare = {&said, ++scene->position, i < 2 ? 0 : 1, 0};
        (void)parts_prepare(&scene->txns.parts, &prepare, &body);
    }
    assert_int_equal(look(scene), 0);
    scene->time_ms = FINISHER_ASK_MS;
    assert_int_equal(look(scene), 2);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_STATUS], 1);
    scene->time_ms = FINISHER_ASK_2PC_MS;
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_STATUS], 2);
    scene->time_ms++;
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_STATUS], MANY);
    for (int i = 0; i < 10; i++) { /* all pause */
        assert_int_equal(look(scene), 0);
    }
    scene->time_ms += FINISHER_ASK_MS;
    assert_int_equal(look(scene), MANY);
}

static void prepare_one(struct scene *scene, int number)
{
    char text[16];
    struct buffer body;
    buffer_init(&body);
    const struct slice participants[] = {SLICE_LITERAL("1")};
    const struct txn_prepare said = {.id = id_of(text, number),
                                     .home = 2,
                                     .epoch = 7,
                                     .protocol = TXN_2PC,
                                     .participants = participants,
                                     .participant_count = 1,
                                     .shard_count = 1};
    const struct part_prepare prepare = {&said, ++scene->position, scene->time_ms, 0};
    (void)parts_prepare(&scene->txns.parts, &prepare, &body);
}

/* The question that was asked last is answered. */
static void answer_last(struct scene *scene, const char *reply)
{
    struct requester *requester = scene->last;
    resp_raw(requester->events->begin(requester, scene->last_tag), slice_from_string(reply));
    requester->events->end(requester, scene->last_tag, NULL);
}

#define STATUS(state, outcome)                                                                                         \
    "*20\r\n$2\r\nid\r\n$1\r\nt\r\n$8\r\nprotocol\r\n$3\r\n2PC\r\n$5\r\nstate\r\n" state                               \
    "\r\n$7\r\noutcome\r\n" outcome "\r\n$6\r\nreason\r\n$0\r\n\r\n$5\r\nepoch\r\n:7\r\n"

/* Home is asked by a read; only what it does not know, or nobody has opened there, is asked by an entry. */
static void asks_by_a_read_first(void **state)
{
    static const struct {
        const char *reply;
        int resolves, finishes;
    } answers[] = {
        {"$-1\r\n", 1, 0},
        {STATUS("$5\r\nBEGUN", "$0\r\n"), 1, 0},
        {STATUS("$4\r\nOPEN", "$0\r\n"), 0, 0},
        {STATUS("$5\r\nABORT", "$5\r\nABORT"), 0, 1},
        {STATUS("$4\r\nDONE", "$6\r\nCOMMIT"), 0, 1},
        {"*2\r\n$2\r\nid\r\n", 0, 0},
    };
    struct scene *scene = *state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        prepare_one(scene, (int)i);
        int resolves = scene->asked[COMMAND_COHORT_TXN_RESOLVE];
        int finishes = scene->asked[COMMAND_COHORT_TXN_FINISH];
        scene->time_ms += FINISHER_ASK_2PC_MS;
        (void)look(scene);
        answer_last(scene, answers[i].reply);
        (void)look(scene);
        assert_int_equal(scene->asked[COMMAND_COHORT_TXN_RESOLVE] - resolves, answers[i].resolves);
        assert_int_equal(scene->asked[COMMAND_COHORT_TXN_FINISH] - finishes, answers[i].finishes);
    }
}

static void prepare_by(struct scene *scene, const char *id, uint64_t node)
{
    struct buffer body;
    buffer_init(&body);
    const struct txn_prepare said = {
        .id = slice_from_string(id), .home = 2, .epoch = 7, .protocol = TXN_2PC, .runner = {node, 1}};
    const struct part_prepare prepare = {&said, ++scene->position, scene->time_ms, 0};
    (void)parts_prepare(&scene->txns.parts, &prepare, &body);
}

/* What a lost node has prepared is asked about as soon as that is seen, once; what others have, in its time. */
static void parts_of_a_lost_node(void **state)
{
    struct scene *scene = *state;
    prepare_by(scene, "t", 3);
    prepare_by(scene, "u", 4);
    prepare_by(scene, "v", 0);
    assert_int_equal(look(scene), 0);
    scene->lost = 3;
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_STATUS], 0); /* it was looked at just now */
    scene->time_ms += FINISHER_PAUSE_MS;
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_STATUS], 1);
    scene->time_ms += FINISHER_PAUSE_MS;
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_STATUS], 1);
    assert_int_equal(finisher_early(scene->finisher), 1);
    answer_last(scene, "$-1\r\n");
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_RESOLVE], 1);
    answer_last(scene, "*3\r\n$5\r\nABORT\r\n:0\r\n:1\r\n");
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_FINISH], 1);
}

static void open_by(struct scene *scene, const char *id)
{
    const struct slice participants[] = {SLICE_LITERAL("2")};
    const struct home_open open = {.id = slice_from_string(id),
                                   .position = ++scene->position,
                                   .protocol = TXN_2PC,
                                   .time_ms = scene->time_ms,
                                   .timeout_ms = TIMEOUT_MS,
                                   .participants = participants,
                                   .participant_count = 1};
    assert_int_equal(homes_open(&scene->txns.homes, &open), HOME_OPENED);
}

/* A command's or a MULTI's is aborted; what TXN.PREPARE has prepared waits for its client, who may be at another node.
 */
static void records_of_a_lost_node(void **state)
{
    struct scene *scene = *state;
    scene->lost = 3;
    open_by(scene, "~1.0.3.1.2");
    open_by(scene, "~1.0.4.1.3");
    open_by(scene, "a client's");
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_DECIDE], 0);
    open_by(scene, "~1.0.3.1.5");
    scene->time_ms += FINISHER_PAUSE_MS;
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_DECIDE], 1);
    assert_int_equal(finisher_early(scene->finisher), 1);
    scene->lost = 4; /* that one is back before it was heard: nothing is asked again */
    scene->last->events->failed(scene->last, scene->last_tag, STATUS_UNCERTAIN);
    scene->time_ms += FINISHER_PAUSE_MS;
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_DECIDE], 2);
    scene->time_ms += TIMEOUT_MS;
    (void)look(scene);
    assert_int_equal(finisher_early(scene->finisher), 2);
}

/* Of three phases: a home that does not answer once may be electing, and what is prepared waits for its client. */
static void a_home_that_is_silent(void **state)
{
    struct scene *scene = *state;
    struct buffer body;
    buffer_init(&body);
    const struct slice participants[] = {SLICE_LITERAL("1")};
    const struct txn_prepare said = {.id = SLICE_LITERAL("t"),
                                     .home = 2,
                                     .protocol = TXN_3PC,
                                     .participants = participants,
                                     .participant_count = 1,
                                     .shard_count = 1};
    const struct part_prepare prepare = {&said, ++scene->position, 0, 0};
    (void)parts_prepare(&scene->txns.parts, &prepare, &body);
    for (int times = 1; times <= 2; times++) {
        assert_int_equal(scene->asked[COMMAND_COHORT_TXN_ASK], 0);
        scene->time_ms += FINISHER_ASK_MS;
        (void)look(scene);
        assert_int_equal(scene->asked[COMMAND_COHORT_TXN_STATUS], times);
        scene->last->events->failed(scene->last, scene->last_tag, STATUS_UNCERTAIN);
        (void)look(scene);
    }
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_ASK], 1);
}

/* Of three phases: the more take part, the later each of them asks; so that a large one that just takes its time is not
 * ended by those that voted first. Home is not asked for all the others. */
static void the_more_the_later(void **state)
{
    enum { PARTICIPANTS = 1024 };
    struct scene *scene = *state;
    static struct slice participants[PARTICIPANTS];
    static char numbers[PARTICIPANTS][8];
    struct buffer body;
    buffer_init(&body);
    for (int i = 0; i < PARTICIPANTS; i++) {
        int size = snprintf(numbers[i], sizeof(numbers[i]), "%d", i + 1);
        participants[i] = slice_of(numbers[i], (size_t)size);
    }
    const struct txn_prepare said = {.id = SLICE_LITERAL("t"),
                                     .home = 2,
                                     .protocol = TXN_3PC,
                                     .participants = participants,
                                     .participant_count = PARTICIPANTS,
                                     .shard_count = PARTICIPANTS};
    const struct part_prepare prepare = {&said, ++scene->position, 0, 0};
    (void)parts_prepare(&scene->txns.parts, &prepare, &body);
    scene->time_ms = (1 + PARTICIPANTS / FINISHER_WIDE) * FINISHER_ASK_MS - 1;
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_STATUS], 0);
    scene->time_ms += FINISHER_ASK_MS; /* it is looked at once in so long */
    (void)look(scene);
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_STATUS], 1);
    assert_int_equal(scene->words, 3); /* BRIEF */
}

/* Those whose home does not answer stay; others behind them are asked about, and forgotten, all the same. */
static void finished_parts(void **state)
{
    struct scene *scene = *state;
    char text[16];
    enum { STUCK = 2 * FINISHER_LOOK };
    for (int i = 0; i <= STUCK; i++) {
        (void)parts_refuse(&scene->txns.parts, id_of(text, i), i == STUCK ? 1 : 2, 0, ++scene->position, 0);
    }
    scene->time_ms = FINISHER_ASK_MS;
    for (int i = 0; i < 3; i++) {
        assert_true(look(scene) <= FINISHER_LOOK);
    }
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_STATUS], STUCK + 1);
    assert_int_equal(look(scene), FINISHER_LOOK); /* from the beginning again */
    assert_int_equal(scene->asked[COMMAND_COHORT_TXN_STATUS], STUCK + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(open_records, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_deadline_that_moves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_was_not_opened_in_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(decided_records, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leadership_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(prepared_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(asks_by_a_read_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parts_of_a_lost_node, set_up, tear_down),
        cmocka_unit_test_setup_teardown(records_of_a_lost_node, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_home_that_is_silent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_more_the_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(finished_parts, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

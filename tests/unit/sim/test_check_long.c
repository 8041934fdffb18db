/* Long histories: those made by a real execution pass, in seconds; one changed reply is found. */
#define MODEL_TEXT_BYTES (1 << 16)
#include "check_random.h"

#include <stdarg.h>

#include <setjmp.h>

#include <cmocka.h>

enum { CLIENTS = 20, KEYS_MAXIMUM = 64, TEXT_BYTES = 24 };

/* What a history is like. */
struct shape {
    uint32_t operations;
    uint32_t keys;
    const enum history_kind *kinds; /* chosen from evenly */
    uint32_t kind_count;
    uint32_t unknown_of_10000;
    uint64_t pause_ns; /* at most, of a client between operations */
    uint64_t latency_ns;
};

struct planned {
    uint32_t client;
    uint64_t start;
    uint64_t moment;
    uint64_t end;
};

static int compare_moments(const void *left, const void *right)
{
    const struct planned *a = left;
    const struct planned *b = right;
    return a->moment < b->moment ? -1 : a->moment > b->moment;
}

/* Clients that do one thing after another, each with a moment between start and end. */
static struct planned *plan(struct prng *prng, const struct shape *shape)
{
    struct planned *planned = calloc(shape->operations, sizeof(*planned));
    ASSERT(planned != NULL);
    uint64_t free_at[CLIENTS] = {0};
    for (uint32_t i = 0; i < shape->operations; i++) {
        struct planned *one = &planned[i];
        one->client = i % CLIENTS;
        one->start = free_at[one->client] + prng_below(prng, shape->pause_ns + 1);
        one->moment = one->start + 1 + prng_below(prng, shape->latency_ns);
        one->end = one->moment + 1 + prng_below(prng, shape->latency_ns);
        free_at[one->client] = one->end + 1;
    }
    qsort(planned, shape->operations, sizeof(*planned), compare_moments);
    return planned;
}

static void make_history(struct prng *prng, const struct shape *shape, struct history *history)
{
    struct model *models = calloc(shape->keys, sizeof(*models));
    struct planned *planned = plan(prng, shape);
    char *copy = malloc(MODEL_TEXT_BYTES);
    ASSERT(models != NULL && copy != NULL);
    for (uint32_t i = 0; i < shape->operations; i++) {
        uint32_t key = (uint32_t)prng_below(prng, shape->keys);
        char name[TEXT_BYTES];
        char value[TEXT_BYTES];
        char expected[TEXT_BYTES];
        (void)snprintf(name, sizeof(name), "key%u", key);
        (void)snprintf(value, sizeof(value), "%07u,", i);
        (void)snprintf(expected, sizeof(expected), "%07u,", i - (uint32_t)prng_below(prng, 4 * shape->keys));
        struct history_call call = {.kind = shape->kinds[prng_below(prng, shape->kind_count)],
                                    .process = planned[i].client,
                                    .key = slice_from_string(name),
                                    .field = SLICE_LITERAL("f"),
                                    .value = slice_from_string(value),
                                    .expected = slice_from_string(expected),
                                    .by = 1};
        struct history_result result = {0};
        bool unknown = prng_below(prng, 10000) < shape->unknown_of_10000;
        bool executed = !(unknown && prng_chance(prng, 1, 2)) && model_execute(&models[key], &call, copy, &result);
        if (executed || unknown) {
            assert_int_equal(history_add(history, &call, planned[i].start, planned[i].end,
                                         unknown ? HISTORY_UNKNOWN : HISTORY_OK, &result),
                             STATUS_OK);
        }
    }
    free(copy);
    free(planned);
    free(models);
}

/* Changes one reply to what cannot be, late in the history, and returns its number. */
static uint32_t spoil(struct history *history)
{
    for (uint32_t i = history->count * 9 / 10; i < history->count; i++) {
        struct history_operation *operation = &history->operations[i];
        const struct history_kind_facts *facts = history_kind_facts(operation->kind);
        if (operation->outcome != HISTORY_OK) {
            continue;
        }
        if (facts->shape == HISTORY_RESULT_TEXT) {
            operation->shape = HISTORY_RESULT_TEXT;
            operation->result_text = texts_add(&history->texts, SLICE_LITERAL("nobody wrote this"));
            return i;
        }
        if (facts->shape == HISTORY_RESULT_NUMBER && !facts->is_flag) {
            operation->result_number += 1000000;
            return i;
        }
    }
    fail_msg("nothing to spoil");
    return 0;
}

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void judge(const char *name, const struct shape *shape)
{
    struct prng prng;
    prng_seed(&prng, 7);
    struct history history;
    history_init(&history);
    make_history(&prng, shape, &history);
    struct check check;
    double before = seconds();
    assert_int_equal(check_run(&check, &history, CHECK_MEMORY_DEFAULT), STATUS_OK);
    double good = seconds() - before;
    assert_int_equal(check.verdict, CHECK_LINEARIZABLE);
    check_deinit(&check);

    uint32_t spoilt = spoil(&history);
    before = seconds();
    assert_int_equal(check_run(&check, &history, CHECK_MEMORY_DEFAULT), STATUS_OK);
    double bad = seconds() - before;
    assert_int_equal(check.verdict, CHECK_NOT_LINEARIZABLE);
    before = seconds();
    size_t configurations = 0;
    for (uint32_t i = 0; i < check.key_count; i++) {
        if (check.keys[i].verdict == CHECK_NOT_LINEARIZABLE) {
            struct check_explanation explanation;
            check_explain(&check, &check.keys[i], &explanation);
            assert_true(explanation.stuck_count > 0);
            assert_int_equal(history.operations[spoilt].key, check.keys[i].key);
            check_explanation_deinit(&explanation);
            configurations = check.keys[i].configurations;
        }
    }
    print_message("# %-10s %6u operations: good %.2f s, bad %.2f s (%zu configurations), explained %.2f s\n", name,
                  history.count, good, bad, configurations, seconds() - before);
    check_deinit(&check);
    history_deinit(&history);
}

#define KINDS(...)                                                                                                     \
    .kinds = (const enum history_kind[]){__VA_ARGS__},                                                                 \
    .kind_count = sizeof((const enum history_kind[]){__VA_ARGS__}) / sizeof(enum history_kind)

static void one_register(void **state)
{
    struct shape shape = {.operations = 100000, .keys = 1, .latency_ns = 1000, KINDS(HISTORY_GET, HISTORY_SET)};
    judge("register", &shape);
    shape.unknown_of_10000 = 10;
    judge("unknown", &shape);
}

static void one_counter(void **state)
{
    struct shape shape = {
        .operations = 100000, .keys = 1, .latency_ns = 1000, KINDS(HISTORY_GET, HISTORY_INCR, HISTORY_INCR)};
    judge("counter", &shape);
    shape.unknown_of_10000 = 10;
    judge("unknown", &shape);
}

static void lists(void **state)
{
    struct shape shape = {.operations = 20000, .keys = 20, .latency_ns = 1000, KINDS(HISTORY_GET, HISTORY_APPEND)};
    judge("lists", &shape);
    shape.unknown_of_10000 = 20;
    judge("unknown", &shape);
}

static void everything(void **state)
{
    struct shape shape = {.operations = 100000,
                          .keys = 10,
                          .latency_ns = 1000,
                          .pause_ns = 500,
                          KINDS(HISTORY_GET, HISTORY_GET, HISTORY_SET, HISTORY_SETNX, HISTORY_GETSET, HISTORY_GETDEL,
                                HISTORY_DEL, HISTORY_IFEQ, HISTORY_INCR, HISTORY_CLEAR)};
    judge("everything", &shape);
    shape.unknown_of_10000 = 10;
    judge("unknown", &shape);
}

static void hashes(void **state)
{
    struct shape shape = {.operations = 100000,
                          .keys = 10,
                          .latency_ns = 1000,
                          KINDS(HISTORY_HGET, HISTORY_HSET, HISTORY_HSETNX, HISTORY_HDEL)};
    judge("hashes", &shape);
    shape.unknown_of_10000 = 10;
    judge("unknown", &shape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_register), cmocka_unit_test(one_counter),
                                       cmocka_unit_test(lists), cmocka_unit_test(everything), cmocka_unit_test(hashes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The checker against brute force: tiny random histories, all orders tried. */
#include "check_random.h"

#include "check/history_writer.h"

#include <stdarg.h>

#include <setjmp.h>

#include <cmocka.h>

enum { OPERATIONS = 7, TIMES = 10 };

static const char *const texts[] = {"", "1", "2", "21", "a"};

static struct slice random_text(struct prng *prng)
{
    return slice_from_string(texts[prng_below(prng, sizeof(texts) / sizeof(texts[0]))]);
}

/* A profile narrows the kinds, so that interesting things meet. */
static enum history_kind random_kind(struct prng *prng, uint64_t profile)
{
    static const enum history_kind plain[] = {HISTORY_GET, HISTORY_GET, HISTORY_SET, HISTORY_IFEQ};
    static const enum history_kind counting[] = {HISTORY_GET, HISTORY_INCR, HISTORY_INCR, HISTORY_APPEND, HISTORY_DEL};
    static const enum history_kind appending[] = {HISTORY_GET, HISTORY_APPEND, HISTORY_APPEND, HISTORY_APPEND,
                                                  HISTORY_IFEQ};
    static const enum history_kind counter[] = {HISTORY_GET, HISTORY_INCR};
    switch (profile) {
    case 0: return plain[prng_below(prng, 4)];
    case 1: return counting[prng_below(prng, 5)];
    case 2: return appending[prng_below(prng, 5)];
    case 3: return (enum history_kind)(HISTORY_HGET + prng_below(prng, HISTORY_KINDS - HISTORY_HGET));
    case 4: return counter[prng_below(prng, 2)];
    default: return (enum history_kind)prng_below(prng, HISTORY_HGET);
    }
}

static struct history_call random_call(struct prng *prng, uint64_t profile)
{
    return (struct history_call){
        .kind = random_kind(prng, profile),
        .key = SLICE_LITERAL("key"),
        .field = SLICE_LITERAL("field"),
        .value = random_text(prng),
        .expected = random_text(prng),
        .by = (int64_t)prng_below(prng, 3) + (profile == 4),
    };
}

/* A result out of nowhere. */
static struct history_result random_result(struct prng *prng, enum history_kind kind)
{
    const struct history_kind_facts *facts = history_kind_facts(kind);
    if (facts->shape == HISTORY_RESULT_TEXT && prng_chance(prng, 1, 4)) {
        return model_null();
    }
    return (struct history_result){
        .shape = facts->shape, .text = random_text(prng), .number = (int64_t)prng_below(prng, facts->is_flag ? 2 : 4)};
}

/* Executes operations one after the other; each one's interval holds the moment when it was executed. Now and then a
 * result is made up, an operation is of unknown outcome, or one of those was never executed. */
static void make_history(struct prng *prng, struct history *history)
{
    struct model model = {0};
    uint64_t profile = prng_below(prng, 6);
    uint32_t count = 1 + (uint32_t)prng_below(prng, OPERATIONS);
    for (uint32_t i = 0; i < count; i++) {
        struct history_call call = random_call(prng, profile);
        struct history_result result = {0};
        char copy[MODEL_TEXT_BYTES];
        bool unknown = prng_chance(prng, 1, 4);
        bool executed = !(unknown && prng_chance(prng, 1, 2)) && model_execute(&model, &call, copy, &result);
        if (!executed && !unknown) {
            continue;
        }
        if (!unknown && prng_chance(prng, 1, OPERATIONS)) {
            result = random_result(prng, call.kind);
        }
        uint64_t moment = (uint64_t)TIMES + 2 * i;
        uint64_t start = moment - prng_below(prng, TIMES);
        assert_int_equal(history_add(history, &call, start, moment + prng_below(prng, TIMES),
                                     unknown ? HISTORY_UNKNOWN : HISTORY_OK, &result),
                         STATUS_OK);
    }
}

/* ---- brute force ---- */

static struct history_call call_of(const struct history *history, const struct history_operation *operation)
{
    return (struct history_call){
        .kind = operation->kind,
        .value = history_text(history, operation->value),
        .expected = history_text(history, operation->expected),
        .by = operation->by,
    };
}

static bool same_result(const struct history *history, const struct history_operation *operation,
                        const struct history_result *result)
{
    return operation->shape == (uint8_t)result->shape &&
           (result->shape != HISTORY_RESULT_TEXT ||
            slice_equal(history_text(history, operation->result_text), result->text)) &&
           (result->shape != HISTORY_RESULT_NUMBER || operation->result_number == result->number);
}

static bool may_come_next(const struct history *history, uint32_t done, uint32_t next)
{
    for (uint32_t i = 0; i < history->count; i++) {
        if ((done & (1U << i)) == 0 && history->operations[i].end < history->operations[next].start) {
            return false;
        }
    }
    return (done & (1U << next)) == 0;
}

/* Is there an order of what ended by the horizon, with what else began by then as one likes? */
static bool brute_force(const struct history *history, uint64_t horizon, uint32_t done, const struct model *model)
{
    bool all = true;
    for (uint32_t i = 0; i < history->count; i++) {
        const struct history_operation *operation = &history->operations[i];
        all = all && ((done & (1U << i)) != 0 || operation->outcome == HISTORY_UNKNOWN || operation->end > horizon);
        if (!may_come_next(history, done, i) || operation->start > horizon) {
            continue;
        }
        struct model after = *model;
        struct history_result result;
        struct history_call call = call_of(history, operation);
        char copy[MODEL_TEXT_BYTES];
        if (model_execute(&after, &call, copy, &result) &&
            (operation->outcome == HISTORY_UNKNOWN || same_result(history, operation, &result)) &&
            brute_force(history, horizon, done | 1U << i, &after)) {
            return true;
        }
    }
    return all;
}

static bool has_order(const struct history *history, uint64_t horizon)
{
    struct model nothing = {0};
    return brute_force(history, horizon, 0, &nothing);
}

static uint64_t end_before(const struct history *history, uint64_t end)
{
    uint64_t before = 0;
    for (uint32_t i = 0; i < history->count; i++) {
        uint64_t at = history->operations[i].end;
        before = at < end && at > before ? at : before;
    }
    return before;
}

/* The explanation names the end up to which there is no order, while there is one up to the end before. */
static void check_explanation(const struct check *check, const struct check_key *key)
{
    struct check_explanation explanation;
    check_explain(check, key, &explanation);
    assert_true(explanation.stuck_count > 0);
    uint64_t end = check->history->operations[explanation.stuck[0]].end;
    assert_false(has_order(check->history, end));
    assert_true(has_order(check->history, end_before(check->history, end)));
    struct buffer out;
    buffer_init(&out);
    check_write_explanation(check, &explanation, &out);
    assert_true(out.size > 0);
    buffer_deinit(&out);
    check_explanation_deinit(&explanation);
}

static void disagree(const struct history *history, uint64_t seed, uint32_t number, bool good)
{
    struct buffer text;
    buffer_init(&text);
    history_write_header(NULL, &text);
    for (uint32_t i = 0; i < history->count; i++) {
        history_write_operation(history, i, &text);
    }
    buffer_append_byte(&text, '\0');
    print_error("%s", (const char *)text.data);
    buffer_deinit(&text);
    fail_msg("seed %llu, history %u: brute force says %s", (unsigned long long)seed, number, good ? "good" : "bad");
}

/* What is called wrong without a search is wrong. */
static void check_anomalies(const struct check *check, bool good)
{
    static struct anomalies anomalies;
    struct partition partition = {check->history, check->order, check->history->count, HISTORY_NEVER};
    anomalies_find(&partition, &anomalies);
    assert_true(!good || anomalies.kept == 0);
    for (uint32_t i = 0; i < anomalies.kept; i++) {
        const struct anomaly *anomaly = &anomalies.items[i];
        uint64_t end = check->history->operations[anomaly->operation].end;
        if (anomaly->kind == ANOMALY_SAME_NUMBER_TWICE && check->history->operations[anomaly->other].end > end) {
            end = check->history->operations[anomaly->other].end;
        }
        if (has_order(check->history, end)) {
            disagree(check->history, anomaly->kind, anomaly->operation, true);
        }
    }
}

static void judge_histories(uint64_t seed, uint32_t histories, uint32_t *ret_good, uint32_t *ret_bad)
{
    struct prng prng;
    prng_seed(&prng, seed);
    for (uint32_t i = 0; i < histories; i++) {
        struct history history;
        struct check check;
        history_init(&history);
        make_history(&prng, &history);
        assert_int_equal(check_run(&check, &history, CHECK_MEMORY_DEFAULT), STATUS_OK);
        bool good = has_order(&history, HISTORY_NEVER);
        if (good != (check.verdict == CHECK_LINEARIZABLE)) {
            disagree(&history, seed, i, good);
        }
        check_anomalies(&check, good);
        if (!good) {
            check_explanation(&check, &check.keys[0]);
        }
        *(good ? ret_good : ret_bad) += 1;
        check_deinit(&check);
        history_deinit(&history);
    }
}

static void agrees_with_brute_force(void **state)
{
    uint32_t good = 0;
    uint32_t bad = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        judge_histories(seed, 5000, &good, &bad);
    }
    print_message("# %u linearizable, %u not\n", good, bad);
    assert_true(good > 5000 && bad > 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_brute_force)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

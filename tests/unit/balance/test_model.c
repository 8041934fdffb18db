/* Random calls, to a balancer and to the plain model of one: lists that change in the middle, weights, zones, drains,
 * endpoints that leave with requests in flight and come back, checks, errors, retries, time. After each call the
 * figures of all endpoints agree; each pick is one that its policy allows, by a look at everybody.
 *
 * COHORT_BALANCE_SEED=N runs that seed alone. */
#include "balance/balancer_internal.h"
#include "balance_fixture.h"
#include "balance_model.h"
#include "base/hash.h"

#include <math.h>

enum { SEEDS_EACH = 40, CALLS = 1500, MAXIMUM_OPEN = 2000 };

struct life {
    struct prng prng;
    struct model model;
    struct balancer *balancer;
    struct fixture_list *ids; /* names */
    int64_t now_ns;
    bool slow;                   /* slow starts: what depends on effective weights is not compared */
    uint32_t open[MAXIMUM_OPEN]; /* ids of requests in flight */
    size_t open_count;
    bool excluded[MODEL_IDS];
};

static uint64_t below(struct life *life, uint64_t bound) { return prng_below(&life->prng, bound); }

static struct balancer_options random_options(struct prng *prng, enum balancer_policy policy)
{
    struct balancer_options options;
    balancer_options_init(&options);
    options.policy = policy;
    options.seed = prng_next(prng);
    options.zone = prng_chance(prng, 1, 2) ? SLICE_LITERAL("a") : slice_of(NULL, 0);
    options.zone_share_percent = 50 + 25 * (uint32_t)prng_below(prng, 3);
    options.ewma_decay_ns = (1 + (int64_t)prng_below(prng, 20)) * SECOND_NS;
    options.ring_points = 1 + (uint32_t)prng_below(prng, 5);
    options.ring_weight = 1;
    options.ring_load_percent = 101 + (uint32_t)prng_below(prng, 100);
    options.rise = 1 + (uint32_t)prng_below(prng, 3);
    options.fall = 1 + (uint32_t)prng_below(prng, 3);
    options.eject_errors = (uint32_t)prng_below(prng, 4);
    options.eject_base_ns = (1 + (int64_t)prng_below(prng, 10)) * SECOND_NS;
    options.eject_maximum_ns = options.eject_base_ns * (1 + (int64_t)prng_below(prng, 4)) + 1;
    options.eject_percent = (uint32_t)prng_below(prng, 5) * 15;
    options.outlier_interval_ns = (int64_t)prng_below(prng, 3) * 3 * SECOND_NS;
    options.outlier_requests = 2 + (uint32_t)prng_below(prng, 4);
    options.outlier_endpoints = 2 + (uint32_t)prng_below(prng, 4);
    options.outlier_deviation_permille = 500 + (uint32_t)prng_below(prng, 1500);
    options.slow_start_ns = prng_chance(prng, 1, 3) ? 5 * SECOND_NS : 0;
    options.panic_percent = 30 + (uint32_t)prng_below(prng, 71);
    return options;
}

/* ---- a pick, judged ---- */

static bool may_have(const struct life *life, uint32_t id)
{
    return life->model.endpoints[id].preferred && !life->excluded[id];
}

/* Of all that may be had (in the preferred part, or else in the others), none is less loaded. */
static void judge_least(const struct life *life, uint32_t id, bool preferred)
{
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        if (life->model.endpoints[i].eligible && life->model.endpoints[i].preferred == preferred &&
            !life->excluded[i]) {
            const struct model_endpoint *a = &life->model.endpoints[id];
            const struct model_endpoint *b = &life->model.endpoints[i];
            assert_true((a->in_flight + 1) * b->weight <= (b->in_flight + 1) * a->weight);
        }
    }
}

/* Two different ones are drawn, so one that is worse than all others is never taken. */
static void judge_two(const struct life *life, uint32_t id)
{
    size_t others = 0;
    bool worst = true;
    double load = model_load(&life->model, id);
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        if (i != id && may_have(life, i)) {
            others++;
            double other = model_load(&life->model, i);
            worst = worst && load > other + other * 1e-9;
        }
    }
    assert_true(others == 0 || !worst);
}

static void judge_round_robin(struct life *life, uint32_t id)
{
    struct model *model = &life->model;
    uint32_t expected = model->next;
    for (uint32_t i = 0; i < model->turn_count && expected < MODEL_IDS && life->excluded[model->turns[expected]]; i++) {
        expected = (expected + 1) % model->turn_count;
    }
    assert_true(expected == MODEL_IDS || model->turns[expected] == id);
    for (uint32_t i = 0; i < model->turn_count; i++) {
        if (model->turns[i] == id) {
            model->next = (i + 1) % model->turn_count;
        }
    }
}

/* The points of all that may be had and are below their bound: the first one at or after the key's place. */
static void judge_ring(const struct life *life, uint32_t id, uint64_t key)
{
    uint64_t in_flight = 1;
    uint64_t weights = 0;
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        in_flight += may_have(life, i) ? life->model.endpoints[i].in_flight : 0;
        weights += may_have(life, i) ? life->model.endpoints[i].weight : 0;
    }
    uint64_t nearest = UINT64_MAX;
    uint32_t owner = MODEL_IDS;
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        const struct model_endpoint *endpoint = &life->model.endpoints[i];
        uint64_t bound = (life->model.options.ring_load_percent * in_flight * endpoint->weight + 100 * weights - 1) /
                         (100 * (weights == 0 ? 1 : weights));
        if (!may_have(life, i) || endpoint->in_flight + 1 > bound) {
            continue;
        }
        uint64_t place = balancer_mix(hash_bytes(0, life->ids->names[i], strlen(life->ids->names[i])));
        for (uint32_t j = 0; j < life->model.options.ring_points * endpoint->weight; j++) {
            uint64_t distance = prng_splitmix(&place) - balancer_mix(key);
            if (distance <= nearest) {
                nearest = distance;
                owner = i;
            }
        }
    }
    assert_int_equal(id, owner);
}

/* An owner that may be had is taken. */
static void judge_maglev(const struct life *life, uint32_t id, uint64_t key)
{
    uint32_t owner = life->balancer->table[balancer_mix(key) % BALANCER_MAGLEV_SLOTS];
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        if (life->model.endpoints[i].handle == owner && may_have(life, i)) {
            assert_int_equal(id, i);
        }
    }
}

static int64_t sum_of_turns(const struct balancer *balancer)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < balancer->preferred_count; i++) {
        sum += balancer->slots[balancer->members[i]].turn;
    }
    return sum;
}

/* Who has the largest turn, were each given its weight. */
static uint32_t expected_turn(const struct balancer *balancer, const struct life *life)
{
    int64_t largest = INT64_MIN;
    uint32_t expected = BALANCER_NONE;
    for (uint32_t i = 0; i < life->model.listed; i++) {
        uint32_t id = life->model.order[i];
        const struct balancer_slot *slot = &balancer->slots[life->model.endpoints[id].handle];
        if (may_have(life, id) && slot->turn + slot->effective > largest) {
            largest = slot->turn + slot->effective;
            expected = id;
        }
    }
    return expected;
}

static void judge(struct life *life, uint32_t id, uint64_t key, uint32_t turn)
{
    assert_false(life->excluded[id]);
    assert_true(life->model.endpoints[id].eligible);
    bool any = false;
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        any = any || may_have(life, i);
    }
    assert_int_equal(any, life->model.endpoints[id].preferred);
    if (life->slow) {
        return;
    }
    if (!any) {
        judge_least(life, id, false);
        return;
    }
    switch (life->model.options.policy) {
    case BALANCER_ROUND_ROBIN: judge_round_robin(life, id); break;
    case BALANCER_WEIGHTED_ROUND_ROBIN: assert_int_equal(id, turn); break;
    case BALANCER_LEAST_OUTSTANDING: judge_least(life, id, true); break;
    case BALANCER_TWO_CHOICES:
    case BALANCER_PEAK_EWMA: judge_two(life, id); break;
    case BALANCER_RING: judge_ring(life, id, key); break;
    case BALANCER_MAGLEV: judge_maglev(life, id, key); break;
    default: break;
    }
}

static uint32_t id_of(const struct life *life, uint32_t handle)
{
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        if (life->model.endpoints[i].known && life->model.endpoints[i].handle == handle) {
            return i;
        }
    }
    fail();
    return 0;
}

static void call_pick(struct life *life)
{
    uint32_t excluded[MODEL_IDS];
    size_t count = 0;
    memset(life->excluded, 0, sizeof(life->excluded));
    for (uint64_t left = prng_chance(&life->prng, 1, 2) ? 0 : below(life, MODEL_IDS); left > 0; left--) {
        uint32_t id = (uint32_t)below(life, MODEL_IDS);
        if (life->model.endpoints[id].known) {
            life->excluded[id] = true;
            excluded[count++] = life->model.endpoints[id].handle;
        }
    }
    struct balancer_request request = {true, below(life, 50), excluded, count};
    model_settle(&life->model, life->now_ns);
    balancer_tick(life->balancer, life->now_ns);
    uint32_t turn = expected_turn(life->balancer, life);
    uint32_t handle = balancer_pick(life->balancer, &request, life->now_ns);
    if (handle == BALANCER_NONE) {
        for (uint32_t i = 0; i < MODEL_IDS; i++) {
            assert_true(!life->model.endpoints[i].eligible || life->excluded[i]);
        }
        return;
    }
    uint32_t id = id_of(life, handle);
    judge(life, id, request.key, turn);
    life->model.endpoints[id].picked++;
    if (life->open_count < MAXIMUM_OPEN) {
        balancer_begin(life->balancer, handle, life->now_ns);
        model_begin(&life->model, id);
        life->open[life->open_count++] = id;
    }
}

/* ---- the other calls ---- */

static void call_end(struct life *life)
{
    if (life->open_count == 0) {
        return;
    }
    size_t at = below(life, life->open_count);
    uint32_t id = life->open[at];
    life->open[at] = life->open[--life->open_count];
    int64_t latency_ns = (int64_t)below(life, SECOND_NS) - SECOND_NS / 10;
    /* Some of them are worse than others. */
    enum balancer_outcome outcome = below(life, 10) < id % 5 ? BALANCER_ERROR : BALANCER_OK;
    outcome = prng_chance(&life->prng, 1, 10) ? BALANCER_CANCELLED : outcome;
    balancer_end(life->balancer, life->model.endpoints[id].handle, life->now_ns, latency_ns, outcome);
    model_end(&life->model, id, life->now_ns, latency_ns, outcome);
}

static void call_check(struct life *life)
{
    uint32_t id = (uint32_t)below(life, MODEL_IDS);
    if (life->model.endpoints[id].known) {
        bool passed = prng_chance(&life->prng, 2, 3);
        balancer_check_result(life->balancer, life->model.endpoints[id].handle, life->now_ns, passed);
        model_check(&life->model, id, life->now_ns, passed);
    }
}

/* A list of some of the ids in any order; mostly weights and the like stay. */
static void call_update(struct life *life)
{
    struct model *model = &life->model;
    static const char *const zones[] = {"", "a", "b", "c"};
    uint32_t ids[MODEL_IDS];
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        uint64_t j = below(life, i + 1);
        ids[i] = ids[j];
        ids[j] = i;
    }
    uint32_t count = (uint32_t)below(life, MODEL_IDS + 1);
    struct balancer_listing list[MODEL_IDS];
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        struct model_endpoint *endpoint = &model->endpoints[ids[i]];
        endpoint->listed = i < count;
        if (i >= count) {
            continue;
        }
        if (!endpoint->known || prng_chance(&life->prng, 1, 4)) {
            endpoint->weight = 1 + (uint32_t)below(life, 4);
            endpoint->zone = zones[below(life, 4)][0];
            endpoint->draining = prng_chance(&life->prng, 1, 6);
        }
        struct slice name = slice_from_string(life->ids->names[ids[i]]);
        list[i] = (struct balancer_listing){name, name, endpoint->weight,
                                            slice_of(&endpoint->zone, endpoint->zone != 0), endpoint->draining};
        model->order[i] = ids[i];
    }
    model->listed = count;
    assert_int_equal(balancer_update(life->balancer, list, count, life->now_ns, NULL), STATUS_OK);
    for (uint32_t i = 0; i < count; i++) {
        struct model_endpoint *endpoint = &model->endpoints[ids[i]];
        uint32_t handle = balancer_listed(life->balancer, i);
        assert_true(!endpoint->known || endpoint->handle == handle);
        endpoint->known = true;
        endpoint->handle = handle;
    }
    /* Rates that are due are compared at the next tick, by the new list. */
    int64_t interval_end_ns = model->interval_end_ns;
    model->interval_end_ns = INT64_MAX;
    model_settle(model, life->now_ns);
    model->interval_end_ns = interval_end_ns;
}

/* ---- the figures ---- */

static void compare_endpoint(const struct life *life, const struct model_endpoint *expected)
{
    struct balancer_statistics got = statistics_of(life->balancer, expected->handle);
    assert_int_equal(got.listed, expected->listed);
    assert_int_equal(got.draining, expected->draining);
    assert_int_equal(got.healthy, !expected->unhealthy);
    assert_int_equal(got.ejected_until_ns, expected->ejected_until_ns);
    assert_int_equal(got.eligible, expected->eligible);
    assert_int_equal(got.weight, expected->weight);
    assert_int_equal(got.in_flight, expected->in_flight);
    assert_int_equal(got.consecutive_errors, expected->errors_in_row);
    assert_int_equal(got.picked, expected->picked);
    assert_int_equal(got.succeeded, expected->succeeded);
    assert_int_equal(got.failed, expected->failed);
    assert_int_equal(got.cancelled, expected->cancelled);
    assert_int_equal(got.ejections, expected->ejections);
    assert_int_equal(got.checks_passed, expected->checks_passed);
    assert_int_equal(got.checks_failed, expected->checks_failed);
    assert_true(fabs(got.average_ns - (expected->sampled_ns >= 0 ? expected->average_ns : 0)) < 1e-3);
    assert_true(life->slow || got.effective_weight_permille == 1000);
    assert_in_range(got.effective_weight_permille, 99, 1000);
}

static void compare(struct life *life)
{
    uint64_t in_flight = 0;
    uint32_t eligible = 0;
    uint32_t leaving = 0;
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        const struct model_endpoint *endpoint = &life->model.endpoints[i];
        if (endpoint->known) {
            compare_endpoint(life, endpoint);
        }
        in_flight += endpoint->preferred ? endpoint->in_flight : 0;
        eligible += endpoint->eligible;
        leaving += !endpoint->listed && endpoint->in_flight > 0;
    }
    struct balancer_summary summary = summary_of(life->balancer);
    assert_int_equal(summary.panic, life->model.panic);
    assert_int_equal(summary.own_zone, life->model.own_zone);
    assert_int_equal(summary.eligible, eligible);
    assert_int_equal(summary.leaving, leaving);
    assert_int_equal(summary.listed, life->model.listed);
    assert_int_equal(life->balancer->preferred_in_flight, in_flight);
    assert_true(life->balancer->cursor == 0 || life->balancer->cursor < life->balancer->preferred_count);
    if (life->model.options.policy == BALANCER_WEIGHTED_ROUND_ROBIN) {
        assert_int_equal(sum_of_turns(life->balancer), 0);
    }
}

static void live(uint64_t seed, enum balancer_policy policy)
{
    struct life *life = test_calloc(1, sizeof(*life));
    prng_seed(&life->prng, seed);
    struct balancer_options options = random_options(&life->prng, policy);
    model_init(&life->model, &options);
    life->balancer = balancer_of(&options);
    life->slow = options.slow_start_ns > 0;
    life->ids = list_create(MODEL_IDS);
    for (int i = 0; i < CALLS; i++) {
        life->now_ns += prng_chance(&life->prng, 1, 4) ? (int64_t)below(life, SECOND_NS) : 0;
        uint64_t what = below(life, 100);
        if (what < 45) {
            call_pick(life);
        } else if (what < 85) {
            call_end(life);
        } else if (what < 94) {
            call_check(life);
        } else if (what < 97) {
            call_update(life);
        } else {
            life->now_ns += (int64_t)below(life, 20 * SECOND_NS);
        }
        model_settle(&life->model, life->now_ns);
        balancer_tick(life->balancer, life->now_ns);
        assert_true(balancer_next_deadline(life->balancer) > life->now_ns);
        compare(life);
    }
    balancer_destroy(life->balancer);
    test_free(life->ids);
    test_free(life);
}

static void test_against_the_model(void **state)
{
    const char *only = getenv("COHORT_BALANCE_SEED");
    uint64_t from = only == NULL ? 1 : strtoull(only, NULL, 10);
    for (uint64_t seed = from; seed < (only == NULL ? from + SEEDS_EACH * BALANCER_POLICIES : from + 1); seed++) {
        enum balancer_policy policy = (enum balancer_policy)(seed % BALANCER_POLICIES);
        if (policy != BALANCER_MAGLEV || seed < 4 * BALANCER_POLICIES || only != NULL) { /* its tables take a while */
            live(seed, policy);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_the_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

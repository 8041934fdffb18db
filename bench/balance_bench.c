/* What a pick costs, by policy and number of endpoints: picks alone, and picks with the begin and the end of each
 * request, 64 of which are in flight. And what an update costs that adds or removes one endpoint. Times are of the CPU,
 * so that other work on the machine disturbs them less.
 *
 *   balance_bench [picks]
 */
#include "balance/balancer.h"
#include "base/assert.h"
#include "base/prng.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { IN_FLIGHT = 64, UPDATES = 20 };

static const size_t SIZES[] = {3, 100, 1000, 4096};
enum { SIZE_COUNT = sizeof(SIZES) / sizeof(SIZES[0]) };

static struct balancer_listing list[BALANCER_MAXIMUM_ENDPOINTS];
static char names[BALANCER_MAXIMUM_ENDPOINTS][24];

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void make_list(bool weighted)
{
    for (size_t i = 0; i < BALANCER_MAXIMUM_ENDPOINTS; i++) {
        int size = snprintf(names[i], sizeof(names[i]), "10.0.%zu.%zu:80", i / 256, i % 256);
        struct slice name = slice_of(names[i], (size_t)size);
        list[i] = (struct balancer_listing){.id = name, .address = name, .weight = weighted ? 1 + i % 10 : 1};
    }
}

static struct balancer *balancer_over(enum balancer_policy policy, size_t count)
{
    struct balancer_options options;
    balancer_options_init(&options);
    options.policy = policy;
    options.slow_start_ns = 0;
    struct balancer *balancer = NULL;
    enum status status = balancer_create(&options, &balancer, NULL);
    ASSERT(status == STATUS_OK);
    status = balancer_update(balancer, list, count, 0, NULL);
    ASSERT(status == STATUS_OK);
    return balancer;
}

/* Nanoseconds of a pick; with `requests`, of a pick, a begin and an end. */
static double pick_ns(enum balancer_policy policy, size_t count, uint64_t picks, bool requests)
{
    struct balancer *balancer = balancer_over(policy, count);
    uint32_t open[IN_FLIGHT];
    for (size_t i = 0; i < IN_FLIGHT; i++) {
        open[i] = balancer_pick(balancer, NULL, 0);
        balancer_begin(balancer, open[i], 0);
    }
    uint64_t scan =
        policy == BALANCER_WEIGHTED_ROUND_ROBIN || policy == BALANCER_LEAST_OUTSTANDING ? 1 + count / 30 : 1;
    picks = picks / scan + 1;
    double started = now_s();
    for (uint64_t i = 0; i < picks; i++) {
        struct balancer_request request = {.has_key = true, .key = i};
        int64_t now_ns = (int64_t)i * 1000;
        uint32_t picked = balancer_pick(balancer, &request, now_ns);
        ASSERT(picked != BALANCER_NONE);
        if (requests) {
            uint32_t *ends = &open[i % IN_FLIGHT];
            balancer_end(balancer, *ends, now_ns, 1000000 + (int64_t)(i % 1000), BALANCER_OK);
            balancer_begin(balancer, picked, now_ns);
            *ends = picked;
        }
    }
    double took = now_s() - started;
    balancer_destroy(balancer);
    return took * 1e9 / (double)picks;
}

static double update_us(enum balancer_policy policy, size_t count)
{
    struct balancer *balancer = balancer_over(policy, count);
    double started = now_s();
    for (size_t i = 0; i < UPDATES; i++) {
        enum status status = balancer_update(balancer, list, count - (i % 2 == 0), 0, NULL);
        ASSERT(status == STATUS_OK);
    }
    double took = now_s() - started;
    balancer_destroy(balancer);
    return took * 1e6 / UPDATES;
}

static void table(const char *title, uint64_t picks, bool requests)
{
    printf("\n%-24s", title);
    for (size_t s = 0; s < SIZE_COUNT; s++) {
        printf(" %10zu", SIZES[s]);
    }
    for (int policy = 0; policy < BALANCER_POLICIES; policy++) {
        printf("\n  %-22s", balancer_policy_name((enum balancer_policy)policy));
        for (size_t s = 0; s < SIZE_COUNT; s++) {
            printf(" %10.0f", picks == 0 ? update_us((enum balancer_policy)policy, SIZES[s])
                                         : pick_ns((enum balancer_policy)policy, SIZES[s], picks, requests));
        }
    }
    printf("\n");
}

int main(int argc, char **argv)
{
    uint64_t picks = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    make_list(false);
    table("ns: a pick", picks, false);
    table("ns: pick, begin, end", picks, true);
    make_list(true);
    table("ns: weights 1 to 10", picks, true);
    table("us: an update", 0, false);
    return 0;
}

/* What the tests of this room share: lists of endpoints by short names, and balancers over them. */
#pragma once

#include "balance/balancer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MILLISECOND_NS INT64_C(1000000)
#define SECOND_NS INT64_C(1000000000)

enum { FIXTURE_ENDPOINTS = 4096, FIXTURE_NAME_BYTES = 16 };

/* Endpoints e0, e1, … of weight 1; the test changes what it wants to. */
struct fixture_list {
    char names[FIXTURE_ENDPOINTS][FIXTURE_NAME_BYTES];
    struct balancer_listing items[FIXTURE_ENDPOINTS];
    size_t count;
};

static inline struct fixture_list *list_create(size_t count)
{
    struct fixture_list *list = test_calloc(1, sizeof(*list));
    list->count = count;
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(list->names[i], FIXTURE_NAME_BYTES, "e%zu", i);
        struct slice name = slice_from_string(list->names[i]);
        list->items[i] = (struct balancer_listing){.id = name, .address = name, .weight = 1};
    }
    return list;
}

static inline void list_remove_at(struct fixture_list *list, size_t at)
{
    list->count--;
    for (size_t i = at; i < list->count; i++) {
        list->items[i] = list->items[i + 1];
    }
}

/* Nothing but the policy: no ejections, no slow start. */
static inline struct balancer_options plain_options(enum balancer_policy policy, uint64_t seed)
{
    struct balancer_options options;
    balancer_options_init(&options);
    options.policy = policy;
    options.seed = seed;
    options.eject_percent = 0;
    options.slow_start_ns = 0;
    return options;
}

static inline struct balancer *balancer_of(const struct balancer_options *options)
{
    struct balancer *balancer = NULL;
    assert_int_equal(balancer_create(options, &balancer, NULL), STATUS_OK);
    return balancer;
}

static inline void update(struct balancer *balancer, const struct fixture_list *list, int64_t now_ns)
{
    assert_int_equal(balancer_update(balancer, list->items, list->count, now_ns, NULL), STATUS_OK);
}

static inline struct balancer *balancer_over(enum balancer_policy policy, uint64_t seed,
                                             const struct fixture_list *list)
{
    struct balancer_options options = plain_options(policy, seed);
    struct balancer *balancer = balancer_of(&options);
    update(balancer, list, 0);
    return balancer;
}

static inline struct balancer_statistics statistics_of(const struct balancer *balancer, uint32_t handle)
{
    struct balancer_statistics statistics;
    assert_true(balancer_endpoint_statistics(balancer, handle, &statistics));
    return statistics;
}

static inline struct balancer_summary summary_of(const struct balancer *balancer)
{
    struct balancer_summary summary;
    balancer_summarize(balancer, &summary);
    return summary;
}

static inline uint32_t handle_of(const struct balancer *balancer, const char *id)
{
    uint32_t handle = balancer_find(balancer, slice_from_string(id));
    assert_int_not_equal(handle, BALANCER_NONE);
    return handle;
}

static inline uint32_t pick_key(struct balancer *balancer, uint64_t key, int64_t now_ns)
{
    struct balancer_request request = {.has_key = true, .key = key};
    return balancer_pick(balancer, &request, now_ns);
}

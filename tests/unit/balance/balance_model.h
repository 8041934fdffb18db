/* What a balancer should be, said plainly: endpoints in a table by their number, everything worked out anew each time
 * by looking at all of them. test_model.c drives both with the same random calls. */
#pragma once

#include "balance/balancer.h"

enum { MODEL_IDS = 24 };

struct model_endpoint {
    bool known; /* it was in a list */
    bool listed, draining, unhealthy;
    uint32_t weight;
    char zone; /* 0: none */
    uint32_t handle;
    uint32_t in_flight, checks_in_row, errors_in_row;
    int64_t ejected_until_ns, ended_ns; /* 0: not ejected */
    uint32_t ejections_in_row;
    uint64_t rate_total, rate_good;
    double average_ns;
    int64_t sampled_ns; /* negative: none */
    uint64_t picked, succeeded, failed, cancelled, ejections, checks_passed, checks_failed;
    bool eligible, preferred; /* worked out by model_settle */
};

struct model {
    struct balancer_options options;
    struct model_endpoint endpoints[MODEL_IDS];
    uint32_t order[MODEL_IDS]; /* the list */
    uint32_t listed;
    int64_t now_ns, interval_end_ns; /* INT64_MAX: none */
    bool panic, own_zone;
    uint32_t turns[MODEL_IDS]; /* round robin: the preferred ones in order, … */
    uint32_t turn_count, next; /* … and the place of whose turn is next; MODEL_IDS: not known */
};

void model_init(struct model *model, const struct balancer_options *options);
/* Time passes; ejections end, rates are compared, and it is worked out who is eligible. */
void model_settle(struct model *model, int64_t now_ns);
void model_begin(struct model *model, uint32_t id);
void model_end(struct model *model, uint32_t id, int64_t now_ns, int64_t latency_ns, enum balancer_outcome outcome);
void model_check(struct model *model, uint32_t id, int64_t now_ns, bool passed);
/* The score that the policy makes small: loads or peak EWMA's. */
double model_load(const struct model *model, uint32_t id);

#include "balance_model.h"

#include <math.h>

void model_init(struct model *model, const struct balancer_options *options)
{
    *model = (struct model){.options = *options, .interval_end_ns = INT64_MAX, .next = MODEL_IDS};
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        model->endpoints[i].sampled_ns = -1;
    }
}

static bool candidate(const struct model_endpoint *endpoint) { return endpoint->listed && !endpoint->draining; }

static bool healthy(const struct model_endpoint *endpoint)
{
    return candidate(endpoint) && !endpoint->unhealthy && endpoint->ejected_until_ns == 0;
}

static uint32_t count_if(const struct model *model, bool (*is)(const struct model_endpoint *))
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        count += is(&model->endpoints[i]);
    }
    return count;
}

static bool ejected(const struct model_endpoint *endpoint)
{
    return candidate(endpoint) && endpoint->ejected_until_ns != 0;
}

static uint32_t limit_of(const struct model *model)
{
    uint32_t limit = count_if(model, candidate) * model->options.eject_percent / 100;
    return model->options.eject_percent == 0 ? 0 : limit == 0 ? 1 : limit;
}

static bool eject(struct model *model, struct model_endpoint *endpoint)
{
    if (!healthy(endpoint) || count_if(model, healthy) == 1 || count_if(model, ejected) >= limit_of(model)) {
        return false;
    }
    int64_t quiet = (model->now_ns - endpoint->ended_ns) / model->options.eject_base_ns;
    int64_t row = endpoint->ejections_in_row - quiet < 0 ? 1 : endpoint->ejections_in_row - quiet + 1;
    int64_t time_ns = row * model->options.eject_base_ns;
    time_ns = time_ns > model->options.eject_maximum_ns ? model->options.eject_maximum_ns : time_ns;
    int64_t most = model->options.eject_maximum_ns / model->options.eject_base_ns + 1;
    endpoint->ejections_in_row = (uint32_t)(row > most ? most : row);
    endpoint->ejected_until_ns = model->now_ns + time_ns;
    endpoint->ejections++;
    endpoint->errors_in_row = 0;
    return true;
}

static void end_ejection(struct model *model, struct model_endpoint *endpoint)
{
    endpoint->ended_ns = endpoint->ejected_until_ns < model->now_ns ? endpoint->ejected_until_ns : model->now_ns;
    endpoint->ejected_until_ns = 0;
}

static void end_first_ejection(struct model *model, bool passing)
{
    struct model_endpoint *first = NULL;
    for (uint32_t i = 0; i < model->listed; i++) {
        struct model_endpoint *endpoint = &model->endpoints[model->order[i]];
        if (ejected(endpoint) && !(passing && endpoint->unhealthy) &&
            (first == NULL || endpoint->ejected_until_ns < first->ejected_until_ns)) {
            first = endpoint;
        }
    }
    if (first != NULL) {
        end_ejection(model, first);
    }
}

static void end_ejections(struct model *model)
{
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        struct model_endpoint *endpoint = &model->endpoints[i];
        if (endpoint->listed && endpoint->ejected_until_ns != 0 && endpoint->ejected_until_ns <= model->now_ns) {
            end_ejection(model, endpoint);
        }
    }
    while (count_if(model, ejected) > limit_of(model)) {
        end_first_ejection(model, false);
    }
    if (count_if(model, healthy) == 0) {
        end_first_ejection(model, true);
    }
}

/* The mean, the deviation, then the worst while it is below. */
static void compare_rates(struct model *model)
{
    double rates[MODEL_IDS] = {0};
    uint32_t ids[MODEL_IDS] = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < model->listed; i++) {
        struct model_endpoint *endpoint = &model->endpoints[model->order[i]];
        if (healthy(endpoint) && endpoint->rate_total >= model->options.outlier_requests) {
            ids[count] = model->order[i];
            rates[count++] = (double)endpoint->rate_good / (double)endpoint->rate_total;
        }
    }
    double mean = 0;
    double variance = 0;
    for (uint32_t i = 0; i < count; i++) {
        mean += rates[i] / count;
    }
    for (uint32_t i = 0; i < count; i++) {
        variance += (rates[i] - mean) * (rates[i] - mean) / count;
    }
    double least = mean - model->options.outlier_deviation_permille / 1000.0 * sqrt(variance) - 1e-12;
    while (count >= model->options.outlier_endpoints) {
        uint32_t worst = 0;
        for (uint32_t i = 1; i < count; i++) {
            worst = rates[i] < rates[worst] ? i : worst;
        }
        if (rates[worst] >= least || !eject(model, &model->endpoints[ids[worst]])) {
            break;
        }
        rates[worst] = 2;
    }
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        model->endpoints[i].rate_total = model->endpoints[i].rate_good = 0;
    }
    model->interval_end_ns = INT64_MAX;
}

static bool has_its_share(const struct model *model)
{
    if (model->options.zone.size == 0 || model->panic) {
        return false;
    }
    uint32_t zones = 0;
    uint64_t own = 0;
    uint64_t all = 0;
    bool seen[128] = {0};
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        const struct model_endpoint *endpoint = &model->endpoints[i];
        if (candidate(endpoint)) {
            zones += !seen[(int)endpoint->zone];
            seen[(int)endpoint->zone] = true;
            all += endpoint->eligible ? endpoint->weight : 0;
            own += endpoint->eligible && endpoint->zone == (char)model->options.zone.data[0] ? endpoint->weight : 0;
        }
    }
    return own > 0 && own * 100 * zones >= all * model->options.zone_share_percent;
}

/* Whose turn is next stays so; if it is gone, the next one of the old order has it. */
static void keep_turn(struct model *model)
{
    uint32_t old[MODEL_IDS];
    uint32_t old_count = model->turn_count;
    memcpy(old, model->turns, sizeof(old));
    model->turn_count = 0;
    for (uint32_t i = 0; i < model->listed; i++) {
        if (model->endpoints[model->order[i]].preferred) {
            model->turns[model->turn_count++] = model->order[i];
        }
    }
    uint32_t next = MODEL_IDS;
    for (uint32_t i = 0; i < old_count && next == MODEL_IDS && model->next < MODEL_IDS; i++) {
        for (uint32_t j = 0; j < model->turn_count; j++) {
            next = model->turns[j] == old[(model->next + i) % old_count] ? j : next;
        }
    }
    model->next = next;
}

void model_settle(struct model *model, int64_t now_ns)
{
    model->now_ns = now_ns > model->now_ns ? now_ns : model->now_ns;
    end_ejections(model);
    if (model->now_ns >= model->interval_end_ns) {
        compare_rates(model);
    }
    end_ejections(model);
    uint32_t candidates = count_if(model, candidate);
    model->panic = (candidates - count_if(model, healthy)) * 100 > candidates * model->options.panic_percent;
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        struct model_endpoint *endpoint = &model->endpoints[i];
        endpoint->eligible = healthy(endpoint) || (model->panic && candidate(endpoint));
    }
    model->own_zone = has_its_share(model);
    for (uint32_t i = 0; i < MODEL_IDS; i++) {
        struct model_endpoint *endpoint = &model->endpoints[i];
        endpoint->preferred =
            endpoint->eligible && (!model->own_zone || endpoint->zone == (char)model->options.zone.data[0]);
    }
    keep_turn(model);
}

void model_begin(struct model *model, uint32_t id) { model->endpoints[id].in_flight++; }

static void sample(struct model *model, struct model_endpoint *endpoint, double latency_ns, bool error)
{
    if (endpoint->sampled_ns >= 0 && latency_ns <= endpoint->average_ns) {
        if (error) {
            return;
        }
        double age_ns = (double)(model->now_ns - endpoint->sampled_ns);
        double w = exp(-age_ns / (double)model->options.ewma_decay_ns);
        latency_ns = endpoint->average_ns * w + latency_ns * (1 - w);
    }
    endpoint->average_ns = latency_ns;
    endpoint->sampled_ns = model->now_ns;
}

void model_end(struct model *model, uint32_t id, int64_t now_ns, int64_t latency_ns, enum balancer_outcome outcome)
{
    struct model_endpoint *endpoint = &model->endpoints[id];
    model_settle(model, now_ns);
    endpoint->in_flight--;
    if (outcome == BALANCER_CANCELLED) {
        endpoint->cancelled++;
        return;
    }
    if (latency_ns >= 0) {
        sample(model, endpoint, (double)latency_ns, outcome == BALANCER_ERROR);
    }
    endpoint->succeeded += outcome == BALANCER_OK;
    endpoint->failed += outcome == BALANCER_ERROR;
    if (model->options.outlier_interval_ns > 0) {
        endpoint->rate_total++;
        endpoint->rate_good += outcome == BALANCER_OK;
        if (model->interval_end_ns == INT64_MAX) {
            model->interval_end_ns = model->now_ns + model->options.outlier_interval_ns;
        }
    }
    endpoint->errors_in_row = outcome == BALANCER_OK ? 0 : endpoint->errors_in_row + 1;
    if (model->options.eject_errors > 0 && endpoint->errors_in_row >= model->options.eject_errors) {
        (void)eject(model, endpoint);
    }
    model_settle(model, now_ns);
}

void model_check(struct model *model, uint32_t id, int64_t now_ns, bool passed)
{
    struct model_endpoint *endpoint = &model->endpoints[id];
    model_settle(model, now_ns);
    endpoint->checks_passed += passed;
    endpoint->checks_failed += !passed;
    endpoint->checks_in_row = passed == endpoint->unhealthy ? endpoint->checks_in_row + 1 : 0;
    if (endpoint->checks_in_row == (passed ? model->options.rise : model->options.fall)) {
        endpoint->unhealthy = !endpoint->unhealthy;
        endpoint->checks_in_row = 0;
        if (passed && endpoint->ejected_until_ns != 0) {
            end_ejection(model, endpoint);
        }
    }
    model_settle(model, now_ns);
}

static double score(const struct model *model, uint32_t id)
{
    const struct model_endpoint *endpoint = &model->endpoints[id];
    double average = endpoint->in_flight > 0 ? 1e18 : 0;
    if (endpoint->sampled_ns >= 0) {
        double age_ns = (double)(model->now_ns - endpoint->sampled_ns);
        average = endpoint->average_ns * exp(-age_ns / (double)model->options.ewma_decay_ns);
    }
    return average * (endpoint->in_flight + 1.0) / endpoint->weight;
}

double model_load(const struct model *model, uint32_t id)
{
    if (model->options.policy == BALANCER_PEAK_EWMA) {
        return score(model, id);
    }
    return (model->endpoints[id].in_flight + 1.0) / model->endpoints[id].weight;
}

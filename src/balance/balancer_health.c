/* Health. Active checks: `fall` failures in a row make an endpoint unhealthy, `rise` passes in a row healthy again; it
 * begins healthy.
 *
 *              fall failures in a row
 *   healthy ───────────────────────────→ unhealthy
 *      ▲                                      │
 *      └──────────────────────────────────────┘
 *              rise passes in a row
 *
 * Ejection, by what requests met (after the outlier detection of Envoy's documentation): `eject_errors` failures in a
 * row; or, at the end of an interval, a success rate below mean - k × standard deviation of all rates that count. The
 * n-th ejection in a row lasts n × base; each `base` without one takes one off n. An ejection that the limits forbid
 * does not happen. Checks that saw an outage, and see its end, end the ejection too: what requests met is explained. */
#include "balance/balancer_internal.h"
#include "base/assert.h"

#include <math.h>

uint32_t balancer_ejection_limit(const struct balancer *balancer, uint32_t candidates)
{
    if (balancer->options.eject_percent == 0 || candidates == 0) {
        return 0;
    }
    uint64_t limit = (uint64_t)candidates * balancer->options.eject_percent / 100;
    return limit == 0 ? 1 : (uint32_t)limit;
}

static void end_ejection(struct balancer_endpoint *endpoint, int64_t now_ns)
{
    endpoint->ejection_ended_ns = endpoint->ejected_until_ns < now_ns ? endpoint->ejected_until_ns : now_ns;
    endpoint->ejected_until_ns = 0;
}

void balancer_check_result(struct balancer *balancer, uint32_t handle, int64_t now_ns, bool passed)
{
    ASSERT(handle < balancer->slot_count);
    balancer_tick(balancer, now_ns);
    struct balancer_endpoint *endpoint = &balancer->endpoints[handle];
    endpoint->checks_passed += passed;
    endpoint->checks_failed += !passed;
    if (passed != endpoint->unhealthy) {
        endpoint->checks_in_row = 0; /* as it was */
        return;
    }
    endpoint->checks_in_row++;
    if (endpoint->checks_in_row >= (passed ? balancer->options.rise : balancer->options.fall)) {
        endpoint->unhealthy = !passed;
        endpoint->checks_in_row = 0;
        if (passed && endpoint->ejected_until_ns != 0) {
            end_ejection(endpoint, balancer->now_ns);
        }
        balancer_refresh(balancer);
    }
}

/* The ejection that ends first, NULL without any. */
static struct balancer_endpoint *first_to_end(struct balancer *balancer, bool passing_checks)
{
    struct balancer_endpoint *first = NULL;
    for (uint32_t i = 0; i < balancer->listed; i++) {
        struct balancer_endpoint *endpoint = &balancer->endpoints[balancer->list[i]];
        if (balancer_is_candidate(endpoint) && endpoint->ejected_until_ns != 0 &&
            !(passing_checks && endpoint->unhealthy) &&
            (first == NULL || endpoint->ejected_until_ns < first->ejected_until_ns)) {
            first = endpoint;
        }
    }
    return first;
}

void balancer_end_ejections(struct balancer *balancer)
{
    for (uint32_t i = 0; i < balancer->listed; i++) {
        struct balancer_endpoint *endpoint = &balancer->endpoints[balancer->list[i]];
        if (endpoint->ejected_until_ns != 0 && endpoint->ejected_until_ns <= balancer->now_ns) {
            end_ejection(endpoint, balancer->now_ns);
        }
    }
    struct balancer_census census = balancer_count_candidates(balancer);
    uint32_t limit = balancer_ejection_limit(balancer, census.candidates);
    for (; census.ejected > limit; census.ejected--) {
        end_ejection(first_to_end(balancer, false), balancer->now_ns);
    }
    census = balancer_count_candidates(balancer);
    struct balancer_endpoint *last = census.healthy == 0 ? first_to_end(balancer, true) : NULL;
    if (last != NULL) {
        end_ejection(last, balancer->now_ns);
    }
}

/* How many ejections in a row this one would be. */
static uint32_t next_in_row(const struct balancer *balancer, const struct balancer_endpoint *endpoint)
{
    int64_t base_ns = balancer->options.eject_base_ns;
    int64_t quiet = (balancer->now_ns - endpoint->ejection_ended_ns) / base_ns;
    int64_t before = quiet >= endpoint->ejections_in_row ? 0 : endpoint->ejections_in_row - quiet;
    int64_t most = balancer->options.eject_maximum_ns / base_ns + 1;
    return (uint32_t)(before + 1 < most && before + 1 < UINT32_MAX ? before + 1
                      : most < UINT32_MAX                          ? most
                                                                   : UINT32_MAX);
}

/* Whether it was ejected; the caller refreshes. */
static bool eject(struct balancer *balancer, struct balancer_endpoint *endpoint)
{
    if (!balancer_is_candidate(endpoint) || !balancer_is_healthy(endpoint)) {
        return false;
    }
    struct balancer_census census = balancer_count_candidates(balancer);
    if (census.healthy < 2 || census.ejected >= balancer_ejection_limit(balancer, census.candidates)) {
        return false;
    }
    endpoint->ejections_in_row = next_in_row(balancer, endpoint);
    double time_ns = (double)balancer->options.eject_base_ns * endpoint->ejections_in_row;
    double most_ns = (double)balancer->options.eject_maximum_ns;
    endpoint->ejected_until_ns =
        balancer->now_ns + (time_ns < most_ns ? (int64_t)time_ns : balancer->options.eject_maximum_ns);
    endpoint->ejections++;
    endpoint->errors_in_row = 0;
    return true;
}

void balancer_note_outcome(struct balancer *balancer, uint32_t handle, enum balancer_outcome outcome)
{
    struct balancer_endpoint *endpoint = &balancer->endpoints[handle];
    if (outcome == BALANCER_CANCELLED) {
        endpoint->cancelled++;
        return;
    }
    bool good = outcome == BALANCER_OK;
    endpoint->succeeded += good;
    endpoint->failed += !good;
    if (balancer->options.outlier_interval_ns > 0 && endpoint->interval_total < UINT32_MAX) {
        endpoint->interval_total++;
        endpoint->interval_succeeded += good;
        if (balancer->interval_end_ns == INT64_MAX) {
            balancer->interval_end_ns = balancer->now_ns + balancer->options.outlier_interval_ns;
            balancer->deadline_ns =
                balancer->deadline_ns < balancer->interval_end_ns ? balancer->deadline_ns : balancer->interval_end_ns;
        }
    }
    endpoint->errors_in_row = good ? 0 : endpoint->errors_in_row + (endpoint->errors_in_row < UINT32_MAX);
    if (balancer->options.eject_errors > 0 && endpoint->errors_in_row >= balancer->options.eject_errors &&
        eject(balancer, endpoint)) {
        balancer_refresh(balancer);
    }
}

static bool rate_counts(const struct balancer *balancer, const struct balancer_endpoint *endpoint)
{
    return balancer_is_candidate(endpoint) && balancer_is_healthy(endpoint) &&
           endpoint->interval_total >= balancer->options.outlier_requests;
}

static double rate_of(const struct balancer_endpoint *endpoint)
{
    return (double)endpoint->interval_succeeded / (double)endpoint->interval_total;
}

/* The rate below which an endpoint is an outlier; 0, which no rate is below, when too few count. */
static double least_rate(const struct balancer *balancer)
{
    double count = 0;
    double sum = 0;
    double squares = 0;
    for (uint32_t i = 0; i < balancer->listed; i++) {
        const struct balancer_endpoint *endpoint = &balancer->endpoints[balancer->list[i]];
        if (rate_counts(balancer, endpoint)) {
            count++;
            sum += rate_of(endpoint);
        }
    }
    if (count < balancer->options.outlier_endpoints) {
        return 0;
    }
    double mean = sum / count;
    for (uint32_t i = 0; i < balancer->listed; i++) {
        const struct balancer_endpoint *endpoint = &balancer->endpoints[balancer->list[i]];
        if (rate_counts(balancer, endpoint)) {
            squares += (rate_of(endpoint) - mean) * (rate_of(endpoint) - mean);
        }
    }
    return mean - (double)balancer->options.outlier_deviation_permille / 1000 * sqrt(squares / count);
}

static struct balancer_endpoint *worst(struct balancer *balancer)
{
    struct balancer_endpoint *worst = NULL;
    for (uint32_t i = 0; i < balancer->listed; i++) {
        struct balancer_endpoint *endpoint = &balancer->endpoints[balancer->list[i]];
        if (rate_counts(balancer, endpoint) && (worst == NULL || rate_of(endpoint) < rate_of(worst))) {
            worst = endpoint;
        }
    }
    return worst;
}

void balancer_compare_rates(struct balancer *balancer)
{
    double least = least_rate(balancer);
    for (;;) { /* ends: an ejected one counts no more */
        struct balancer_endpoint *endpoint = worst(balancer);
        if (endpoint == NULL || rate_of(endpoint) >= least || !eject(balancer, endpoint)) {
            break;
        }
    }
    for (uint32_t i = 0; i < balancer->slot_count; i++) {
        balancer->endpoints[i].interval_total = 0;
        balancer->endpoints[i].interval_succeeded = 0;
    }
    balancer->interval_end_ns = INT64_MAX;
}

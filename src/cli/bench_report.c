#include "cli/bench_report.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const operation_names[BENCH_OPERATIONS] = {"set", "get", "txn", "eval", "lock"};

static const struct {
    const char *name;
    double fraction;
} percentiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p100", 1}};

enum { PERCENTILES = sizeof(percentiles) / sizeof(percentiles[0]) };

static double run_seconds(const struct bench_report *report)
{
    double seconds = (double)(report->counts->last_ns - report->counts->first_ns) / 1e9;
    return seconds > 0 ? seconds : 1e-9;
}

static uint64_t answered(const struct bench_report *report)
{
    uint64_t count = 0;
    for (size_t i = 0; i < BENCH_OPERATIONS; i++) {
        count += report->counts->latency[i].total;
    }
    return count;
}

/* Jain's index (Jain, Chiu, Hawe 1984): 1 when all owners have as many, 1 / owners when one has them all. */
static double fairness(const struct bench_grants *grants)
{
    double count = (double)grants->count;
    return count > 0 ? count * count / ((double)grants->owners * grants->squares) : 1;
}

/* Requests and their replies. */
static double messages_per_grant(const struct bench_grants *grants)
{
    return grants->count > 0 ? 2.0 * (double)grants->sent / (double)grants->count : 0;
}

static void print_latency_row(const char *name, const struct histogram *histogram, double seconds)
{
    printf("%-6s %12" PRIu64 " %12.0f", name, histogram->total, (double)histogram->total / seconds);
    for (size_t i = 0; i < PERCENTILES; i++) {
        printf(" %9.3f", (double)histogram_percentile(histogram, percentiles[i].fraction) / 1e6);
    }
    printf("\n");
}

/* A client that is always busy measures itself. */
static void print_busy_hint(const struct bench_report *report)
{
    double share = report->client_cpu_seconds / (run_seconds(report) * report->plan->threads);
    if (share > 0.9) {
        printf("\nThis program used %.0f %% of its %" PRIu32 " thread%s: more --threads may show more of the server.\n",
               share * 100, report->plan->threads, report->plan->threads == 1 ? "" : "s");
    }
}

void bench_report_table(const struct bench_report *report)
{
    const struct bench_plan *plan = report->plan;
    double seconds = run_seconds(report);
    printf("%s: %" PRIu32 " clients, pipeline %" PRIu32 ", %" PRIu32 " thread%s, %" PRIu64
           " keys, values of %zu bytes\n",
           report->mode, plan->clients, plan->pipeline, plan->threads, plan->threads == 1 ? "" : "s", plan->mix.keys,
           plan->mix.value_bytes);
    printf("%" PRIu64 " requests in %.2f s, %.0f per second, %" PRIu64 " errors, %" PRIu64 " misses\n\n",
           answered(report), seconds, (double)answered(report) / seconds, report->counts->errors,
           report->counts->misses);
    printf("%-6s %12s %12s", "", "requests", "per second");
    for (size_t i = 0; i < PERCENTILES; i++) {
        printf(" %6s ms", percentiles[i].name);
    }
    printf("\n");
    for (size_t i = 0; i < BENCH_OPERATIONS; i++) {
        if (report->counts->latency[i].total > 0) {
            print_latency_row(operation_names[i], &report->counts->latency[i], seconds);
        }
    }
    if (plan->mix.lock.wanted) {
        const struct bench_grants *grants = &report->counts->grants;
        printf("\n%" PRIu64 " grants to %" PRIu64 " owners, %" PRIu64 " to %" PRIu64
               " each (Jain's fairness %.3f); %.1f messages for each grant\n",
               grants->count, grants->owners, grants->least, grants->most, fairness(grants),
               messages_per_grant(grants));
    }
    if (report->counts->errors > 0) {
        printf("\nerrors\n");
        for (size_t i = 0; i < BENCH_PROBLEMS_MAXIMUM && report->counts->problems[i].count > 0; i++) {
            printf("%12" PRIu64 "  %s\n", report->counts->problems[i].count, report->counts->problems[i].text);
        }
    }
    print_busy_hint(report);
}

static json_t *latency_json(const struct histogram *histogram)
{
    json_t *json = json_object();
    for (size_t i = 0; i < PERCENTILES; i++) {
        double value_us = (double)histogram_percentile(histogram, percentiles[i].fraction) / 1e3;
        (void)json_object_set_new(json, percentiles[i].name, json_real(value_us));
    }
    (void)json_object_set_new(json, "mean", json_real(histogram_mean(histogram) / 1e3));
    return json;
}

static json_t *operations_json(const struct bench_report *report)
{
    json_t *all = json_object();
    for (size_t i = 0; i < BENCH_OPERATIONS; i++) {
        const struct histogram *histogram = &report->counts->latency[i];
        if (histogram->total > 0) {
            json_t *one =
                json_pack("{s:I, s:f, s:o}", "requests", (json_int_t)histogram->total, "requests_per_second",
                          (double)histogram->total / run_seconds(report), "latency_us", latency_json(histogram));
            (void)json_object_set_new(all, operation_names[i], one);
        }
    }
    return all;
}

static json_t *problems_json(const struct bench_report *report)
{
    json_t *all = json_array();
    for (size_t i = 0; i < BENCH_PROBLEMS_MAXIMUM && report->counts->problems[i].count > 0; i++) {
        const struct bench_problem *problem = &report->counts->problems[i];
        json_t *one = json_pack("{s:s, s:I}", "text", problem->text, "count", (json_int_t)problem->count);
        (void)json_array_append_new(all, one);
    }
    return all;
}

void bench_report_json(const struct bench_report *report)
{
    const struct bench_plan *plan = report->plan;
    double seconds = run_seconds(report);
    json_t *json = json_object();
    (void)json_object_set_new(json, "mode", json_string(report->mode));
    (void)json_object_set_new(json, "clients", json_integer(plan->clients));
    (void)json_object_set_new(json, "pipeline", json_integer(plan->pipeline));
    (void)json_object_set_new(json, "threads", json_integer(plan->threads));
    (void)json_object_set_new(json, "keys", json_integer((json_int_t)plan->mix.keys));
    (void)json_object_set_new(json, "value_bytes", json_integer((json_int_t)plan->mix.value_bytes));
    (void)json_object_set_new(json, "seconds", json_real(seconds));
    (void)json_object_set_new(json, "requests", json_integer((json_int_t)answered(report)));
    (void)json_object_set_new(json, "requests_per_second", json_real((double)answered(report) / seconds));
    (void)json_object_set_new(json, "misses", json_integer((json_int_t)report->counts->misses));
    (void)json_object_set_new(json, "errors", json_integer((json_int_t)report->counts->errors));
    (void)json_object_set_new(json, "error_texts", problems_json(report));
    (void)json_object_set_new(json, "operations", operations_json(report));
    if (plan->mix.lock.wanted) {
        const struct bench_grants *grants = &report->counts->grants;
        json_t *told =
            json_pack("{s:I, s:I, s:I, s:I, s:f, s:f}", "count", (json_int_t)grants->count, "owners",
                      (json_int_t)grants->owners, "least", (json_int_t)grants->least, "most", (json_int_t)grants->most,
                      "fairness", fairness(grants), "messages_per_grant", messages_per_grant(grants));
        (void)json_object_set_new(json, "grants", told);
    }
    (void)json_object_set_new(json, "client_cpu_seconds", json_real(report->client_cpu_seconds));
    (void)json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    printf("\n");
    json_decref(json);
}

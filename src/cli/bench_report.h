/* How a run of `cohort bench` is shown. */
#pragma once

#include "cli/bench_load.h"

struct bench_report {
    const struct bench_plan *plan;
    const char *mode; /* as the user wrote it */
    const struct bench_counts *counts;
    double client_cpu_seconds; /* used by this process meanwhile */
};

void bench_report_table(const struct bench_report *report);
void bench_report_json(const struct bench_report *report);

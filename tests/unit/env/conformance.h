/* What every implementation of env.h must do: one set of tests, run against env_uv and against the simulator's env. */
#pragma once

#include "env/env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct conformance {
    struct env *env;
    struct env *other;     /* of the same process, with turns of its own until stop_other */
    const char *directory; /* exists and is empty */
    /* Runs turns until stop is called from a callback or the hook. */
    void (*run)(struct conformance *conformance);
    void (*stop)(struct conformance *conformance);
    /* From a callback of `other`: this turn is its last. */
    void (*stop_other)(struct conformance *conformance);
    /* Waits for that, and destroys it. */
    void (*end_other)(struct conformance *conformance);
};

/* A fresh *state = struct conformance * before each test and its end after it; returns cmocka's count of failures. */
int conformance_run(const char *name, CMFixtureFunction setup, CMFixtureFunction teardown);

#include "conformance.h"

#include "sim.h"

#include <stdlib.h>

enum { SEED = 1, NODE = 0 };

static struct sim *sim;
static struct conformance conformance;
static bool stopped;

static void run(struct conformance *state)
{
    for (stopped = false; !stopped;) {
        assert_true(sim_step(sim));
    }
}

static void stop(struct conformance *state) { stopped = true; }

static bool other_stopped;

static void stop_other(struct conformance *state) { other_stopped = true; }

static void end_other(struct conformance *state)
{
    while (!other_stopped) {
        assert_true(sim_step(sim));
    }
    sim_node_crash(sim, NODE, SIM_CRASH_KILL); /* both: they are one process */
    state->env = sim_node_start(sim, NODE);
    state->other = NULL;
}

static int setup(void **state)
{
    sim = sim_create(SEED);
    other_stopped = false;
    conformance = (struct conformance){
        .env = sim_node_start(sim, NODE),
        .directory = "data",
        .run = run,
        .stop = stop,
        .stop_other = stop_other,
        .end_other = end_other,
    };
    conformance.other = sim_node_add_worker(sim, NODE);
    *state = &conformance;
    return env_make_directory(conformance.env, "data");
}

static int teardown(void **state)
{
    sim_destroy(sim);
    return 0;
}

int main(void) { return conformance_run("sim", setup, teardown); }

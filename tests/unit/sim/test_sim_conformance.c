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

static int setup(void **state)
{
    sim = sim_create(SEED);
    conformance = (struct conformance){
        .env = sim_node_start(sim, NODE),
        .directory = "data",
        .run = run,
        .stop = stop,
    };
    *state = &conformance;
    return env_make_directory(conformance.env, "data");
}

static int teardown(void **state)
{
    sim_destroy(sim);
    return 0;
}

int main(void) { return conformance_run("sim", setup, teardown); }

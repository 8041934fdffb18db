#include "conformance.h"

#include "env_uv/env_uv.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct conformance conformance;
static char directory[64];

static void run(struct conformance *state) { env_uv_run(state->env); }
static void stop(struct conformance *state) { env_uv_stop(state->env); }

static int setup(void **state)
{
    (void)snprintf(directory, sizeof(directory), "/tmp/cohort-env-XXXXXX");
    if (mkdtemp(directory) == NULL) {
        return -1;
    }
    conformance = (struct conformance){.directory = directory, .run = run, .stop = stop};
    *state = &conformance;
    return env_uv_create(NULL, &conformance.env);
}

static int teardown(void **state)
{
    env_uv_destroy(conformance.env);
    char sub[80];
    (void)snprintf(sub, sizeof(sub), "%s/sub", directory);
    (void)rmdir(sub);
    return rmdir(directory);
}

int main(void) { return conformance_run("env_uv", setup, teardown); }

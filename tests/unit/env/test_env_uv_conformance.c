#include "conformance.h"

#include "env_uv/env_uv.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct conformance conformance;
static char directory[64];

static void run(struct conformance *state) { env_uv_run(state->env); }
static void stop(struct conformance *state) { env_uv_stop(state->env); }

static pthread_t thread;

static void *run_other(void *env)
{
    env_uv_run(env);
    return NULL;
}

static void stop_other(struct conformance *state) { env_uv_stop(state->other); }

static void end_other(struct conformance *state)
{
    (void)pthread_join(thread, NULL);
    env_uv_destroy(state->other);
    state->other = NULL;
}

static void stop_in_turn(struct env_message *message) { stop_other(&conformance); }

static int setup(void **state)
{
    (void)snprintf(directory, sizeof(directory), "/tmp/cohort-env-XXXXXX");
    if (mkdtemp(directory) == NULL) {
        return -1;
    }
    conformance = (struct conformance){
        .directory = directory, .run = run, .stop = stop, .stop_other = stop_other, .end_other = end_other};
    *state = &conformance;
    if (env_uv_create(NULL, &conformance.env) != STATUS_OK || env_uv_create(NULL, &conformance.other) != STATUS_OK) {
        return -1;
    }
    return pthread_create(&thread, NULL, run_other, conformance.other);
}

static int teardown(void **state)
{
    static struct env_message message = {.arrived = stop_in_turn, .dropped = stop_in_turn};
    if (conformance.other != NULL) {
        env_post(conformance.env, conformance.other, &message);
        end_other(&conformance);
    }
    env_uv_destroy(conformance.env);
    char sub[80];
    (void)snprintf(sub, sizeof(sub), "%s/sub", directory);
    (void)rmdir(sub);
    return rmdir(directory);
}

int main(void) { return conformance_run("env_uv", setup, teardown); }

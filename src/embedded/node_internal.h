/* A node as its two files have it: node.c is for other threads, node_run.c is its own. */
#pragma once

#include "embedded/node.h"
#include "env/env.h"
#include "server/server.h"

#include <pthread.h>

enum { NODE_WHAT_BYTES = 512 };

enum node_state { NODE_STARTING, NODE_SERVES, NODE_ENDS, NODE_OVER, NODE_STRUCK };

struct node {
    char folder[ENGINE_PLACE_BYTES];
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;

    /* Under the mutex. */
    enum node_state state;
    enum status status;         /* why it did not start, or ended */
    char what[NODE_WHAT_BYTES]; /* what failed; "": nothing */

    /* Of the thread; while it starts the caller waits, and lends these. */
    const struct embedded_settings *settings;
    const struct engine_url *url;
    char problem[ENGINE_PROBLEM_BYTES];
    struct env *env;
    struct env_uv_threads *workers;
    struct server *server;
    struct config config;
    struct server_options options;
    int log_fd;
    struct env_message stop;
};

static inline void node_lock(struct node *node) { (void)pthread_mutex_lock(&node->mutex); }
static inline void node_unlock(struct node *node) { (void)pthread_mutex_unlock(&node->mutex); }

/* What its thread runs, to the end; of a struct node. */
void *node_run(void *argument);

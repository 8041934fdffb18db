#include "embedded/node_internal.h"

#include "env_uv/env_uv.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct node *node_new(const struct embedded_settings *settings, const struct engine_url *url)
{
    struct node *node = calloc(1, sizeof(*node));
    if (node != NULL) {
        (void)pthread_mutex_init(&node->mutex, NULL);
        (void)pthread_cond_init(&node->changed, NULL);
        memcpy(node->folder, settings->folder, sizeof(node->folder));
        node->settings = settings;
        node->url = url;
        node->log_fd = -1;
    }
    return node;
}

static void node_free(struct node *node)
{
    (void)pthread_cond_destroy(&node->changed);
    (void)pthread_mutex_destroy(&node->mutex);
    free(node);
}

/* Signals are for the threads that the program has made itself; and what SIGPIPE or SIGXFSZ would say, calls say. */
static bool start_thread(struct node *node)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&node->thread, NULL, node_run, node) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static enum node_state wait_for(struct node *node, bool its_end)
{
    node_lock(node);
    while (node->state == NODE_STARTING || (its_end && (node->state == NODE_SERVES || node->state == NODE_ENDS))) {
        (void)pthread_cond_wait(&node->changed, &node->mutex);
    }
    enum node_state state = node->state;
    node_unlock(node);
    return state;
}

/* It ended before it served. */
static enum status start_failed(struct node *node, char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    enum status status = node->status == STATUS_OK ? STATUS_IO : node->status;
    if (node->problem[0] != '\0' && node->what[0] == '\0') {
        memcpy(ret_problem, node->problem, sizeof(node->problem));
    } else {
        node_explain(node, ret_problem);
    }
    return status;
}

enum status node_start(const struct embedded_settings *settings, const struct engine_url *url, struct node **ret_node,
                       char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    struct node *node = node_new(settings, url);
    if (node == NULL) {
        (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "memory was refused");
        return STATUS_NOMEM;
    }
    *ret_node = node;
    if (!start_thread(node)) {
        (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "no thread can be started");
        *ret_node = NULL;
        node_free(node);
        return STATUS_IO;
    }
    if (wait_for(node, false) == NODE_SERVES) {
        return STATUS_OK;
    }
    enum status status = start_failed(node, ret_problem);
    if (node_stop(node)) {
        *ret_node = NULL;
    }
    return status;
}

struct arrival {
    struct env_message message; /* first */
    struct node *node;
    int fd;
};

static void arrived(struct env_message *message)
{
    struct arrival *arrival = (struct arrival *)message;
    struct node *node = arrival->node;
    struct env_stream *stream;
    if (env_uv_take_descriptor(node->env, arrival->fd, &stream) == STATUS_OK) {
        server_take_client(node->server, stream);
    }
    free(arrival);
}

static void dropped(struct env_message *message)
{
    (void)close(((struct arrival *)message)->fd);
    free(message);
}

static bool post(struct node *node, struct env_message *message)
{
    node_lock(node);
    bool serves = node->state == NODE_SERVES;
    if (serves) {
        env_uv_post_from_outside(node->env, message);
    }
    node_unlock(node);
    return serves;
}

enum status node_connect(struct node *node, int *ret_fd)
{
    int pair[2];
    struct arrival *arrival = malloc(sizeof(*arrival));
    if (arrival == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
        enum status status = arrival == NULL ? STATUS_NOMEM : STATUS_FULL;
        free(arrival);
        return status;
    }
    *arrival = (struct arrival){.message = {.arrived = arrived, .dropped = dropped}, .node = node, .fd = pair[1]};
    if (!post(node, &arrival->message)) {
        (void)close(pair[0]);
        dropped(&arrival->message);
        return STATUS_CLOSED;
    }
    *ret_fd = pair[0];
    return STATUS_OK;
}

static bool is_in(struct node *node, enum node_state state)
{
    node_lock(node);
    bool is = node->state == state;
    node_unlock(node);
    return is;
}

bool node_serves(struct node *node) { return is_in(node, NODE_SERVES); }
bool node_is_struck(struct node *node) { return is_in(node, NODE_STRUCK); }

void node_explain(struct node *node, char ret_why[static CLIENT_WHY_BYTES])
{
    node_lock(node);
    const char *what = node->what[0] != '\0'       ? node->what
                       : node->status != STATUS_OK ? status_text(node->status)
                                                   : "SHUTDOWN";
    (void)snprintf(ret_why, CLIENT_WHY_BYTES,
                   "the node of %.600s in this process has stopped: %s; close its handles, %s", node->folder, what,
                   node->state == NODE_STRUCK ? "and start the program anew" : "and open it again when that is mended");
    node_unlock(node);
}

static void stop_arrived(struct env_message *message)
{
    struct node *node = CONTAINER_OF(message, struct node, stop);
    server_shutdown(node->server);
}

static void stop_dropped(struct env_message *message) { (void)message; }

bool node_stop(struct node *node)
{
    node->stop = (struct env_message){.arrived = stop_arrived, .dropped = stop_dropped};
    (void)post(node, &node->stop);
    if (wait_for(node, true) == NODE_STRUCK) {
        return false;
    }
    (void)pthread_join(node->thread, NULL);
    node_free(node);
    return true;
}

void node_strike(struct node *node, const char *line)
{
    node_lock(node);
    (void)snprintf(node->what, sizeof(node->what), "%s", line);
    node->status = node->status == STATUS_OK ? STATUS_IO : node->status;
    node->state = NODE_STRUCK;
    (void)pthread_cond_broadcast(&node->changed);
    node_unlock(node);
}

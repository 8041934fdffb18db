/* A node's own thread: its start, what the server tells, its end. */
#include "embedded/node_internal.h"

#include "env_uv/threads.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { STANDARD_STREAMS = 3 };

static _Thread_local struct node *here;

/* A node that was struck stays so. */
static void enter(struct node *node, enum node_state state, enum status status)
{
    node_lock(node);
    if (node->state != NODE_STRUCK) {
        node->state = state;
        node->status = node->status == STATUS_OK ? status : node->status;
        (void)pthread_cond_broadcast(&node->changed);
    }
    node_unlock(node);
}

/* ---- what the server tells ---- */

static void server_stopped(void *owner, enum status status)
{
    struct node *node = owner;
    enter(node, NODE_ENDS, status);
    env_uv_stop(node->env);
}

static void server_configured(void *owner, struct env *env, const struct config *config)
{
    (void)owner;
    env_uv_set_log_level(env, (enum env_log_level)config->log_level);
}

static void server_is_ready(void *owner)
{
    struct node *node = owner;
    env_log(node->env, ENV_LOG_INFO, "node %llu serves process %ld, data in %s",
            (unsigned long long)node->options.node_id, (long)getpid(), node->folder);
    enter(node, NODE_SERVES, STATUS_OK);
}

static void worker_stopped(void *owner, struct env *env)
{
    (void)owner;
    env_uv_stop(env);
}

static void server_failed(void *owner, const char *what)
{
    struct node *node = owner;
    node_lock(node);
    (void)snprintf(node->what, sizeof(node->what), "%s", what);
    node_unlock(node);
}

static const struct server_events events = {server_stopped, server_configured, server_is_ready, worker_stopped,
                                            server_failed};

/* ---- its start, on its thread ---- */

__attribute__((format(printf, 3, 4))) static enum status refuse(struct node *node, enum status status,
                                                                const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int used = snprintf(node->problem, sizeof(node->problem), "%.600s", node->folder);
    (void)vsnprintf(node->problem + used, sizeof(node->problem) - (size_t)used, format, arguments);
    va_end(arguments);
    return status;
}

/* What the folder says of itself goes before defaults, and what was asked for must agree with it. */
static enum status take_record(struct node *node)
{
    struct server_record record;
    enum status status = server_record_read(node->env, node->folder, &record, node->problem);
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t shards = node->settings->shards;
    if (!record.known && !node->settings->create) {
        return refuse(node, STATUS_INVALID, ": there is no data of a node in it, and create=no");
    }
    if (record.nodes > 1) {
        return refuse(node, STATUS_INVALID,
                      " belongs to a cluster of %u nodes, and embedded:// is one node alone: start them with `cohort "
                      "serve`, and open cohort://HOST:PORT",
                      (unsigned)record.nodes);
    }
    if (record.shards != 0 && shards != 0 && shards != record.shards) {
        return refuse(node, STATUS_INVALID, " was made with shards=%u, which stays: give that number, or none",
                      (unsigned)record.shards);
    }
    uint32_t made_with = record.workers == 0 ? 1 : record.workers;
    node->options = (struct server_options){
        .node_id = record.known ? record.node_id : 1,
        .directory = node->folder,
        .version = COHORT_VERSION,
        .shards = record.shards != 0 ? record.shards
                  : shards == 0      ? 1
                                     : shards,
        .replicas = record.replicas != 0 ? record.replicas : 1,
        .worker_count = node->config.workers != 0 ? (uint32_t)node->config.workers : made_with,
    };
    return STATUS_OK;
}

static enum status open_log(struct node *node)
{
    const char *path = node->settings->log;
    if (path[0] == '\0') {
        return STATUS_OK;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    node->log_fd = fd == STDIN_FILENO ? fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1) : fd;
    if (fd != node->log_fd) {
        (void)close(fd); /* for an env 0 means stderr */
    }
    return node->log_fd >= 0 ? STATUS_OK
                             : refuse(node, STATUS_INVALID, ": its log cannot be opened: %s", strerror(errno));
}

static struct env_uv_options env_options_of(const struct node *node)
{
    return (struct env_uv_options){.log_level = (enum env_log_level)node->config.log_level,
                                   .log_json = node->config.log_format != 0,
                                   .log_descriptor = node->log_fd,
                                   .guest = true};
}

/* In a program without standard streams libuv would get their numbers for its loop, and end the program when it closes
 * that. So what of them is free is taken while loops are made. */
static void hold_low_descriptors(int ret_held[static STANDARD_STREAMS])
{
    for (int i = 0; i < STANDARD_STREAMS; i++) {
        ret_held[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (ret_held[i] > STDERR_FILENO) {
            (void)close(ret_held[i]);
            ret_held[i] = -1;
        }
    }
}

static void release_descriptors(const int held[static STANDARD_STREAMS])
{
    for (int i = 0; i < STANDARD_STREAMS; i++) {
        if (held[i] >= 0) {
            (void)close(held[i]);
        }
    }
}

static enum status start_threads(struct node *node)
{
    struct env_uv_options how = env_options_of(node);
    enum status status = env_uv_threads_start(node->env, node->options.worker_count, &how, &node->workers);
    if (status != STATUS_OK) {
        return refuse(node, status, ": its threads cannot be started: %s", status_text(status));
    }
    node->options.workers = env_uv_threads_envs(node->workers);
    return STATUS_OK;
}

static enum status start_server(struct node *node)
{
    enum status status =
        server_create(node->env, &node->options, &node->config, &events, node, &node->server, node->problem);
    if (status == STATUS_BUSY) {
        size_t used = strlen(node->problem);
        (void)snprintf(node->problem + used, sizeof(node->problem) - used,
                       "; embedded:// is of one process at a time, several use `cohort serve --data` and cohort://");
    }
    return status;
}

static enum status begin(struct node *node)
{
    config_init(&node->config);
    node->config.protected_mode = 0; /* who comes is in this process */
    enum status status = embedded_settings_configure(node->url, &node->config, node->problem);
    if (status == STATUS_OK) {
        status = open_log(node);
    }
    if (status != STATUS_OK) {
        return status;
    }
    int held[STANDARD_STREAMS];
    struct env_uv_options how = env_options_of(node);
    hold_low_descriptors(held);
    status = env_uv_create(&how, &node->env);
    if (status == STATUS_OK) {
        status = take_record(node);
    } else {
        (void)refuse(node, status, ": an event loop cannot be made: %s", status_text(status));
    }
    if (status == STATUS_OK) {
        status = start_threads(node);
    }
    release_descriptors(held);
    return status == STATUS_OK ? start_server(node) : status;
}

/* ---- its end, on its thread ---- */

static void give_back(struct node *node)
{
    env_uv_threads_end(node->workers);
    server_destroy(node->server);
    env_uv_threads_destroy(node->workers);
    config_deinit(&node->config);
    env_uv_destroy(node->env);
    if (node->log_fd >= 0) {
        (void)close(node->log_fd);
    }
}

void *node_run(void *argument)
{
    struct node *node = argument;
    here = node;
    (void)pthread_setname_np(pthread_self(), "cohort-node");
    enum status status = begin(node);
    if (status == STATUS_OK) {
        env_uv_run(node->env);
        env_log(node->env, ENV_LOG_INFO, "stopped");
    }
    give_back(node);
    enter(node, NODE_OVER, status);
    return NULL;
}

bool node_strike_here(const char *line)
{
    if (here != NULL) {
        node_strike(here, line);
    }
    return here != NULL;
}

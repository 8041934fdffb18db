#include "cli/metrics_http.h"

#ifndef COHORT_METRICS

enum status metrics_http_start(struct env *env, const char *address, void (*render)(void *owner, struct buffer *out),
                               void *owner, struct metrics_http **ret_metrics)
{
    (void)env, (void)address, (void)render, (void)owner, (void)ret_metrics;
    return STATUS_UNSUPPORTED;
}

void metrics_http_stop(struct metrics_http *metrics) { (void)metrics; }

#else

#include "base/assert.h"
#include "base/memory.h"
#include "cli/host_port.h"
#include "env_uv/env_uv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

/* One connection more than METRICS_CONNECTIONS takes the place of the one that asked longest ago: so half a request,
 * however many there are, keeps nobody out. METRICS_CLOSING are on their way out meanwhile. */
enum { METRICS_CONNECTIONS = 8, METRICS_CLOSING = 8, METRICS_TIMEOUT_S = 10, METRICS_TICK_NS = 1000000000 };

struct metrics_http {
    struct env *env;
    void (*render)(void *owner, struct buffer *out);
    void *owner;
    struct MHD_Daemon *daemon;
    struct env_uv_watch *watch;
    struct env_timer tick;                                       /* closes connections that fell silent */
    struct MHD_Connection *connections[METRICS_CONNECTIONS + 1]; /* by their last request, or beginning; oldest first */
    size_t connection_count;
};

/* False when it was not there: it is on its way out. */
static bool forget(struct metrics_http *metrics, const struct MHD_Connection *connection)
{
    size_t kept = 0;
    for (size_t i = 0; i < metrics->connection_count; i++) {
        if (metrics->connections[i] != connection) {
            metrics->connections[kept++] = metrics->connections[i];
        }
    }
    bool found = kept < metrics->connection_count;
    metrics->connection_count = kept;
    return found;
}

static void connection_changed(void *owner, struct MHD_Connection *connection, void **context,
                               enum MHD_ConnectionNotificationCode what)
{
    (void)context;
    struct metrics_http *metrics = owner;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        (void)forget(metrics, connection);
        /* There is room: the daemon listens again when it runs the next time. */
        env_timer_start(metrics->env, &metrics->tick, env_monotonic_ns(metrics->env));
        return;
    }
    metrics->connections[metrics->connection_count++] = connection;
    if (metrics->connection_count > METRICS_CONNECTIONS) {
        struct MHD_Connection *oldest = metrics->connections[0];
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(oldest, MHD_CONNECTION_INFO_CONNECTION_FD);
        (void)forget(metrics, oldest);
        (void)shutdown(info->connect_fd, SHUT_RDWR); /* the daemon sees its end, and closes it */
    }
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned int code, struct slice text)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(text.size, (void *)(uintptr_t)text.data, MHD_RESPMEM_MUST_COPY);
    if (response == NULL) {
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    }
    enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer(void *owner, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_size, void **context)
{
    (void)version, (void)upload, (void)upload_size, (void)context;
    struct metrics_http *metrics = owner;
    if (forget(metrics, connection)) {
        metrics->connections[metrics->connection_count++] = connection;
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, SLICE_LITERAL("GET /metrics\n"));
    }
    if (strcmp(url, "/metrics") != 0) {
        return answer_text(connection, MHD_HTTP_NOT_FOUND, SLICE_LITERAL("the metrics are at /metrics\n"));
    }
    struct buffer text;
    buffer_init(&text);
    metrics->render(metrics->owner, &text);
    enum MHD_Result result = answer_text(connection, MHD_HTTP_OK, buffer_slice(&text));
    buffer_deinit(&text);
    return result;
}

static void readable(void *owner)
{
    struct metrics_http *metrics = owner;
    (void)MHD_run(metrics->daemon);
}

static void tick(struct env_timer *timer)
{
    struct metrics_http *metrics = CONTAINER_OF(timer, struct metrics_http, tick);
    env_timer_start(metrics->env, timer, env_monotonic_ns(metrics->env) + METRICS_TICK_NS);
    (void)MHD_run(metrics->daemon);
}

static bool address_of(const struct host_port *at, struct sockaddr_storage *ret_address)
{
    struct sockaddr_in *four = (struct sockaddr_in *)ret_address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret_address;
    const char *host = strcmp(at->host, "localhost") == 0 ? "127.0.0.1" : at->host;
    *ret_address = (struct sockaddr_storage){0};
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons((uint16_t)at->port);
        return true;
    }
    if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons((uint16_t)at->port);
        return true;
    }
    return false;
}

enum status metrics_http_start(struct env *env, const char *address, void (*render)(void *owner, struct buffer *out),
                               void *owner, struct metrics_http **ret_metrics)
{
    struct host_port at;
    struct sockaddr_storage where;
    if (!host_port_parse(slice_from_string(address), &at) || !address_of(&at, &where)) {
        return STATUS_INVALID;
    }
    struct metrics_http *metrics = memory_allocate_zeroed(1, sizeof(*metrics));
    *metrics = (struct metrics_http){.env = env, .render = render, .owner = owner};
    unsigned int flags = MHD_USE_EPOLL | (where.ss_family == AF_INET6 ? MHD_USE_IPv6 : 0);
    errno = 0;
    metrics->daemon = MHD_start_daemon(flags, (uint16_t)at.port, NULL, NULL, answer, metrics, MHD_OPTION_SOCK_ADDR,
                                       (struct sockaddr *)&where, MHD_OPTION_CONNECTION_LIMIT,
                                       (unsigned int)(METRICS_CONNECTIONS + METRICS_CLOSING),
                                       MHD_OPTION_NOTIFY_CONNECTION, connection_changed, metrics,
                                       MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)METRICS_TIMEOUT_S, MHD_OPTION_END);
    if (metrics->daemon == NULL) {
        free(metrics);
        return errno == EADDRINUSE ? STATUS_BUSY : STATUS_IO;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(metrics->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    ASSERT(info != NULL);
    enum status status = env_uv_watch_fd(env, info->epoll_fd, readable, metrics, &metrics->watch);
    if (status != STATUS_OK) {
        MHD_stop_daemon(metrics->daemon);
        free(metrics);
        return status;
    }
    env_timer_init(&metrics->tick, tick);
    env_timer_start(env, &metrics->tick, env_monotonic_ns(env) + METRICS_TICK_NS);
    *ret_metrics = metrics;
    return STATUS_OK;
}

void metrics_http_stop(struct metrics_http *metrics)
{
    if (metrics == NULL) {
        return;
    }
    env_uv_unwatch(metrics->watch);
    MHD_stop_daemon(metrics->daemon);
    env_timer_stop(metrics->env, &metrics->tick); /* closing a connection starts it */
    free(metrics);
}

#endif

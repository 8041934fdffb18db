#include "server/crew.h"

#include "base/assert.h"
#include "base/memory.h"
#include "server/data_folder.h"
#include "server/monitor.h"
#include "server/pubsub.h"
#include "server/round.h"
#include "server/script_peers.h"
#include "server/server_state.h"

#include <stdlib.h>
#include <string.h>

static void tell(struct server *server, uint32_t to, enum crew_tell what, const void *data, size_t size)
{
    struct slice part = slice_of(data, size);
    workers_tell(server->workers, to, WORKERS_SERVER, (uint8_t)what, &part, 1);
}

static void tell_all(struct server *server, enum crew_tell what, const void *data, size_t size)
{
    struct slice part = slice_of(data, size);
    workers_tell_all(server->workers, WORKERS_SERVER, (uint8_t)what, &part, 1);
}

static uint64_t number_of(struct slice body)
{
    uint64_t number = 0;
    ASSERT(body.size == sizeof(number));
    memcpy(&number, body.data, sizeof(number));
    return number;
}

/* ---- start ---- */

static void opened(struct server *server)
{
    char message[SERVER_MESSAGE_BYTES] = "";
    if (++server->crew_opened < server->worker_count - 1 || server->phase == SERVER_STOPPED) {
        return;
    }
    enum status status = data_folder_complete(server, message);
    if (status != STATUS_OK) {
        crew_fail(server, status, message);
        return;
    }
    cluster_begin(server->cluster);
    server_ready(server);
}

static void start(struct server *server)
{
    char message[SERVER_MESSAGE_BYTES] = "";
    enum status status = server_open_worker(server, message);
    if (status == STATUS_OK) {
        tell(server, 0, CREW_OPENED, NULL, 0);
    } else {
        crew_fail(server, status, message);
    }
}

static void arrived(void *owner, uint32_t from, uint8_t kind, struct slice body);

void crew_start(struct server *server)
{
    workers_listen(server->workers, WORKERS_SERVER, arrived, server);
    for (uint32_t i = 1; i < server->worker_count; i++) {
        server->crew[i] = server_create_worker(server, i);
        workers_listen(server->crew[i]->workers, WORKERS_SERVER, arrived, server->crew[i]);
    }
    tell_all(server, CREW_START, NULL, 0);
    workers_post(server->workers);
}

void crew_destroy(struct server *server)
{
    for (uint32_t i = 1; server->crew != NULL && i < server->worker_count; i++) {
        if (server->crew[i] == NULL) { /* the start came to nothing before it was there to own them */
            workers_destroy(server->crew_workers[i]);
        }
        server_destroy(server->crew[i]);
    }
    free(server->crew);
}

/* ---- clients ---- */

struct client_note {
    uint64_t stream, id;
};

uint32_t crew_next(struct server *server)
{
    server->next_worker = (server->next_worker + 1) % server->worker_count;
    return server->next_worker;
}

void crew_give_client(struct server *server, uint32_t worker, struct env_stream *stream, uint64_t id)
{
    struct client_note note = {(uintptr_t)env_stream_give(server->env, stream), id};
    server->clients_given++;
    tell(server, worker, CREW_CLIENT, &note, sizeof(note));
}

static void take_client(struct server *server, struct slice body)
{
    struct client_note note;
    ASSERT(body.size == sizeof(note));
    memcpy(&note, body.data, sizeof(note));
    struct env_stream *stream = (struct env_stream *)(uintptr_t)note.stream;
    if (server->phase != SERVER_SERVING) {
        server->share.clients++;
        env_stream_close(server->env, stream);
    } else if (env_stream_take(server->env, stream) == STATUS_OK) {
        (void)connection_create(server, stream, note.id);
    } else {
        server->share.clients++;
    }
}

size_t crew_clients(const struct server *server)
{
    size_t gone = 0;
    for (uint32_t i = 1; i < server->worker_count; i++) {
        gone += server->others[i].clients;
    }
    return server->connection_count + server->clients_given - gone;
}

/* ---- shares ---- */

struct crew_share crew_others(const struct server *server)
{
    struct crew_share sum = {0};
    for (uint32_t i = 0; i < server->worker_count; i++) {
        const struct crew_share *one = &server->others[i]; /* zero of itself */
        sum.memory_bytes += one->memory_bytes;
        sum.client_bytes += one->client_bytes;
        sum.largest_bytes = one->largest_bytes > sum.largest_bytes ? one->largest_bytes : sum.largest_bytes;
        sum.clients += one->clients;
        sum.monitors += one->monitors;
    }
    return sum;
}

static bool far(uint64_t a, uint64_t b) { return (a > b ? a - b : b - a) >= CREW_SHARE_BYTES; }

static void tell_share(struct server *server)
{
    server->shared = server->share;
    tell_all(server, CREW_SHARE, &server->share, sizeof(server->share));
}

void crew_turn(struct server *server)
{
    if (server->worker_count == 1) {
        return;
    }
    struct crew_share *share = &server->share;
    share->client_bytes = server->client_bytes;
    share->monitors = server->monitors;
    if (server->config.maxmemory_bytes != 0 && server->cluster != NULL) {
        share->memory_bytes = server_memory_bytes(server);
    }
    const struct crew_share *told = &server->shared;
    if (share->clients != told->clients || share->monitors != told->monitors ||
        far(share->memory_bytes, told->memory_bytes) || far(share->client_bytes, told->client_bytes)) {
        tell_share(server);
    }
    if (server->worker != 0 && server->quiet != server->told_quiet) {
        uint64_t quiet = server->quiet;
        server->told_quiet = server->quiet;
        tell(server, 0, CREW_QUIET, &quiet, sizeof(quiet));
    }
    workers_post(server->workers);
}

/* Metrics are asked for at the first worker, and answered at once. */
static void tell_figures(struct server *server)
{
    struct server_part *part = memory_allocate_zeroed(1, sizeof(*part));
    server_part_look(server, part);
    tell(server, 0, CREW_FIGURES, part, sizeof(*part));
    free(part);
}

static void take_figures(struct server *server, uint32_t from, struct slice body)
{
    if (server->parts == NULL) {
        server->parts = memory_allocate_zeroed(server->worker_count, sizeof(*server->parts));
    }
    ASSERT(body.size == sizeof(server->parts[from]));
    memcpy(&server->parts[from], body.data, sizeof(server->parts[from]));
}

void crew_tick(struct server *server)
{
    if (server->worker != 0 && server->config.metrics[0] != '\0') {
        tell_figures(server);
    }
    if (server->worker_count > 1 && memcmp(&server->share, &server->shared, sizeof(server->share)) != 0) {
        tell_share(server);
    }
}

/* ---- stop ---- */

void crew_drain(struct server *server)
{
    int64_t deadline_ns = server->shutdown_deadline_ns;
    if (server->worker_count > 1) {
        tell_all(server, CREW_DRAIN, &deadline_ns, sizeof(deadline_ns));
    }
}

bool crew_quiet(const struct server *server)
{
    for (uint32_t i = 1; i < server->worker_count; i++) {
        if (!server->crew_quiet[i]) {
            return false;
        }
    }
    return true;
}

static void one_stopped(struct server *server)
{
    if (++server->crew_stopped == server->worker_count) {
        server->events.stopped(server->owner, server->stop_status);
    }
}

void crew_stop(struct server *server)
{
    if (server->worker_count > 1) {
        tell_all(server, CREW_STOP, NULL, 0);
    }
    one_stopped(server);
}

/* At another worker than the first. */
static void stop(struct server *server)
{
    if (server->phase == SERVER_STOPPED && server->crew_stopped != 0) {
        return; /* told twice */
    }
    server_give_up(server);
    server->phase = SERVER_STOPPED;
    server->crew_stopped = 1;
    tell(server, 0, CREW_STOPPED, NULL, 0);
    workers_post(server->workers);
    if (server->events.worker_stopped != NULL) {
        server->events.worker_stopped(server->owner, server->env);
    }
}

void crew_fail(struct server *server, enum status status, const char *what)
{
    env_log(server->env, ENV_LOG_ERROR, "this node stops: %s", what);
    if (server->events.failed != NULL) {
        server->events.failed(server->owner, what);
    }
    server_give_up(server);
    if (server->worker == 0) {
        server_stop(server, status);
        return;
    }
    int64_t number = status;
    server->phase = SERVER_STOPPED;
    tell(server, 0, CREW_FAILED, &number, sizeof(number));
}

void crew_ask_shutdown(struct server *server)
{
    if (server->worker == 0) {
        server_shutdown(server);
    } else {
        tell(server, 0, CREW_SHUTDOWN, NULL, 0);
    }
}

/* ---- settings, monitors ---- */

void crew_tell_config(struct server *server)
{
    for (uint32_t i = 1; i < server->worker_count; i++) {
        struct config *copy = memory_allocate(sizeof(*copy));
        config_copy(copy, &server->config);
        uint64_t at = (uintptr_t)copy;
        tell(server, i, CREW_CONFIG, &at, sizeof(at));
    }
}

static void take_config(struct server *server, struct slice body)
{
    struct config *config = (struct config *)(uintptr_t)number_of(body);
    config_deinit(&server->config);
    server->config = *config;
    free(config);
    slowlog_trim(&server->slowlog, (size_t)server->config.slowlog_max_len);
    server->events.configured(server->owner, server->env, &server->config);
}

void crew_expect_monitor(struct server *server, uint32_t worker)
{
    server->others[worker].monitors++; /* it tells how many they are, soon */
    server->monitors_elsewhere++;
}

void crew_tell_monitors(struct server *server, struct slice line)
{
    for (uint32_t i = 0; i < server->worker_count; i++) {
        if (server->others[i].monitors != 0) {
            tell(server, i, CREW_LINE, line.data, line.size);
        }
    }
}

void crew_tell_interest(struct server *server, uint8_t kind, struct slice name, bool more)
{
    uint8_t head[2] = {kind, more};
    const struct slice parts[2] = {slice_of(head, sizeof(head)), name};
    workers_tell_all(server->workers, WORKERS_SERVER, CREW_INTEREST, parts, 2);
}

/* ---- in ---- */

static void take_share(struct server *server, uint32_t from, struct slice body)
{
    ASSERT(body.size == sizeof(server->others[from]));
    memcpy(&server->others[from], body.data, sizeof(server->others[from]));
    server->monitors_elsewhere = crew_others(server).monitors;
}

static void arrived(void *owner, uint32_t from, uint8_t kind, struct slice body)
{
    struct server *server = owner;
    switch ((enum crew_tell)kind) {
    case CREW_START: start(server); return;
    case CREW_OPENED: opened(server); return;
    case CREW_FAILED:
        server_give_up(server);
        server_stop(server, (enum status)number_of(body));
        return;
    case CREW_CLIENT: take_client(server, body); return;
    case CREW_SHARE: take_share(server, from, body); return;
    case CREW_DRAIN: server_drain(server, (int64_t)number_of(body)); return;
    case CREW_QUIET: server->crew_quiet[from] = number_of(body) != 0; return;
    case CREW_STOP: stop(server); return;
    case CREW_STOPPED: one_stopped(server); return;
    case CREW_SHUTDOWN: server_shutdown(server); return;
    case CREW_CONFIG: take_config(server, body); return;
    case CREW_FIGURES: take_figures(server, from, body); return;
    case CREW_LINE: monitor_show(server, body); return;
    case CREW_INTEREST: pubsub_told_interest(server, body); return;
    case CREW_ASK: round_asked(server, from, body); return;
    case CREW_PART: round_part(server, from, body); return;
    case CREW_SCRIPT: script_peers_told(server, from, body); return;
    }
    UNREACHABLE();
}

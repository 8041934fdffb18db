/* What a process sees of the network: streams and listeners. */
#include "base/hash.h"
#include "sim_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { ACCEPTS_PER_TURN = 64, ACCEPT_PAUSE_NS = 100 * 1000000, FIRST_DESCRIPTOR = 3 };

static const char loopback_address[] = "127.0.0.1";

/* ---- descriptors: the lowest free number, as POSIX gives them ---- */

static int descriptor_take(struct sim_env *env)
{
    env = sim_host_first(env->host);
    ASSERT(env->sim->network.descriptors <= SIM_DESCRIPTORS);
    for (int id = FIRST_DESCRIPTOR; id < env->sim->network.descriptors; id++) {
        if ((env->descriptors[id / 8] & 1 << id % 8) == 0) {
            env->descriptors[id / 8] |= (uint8_t)(1 << id % 8);
            return id;
        }
    }
    return -1;
}

static void descriptor_release(struct sim_env *env, int id)
{
    if (id >= 0) {
        env = sim_host_first(env->host);
        env->descriptors[id / 8] &= (uint8_t) ~(1 << id % 8);
    }
}

static struct env_stream *stream_new(struct sim_env *env, int side)
{
    struct env_stream *stream = calloc(1, sizeof(*stream));
    ASSERT(stream != NULL);
    stream->env = env;
    stream->side = side;
    stream->id = -1;
    list_init(&stream->link);
    return stream;
}

static void stream_free(struct env_stream *stream)
{
    list_remove(&stream->link);
    buffer_deinit(&stream->received);
    free(stream);
}

/* ---- listeners ---- */

static void listener_resumes(struct env_timer *timer) { (void)timer; /* the turn then accepts */ }

static bool listener_hears(const struct env_listener *listener, int port, bool loopback)
{
    return !listener->closed && listener->port == port && (loopback ? listener->loopback : listener->outside);
}

static struct env_listener *listener_find(struct sim_env *env, int port, bool loopback)
{
    LIST_FOR_EACH (at, &env->listeners) {
        struct env_listener *listener = CONTAINER_OF(at, struct env_listener, link);
        if (listener_hears(listener, port, loopback)) {
            return listener;
        }
    }
    return NULL;
}

enum status sim_listen(struct env *env_any, const char *host, int port, const struct env_listener_events *events,
                       void *owner, struct env_listener **ret_listener)
{
    struct sim_env *env = sim_env_of(env_any);
    bool any = strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
    bool loopback = any || strcmp(host, loopback_address) == 0 || strcmp(host, "localhost") == 0;
    bool outside = any || strcmp(host, env->host->address) == 0;
    if ((!loopback && !outside) || port < 0 || port > UINT16_MAX) {
        return STATUS_INVALID;
    }
    if (env->dead) {
        return STATUS_IO;
    }
    while (port == 0) {
        int candidate = env->host->next_port++;
        bool taken = listener_find(env, candidate, true) != NULL || listener_find(env, candidate, false) != NULL;
        port = taken ? 0 : candidate;
        env->host->next_port = env->host->next_port > UINT16_MAX ? SIM_FIRST_FREE_PORT : env->host->next_port;
    }
    if ((loopback && listener_find(env, port, true) != NULL) || (outside && listener_find(env, port, false) != NULL)) {
        return STATUS_BUSY;
    }
    struct env_listener *listener = calloc(1, sizeof(*listener));
    ASSERT(listener != NULL);
    *listener = (struct env_listener){
        .env = env, .events = events, .owner = owner, .port = port, .loopback = loopback, .outside = outside};
    list_init(&listener->waiting);
    env_timer_init(&listener->resume, listener_resumes);
    list_append(&env->listeners, &listener->link);
    *ret_listener = listener;
    return STATUS_OK;
}

int sim_listener_port(struct env *env, struct env_listener *listener) { return listener->port; }

static void listener_free(struct env_listener *listener)
{
    list_remove(&listener->link);
    LIST_FOR_EACH_SAFE (at, after, &listener->waiting) {
        stream_free(CONTAINER_OF(at, struct env_stream, link));
    }
    free(listener);
}

static void abandon(struct env_stream *stream, bool silently)
{
    if (stream->connection != NULL) {
        (silently ? sim_connection_vanish : sim_connection_leave)(stream);
    }
}

void sim_listener_close(struct env *env_any, struct env_listener *listener)
{
    struct sim_env *env = sim_env_of(env_any);
    ASSERT(!listener->closed);
    listener->closed = true;
    timer_heap_stop(&env->timers, &listener->resume);
    LIST_FOR_EACH (at, &listener->waiting) {
        abandon(CONTAINER_OF(at, struct env_stream, link), sim_env_mute(env));
    }
    if (!env->in_turn) {
        listener_free(listener);
    }
}

bool sim_stream_arrives(struct sim_env *env, struct sim_connection *connection)
{
    struct env_listener *listener = listener_find(env, connection->ports[1], connection->loopback);
    if (listener == NULL) {
        return false;
    }
    struct env_stream *stream = stream_new(env, 1);
    stream->connection = connection;
    connection->ends[1] = stream;
    list_append(&listener->waiting, &stream->link);
    sim_env_need_turn(env, 0);
    return true;
}

static void listener_turn(struct env_listener *listener)
{
    struct sim_env *env = listener->env;
    for (int i = 0; i < ACCEPTS_PER_TURN && !listener->closed && !list_empty(&listener->waiting); i++) {
        struct env_stream *stream = CONTAINER_OF(listener->waiting.next, struct env_stream, link);
        stream->id = descriptor_take(env);
        if (stream->id < 0) {
            env_timer_start(&env->env, &listener->resume, env_monotonic_ns(&env->env) + ACCEPT_PAUSE_NS);
            listener->events->failed(listener->owner, STATUS_FULL);
            return;
        }
        list_remove(&stream->link);
        list_append(&env->streams, &stream->link);
        sim_trace(env->sim, env->host->number, SIM_EVENT_ACCEPTED, (uint64_t)stream->id, (uint64_t)listener->port);
        listener->events->accepted(listener->owner, stream);
    }
}

/* ---- streams ---- */

enum status sim_connect(struct env *env_any, const char *host, int port, struct env_stream **ret_stream)
{
    struct sim_env *env = sim_env_of(env_any);
    struct sim *sim = env->sim;
    bool loopback = strcmp(host, loopback_address) == 0;
    int to = loopback ? env->host->number : SIM_NODES;
    for (int i = 0; i < SIM_NODES && to == SIM_NODES; i++) {
        to = strcmp(host, sim->hosts[i].address) == 0 ? i : to;
    }
    if (to == SIM_NODES || port <= 0 || port > UINT16_MAX) {
        return STATUS_INVALID;
    }
    int id = descriptor_take(env);
    if (id < 0) {
        return STATUS_FULL;
    }
    struct env_stream *stream = stream_new(env, 0);
    stream->id = id;
    stream->connecting = true;
    if (!sim_env_mute(env)) {
        stream->connection = sim_connection_open(stream, to, port, loopback);
    }
    list_append(&env->streams, &stream->link);
    *ret_stream = stream;
    return STATUS_OK;
}

bool sim_stream_readable(const struct env_stream *stream)
{
    return stream->received.size > 0 || stream->ended || stream->error != STATUS_OK;
}

bool sim_stream_writable(const struct env_stream *stream)
{
    return stream->error != STATUS_OK ||
           (!stream->connecting && stream->outstanding < stream->env->sim->network.buffer_bytes);
}

static bool stream_due(const struct env_stream *stream)
{
    return stream->events != NULL && !stream->closed &&
           ((stream->want_read && sim_stream_readable(stream)) || (stream->want_write && sim_stream_writable(stream)));
}

static void wants_turn(struct env_stream *stream)
{
    if (stream_due(stream)) {
        sim_env_need_turn(stream->env, 0);
    }
}

struct env_stream *sim_stream_give(struct env *env, struct env_stream *stream)
{
    ASSERT(stream->events == NULL && !stream->closed && stream->env == sim_env_of(env));
    return stream;
}

enum status sim_stream_take(struct env *env_any, struct env_stream *stream)
{
    struct sim_env *env = sim_env_of(env_any);
    ASSERT(stream->events == NULL && stream->env->host == env->host);
    list_remove(&stream->link);
    stream->env = env;
    list_append(&env->streams, &stream->link);
    return STATUS_OK;
}

void sim_stream_attach(struct env *env, struct env_stream *stream, const struct env_stream_events *events, void *owner)
{
    stream->events = events;
    stream->owner = owner;
    stream->want_read = true;
    stream->attached_turn = stream->env->turn_number;
    wants_turn(stream);
}

/* How much of `size` bytes goes at once. */
static size_t cut_short(struct sim_env *env, size_t size)
{
    if (size > 1 && sim_one_in(env->sim, SIM_DRAW_NETWORK, env->sim->network.split_one_in)) {
        return 1 + (size_t)prng_below(&env->sim->prng[SIM_DRAW_NETWORK], size - 1);
    }
    return size;
}

enum status sim_stream_read(struct env *env_any, struct env_stream *stream, void *data, size_t size, size_t *ret_size)
{
    struct sim_env *env = sim_env_of(env_any);
    ASSERT(size > 0 && !stream->closed);
    if (stream->received.size == 0) {
        return stream->error != STATUS_OK ? stream->error : stream->ended ? STATUS_CLOSED : STATUS_AGAIN;
    }
    size = cut_short(env, size < stream->received.size ? size : stream->received.size);
    memcpy(data, stream->received.data, size);
    buffer_consume(&stream->received, size);
    if (stream->connection != NULL && stream->error == STATUS_OK && !sim_env_mute(env)) {
        sim_connection_send(stream->connection, stream->side, SIM_ROOM, NULL, size);
    }
    sim_trace(env->sim, env->host->number, SIM_EVENT_READ, (uint64_t)stream->id, size);
    *ret_size = size;
    return STATUS_OK;
}

enum status sim_stream_write(struct env *env_any, struct env_stream *stream, const struct iovec *parts, int count,
                             size_t *ret_size)
{
    struct sim_env *env = sim_env_of(env_any);
    ASSERT(!stream->closed);
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        total += parts[i].iov_len;
    }
    if (sim_env_mute(env) || !sim_env_goes_on(env)) {
        *ret_size = total;
        return STATUS_OK;
    }
    if (stream->error != STATUS_OK) {
        return stream->error;
    }
    size_t capacity = env->sim->network.buffer_bytes;
    if (stream->connecting || stream->outstanding >= capacity) {
        return STATUS_AGAIN;
    }
    size_t room = capacity - stream->outstanding;
    size_t take = cut_short(env, total < room ? total : room);
    struct buffer bytes;
    buffer_init(&bytes);
    for (int i = 0; i < count && bytes.size < take; i++) {
        size_t left = take - bytes.size;
        buffer_append(&bytes, parts[i].iov_base, parts[i].iov_len < left ? parts[i].iov_len : left);
    }
    if (take > 0) {
        sim_connection_send(stream->connection, stream->side, SIM_DATA, bytes.data, take);
    }
    sim_trace(env->sim, env->host->number, SIM_EVENT_WRITE, (uint64_t)stream->id,
              hash_bytes(0, bytes.data, bytes.size));
    buffer_deinit(&bytes);
    stream->outstanding += take;
    *ret_size = take;
    return STATUS_OK;
}

void sim_stream_want_read(struct env *env, struct env_stream *stream, bool wanted)
{
    ASSERT(stream->events != NULL && !stream->closed);
    stream->want_read = wanted;
    wants_turn(stream);
}

void sim_stream_want_write(struct env *env, struct env_stream *stream, bool wanted)
{
    ASSERT(stream->events != NULL && !stream->closed);
    stream->want_write = wanted;
    wants_turn(stream);
}

void sim_stream_name(struct env *env, struct env_stream *stream, bool peer, char *ret_text, size_t capacity)
{
    struct sim_connection *connection = stream->connection;
    if (connection == NULL) {
        (void)snprintf(ret_text, capacity, "?:0");
        return;
    }
    int side = peer ? 1 - stream->side : stream->side;
    const char *address =
        connection->loopback ? loopback_address : connection->sim->hosts[connection->nodes[side]].address;
    (void)snprintf(ret_text, capacity, "%s:%d", address, connection->ports[side]);
}

int sim_stream_id(struct env *env, struct env_stream *stream) { return stream->id; }

void sim_stream_close(struct env *env_any, struct env_stream *stream)
{
    struct sim_env *env = stream->env; /* that of the giver while it is given */
    ASSERT(!stream->closed && env->host == sim_env_of(env_any)->host);
    stream->closed = true;
    abandon(stream, sim_env_mute(env));
    descriptor_release(env, stream->id);
    list_remove(&stream->link);
    list_append(&env->closed, &stream->link);
    if (!env->in_turn) {
        stream_free(stream);
    }
}

/* ---- turns and ends ---- */

static void stream_turn(struct env_stream *stream)
{
    if (!stream->closed && stream->want_write && sim_stream_writable(stream)) {
        stream->events->writable(stream->owner);
    }
    if (!stream->closed && stream->want_read && sim_stream_readable(stream)) {
        stream->events->readable(stream->owner);
    }
}

void sim_streams_turn(struct sim_env *env)
{
    struct buffer due;
    buffer_init(&due);
    LIST_FOR_EACH (at, &env->streams) {
        struct env_stream *stream = CONTAINER_OF(at, struct env_stream, link);
        if (stream_due(stream) && stream->attached_turn != env->turn_number) {
            buffer_append(&due, &stream, sizeof(stream));
        }
    }
    struct env_stream **streams = (struct env_stream **)(void *)due.data;
    for (size_t left = due.size / sizeof(*streams); left > 0; left--) {
        size_t draw = (size_t)prng_below(&env->sim->prng[SIM_DRAW_TIMING], left);
        struct env_stream *stream = streams[draw];
        streams[draw] = streams[left - 1];
        stream_turn(stream);
    }
    buffer_deinit(&due);
    LIST_FOR_EACH (at, &env->listeners) {
        struct env_listener *listener = CONTAINER_OF(at, struct env_listener, link);
        if (!listener->resume.armed) {
            listener_turn(listener);
        }
    }
}

bool sim_streams_ready(const struct sim_env *env)
{
    LIST_FOR_EACH (at, &env->streams) {
        if (stream_due(CONTAINER_OF(at, struct env_stream, link))) {
            return true;
        }
    }
    LIST_FOR_EACH (at, &env->listeners) {
        struct env_listener *listener = CONTAINER_OF(at, struct env_listener, link);
        if (!listener->resume.armed && !list_empty(&listener->waiting)) {
            return true;
        }
    }
    return false;
}

void sim_streams_free_closed(struct sim_env *env)
{
    LIST_FOR_EACH_SAFE (at, after, &env->closed) {
        stream_free(CONTAINER_OF(at, struct env_stream, link));
    }
    LIST_FOR_EACH_SAFE (at, after, &env->listeners) {
        struct env_listener *listener = CONTAINER_OF(at, struct env_listener, link);
        if (listener->closed) {
            listener_free(listener);
        }
    }
}

void sim_streams_abandon(struct sim_env *env, bool silently)
{
    LIST_FOR_EACH (at, &env->streams) {
        abandon(CONTAINER_OF(at, struct env_stream, link), silently);
    }
    LIST_FOR_EACH (listener, &env->listeners) {
        LIST_FOR_EACH (at, &CONTAINER_OF(listener, struct env_listener, link)->waiting) {
            abandon(CONTAINER_OF(at, struct env_stream, link), silently);
        }
    }
}

void sim_streams_free_all(struct sim_env *env)
{
    sim_streams_free_closed(env);
    LIST_FOR_EACH_SAFE (at, after, &env->streams) {
        stream_free(CONTAINER_OF(at, struct env_stream, link));
    }
    LIST_FOR_EACH_SAFE (at, after, &env->listeners) {
        listener_free(CONTAINER_OF(at, struct env_listener, link));
    }
}

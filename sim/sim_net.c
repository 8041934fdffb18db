/* Connections: what travels between two ends, and when it arrives. */
#include "sim_internal.h"

#include <stdlib.h>

struct sim_network *sim_network(struct sim *sim) { return &sim->network; }

void sim_network_block(struct sim *sim, int from, int to, bool blocked) { sim->blocked[from][to] = blocked; }

void sim_network_heal(struct sim *sim) { memset(sim->blocked, 0, sizeof(sim->blocked)); }

void sim_network_clog(struct sim *sim, int from, int to, int64_t until_ns)
{
    sim->clogged_until_ns[from][to] = until_ns;
}

void sim_network_watch(struct sim *sim, const struct sim_network_watcher *watcher, void *owner)
{
    sim->watcher = *watcher;
    sim->watcher_owner = owner;
}

/* ---- ways ---- */

/* Takes away all but the first `keep` segments. */
static void way_cut(struct sim_way *way, size_t keep)
{
    size_t bytes = 0;
    struct sim_segment **at = &way->first;
    way->last = NULL;
    for (; keep > 0 && *at != NULL; keep--) {
        bytes += (*at)->kind == SIM_DATA ? (*at)->size : 0;
        way->last = *at;
        at = &(*at)->next;
    }
    struct sim_segment *rest = *at;
    *at = NULL;
    while (rest != NULL) {
        struct sim_segment *next = rest->next;
        free(rest);
        rest = next;
    }
    way->bytes.size = bytes;
    if (way->first == NULL) {
        timer_heap_stop(&way->connection->sim->arrivals, &way->due);
    }
}

/* Of what is on its way, a drawn part from some point on never gets there. */
static void way_cut_somewhere(struct sim_way *way)
{
    size_t count = 0;
    for (struct sim_segment *at = way->first; at != NULL; at = at->next) {
        count++;
    }
    way_cut(way, (size_t)prng_below(&way->connection->sim->prng[SIM_DRAW_NETWORK], count + 1));
}

/* The end failed, and what it had to send goes; but a reset that is on its way gets there. */
static void way_discard(struct sim_way *way)
{
    if (way->last != NULL && way->last->kind != SIM_RESET) {
        way_cut(way, 0);
    }
}

static void way_push(struct sim_way *way, enum sim_segment_kind kind, const void *data, size_t size)
{
    struct sim_connection *connection = way->connection;
    struct sim *sim = connection->sim;
    struct sim_network *network = &sim->network;
    int from = connection->nodes[way->from], to = connection->nodes[1 - way->from];
    struct env_stream *sender = connection->ends[way->from];

    if (kind == SIM_ROOM && way->last != NULL && way->last->kind == SIM_ROOM) {
        way->last->size += size;
        return;
    }
    int64_t sent_ns = sender == NULL ? sim->now_ns : sim_env_now_ns(sender->env);
    int64_t at_ns = sent_ns;
    at_ns = at_ns > sim->clogged_until_ns[from][to] ? at_ns : sim->clogged_until_ns[from][to];
    at_ns += from == to ? sim_between(sim, SIM_DRAW_NETWORK, 1, network->local_delay_maximum_ns)
                        : sim_between(sim, SIM_DRAW_NETWORK, network->delay_minimum_ns, network->delay_maximum_ns);
    if (sim_one_in(sim, SIM_DRAW_NETWORK, network->slow_one_in)) {
        at_ns += sim_between(sim, SIM_DRAW_NETWORK, 0, network->slow_ns);
    }
    if (way->last != NULL && at_ns < way->last->at_ns) {
        at_ns = way->last->at_ns; /* in order */
    }
    struct sim_segment *segment = malloc(sizeof(*segment));
    ASSERT(segment != NULL);
    *segment = (struct sim_segment){.kind = kind, .size = size, .at_ns = at_ns, .first_attempt_ns = INT64_MAX};
    if (kind == SIM_DATA && sim->watcher.sent != NULL) {
        segment->watched = sim->watcher.sent(sim->watcher_owner, sent_ns, from, to, slice_of(data, size));
    }
    if (way->last == NULL) {
        way->first = segment;
        timer_heap_start(&sim->arrivals, &way->due, at_ns);
    } else {
        way->last->next = segment;
    }
    way->last = segment;
}

void sim_connection_send(struct sim_connection *connection, int side, enum sim_segment_kind kind, const void *data,
                         size_t size)
{
    struct sim_way *way = &connection->ways[side];
    const uint8_t *at = data;
    if (kind != SIM_DATA) {
        way_push(way, kind, NULL, size);
        return;
    }
    buffer_append(&way->bytes, data, size);
    while (size > 1 && sim_one_in(connection->sim, SIM_DRAW_NETWORK, connection->sim->network.split_one_in)) {
        size_t piece = 1 + (size_t)prng_below(&connection->sim->prng[SIM_DRAW_NETWORK], size - 1);
        way_push(way, SIM_DATA, at, piece);
        at += piece;
        size -= piece;
    }
    way_push(way, SIM_DATA, at, size);
}

/* ---- ends ---- */

static void end_fails(struct sim_connection *connection, int side, enum status status)
{
    struct env_stream *stream = connection->ends[side];
    way_discard(&connection->ways[side]);
    if (stream != NULL && stream->error == STATUS_OK) {
        stream->error = status;
        stream->connecting = false;
        sim_env_need_turn(stream->env, 0);
    }
}

static void free_when_over(struct sim_connection *connection)
{
    if (connection->ends[0] == NULL && connection->ends[1] == NULL && connection->ways[0].first == NULL &&
        connection->ways[1].first == NULL) {
        sim_connection_destroy(connection);
    }
}

void sim_connection_leave(struct env_stream *stream)
{
    struct sim_connection *connection = stream->connection;
    stream->connection = NULL;
    connection->ends[stream->side] = NULL;
    if (stream->error != STATUS_OK) {
        way_discard(&connection->ways[stream->side]);
    } else if (stream->connecting || stream->received.size > 0) {
        way_cut_somewhere(&connection->ways[stream->side]);
        sim_connection_send(connection, stream->side, SIM_RESET, NULL, 0);
    } else {
        sim_connection_send(connection, stream->side, SIM_END, NULL, 0);
    }
    free_when_over(connection);
}

void sim_connection_vanish(struct env_stream *stream)
{
    struct sim_connection *connection = stream->connection;
    stream->connection = NULL;
    connection->ends[stream->side] = NULL;
    way_cut_somewhere(&connection->ways[stream->side]);
    free_when_over(connection);
}

static void reset_both(struct sim_connection *connection)
{
    for (int side = 0; side < 2; side++) {
        way_cut(&connection->ways[side], 0);
        sim_connection_send(connection, side, SIM_RESET, NULL, 0);
    }
}

int sim_network_reset(struct sim *sim, int one, int other)
{
    int count = 0;
    LIST_FOR_EACH (at, &sim->connections) {
        struct sim_connection *connection = CONTAINER_OF(at, struct sim_connection, link);
        bool between = (connection->nodes[0] == one && connection->nodes[1] == other) ||
                       (connection->nodes[0] == other && connection->nodes[1] == one);
        if (between && connection->ends[0] != NULL && connection->ends[1] != NULL) {
            reset_both(connection);
            count++;
        }
    }
    return count;
}

/* ---- arrivals ---- */

static void data_arrives(struct sim_connection *connection, int to, struct slice data)
{
    struct env_stream *stream = connection->ends[to];
    if (stream == NULL) {
        sim_connection_send(connection, to, SIM_RESET, NULL, 0);
    } else if (stream->error == STATUS_OK) {
        buffer_append_slice(&stream->received, data);
        sim_env_need_turn(stream->env, 0);
    }
}

static void open_arrives(struct sim_connection *connection)
{
    struct sim_host *host = &connection->sim->hosts[connection->nodes[1]];
    bool taken =
        host->env_count > 0 && !sim_host_first(host)->dead && sim_stream_arrives(sim_host_first(host), connection);
    sim_connection_send(connection, 1, taken ? SIM_OPENED : SIM_REFUSED, NULL, 0);
}

static void segment_arrives(struct sim_way *way, enum sim_segment_kind kind, size_t size)
{
    struct sim_connection *connection = way->connection;
    int to = 1 - way->from;
    struct env_stream *stream = connection->ends[to];
    switch (kind) {
    case SIM_OPEN: open_arrives(connection); break;
    case SIM_OPENED:
        if (stream != NULL) {
            stream->connecting = false;
            sim_env_need_turn(stream->env, 0);
        }
        break;
    case SIM_REFUSED: end_fails(connection, to, STATUS_REFUSED); break;
    case SIM_DATA:
        data_arrives(connection, to, slice_of(way->bytes.data, size));
        buffer_consume(&way->bytes, size);
        break;
    case SIM_ROOM:
        if (stream != NULL) {
            stream->outstanding -= size;
            sim_env_need_turn(stream->env, 0);
        }
        break;
    case SIM_END:
        if (stream != NULL) {
            stream->ended = true;
            sim_env_need_turn(stream->env, 0);
        }
        break;
    case SIM_RESET: end_fails(connection, to, STATUS_CLOSED); break;
    }
}

/* The first segment did not get through: again later, or never. */
static void send_again(struct sim_way *way)
{
    struct sim_connection *connection = way->connection;
    struct sim *sim = connection->sim;
    if (!sim->hosts[connection->nodes[way->from]].powered) {
        way_cut(way, 0); /* nobody there to send it again */
        free_when_over(connection);
    } else if (sim->now_ns - way->first->first_attempt_ns >= sim->network.give_up_ns) {
        way_cut(way, 0);
        end_fails(connection, way->from, STATUS_TIMEOUT);
        free_when_over(connection);
    } else {
        timer_heap_start(&sim->arrivals, &way->due, sim->now_ns + way->resend_ns);
        way->resend_ns =
            way->resend_ns * 2 < sim->network.resend_maximum_ns ? way->resend_ns * 2 : sim->network.resend_maximum_ns;
    }
}

static void way_due(struct env_timer *timer)
{
    struct sim_way *way = CONTAINER_OF(timer, struct sim_way, due);
    struct sim_connection *connection = way->connection;
    struct sim *sim = connection->sim;
    struct sim_segment *segment = way->first;
    int from = connection->nodes[way->from], to = connection->nodes[1 - way->from];
    if (segment->first_attempt_ns == INT64_MAX) {
        segment->first_attempt_ns = sim->now_ns;
    }
    if (sim->blocked[from][to] || !sim->hosts[to].powered ||
        sim_one_in(sim, SIM_DRAW_NETWORK, sim->network.lose_one_in)) {
        send_again(way);
        return;
    }
    if (segment->kind == SIM_DATA && sim_one_in(sim, SIM_DRAW_NETWORK, sim->network.reset_one_in)) {
        reset_both(connection);
        return;
    }
    sim_trace(sim, to, SIM_EVENT_ARRIVAL, (uint64_t)from << 32 | segment->kind, segment->size);
    enum sim_segment_kind kind = segment->kind;
    size_t size = segment->size;
    if (kind == SIM_DATA && sim->watcher.arrived != NULL) {
        sim->watcher.arrived(sim->watcher_owner, segment->watched);
    }
    way->resend_ns = sim->network.resend_ns;
    way->first = segment->next;
    free(segment);
    if (way->first == NULL) {
        way->last = NULL;
    } else {
        timer_heap_start(&sim->arrivals, &way->due, way->first->at_ns);
    }
    segment_arrives(way, kind, size);
    free_when_over(connection);
}

/* ---- life ---- */

struct sim_connection *sim_connection_open(struct env_stream *stream, int to, int port, bool loopback)
{
    struct sim_host *host = stream->env->host;
    struct sim *sim = host->sim;
    struct sim_connection *connection = calloc(1, sizeof(*connection));
    ASSERT(connection != NULL);
    connection->sim = sim;
    connection->ends[0] = stream;
    connection->nodes[0] = host->number;
    connection->nodes[1] = to;
    connection->ports[0] = host->next_port;
    connection->ports[1] = port;
    connection->loopback = loopback;
    host->next_port = host->next_port == UINT16_MAX ? SIM_FIRST_FREE_PORT : host->next_port + 1;
    for (int side = 0; side < 2; side++) {
        struct sim_way *way = &connection->ways[side];
        way->connection = connection;
        way->from = side;
        way->resend_ns = sim->network.resend_ns;
        env_timer_init(&way->due, way_due);
    }
    list_append(&sim->connections, &connection->link);
    way_push(&connection->ways[0], SIM_OPEN, NULL, 0);
    return connection;
}

void sim_connection_destroy(struct sim_connection *connection)
{
    list_remove(&connection->link);
    for (int side = 0; side < 2; side++) {
        way_cut(&connection->ways[side], 0);
        buffer_deinit(&connection->ways[side].bytes);
    }
    free(connection);
}

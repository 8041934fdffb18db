#include "transport_world.h"

#include "base/hash.h"
#include "base/varint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { FRAME_HEAD_BYTES = 17 }; /* priority, number, the sender's generation */

struct id128 world_incarnation(uint64_t id) { return (struct id128){{0xaa, (uint8_t)id}}; }

struct world_node *world_node(struct world *world, uint64_t id)
{
    assert_true(id >= 1 && id <= WORLD_NODES);
    return &world->nodes[id - 1];
}

struct world_link *world_link(struct world *world, uint64_t id, uint64_t peer)
{
    return &world_node(world, id)->links[peer];
}

static void note(struct world_node *node, uint64_t what, uint64_t peer, uint64_t value)
{
    uint64_t event[] = {(uint64_t)node->number, what, peer, value, (uint64_t)sim_now_ns(node->world->sim)};
    node->world->hash = hash_bytes(node->world->hash, event, sizeof(event));
}

/* ---- what the transport tells ---- */

static void on_up(void *owner, uint64_t peer, uint64_t generation, const struct id128 *incarnation)
{
    struct world_node *node = owner;
    struct world_link *link = &node->links[peer];
    assert_false(link->up);
    assert_true(generation > link->last_generation);
    link->up = true;
    link->generation = link->last_generation = generation;
    link->sender_generation = 0;
    memset(link->next_in, 0, sizeof(link->next_in));
    memset(link->next_out, 0, sizeof(link->next_out));
    link->incarnation = *incarnation;
    link->ups++;
    node->world->ups++;
    note(node, 1, peer, generation);
}

static void on_down(void *owner, uint64_t peer, uint64_t generation)
{
    struct world_node *node = owner;
    struct world_link *link = &node->links[peer];
    assert_true(link->up);
    assert_int_equal(generation, link->generation);
    link->up = false;
    link->downs++;
    note(node, 2, peer, generation);
}

static void on_gone(void *owner, uint64_t peer, uint64_t start)
{
    struct world_node *node = owner;
    const struct world_node *other = world_node(node->world, peer);
    assert_true(start > 0 && (other->transport == NULL || other->options.lineage.start > start));
    node->links[peer].gones++;
    note(node, 7, peer, 0);
}

static void on_frame(void *owner, uint64_t peer, uint64_t generation, uint8_t type, struct slice payload)
{
    struct world_node *node = owner;
    struct world_link *link = &node->links[peer];
    assert_true(link->up);
    assert_int_equal(generation, link->generation);
    assert_int_equal(type, WORLD_TYPE);
    assert_true(payload.size >= FRAME_HEAD_BYTES);
    enum transport_priority priority = (enum transport_priority)payload.data[0];
    uint64_t number = get_u64(payload.data + 1), sender_generation = get_u64(payload.data + 9);
    assert_int_equal(number, link->next_in[priority]++);
    assert_true(link->sender_generation == 0 || link->sender_generation == sender_generation);
    for (size_t i = FRAME_HEAD_BYTES; i < payload.size; i++) {
        assert_int_equal(payload.data[i], (uint8_t)(number * 7 + i));
    }
    link->sender_generation = sender_generation;
    link->frames++;
    node->world->frames++;
    link->bytes += payload.size;
    node->last_priority = priority;
    note(node, 3, peer, number);
}

static void on_room(void *owner, uint64_t peer, uint64_t generation, enum transport_priority priority)
{
    struct world_node *node = owner;
    assert_int_equal(generation, node->links[peer].generation);
    node->links[peer].rooms++;
    note(node, 4, peer, generation);
}

static void on_refused(void *owner, uint64_t peer, enum transport_reason reason, bool by_peer)
{
    struct world_node *node = owner;
    (by_peer ? node->refused_by_peer : node->refused)[reason]++;
    note(node, by_peer ? 6 : 5, peer, reason);
}

static const struct transport_events events = {
    .up = on_up, .down = on_down, .gone = on_gone, .frame = on_frame, .room = on_room, .refused = on_refused};

/* ---- nodes ---- */

static void hook(void *owner)
{
    struct world_node *node = owner;
    if (node->turn != NULL) {
        node->turn(node);
    }
    transport_turn(node->transport);
}

static void on_log(void *owner, int number, int64_t at_ns, enum env_log_level level, const char *text)
{
    struct world *world = owner;
    if (getenv("WORLD_LOG") != NULL) {
        (void)fprintf(stderr, "%10.3f ms  %d  %s\n", (double)at_ns / 1e6, number, text);
    }
    if (world->log_count < WORLD_LOGS) {
        (void)snprintf(world->logs[world->log_count++], sizeof(world->logs[0]), "%d %s", number, text);
    }
}

void world_init(struct world *world, uint64_t seed)
{
    *world = (struct world){.sim = sim_create(seed)};
    sim_on_log(world->sim, on_log, world);
    for (int i = 0; i < WORLD_NODES; i++) {
        world->nodes[i].world = world;
        world->nodes[i].number = i;
    }
}

void world_deinit(struct world *world)
{
    for (int i = 0; i < WORLD_NODES; i++) {
        transport_destroy(world->nodes[i].transport);
    }
    sim_destroy(world->sim);
}

void world_prepare(struct world *world, uint64_t id)
{
    struct world_node *node = world_node(world, id);
    transport_options_init(&node->options);
    node->options.node = id;
    node->options.incarnation = world_incarnation(id);
    node->options.cluster = (struct id128){{0xcc}};
    node->options.host = sim_node_address(world->sim, node->number);
    node->options.port = WORLD_PORT;
    node->options.events = &events;
    node->options.owner = node;
}

void world_start(struct world *world, uint64_t id)
{
    struct world_node *node = world_node(world, id);
    memset(node->links, 0, sizeof(node->links));
    struct lineage *lineage = &node->options.lineage;
    if (lineage->count == LINEAGE_BETWEEN) {
        lineage_join(lineage);
    }
    lineage_begin(lineage, lineage->start + 1);
    node->env = sim_node_start(world->sim, node->number);
    assert_int_equal(transport_create(node->env, &node->options, &node->transport), STATUS_OK);
    env_set_turn_hook(node->env, hook, node);
}

void world_allow(struct world *world, uint64_t id, uint64_t peer, const struct id128 *incarnation)
{
    assert_int_equal(transport_set_peer(world_node(world, id)->transport, peer,
                                        sim_node_address(world->sim, (int)peer - 1), WORLD_PORT, incarnation),
                     STATUS_OK);
}

void world_start_all(struct world *world, uint64_t count)
{
    for (uint64_t id = 1; id <= count; id++) {
        world_prepare(world, id);
        world_restart(world, id, count);
    }
}

void world_crash(struct world *world, uint64_t id, enum sim_crash how)
{
    struct world_node *node = world_node(world, id);
    sim_node_crash(world->sim, node->number, how);
    transport_destroy(node->transport);
    node->transport = NULL;
}

void world_restart(struct world *world, uint64_t id, uint64_t count)
{
    world_start(world, id);
    for (uint64_t peer = 1; peer <= count; peer++) {
        struct id128 incarnation = world_incarnation(peer);
        if (peer != id) {
            world_allow(world, id, peer, &incarnation);
        }
    }
}

void world_run_ms(struct world *world, int64_t ms) { sim_run_for(world->sim, ms * WORLD_MS); }

enum status world_send(struct world_node *node, uint64_t peer, enum transport_priority priority, size_t size)
{
    struct world_link *link = &node->links[peer];
    uint8_t *bytes = malloc(FRAME_HEAD_BYTES + size);
    assert_non_null(bytes);
    bytes[0] = (uint8_t)priority;
    put_u64(bytes + 1, link->next_out[priority]);
    put_u64(bytes + 9, link->generation);
    for (size_t i = FRAME_HEAD_BYTES; i < FRAME_HEAD_BYTES + size; i++) {
        bytes[i] = (uint8_t)(link->next_out[priority] * 7 + i);
    }
    struct slice payload = slice_of(bytes, FRAME_HEAD_BYTES + size);
    enum status status = transport_send(node->transport, peer, 0, priority, WORLD_TYPE, &payload, 1);
    assert_true(status == STATUS_CLOSED || link->up);
    link->next_out[priority] += status == STATUS_OK ? 1 : 0;
    free(bytes);
    return status;
}

bool world_connected(struct world *world, uint64_t one, uint64_t other)
{
    return world_link(world, one, other)->up && world_link(world, other, one)->up;
}

int world_logged(const struct world *world, const char *text)
{
    int count = 0;
    for (int i = 0; i < world->log_count; i++) {
        count += strstr(world->logs[i], text) != NULL ? 1 : 0;
    }
    return count;
}

struct transport_statistics world_statistics(struct world *world, uint64_t id)
{
    struct transport_statistics statistics;
    transport_statistics(world_node(world, id)->transport, &statistics);
    return statistics;
}

struct transport_peer_statistics world_peer_statistics(struct world *world, uint64_t id, uint64_t peer)
{
    struct transport_peer_statistics statistics;
    assert_int_equal(transport_peer_statistics(world_node(world, id)->transport, peer, &statistics), STATUS_OK);
    return statistics;
}

/* ---- connections by hand ---- */

static void raw_readable(void *owner)
{
    struct raw *raw = owner;
    size_t size;
    enum status status = env_stream_read(raw->env, raw->stream, buffer_reserve(&raw->received, 65536), 65536, &size);
    if (status == STATUS_OK) {
        raw->received.size += size;
    } else if (status != STATUS_AGAIN) {
        raw->ended = true;
        env_stream_want_read(raw->env, raw->stream, false);
    }
}

static void raw_writable(void *owner)
{
    struct raw *raw = owner;
    struct iovec part = {raw->wanted.data, raw->wanted.size};
    size_t taken = 0;
    if (part.iov_len > 0 && env_stream_write(raw->env, raw->stream, &part, 1, &taken) == STATUS_OK) {
        buffer_consume(&raw->wanted, taken);
    } else if (part.iov_len > 0) {
        buffer_clear(&raw->wanted);
    }
    env_stream_want_write(raw->env, raw->stream, raw->wanted.size > 0);
}

static const struct env_stream_events raw_events = {raw_readable, raw_writable};

struct env *world_raw_env(struct world *world)
{
    struct env *env = sim_node_env(world->sim, WORLD_STRANGER);
    return env != NULL ? env : sim_node_start(world->sim, WORLD_STRANGER);
}

void raw_adopt(struct raw *raw, struct env *env, struct env_stream *stream)
{
    *raw = (struct raw){.env = env, .stream = stream};
    env_stream_attach(env, stream, &raw_events, raw);
}

void raw_open(struct raw *raw, struct env *env, const char *address)
{
    struct env_stream *stream;
    assert_int_equal(env_connect(env, address, WORLD_PORT, &stream), STATUS_OK);
    raw_adopt(raw, env, stream);
}

void raw_send(struct raw *raw, const void *data, size_t size)
{
    buffer_append(&raw->wanted, data, size);
    env_stream_want_write(raw->env, raw->stream, true);
}

void raw_close(struct raw *raw)
{
    if (raw->stream != NULL) {
        env_stream_close(raw->env, raw->stream);
    }
    raw->stream = NULL;
    buffer_deinit(&raw->received);
    buffer_deinit(&raw->wanted);
}

#include "server_fixture.h"

#include "base/assert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { NODE = 0, OTHERS = 1, PORT = 6379 };

static void stopped(void *owner, enum status status)
{
    struct fixture *fixture = owner;
    assert_false(fixture->stopped);
    fixture->stopped = true;
    fixture->stop_status = status;
}

static void configured(void *owner, struct env *env, const struct config *config)
{
    (void)owner;
    (void)config;
}

void fixture_set(struct fixture *fixture, const char *name, const char *value)
{
    char why[CONFIG_MESSAGE_BYTES] = "";
    if (config_set(&fixture->config, slice_from_string(name), slice_from_string(value), false, why) != CONFIG_SET) {
        fail_msg("%s %s: %s", name, value, why);
    }
}

void fixture_start(struct fixture *fixture)
{
    struct server_options options = {.node_id = 1,
                                     .directory = "/data",
                                     .host = sim_node_address(fixture->sim, NODE),
                                     .port = PORT,
                                     .shards = fixture->shards,
                                     .replicas = 1,
                                     .version = "test"};
    struct server_events events = {.stopped = stopped, .configured = configured};
    char message[SERVER_MESSAGE_BYTES];
    struct config config;
    config_copy(&config, &fixture->config);
    fixture->env = sim_node_start(fixture->sim, NODE);
    fixture->stopped = false;
    if (server_create(fixture->env, &options, &config, &events, fixture, &fixture->server, message) != STATUS_OK) {
        fail_msg("%s", message);
    }
}

void fixture_kill(struct fixture *fixture)
{
    sim_node_crash(fixture->sim, NODE, SIM_CRASH_KILL);
    server_destroy(fixture->server);
    fixture->server = NULL;
}

struct fixture *fixture_create(uint64_t seed, const char *const *settings)
{
    return fixture_create_shards(seed, 1, settings);
}

struct fixture *fixture_create_shards(uint64_t seed, uint32_t shards, const char *const *settings)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    ASSERT(fixture != NULL);
    fixture->shards = shards;
    fixture->sim = sim_create(seed);
    sim_network(fixture->sim)->buffer_bytes = 1 << 20;
    config_init(&fixture->config);
    fixture_set(fixture, "protected-mode", "no");
    for (; settings != NULL && *settings != NULL; settings += 2) {
        fixture_set(fixture, settings[0], settings[1]);
    }
    fixture->others = sim_node_start(fixture->sim, OTHERS);
    fixture_start(fixture);
    return fixture;
}

void fixture_destroy(struct fixture *fixture)
{
    for (int i = 0; i < FIXTURE_CLIENTS; i++) {
        fixture_disconnect(&fixture->clients[i]);
        buffer_deinit(&fixture->clients[i].in);
        buffer_deinit(&fixture->clients[i].out);
    }
    server_destroy(fixture->server);
    config_deinit(&fixture->config);
    sim_destroy(fixture->sim);
    free(fixture);
}

void fixture_slow_disk(struct fixture *fixture, int64_t sync_ns)
{
    sim_timing(fixture->sim)->sync_minimum_ns = sync_ns;
    sim_timing(fixture->sim)->sync_maximum_ns = sync_ns;
}

/* ---- clients ---- */

void fixture_disconnect(struct fixture_client *client)
{
    if (client->stream != NULL) {
        env_stream_close(client->fixture->others, client->stream);
        client->stream = NULL;
    }
}

static void flush(struct fixture_client *client)
{
    while (client->out.size > 0) {
        struct iovec part = {client->out.data, client->out.size};
        size_t taken = 0;
        if (env_stream_write(client->fixture->others, client->stream, &part, 1, &taken) != STATUS_OK) {
            break;
        }
        buffer_consume(&client->out, taken);
    }
    env_stream_want_write(client->fixture->others, client->stream, client->out.size > 0);
}

static void readable(void *owner)
{
    struct fixture_client *client = owner;
    size_t size = 0;
    enum status status =
        env_stream_read(client->fixture->others, client->stream, buffer_reserve(&client->in, 65536), 65536, &size);
    if (status == STATUS_OK) {
        client->in.size += size;
    } else if (status != STATUS_AGAIN) {
        client->ended = true;
        fixture_disconnect(client);
    }
}

static void writable(void *owner) { flush(owner); }

static const struct env_stream_events client_events = {readable, writable};

struct fixture_client *fixture_connect(struct fixture *fixture, int number)
{
    struct fixture_client *client = &fixture->clients[number];
    fixture_disconnect(client);
    buffer_clear(&client->in);
    buffer_clear(&client->out);
    client->fixture = fixture;
    client->ended = false;
    client->deaf = false;
    assert_int_equal(env_connect(fixture->others, sim_node_address(fixture->sim, NODE), PORT, &client->stream),
                     STATUS_OK);
    env_stream_attach(fixture->others, client->stream, &client_events, client);
    env_stream_want_write(fixture->others, client->stream, true);
    return client;
}

void fixture_send(struct fixture_client *client, const char *text)
{
    assert_non_null(client->stream);
    buffer_append_string(&client->out, text);
    env_stream_want_read(client->fixture->others, client->stream, !client->deaf);
    env_stream_want_write(client->fixture->others, client->stream, true);
}

void fixture_send_many(struct fixture_client *client, int count, const char *text)
{
    for (int i = 0; i < count; i++) {
        buffer_append_string(&client->out, text);
    }
    fixture_send(client, "");
}

static int lines(const struct buffer *in)
{
    int count = 0;
    for (size_t i = 0; i < in->size; i++) {
        count += in->data[i] == '\n';
    }
    return count;
}

const char *fixture_received(struct fixture_client *client)
{
    static struct buffer text;
    buffer_clear(&text);
    for (size_t i = 0; i < client->in.size; i++) {
        if (client->in.data[i] != '\r') {
            buffer_append_byte(&text, client->in.data[i]);
        }
    }
    buffer_append_byte(&text, '\0');
    buffer_clear(&client->in);
    return (const char *)text.data;
}

void fixture_wait_lines(struct fixture_client *client, int wanted)
{
    struct sim *sim = client->fixture->sim;
    int64_t until_ns = sim_now_ns(sim) + 60 * SECOND;
    while (lines(&client->in) < wanted && !client->ended && sim_now_ns(sim) < until_ns) {
        assert_true(sim_step(sim));
    }
    if (lines(&client->in) < wanted) {
        fail_msg("%d lines, not %d%s", lines(&client->in), wanted, client->ended ? ", then the end" : "");
    }
}

void fixture_expect(struct fixture_client *client, const char *text, const char *expected)
{
    struct buffer wanted = {(uint8_t *)(uintptr_t)expected, strlen(expected), strlen(expected)};
    fixture_send(client, text);
    fixture_wait_lines(client, lines(&wanted));
    assert_string_equal(fixture_received(client), expected);
}

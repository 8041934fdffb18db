/* A whole node, crashed at every change that it makes on its disk, and again while it recovers from that.
 *
 * The same workload runs once for each such operation, which is the last that takes effect; segments are switched and
 * snapshots taken on the way. What a client then reads must be what was acknowledged, or something later that it sent:
 * never less, never anything else. Transactions are there whole or not at all, and counters were counted once. */
#include "server/server.h"
#include "sim_net.h"
#include "wire/resp_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS 1000000LL
enum {
    SERVER = 0,
    CLIENT = 1,
    PORT = 6379,
    KEYS = 4,
    PAIR = KEYS, /* two keys that only transactions write, always alike */
    COUNTER = KEYS + 1,
    REGISTERS,
    COMMANDS = 80, /* in the life that is crashed */
    IN_FLIGHT = 6,
    VALUE_BYTES = 1500,
    STEPS = 200000, /* of the simulator, before a run counts as stuck */
};

/* What may be read of a register. Of what was sent after `acknowledged`, any may be the last that took effect. */
struct model {
    int acknowledged;
    int sent[COMMANDS + 1];
    int sent_count;
};

struct client {
    struct env *env;
    struct env_stream *stream; /* NULL: none, or lost */
    struct prng prng;
    struct resp_reader reader;
    struct buffer input, output;
    struct {
        int which, value, replies; /* value −1: a read */
    } pending[IN_FLIGHT * 4];
    int pending_count;
    int to_send, in_flight_limit;
    int next_value;
};

static struct sim *sim;
static struct server *server;
static struct client client;
static struct model models[REGISTERS];
static bool crashed, stopped;

/* ---- the client ---- */

static void client_close(void)
{
    if (client.stream != NULL) {
        env_stream_close(client.env, client.stream);
        client.stream = NULL;
    }
    client.pending_count = 0;
    buffer_clear(&client.input);
    buffer_clear(&client.output);
}

static void append_set(const char *key, int number, int value)
{
    char name[16];
    (void)snprintf(name, sizeof(name), "%s%d", key, number);
    buffer_append_format(&client.output, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%d\r\n%0*d\r\n", strlen(name), name,
                         VALUE_BYTES, VALUE_BYTES, value);
}

static void expect(int which, int value, int replies)
{
    client.pending[client.pending_count].which = which;
    client.pending[client.pending_count].value = value;
    client.pending[client.pending_count++].replies = replies;
}

static void send_write(void)
{
    int which = (int)prng_below(&client.prng, REGISTERS);
    struct model *model = &models[which];
    int value = which == COUNTER ? model->sent[model->sent_count - 1] + 1 : client.next_value++;
    model->sent[model->sent_count++] = value;
    if (which == COUNTER) {
        buffer_append_string(&client.output, "INCR count\r\n");
        expect(which, value, 1);
    } else if (which == PAIR) {
        buffer_append_string(&client.output, "MULTI\r\n");
        append_set("pair", 1, value);
        append_set("pair", 2, value);
        buffer_append_string(&client.output, "EXEC\r\n");
        expect(which, value, 4);
    } else {
        append_set("key", which, value);
        expect(which, value, 1);
    }
    client.to_send--;
}

static void send_reads(void)
{
    for (int i = 0; i < KEYS; i++) {
        buffer_append_format(&client.output, "GET key%d\r\n", i);
        expect(i, -1, 1);
    }
    buffer_append_string(&client.output, "GET pair1\r\nGET pair2\r\nGET count\r\n");
    expect(PAIR, -1, 1);
    expect(PAIR, -1, 1);
    expect(COUNTER, -1, 1);
}

/* What was read is final: nothing that was sent before can come later. */
static void check_value(int which, int value)
{
    struct model *model = &models[which];
    bool sent = value == model->acknowledged;
    for (int i = 0; i < model->sent_count; i++) {
        sent = sent || model->sent[i] == value;
    }
    if (value < model->acknowledged || !sent) {
        fail_msg("register %d is %d; %d was acknowledged", which, value, model->acknowledged);
    }
    *model = (struct model){.acknowledged = value, .sent = {value}, .sent_count = 1};
}

static void take_token(const struct resp_token *token)
{
    int which = client.pending[0].which, value = client.pending[0].value;
    if (token->type == RESP_ERROR) {
        fail_msg("the server answered %.*s", (int)token->text.size, (const char *)token->text.data);
    }
    if (value < 0) {
        char text[VALUE_BYTES + 1] = "0";
        if (token->type == RESP_BULK) {
            (void)snprintf(text, sizeof(text), "%.*s", (int)token->text.size, (const char *)token->text.data);
            assert_true(which == COUNTER || token->text.size == VALUE_BYTES);
        }
        check_value(which, atoi(text));
    }
    if (!token->last || --client.pending[0].replies > 0) {
        return;
    }
    if (value >= 0) {
        models[which].acknowledged = value;
        assert_true(which != COUNTER || token->integer == value);
    }
    client.pending_count--;
    memmove(&client.pending[0], &client.pending[1], (size_t)client.pending_count * sizeof(client.pending[0]));
}

static void client_goes_on(void)
{
    while (client.to_send > 0 && client.pending_count < client.in_flight_limit) {
        send_write();
    }
    size_t taken;
    struct iovec part = {client.output.data, client.output.size};
    while (client.output.size > 0 && env_stream_write(client.env, client.stream, &part, 1, &taken) == STATUS_OK) {
        buffer_consume(&client.output, taken);
        part = (struct iovec){client.output.data, client.output.size};
    }
    env_stream_want_write(client.env, client.stream, client.output.size > 0);
}

static void client_readable(void *owner)
{
    size_t size;
    uint8_t *room = buffer_reserve(&client.input, 4096);
    enum status status = env_stream_read(client.env, client.stream, room, 4096, &size);
    if (status == STATUS_AGAIN) {
        return;
    }
    if (status != STATUS_OK) {
        client_close();
        return;
    }
    client.input.size += size;
    const struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_token token;
    enum resp_reply_result result;
    do {
        result = resp_reader_next(&client.reader, &limits, client.input.data, client.input.size, &token);
        assert_int_not_equal(result, RESP_REPLY_INVALID);
        if (result == RESP_REPLY_READY) {
            assert_true(client.pending_count > 0);
            take_token(&token);
        }
        buffer_consume(&client.input, client.reader.consumed);
    } while (result == RESP_REPLY_READY);
    client_goes_on();
}

static void client_writable(void *owner) { client_goes_on(); }

static const struct env_stream_events client_events = {client_readable, client_writable};

static void client_connect(void)
{
    client_close();
    resp_reader_init(&client.reader);
    enum status status = env_connect(client.env, sim_node_address(sim, SERVER), PORT, &client.stream);
    assert_int_equal(status, STATUS_OK);
    env_stream_attach(client.env, client.stream, &client_events, NULL);
    env_stream_want_write(client.env, client.stream, true);
}

/* ---- the server ---- */

static void server_stopped(void *owner, enum status status) { stopped = true; }

static void server_configured(void *owner, struct env *env, const struct config *config) {}

static void note_crash(void *owner, int node) { crashed = true; }

static const struct server_events server_events = {.stopped = server_stopped, .configured = server_configured};

static enum status start_server(void)
{
    struct config config;
    config_init(&config);
    config.protected_mode = 0;
    config.log_segment_bytes = 64 << 10;
    config.snapshot_log_bytes = 32 << 10;
    struct server_options options = {.node_id = 1, .directory = "data", .host = "*", .port = PORT, .version = "test"};
    char message[SERVER_MESSAGE_BYTES] = "";
    crashed = stopped = false;
    struct env *env = sim_node_start(sim, SERVER);
    enum status status = server_create(env, &options, &config, &server_events, NULL, &server, message);
    if (status != STATUS_OK) {
        server = NULL;
        if (!sim_disk_down(sim_node_disk(sim, SERVER))) {
            fail_msg("the server does not start: %s", message);
        }
    }
    return status;
}

static void end_server(void)
{
    server_destroy(server);
    server = NULL;
}

/* Until the client has all replies, or the server crashed. */
static void run_until_answered(void)
{
    for (int i = 0; (client.pending_count > 0 || client.to_send > 0 || client.output.size > 0) && !crashed; i++) {
        assert_true(i < STEPS && sim_step(sim));
        if (!crashed && client.stream == NULL) {
            fail_msg("the connection was lost");
        }
    }
}

static void run_until_crashed(void)
{
    for (int i = 0; !crashed; i++) {
        assert_true(i < STEPS && sim_step(sim));
    }
    client_close();
    end_server();
}

static void check_all(void)
{
    client.to_send = 0;
    client_connect();
    send_reads();
    run_until_answered();
    assert_false(crashed);
    for (int i = 0; i < REGISTERS; i++) {
        assert_int_equal(models[i].sent_count, 1); /* each was read */
    }
}

static void crash_after(uint64_t operations)
{
    sim_disk_crash_after(sim_node_disk(sim, SERVER), SIM_DISK_CHANGES, operations, NULL, NULL);
}

static void work(int commands)
{
    client.to_send = commands;
    client_connect();
    run_until_answered();
}

/* True when the crash came before the workload was through. */
static bool run_with_crash_at(uint64_t seed, uint64_t point)
{
    sim = sim_create(seed);
    sim_on_crash(sim, note_crash, NULL);
    memset(models, 0, sizeof(models));
    for (int i = 0; i < REGISTERS; i++) {
        models[i].sent_count = 1;
    }
    client = (struct client){.env = sim_node_start(sim, CLIENT), .next_value = 1, .in_flight_limit = IN_FLIGHT};
    client.in_flight_limit = 1 + (int)(seed % IN_FLIGHT);
    prng_seed(&client.prng, seed);

    crash_after(point);
    bool reached = start_server() != STATUS_OK;
    if (!reached) {
        work(COMMANDS);
        reached = crashed;
    }
    if (reached) {
        run_until_crashed();
        if (point % 3 != 0) { /* once more, early in recovery */
            crash_after(point % 13);
            if (start_server() == STATUS_OK) {
                sim_run_for(sim, 100 * MS);
            }
            if (crashed || server == NULL) {
                run_until_crashed();
            } else {
                sim_node_crash(sim, SERVER, SIM_CRASH_POWER);
                end_server();
            }
        }
        crash_after(UINT64_MAX);
        assert_int_equal(start_server(), STATUS_OK);
    }
    crash_after(UINT64_MAX);
    check_all();
    work(10);
    check_all();
    client_close();
    server_shutdown(server);
    for (int i = 0; !stopped; i++) {
        assert_true(i < STEPS && sim_step(sim));
    }
    end_server();
    sim_node_crash(sim, SERVER, SIM_CRASH_POWER);
    assert_int_equal(start_server(), STATUS_OK);
    check_all();
    client_close();
    end_server();
    sim_destroy(sim);
    buffer_deinit(&client.input);
    buffer_deinit(&client.output);
    return reached;
}

static void test_every_crash_point(void **state)
{
    uint64_t points = 0;
    for (uint64_t point = 0; run_with_crash_at(5, point); point++) {
        points++;
    }
    print_message("# %llu crash points\n", (unsigned long long)points);
    assert_true(points > 50);
}

/* Other interleavings of the same, at points far apart. */
static void test_crash_points_of_other_seeds(void **state)
{
    for (uint64_t seed = 100; seed < 140; seed++) {
        for (uint64_t point = seed % 17; run_with_crash_at(seed, point); point += 17) {
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_crash_point),
        cmocka_unit_test(test_crash_points_of_other_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "sim_net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS 1000000LL
enum { PORT = 7000, SERVER = 0, CLIENT = 1, PEERS = 16 };

static struct sim *sim;

static int setup(void **state)
{
    sim = sim_create(42);
    return 0;
}

static int teardown(void **state)
{
    sim_destroy(sim);
    return 0;
}

/* ---- a process that listens, connects and echoes ---- */

struct peer {
    struct env *env;
    struct env_stream *stream; /* NULL when closed */
    size_t received;
    enum status last;
    bool echo, deaf;
};

struct process {
    struct env *env;
    struct env_listener *listener;
    struct peer peers[PEERS];
    int count, failures;
    bool echo;
};

static void peer_send(struct peer *peer, const void *data, size_t size)
{
    while (size > 0 && peer->stream != NULL) {
        struct iovec part = {(void *)(uintptr_t)data, size};
        size_t taken;
        peer->last = env_stream_write(peer->env, peer->stream, &part, 1, &taken);
        if (peer->last != STATUS_OK) {
            return;
        }
        data = (const char *)data + taken;
        size -= taken;
    }
}

static void peer_close(struct peer *peer)
{
    if (peer->stream != NULL) {
        env_stream_close(peer->env, peer->stream);
        peer->stream = NULL;
    }
}

static void peer_readable(void *owner)
{
    struct peer *peer = owner;
    char data[100];
    size_t size;
    peer->last = env_stream_read(peer->env, peer->stream, data, sizeof(data), &size);
    if (peer->last == STATUS_OK) {
        peer->received += size;
        if (peer->echo) {
            peer_send(peer, data, size);
        }
    } else if (peer->last != STATUS_AGAIN) {
        peer_close(peer);
    }
}

static void peer_writable(void *owner)
{
    struct peer *peer = owner;
    env_stream_want_write(peer->env, peer->stream, false);
}

static const struct env_stream_events peer_events = {peer_readable, peer_writable};

static struct peer *process_adopt(struct process *process, struct env_stream *stream)
{
    struct peer *peer = &process->peers[process->count++];
    *peer = (struct peer){.env = process->env, .stream = stream, .echo = process->echo};
    env_stream_attach(process->env, stream, &peer_events, peer);
    return peer;
}

static void accepted(void *owner, struct env_stream *stream) { (void)process_adopt(owner, stream); }

static void accept_failed(void *owner, enum status status)
{
    struct process *process = owner;
    assert_int_equal(status, STATUS_FULL);
    process->failures++;
}

static const struct env_listener_events listener_events = {accepted, accept_failed};

static void process_start(struct process *process, int node, bool echo)
{
    *process = (struct process){.env = sim_node_start(sim, node), .echo = echo};
    assert_int_equal(env_listen(process->env, "*", PORT, &listener_events, process, &process->listener), STATUS_OK);
}

/* What the owner does with a dead process, and with a living one at the end. */
static void process_end(struct process *process)
{
    for (int i = 0; i < process->count; i++) {
        peer_close(&process->peers[i]);
    }
    env_listener_close(process->env, process->listener);
}

static struct peer *process_connect(struct process *process, int node)
{
    struct env_stream *stream;
    assert_int_equal(env_connect(process->env, sim_node_address(sim, node), PORT, &stream), STATUS_OK);
    return process_adopt(process, stream);
}

static struct process server, client;

/* A server that echoes and a client connected to it. */
static struct peer *start_pair(void)
{
    process_start(&server, SERVER, true);
    process_start(&client, CLIENT, false);
    struct peer *peer = process_connect(&client, SERVER);
    sim_run_for(sim, 20 * MS);
    assert_int_equal(server.count, 1);
    return peer;
}

static void end_pair(void)
{
    process_end(&client);
    process_end(&server);
}

/* ---- determinism ---- */

static void busy_work(struct env_work *work) {}

static void busy_done(struct env_work *work) {}

static uint64_t trace_of_seed(uint64_t seed)
{
    sim_destroy(sim);
    sim = sim_create(seed);
    sim_network(sim)->slow_one_in = 20;
    sim_network(sim)->slow_ns = 50 * MS;
    sim_network(sim)->lose_one_in = 50;
    sim_network(sim)->reset_one_in = 200;
    struct peer *peer = start_pair();
    struct env_work work = {.run = busy_work, .done = busy_done};
    env_work_submit(server.env, &work);
    char data[5000] = "same";
    for (int i = 0; i < 20; i++) {
        peer_send(peer, data, sizeof(data));
        sim_run_for(sim, 10 * MS);
    }
    sim_node_crash(sim, SERVER, SIM_CRASH_POWER);
    process_end(&server);
    process_start(&server, SERVER, true);
    sim_run_for(sim, 1000 * MS);
    uint64_t hash = sim_trace_hash(sim);
    end_pair();
    return hash;
}

static void test_same_seed_same_trace(void **state)
{
    uint64_t first = trace_of_seed(1), other = trace_of_seed(2), again = trace_of_seed(1);
    assert_true(first == again);
    assert_true(first != other);
}

/* ---- network ---- */

static void test_echo_between_nodes(void **state)
{
    struct peer *peer = start_pair();
    char data[3000] = "x";
    peer_send(peer, data, sizeof(data));
    sim_run_for(sim, 200 * MS);
    assert_int_equal(peer->received, sizeof(data));
    char name[64];
    env_stream_name(server.env, server.peers[0].stream, true, name, sizeof(name));
    assert_memory_equal(name, "10.0.0.2:", 9);
    end_pair();
}

static void test_loopback_listener_is_not_reached_from_outside(void **state)
{
    process_start(&client, CLIENT, false);
    struct process inner = {.env = sim_node_start(sim, SERVER)};
    assert_int_equal(env_listen(inner.env, "127.0.0.1", PORT, &listener_events, &inner, &inner.listener), STATUS_OK);
    struct peer *peer = process_connect(&client, SERVER);
    sim_run_for(sim, 50 * MS);
    assert_int_equal(peer->last, STATUS_REFUSED);
    assert_int_equal(inner.count, 0);
    process_end(&client);
    process_end(&inner);
}

static void test_one_way_partition(void **state)
{
    struct peer *peer = start_pair();
    sim_network_block(sim, SERVER, CLIENT, true);
    peer_send(peer, "ping", 4);
    sim_run_for(sim, 10000 * MS);
    assert_int_equal(server.peers[0].received, 4);
    assert_int_equal(peer->received, 0);
    sim_network_heal(sim);
    sim_run_for(sim, 6000 * MS);
    assert_int_equal(peer->received, 4);
    end_pair();
}

static void test_partition_ends_in_a_timeout(void **state)
{
    struct peer *peer = start_pair();
    sim_network_block(sim, CLIENT, SERVER, true);
    struct peer *late = process_connect(&client, SERVER);
    peer_send(peer, "ping", 4);
    sim_run_for(sim, 50000 * MS);
    assert_non_null(peer->stream);
    assert_non_null(late->stream);
    sim_run_for(sim, 20000 * MS);
    assert_int_equal(peer->last, STATUS_TIMEOUT);
    assert_int_equal(late->last, STATUS_TIMEOUT);
    assert_non_null(server.peers[0].stream); /* half open: nobody told it */
    end_pair();
}

static void test_clog(void **state)
{
    struct peer *peer = start_pair();
    sim_network_clog(sim, CLIENT, SERVER, sim_now_ns(sim) + 500 * MS);
    peer_send(peer, "ping", 4);
    sim_run_for(sim, 499 * MS);
    assert_int_equal(server.peers[0].received, 0);
    sim_run_for(sim, 50 * MS);
    assert_int_equal(server.peers[0].received, 4);
    end_pair();
}

static void test_reset(void **state)
{
    struct peer *peer = start_pair();
    assert_int_equal(sim_network_reset(sim, SERVER, CLIENT), 1);
    sim_run_for(sim, 50 * MS);
    assert_null(peer->stream);
    assert_int_equal(peer->last, STATUS_CLOSED);
    assert_int_equal(server.peers[0].last, STATUS_CLOSED);
    assert_int_equal(sim_network_reset(sim, SERVER, CLIENT), 0);
    end_pair();
}

/* A reader that stays away stops the writer at the buffer's size, and lets it go on later. */
static void test_buffer_is_bounded(void **state)
{
    sim_network(sim)->buffer_bytes = 10000;
    struct peer *peer = start_pair();
    env_stream_want_read(server.env, server.peers[0].stream, false);
    static char data[30000];
    peer_send(peer, data, sizeof(data));
    assert_int_equal(peer->last, STATUS_AGAIN);
    sim_run_for(sim, 200 * MS);
    peer_send(peer, data, 1);
    assert_int_equal(peer->last, STATUS_AGAIN);
    server.peers[0].echo = false;
    env_stream_want_read(server.env, server.peers[0].stream, true);
    sim_run_for(sim, 200 * MS);
    assert_int_equal(server.peers[0].received, 10000);
    peer_send(peer, data, 1);
    assert_int_equal(peer->last, STATUS_OK);
    end_pair();
}

static void test_descriptors_run_out(void **state)
{
    sim_network(sim)->descriptors = 5;
    struct peer *peer = start_pair();
    struct process many = {.env = sim_node_start(sim, 2)};
    assert_int_equal(env_listen(many.env, "*", PORT, &listener_events, &many, &many.listener), STATUS_OK);
    (void)process_connect(&many, SERVER);
    (void)process_connect(&many, SERVER);
    sim_run_for(sim, 50 * MS);
    assert_int_equal(server.count, 2);
    assert_true(server.failures > 0);
    peer_close(peer);
    sim_run_for(sim, 300 * MS);
    assert_int_equal(server.count, 3);
    process_end(&many);
    end_pair();
}

/* ---- crashes ---- */

static void test_killed_process_says_goodbye(void **state)
{
    struct peer *peer = start_pair();
    sim_node_crash(sim, SERVER, SIM_CRASH_KILL);
    assert_null(sim_node_env(sim, SERVER));
    process_end(&server);
    struct peer *late = process_connect(&client, SERVER);
    sim_run_for(sim, 50 * MS);
    assert_int_equal(peer->last, STATUS_CLOSED);
    assert_int_equal(late->last, STATUS_REFUSED);
    process_end(&client);
}

static void test_power_loss_is_silent(void **state)
{
    struct peer *peer = start_pair();
    sim_node_crash(sim, SERVER, SIM_CRASH_POWER);
    process_end(&server);
    sim_run_for(sim, 5000 * MS);
    assert_non_null(peer->stream);
    peer_send(peer, "ping", 4);
    sim_run_for(sim, 5000 * MS);
    assert_non_null(peer->stream);
    process_start(&server, SERVER, true);
    sim_run_for(sim, 6000 * MS); /* sent again, it meets a machine that knows nothing of it */
    assert_null(peer->stream);
    assert_int_equal(peer->last, STATUS_CLOSED);
    struct peer *fresh = process_connect(&client, SERVER);
    sim_run_for(sim, 20 * MS);
    peer_send(fresh, "ping", 4);
    sim_run_for(sim, 50 * MS);
    assert_int_equal(fresh->received, 4);
    end_pair();
}

static void must_not_fire(struct env_timer *timer) { fail_msg("a timer of a dead process fired"); }

struct file_work {
    struct env_work work;
    struct env *env;
    struct env_file *file;
    enum status status;
    int runs, dones;
};

static void file_work_run(struct env_work *work)
{
    struct file_work *job = (struct file_work *)work;
    struct iovec part = {(char[]){"late"}, 4};
    job->status = env_write(job->env, job->file, 0, &part, 1);
    job->runs++;
}

static void file_work_done(struct env_work *work) { ((struct file_work *)work)->dones++; }

static void test_dead_process_does_nothing(void **state)
{
    struct env *env = sim_node_start(sim, SERVER);
    struct env_timer timer;
    env_timer_init(&timer, must_not_fire);
    env_timer_start(env, &timer, env_monotonic_ns(env) + 50 * MS);
    struct file_work job = {.work = {.run = file_work_run, .done = file_work_done}, .env = env};
    assert_int_equal(env_open(env, "a", ENV_OPEN_WRITE | ENV_OPEN_CREATE, &job.file), STATUS_OK);
    env_work_submit(env, &job.work);
    sim_node_crash(sim, SERVER, SIM_CRASH_KILL);
    assert_int_equal(env_unlink(env, "a"), STATUS_IO);
    struct env_file *second;
    assert_int_equal(env_open(env, "a", ENV_OPEN_READ, &second), STATUS_IO);
    env_timer_stop(env, &timer);
    sim_run_for(sim, 100 * MS);
    assert_int_equal(job.runs + job.dones, 0);
    struct env *next = sim_node_start(sim, SERVER);
    assert_int_equal(job.runs, 1); /* only so that its owner can let go */
    assert_int_equal(job.dones, 1);
    assert_int_equal(job.status, STATUS_IO);
    uint64_t size;
    assert_int_equal(env_open(next, "a", ENV_OPEN_READ, &second), STATUS_OK);
    assert_int_equal(env_size(next, second, &size), STATUS_OK);
    assert_int_equal(size, 0);
    env_close(next, second);
}

static int crashed_node;

static void note_crash(void *owner, int node) { crashed_node = node; }

static struct env_file *crash_file;

static void sync_then_answer(void *owner)
{
    struct peer *peer = &server.peers[0];
    if (peer->received > 0 && crash_file != NULL) {
        struct iovec part = {(char[]){"x"}, 1};
        assert_int_equal(env_write(server.env, crash_file, 0, &part, 1), STATUS_OK);
        assert_int_equal(env_sync(server.env, crash_file), STATUS_OK);
        peer_send(peer, "done", 4);
        env_close(server.env, crash_file);
        crash_file = NULL;
    }
}

/* The sync takes effect, but nobody hears of it. */
static void test_crash_point_silences_the_process(void **state)
{
    struct peer *peer = start_pair();
    server.peers[0].echo = false;
    crashed_node = -1;
    int flags = ENV_OPEN_WRITE | ENV_OPEN_CREATE;
    assert_int_equal(env_open(server.env, "log", flags, &crash_file), STATUS_OK);
    assert_int_equal(env_sync_directory(server.env, "."), STATUS_OK);
    env_set_turn_hook(server.env, sync_then_answer, NULL);
    sim_on_crash(sim, note_crash, NULL);
    sim_disk_crash_after(sim_node_disk(sim, SERVER), SIM_DISK_SYNC, 0, NULL, NULL);
    peer_send(peer, "go", 2);
    sim_run_for(sim, 100 * MS);
    assert_int_equal(crashed_node, SERVER);
    assert_null(sim_node_env(sim, SERVER));
    assert_int_equal(peer->received, 0);
    process_end(&server);
    process_start(&server, SERVER, true);
    struct slice content;
    assert_int_equal(sim_disk_peek(sim_node_disk(sim, SERVER), "log", &content), STATUS_OK);
    assert_int_equal(content.size, 1);
    end_pair();
}

static void end_after_write_then_answer(void *owner)
{
    struct peer *peer = &server.peers[0];
    if (peer->received > 0 && crash_file != NULL) {
        struct iovec part = {(char[]){"x"}, 1};
        (void)!env_write(server.env, crash_file, 0, &part, 1);
        peer_send(peer, "done", 4);
        env_close(server.env, crash_file);
        crash_file = NULL;
    }
}

/* Out of memory: of a write to a file and an answer, the first so many are seen, and the process is no more. */
static void process_ends_after(uint64_t operations)
{
    struct peer *peer = start_pair();
    server.peers[0].echo = false;
    crashed_node = -1;
    int flags = ENV_OPEN_WRITE | ENV_OPEN_CREATE | ENV_OPEN_TRUNCATE;
    assert_int_equal(env_open(server.env, "log", flags, &crash_file), STATUS_OK);
    env_set_turn_hook(server.env, end_after_write_then_answer, NULL);
    sim_on_crash(sim, note_crash, NULL);
    sim_node_end_after(sim, SERVER, operations);
    peer_send(peer, "go", 2);
    sim_run_for(sim, 100 * MS);
    assert_int_equal(crashed_node, SERVER);
    assert_true(sim_node_ended(sim, SERVER));
    assert_null(sim_node_env(sim, SERVER));
    assert_int_equal(peer->received, 0);
    struct slice content;
    assert_int_equal(sim_disk_peek(sim_node_disk(sim, SERVER), "log", &content), STATUS_OK);
    assert_int_equal(content.size, operations);
    process_end(&server);
    process_start(&server, SERVER, true);
    assert_false(sim_node_ended(sim, SERVER));
    end_pair();
}

static void test_a_process_ends_before_it_writes(void **state) { process_ends_after(0); }

static void test_a_process_ends_before_it_answers(void **state) { process_ends_after(1); }

/* ---- clocks ---- */

static int64_t fired_at_ns;

static void note_fire(struct env_timer *timer) { fired_at_ns = sim_now_ns(sim); }

static void test_clock_rate(void **state)
{
    struct env *env = sim_node_start(sim, SERVER);
    int64_t from_ns = env_monotonic_ns(env), wall_from_ms = env_wall_ms(env);
    sim_node_set_clock_rate(sim, SERVER, 100000);
    sim_run_for(sim, 1000 * MS);
    int64_t elapsed_ns = env_monotonic_ns(env) - from_ns;
    assert_true(elapsed_ns >= 1099 * MS && elapsed_ns <= 1101 * MS);
    sim_node_set_wall_offset(sim, SERVER, -5000);
    assert_int_equal(env_wall_ms(env) - wall_from_ms, -4000);
    struct env_timer timer;
    env_timer_init(&timer, note_fire);
    int64_t set_ns = sim_now_ns(sim);
    env_timer_start(env, &timer, env_monotonic_ns(env) + 1100 * MS);
    sim_run_for(sim, 2000 * MS);
    assert_true(fired_at_ns - set_ns >= 999 * MS && fired_at_ns - set_ns <= 1001 * MS);
}

static int64_t last_shown_ns;

static void read_for_long(void *owner)
{
    struct env *env = owner;
    for (int i = 0; i < 100000; i++) {
        int64_t now_ns = env_monotonic_ns(env);
        assert_true(now_ns >= last_shown_ns);
        last_shown_ns = now_ns;
    }
}

/* The rate changes while a turn takes its time: what it has read already is not taken back. */
static void test_monotonic_is_monotonic(void **state)
{
    struct env *env = sim_node_start(sim, SERVER);
    last_shown_ns = 0;
    env_set_turn_hook(env, read_for_long, env);
    for (int i = 0; i < 20; i++) {
        env_wake(env);
        sim_run_for(sim, 100 * 1000); /* the turn has begun, and lasts for 2 ms */
        sim_node_set_clock_rate(sim, SERVER, i % 2 == 0 ? -100000 : 100000);
        sim_run_for(sim, 5 * MS);
    }
    env_set_turn_hook(env, NULL, NULL);
}

static void test_pause(void **state)
{
    struct env *env = sim_node_start(sim, SERVER);
    struct env_timer timer;
    env_timer_init(&timer, note_fire);
    sim_run_for(sim, MS);
    fired_at_ns = 0;
    env_timer_start(env, &timer, env_monotonic_ns(env) + 10 * MS);
    sim_node_pause(sim, SERVER, 500 * MS);
    sim_run_until(sim, 499 * MS);
    assert_int_equal(fired_at_ns, 0);
    sim_run_until(sim, 501 * MS);
    assert_true(fired_at_ns >= 500 * MS);
}

static int64_t sync_took_ns;

static void sync_in_turn(void *owner)
{
    struct env *env = owner;
    int64_t from_ns = env_monotonic_ns(env);
    assert_int_equal(env_sync_directory(env, "."), STATUS_OK);
    sync_took_ns = env_monotonic_ns(env) - from_ns;
}

static void test_inline_sync_takes_time(void **state)
{
    sim_timing(sim)->slow_sync_one_in = 1;
    sim_timing(sim)->slow_sync_ns = 30 * MS;
    sim_timing(sim)->sync_minimum_ns = sim_timing(sim)->sync_maximum_ns = 5 * MS;
    struct env *env = sim_node_start(sim, SERVER);
    env_set_turn_hook(env, sync_in_turn, env);
    sim_run_for(sim, 0);
    assert_true(sync_took_ns >= 5 * MS && sync_took_ns <= 36 * MS);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_same_seed_same_trace),
        TEST(test_echo_between_nodes),
        TEST(test_loopback_listener_is_not_reached_from_outside),
        TEST(test_one_way_partition),
        TEST(test_partition_ends_in_a_timeout),
        TEST(test_clog),
        TEST(test_reset),
        TEST(test_buffer_is_bounded),
        TEST(test_descriptors_run_out),
        TEST(test_killed_process_says_goodbye),
        TEST(test_power_loss_is_silent),
        TEST(test_dead_process_does_nothing),
        TEST(test_crash_point_silences_the_process),
        TEST(test_a_process_ends_before_it_writes),
        TEST(test_a_process_ends_before_it_answers),
        TEST(test_clock_rate),
        TEST(test_monotonic_is_monotonic),
        TEST(test_pause),
        TEST(test_inline_sync_takes_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

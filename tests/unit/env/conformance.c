#include "conformance.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MS = 1000000, TICK_MS = 5, PATIENCE_MS = 20000, PAYLOAD_BYTES = 16 << 20 };

static struct conformance *now_testing;
static struct env *env;

static void stop(void) { now_testing->stop(now_testing); }

/* Time is counted in ticks: a process that others keep from running for long has seen one of them, and between any two
 * it looks for what has arrived. */
static void start_tick(struct env_timer *tick)
{
    env_timer_start(env, tick, env_monotonic_ns(env) + (int64_t)TICK_MS * MS);
}

static struct env_timer watchdog;
static int quiet_ticks;

static void something_happened(void) { quiet_ticks = 0; }

static void watch(struct env_timer *timer)
{
    if (++quiet_ticks == PATIENCE_MS / TICK_MS) {
        fail_msg("nothing happened for %d ms", PATIENCE_MS);
    }
    start_tick(timer);
}

static void begin(void **state)
{
    now_testing = *state;
    env = now_testing->env;
    env_timer_init(&watchdog, watch);
}

static void run(void)
{
    something_happened();
    start_tick(&watchdog);
    now_testing->run(now_testing);
    env_timer_stop(env, &watchdog);
}

/* Runs for a while of the env's time. */
struct pause {
    struct env_timer timer;
    int64_t ticks;
};

static void pause_tick(struct env_timer *timer)
{
    struct pause *pause = (struct pause *)timer;
    if (--pause->ticks == 0) {
        stop();
    } else {
        start_tick(timer);
    }
}

static void run_for_ms(int64_t ms)
{
    struct pause pause = {.ticks = (ms + TICK_MS - 1) / TICK_MS};
    env_timer_init(&pause.timer, pause_tick);
    start_tick(&pause.timer);
    run();
}

/* ---- timers ---- */

struct noted_timer {
    struct env_timer timer;
    int64_t at_ns;
    int name;
};

static int fired[16], fired_count;

static void note_timer(struct env_timer *timer)
{
    struct noted_timer *noted = (struct noted_timer *)timer;
    assert_true(env_monotonic_ns(env) >= noted->at_ns);
    assert_false(timer->armed);
    fired[fired_count++] = noted->name;
}

static void start_noted(struct noted_timer *noted, int name, int64_t at_ns)
{
    env_timer_init(&noted->timer, note_timer);
    noted->name = name;
    noted->at_ns = at_ns;
    env_timer_start(env, &noted->timer, at_ns);
}

static void test_timers_fire_in_order(void **state)
{
    begin(state);
    fired_count = 0;
    int64_t now_ns = env_monotonic_ns(env);
    struct noted_timer timers[6];
    start_noted(&timers[0], 0, now_ns + 9 * MS);
    start_noted(&timers[1], 1, now_ns + 3 * MS);
    start_noted(&timers[2], 2, now_ns + 3 * MS);
    start_noted(&timers[3], 3, now_ns + 6 * MS);
    start_noted(&timers[4], 4, now_ns - MS);
    start_noted(&timers[5], 5, now_ns + 4 * MS);
    timers[1].at_ns = now_ns + 7 * MS;
    env_timer_start(env, &timers[1].timer, timers[1].at_ns); /* moves it */
    env_timer_stop(env, &timers[3].timer);
    env_timer_stop(env, &timers[3].timer);
    assert_int_equal(fired_count, 0);
    run_for_ms(20);
    static const int expected[] = {4, 2, 5, 1, 0};
    assert_int_equal(fired_count, 5);
    assert_memory_equal(fired, expected, sizeof(expected));
}

static struct env_timer stopped_by_other;

static void stops_other(struct env_timer *timer) { env_timer_stop(env, &stopped_by_other); }

static void must_not_fire(struct env_timer *timer) { fail_msg("a stopped timer fired"); }

static void test_timer_stopped_in_same_turn(void **state)
{
    begin(state);
    int64_t at_ns = env_monotonic_ns(env) + 2 * MS;
    struct env_timer first;
    env_timer_init(&first, stops_other);
    env_timer_init(&stopped_by_other, must_not_fire);
    env_timer_start(env, &first, at_ns);
    env_timer_start(env, &stopped_by_other, at_ns);
    run_for_ms(10);
}

/* ---- turns ---- */

static struct {
    int callbacks, hooks, hooks_at_callback, wakes;
} turn;

static void restart_at_once(struct env_timer *timer)
{
    assert_true(turn.callbacks == 0 || turn.hooks > turn.hooks_at_callback); /* a hook was between */
    turn.callbacks++;
    turn.hooks_at_callback = turn.hooks;
    env_timer_start(env, timer, env_monotonic_ns(env));
}

static void count_turns(void *owner)
{
    turn.hooks++;
    if (turn.callbacks >= 5) { /* one that is due when it stops may still be called */
        stop();
    }
}

/* A timer that starts itself again waits for the next turn, so hooks and callbacks alternate. */
static void test_hook_ends_each_turn(void **state)
{
    begin(state);
    memset(&turn, 0, sizeof(turn));
    struct env_timer timer;
    env_timer_init(&timer, restart_at_once);
    env_timer_start(env, &timer, env_monotonic_ns(env) + MS);
    env_set_turn_hook(env, count_turns, NULL);
    run();
    env_timer_stop(env, &timer);
    env_set_turn_hook(env, NULL, NULL);
    assert_true(turn.callbacks >= 5);
    assert_true(turn.hooks >= turn.callbacks);
    assert_true(turn.hooks > turn.hooks_at_callback);
}

static void wakes_again(void *owner)
{
    if (++turn.wakes == 100) {
        stop();
    } else {
        env_wake(env);
    }
}

static void test_wake_gives_another_turn(void **state)
{
    begin(state);
    memset(&turn, 0, sizeof(turn));
    env_set_turn_hook(env, wakes_again, NULL);
    env_wake(env);
    run();
    env_set_turn_hook(env, NULL, NULL);
    assert_true(turn.wakes >= 100);
}

/* ---- work ---- */

struct noted_work {
    struct env_work work;
    int runs, dones;
    enum status status;
};

static void work_run(struct env_work *work)
{
    struct noted_work *noted = (struct noted_work *)work;
    noted->runs++;
}

static void work_done(struct env_work *work)
{
    struct noted_work *noted = (struct noted_work *)work;
    noted->dones++;
    assert_int_equal(noted->runs, noted->dones);
    int dones = noted->dones;
    if (dones < 3) {
        env_work_submit(env, work);
        assert_int_equal(noted->dones, dones);
    } else {
        stop();
    }
}

static void test_work(void **state)
{
    begin(state);
    struct noted_work noted = {.work = {.run = work_run, .done = work_done}};
    env_work_submit(env, &noted.work);
    assert_int_equal(noted.dones, 0);
    run();
    assert_int_equal(noted.runs, 3);
    assert_int_equal(noted.dones, 3);
}

/* ---- streams ---- */

struct end {
    struct env_stream *stream;
    int readable, writable;
    size_t received, to_send, sent;
    uint64_t sum; /* of what was received */
    enum status last;
    bool echo, closed, drop_reading, leave_bytes, stop_at_end;
    struct end *close_too;
    uint8_t *kept; /* bytes to echo */
    size_t kept_size;
};

static void end_close(struct end *end)
{
    if (end->closed) {
        return;
    }
    env_stream_close(env, end->stream);
    free(end->kept);
    end->kept = NULL;
    end->closed = true;
}

static void end_send(struct end *end)
{
    uint8_t chunk[4096];
    while (end->sent < end->to_send) {
        size_t size = end->to_send - end->sent < sizeof(chunk) ? end->to_send - end->sent : sizeof(chunk);
        for (size_t i = 0; i < size; i++) {
            chunk[i] = (uint8_t)((end->sent + i) * 31 % 251);
        }
        struct iovec parts[] = {{chunk, size / 2}, {chunk + size / 2, size - size / 2}};
        size_t taken;
        end->last = env_stream_write(env, end->stream, parts, 2, &taken);
        if (end->last != STATUS_OK) {
            break;
        }
        end->sent += taken;
    }
    env_stream_want_write(env, end->stream, end->sent < end->to_send && end->last == STATUS_AGAIN);
}

static void end_echo(struct end *end)
{
    while (end->kept_size > 0) {
        struct iovec part = {end->kept, end->kept_size};
        size_t taken;
        enum status status = env_stream_write(env, end->stream, &part, 1, &taken);
        if (status != STATUS_OK) {
            assert_int_equal(status, STATUS_AGAIN);
            break;
        }
        end->kept_size -= taken;
        memmove(end->kept, end->kept + taken, end->kept_size);
    }
    env_stream_want_write(env, end->stream, end->kept_size > 0);
    env_stream_want_read(env, end->stream, end->kept_size == 0);
}

static void end_readable(void *owner)
{
    struct end *end = owner;
    assert_false(end->closed);
    something_happened();
    end->readable++;
    if (end->close_too != NULL) {
        end_close(end->close_too);
        end->close_too->close_too = NULL;
        end->close_too = NULL;
    }
    uint8_t data[10000];
    size_t size;
    end->last = env_stream_read(env, end->stream, data, end->leave_bytes ? 1 : sizeof(data), &size);
    if (end->last == STATUS_OK) {
        for (size_t i = 0; i < size; i++) {
            end->sum += (uint64_t)data[i] * (end->received + i + 1);
        }
        end->received += size;
        if (end->echo) {
            end->kept = realloc(end->kept, end->kept_size + size);
            assert_non_null(end->kept);
            memcpy(end->kept + end->kept_size, data, size);
            end->kept_size += size;
            end_echo(end);
        }
        if (end->drop_reading) {
            env_stream_want_read(env, end->stream, false);
        }
        if (end->stop_at_end && end->received == end->to_send) {
            stop();
        }
    } else if (end->last != STATUS_AGAIN) {
        end_close(end);
        if (end->stop_at_end) {
            stop();
        }
    }
}

static void end_writable(void *owner)
{
    struct end *end = owner;
    assert_false(end->closed);
    end->writable++;
    if (end->echo) {
        end_echo(end);
    } else {
        end_send(end);
    }
}

static const struct env_stream_events end_events = {end_readable, end_writable};

static struct end accepted_ends[32];
static int accepted_count;
static struct end accepted_like; /* what accepted ends start as */
static bool close_listener_when_accepted;
static struct env_listener *listener;

static void accepted(void *owner, struct env_stream *stream)
{
    assert_non_null(listener);
    struct end *end = &accepted_ends[accepted_count++];
    *end = accepted_like;
    end->stream = stream;
    env_stream_attach(env, stream, &end_events, end);
    if (close_listener_when_accepted) {
        env_listener_close(env, listener);
        listener = NULL;
        stop();
    }
}

static void accept_failed(void *owner, enum status status) { fail_msg("accept: %s", status_text(status)); }

static const struct env_listener_events listener_events = {accepted, accept_failed};

static int start_listening(void)
{
    accepted_count = 0;
    accepted_like = (struct end){0};
    close_listener_when_accepted = false;
    assert_int_equal(env_listen(env, "127.0.0.1", 0, &listener_events, NULL, &listener), STATUS_OK);
    int port = env_listener_port(env, listener);
    assert_true(port > 0);
    return port;
}

static void connect_end(struct end *end, int port)
{
    assert_int_equal(env_connect(env, "127.0.0.1", port, &end->stream), STATUS_OK);
    env_stream_attach(env, end->stream, &end_events, end);
    env_stream_want_write(env, end->stream, true);
}

static void close_all(void)
{
    for (int i = 0; i < accepted_count; i++) {
        end_close(&accepted_ends[i]);
    }
    if (listener != NULL) {
        env_listener_close(env, listener);
        listener = NULL;
    }
}

static void test_echo_of_much(void **state)
{
    begin(state);
    int port = start_listening();
    accepted_like.echo = true;
    struct end client = {.to_send = PAYLOAD_BYTES, .stop_at_end = true};
    connect_end(&client, port);
    assert_int_equal(client.writable + client.readable, 0);
    run();
    assert_int_equal(client.received, PAYLOAD_BYTES);
    assert_true(client.writable > 1); /* so much does not fit at once */
    uint64_t sum = 0;
    for (uint64_t i = 0; i < PAYLOAD_BYTES; i++) {
        sum += i * 31 % 251 * (i + 1);
    }
    assert_true(client.sum == sum);

    char name[64], peer[64], expected[64];
    (void)snprintf(expected, sizeof(expected), "127.0.0.1:%d", port);
    env_stream_name(env, client.stream, true, peer, sizeof(peer));
    assert_string_equal(peer, expected);
    env_stream_name(env, client.stream, false, name, sizeof(name));
    env_stream_name(env, accepted_ends[0].stream, true, peer, sizeof(peer));
    assert_string_equal(peer, name);
    assert_int_not_equal(env_stream_id(env, client.stream), env_stream_id(env, accepted_ends[0].stream));
    end_close(&client);
    close_all();
}

static void test_end_of_stream(void **state)
{
    begin(state);
    int port = start_listening();
    accepted_like.stop_at_end = true;
    accepted_like.to_send = 5;
    struct end client = {.to_send = 5};
    connect_end(&client, port);
    run();
    assert_int_equal(accepted_ends[0].received, 5);
    end_close(&client);
    run();
    assert_true(accepted_ends[0].closed);
    assert_int_equal(accepted_ends[0].last, STATUS_CLOSED);
    close_all();
}

static void test_connection_refused(void **state)
{
    begin(state);
    int port = start_listening();
    close_all();
    struct end client = {.to_send = 1};
    enum status status = env_connect(env, "127.0.0.1", port, &client.stream);
    if (status == STATUS_OK) {
        env_stream_attach(env, client.stream, &end_events, &client);
        env_stream_want_write(env, client.stream, true);
        run_for_ms(300);
        status = client.writable > 0 ? client.last : STATUS_OK;
        end_close(&client);
        assert_int_equal(client.received, 0);
        assert_true(client.sent == 0);
        assert_true(status == STATUS_REFUSED || status == STATUS_CLOSED);
    } else {
        assert_int_equal(status, STATUS_REFUSED);
    }
    assert_int_equal(env_connect(env, "no address", port, &client.stream), STATUS_INVALID);
}

static void test_reading_off_and_on(void **state)
{
    begin(state);
    int port = start_listening();
    accepted_like.drop_reading = true;
    accepted_like.leave_bytes = true;
    struct end client = {.to_send = 3};
    connect_end(&client, port);
    run_for_ms(100);
    struct end *server = &accepted_ends[0];
    assert_int_equal(server->received, 1);
    assert_int_equal(server->readable, 1);
    env_stream_want_read(env, server->stream, true);
    run_for_ms(50);
    assert_int_equal(server->received, 2);
    /* Level-triggered: what is left is reported again without anything new arriving. */
    server->drop_reading = false;
    env_stream_want_read(env, server->stream, true);
    env_stream_want_read(env, server->stream, false);
    env_stream_want_read(env, server->stream, true);
    run_for_ms(50);
    assert_int_equal(server->received, 3);
    end_close(&client);
    close_all();
}

/* Two streams are ready in one batch and the first callback closes the other one. */
static void test_close_in_batch(void **state)
{
    begin(state);
    int port = start_listening();
    accepted_like.drop_reading = true;
    struct end clients[2] = {{.to_send = 1}, {.to_send = 1}};
    connect_end(&clients[0], port);
    connect_end(&clients[1], port);
    run_for_ms(100);
    assert_int_equal(accepted_count, 2);
    for (int i = 0; i < 2; i++) {
        clients[i].to_send = 2;
        end_send(&clients[i]);
        accepted_ends[i].close_too = &accepted_ends[1 - i];
    }
    run_for_ms(50);
    env_stream_want_read(env, accepted_ends[0].stream, true);
    env_stream_want_read(env, accepted_ends[1].stream, true);
    run_for_ms(50);
    assert_int_equal(accepted_ends[0].readable + accepted_ends[1].readable, 3);
    assert_int_equal(accepted_ends[0].closed + accepted_ends[1].closed, 1);
    end_close(&clients[0]);
    end_close(&clients[1]);
    close_all();
}

static void test_close_listener_in_callback(void **state)
{
    begin(state);
    int port = start_listening();
    struct end clients[4] = {0};
    for (int i = 0; i < 4; i++) {
        connect_end(&clients[i], port);
    }
    close_listener_when_accepted = true;
    run();
    run_for_ms(50);
    assert_int_equal(accepted_count, 1);
    for (int i = 0; i < 4; i++) {
        end_close(&clients[i]);
    }
    close_all();
}

static void test_port_in_use(void **state)
{
    begin(state);
    int port = start_listening();
    struct env_listener *second;
    assert_int_equal(env_listen(env, "127.0.0.1", port, &listener_events, NULL, &second), STATUS_BUSY);
    close_all();
}

/* ---- files ---- */

static char path_text[2][512];

static const char *path(int which, const char *name)
{
    (void)snprintf(path_text[which], sizeof(path_text[which]), "%s/%s", now_testing->directory, name);
    return path_text[which];
}

static void test_file_reads_what_was_written(void **state)
{
    begin(state);
    struct env_file *file;
    int flags = ENV_OPEN_READ | ENV_OPEN_WRITE | ENV_OPEN_CREATE | ENV_OPEN_EXCLUSIVE;
    assert_int_equal(env_open(env, path(0, "a"), ENV_OPEN_READ, &file), STATUS_NOTFOUND);
    assert_int_equal(env_open(env, path(0, "a"), flags, &file), STATUS_OK);
    char text[300];
    struct iovec parts[130];
    for (int i = 0; i < 130; i++) {
        text[2 * i] = (char)('a' + i % 26);
        text[2 * i + 1] = '-';
        parts[i] = (struct iovec){text + 2 * i, i % 5 == 0 ? 0 : 2};
    }
    assert_int_equal(env_write(env, file, 3, parts, 130), STATUS_OK);
    assert_int_equal(env_sync(env, file), STATUS_OK);
    uint64_t size;
    assert_int_equal(env_size(env, file, &size), STATUS_OK);
    assert_int_equal(size, 3 + 104 * 2);
    char back[400];
    size_t got;
    assert_int_equal(env_read(env, file, 0, back, sizeof(back), &got), STATUS_OK);
    assert_int_equal(got, 211);
    assert_memory_equal(back, "\0\0\0b-c-d-e-g-", 13);
    assert_int_equal(env_truncate(env, file, 4), STATUS_OK);
    assert_int_equal(env_read(env, file, 2, back, sizeof(back), &got), STATUS_OK);
    assert_int_equal(got, 2);
    assert_int_equal(env_read(env, file, 100, back, sizeof(back), &got), STATUS_OK);
    assert_int_equal(got, 0);
    env_close(env, file);
    assert_int_equal(env_open(env, path(0, "a"), flags, &file), STATUS_EXISTS);
    assert_int_equal(env_open(env, path(0, "a"), ENV_OPEN_WRITE | ENV_OPEN_TRUNCATE, &file), STATUS_OK);
    assert_int_equal(env_size(env, file, &size), STATUS_OK);
    assert_int_equal(size, 0);
    env_close(env, file);
    assert_int_equal(env_unlink(env, path(0, "a")), STATUS_OK);
    assert_int_equal(env_unlink(env, path(0, "a")), STATUS_NOTFOUND);
}

static void note_name(void *owner, const char *name)
{
    char *names = owner;
    (void)strcat(strcat(names, name), " ");
}

static void make_file(const char *at)
{
    struct env_file *file;
    assert_int_equal(env_open(env, at, ENV_OPEN_WRITE | ENV_OPEN_CREATE, &file), STATUS_OK);
    env_close(env, file);
}

static void test_folders(void **state)
{
    begin(state);
    assert_int_equal(env_make_directory(env, path(0, "sub")), STATUS_OK);
    assert_int_equal(env_make_directory(env, path(0, "sub")), STATUS_OK);
    make_file(path(0, "sub/one"));
    make_file(path(0, "sub/two"));
    assert_int_equal(env_rename(env, path(0, "sub/one"), path(1, "sub/two")), STATUS_OK);
    assert_int_equal(env_rename(env, path(0, "sub/one"), path(1, "sub/two")), STATUS_NOTFOUND);
    assert_int_equal(env_sync_directory(env, path(0, "sub")), STATUS_OK);
    char names[64] = "";
    assert_int_equal(env_list_directory(env, path(0, "sub"), note_name, names), STATUS_OK);
    assert_string_equal(names, "two ");
    assert_int_equal(env_list_directory(env, path(0, "none"), note_name, names), STATUS_NOTFOUND);
    assert_int_equal(env_sync_directory(env, path(0, "none")), STATUS_NOTFOUND);
    assert_int_equal(env_unlink(env, path(0, "sub/two")), STATUS_OK);
}

static void test_lock_excludes(void **state)
{
    begin(state);
    struct env_file *lock, *second;
    assert_int_equal(env_lock_file(env, path(0, "LOCK"), &lock), STATUS_OK);
    assert_int_equal(env_lock_file(env, path(0, "LOCK"), &second), STATUS_BUSY);
    env_close(env, lock);
    assert_int_equal(env_lock_file(env, path(0, "LOCK"), &lock), STATUS_OK);
    env_close(env, lock);
    assert_int_equal(env_unlink(env, path(0, "LOCK")), STATUS_OK);
}

static struct env_file *worked_file;

static void write_in_work(struct env_work *work)
{
    struct noted_work *noted = (struct noted_work *)work;
    struct iovec part = {(char[]){"synced"}, 6};
    noted->status = env_write(env, worked_file, 0, &part, 1);
    if (noted->status == STATUS_OK) {
        noted->status = env_sync(env, worked_file);
    }
}

static void stop_when_done(struct env_work *work) { stop(); }

static void test_files_in_work(void **state)
{
    begin(state);
    struct noted_work noted = {.work = {.run = write_in_work, .done = stop_when_done}, .status = STATUS_CANCELLED};
    int flags = ENV_OPEN_READ | ENV_OPEN_WRITE | ENV_OPEN_CREATE;
    assert_int_equal(env_open(env, path(0, "worked"), flags, &worked_file), STATUS_OK);
    env_work_submit(env, &noted.work);
    run();
    assert_int_equal(noted.status, STATUS_OK);
    char back[16];
    size_t got;
    assert_int_equal(env_read(env, worked_file, 0, back, sizeof(back), &got), STATUS_OK);
    assert_int_equal(got, 6);
    env_close(env, worked_file);
    assert_int_equal(env_unlink(env, path(0, "worked")), STATUS_OK);
}

/* ---- clocks ---- */

static void test_clocks_go_on(void **state)
{
    begin(state);
    int64_t from_ns = env_monotonic_ns(env), from_ms = env_wall_ms(env);
    run_for_ms(30);
    assert_true(env_monotonic_ns(env) - from_ns >= 30 * MS);
    assert_true(env_wall_ms(env) > from_ms);
    uint8_t one[32], two[32];
    env_random(env, one, sizeof(one));
    env_random(env, two, sizeof(two));
    assert_memory_not_equal(one, two, sizeof(one));
}

/* ---- messages to another env ---- */

enum { MESSAGES = 5000 };

static struct {
    struct env_message messages[MESSAGES];
    int arrived, returned;
    bool arrived_in_order; /* the other env's alone until all have returned */
    bool returned_in_order;
} post;

static void post_dropped(struct env_message *message) { fail_msg("dropped though its receiver lives"); }

static void post_returned(struct env_message *message)
{
    post.returned_in_order = post.returned_in_order && message == &post.messages[post.returned];
    if (++post.returned == MESSAGES) {
        stop();
    }
}

/* On the other env. */
static void post_arrived(struct env_message *message)
{
    post.arrived_in_order = post.arrived_in_order && message == &post.messages[post.arrived];
    post.arrived++;
    message->arrived = post_returned;
    env_post(now_testing->other, env, message);
}

static void test_messages_arrive_in_order(void **state)
{
    begin(state);
    post.arrived = 0;
    post.returned = 0;
    post.arrived_in_order = true;
    post.returned_in_order = true;
    for (int i = 0; i < MESSAGES; i++) {
        post.messages[i] = (struct env_message){.arrived = post_arrived, .dropped = post_dropped};
        env_post(env, now_testing->other, &post.messages[i]);
    }
    assert_int_equal(post.returned, 0); /* nothing arrives inside a call */
    run();
    assert_int_equal(post.arrived, MESSAGES);
    assert_true(post.arrived_in_order && post.returned_in_order);
}

static int dropped_count;

static void count_dropped(struct env_message *message) { dropped_count++; }

static void stop_receiver(struct env_message *message)
{
    now_testing->stop_other(now_testing);
    message->arrived = post_returned;
    post.returned = MESSAGES - 1;
    env_post(now_testing->other, env, message);
}

static void must_not_arrive(struct env_message *message) { fail_msg("arrived at an env that has ended"); }

static void test_what_does_not_arrive_is_dropped(void **state)
{
    begin(state);
    dropped_count = 0;
    struct env_message last = {.arrived = stop_receiver, .dropped = post_dropped};
    env_post(env, now_testing->other, &last);
    run();
    struct env_message late[3];
    for (int i = 0; i < 3; i++) {
        late[i] = (struct env_message){.arrived = must_not_arrive, .dropped = count_dropped};
        env_post(env, now_testing->other, &late[i]);
    }
    now_testing->end_other(now_testing);
    assert_int_equal(dropped_count, 3);
}

static struct env_listener *giving;
static struct {
    struct env_message message;
    struct env_stream *stream;
    struct env_listener *listener;
} gift;

static void gift_readable(void *owner)
{
    char bytes[64];
    size_t size = 0;
    enum status status = env_stream_read(now_testing->other, gift.stream, bytes, sizeof(bytes), &size);
    if (status == STATUS_CLOSED) {
        env_stream_close(now_testing->other, gift.stream);
        gift.message.arrived = post_returned;
        env_post(now_testing->other, env, &gift.message);
        return;
    }
    assert_int_equal(status, STATUS_OK);
    for (size_t sent = 0, taken = 0; sent < size; sent += taken) {
        struct iovec part = {bytes + sent, size - sent};
        assert_int_equal(env_stream_write(now_testing->other, gift.stream, &part, 1, &taken), STATUS_OK);
    }
}

static void gift_writable(void *owner) { fail_msg("not asked for"); }

static const struct env_stream_events gift_events = {gift_readable, gift_writable};

/* On the other env. */
static void gift_arrived(struct env_message *message)
{
    assert_int_equal(env_stream_take(now_testing->other, gift.stream), STATUS_OK);
    env_stream_attach(now_testing->other, gift.stream, &gift_events, NULL);
}

static void accepted_for_other(void *owner, struct env_stream *stream)
{
    bool keep = owner == NULL;
    struct env_stream *given = env_stream_give(env, stream);
    if (keep) {
        gift.stream = given;
        gift.message = (struct env_message){.arrived = gift_arrived, .dropped = post_dropped};
        env_post(env, now_testing->other, &gift.message);
    } else {
        env_stream_close(env, given); /* it may be closed before it is taken */
    }
    env_listener_close(env, giving);
}

static const struct env_listener_events giving_events = {accepted_for_other, accept_failed};

static void test_stream_goes_to_another_env(void **state)
{
    begin(state);
    assert_int_equal(env_listen(env, "127.0.0.1", 0, &giving_events, NULL, &giving), STATUS_OK);
    struct end client = {.to_send = 40, .stop_at_end = true};
    connect_end(&client, env_listener_port(env, giving));
    run();
    assert_int_equal(client.received, 40);
    end_close(&client);
    post.returned = MESSAGES - 1;
    run(); /* until the other has seen the end */
}

static void test_given_stream_is_closed(void **state)
{
    begin(state);
    int closes = 1;
    assert_int_equal(env_listen(env, "127.0.0.1", 0, &giving_events, &closes, &giving), STATUS_OK);
    struct end client = {.to_send = 0, .stop_at_end = true};
    connect_end(&client, env_listener_port(env, giving));
    run();
    end_close(&client);
}

int conformance_run(const char *name, CMFixtureFunction setup, CMFixtureFunction teardown)
{
#define TEST(function)                                                                                                 \
    {                                                                                                                  \
#function, function, setup, teardown, NULL                                                                     \
    }
    const struct CMUnitTest tests[] = {
        TEST(test_timers_fire_in_order),
        TEST(test_timer_stopped_in_same_turn),
        TEST(test_hook_ends_each_turn),
        TEST(test_wake_gives_another_turn),
        TEST(test_work),
        TEST(test_echo_of_much),
        TEST(test_end_of_stream),
        TEST(test_connection_refused),
        TEST(test_reading_off_and_on),
        TEST(test_close_in_batch),
        TEST(test_close_listener_in_callback),
        TEST(test_port_in_use),
        TEST(test_file_reads_what_was_written),
        TEST(test_folders),
        TEST(test_lock_excludes),
        TEST(test_files_in_work),
        TEST(test_clocks_go_on),
        TEST(test_messages_arrive_in_order),
        TEST(test_what_does_not_arrive_is_dropped),
        TEST(test_stream_goes_to_another_env),
        TEST(test_given_stream_is_closed),
    };
    return _cmocka_run_group_tests(name, tests, sizeof(tests) / sizeof(tests[0]), NULL, NULL);
}

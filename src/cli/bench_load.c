#include "cli/bench_load.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/printable.h"
#include "cli/password.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    EVENTS = 256,
    TICK_MS = 100,
    RECONNECT_MS = 100,
};

enum client_state { CLIENT_IDLE, CLIENT_CONNECTING, CLIENT_READY, CLIENT_WAITING, CLIENT_DONE };

struct bench_client {
    struct client_connection connection;
    const struct client_endpoint *endpoint;
    enum client_state state;
    bool wants_write;     /* the last write did not take everything */
    uint32_t outstanding; /* requests of the batch that are not answered */
    uint32_t batch;
    uint32_t replies;         /* of the next of them, that are here */
    bool erred;               /* one of those is an error */
    int64_t since_ns;         /* the batch was sent; or when idle: not before this time again */
    uint8_t *operations;      /* enum bench_operation of each request in the batch */
    struct bench_locks locks; /* of a load of locks: acquires are under way, or releases */
    bool releasing;
    int64_t acquired_ns; /* when those acquires were sent */
};

/* Adds to the problem that begins with the same word; when the table is full, to none. */
static void tally(struct bench_problem *problems, struct slice text, uint64_t count)
{
    const uint8_t *space = text.size == 0 ? NULL : memchr(text.data, ' ', text.size);
    size_t word = space == NULL ? text.size : (size_t)(space - text.data);
    word = word < BENCH_PROBLEM_BYTES - 1 ? word : BENCH_PROBLEM_BYTES - 1;
    for (size_t i = 0; i < BENCH_PROBLEMS_MAXIMUM; i++) {
        struct bench_problem *problem = &problems[i];
        if (problem->count == 0) {
            (void)snprintf(problem->text, sizeof(problem->text), "%.*s", (int)text.size, (const char *)text.data);
        } else if (strncmp(problem->text, (const char *)text.data, word) != 0 ||
                   (problem->text[word] != ' ' && problem->text[word] != '\0')) {
            continue;
        }
        problem->count += count;
        return;
    }
}

static void count_errors(struct bench_worker *worker, struct slice text, uint64_t count)
{
    char shown[BENCH_PROBLEM_BYTES];
    worker->counts->errors += count;
    (void)printable_copy(text, shown, sizeof(shown));
    tally(worker->counts->problems, slice_from_string(shown), count);
}

static void add_grants(struct bench_grants *into, const struct bench_grants *from)
{
    into->least = into->owners == 0 || from->least < into->least ? from->least : into->least;
    into->most = from->most > into->most ? from->most : into->most;
    into->owners += from->owners;
    into->sent += from->sent;
    into->count += from->count;
    into->squares += from->squares;
}

void bench_counts_merge(struct bench_counts *into, const struct bench_counts *from)
{
    for (size_t i = 0; i < BENCH_OPERATIONS; i++) {
        histogram_merge(&into->latency[i], &from->latency[i]);
    }
    add_grants(&into->grants, &from->grants);
    into->misses += from->misses;
    into->errors += from->errors;
    for (size_t i = 0; i < BENCH_PROBLEMS_MAXIMUM && from->problems[i].count > 0; i++) {
        tally(into->problems, slice_from_string(from->problems[i].text), from->problems[i].count);
    }
    into->first_ns = into->first_ns == 0 || from->first_ns < into->first_ns ? from->first_ns : into->first_ns;
    into->last_ns = from->last_ns > into->last_ns ? from->last_ns : into->last_ns;
}

/* ---- clients ---- */

static void watch(struct bench_worker *worker, struct bench_client *client, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = client};
    int result = epoll_ctl(worker->epoll, operation, client->connection.fd, &event);
    ASSERT(result == 0);
}

static void lose(struct bench_worker *worker, struct bench_client *client, const char *why)
{
    uint32_t unanswered = client->outstanding - (client->erred ? 1 : 0);
    if (unanswered > 0) {
        count_errors(worker, slice_from_string(why), unanswered);
    }
    client->outstanding = 0;
    client->erred = false;
    client->releasing = false;
    client_connection_close(&client->connection);
    client->state = CLIENT_IDLE;
    client->wants_write = false;
    client->since_ns = worker->now_ns + (int64_t)RECONNECT_MS * 1000000;
}

static void send_out(struct bench_worker *worker, struct bench_client *client)
{
    enum status status = client_connection_flush(&client->connection);
    if (status != STATUS_OK && status != STATUS_AGAIN) {
        lose(worker, client, status_text(status));
        return;
    }
    bool wants_write = status == STATUS_AGAIN;
    if (wants_write != client->wants_write) {
        client->wants_write = wants_write;
        watch(worker, client, EPOLL_CTL_MOD, wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

static void finish_client(struct bench_worker *worker, struct bench_client *client)
{
    client_connection_close(&client->connection);
    client->state = CLIENT_DONE;
    worker->clients_done++;
}

static bool of_locks(const struct bench_worker *worker) { return worker->plan->mix.lock.wanted; }

/* What was appended. */
static void send_batch(struct bench_worker *worker, struct bench_client *client, uint32_t count)
{
    client->batch = count;
    client->outstanding = count;
    client->replies = 0;
    client->erred = false;
    client->state = CLIENT_WAITING;
    client->since_ns = client_clock_ns();
    worker->counts->grants.sent += of_locks(worker) ? count : 0;
    send_out(worker, client);
}

/* Sends the next batch, or ends the client when there is nothing more to send. */
static void next_batch(struct bench_worker *worker, struct bench_client *client)
{
    uint64_t batch = worker->plan->pipeline < worker->left ? worker->plan->pipeline : worker->left;
    if (batch == 0 || worker->now_ns >= worker->end_ns || atomic_load_explicit(worker->stop, memory_order_relaxed)) {
        finish_client(worker, client);
        return;
    }
    if (worker->left != UINT64_MAX) {
        worker->left -= batch;
    }
    if (of_locks(worker)) {
        bench_locks_acquire(&client->locks, (uint32_t)batch, &client->connection.out);
        client->acquired_ns = client_clock_ns();
    }
    for (uint32_t i = 0; i < batch && !of_locks(worker); i++) {
        client->operations[i] = (uint8_t)bench_requests_append(&worker->requests, &client->connection.out);
    }
    send_batch(worker, client, (uint32_t)batch);
}

/* Locks that were granted are released, then comes the next batch. */
static void after_batch(struct bench_worker *worker, struct bench_client *client)
{
    bool acquired = of_locks(worker) && !client->releasing;
    uint32_t held = acquired ? bench_locks_release(&client->locks, &client->connection.out) : 0;
    client->releasing = held > 0;
    if (held > 0) {
        send_batch(worker, client, held);
    } else {
        next_batch(worker, client);
    }
}

/* A pair counts with the answer to its release. */
static void count_lock_reply(struct bench_worker *worker, struct bench_client *client, enum resp_type type,
                             struct slice line, struct slice reply)
{
    struct bench_counts *counts = worker->counts;
    uint32_t i = client->batch - client->outstanding--;
    if (type == RESP_ERROR) {
        count_errors(worker, line, 1);
    } else if (!client->releasing) {
        counts->misses += bench_locks_answered(&client->locks, i, reply) ? 0 : 1;
    } else if (reply.data[0] == ':' && reply.data[1] == '1') {
        histogram_add(&counts->latency[BENCH_LOCK], (uint64_t)(worker->now_ns - client->acquired_ns));
        client->locks.grants++;
    } else {
        count_errors(worker, SLICE_LITERAL("a lock was lost before it was released"), 1);
    }
}

/* A request counts with its last reply, once, and as an error with its first error. */
static void count_reply(struct bench_worker *worker, struct bench_client *client, enum resp_type type,
                        struct slice line)
{
    struct bench_counts *counts = worker->counts;
    enum bench_operation operation = client->operations[client->batch - client->outstanding];
    if (type == RESP_ERROR && !client->erred) {
        count_errors(worker, line, 1);
        client->erred = true;
    }
    if (++client->replies < worker->requests.templates[operation].replies) {
        return;
    }
    if (!client->erred) {
        histogram_add(&counts->latency[operation], (uint64_t)(worker->now_ns - client->since_ns));
        counts->misses += type == RESP_NULL && operation == BENCH_GET;
    }
    client->outstanding--;
    client->replies = 0;
    client->erred = false;
}

static void take_replies(struct bench_worker *worker, struct bench_client *client)
{
    struct client_connection *connection = &client->connection;
    enum status status = of_locks(worker) ? client_connection_receive(connection) : client_connection_fill(connection);
    size_t taken = 0; /* of locks: an unfinished reply is kept from its start */
    worker->now_ns = client_clock_ns();
    uint32_t before = client->outstanding;
    while (status == STATUS_OK) {
        enum resp_type type;
        struct slice line;
        status = client_connection_skip(connection, &type, &line);
        if (status == STATUS_OK && type != RESP_PUSH) {
            if (client->outstanding == 0) {
                status = STATUS_CORRUPT; /* an answer that nobody asked for */
                break;
            }
            if (of_locks(worker)) {
                struct slice reply = slice_of(connection->in.data + taken, connection->parsed - taken);
                count_lock_reply(worker, client, type, line, reply);
            } else {
                count_reply(worker, client, type, line);
            }
        }
        taken = status == STATUS_OK ? connection->parsed : taken;
    }
    if (of_locks(worker) && status == STATUS_AGAIN) {
        client_connection_forget(connection, taken);
    }
    uint64_t answered = before - client->outstanding;
    if (answered > 0) {
        worker->progress_ns = worker->now_ns;
    }
    atomic_fetch_add_explicit(&worker->answered, answered, memory_order_relaxed);
    if (status != STATUS_AGAIN) {
        lose(worker, client, status_text(status));
    } else if (client->state == CLIENT_WAITING && client->outstanding == 0) {
        after_batch(worker, client);
    }
}

/* Begins to connect again; after a failure the next try comes later. */
static void reconnect(struct bench_worker *worker, struct bench_client *client)
{
    enum status status = client_connection_start(&client->connection, client->endpoint);
    if (status != STATUS_OK) {
        lose(worker, client, status_text(status));
        return;
    }
    client->state = CLIENT_CONNECTING;
    client->since_ns = worker->now_ns;
    watch(worker, client, EPOLL_CTL_ADD, EPOLLOUT);
}

/* What a connection says first; the reply is an error's, if there is one. */
static enum status greet(const struct bench_plan *plan, struct client_connection *connection, int64_t deadline_ns)
{
    struct slice reply;
    enum status status = password_say(connection, deadline_ns, &reply);
    if (status != STATUS_OK || plan->level[0] == '\0') {
        return status;
    }
    const char *space = strchr(plan->level, ' ');
    struct slice argv[3] = {SLICE_LITERAL("COHORT.CONSISTENCY"), slice_from_string(plan->level)};
    if (space != NULL) {
        argv[1].size = (size_t)(space - plan->level);
        argv[2] = slice_from_string(space + 1);
    }
    status = client_connection_call(connection, argv, space == NULL ? 2 : 3, deadline_ns, &reply);
    return status == STATUS_OK && reply.data[0] == '-' ? STATUS_UNSUPPORTED : status;
}

static void connected(struct bench_worker *worker, struct bench_client *client)
{
    enum status status = client_connection_finish(&client->connection);
    if (status == STATUS_OK) { /* which password is right was looked at before */
        int64_t deadline_ns = worker->now_ns + worker->plan->url->timeout_ms * 1000000;
        status = greet(worker->plan, &client->connection, deadline_ns);
    }
    if (status != STATUS_OK) {
        lose(worker, client, status_text(status));
        return;
    }
    watch(worker, client, EPOLL_CTL_MOD, EPOLLIN);
    next_batch(worker, client);
}

static void handle_event(struct bench_worker *worker, struct bench_client *client, uint32_t events)
{
    if (client->state == CLIENT_CONNECTING) {
        connected(worker, client);
        return;
    }
    if ((events & EPOLLOUT) != 0 && client->wants_write) {
        send_out(worker, client);
    }
    if ((events & ~(uint32_t)EPOLLOUT) != 0 && client->connection.fd >= 0) {
        take_replies(worker, client);
    }
}

/* Now and then: lets lost clients come back, gives up on batches that wait too long, and on everything when nobody
 * has answered for twice that time. */
static void tick(struct bench_worker *worker)
{
    int64_t timeout_ns = worker->plan->url->timeout_ms * 1000000;
    if (worker->now_ns - worker->progress_ns > 2 * timeout_ns) {
        worker->left = 0;
    }
    bool ending = worker->left == 0 || worker->now_ns >= worker->end_ns ||
                  atomic_load_explicit(worker->stop, memory_order_relaxed);
    for (uint32_t i = 0; i < worker->client_count; i++) {
        struct bench_client *client = &worker->clients[i];
        if (client->state == CLIENT_IDLE && ending) {
            finish_client(worker, client);
        } else if (client->state == CLIENT_IDLE && worker->now_ns >= client->since_ns) {
            reconnect(worker, client);
        } else if ((client->state == CLIENT_WAITING || client->state == CLIENT_CONNECTING) &&
                   worker->now_ns - client->since_ns > timeout_ns) {
            lose(worker, client, status_text(STATUS_TIMEOUT));
        }
    }
}

/* Of all clients, at the end. */
static void count_grants(struct bench_worker *worker)
{
    for (uint32_t i = 0; i < worker->client_count && of_locks(worker); i++) {
        uint64_t count = worker->clients[i].locks.grants;
        add_grants(
            &worker->counts->grants,
            &(struct bench_grants){
                .owners = 1, .count = count, .least = count, .most = count, .squares = (double)count * (double)count});
    }
}

void *bench_worker_run(void *owner)
{
    struct bench_worker *worker = owner;
    (void)pthread_barrier_wait(worker->start);
    worker->now_ns = client_clock_ns();
    worker->counts->first_ns = worker->now_ns;
    worker->progress_ns = worker->now_ns;
    worker->end_ns = worker->plan->duration_ms == 0 ? INT64_MAX : worker->now_ns + worker->plan->duration_ms * 1000000;
    for (uint32_t i = 0; i < worker->client_count; i++) {
        next_batch(worker, &worker->clients[i]);
    }
    int64_t tick_ns = worker->now_ns;
    while (worker->clients_done < worker->client_count) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(worker->epoll, events, EVENTS, TICK_MS);
        ASSERT(count >= 0 || errno == EINTR);
        for (int i = 0; i < count; i++) {
            handle_event(worker, events[i].data.ptr, events[i].events);
        }
        if (count <= 0) {
            worker->now_ns = client_clock_ns();
        }
        if (worker->now_ns - tick_ns >= (int64_t)TICK_MS * 1000000) {
            tick_ns = worker->now_ns;
            tick(worker);
        }
    }
    count_grants(worker);
    worker->counts->last_ns = client_clock_ns();
    atomic_store_explicit(&worker->finished, true, memory_order_release);
    return NULL;
}

/* ---- lifetime ---- */

/* The part of `total` that falls to thread `index`. */
static uint64_t share(uint64_t total, uint32_t threads, uint32_t index)
{
    return total / threads + (index < total % threads ? 1 : 0);
}

enum status bench_worker_init(struct bench_worker *worker, const struct bench_plan *plan, uint32_t index,
                              pthread_barrier_t *start, atomic_bool *stop)
{
    *worker = (struct bench_worker){.plan = plan, .index = index, .start = start, .stop = stop};
    worker->client_count = (uint32_t)share(plan->clients, plan->threads, index);
    worker->left = plan->requests == 0 ? UINT64_MAX : share(plan->requests, plan->threads, index);
    bench_requests_init(&worker->requests, &plan->mix, index, plan->threads);
    worker->counts = memory_allocate_zeroed(1, sizeof(*worker->counts));
    worker->clients = memory_allocate_zeroed(worker->client_count, sizeof(*worker->clients));
    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (worker->epoll < 0) {
        worker->client_count = 0;
        return STATUS_FULL;
    }
    for (uint32_t i = 0; i < worker->client_count; i++) {
        client_connection_init(&worker->clients[i].connection);
    }
    int64_t deadline_ns = client_clock_ns() + plan->url->timeout_ms * 1000000;
    for (uint32_t i = 0; i < worker->client_count; i++) {
        struct bench_client *client = &worker->clients[i];
        client->endpoint = &plan->url->endpoints[(index + i * plan->threads) % plan->url->endpoint_count];
        client->state = CLIENT_READY;
        client->operations = memory_allocate(plan->pipeline);
        bench_locks_init(&client->locks, &plan->mix, index + i * plan->threads, plan->clients, plan->pipeline);
        enum status status = client_connection_open(&client->connection, client->endpoint, deadline_ns);
        status = status == STATUS_OK ? greet(plan, &client->connection, deadline_ns) : status;
        if (status != STATUS_OK) {
            return status;
        }
        watch(worker, client, EPOLL_CTL_ADD, EPOLLIN);
    }
    return STATUS_OK;
}

void bench_worker_deinit(struct bench_worker *worker)
{
    for (uint32_t i = 0; i < worker->client_count; i++) {
        client_connection_deinit(&worker->clients[i].connection);
        free(worker->clients[i].operations);
        bench_locks_deinit(&worker->clients[i].locks);
    }
    free(worker->clients);
    free(worker->counts);
    bench_requests_deinit(&worker->requests);
    if (worker->epoll >= 0) {
        (void)close(worker->epoll);
    }
}

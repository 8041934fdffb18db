/* Load for ZooKeeper by asynchronous calls of its own C client, many sessions in one thread.
 *
 *   zookeeper_load HOST:PORT fill|locks|set|get|strong|lock|contend SESSIONS IN_FLIGHT SECONDS KEYS VALUE_BYTES
 *
 * fill creates /bench and KEYS nodes in it, many to a transaction; locks the nodes of KEYS locks. set writes random
 * ones, whatever their version; get reads, as the node that is asked has it; strong sends a sync ahead of each read in
 * the same session, which is how a read sees every earlier write. lock takes ZooKeeper's own recipe for locks through:
 * create a sequential ephemeral node below the lock's, list its children, delete it, through all KEYS locks by turns;
 * contend does so with one lock for all, where who is not the first watches the node before its own. Each session keeps
 * IN_FLIGHT requests under way until SECONDS are over. The result is one line of JSON; latencies are in microseconds;
 * of locks they are of the whole, and there are the fairness of what sessions got and the messages (requests, replies,
 * events of watches) for each grant. Exit code 1 when a request failed or a session broke.
 *
 * The single-threaded flavour of the library: the other one starts two threads for each session. */
#include "base/memory.h"
#include "base/prng.h"
#include "cli/histogram.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <zookeeper/zookeeper.h>

enum {
    EVENTS = 256,
    SESSION_TIMEOUT_MS = 10000,
    CONNECT_MS = 30000,
    DRAIN_MS = 30000,
    TICK_MS = 1000,     /* how often a session may think of its pings */
    FILL_NODES = 500,   /* of one transaction */
    FILL_IN_FLIGHT = 8, /* transactions */
    PATH_BYTES = 64,
    VALUE_BYTES_MAXIMUM = 65536,
};

enum mode { MODE_FILL, MODE_LOCKS, MODE_SET, MODE_GET, MODE_STRONG, MODE_LOCK, MODE_CONTEND, MODES };

static const char *const mode_names[MODES] = {"fill", "locks", "set", "get", "strong", "lock", "contend"};

struct session {
    zhandle_t *handle;
    int fd;
    int interest; /* as epoll knows it */
    uint64_t grants;
};

/* A place for one request; it is used again as soon as the reply is there. */
struct request {
    struct session *session;
    int64_t since_ns;
    zoo_op_result_t *results; /* fill, locks: of FILL_NODES operations */
    uint64_t lock;            /* lock, contend */
    char node[PATH_BYTES];    /* of this request below its lock */
};

static struct {
    enum mode mode;
    struct session *sessions;
    uint32_t session_count, in_flight;
    uint64_t keys, next_key; /* next_key: fill, locks, lock */
    char value[VALUE_BYTES_MAXIMUM];
    int value_bytes;
    int64_t end_ns;
    uint64_t under_way, messages;
    struct prng prng;
    struct histogram latency;
    int epoll;
} load;

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static _Noreturn void fail(const char *what, int code)
{
    (void)fprintf(stderr, "zookeeper_load: %s: %s\n", what, zerror(code));
    exit(1);
}

static void must(const char *what, int code)
{
    if (code != ZOK) {
        fail(what, code);
    }
}

static const char *path_of(char *room, uint64_t key)
{
    (void)snprintf(room, PATH_BYTES, "/bench/key:%012llu", (unsigned long long)key);
    return room;
}

static bool fills(void) { return load.mode == MODE_FILL || load.mode == MODE_LOCKS; }

/* ---- requests and replies ---- */

static void send_request(struct request *request);

static void answered(struct request *request, int code)
{
    must("a request failed", code);
    load.under_way--;
    int64_t now = now_ns();
    histogram_add(&load.latency, (uint64_t)(now - request->since_ns));
    if (fills() ? load.next_key < load.keys : now < load.end_ns) {
        send_request(request);
    }
}

static void on_stat(int code, const struct Stat *stat, const void *request)
{
    answered((struct request *)(uintptr_t)request, code);
}

static void on_data(int code, const char *value, int size, const struct Stat *stat, const void *request)
{
    answered((struct request *)(uintptr_t)request, code);
}

static void on_void(int code, const void *request) { answered((struct request *)(uintptr_t)request, code); }

static void on_sync(int code, const char *path, const void *request) { must("sync failed", code); }

/* ---- locks ---- */

static const char *lock_path(char *room, uint64_t lock)
{
    (void)snprintf(room, PATH_BYTES, "/bench/lock:%06llu", (unsigned long long)lock);
    return room;
}

static void on_deleted(int code, const void *owner)
{
    struct request *request = (struct request *)(uintptr_t)owner;
    load.messages++;
    request->session->grants++;
    answered(request, code);
}

static void list(struct request *request);

static void on_event(zhandle_t *handle, int type, int state, const char *path, void *request)
{
    if (type != ZOO_SESSION_EVENT) {
        load.messages++;
        list(request);
    }
}

/* Nobody is told of a node that was gone already. */
static void on_watched(int code, const struct Stat *stat, const void *request)
{
    load.messages++;
    if (code == ZNONODE) {
        list((struct request *)(uintptr_t)request);
    } else {
        must("exists", code);
    }
}

static const char *last_part(const char *path) { return strrchr(path, '/') + 1; }

static void on_listed(int code, const struct String_vector *names, const void *owner)
{
    struct request *request = (struct request *)(uintptr_t)owner;
    const char *own = last_part(request->node);
    const char *before = NULL;
    must("children", code);
    load.messages++;
    for (int i = 0; i < names->count; i++) {
        if (strcmp(names->data[i], own) < 0 && (before == NULL || strcmp(names->data[i], before) > 0)) {
            before = names->data[i];
        }
    }
    load.messages++;
    if (before == NULL) {
        must("delete", zoo_adelete(request->session->handle, request->node, -1, on_deleted, request));
        return;
    }
    char path[2 * PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%.*s%s", (int)(own - request->node), request->node, before);
    must("exists", zoo_awexists(request->session->handle, path, on_event, request, on_watched, request));
}

static void list(struct request *request)
{
    char path[PATH_BYTES];
    load.messages++;
    must("list", zoo_aget_children(request->session->handle, lock_path(path, request->lock), 0, on_listed, request));
}

static void on_created(int code, const char *path, const void *owner)
{
    struct request *request = (struct request *)(uintptr_t)owner;
    must("create", code);
    load.messages++;
    (void)snprintf(request->node, PATH_BYTES, "%s", path);
    list(request);
}

static void send_lock(struct request *request)
{
    char path[PATH_BYTES];
    char node[2 * PATH_BYTES];
    load.messages++;
    request->lock = load.mode == MODE_LOCK ? load.next_key++ % load.keys : 0;
    (void)snprintf(node, sizeof(node), "%s/l-", lock_path(path, request->lock));
    must("create", zoo_acreate(request->session->handle, node, "", 0, &ZOO_OPEN_ACL_UNSAFE,
                               ZOO_EPHEMERAL | ZOO_SEQUENCE, on_created, request));
}

/* ---- values ---- */

static void send_transaction(struct request *request)
{
    static zoo_op_t operations[FILL_NODES];
    static char paths[FILL_NODES][PATH_BYTES];
    int count = 0;
    for (; count < FILL_NODES && load.next_key < load.keys; count++) {
        bool locks = load.mode == MODE_LOCKS;
        const char *path = (locks ? lock_path : path_of)(paths[count], load.next_key++);
        zoo_create_op_init(&operations[count], path, load.value, locks ? 0 : load.value_bytes, &ZOO_OPEN_ACL_UNSAFE, 0,
                           NULL, 0);
    }
    must("multi", zoo_amulti(request->session->handle, count, operations, request->results, on_void, request));
}

static void send_request(struct request *request)
{
    char path[PATH_BYTES];
    zhandle_t *handle = request->session->handle;
    request->since_ns = now_ns();
    load.under_way++;
    if (fills()) {
        send_transaction(request);
        return;
    }
    if (load.mode >= MODE_LOCK) {
        send_lock(request);
        return;
    }
    (void)path_of(path, prng_below(&load.prng, load.keys));
    if (load.mode == MODE_SET) {
        must("set", zoo_aset(handle, path, load.value, load.value_bytes, -1, on_stat, request));
        return;
    }
    if (load.mode == MODE_STRONG) {
        must("sync", zoo_async(handle, path, on_sync, request));
    }
    must("get", zoo_aget(handle, path, 0, on_data, request));
}

/* ---- sessions ---- */

/* Tells epoll what the library waits for; the library sends its pings here, too. */
static void watch(struct session *session)
{
    int fd = -1;
    int interest = 0;
    struct timeval wait;
    must("the session broke", zookeeper_interest(session->handle, &fd, &interest, &wait));
    if (fd == session->fd && interest == session->interest) {
        return;
    }
    uint32_t events = ((interest & ZOOKEEPER_READ) != 0 ? (uint32_t)EPOLLIN : 0) |
                      ((interest & ZOOKEEPER_WRITE) != 0 ? (uint32_t)EPOLLOUT : 0);
    struct epoll_event event = {.events = events, .data.ptr = session};
    if (epoll_ctl(load.epoll, fd == session->fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0) {
        perror("epoll_ctl");
        exit(1);
    }
    session->fd = fd;
    session->interest = interest;
}

static void process(struct session *session, uint32_t events)
{
    int wanted = ((events & EPOLLOUT) != 0 ? ZOOKEEPER_WRITE : 0) |
                 ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 ? ZOOKEEPER_READ : 0);
    int code = ZOK;
    while (code == ZOK) { /* one reply each time */
        code = zookeeper_process(session->handle, wanted);
        wanted = ZOOKEEPER_READ;
    }
    if (code != ZNOTHING) {
        fail("the session broke", code);
    }
    watch(session);
}

static void turn(int wait_ms)
{
    static int64_t ticked_ns;
    struct epoll_event events[EVENTS];
    int count = epoll_wait(load.epoll, events, EVENTS, wait_ms);
    for (int i = 0; i < count; i++) {
        process(events[i].data.ptr, events[i].events);
    }
    int64_t now = now_ns();
    if (now - ticked_ns > TICK_MS * 1000000LL) {
        ticked_ns = now;
        for (uint32_t i = 0; i < load.session_count; i++) {
            watch(&load.sessions[i]);
        }
    }
}

static void open_sessions(const char *address)
{
    for (uint32_t i = 0; i < load.session_count; i++) {
        load.sessions[i].fd = -1;
        load.sessions[i].handle = zookeeper_init(address, NULL, SESSION_TIMEOUT_MS, NULL, NULL, 0);
        if (load.sessions[i].handle == NULL) {
            perror("zookeeper_init");
            exit(1);
        }
        watch(&load.sessions[i]);
    }
    int64_t deadline = now_ns() + CONNECT_MS * 1000000LL;
    for (uint32_t i = 0; i < load.session_count;) {
        if (zoo_state(load.sessions[i].handle) == ZOO_CONNECTED_STATE) {
            i++;
            continue;
        }
        turn(TICK_MS);
        if (now_ns() > deadline) {
            fail("could not connect all sessions", ZOPERATIONTIMEOUT);
        }
    }
}

static void on_parent(int code, const char *name, const void *owner)
{
    must("could not create a parent", code == ZNODEEXISTS ? ZOK : code);
    load.under_way--;
}

static void create_parents(void)
{
    load.under_way += load.mode == MODE_CONTEND ? 2 : 1;
    must("create", zoo_acreate(load.sessions[0].handle, "/bench", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, on_parent, NULL));
    if (load.mode == MODE_CONTEND) {
        char path[PATH_BYTES];
        must("create",
             zoo_acreate(load.sessions[0].handle, lock_path(path, 0), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, on_parent, NULL));
    }
    while (load.under_way > 0) {
        turn(TICK_MS);
    }
}

static void make_load(int64_t duration_ns)
{
    uint32_t count = load.session_count * load.in_flight;
    struct request *requests = memory_allocate_zeroed(count, sizeof(*requests));
    load.end_ns = now_ns() + duration_ns;
    for (uint32_t i = 0; i < count && (!fills() || load.next_key < load.keys); i++) {
        requests[i].session = &load.sessions[i % load.session_count];
        requests[i].results = fills() ? memory_allocate_zeroed(FILL_NODES, sizeof(zoo_op_result_t)) : NULL;
        send_request(&requests[i]);
    }
    while (load.under_way > 0) {
        turn(TICK_MS);
        if (!fills() && now_ns() > load.end_ns + DRAIN_MS * 1000000LL) {
            fail("requests without a reply", ZOPERATIONTIMEOUT);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        free(requests[i].results);
    }
    free(requests);
}

/* Jain's index of what each session got: 1 when all got as much. */
static double fairness(void)
{
    double sum = 0;
    double squares = 0;
    for (uint32_t i = 0; i < load.session_count; i++) {
        double grants = (double)load.sessions[i].grants;
        sum += grants;
        squares += grants * grants;
    }
    return squares > 0 ? sum * sum / (load.session_count * squares) : 1;
}

static bool parse(int argc, char **argv)
{
    if (argc != 8) {
        return false;
    }
    while (load.mode < MODES && strcmp(argv[2], mode_names[load.mode]) != 0) {
        load.mode++;
    }
    load.session_count = (uint32_t)strtoul(argv[3], NULL, 10);
    load.in_flight = (uint32_t)strtoul(argv[4], NULL, 10);
    load.keys = strtoull(argv[6], NULL, 10);
    load.value_bytes = (int)strtol(argv[7], NULL, 10);
    if (fills()) {
        load.session_count = 1;
        load.in_flight = FILL_IN_FLIGHT;
    }
    return load.mode < MODES && load.session_count > 0 && load.in_flight > 0 && load.keys > 0 &&
           load.value_bytes >= 0 && load.value_bytes <= VALUE_BYTES_MAXIMUM;
}

int main(int argc, char **argv)
{
    if (!parse(argc, argv)) {
        (void)fprintf(
            stderr,
            "usage: zookeeper_load HOST:PORT fill|locks|set|get|strong|lock|contend SESSIONS IN_FLIGHT SECONDS KEYS "
            "VALUE_BYTES\n");
        return 2;
    }
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    prng_seed(&load.prng, (uint64_t)now_ns());
    memset(load.value, 'x', sizeof(load.value));
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.sessions = memory_allocate_zeroed(load.session_count, sizeof(*load.sessions));
    open_sessions(argv[1]);
    if (fills() || load.mode >= MODE_LOCK) {
        create_parents();
    }
    int64_t began = now_ns();
    make_load((int64_t)(strtod(argv[5], NULL) * 1e9));
    double seconds = (double)(now_ns() - began) / 1e9;
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"p50\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f, "
           "\"fairness\": %.3f, \"messages\": %.2f}\n",
           (unsigned long long)load.latency.total, seconds, (double)histogram_percentile(&load.latency, 0.5) / 1e3,
           (double)histogram_percentile(&load.latency, 0.99) / 1e3,
           (double)histogram_percentile(&load.latency, 0.999) / 1e3, fairness(),
           (double)load.messages / (double)load.latency.total);
    for (uint32_t i = 0; i < load.session_count; i++) {
        (void)zookeeper_close(load.sessions[i].handle);
    }
    free(load.sessions);
    return 0;
}

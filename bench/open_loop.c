/* Load that does not wait: asks at a fixed rate, whether the answers come or not; what a crowd of users does.
 *
 * usage: open_loop PORT[,PORT…] CONNECTIONS RATE SECONDS KEYS VALUE_BYTES READS_PERCENT
 *
 * RATE requests per second, spread evenly over time and connections (each to one of the nodes on 127.0.0.1, by turns);
 * `wN` instead of a rate: every connection keeps N requests under way, which finds the most that the nodes can do.
 * Prints a line of JSON for each second, then one for the whole; times are in microseconds, from the moment at which
 * a request was due, so what waits in this program, too, is waiting. When a connection takes no more and
 * HELD_BYTES wait here, further requests for it are not made, and counted as `held`: a program would block there. So is
 * what this program comes to too late, since it gets too little of the processor.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "base/prng.h"
#include "cli/histogram.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum {
    HELD_BYTES = 64 << 10,
    ROOM_BYTES = 64 << 10,
    READ_BYTES = 256 << 10,
    CONNECTIONS_MAXIMUM = 10000,
    NODES_MAXIMUM = 16,
    LINE_BYTES = 256,
    SECOND_NS = 1000000000,
    AT_ONCE = 16, /* requests of one connection, at least, when there are so many */
    BETWEEN_READS = 4096,
    LATE_NS = 100000000,
    WAIT_MS = 1,
    SETTLE_NS = 2000000000, /* for the last answers */
};

/* Requests of one connection that were due at one moment. */
struct due {
    int64_t at_ns;
    uint32_t count;
};

struct client {
    int descriptor;
    bool wants_write;
    uint8_t *out;
    size_t out_start, out_size, out_capacity;
    struct due *due; /* a ring, oldest first: whose answers are missing */
    uint32_t due_head, due_count, due_capacity;
    uint32_t under_way;
    uint8_t line[LINE_BYTES]; /* of an answer that is not whole yet */
    size_t line_size, skip;   /* bytes of a bulk still to come */
};

struct counts {
    uint64_t asked, held, ok, busy, other;
    struct histogram accepted, refused;
};

struct load {
    uint16_t ports[NODES_MAXIMUM];
    uint32_t nodes, connections, window;
    uint64_t rate, keys, reads_percent;
    size_t value_bytes;
    int64_t seconds;
    int epoll;
    struct client *clients;
    struct counts second, whole;
    struct prng prng;
    uint8_t *set;
    size_t set_bytes;
    char problem[LINE_BYTES]; /* the first answer that is neither */
};

static int64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

static void die(const char *what)
{
    (void)fprintf(stderr, "open_loop: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- requests ---- */

static const char get_template[] = "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000000\r\n";
enum { KEY_AT = 22, KEY_DIGITS = 12 };

static void make_set(struct load *load)
{
    load->set = memory_allocate(load->value_bytes + 128);
    int head = sprintf((char *)load->set, "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$%zu\r\n", load->value_bytes);
    ASSERT(head > 0);
    load->set_bytes = (size_t)head;
    for (size_t i = 0; i < load->value_bytes; i++) {
        load->set[load->set_bytes++] = (uint8_t)('a' + prng_below(&load->prng, 26));
    }
    memcpy(load->set + load->set_bytes, "\r\n", 2);
    load->set_bytes += 2;
}

static void reserve_out(struct client *client, size_t bytes)
{
    if (client->out_start != 0 && client->out_start == client->out_size) {
        client->out_start = client->out_size = 0;
    }
    if (client->out_size + bytes > client->out_capacity && client->out_start != 0) {
        memmove(client->out, client->out + client->out_start, client->out_size - client->out_start);
        client->out_size -= client->out_start;
        client->out_start = 0;
    }
    if (client->out_size + bytes > client->out_capacity) {
        client->out_capacity = 2 * client->out_capacity + bytes + ROOM_BYTES;
        client->out = memory_resize(client->out, client->out_capacity);
    }
}

static void put_request(struct load *load, struct client *client)
{
    bool reads = prng_below(&load->prng, 100) < load->reads_percent;
    const void *template = reads ? (const void *)get_template : load->set;
    size_t bytes = reads ? sizeof(get_template) - 1 : load->set_bytes;
    reserve_out(client, bytes);
    uint8_t *at = client->out + client->out_size;
    memcpy(at, template, bytes);
    uint64_t key = prng_below(&load->prng, load->keys);
    for (size_t i = KEY_DIGITS; i > 0; i--) {
        at[KEY_AT + i - 1] = (uint8_t)('0' + key % 10);
        key /= 10;
    }
    client->out_size += bytes;
}

static void note_due(struct client *client, int64_t at_ns, uint32_t count)
{
    if (client->due_count == client->due_capacity) {
        uint32_t capacity = client->due_capacity == 0 ? 64 : 2 * client->due_capacity;
        struct due *due = memory_allocate(capacity * sizeof(*due));
        for (uint32_t i = 0; i < client->due_count; i++) {
            due[i] = client->due[(client->due_head + i) % client->due_capacity];
        }
        free(client->due);
        client->due = due;
        client->due_head = 0;
        client->due_capacity = capacity;
    }
    client->due[(client->due_head + client->due_count++) % client->due_capacity] = (struct due){at_ns, count};
}

static void flush(struct load *load, struct client *client)
{
    while (client->out_start != client->out_size) {
        ssize_t taken =
            write(client->descriptor, client->out + client->out_start, client->out_size - client->out_start);
        if (taken < 0 && errno != EAGAIN) {
            die("write");
        }
        if (taken <= 0) {
            break;
        }
        client->out_start += (size_t)taken;
    }
    bool wants = client->out_start != client->out_size;
    if (wants != client->wants_write) {
        struct epoll_event event = {.events = EPOLLIN | (wants ? EPOLLOUT : 0), .data.ptr = client};
        client->wants_write = wants;
        if (epoll_ctl(load->epoll, EPOLL_CTL_MOD, client->descriptor, &event) != 0) {
            die("epoll_ctl");
        }
    }
}

/* `count` requests of one connection, due at that time. */
static void ask(struct load *load, struct client *client, uint32_t count, int64_t at_ns)
{
    load->second.asked += count;
    if (client->out_size - client->out_start > HELD_BYTES) {
        load->second.held += count;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        put_request(load, client);
    }
    note_due(client, at_ns, count);
    client->under_way += count;
    if (!client->wants_write) { /* else its socket is full, and epoll tells when it is not */
        flush(load, client);
    }
}

/* ---- answers ---- */

static void answered(struct load *load, struct client *client, const uint8_t *line, size_t size, int64_t at_ns)
{
    if (client->due_count == 0) {
        die("an answer to nothing");
    }
    struct due *due = &client->due[client->due_head];
    uint64_t took_ns = at_ns > due->at_ns ? (uint64_t)(at_ns - due->at_ns) : 0;
    if (--due->count == 0) {
        client->due_head = (client->due_head + 1) % client->due_capacity;
        client->due_count--;
    }
    client->under_way--;
    struct counts *counts = &load->second;
    if (line[0] != '-') {
        counts->ok++;
        histogram_add(&counts->accepted, took_ns);
    } else if (size >= 5 && memcmp(line, "-BUSY", 5) == 0) {
        counts->busy++;
        histogram_add(&counts->refused, took_ns);
    } else {
        counts->other++;
        if (load->problem[0] == '\0') {
            (void)snprintf(load->problem, sizeof(load->problem), "%.*s", (int)size - 1, (const char *)line + 1);
        }
    }
}

/* One line without its end; a bulk's bytes follow it. */
static void take_line(struct load *load, struct client *client, const uint8_t *line, size_t size, int64_t at_ns)
{
    answered(load, client, line, size, at_ns);
    if (line[0] == '$' && line[1] != '-') {
        client->skip = (size_t)strtoull((const char *)line + 1, NULL, 10) + 2; /* the \r after it ends the number */
    }
}

static void take(struct load *load, struct client *client, const uint8_t *data, size_t size, int64_t at_ns)
{
    while (size != 0) {
        if (client->skip != 0) {
            size_t skipped = client->skip < size ? client->skip : size;
            client->skip -= skipped;
            data += skipped;
            size -= skipped;
            continue;
        }
        const uint8_t *end = memchr(data, '\n', size);
        size_t line = end == NULL ? size : (size_t)(end - data) + 1;
        if (client->line_size == 0 && end != NULL && line > 2) {
            take_line(load, client, data, line - 2, at_ns);
        } else {
            if (client->line_size + line > LINE_BYTES) {
                errno = EMSGSIZE;
                die("an answer");
            }
            memcpy(client->line + client->line_size, data, line);
            client->line_size += line;
            if (end != NULL) {
                take_line(load, client, client->line, client->line_size - 2, at_ns);
                client->line_size = 0;
            }
        }
        data += line;
        size -= line;
    }
}

static void readable(struct load *load, struct client *client)
{
    static uint8_t data[READ_BYTES + 1];
    ssize_t size = read(client->descriptor, data, READ_BYTES);
    if (size == 0 || (size < 0 && errno != EAGAIN)) {
        die(size == 0 ? "a node closed its connection" : "read");
    }
    int64_t at_ns = now_ns();
    take(load, client, data, size < 0 ? 0 : (size_t)size, at_ns);
    if (load->window != 0 && 2 * client->under_way <= load->window) {
        ask(load, client, load->window - client->under_way, at_ns);
    }
}

/* ---- the whole ---- */

static void connect_all(struct load *load)
{
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->clients = memory_allocate_zeroed(load->connections, sizeof(*load->clients));
    for (uint32_t i = 0; i < load->connections; i++) {
        struct client *client = &load->clients[i];
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons(load->ports[i % load->nodes]),
                                      .sin_addr = {htonl(INADDR_LOOPBACK)}};
        client->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (client->descriptor < 0 || connect(client->descriptor, (void *)&address, sizeof(address)) != 0) {
            die("connect");
        }
        int one = 1;
        (void)setsockopt(client->descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        int held = HELD_BYTES; /* else the kernel lets megabytes of each wait, and tells us nothing of it */
        if (load->window == 0) {
            (void)setsockopt(client->descriptor, SOL_SOCKET, SO_SNDBUF, &held, sizeof(held));
        }
        if (fcntl(client->descriptor, F_SETFL, O_NONBLOCK) != 0) {
            die("fcntl");
        }
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
        if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, client->descriptor, &event) != 0) {
            die("epoll_ctl");
        }
    }
}

static void print_counts(const char *name, double value, const struct counts *counts)
{
    const struct histogram *took[] = {&counts->accepted, &counts->refused};
    const char *names[] = {"accepted", "refused"};
    (void)printf("{\"%s\":%.3f,\"asked\":%" PRIu64 ",\"held\":%" PRIu64 ",\"ok\":%" PRIu64 ",\"busy\":%" PRIu64
                 ",\"other\":%" PRIu64,
                 name, value, counts->asked, counts->held, counts->ok, counts->busy, counts->other);
    for (size_t i = 0; i < 2; i++) {
        (void)printf(",\"%s_us\":{\"p50\":%.0f,\"p99\":%.0f,\"p99.9\":%.0f,\"p100\":%.0f}", names[i],
                     (double)histogram_percentile(took[i], 0.5) / 1000,
                     (double)histogram_percentile(took[i], 0.99) / 1000,
                     (double)histogram_percentile(took[i], 0.999) / 1000, (double)took[i]->maximum_ns / 1000);
    }
}

static void end_second(struct load *load, double at_s)
{
    struct counts *second = &load->second;
    struct counts *whole = &load->whole;
    print_counts("second", at_s, second);
    (void)printf("}\n");
    (void)fflush(stdout);
    whole->asked += second->asked;
    whole->held += second->held;
    whole->ok += second->ok;
    whole->busy += second->busy;
    whole->other += second->other;
    histogram_merge(&whole->accepted, &second->accepted);
    histogram_merge(&whole->refused, &second->refused);
    memset(second, 0, sizeof(*second));
}

static void take_events(struct load *load, int wait_ms)
{
    struct epoll_event events[256];
    int count = epoll_wait(load->epoll, events, 256, wait_ms);
    for (int i = 0; i < count; i++) {
        struct client *client = events[i].data.ptr;
        if ((events[i].events & EPOLLOUT) != 0) {
            flush(load, client);
        }
        if ((events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
            readable(load, client);
        }
    }
}

/* What is due until now, by turns of the connections: BETWEEN_READS at most, for a client that only asks while it is
 * late leaves the nodes without room for their answers; and what is late by more than LATE_NS is not made, for nodes on
 * the same cores would be charged with a delay that grows here. */
static void ask_due(struct load *load, int64_t began_ns, int64_t at_ns, uint64_t *made, uint32_t *turn)
{
    double per_ns = (double)load->rate / SECOND_NS;
    uint64_t due = (uint64_t)(per_ns * (double)(at_ns - began_ns));
    uint64_t late = (uint64_t)(per_ns * LATE_NS);
    if (due - *made > late) {
        load->second.asked += due - late - *made;
        load->second.held += due - late - *made;
        *made = due - late;
    }
    due = due - *made < BETWEEN_READS ? due : *made + BETWEEN_READS;
    while (*made < due) {
        uint64_t count = due - *made < AT_ONCE ? due - *made : AT_ONCE;
        ask(load, &load->clients[*turn], (uint32_t)count, began_ns + (int64_t)((double)*made / per_ns));
        *turn = (*turn + 1) % load->connections;
        *made += count;
    }
}

static uint64_t under_way(const struct load *load)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < load->connections; i++) {
        sum += load->clients[i].under_way;
    }
    return sum;
}

static void run(struct load *load)
{
    int64_t began_ns = now_ns();
    int64_t end_ns = began_ns + load->seconds * SECOND_NS;
    int64_t told_ns = began_ns;
    uint64_t made = 0;
    uint32_t turn = 0;
    for (uint32_t i = 0; i < load->connections && load->window != 0; i++) {
        ask(load, &load->clients[i], load->window, began_ns);
    }
    for (int64_t at_ns = began_ns; at_ns < end_ns; at_ns = now_ns()) {
        if (load->window == 0) {
            ask_due(load, began_ns, at_ns, &made, &turn);
        }
        take_events(load, WAIT_MS);
        if (at_ns - told_ns >= SECOND_NS) {
            told_ns += SECOND_NS;
            end_second(load, (double)(told_ns - began_ns) / SECOND_NS);
        }
    }
    end_second(load, (double)load->seconds);
    print_counts("seconds", (double)(now_ns() - began_ns) / SECOND_NS, &load->whole);
    load->window = 0; /* the last answers bring no new requests */
    for (int64_t at_ns = now_ns(); under_way(load) != 0 && at_ns < end_ns + SETTLE_NS; at_ns = now_ns()) {
        take_events(load, WAIT_MS);
    }
    (void)printf(",\"unanswered\":%" PRIu64 ",\"problem\":\"%s\"}\n", under_way(load), load->problem);
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        (void)fprintf(stderr,
                      "usage: open_loop PORT[,PORT…] CONNECTIONS RATE|wN SECONDS KEYS VALUE_BYTES READS_PERCENT\n");
        return 2;
    }
    struct load *load = memory_allocate_zeroed(1, sizeof(*load));
    for (char *at = argv[1], *part; load->nodes < NODES_MAXIMUM && (part = strsep(&at, ",")) != NULL;) {
        load->ports[load->nodes++] = (uint16_t)atoi(part);
    }
    load->connections = (uint32_t)atoi(argv[2]);
    load->window = argv[3][0] == 'w' ? (uint32_t)atoi(argv[3] + 1) : 0;
    load->rate = load->window != 0 ? 0 : strtoull(argv[3], NULL, 10);
    load->seconds = atoi(argv[4]);
    load->keys = strtoull(argv[5], NULL, 10);
    load->value_bytes = strtoull(argv[6], NULL, 10);
    load->reads_percent = strtoull(argv[7], NULL, 10);
    if (load->connections == 0 || load->connections > CONNECTIONS_MAXIMUM || load->keys == 0) {
        (void)fprintf(stderr, "open_loop: 1 to %d connections, and some keys\n", CONNECTIONS_MAXIMUM);
        return 2;
    }
    prng_seed(&load->prng, 1);
    make_set(load);
    connect_all(load);
    run(load);
    return 0; /* what it holds goes with it */
}

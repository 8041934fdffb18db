/* Load for TCP balancers, and a backend that costs as little as it can.
 *
 *   balance_load serve                              three listeners on free ports, which it prints: for the three loads
 *   balance_load requests SECONDS CLIENTS PORT      64 bytes there and back, again and again on kept connections
 *   balance_load connections SECONDS CLIENTS PORT   a connection for each 64 bytes; the backend ends it
 *   balance_load bytes SECONDS CLIENTS PORT         each client reads what the backend pours
 *
 * Prints JSON: how much of it was done in a second, and the microseconds that the median and the 99th of a hundred took
 * (of bytes there is nothing to tell). A quarter of SECONDS goes before, to warm up. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_BYTES = 64, READ_BYTES = 1 << 20, EVENTS = 256, DESCRIPTORS = 1 << 16, SAMPLES = 1 << 22 };
enum kind { ECHO, ANSWER, POUR, KINDS };

static const char *const names[KINDS] = {"requests", "connections", "bytes"};
static char block[READ_BYTES];
static uint8_t kind_of[DESCRIPTORS]; /* of the backend's connections, by descriptor */
static int64_t begun_ns[DESCRIPTORS];
static uint32_t samples[SAMPLES];
static size_t sample_count;
static int epoll_fd;

static void die(const char *what)
{
    (void)fprintf(stderr, "balance_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void watch(int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (fd >= DESCRIPTORS || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("cannot watch");
    }
}

static void set_nodelay(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* ---- the backend ---- */

static int listen_anywhere(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, size) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &size) != 0) {
        die("cannot listen");
    }
    (void)printf("%d ", ntohs(at.sin_port));
    return fd;
}

static void accept_all(int listener, enum kind kind)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        set_nodelay(fd);
        kind_of[fd] = (uint8_t)kind;
        watch(fd, kind == POUR ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

static void answer(int fd, uint32_t events)
{
    if (kind_of[fd] == POUR && (events & (EPOLLERR | EPOLLHUP)) == 0) {
        if ((events & EPOLLOUT) == 0 || send(fd, block, sizeof(block), MSG_NOSIGNAL) > 0 || errno == EAGAIN) {
            return;
        }
    }
    ssize_t size = kind_of[fd] == POUR ? 0 : recv(fd, block, REQUEST_BYTES, 0);
    if (size < 0 && errno == EAGAIN) {
        return;
    }
    bool over = size <= 0 || send(fd, block, (size_t)size, MSG_NOSIGNAL) != size || kind_of[fd] == ANSWER;
    if (over) {
        (void)close(fd);
    }
}

static void serve(void)
{
    int listeners[KINDS];
    for (int i = 0; i < KINDS; i++) {
        listeners[i] = listen_anywhere();
        watch(listeners[i], EPOLLIN);
    }
    (void)printf("\n");
    (void)fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd >= listeners[0] && fd <= listeners[KINDS - 1]) {
                accept_all(fd, (enum kind)(fd - listeners[0])); /* they were made one after the other */
            } else {
                answer(fd, events[i].events);
            }
        }
    }
}

/* ---- the clients ---- */

static void begin(int port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || (connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0 && errno != EINPROGRESS)) {
        die("cannot connect");
    }
    set_nodelay(fd);
    begun_ns[fd] = now_ns();
    watch(fd, EPOLLOUT); /* until it is connected */
}

static void connected(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (send(fd, block, REQUEST_BYTES, MSG_NOSIGNAL) != REQUEST_BYTES ||
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) != 0) {
        die("cannot send");
    }
}

static uint64_t done_one(int fd)
{
    int64_t now = now_ns();
    if (sample_count < SAMPLES) {
        samples[sample_count++] = (uint32_t)((now - begun_ns[fd]) / 1000);
    }
    begun_ns[fd] = now;
    return 1;
}

/* What this event completed: requests, connections or bytes. */
static uint64_t go_on(int fd, enum kind kind, int port)
{
    ssize_t size = recv(fd, block, kind == POUR ? sizeof(block) : REQUEST_BYTES, kind == POUR ? MSG_TRUNC : 0);
    if (size < 0) {
        if (errno == EAGAIN) {
            return 0;
        }
        die("a connection broke");
    }
    if (size == 0) {
        if (kind != ANSWER) {
            errno = 0;
            die("a connection ended");
        }
        uint64_t done = done_one(fd);
        (void)close(fd);
        begin(port);
        return done;
    }
    if (kind != ECHO) {
        return kind == POUR ? (uint64_t)size : 0;
    }
    if (size != REQUEST_BYTES || send(fd, block, REQUEST_BYTES, MSG_NOSIGNAL) != REQUEST_BYTES) {
        die("half a request");
    }
    return done_one(fd);
}

static uint64_t load_until(int64_t end_ns, enum kind kind, int port)
{
    uint64_t done = 0;
    while (now_ns() < end_ns) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll_fd, events, EVENTS, 100);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if ((events[i].events & EPOLLIN) != 0) {
                done += go_on(fd, kind, port);
            } else if ((events[i].events & (EPOLLERR | EPOLLHUP)) != 0) {
                die("a connection was refused");
            } else {
                connected(fd);
            }
        }
    }
    return done;
}

static int by_size(const void *a, const void *b)
{
    uint32_t one = *(const uint32_t *)a;
    uint32_t other = *(const uint32_t *)b;
    return one < other ? -1 : one > other;
}

static unsigned percentile(size_t percent)
{
    return sample_count == 0 ? 0 : samples[(sample_count - 1) * percent / 100];
}

int main(int argc, char **argv)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    epoll_fd = epoll_create1(0);
    if (argc == 2 && strcmp(argv[1], "serve") == 0) {
        serve();
    }
    enum kind kind = ECHO;
    while (kind < KINDS && argc == 5 && strcmp(argv[1], names[kind]) != 0) {
        kind++;
    }
    if (argc != 5 || kind == KINDS) {
        (void)fprintf(stderr, "usage: balance_load serve | requests|connections|bytes SECONDS CLIENTS PORT\n");
        return 64;
    }
    int64_t time_ns = (int64_t)(atof(argv[2]) * 1e9);
    int port = atoi(argv[4]);
    for (int i = atoi(argv[3]); i > 0; i--) {
        begin(port);
    }
    (void)load_until(now_ns() + time_ns / 4, kind, port); /* to warm up */
    sample_count = 0;
    int64_t from_ns = now_ns();
    uint64_t done = load_until(from_ns + time_ns, kind, port);
    double seconds = (double)(now_ns() - from_ns) / 1e9;
    qsort(samples, sample_count, sizeof(samples[0]), by_size);
    (void)printf("{\"rate\": %.1f, \"p50\": %u, \"p99\": %u, \"seconds\": %.3f}\n", (double)done / seconds,
                 percentile(50), percentile(99), seconds);
    return 0;
}

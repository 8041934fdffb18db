/* Subscribers and one publisher: how many messages a server delivers in a second.
 *
 *   messages_load SECONDS SUBSCRIBERS IN_FLIGHT PUBLISHER_PORT SUBSCRIBER_PORT…
 *
 * Every subscriber hears one channel; they are spread over the ports in turn. The publisher has so many PUBLISHes of 64
 * bytes on their way, and goes on when all subscribers have nearly all of them: so nobody is overrun, and what is
 * counted was read. Prints messages delivered, PUBLISHes, and the seconds that it took.
 *
 * Speaks RESP2 to any server. A message has always the same size, so bytes tell how many have come. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { VALUE_BYTES = 64, READ_BYTES = 256 << 10, EVENTS = 256, SUBSCRIBERS = 20000 };

static const char subscribe[] = "*2\r\n$9\r\nSUBSCRIBE\r\n$5\r\nbench\r\n";
static const char subscribed[] = "*3\r\n$9\r\nsubscribe\r\n$5\r\nbench\r\n:1\r\n";
static const char message_head[] = "*3\r\n$7\r\nmessage\r\n$5\r\nbench\r\n$64\r\n";
enum { MESSAGE_BYTES = sizeof(message_head) - 1 + VALUE_BYTES + 2 };

static uint8_t input[READ_BYTES];

static void die(const char *what)
{
    (void)fprintf(stderr, "messages_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int connect_to(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        die("cannot connect");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static void write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written <= 0) {
            die("cannot write");
        }
        data += written;
        size -= (size_t)written;
    }
}

static void read_exactly(int fd, size_t size)
{
    while (size > 0) {
        ssize_t count = read(fd, input, size < READ_BYTES ? size : READ_BYTES);
        if (count <= 0) {
            die("closed by the server");
        }
        size -= (size_t)count;
    }
}

struct load {
    int epoll, publisher;
    uint64_t subscribers;
    uint64_t published, answered, heard_bytes;
    char *batch;
    size_t batch_bytes;
    uint64_t in_flight;
};

static void publish(struct load *load)
{
    write_all(load->publisher, load->batch, load->batch_bytes);
    load->published += load->in_flight;
}

/* Until all that was published is heard to within this, or one second has passed without anything. */
static void hear(struct load *load, uint64_t behind)
{
    while (load->published - load->answered > behind ||
           load->published * load->subscribers - load->heard_bytes / MESSAGE_BYTES > behind * load->subscribers) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(load->epoll, events, EVENTS, 10000);
        if (count <= 0) {
            errno = ETIMEDOUT;
            die("messages are missing");
        }
        for (int i = 0; i < count; i++) {
            ssize_t size = read(events[i].data.fd, input, READ_BYTES);
            if (size <= 0) {
                die("closed by the server");
            }
            if (events[i].data.fd != load->publisher) {
                load->heard_bytes += (uint64_t)size;
                continue;
            }
            for (ssize_t at = 0; at < size; at++) {
                load->answered += input[at] == '\n';
            }
        }
    }
}

static void watch(const struct load *load, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("cannot watch");
    }
}

static void make_batch(struct load *load)
{
    char one[256];
    int size = snprintf(one, sizeof(one), "*3\r\n$7\r\nPUBLISH\r\n$5\r\nbench\r\n$64\r\n%064d\r\n", 7);
    load->batch = malloc((size_t)size * load->in_flight);
    for (uint64_t i = 0; i < load->in_flight; i++) {
        memcpy(load->batch + load->batch_bytes, one, (size_t)size);
        load->batch_bytes += (size_t)size;
    }
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        (void)fprintf(stderr, "usage: messages_load SECONDS SUBSCRIBERS IN_FLIGHT PUBLISHER_PORT SUBSCRIBER_PORT…\n");
        return 64;
    }
    struct load load = {.epoll = epoll_create1(0),
                        .subscribers = strtoull(argv[2], NULL, 10),
                        .in_flight = strtoull(argv[3], NULL, 10)};
    double seconds = strtod(argv[1], NULL);
    if (load.subscribers < 1 || load.subscribers > SUBSCRIBERS || load.in_flight < 1) {
        return 64;
    }
    for (uint64_t i = 0; i < load.subscribers; i++) {
        int fd = connect_to(argv[5 + i % (uint64_t)(argc - 5)]);
        write_all(fd, subscribe, sizeof(subscribe) - 1);
        read_exactly(fd, sizeof(subscribed) - 1);
        watch(&load, fd);
    }
    load.publisher = connect_to(argv[4]);
    watch(&load, load.publisher);
    make_batch(&load);
    for (int i = 0; i < 3; i++) { /* warm */
        publish(&load);
        hear(&load, 0);
    }
    uint64_t before = load.published;
    double began = now_s();
    while (now_s() - began < seconds) {
        publish(&load);
        hear(&load, load.in_flight);
    }
    hear(&load, 0);
    double took = now_s() - began;
    uint64_t published = load.published - before;
    (void)printf("{\"delivered\": %llu, \"published\": %llu, \"seconds\": %.6f}\n",
                 (unsigned long long)published * load.subscribers, (unsigned long long)published, took);
    free(load.batch);
    return 0;
}

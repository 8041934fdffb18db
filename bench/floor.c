/* What the machine itself takes for the parts of a replicated write, without any server: the floor.
 *
 *   floor FOLDER SECONDS
 *
 * Prints one line of JSON, microseconds: round_trip of 64 bytes between two processes over TCP on 127.0.0.1, each
 * blocking in read; sync_alone, a 4 KiB append and its fdatasync; sync_three, the same by three processes at once, each
 * in a file of its own, as three nodes on one disk do. Appended is to a file whose blocks are written already, as in a
 * log that is made ahead of time: the cheapest there is. A third of SECONDS goes to each. */
#include "cli/histogram.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 64, APPEND_BYTES = 4096, FILE_BYTES = 16 << 20, WRITERS = 3 };

static void must(const char *what, bool ok)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- round trip ---- */

static void echo(int socket)
{
    char room[MESSAGE_BYTES];
    ssize_t size = 0;
    while ((size = read(socket, room, sizeof(room))) > 0) {
        must("write", write(socket, room, (size_t)size) == size);
    }
    _exit(0);
}

/* A connected pair of TCP sockets, not delaying. */
static void connect_pair(int ret_sockets[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    must("bind", bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
    must("listen", listen(listener, 1) == 0);
    must("getsockname", getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    ret_sockets[0] = socket(AF_INET, SOCK_STREAM, 0);
    must("connect", connect(ret_sockets[0], (struct sockaddr *)&address, sizeof(address)) == 0);
    ret_sockets[1] = accept(listener, NULL, NULL);
    must("accept", ret_sockets[1] >= 0);
    (void)close(listener);
    for (int i = 0; i < 2; i++) {
        must("TCP_NODELAY", setsockopt(ret_sockets[i], IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) == 0);
    }
}

static void measure_round_trip(struct histogram *histogram, int64_t duration_ns)
{
    int sockets[2];
    connect_pair(sockets);
    pid_t child = fork();
    if (child == 0) {
        (void)close(sockets[0]);
        echo(sockets[1]);
    }
    (void)close(sockets[1]);
    char room[MESSAGE_BYTES] = {0};
    int64_t end = now_ns() + duration_ns;
    for (int64_t before = now_ns(); before < end;) {
        must("write", write(sockets[0], room, sizeof(room)) == sizeof(room));
        for (ssize_t got = 0; got < MESSAGE_BYTES;) {
            ssize_t size = read(sockets[0], room, sizeof(room));
            must("read", size > 0);
            got += size;
        }
        int64_t after = now_ns();
        histogram_add(histogram, (uint64_t)(after - before));
        before = after;
    }
    (void)close(sockets[0]);
    (void)waitpid(child, NULL, 0);
}

/* ---- fdatasync ---- */

static int make_file(const char *folder, int number)
{
    char path[4096];
    static const char zeros[1 << 20];
    (void)snprintf(path, sizeof(path), "%s/floor.%d", folder, number);
    int file = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    must(path, file >= 0);
    (void)unlink(path);
    for (int written = 0; written < FILE_BYTES; written += (int)sizeof(zeros)) {
        must("write", write(file, zeros, sizeof(zeros)) == sizeof(zeros));
    }
    must("fsync", fsync(file) == 0);
    return file;
}

static void measure_sync(struct histogram *histogram, int file, int64_t end_ns)
{
    static char room[APPEND_BYTES];
    memset(room, 'x', sizeof(room));
    off_t at = 0;
    for (int64_t before = now_ns(); before < end_ns;) {
        must("pwrite", pwrite(file, room, sizeof(room), at) == sizeof(room));
        must("fdatasync", fdatasync(file) == 0);
        int64_t after = now_ns();
        histogram_add(histogram, (uint64_t)(after - before));
        before = after;
        at = (at + APPEND_BYTES) % FILE_BYTES;
    }
}

static void measure_three(struct histogram *histograms, const char *folder, int64_t duration_ns)
{
    int files[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        files[i] = make_file(folder, i);
    }
    int64_t end = now_ns() + duration_ns;
    for (int i = 0; i < WRITERS; i++) {
        if (fork() == 0) {
            measure_sync(&histograms[i], files[i], end);
            _exit(0);
        }
    }
    int status = 0;
    for (int i = 0; i < WRITERS; i++) {
        must("a writer", wait(&status) > 0 && status == 0);
        (void)close(files[i]);
    }
    for (int i = 1; i < WRITERS; i++) {
        histogram_merge(&histograms[0], &histograms[i]);
    }
}

static void print(const char *name, const struct histogram *histogram, const char *after)
{
    printf("\"%s\": {\"p50\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f}%s", name,
           (double)histogram_percentile(histogram, 0.5) / 1e3, (double)histogram_percentile(histogram, 0.99) / 1e3,
           (double)histogram_percentile(histogram, 0.999) / 1e3, after);
}

int main(int argc, char **argv)
{
    int64_t part_ns = argc == 3 ? (int64_t)(strtod(argv[2], NULL) * 1e9 / 3) : 0;
    if (part_ns <= 0) {
        (void)fprintf(stderr, "usage: floor FOLDER SECONDS\n");
        return 2;
    }
    struct histogram *shared = mmap(NULL, (2 + WRITERS) * sizeof(*shared), PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0); /* the writers are processes */
    must("mmap", shared != MAP_FAILED);
    measure_round_trip(&shared[0], part_ns);
    int file = make_file(argv[1], 0);
    measure_sync(&shared[1], file, now_ns() + part_ns);
    (void)close(file);
    measure_three(&shared[2], argv[1], part_ns);
    printf("{");
    print("round_trip", &shared[0], ", ");
    print("sync_alone", &shared[1], ", ");
    print("sync_three", &shared[2], "}\n");
    return 0;
}

/* A program with embedded:// in it (test_engine_embedded.py):
 *
 *   embedded_host cycles URL N     opens and closes it N times, by two handles, and once by eight threads at a time;
 *                                  looks whether anything of it is left in the process
 *   embedded_host feed URL N       follows a prefix by one handle, and changes so many keys under it by another
 *   embedded_host uv URL N         the same number of writes under way at a time, on a libuv loop
 *   embedded_host memory URL MB    writes until the system gives no more memory than so much; says what it was told
 *                                  then, and goes on */
#include <cohort/cohort.h>
#include <cohort/uv.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    POOL_THREADS = 4 /* of libuv: made when the first is needed, and they stay */,
    THREADS = 8,
    TURNS = 10,
    VALUE_BYTES = 16 << 10,
    WRITES = 1 << 20
};

#define NEED(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                                    \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static const char *url;

static struct cohort *open_url(void)
{
    struct cohort *cohort = NULL;
    struct cohort_reply *reply = NULL;
    enum cohort_status status = cohort_open(url, NULL, &cohort, &reply);
    if (status != COHORT_OK) {
        fprintf(stderr, "%s\n", cohort_reply_text(reply));
        exit(1);
    }
    cohort_reply_free(reply);
    return cohort;
}

static void write_and_read(struct cohort *writer, struct cohort *reader, const char *key, int number)
{
    char text[16];
    struct cohort_reply *reply = NULL;
    (void)snprintf(text, sizeof(text), "%d", number);
    NEED(cohort_set(writer, cohort_text(key), cohort_text(text), NULL, NULL) == COHORT_OK);
    NEED(cohort_get(reader, cohort_text(key), &reply) == COHORT_OK);
    NEED(strcmp(cohort_reply_text(reply), text) == 0);
    cohort_reply_free(reply);
}

static int entries(const char *path)
{
    DIR *folder = opendir(path);
    NEED(folder != NULL);
    int count = 0;
    while (readdir(folder) != NULL) {
        count++;
    }
    (void)closedir(folder);
    return count;
}

static void look_at_signals(struct sigaction *ret_actions)
{
    for (int number = 1; number < NSIG; number++) {
        (void)sigaction(number, NULL, &ret_actions[number]);
    }
}

static void *open_and_close(void *key)
{
    for (int turn = 0; turn < TURNS; turn++) {
        struct cohort *cohort = open_url();
        write_and_read(cohort, cohort, key, turn);
        cohort_close(cohort);
    }
    return NULL;
}

static void cycle(int number)
{
    struct cohort *one = open_url();
    struct cohort *other = open_url();
    write_and_read(one, other, "a", number);
    cohort_close(one);
    write_and_read(other, other, "b", number);
    cohort_close(other);
}

static void cycles(int count)
{
    static struct sigaction before[NSIG], after[NSIG];
    char keys[THREADS][8];
    pthread_t threads[THREADS];
    look_at_signals(before);
    cycle(0); /* what is made once and stays */
    int descriptors = entries("/proc/self/fd");
    int tasks = entries("/proc/self/task") + POOL_THREADS;
    for (int number = 1; number < count; number++) {
        cycle(number);
    }
    for (int i = 0; i < THREADS; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "k%d", i);
        NEED(pthread_create(&threads[i], NULL, open_and_close, keys[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    look_at_signals(after);
    for (int number = 1; number < NSIG; number++) {
        NEED(before[number].sa_handler == after[number].sa_handler);
    }
    NEED(entries("/proc/self/fd") == descriptors);
    for (int wait = 0; entries("/proc/self/task") > tasks && wait < 10000; wait++) {
        (void)usleep(1000); /* a thread that was joined is seen a moment longer */
    }
    NEED(entries("/proc/self/task") <= tasks);
}

static void follow(int count)
{
    struct cohort *one = open_url();
    struct cohort *other = open_url();
    struct cohort_feed *feed = NULL;
    NEED(cohort_feed_open(one, cohort_text("f:"), NULL, &feed, NULL) == COHORT_OK);
    for (int number = 0; number < count; number++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "f:%d", number);
        write_and_read(other, one, key, number);
    }
    for (int seen = 0; seen < count;) {
        size_t changes = 0;
        NEED(cohort_feed_next(feed, 30000, &changes, NULL) == COHORT_OK);
        for (size_t i = 0; i < changes; i++) {
            const struct cohort_feed_change *change = cohort_feed_change(feed, i);
            NEED(change->kind == COHORT_FEED_SET && atoi((const char *)change->key.data + 2) == seen++);
        }
    }
    cohort_feed_close(feed);
    cohort_close(other);
    cohort_close(one);
}

struct on_loop {
    struct cohort_uv *attached;
    int left;
};

static void detached(void *data) { (void)data; }

static void written(void *data, enum cohort_status status, const struct cohort_reply *reply)
{
    struct on_loop *at = data;
    (void)reply;
    NEED(status == COHORT_OK);
    if (--at->left == 0) {
        cohort_uv_detach(at->attached, detached, at);
    }
}

static void on_loop(int count)
{
    uv_loop_t loop;
    struct cohort *cohort = open_url();
    struct on_loop at = {.left = count};
    NEED(uv_loop_init(&loop) == 0);
    NEED(cohort_uv_attach(cohort, &loop, &at.attached) == COHORT_OK);
    for (int number = 0; number < count; number++) {
        NEED(cohort_incr_start(cohort, cohort_text("n"), 1, written, &at) == COHORT_OK);
    }
    NEED(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    NEED(uv_loop_close(&loop) == 0);
    int64_t value = 0;
    NEED(cohort_incr(cohort, cohort_text("n"), 0, &value, NULL) == COHORT_OK && value == count);
    cohort_close(cohort);
}

static void limit_memory(long more_mb)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[128];
    unsigned long data_kb = 0;
    while (file != NULL && data_kb == 0 && fgets(line, sizeof(line), file) != NULL) {
        (void)sscanf(line, "VmData: %lu", &data_kb);
    }
    NEED(data_kb != 0);
    (void)fclose(file);
    struct rlimit limit = {(data_kb << 10) + ((rlim_t)more_mb << 20), RLIM_INFINITY};
    NEED(setrlimit(RLIMIT_DATA, &limit) == 0);
}

static void memory(long more_mb)
{
    static char value[VALUE_BYTES];
    struct cohort *cohort = open_url();
    struct cohort_reply *reply = NULL;
    enum cohort_status status = COHORT_OK;
    char key[32] = "first";
    (void)memset(value, 'v', sizeof(value));
    struct cohort_bytes bytes = {value, sizeof(value)};
    NEED(cohort_set(cohort, cohort_text(key), bytes, NULL, NULL) == COHORT_OK);
    limit_memory(more_mb);
    for (int number = 0; number < WRITES && status != COHORT_UNREACHABLE; number++) {
        (void)snprintf(key, sizeof(key), "key %d", number);
        cohort_reply_free(reply);
        reply = NULL;
        status = cohort_set(cohort, cohort_text(key), bytes, NULL, &reply);
    }
    printf("%s\n", cohort_reply_text(reply));
    cohort_reply_free(reply);
    status = cohort_get(cohort, cohort_text("first"), &reply);
    printf("%s: %s\n", cohort_status_text(status), cohort_reply_text(reply));
    cohort_reply_free(reply);
    cohort_close(cohort);
    reply = NULL;
    NEED(cohort_open(url, NULL, &cohort, &reply) == COHORT_BUSY);
    printf("%s\nstill here\n", cohort_reply_text(reply));
    cohort_reply_free(reply);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        return 2;
    }
    url = argv[2];
    if (strcmp(argv[1], "cycles") == 0) {
        cycles(atoi(argv[3]));
    } else if (strcmp(argv[1], "feed") == 0) {
        follow(atoi(argv[3]));
    } else if (strcmp(argv[1], "uv") == 0) {
        on_loop(atoi(argv[3]));
    } else {
        memory(atol(argv[3]));
    }
    return 0;
}

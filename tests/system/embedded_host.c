/* A program with embedded:// in it (test_engine_embedded.py):
 *
 *   embedded_host cycles URL N     opens and closes it N times, by two handles, and once by eight threads at a time;
 *                                  looks whether anything of it is left in the process
 *   embedded_host memory URL MB    writes until the system gives no more memory than so much; says what it was told
 *                                  then, and goes on */
#include <cohort/cohort.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { THREADS = 8, TURNS = 10, VALUE_BYTES = 16 << 10, WRITES = 1 << 20 };

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
    cycle(0); /* what is made once and stays: libuv's pool */
    int descriptors = entries("/proc/self/fd");
    int tasks = entries("/proc/self/task");
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
    NEED(entries("/proc/self/task") == tasks);
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
    } else {
        memory(atol(argv[3]));
    }
    return 0;
}

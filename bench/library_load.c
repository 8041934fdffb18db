/* What libcohort itself costs, beside `cohort bench`, which sends ready-made requests and looks at no reply.
 *
 *   library_load URL get|set SECONDS loop IN_FLIGHT       that many operations on one loop, each followed by the next
 *   library_load URL get|set SECONDS threads THREADS      that many threads, each with one blocking call at a time
 *
 * Prints operations per second, those that failed, and the processor time of this process for each: user and system,
 * in microseconds. Keys are those of `cohort bench --keys 1000`, values of 64 bytes. */
#include <cohort/cohort.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { KEYS = 1000, KEY_BYTES = 24, VALUE_BYTES = 64, THREADS_MAXIMUM = 256 };

static struct cohort *cohort;
static bool sets;
static double end_s;
static atomic_ulong done, failed;
static const char value[VALUE_BYTES] = "value";

static double now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct cohort_bytes key_of(char text[static KEY_BYTES], unsigned number)
{
    int size = snprintf(text, KEY_BYTES, "key:%012u", number % KEYS);
    return cohort_bytes_of(text, (size_t)size);
}

static void count(enum cohort_status status)
{
    bool is_well = status == COHORT_OK || status == COHORT_NOTFOUND;
    atomic_fetch_add_explicit(is_well ? &done : &failed, 1, memory_order_relaxed);
}

/* ---- a loop ---- */

static unsigned under_way, next_key;

static void ended(void *data, enum cohort_status status, const struct cohort_reply *reply);

static void start_one(void)
{
    char text[KEY_BYTES];
    struct cohort_bytes key = key_of(text, next_key++);
    enum cohort_status status =
        sets ? cohort_set_start(cohort, key, cohort_bytes_of(value, VALUE_BYTES), NULL, ended, NULL)
             : cohort_get_start(cohort, key, ended, NULL);
    under_way += status == COHORT_OK;
}

static void ended(void *data, enum cohort_status status, const struct cohort_reply *reply)
{
    under_way--;
    count(status);
    if (now_s() < end_s) {
        start_one();
    }
}

static void run_loop(unsigned in_flight)
{
    for (unsigned i = 0; i < in_flight; i++) {
        start_one();
    }
    while (under_way > 0) {
        struct pollfd fd = {.fd = cohort_fd(cohort), .events = POLLIN};
        (void)poll(&fd, 1, cohort_timeout(cohort));
        cohort_process(cohort);
    }
}

/* ---- threads ---- */

static void *call_on(void *data)
{
    unsigned number = (unsigned)(size_t)data * 7919;
    while (now_s() < end_s) {
        char text[KEY_BYTES];
        struct cohort_bytes key = key_of(text, number++);
        count(sets ? cohort_set(cohort, key, cohort_bytes_of(value, VALUE_BYTES), NULL, NULL)
                   : cohort_get(cohort, key, NULL));
    }
    return NULL;
}

static void run_threads(size_t threads)
{
    static pthread_t all[THREADS_MAXIMUM];
    for (size_t i = 0; i < threads; i++) {
        if (pthread_create(&all[i], NULL, call_on, (void *)i) != 0) {
            abort();
        }
    }
    for (size_t i = 0; i < threads; i++) {
        (void)pthread_join(all[i], NULL);
    }
}

static double micros(struct timeval time) { return (double)time.tv_sec * 1e6 + (double)time.tv_usec; }

int main(int argc, char **argv)
{
    bool loops = argc == 6 && argv[4][0] == 'l';
    int many = argc == 6 ? atoi(argv[5]) : 0;
    if (many < 1 || (!loops && many > THREADS_MAXIMUM) || cohort_open(argv[1], NULL, &cohort, NULL) != COHORT_OK) {
        (void)fprintf(stderr, "usage: library_load URL get|set SECONDS loop|threads NUMBER\n");
        return 64;
    }
    sets = argv[2][0] == 's';
    double start_s = now_s();
    end_s = start_s + atof(argv[3]);
    if (loops) {
        run_loop((unsigned)many);
    } else {
        run_threads((size_t)many);
    }
    double took_s = now_s() - start_s;
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    double operations = (double)atomic_load(&done);
    printf("%.0f per second, %lu failed, %.2f + %.2f us of processor each\n", operations / took_s, atomic_load(&failed),
           micros(usage.ru_utime) / operations, micros(usage.ru_stime) / operations);
    cohort_close(cohort);
    return 0;
}

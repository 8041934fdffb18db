/* Threads that take turns by locks of libcohort, with keepers, while a test breaks the cluster:
 * libcohort_locks URL THREADS SECONDS
 *
 * Each turn is printed as "token from to end": from when to when the thread was sure that it held the lock, in ns of
 * CLOCK_BOOTTIME, never later than cohort_lock_valid_until; end is released, lost or unknown. Others may have it from
 * then on only. */
#include <cohort/cohort.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { THREADS_MAXIMUM = 32, TTL_MS = 2000, WAIT_MS = 20000, TURN_STEPS = 5 };

struct worker {
    struct cohort *cohort;
    pthread_t thread;
    int64_t end_ns;
};

static int64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Stays for some milliseconds while it is valid; the last moment at which it surely was. */
static int64_t stay(const struct cohort_lock *lock)
{
    int64_t sure_ns = 0;
    for (int step = 0; step < TURN_STEPS; step++) {
        int64_t now = now_ns();
        int64_t until_ns = cohort_lock_valid_until(lock);
        if (now >= until_ns) {
            return sure_ns;
        }
        sure_ns = now;
        const struct timespec pause = {.tv_nsec = 1000000};
        (void)nanosleep(&pause, NULL);
    }
    return sure_ns;
}

static void take_turn(struct cohort *cohort)
{
    struct cohort_lock *lock = NULL;
    struct cohort_keeper *keeper = NULL;
    const struct cohort_lock_options how = {.ttl_ms = TTL_MS, .wait_ms = WAIT_MS};
    if (cohort_lock_acquire(cohort, cohort_text("turn"), &how, &lock, NULL) != COHORT_OK) {
        return; /* not in time, or nobody can say: it ends by itself */
    }
    int64_t from_ns = now_ns();
    bool is_kept = cohort_keeper_start(lock, 0, NULL, NULL, &keeper) == COHORT_OK;
    int64_t to_ns = stay(lock);
    cohort_keeper_stop(keeper);
    enum cohort_status status = cohort_lock_release(lock, NULL);
    if (is_kept && to_ns >= from_ns) {
        printf("%llu %lld %lld %s\n", (unsigned long long)cohort_lock_token(lock), (long long)from_ns, (long long)to_ns,
               status == COHORT_OK         ? "released"
               : status == COHORT_LOCKLOST ? "lost"
                                           : "unknown");
    }
    cohort_lock_free(lock);
}

static void *work(void *owner)
{
    struct worker *worker = owner;
    while (now_ns() < worker->end_ns) {
        take_turn(worker->cohort);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct worker workers[THREADS_MAXIMUM];
    int threads = argc == 4 ? atoi(argv[2]) : 0;
    struct cohort *cohort;
    if (threads < 1 || threads > THREADS_MAXIMUM || cohort_open(argv[1], NULL, &cohort, NULL) != COHORT_OK) {
        fprintf(stderr, "usage: libcohort_locks URL THREADS SECONDS\n");
        return 64;
    }
    int64_t end_ns = now_ns() + atoi(argv[3]) * (int64_t)1000000000;
    for (int i = 0; i < threads; i++) {
        workers[i] = (struct worker){.cohort = cohort, .end_ns = end_ns};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            return 71;
        }
    }
    for (int i = 0; i < threads; i++) {
        (void)pthread_join(workers[i].thread, NULL);
    }
    cohort_close(cohort);
    return 0;
}

/* Holds a lock while a test stops it (SIGSTOP) and lets it go on: libcohort_stopped URL KEY TTL_MS loop|thread
 *
 * Prints "token N until T" (ns of CLOCK_BOOTTIME; again whenever that has grown), then what it is told, each once it
 * is: "lost WHY until T", and by reads that are under way all the time "read late" when the validity was over, by the
 * clock, as the loop's turn began, and no loss was told before. Once it is lost: "renew STATUS", "release STATUS",
 * "until T", "end". */
#include <cohort/cohort.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STEP_US = 2000, AFTER_STEPS = 250 };

static struct cohort *cohort;
static struct cohort_lock *lock;
static atomic_int losses;
static int is_over; /* as the turn began */

static int64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void say(const char *what, const char *status)
{
    printf("%s %s\n", what, status);
    (void)fflush(stdout);
}

static void lost(void *data, struct cohort_lock *which, enum cohort_status why)
{
    (void)data;
    printf("lost %s until %" PRId64 "\n", cohort_status_text(why), cohort_lock_valid_until(which));
    (void)fflush(stdout);
    atomic_fetch_add(&losses, 1);
}

static void was_read(void *data, enum cohort_status status, const struct cohort_reply *reply)
{
    (void)status;
    (void)reply;
    *(int *)data = 0;
    if (atomic_load(&losses) == 0 && is_over) {
        say("read", "late");
    }
}

/* A turn of the program: with a loop all of it, else a pause. */
static void turn(int on_loop)
{
    static int reading;
    if (!on_loop) {
        usleep(STEP_US);
        return;
    }
    if (!reading) {
        reading = cohort_get_start(cohort, cohort_text("key"), was_read, &reading) == COHORT_OK;
    }
    struct pollfd fd = {.fd = cohort_fd(cohort), .events = POLLIN};
    (void)poll(&fd, 1, STEP_US / 1000);
    is_over = now_ns() > cohort_lock_valid_until(lock);
    cohort_process(cohort);
}

static void tell_token(int64_t *until_ns)
{
    int64_t now = cohort_lock_valid_until(lock);
    if (now > *until_ns) {
        *until_ns = now;
        printf("token %" PRIu64 " until %" PRId64 "\n", cohort_lock_token(lock), now);
        (void)fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    struct cohort_keeper *keeper;
    if (argc != 5 || cohort_open(argv[1], NULL, &cohort, NULL) != COHORT_OK) {
        return 64;
    }
    int on_loop = strcmp(argv[4], "loop") == 0;
    struct cohort_lock_options how = {.ttl_ms = atoi(argv[3]), .wait_ms = 60000};
    enum cohort_status status = cohort_lock_acquire(cohort, cohort_text(argv[2]), &how, &lock, NULL);
    if (status != COHORT_OK ||
        cohort_keeper_start(lock, on_loop ? COHORT_KEEPER_ON_LOOP : 0, lost, NULL, &keeper) != COHORT_OK) {
        (void)fprintf(stderr, "%s\n", cohort_status_text(status));
        return 75;
    }
    int64_t until_ns = 0;
    while (atomic_load(&losses) == 0) {
        tell_token(&until_ns);
        turn(on_loop);
    }
    say("renew", cohort_status_text(cohort_lock_renew(lock, NULL)));
    for (int i = 0; i < AFTER_STEPS; i++) { /* whatever else may be told */
        turn(on_loop);
    }
    cohort_keeper_stop(keeper);
    say("release", cohort_status_text(cohort_lock_release(lock, NULL)));
    printf("until %" PRId64 "\n", cohort_lock_valid_until(lock));
    say("end", "");
    cohort_lock_free(lock);
    cohort_close(cohort);
    return 0;
}

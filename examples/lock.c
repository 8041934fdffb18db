/* Works while a lock is held, and stops when it is lost. */
#include <cohort/cohort.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

static void lost(void *data, struct cohort_lock *lock, enum cohort_status why)
{
    fprintf(stderr, "lost: %s\n", cohort_status_text(why));
    atomic_store((atomic_bool *)data, true);
}

int main(int argc, char **argv)
{
    struct cohort *cohort;
    struct cohort_lock *lock;
    struct cohort_keeper *keeper;
    struct cohort_reply *reply;
    if (cohort_open(argc > 1 ? argv[1] : NULL, NULL, &cohort, NULL) != COHORT_OK) {
        return 1;
    }
    struct cohort_lock_options how = {.ttl_ms = 10000, .wait_ms = 30000};
    enum cohort_status status = cohort_lock_acquire(cohort, cohort_text("printer"), &how, &lock, &reply);
    if (status != COHORT_OK) {
        fprintf(stderr, "acquire: %s (%s)\n", cohort_status_text(status), cohort_reply_text(reply));
        cohort_reply_free(reply);
        cohort_close(cohort);
        return 75;
    }
    cohort_reply_free(reply);
    atomic_bool is_lost = false;
    (void)cohort_keeper_start(lock, 0, lost, &is_lost, &keeper);
    for (int page = 1; page <= 3 && !atomic_load(&is_lost); page++) {
        printf("page %d, token %llu\n", page, (unsigned long long)cohort_lock_token(lock));
    }
    cohort_keeper_stop(keeper);
    (void)cohort_lock_release(lock, NULL);
    cohort_lock_free(lock);
    cohort_close(cohort);
    return 0;
}

/* Holds a lock with libcohort's keeper while a test looks on: lock_keeper URL KEY TTL_MS
 *
 * Prints "token N" when it has the lock and its keeper runs, and "lost: …" when the keeper says so. A line on its
 * standard input stops the keeper, without releasing the lock; then it prints "stopped", and ends with its input. */
#include <cohort/cohort.h>
#include <stdio.h>
#include <stdlib.h>

static void lost(void *data, struct cohort_lock *lock, enum cohort_status why)
{
    (void)data;
    (void)lock;
    printf("lost: %s\n", cohort_status_text(why));
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    struct cohort *cohort;
    struct cohort_lock *lock;
    struct cohort_keeper *keeper;
    char line[16];
    if (argc != 4 || cohort_open(argv[1], NULL, &cohort, NULL) != COHORT_OK) {
        return 64;
    }
    struct cohort_lock_options how = {.ttl_ms = atoi(argv[3]), .wait_ms = 60000};
    enum cohort_status status = cohort_lock_acquire(cohort, cohort_text(argv[2]), &how, &lock, NULL);
    if (status != COHORT_OK || cohort_keeper_start(lock, 0, lost, NULL, &keeper) != COHORT_OK) {
        (void)fprintf(stderr, "%s\n", cohort_status_text(status));
        return 75;
    }
    printf("token %llu\n", (unsigned long long)cohort_lock_token(lock));
    (void)fflush(stdout);
    if (fgets(line, sizeof(line), stdin) != NULL) {
        cohort_keeper_stop(keeper);
        keeper = NULL;
        printf("stopped\n");
        (void)fflush(stdout);
        (void)getchar();
    }
    cohort_keeper_stop(keeper);
    cohort_lock_free(lock);
    cohort_close(cohort);
    return 0;
}

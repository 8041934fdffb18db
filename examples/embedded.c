/* A program with a whole node in it, and no server: keys, a transaction, a lock with a token, all durable in a folder.
 * Run it again, and it goes on counting.
 *
 *   cc embedded.c $(pkg-config --cflags --libs cohort) && ./a.out embedded:///var/lib/app */
#include <cohort/cohort.h>
#include <stdio.h>

static int fail(const char *what, enum cohort_status status, struct cohort_reply *reply)
{
    fprintf(stderr, "%s: %s (%s)\n", what, cohort_status_text(status), cohort_reply_text(reply));
    cohort_reply_free(reply);
    return 1;
}

static int count_runs(struct cohort *cohort)
{
    int64_t runs = 0;
    struct cohort_reply *reply;
    enum cohort_status status = cohort_incr(cohort, cohort_text("runs"), 1, &runs, &reply);
    if (status != COHORT_OK) {
        return fail("incr", status, reply);
    }
    cohort_reply_free(reply);
    printf("run %lld\n", (long long)runs);
    return 0;
}

/* Other threads of this program, and other handles of the same URL, wait for it. */
static int work_alone(struct cohort *cohort)
{
    struct cohort_lock *lock;
    struct cohort_reply *reply;
    struct cohort_lock_options how = {.size = sizeof(how), .ttl_ms = 10000, .wait_ms = 1000};
    enum cohort_status status = cohort_lock_acquire(cohort, cohort_text("nightly"), &how, &lock, &reply);
    if (status != COHORT_OK) {
        return fail("lock", status, reply);
    }
    cohort_reply_free(reply);
    printf("locked\n");
    (void)cohort_lock_release(lock, NULL);
    cohort_lock_free(lock);
    return 0;
}

int main(int argc, char **argv)
{
    struct cohort *cohort;
    struct cohort_reply *reply;
    enum cohort_status status =
        cohort_open(argc > 1 ? argv[1] : "embedded:///tmp/cohort-example", NULL, &cohort, &reply);
    if (status != COHORT_OK) {
        return fail("open", status, reply); /* COHORT_BUSY: another process has the folder, and the words say which */
    }
    int code = count_runs(cohort);
    code = code == 0 ? work_alone(cohort) : code;
    cohort_close(cohort); /* the last handle of the folder: the node stops */
    return code;
}

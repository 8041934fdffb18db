/* Sets a key, reads it, and changes it only if nobody else did.
 *
 *   cc get_set.c $(pkg-config --cflags --libs cohort) && ./a.out cohort://127.0.0.1:6379 */
#include <cohort/cohort.h>
#include <stdio.h>

static int fail(const char *what, enum cohort_status status, struct cohort_reply *reply)
{
    fprintf(stderr, "%s: %s (%s)\n", what, cohort_status_text(status), cohort_reply_text(reply));
    cohort_reply_free(reply);
    return 1;
}

int main(int argc, char **argv)
{
    struct cohort *cohort;
    struct cohort_reply *reply;
    enum cohort_status status = cohort_open(argc > 1 ? argv[1] : NULL, NULL, &cohort, &reply);
    if (status != COHORT_OK) {
        return fail("open", status, reply);
    }
    struct cohort_bytes key = cohort_text("greeting");
    status = cohort_set(cohort, key, cohort_text("hello"), NULL, &reply);
    if (status != COHORT_OK) {
        return fail("set", status, reply); /* COHORT_UNCERTAIN: it may have been set */
    }
    cohort_reply_free(reply);
    int64_t version;
    status = cohort_getv(cohort, key, &version, &reply);
    if (status != COHORT_OK) {
        return fail("getv", status, reply);
    }
    printf("%s\n", cohort_reply_text(cohort_reply_at(reply, 0)));
    cohort_reply_free(reply);
    status = cohort_setv(cohort, key, cohort_text("hello again"), version, NULL, &reply);
    if (status != COHORT_OK) {
        return fail("setv", status, reply); /* COHORT_CONFLICT: somebody was faster */
    }
    cohort_reply_free(reply);
    cohort_close(cohort);
    return 0;
}

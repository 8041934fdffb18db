/* Two locks that end together: a session is kept alive by one heartbeat, whatever the number of its locks. */
#include <cohort/cohort.h>
#include <stdio.h>

static void ended(void *data, struct cohort_session *session, enum cohort_status why)
{
    fprintf(stderr, "the session and its locks are lost: %s\n", cohort_status_text(why));
}

static int print(struct cohort *cohort, struct cohort_session *session)
{
    const char *const names[] = {"printer", "paper"};
    struct cohort_lock *locks[2] = {NULL, NULL};
    struct cohort_lock_options how = {.session = session, .wait_ms = 30000};
    int code = 0;
    for (int i = 0; i < 2 && code == 0; i++) {
        enum cohort_status status = cohort_lock_acquire(cohort, cohort_text(names[i]), &how, &locks[i], NULL);
        if (status == COHORT_OK) {
            printf("%s, token %llu\n", names[i], (unsigned long long)cohort_lock_token(locks[i]));
        } else {
            fprintf(stderr, "%s: %s\n", names[i], cohort_status_text(status));
            code = 75;
        }
    }
    for (int i = 0; i < 2; i++) {
        cohort_lock_free(locks[i]); /* the end of the session releases them */
    }
    return code;
}

int main(int argc, char **argv)
{
    struct cohort *cohort;
    struct cohort_session *session;
    struct cohort_keeper *keeper = NULL;
    struct cohort_reply *reply;
    if (cohort_open(argc > 1 ? argv[1] : NULL, NULL, &cohort, NULL) != COHORT_OK) {
        return 1;
    }
    if (cohort_session_open(cohort, 10000, &session, &reply) != COHORT_OK) {
        fprintf(stderr, "%s\n", cohort_reply_text(reply));
        cohort_reply_free(reply);
        cohort_close(cohort);
        return 69;
    }
    cohort_reply_free(reply);
    (void)cohort_session_keeper_start(session, 0, ended, NULL, &keeper);
    int code = print(cohort, session);
    cohort_keeper_stop(keeper);
    (void)cohort_session_close(session, NULL);
    cohort_session_free(session);
    cohort_close(cohort);
    return code;
}

/* A hundred writes at once on a loop of one's own, around poll(2). */
#include <cohort/cohort.h>
#include <poll.h>
#include <stdio.h>

struct tally {
    int ended;
    int failed;
};

static void ended(void *data, enum cohort_status status, const struct cohort_reply *reply)
{
    struct tally *tally = data;
    tally->ended++;
    tally->failed += status != COHORT_OK;
}

int main(int argc, char **argv)
{
    struct cohort *cohort;
    struct tally tally = {0, 0};
    int started = 0;
    if (cohort_open(argc > 1 ? argv[1] : NULL, NULL, &cohort, NULL) != COHORT_OK) {
        return 1;
    }
    for (int i = 0; i < 100; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "counter:%d", i);
        started += cohort_incr_start(cohort, cohort_text(key), 1, ended, &tally) == COHORT_OK;
    }
    while (tally.ended < started) {
        struct pollfd fd = {.fd = cohort_fd(cohort), .events = POLLIN};
        (void)poll(&fd, 1, cohort_timeout(cohort));
        cohort_process(cohort);
    }
    printf("%d ended, %d failed\n", tally.ended, tally.failed);
    cohort_close(cohort);
    return tally.failed == 0 ? 0 : 1;
}

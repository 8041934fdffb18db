/* A script that deletes a key only while it has a value. */
#include <cohort/cohort.h>
#include <stdio.h>

static const char text[] =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";

int main(int argc, char **argv)
{
    struct cohort *cohort;
    struct cohort_script *script;
    struct cohort_reply *reply;
    if (cohort_open(argc > 1 ? argv[1] : NULL, NULL, &cohort, NULL) != COHORT_OK ||
        cohort_script_create(text, 0, &script) != COHORT_OK) {
        return 1;
    }
    struct cohort_bytes key = cohort_text("job");
    struct cohort_bytes mine = cohort_text("mine");
    (void)cohort_set(cohort, key, mine, NULL, NULL);
    enum cohort_status status = COHORT_OK;
    for (int i = 0; i < 2 && status == COHORT_OK; i++) {
        status = cohort_script_run(cohort, script, 1, &key, 1, &mine, &reply);
        printf("%s: %lld\n", cohort_status_text(status), (long long)cohort_reply_integer(reply));
        cohort_reply_free(reply);
    }
    cohort_script_free(script);
    cohort_close(cohort);
    return status == COHORT_OK ? 0 : 1;
}

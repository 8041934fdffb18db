/* Elections (cohort/elect.h): locks with other words. */
#include "client/lock.h"

#include <cohort/elect.h>

static const struct lock_words office_words = {
    .acquire = "ELECT.CAMPAIGN", .release = "ELECT.RESIGN", .lost = "office-lost", .asks_again = true};

static struct lock_wanted wanted_of(const struct cohort_campaign *campaign)
{
    struct cohort_campaign given;
    client_take_options(&given, sizeof(given), campaign);
    return (struct lock_wanted){
        .words = &office_words,
        .options = {.ttl_ms = given.ttl_ms, .wait_ms = given.wait_ms, .owner = given.candidate},
        .value = given.value,
    };
}

enum cohort_status cohort_elect_campaign(struct cohort *cohort, struct cohort_bytes election,
                                         const struct cohort_campaign *campaign, struct cohort_lock **ret_office,
                                         struct cohort_reply **ret_reply)
{
    struct lock_wanted wanted = wanted_of(campaign);
    return client_lock_acquire(cohort, election, &wanted, ret_office, ret_reply);
}

enum cohort_status cohort_elect_campaign_start(struct cohort *cohort, struct cohort_bytes election,
                                               const struct cohort_campaign *campaign, cohort_lock_callback callback,
                                               void *data)
{
    struct lock_wanted wanted = wanted_of(campaign);
    return client_lock_acquire_start(cohort, election, &wanted, callback, data);
}

static struct client_request leader_request(struct cohort_bytes argv[static 2], struct cohort_bytes election)
{
    argv[0] = cohort_text("ELECT.LEADER");
    argv[1] = election;
    return (struct client_request){
        .argv = argv, .argc = 2, .flags = COHORT_READ, .key = &argv[1], .step = step_nil_is_not_found};
}

enum cohort_status cohort_elect_leader(struct cohort *cohort, struct cohort_bytes election,
                                       struct cohort_reply **ret_reply)
{
    struct cohort_bytes argv[2];
    struct client_request request = leader_request(argv, election);
    return client_call(cohort, &request, ret_reply);
}

enum cohort_status cohort_elect_leader_start(struct cohort *cohort, struct cohort_bytes election,
                                             cohort_callback callback, void *data)
{
    struct cohort_bytes argv[2];
    struct client_request request = leader_request(argv, election);
    return client_start(cohort, &request, callback, data);
}

/* Parts of LOCK.MACQUIREs that nobody ends: their deadline has passed, or who asked is gone
 * (machine/lock/lock_parts.h).
 *
 *   a part here that is overdue ──▶ SETTLE at home ─granted─▶ GRANT here
 *                                                  └─no, and never──▶ BACK here
 *
 * The leader of the part's shard asks, and decides nothing; home's answer is final, whoever asks, however often. What
 * fails is asked again after a pause. Parts at home end by themselves, but those of who is gone at once, in the same
 * way. */
#include "cluster/cluster_internal.h"
#include "cluster/cluster_mutation.h"

#include "base/memory.h"
#include "cluster/slot.h"
#include "machine/lock/lock_arguments.h"
#include "machine/lock/lock_parts.h"

#include <stdlib.h>

enum {
    SETTLE_TASKS = 1024, /* at a time, of a worker */
    SETTLE_LOOKS = 4096, /* parts of a shard that are looked at */
    SETTLE_PAUSE_MS = 500,
};
#define NS_PER_MS INT64_C(1000000)

enum settle_state { SETTLE_ASKS, SETTLE_ENDS, SETTLE_RESTS };

struct lock_settling {
    struct requester requester;
    struct list node; /* of cluster.settlings */
    struct cluster *cluster;
    uint32_t shard; /* of the part */
    enum settle_state state;
    int64_t rests_until_ns;
    struct lock_origin origin;
    struct buffer names; /* key, owner, home */
    struct slice key, owner, home;
    struct buffer answer;
    struct resp_writer writer;
};

static struct lock_settling *of(struct requester *requester)
{
    return CONTAINER_OF(requester, struct lock_settling, requester);
}

static void settling_free(struct lock_settling *settling)
{
    list_remove(&settling->node);
    settling->cluster->settling_count--;
    buffer_deinit(&settling->names);
    buffer_deinit(&settling->answer);
    free(settling);
}

static void rest(struct lock_settling *settling)
{
    settling->state = SETTLE_RESTS;
    settling->rests_until_ns = env_monotonic_ns(settling->cluster->env) + SETTLE_PAUSE_MS * NS_PER_MS;
}

static void submit(struct lock_settling *settling, enum settle_state state, uint16_t id)
{
    struct cluster *cluster = settling->cluster;
    uint8_t origin[LOCK_ORIGIN_BYTES];
    lock_origin_put(origin, &settling->origin);
    struct slice key = state == SETTLE_ASKS ? settling->home : settling->key;
    const struct slice argv[] = {SLICE_LITERAL("COHORT.LOCK"), slice_of(origin, sizeof(origin)),
                                 state == SETTLE_ASKS ? key : settling->owner,
                                 state == SETTLE_ASKS ? settling->owner : key};
    const struct command command = {command_by_id(id), argv, 4, RESP2};
    uint32_t shard = state == SETTLE_ASKS ? slot_shard(key_slot(key), cluster->shard_count) : settling->shard;
    settling->state = state;
    if (cluster_submit(cluster, shard, &command, CLUSTER_PLAIN, &settling->requester, 0) != STATUS_OK) {
        rest(settling);
    }
}

static struct resp_writer *settle_begin(struct requester *requester, uint64_t tag)
{
    (void)tag;
    struct lock_settling *settling = of(requester);
    buffer_clear(&settling->answer);
    settling->writer = resp_writer_to(&settling->answer, RESP2);
    return &settling->writer;
}

static void settle_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    (void)tag;
    (void)command;
    struct lock_settling *settling = of(requester);
    struct slice answer = buffer_slice(&settling->answer);
    if (settling->state != SETTLE_ASKS) {
        settling_free(settling);
    } else if (slice_equal(answer, SLICE_LITERAL(":1\r\n"))) {
        submit(settling, SETTLE_ENDS, COMMAND_COHORT_LOCK_GRANT);
    } else if (slice_equal(answer, SLICE_LITERAL(":0\r\n"))) {
        submit(settling, SETTLE_ENDS, COMMAND_COHORT_LOCK_BACK);
    } else {
        rest(settling);
    }
}

static void settle_failed(struct requester *requester, uint64_t tag, enum status status)
{
    (void)tag;
    (void)status;
    rest(of(requester));
}

static const struct requester_events settle_events = {settle_begin, settle_end, settle_failed, NULL, NULL};

static bool is_settling(const struct cluster *cluster, struct slice key, const struct lock_origin *origin)
{
    LIST_FOR_EACH (at, &cluster->settlings) {
        const struct lock_settling *settling = CONTAINER_OF(at, struct lock_settling, node);
        if (settling->origin.number == origin->number && settling->origin.node == origin->node &&
            settling->origin.start == origin->start && slice_equal(settling->key, key)) {
            return true;
        }
    }
    return false;
}

static void begin(struct cluster *cluster, uint32_t shard, const struct lock_part *part)
{
    struct slice key, owner;
    struct lock_origin origin;
    struct slice home = lock_part_home(part);
    lock_part_names(part, &key, &owner, &origin);
    if (cluster->settling_count >= SETTLE_TASKS || is_settling(cluster, key, &origin)) {
        return;
    }
    struct lock_settling *settling = memory_allocate_zeroed(1, sizeof(*settling));
    settling->requester.events = &settle_events;
    settling->cluster = cluster;
    settling->shard = shard;
    settling->origin = origin;
    buffer_append_slice(&settling->names, key);
    buffer_append_slice(&settling->names, owner);
    buffer_append_slice(&settling->names, home);
    settling->key = slice_of(settling->names.data, key.size);
    settling->owner = slice_of(settling->names.data + key.size, owner.size);
    settling->home = home.size == 0 ? settling->key /* here */
                                    : slice_of(settling->names.data + key.size + owner.size, home.size);
    list_init(&settling->node);
    list_append(&cluster->settlings, &settling->node);
    cluster->settling_count++;
    if (CLUSTER_MUTATED(SETTLED_ALONE)) {
        submit(settling, SETTLE_ENDS, COMMAND_COHORT_LOCK_BACK);
    } else {
        submit(settling, SETTLE_ASKS, COMMAND_COHORT_LOCK_SETTLE);
    }
}

void lock_settle_shard(struct cluster *cluster, uint32_t shard, int64_t now_ns)
{
    const struct lane *lane = lane_of(cluster, shard);
    const struct locks *locks = lane_leads(lane) ? shard_locks(lane->local) : NULL;
    const struct lock_part *part = locks == NULL ? NULL : locks_next_reserved(locks, NULL);
    if (part == NULL) {
        return;
    }
    int64_t time_ms = shard_present_ms(lane->local);
    for (int i = 0; part != NULL && i < SETTLE_LOOKS; i++, part = locks_next_reserved(locks, part)) {
        struct slice key, owner;
        struct lock_origin origin;
        lock_part_names(part, &key, &owner, &origin);
        bool gone = origin.start < lock_news_first_start(cluster, origin.node, now_ns);
        if (gone || (part->home_size != 0 && part->deadline_ms <= time_ms)) {
            begin(cluster, shard, part);
        }
    }
}

void lock_settle_look_after(struct cluster *cluster, int64_t now_ns)
{
    LIST_FOR_EACH_SAFE (at, after, &cluster->settlings) {
        struct lock_settling *settling = CONTAINER_OF(at, struct lock_settling, node);
        if (settling->state == SETTLE_RESTS && settling->rests_until_ns <= now_ns) {
            settling_free(settling); /* what is there yet is found again */
        }
    }
}

void lock_settle_init(struct cluster *cluster) { list_init(&cluster->settlings); }

void lock_settle_destroy(struct cluster *cluster)
{
    while (!list_empty(&cluster->settlings)) {
        settling_free(CONTAINER_OF(cluster->settlings.next, struct lock_settling, node));
    }
}

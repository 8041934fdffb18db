#include "cluster/level_reads.h"

#include "base/assert.h"
#include "base/memory.h"
#include "cluster/cluster_mutation.h"

#include <stdlib.h>

#define NS_PER_MS INT64_C(1000000)

enum { CROWDS = 64 }; /* of requesters, by their ids: who is alone in one is kept waiting by nobody else */

/* One that waits, or was asked of the leader. */
struct level_read {
    struct requester requester; /* first: for the leader's answer */
    struct list node;           /* in level_reads.waiting: in the order in which they came */
    struct level_reads *reads;
    struct requester *who;
    uint64_t tag;
    struct cluster_bound bound;
    int64_t since_ns;
    bool asked; /* the leader */
    struct buffer command;
};

struct level_reads {
    struct lane *lane;
    struct list waiting;
    size_t bytes;            /* of their commands */
    uint32_t counts[CROWDS]; /* of them, by crowd */
    uint64_t floors[CROWDS]; /* what the leader has shown to one of a crowd that is not empty: invariant 2 */

    int64_t known_ns; /* what was acknowledged before then is applied here; 0: nothing is known */
    int64_t told_ns;  /* … is in the entries up to told_index: the newest answer */
    uint64_t told_index;

    struct requester asker; /* the question */
    bool asking;
    int64_t asked_ns; /* when it was sent */
    struct resp_writer writer;
    struct buffer answer; /* which says nothing but its index */
};

/* ---- how old the replica is ---- */

static void question_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    struct level_reads *reads = CONTAINER_OF(requester, struct level_reads, asker);
    struct cluster *cluster = reads->lane->cluster;
    (void)tag;
    (void)command;
    reads->asking = false;
    reads->told_index = cluster->told_index;
    reads->told_ns = CLUSTER_MUTATED(AGE_FROM_ARRIVAL) ? env_monotonic_ns(cluster->env) : reads->asked_ns;
}

static struct resp_writer *question_begin(struct requester *requester, uint64_t tag)
{
    struct level_reads *reads = CONTAINER_OF(requester, struct level_reads, asker);
    (void)tag;
    buffer_clear(&reads->answer);
    reads->writer = resp_writer_to(&reads->answer, RESP2);
    return &reads->writer;
}

static void question_failed(struct requester *requester, uint64_t tag, enum status status)
{
    (void)tag;
    (void)status; /* asked again when somebody needs it */
    CONTAINER_OF(requester, struct level_reads, asker)->asking = false;
}

static const struct requester_events question_events = {question_begin, question_end, question_failed, NULL, NULL};

static bool is_applied(const struct level_reads *reads)
{
    return shard_applied_index(reads->lane->local) >= reads->told_index;
}

/* The one after the other: when writes come all the time, the next answer would be out of reach before the last one is
 * applied. */
static void ask(struct level_reads *reads)
{
    struct cluster *cluster = reads->lane->cluster;
    const struct slice word = SLICE_LITERAL("COHORT.REACHED");
    const struct command command = {command_by_id(COMMAND_COHORT_REACHED), &word, 1, RESP2};
    if (!reads->asking) {
        reads->asked_ns = env_monotonic_ns(cluster->env);
        reads->asking =
            cluster_submit(cluster, reads->lane->shard, &command, CLUSTER_PLAIN, &reads->asker, 0) == STATUS_OK;
        env_wake(cluster->env);
    }
}

static struct level_reads *reads_of(struct lane *lane)
{
    if (lane->level_reads == NULL) {
        struct level_reads *reads = memory_allocate_zeroed(1, sizeof(*reads));
        reads->lane = lane;
        reads->asker.events = &question_events;
        list_init(&reads->waiting);
        lane->level_reads = reads;
    }
    return lane->level_reads;
}

/* Of an age bound, for a read that came at `since_ns`. */
static bool young(struct level_reads *reads, int64_t age_ms, int64_t since_ns)
{
    bool applied = is_applied(reads);
    reads->known_ns = applied ? reads->told_ns : reads->known_ns;
    int64_t age_ns = env_monotonic_ns(reads->lane->cluster->env) - reads->known_ns;
    int64_t most_ns = age_ms * NS_PER_MS;
    bool within = reads->known_ns != 0 && (reads->known_ns >= since_ns || age_ns <= most_ns);
    if (applied && (!within || age_ns > most_ns / 2)) {
        ask(reads);
    }
    return within;
}

static bool within(struct level_reads *reads, const struct cluster_bound *bound, int64_t since_ns)
{
    const struct shard *local = reads->lane->local;
    bool applied = shard_applied_index(local) >= bound->index || CLUSTER_MUTATED(READ_BEFORE_APPLIED);
    return applied && (bound->age_ms == CLUSTER_ANY_AGE || young(reads, bound->age_ms, since_ns));
}

/* ---- at once ---- */

static size_t crowd_of(const struct requester *requester) { return requester->id % CROWDS; }

bool cluster_read_within(struct cluster *cluster, uint32_t shard, const struct command *command,
                         const struct cluster_bound *bound, uint64_t requester_id, struct resp_writer *reply)
{
    struct lane *lane = lane_of(cluster, shard);
    enum cluster_way way;
    ASSERT(!command_may_script(command->spec));
    if (lane->local == NULL) {
        return false;
    }
    struct level_reads *reads = reads_of(lane);
    if (reads->counts[requester_id % CROWDS] != 0) {
        return false;
    }
    if (cluster_read(cluster, shard, command, reply, &way)) {
        return true; /* strong, for nothing */
    }
    return within(reads, bound, env_monotonic_ns(cluster->env)) && !shard_read_blocked(lane->local, command) &&
           cluster_read_here(cluster, shard, command, reply);
}

/* ---- waiting ---- */

static void forget(struct level_read *read)
{
    struct level_reads *reads = read->reads;
    size_t crowd = crowd_of(read->who);
    list_remove(&read->node);
    reads->bytes -= read->command.size + sizeof(*read);
    reads->floors[crowd] = --reads->counts[crowd] == 0 ? 0 : reads->floors[crowd];
    reads->lane->cluster->level_reads_waiting--;
    buffer_deinit(&read->command);
    free(read);
}

static void fail(struct level_read *read, enum status status)
{
    struct requester *who = read->who;
    uint64_t tag = read->tag;
    forget(read);
    who->events->failed(who, tag, status);
}

static struct resp_writer *leader_begin(struct requester *requester, uint64_t tag)
{
    struct level_read *read = (struct level_read *)requester;
    (void)tag;
    return read->who->events->begin(read->who, read->tag);
}

static void leader_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    struct level_read *read = (struct level_read *)requester;
    struct requester *who = read->who;
    uint64_t who_tag = read->tag;
    (void)tag;
    uint64_t index = read->reads->lane->cluster->told_index;
    uint64_t *floor = &read->reads->floors[crowd_of(who)];
    *floor = *floor < index ? index : *floor;
    forget(read);
    who->events->end(who, who_tag, command);
}

static void leader_failed(struct requester *requester, uint64_t tag, enum status status)
{
    (void)tag;
    fail((struct level_read *)requester, status);
}

static const struct requester_events leader_events = {leader_begin, leader_end, leader_failed, NULL, NULL};

static struct command command_of(const struct level_read *read)
{
    struct command command;
    struct slice rest = buffer_slice(&read->command);
    ASSERT(command_decode(&rest, &read->reads->lane->cluster->arguments, &command) == STATUS_OK);
    return command;
}

static void ask_leader(struct level_read *read)
{
    struct cluster *cluster = read->reads->lane->cluster;
    const struct command command = command_of(read);
    read->asked = true;
    enum status status =
        cluster_submit(cluster, read->reads->lane->shard, &command, CLUSTER_PLAIN, &read->requester, 0);
    if (status != STATUS_OK) {
        fail(read, status);
    }
    env_wake(cluster->env);
}

static void answer(struct level_read *read, const struct command *command)
{
    struct cluster *cluster = read->reads->lane->cluster;
    struct requester *who = read->who;
    uint64_t tag = read->tag;
    struct resp_writer *reply = who->events->begin(who, tag);
    if (reply != NULL) {
        ASSERT(shard_read_applied(read->reads->lane->local, command, reply));
    }
    cluster->told_index = shard_seen_index(read->reads->lane->local);
    forget(read);
    who->events->end(who, tag, command);
}

/* Reads it if that may be. */
static void look_at(struct level_read *read)
{
    struct cluster_bound bound = read->bound;
    uint64_t floor = read->reads->floors[crowd_of(read->who)];
    bound.index = bound.index < floor ? floor : bound.index;
    if (!within(read->reads, &bound, read->since_ns)) {
        return;
    }
    const struct command command = command_of(read);
    if (shard_read_blocked(read->reads->lane->local, &command)) {
        ask_leader(read);
    } else {
        answer(read, &command);
    }
}

static void lane_turn_reads(struct level_reads *reads)
{
    bool before[CROWDS] = {false}; /* somebody of it still waits */
    for (struct list *at = reads->waiting.next; at != &reads->waiting;) {
        struct level_read *read = CONTAINER_OF(at, struct level_read, node);
        size_t crowd = crowd_of(read->who);
        uint32_t count = reads->counts[crowd];
        at = at->next;
        if (!read->asked && !before[crowd]) {
            look_at(read);
        }
        before[crowd] = before[crowd] || reads->counts[crowd] == count;
    }
}

void level_reads_turn(struct cluster *cluster)
{
    for (uint32_t shard = 1; cluster->level_reads_waiting != 0 && shard <= cluster->shard_count; shard++) {
        struct level_reads *reads = lane_of(cluster, shard)->level_reads;
        if (reads != NULL && !list_empty(&reads->waiting)) {
            lane_turn_reads(reads);
        }
    }
}

enum status cluster_submit_within(struct cluster *cluster, uint32_t shard, const struct command *command,
                                  const struct cluster_bound *bound, struct requester *requester, uint64_t tag)
{
    struct lane *lane = lane_of(cluster, shard);
    if (lane->away) {
        return errand_submit(lane, command, CLUSTER_WITHIN, bound, requester, tag);
    }
    if (lane->local == NULL || cluster->failed) {
        return cluster_submit(cluster, shard, command, CLUSTER_PLAIN, requester, tag);
    }
    struct level_reads *reads = reads_of(lane);
    if (reads->bytes > LEVEL_WAITING_BYTES) {
        return STATUS_FULL;
    }
    struct level_read *read = memory_allocate_zeroed(1, sizeof(*read));
    *read = (struct level_read){.requester.events = &leader_events,
                                .reads = reads,
                                .who = requester,
                                .tag = tag,
                                .bound = *bound,
                                .since_ns = env_monotonic_ns(cluster->env)};
    list_init(&read->node);
    command_encode(&read->command, command);
    reads->bytes += read->command.size + sizeof(*read);
    list_append(&reads->waiting, &read->node);
    reads->counts[crowd_of(requester)]++;
    cluster->level_reads_waiting++;
    env_wake(cluster->env); /* this turn's reads are looked at behind its shards */
    return STATUS_OK;
}

/* ---- when it takes long ---- */

/* The leader has answered a question that came behind the read: there is no such index. (What was told by an index is
 * committed, and stays.) */
static bool out_of_reach(const struct level_reads *reads, const struct level_read *read)
{
    return reads->told_ns > read->since_ns && read->bound.index > reads->told_index;
}

static void look_after(struct level_reads *reads, int64_t before_ns, int64_t now_ns)
{
    LIST_FOR_EACH_SAFE (at, after, &reads->waiting) {
        struct level_read *read = CONTAINER_OF(at, struct level_read, node);
        bool late = now_ns - read->since_ns > LEVEL_PATIENCE_MS * NS_PER_MS;
        if (read->asked) {
            continue; /* its lane looks after it */
        }
        if (out_of_reach(reads, read)) {
            fail(read, STATUS_INVALID);
        } else if (read->since_ns < before_ns) {
            fail(read, STATUS_STALE);
        } else if (late && reads->told_ns > read->since_ns) {
            ask_leader(read); /* it answers, and the replica here is far behind */
        } else if (late) {
            ask(reads);
        }
    }
}

void level_reads_look_after(struct cluster *cluster, int64_t before_ns)
{
    int64_t now_ns = env_monotonic_ns(cluster->env);
    for (uint32_t shard = 1; cluster->level_reads_waiting != 0 && shard <= cluster->shard_count; shard++) {
        struct level_reads *reads = lane_of(cluster, shard)->level_reads;
        if (reads != NULL) {
            look_after(reads, before_ns, now_ns);
        }
    }
}

void level_reads_destroy(struct level_reads *reads)
{
    if (reads == NULL) {
        return;
    }
    LIST_FOR_EACH_SAFE (at, after, &reads->waiting) {
        forget(CONTAINER_OF(at, struct level_read, node));
    }
    buffer_deinit(&reads->answer);
    free(reads);
}

#include "cluster/cluster_internal.h"

#include "base/assert.h"
#include "machine/txn/prepare.h"

#include <stdlib.h>

enum { TELL_AGAIN_S = 10 };
#define NS_PER_MS INT64_C(1000000)

/* ---- what a shard here answers ---- */

static struct resp_writer *sink_begin(void *owner, void *origin, uint64_t tag)
{
    (void)owner;
    struct requester *requester = origin;
    return requester->events->begin(requester, tag);
}

static __attribute__((noinline)) void script_end(struct lane *lane, struct requester *requester, uint64_t tag,
                                                 const struct command *command)
{
    lane->cluster->took_long = shard_steps(lane->local) >= SHARD_LONG_STEPS;
    requester->events->end(requester, tag, command);
}

static void sink_end(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    struct requester *requester = origin;
    const struct lane *lane = owner;
    lane->cluster->told_index = *lane->told;
    if (__builtin_expect(command_may_script(command->spec), 0)) {
        script_end(owner, requester, tag, command);
        return;
    }
    requester->events->end(requester, tag, command);
}

static const char *shortage_text(enum status status)
{
    switch (status) {
    case STATUS_FULL: return "too many open files; raise the limit (ulimit -n)";
    case STATUS_NOSPACE: return "disk full; free some space on it";
    case STATUS_NOTFOUND: return "the folder is not there any more; stop this node, and restore the folder";
    default: return status_text(status);
    }
}

static void sink_refused(void *owner, void *origin, uint64_t tag, enum status status)
{
    struct cluster *cluster = ((struct lane *)owner)->cluster;
    struct requester *requester = origin;
    if (status == STATUS_BUSY) { /* it has waited for a transaction, and finds no room now */
        requester->events->failed(requester, tag, status);
        return;
    }
    int64_t now_ns = env_monotonic_ns(cluster->env);
    cluster->refused_ns = now_ns;
    if (cluster->told_refused_ns == 0 || now_ns - cluster->told_refused_ns >= (int64_t)TELL_AGAIN_S * 1000000000) {
        cluster->told_refused_ns = now_ns;
        env_log(cluster->env, ENV_LOG_WARNING, "writes are refused: no further file for the log in %s: %s",
                cluster->worker_directory, shortage_text(status));
    }
    /* Out of descriptors; to who asked, FULL is a queue. */
    requester->events->failed(requester, tag, status == STATUS_FULL ? STATUS_IO : status);
}

static void hold(struct lane *lane, const struct command *command, bool logged, struct requester *requester,
                 uint64_t tag);

/* It is executed once: it is logged behind a marker, and asked about when its leader is lost. The others are said
 * again: reads, and what tells an outcome. */
static bool is_marked(const struct command *command)
{
    return (command->spec->flags & COMMAND_READONLY) == 0 && !txn_ends(command->spec);
}

static void sink_returned(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    struct lane *lane = owner;
    struct requester *requester = origin;
    if (requester->events->returned != NULL) {
        requester->events->returned(requester, tag);
        return;
    }
    lane->cluster->counters.returned++;
    lane->disordered = true;
    hold(lane, command, is_marked(command), requester, tag);
}

static void sink_uncertain(void *owner, void *origin, uint64_t tag)
{
    (void)owner;
    struct requester *requester = origin;
    requester->events->failed(requester, tag, STATUS_UNCERTAIN);
}

static void sink_repeated(void *owner, void *origin, uint64_t tag)
{
    (void)owner;
    struct requester *requester = origin;
    requester->events->failed(requester, tag, STATUS_EXECUTED);
}

static void sink_send(void *owner, uint32_t group, uint64_t to, struct slice head, struct slice tail)
{
    peers_send_raft(((struct lane *)owner)->cluster, group, to, head, tail);
}

static void sink_beat(void *owner, uint32_t group, uint64_t to, struct slice message)
{
    peers_add_beat(((struct lane *)owner)->cluster, group, to, message);
}

static void sink_led(void *owner, uint32_t group, bool leading, uint64_t leader, uint64_t term)
{
    (void)group;
    struct lane *lane = owner;
    struct cluster *cluster = lane->cluster;
    uint64_t self = cluster->options.node;
    if (lane->shard == 0 && cluster->meta != NULL) {
        meta_leading(cluster->meta, leading);
    }
    if (leading) {
        lane_led_by(lane, self, term);
        if (lane->leader == self) { /* nobody has said yet that it leads in a later term */
            peers_announce(cluster, lane);
        }
    } else if (lane->leader == self) {
        lane->leader = 0;
    }
    if (lane->leader == 0 || leading) {
        cluster_set_leader(cluster, lane->shard, leader);
    }
}

static void sink_told(void *owner, struct slice messages) { messages_told(((struct lane *)owner)->cluster, messages); }

static void sink_lock_news(void *owner, struct slice notices)
{
    lock_news_told(((struct lane *)owner)->cluster, notices);
}

const struct shard_sink lane_sink = {
    .begin = sink_begin,
    .end = sink_end,
    .refused = sink_refused,
    .returned = sink_returned,
    .uncertain = sink_uncertain,
    .repeated = sink_repeated,
    .send = sink_send,
    .beat = sink_beat,
    .led = sink_led,
    .told = sink_told,
    .lock_news = sink_lock_news,
};

/* ---- life ---- */

void lane_init(struct lane *lane, struct cluster *cluster, uint32_t shard)
{
    *lane = (struct lane){.cluster = cluster, .shard = shard, .next_sequence = 1, .next_parcel = 1};
    lane->away = cluster_worker_of(cluster, shard) != cluster->worker;
    list_init(&lane->node);
    list_init(&lane->waiting);
    list_init(&lane->sent);
    list_init(&lane->doubtful);
    lane_doubt_init(lane);
}

static void destroy_parcels(struct list *parcels)
{
    while (!list_empty(parcels)) {
        parcel_destroy(CONTAINER_OF(parcels->next, struct parcel, node));
    }
}

void lane_deinit(struct lane *lane)
{
    list_remove(&lane->node);
    destroy_parcels(&lane->waiting);
    destroy_parcels(&lane->sent);
    destroy_parcels(&lane->doubtful);
    buffer_deinit(&lane->answer);
    buffer_deinit(&lane->executed);
}

void lane_mark_busy(struct lane *lane)
{
    if (list_empty(&lane->node)) {
        list_append(&lane->cluster->busy, &lane->node);
        env_wake(lane->cluster->env);
    }
}

bool lane_idle(const struct lane *lane)
{
    return list_empty(&lane->waiting) && list_empty(&lane->sent) && list_empty(&lane->doubtful) &&
           (lane->local == NULL || shard_idle(lane->local));
}

bool lane_leads(const struct lane *lane)
{
    return lane->local != NULL && lane->leader == lane->cluster->options.node && shard_leading(lane->local);
}

void lane_led_by(struct lane *lane, uint64_t node, uint64_t term)
{
    if (term < lane->term || (term == lane->term && lane->leader != 0)) {
        return;
    }
    lane->leader = node;
    lane->term = term;
    cluster_set_leader(lane->cluster, lane->shard, node);
    lane_doubt_other_terms(lane);
    env_wake(lane->cluster->env);
}

/* ---- waiting ---- */

void lane_weigh(struct lane *lane, const struct parcel *parcel)
{
    lane->pending_bytes += parcel_cost_bytes(parcel);
    lane->cluster->pending_bytes += parcel_cost_bytes(parcel);
}

void lane_unweigh(struct lane *lane, const struct parcel *parcel)
{
    ASSERT(lane->pending_bytes >= parcel_cost_bytes(parcel));
    ASSERT(lane->cluster->pending_bytes >= parcel_cost_bytes(parcel));
    lane->pending_bytes -= parcel_cost_bytes(parcel);
    lane->cluster->pending_bytes -= parcel_cost_bytes(parcel);
}

static struct parcel *parcel_for(struct lane *lane, size_t bytes)
{
    if (!list_empty(&lane->waiting)) {
        struct parcel *last = CONTAINER_OF(lane->waiting.prev, struct parcel, node);
        if (parcel_takes(last, bytes)) {
            return last;
        }
    }
    struct parcel *parcel = parcel_create();
    list_append(&lane->waiting, &parcel->node);
    return parcel;
}

static size_t command_bytes(const struct command *command)
{
    size_t bytes = 16;
    for (uint32_t i = 0; i < command->argc; i++) {
        bytes += command->argv[i].size + 5;
    }
    return bytes;
}

static void hold(struct lane *lane, const struct command *command, bool logged, struct requester *requester,
                 uint64_t tag)
{
    struct parcel *parcel = parcel_for(lane, command_bytes(command));
    lane_unweigh(lane, parcel);
    parcel_add(parcel, command, logged, requester, tag, env_monotonic_ns(lane->cluster->env));
    lane_weigh(lane, parcel);
    lane_mark_busy(lane);
}

void lane_move(struct lane *lane, struct parcel *from, uint32_t place)
{
    struct parcel *to = parcel_for(lane, parcel_request_bytes(from, place));
    lane_unweigh(lane, to);
    parcel_move(from, place, to);
    lane_weigh(lane, to);
}

void lane_forget_parcel(struct lane *lane, struct parcel *parcel)
{
    lane_unweigh(lane, parcel);
    parcel_destroy(parcel);
}

void lane_take_back(struct lane *lane, struct parcel *parcel)
{
    list_remove(&parcel->node);
    for (uint32_t place = 0; place < parcel->count && !parcel->question; place++) {
        if (!parcel->requests[place].settled) {
            lane_move(lane, parcel, place);
            lane->disordered = true;
        }
    }
    lane_forget_parcel(lane, parcel);
    lane_mark_busy(lane);
}

static void fail_old(struct lane *lane, struct parcel *parcel, int64_t before_ns, bool reads_only)
{
    for (uint32_t place = 0; place < parcel->count; place++) {
        const struct parcel_request *request = &parcel->requests[place];
        if (!request->settled && request->since_ns < before_ns && !(reads_only && parcel_logged(parcel, place))) {
            lane->cluster->counters.leaderless++;
            parcel_fail(parcel, place, STATUS_NO_LEADER);
        }
    }
}

void lane_look_after(struct lane *lane, int64_t before_ns)
{
    LIST_FOR_EACH (at, &lane->doubtful) { /* of reads alone it is sure that they did nothing */
        fail_old(lane, CONTAINER_OF(at, struct parcel, node), before_ns, true);
    }
    LIST_FOR_EACH_SAFE (at, after, &lane->waiting) {
        struct parcel *parcel = CONTAINER_OF(at, struct parcel, node);
        fail_old(lane, parcel, before_ns, false);
        lane_close_gaps(lane, parcel);
    }
}

/* ---- on their way ---- */

static enum status take_here(const struct lane *lane, const struct command *command, bool logged,
                             struct requester *requester, uint64_t tag)
{
    struct shard_request request = {.origin = requester, .tag = tag, .who = requester->id};
    return shard_take(lane->local, command, logged, &request);
}

/* In the shard here this node's own requests get what the other nodes leave of LANE_ROOM_BYTES for each: the shard
 * takes all in the order in which they come, so whoever has more waiting there gets more of it. */
static bool room_here(const struct lane *lane)
{
    const struct cluster *cluster = lane->cluster;
    return cluster_alone(cluster) ||
           shard_pending_bytes(lane->local) < cluster->options.founder_count * LANE_ROOM_BYTES;
}

/* We lead: what waited goes to the shard here. */
static void deliver_here(struct lane *lane)
{
    while (!list_empty(&lane->waiting) && room_here(lane)) {
        struct parcel *parcel = CONTAINER_OF(lane->waiting.next, struct parcel, node);
        for (uint32_t place = 0; place < parcel->count; place++) {
            struct parcel_request request = parcel->requests[place];
            if (request.settled) {
                continue;
            }
            struct command command;
            bool logged = parcel_command(parcel, place, &lane->cluster->arguments, &command);
            enum status status = take_here(lane, &command, logged, request.requester, request.tag);
            cluster_beat_beside(lane->cluster, parcel_request_bytes(parcel, place));
            if (status == STATUS_NOT_LEADER) {
                lane_close_gaps(lane, parcel);
                return;
            }
            if (status == STATUS_OK) {
                parcel_settle(parcel, place);
            } else {
                parcel_fail(parcel, place, status);
            }
        }
        lane_forget_parcel(lane, parcel);
    }
}

/* What this node took itself is decided, or will be before what comes now. A shard here that leads in an older term
 * than another's does not know yet. */
static bool settled_here(const struct lane *lane)
{
    return lane->local == NULL || (!shard_orphaned(lane->local) && (lane_leads(lane) || !shard_leading(lane->local)));
}

bool lane_released(const struct lane *lane)
{
    return lane->held_up && settled_here(lane) && (!lane_leads(lane) || room_here(lane));
}

void lane_turn(struct lane *lane)
{
    lane->held_up = false;
    if (!list_empty(&lane->doubtful)) {
        lane_ask(lane);
    } else if (!list_empty(&lane->waiting) && !settled_here(lane)) {
        lane->held_up = true;
    } else if (!list_empty(&lane->waiting)) {
        if (lane->disordered) {
            lane_put_in_order(lane);
        }
        if (lane_leads(lane)) {
            if (list_empty(&lane->sent)) {
                deliver_here(lane);
                lane->held_up = !list_empty(&lane->waiting);
            }
        } else {
            lane_send(lane);
        }
    }
    if (list_empty(&lane->waiting) && list_empty(&lane->sent) && list_empty(&lane->doubtful)) {
        list_remove(&lane->node);
        buffer_deinit(&lane->executed);
    }
}

/* ---- requests ---- */

/* Nothing stands before a new request. */
static bool straight(const struct lane *lane) { return list_empty(&lane->node) && lane_leads(lane); }

/* Much waits at this node, and the oldest of this lane has waited for long though somebody leads: a new request would,
 * too. */
static bool late(const struct lane *lane)
{
    if (lane->cluster->pending_bytes < CLUSTER_LATE_BYTES || lane->pending_bytes == 0 || lane->leader == 0 ||
        !list_empty(&lane->doubtful)) {
        return false;
    }
    const struct list *oldest = list_empty(&lane->sent) ? &lane->waiting : &lane->sent;
    const struct parcel *parcel = CONTAINER_OF(oldest->next, struct parcel, node);
    return env_monotonic_ns(lane->cluster->env) - parcel->requests[0].since_ns > SHARD_LATE_MS * NS_PER_MS;
}

enum status cluster_submit(struct cluster *cluster, uint32_t shard, const struct command *command, enum cluster_way way,
                           struct requester *requester, uint64_t tag)
{
    struct lane *lane = lane_of(cluster, shard);
    if (cluster->failed) {
        return STATUS_CLOSED;
    }
    size_t bytes = 0;
    if (!cluster_alone(cluster)) {
        bytes = command_bytes(command) + sizeof(struct parcel_request);
        if (bytes > CLUSTER_COMMAND_BYTES) {
            return STATUS_TOO_LARGE;
        }
    }
    bool logged = way == CLUSTER_LOGGED || is_marked(command);
    if (straight(lane) && room_here(lane)) {
        if (shard_late(lane->local)) {
            return STATUS_FULL;
        }
        enum status status = take_here(lane, command, logged, requester, tag);
        cluster_beat_beside(cluster, bytes);
        if (status != STATUS_NOT_LEADER) {
            return status;
        }
    }
    if (lane->away) {
        return errand_submit(lane, command, way, NULL, requester, tag);
    }
    if (lane->pending_bytes + bytes > LANE_PENDING_BYTES ||
        cluster->pending_bytes + bytes > NODE_PENDING_BYTES / cluster->worker_count || late(lane)) {
        return STATUS_FULL;
    }
    hold(lane, command, logged, requester, tag);
    cluster_beat_beside(cluster, bytes);
    return STATUS_OK;
}

/* Not a long script while others have used up the turn. */
static bool may_run(const struct lane *lane, const struct command *command)
{
    return !command_may_script(command->spec) || shard_may_run(lane->local);
}

bool cluster_read(struct cluster *cluster, uint32_t shard, const struct command *command, struct resp_writer *reply,
                  enum cluster_way *ret_way)
{
    struct lane *lane = lane_of(cluster, shard);
    if (!straight(lane) || !shard_may_read(lane->local) || !may_run(lane, command)) {
        *ret_way = lane->away ? CLUSTER_READ : CLUSTER_PLAIN;
        return false;
    }
    *ret_way = CLUSTER_LOGGED; /* it meets a key about to expire */
    cluster->told_index = shard_seen_index(lane->local);
    return shard_read(lane->local, command, reply);
}

bool cluster_read_here(struct cluster *cluster, uint32_t shard, const struct command *command,
                       struct resp_writer *reply)
{
    struct lane *lane = lane_of(cluster, shard);
    if (lane->local == NULL || !may_run(lane, command) || !shard_read_applied(lane->local, command, reply)) {
        return false;
    }
    cluster->told_index = shard_seen_index(lane->local);
    return true;
}

uint64_t cluster_applied_here(const struct cluster *cluster, uint32_t shard)
{
    const struct lane *lane = lane_of(cluster, shard);
    return lane->local == NULL ? 0 : shard_applied_index(lane->local);
}

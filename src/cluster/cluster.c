#include "cluster/cluster.h"

#include "base/assert.h"
#include "base/memory.h"
#include "cluster/cluster_internal.h"
#include "cluster/level_reads.h"
#include "cluster/transport.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cluster_fail(struct cluster *cluster, enum status status, const char *what)
{
    if (!cluster->failed) {
        cluster->failed = true;
        cluster->events.failed(cluster->owner, status, what);
    }
}

static void store_failed(void *owner, enum status status, const char *what)
{
    char text[CLUSTER_MESSAGE_BYTES];
    (void)snprintf(text, sizeof(text), "the log failed: %.700s: %s", what, status_text(status));
    cluster_fail(owner, status, text);
}

/* Workers are told before any frame leaves: who hears of it may go on with another worker of this node. */
static void turn_outward(struct cluster *cluster)
{
    workers_post(cluster->workers);
    if (!cluster_alone(cluster)) {
        peers_turn(cluster);
    }
}

static void before_sync(void *owner)
{
    struct cluster *cluster = owner;
    turn_outward(cluster);
    workers_post(cluster->workers); /* what peers had for them */
}

static void beat(void *owner) { peers_beat(owner); }

static void before_apply(void *owner, bool entries)
{
    struct cluster *cluster = owner;
    if (entries) {
        before_sync(owner);
    }
    if (cluster->events.works != NULL) {
        cluster->events.works(cluster->owner);
    }
}

static const struct store_events store_events = {store_failed, before_sync, beat, before_apply};

/* ---- beginning and end ---- */

static enum status open_all(struct cluster *cluster, char ret_message[static CLUSTER_MESSAGE_BYTES])
{
    const struct cluster_options *options = &cluster->options;
    struct store_options store = {
        .directory = cluster->worker_directory,
        .log_segment_bytes = options->log_segment_bytes,
        .folder = {options->incarnation, cluster->worker},
        .scripts = options->scripts,
        .turn_steps = options->turn_steps,
    };
    enum status status =
        store_open(cluster->env, &store, &store_events, cluster, &cluster->store, ret_message, CLUSTER_MESSAGE_BYTES);
    if (cluster->worker != 0) {
        cluster->members = members_create(); /* until the first worker says more */
        peers_name(cluster, options->founders, options->founder_count);
        return status;
    }
    if (status == STATUS_OK) {
        status = cluster_open_founding(cluster, ret_message);
    }
    if (status == STATUS_OK && cluster->begun && founding_state(cluster->founding) == FOUNDING_FOUNDED) {
        status = cluster_open_groups(cluster, ret_message);
    }
    return status;
}

void cluster_begin(struct cluster *cluster)
{
    ASSERT(cluster->worker == 0);
    cluster->begun = true;
    env_wake(cluster->env);
}

static enum status submit_of_finisher(void *owner, uint32_t shard, const struct command *command,
                                      struct requester *requester, uint64_t tag)
{
    struct cluster *cluster = owner;
    return shard <= cluster->shard_count ? cluster_submit(cluster, shard, command, CLUSTER_PLAIN, requester, tag)
                                         : STATUS_INVALID;
}

static bool runner_lost(void *owner, const struct txn_runner *runner) { return peers_lost(owner, runner); }

enum status cluster_create(struct env *env, const struct cluster_options *options, const struct cluster_events *events,
                           void *owner, struct cluster **ret_cluster, char ret_message[static CLUSTER_MESSAGE_BYTES])
{
    static const struct finisher_events finisher_events = {submit_of_finisher, runner_lost};
    struct cluster *cluster = memory_allocate_zeroed(1, sizeof(*cluster));
    cluster->env = env;
    cluster->finisher = finisher_create(env, &finisher_events, cluster);
    cluster->options = *options;
    cluster->events = *events;
    cluster->owner = owner;
    cluster->directory = memory_copy_text(options->directory);
    cluster->worker_directory = memory_copy_text(options->worker_directory);
    cluster->shard_count = options->shards;
    cluster->lanes = memory_allocate_zeroed(options->shards + 1, sizeof(*cluster->lanes));
    cluster->workers = options->workers;
    cluster->worker = options->workers == NULL ? 0 : workers_self(options->workers);
    cluster->worker_count = options->workers == NULL ? 1 : workers_count(options->workers);
    cluster->colleagues = memory_allocate_zeroed(cluster->worker_count, sizeof(*cluster->colleagues));
    cluster->begun = options->workers == NULL;
    list_init(&cluster->busy);
    list_init(&cluster->remotes);
    list_init(&cluster->visitors);
    command_arguments_init(&cluster->arguments);
    for (uint32_t shard = 0; shard <= options->shards; shard++) {
        lane_init(lane_of(cluster, shard), cluster, shard);
    }
    lock_news_init(cluster);
    lock_settle_init(cluster);
    if (cluster->workers != NULL) {
        cluster_listen_to_workers(cluster);
    }
    enum status status = open_all(cluster, ret_message);
    if (status != STATUS_OK) {
        cluster_destroy(cluster);
        return status;
    }
    *ret_cluster = cluster;
    return STATUS_OK;
}

void cluster_destroy(struct cluster *cluster)
{
    if (cluster == NULL) {
        return;
    }
    if (cluster->workers != NULL) {
        workers_listen(cluster->workers, WORKERS_CLUSTER, NULL, NULL);
    }
    peers_close(cluster);
    meta_destroy(cluster->meta);
    leader_balance_destroy(cluster->balance);
    for (uint32_t shard = 0; shard <= cluster->shard_count; shard++) {
        shard_close(cluster->lanes[shard].local);
        lane_deinit(&cluster->lanes[shard]);
    }
    store_close(cluster->store);
    finisher_destroy(cluster->finisher);
    for (uint32_t shard = 0; shard <= cluster->shard_count; shard++) {
        session_ends_free(&cluster->lanes[shard]);
        level_reads_destroy(cluster->lanes[shard].level_reads);
    }
    lock_settle_destroy(cluster);
    remotes_destroy(cluster);
    errands_destroy(cluster);
    founding_destroy(cluster->founding);
    members_destroy(cluster->members);
    command_arguments_deinit(&cluster->arguments);
    buffer_deinit(&cluster->scratch);
    free(cluster->lanes);
    free(cluster->colleagues);
    free(cluster->directory);
    free(cluster->worker_directory);
    free(cluster);
}

/* ---- the turn ---- */

/* Transactions go on whose shards are led here, and sessions end. */
static void finish_transactions(struct cluster *cluster)
{
    finisher_begin_turn(cluster->finisher);
    for (uint32_t shard = 1; shard <= cluster->shard_count; shard++) {
        const struct lane *lane = lane_of(cluster, shard);
        struct finisher_shard look = {.number = shard};
        session_ends_turn(cluster, shard);
        look.txns = lane_leads(lane) ? shard_txns(lane->local, &look.time_ms) : NULL;
        if (look.txns != NULL) {
            look.gathering = shard_gathering(lane->local);
            finisher_look(cluster->finisher, &look);
        }
    }
    finisher_end_turn(cluster->finisher);
}

bool cluster_turn(struct cluster *cluster)
{
    if (!cluster->failed) {
        finish_transactions(cluster);
    }
    if (cluster->worker == 0 && !(cluster_alone(cluster) && cluster->opened)) {
        cluster_found(cluster);
    }
    LIST_FOR_EACH_SAFE (at, after, &cluster->busy) {
        lane_turn(CONTAINER_OF(at, struct lane, node));
    }
    bool more = store_turn(cluster->store);
    if (cluster->level_reads_waiting != 0) {
        level_reads_turn(cluster);
    }
    if (cluster->workers != NULL) {
        errands_turn(cluster);
    }
    if (cluster_alone(cluster)) {
        return more;
    }
    if (cluster->meta != NULL && !cluster->failed) {
        cluster_turn_meta(cluster);
    }
    remotes_turn(cluster);
    turn_outward(cluster);
    LIST_FOR_EACH (at, &cluster->busy) {
        more = more || lane_released(CONTAINER_OF(at, struct lane, node));
    }
    return more && !cluster->failed;
}

void cluster_look_after(struct cluster *cluster, int64_t before_ns)
{
    cluster_balance_leaders(cluster);
    if (cluster->opened && !cluster_alone(cluster)) {
        leaderless_look(cluster);
    }
    if (cluster->opened && !cluster->failed) {
        lock_news_look_after(cluster);
    }
    LIST_FOR_EACH_SAFE (at, after, &cluster->busy) {
        lane_look_after(CONTAINER_OF(at, struct lane, node), before_ns);
    }
    if (cluster->level_reads_waiting != 0) {
        level_reads_look_after(cluster, before_ns);
    }
}

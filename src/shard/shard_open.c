/* Start: newest snapshot, then the log after it. */
#include "shard/shard_state.h"

#include "base/assert.h"
#include "base/varint.h"

#include <stdio.h>

enum { PATH_BYTES = 4096 };

static enum status load_header(void *owner, const struct snapshot_meta *meta)
{
    struct shard *shard = owner;
    shard->hash_seed = meta->hash_seed;
    shard->machine = machine_create(&(struct machine_options){meta->hash_seed, shard->store->scripts});
    return STATUS_OK;
}

static enum status load_record(void *owner, struct slice record)
{
    struct shard *shard = owner;
    shard->stats.snapshot_bytes += record.size; /* the next one waits for as much of log */
    return machine_load_record(shard->machine, record);
}

static enum status load_snapshot(struct shard *shard, char *ret_message, size_t message_capacity)
{
    char path[PATH_BYTES];
    uint64_t index = 0;
    enum status status =
        snapshot_find(shard->env, shard->options.directory, shard->options.group, path, sizeof(path), &index);
    if (status == STATUS_NOTFOUND) {
        return STATUS_OK;
    }
    if (status != STATUS_OK) {
        (void)snprintf(ret_message, message_capacity, "cannot look for snapshots in %s: %s", shard->options.directory,
                       status_text(status));
        return status;
    }
    struct snapshot_meta meta;
    struct buffer extra;
    buffer_init(&extra);
    status = snapshot_load(shard->env, path, &shard->store->folder, load_header, load_record, shard, &meta, &extra,
                           ret_message, message_capacity);
    if (status == STATUS_OK) {
        status = raft_configuration_decode(buffer_slice(&extra), &shard->configuration);
        if (status != STATUS_OK) {
            (void)snprintf(ret_message, message_capacity, "%s: the group's members: %s", path, status_text(status));
        }
    }
    buffer_deinit(&extra);
    if (status != STATUS_OK) {
        return status;
    }
    shard->applied_index = meta.index;
    shard->last_index = meta.index;
    shard->snapshot_index = meta.index;
    shard->snapshot_term = meta.term;
    shard->stats.snapshot_index = meta.index;
    shard->time_ms = meta.time_ms;
    shard->time_term = meta.term;
    shard->wall_ms = meta.wall_ms;
    return STATUS_OK;
}

/* A lone voter leads at once: its log is all there is. Everything in it is applied before service begins. */
static enum status lead_alone(struct shard *shard)
{
    while (!shard->store->failed) {
        store_begin_work(shard->store);
        shard_tick(shard);
        shard_apply(shard);
        log_flush(shard->log, LOG_SYNC_WHOLE);
        shard_apply(shard);
        if (shard->leading) {
            return STATUS_OK;
        }
    }
    return shard->store->failed_status;
}

/* What a crash left of a snapshot in the making, and older ones: else they would take space until the next is done. */
static void remove_leftovers(struct shard *shard)
{
    install_remove_leftovers(shard);
    enum status status =
        snapshot_remove_older(shard->env, shard->options.directory, shard->options.group, shard->snapshot_index);
    if (status != STATUS_OK) {
        env_log(shard->env, ENV_LOG_WARNING, "cannot remove what is left of older snapshots in %s: %s",
                shard->options.directory, status_text(status));
    }
}

static enum status check_begin(struct shard *shard, char *ret_message, size_t message_capacity)
{
    uint64_t trimmed = 0;
    uint64_t trimmed_term = 0;
    uint64_t last_term = 0;
    log_bounds(shard->log, shard->options.group, &trimmed, &trimmed_term, &shard->last_index, &last_term);
    if (trimmed > shard->applied_index) {
        (void)snprintf(ret_message, message_capacity,
                       "%s: the log begins after entry %llu but the newest snapshot ends at %llu; a snapshot file is "
                       "missing",
                       shard->options.directory, (unsigned long long)trimmed, (unsigned long long)shard->applied_index);
        return STATUS_CORRUPT;
    }
    return STATUS_OK;
}

enum status shard_recover(struct shard *shard, char *ret_message, size_t message_capacity)
{
    int64_t began_ns = env_monotonic_ns(shard->env);
    enum status status = STATUS_OK;
    if (shard->options.voter_count != 0) {
        status =
            raft_configuration_make(shard->options.voters, shard->options.voter_count, NULL, 0, &shard->configuration);
    }
    ASSERT(status == STATUS_OK);
    status = load_snapshot(shard, ret_message, message_capacity);
    if (status == STATUS_OK) {
        status = check_begin(shard, ret_message, message_capacity);
    }
    if (status != STATUS_OK) {
        return status;
    }
    shard_time_start(shard, shard->time_ms, shard->wall_ms);
    status = shard_raft_open(shard);
    if (status != STATUS_OK) {
        (void)snprintf(ret_message, message_capacity, "the log in %s: %s", shard->options.directory,
                       status_text(status));
        return status;
    }
    shard->lone = shard_is_lone(shard);
    if (shard->lone) {
        status = lead_alone(shard);
    }
    if (status == STATUS_OK) {
        remove_leftovers(shard);
    }
    shard->stats.open_ms = (env_monotonic_ns(shard->env) - began_ns) / 1000000;
    return status;
}

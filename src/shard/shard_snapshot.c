/* Snapshots beside service: a step of records per turn, written and synced in the background, then the log is trimmed.
 *
 *   idle ──begin──▶ giving blocks ──last block──▶ draining ──finished──▶ idle (log trimmed, older snapshots removed)
 *                        └────────────────any failure────────────────▶ idle (again after SNAPSHOT_RETRY_MS)
 *
 * A snapshot that fails costs nothing but the log's growth: it is reported and tried again. */
#include "shard/shard_state.h"

#include "base/assert.h"

enum { SNAPSHOT_RETRY_MS = 10000, NS_PER_MS = 1000000 };

static void snapshot_ready(void *owner)
{
    struct shard *shard = owner;
    shard->snapshot_ready = true;
    env_wake(shard->env);
}

void shard_snapshot_announce(struct shard *shard)
{
    struct raft_snapshot_ident ident = {shard->snapshot_index, shard->snapshot_term, 1, shard->snapshot_size_bytes + 1};
    raft_snapshot_available(shard->raft, &ident);
    raft_compact(shard->raft, shard->snapshot_index);
}

static void note_outcome(struct shard *shard, enum status status)
{
    int64_t now_ns = env_monotonic_ns(shard->env);
    shard->stats.snapshot_status = status;
    shard->stats.snapshot_duration_ms = (now_ns - shard->snapshot_began_ns) / NS_PER_MS;
    if (status != STATUS_OK) {
        shard->logged_since_snapshot_bytes += shard->logged_before_snapshot_bytes;
        shard->snapshot_retry_ns = now_ns + (int64_t)SNAPSHOT_RETRY_MS * NS_PER_MS;
        return;
    }
    shard->stats.snapshots++;
    shard->stats.snapshot_index = shard->snapshot_index;
    shard->stats.snapshot_bytes = shard->snapshot_size_bytes;
    shard->stats.snapshot_wall_ms = env_wall_ms(shard->env);
}

static void snapshot_finished(void *owner, enum status status, const char *what)
{
    struct shard *shard = owner;
    bool giving = !shard->snapshot_given;
    shard->snapshot_draining = false;
    shard->snapshot_ready = false;
    snapshot_writer_destroy(shard->snapshot);
    shard->snapshot = NULL;
    if (giving) {
        machine_snapshot_end(shard->machine);
    }
    note_outcome(shard, status);
    if (status != STATUS_OK) {
        env_log(shard->env, ENV_LOG_WARNING,
                "snapshot failed (%s: %s); the log keeps growing until one succeeds, trying "
                "again in %d s",
                what, status_text(status), SNAPSHOT_RETRY_MS / 1000);
        return;
    }
    env_log(shard->env, ENV_LOG_INFO, "snapshot at entry %llu: %llu bytes in %lld ms",
            (unsigned long long)shard->snapshot_index, (unsigned long long)shard->snapshot_size_bytes,
            (long long)shard->stats.snapshot_duration_ms);
    if (shard->failed) {
        return;
    }
    shard_snapshot_announce(shard);
    enum status removed =
        snapshot_remove_older(shard->env, shard->options.directory, SHARD_GROUP, shard->snapshot_index);
    if (removed != STATUS_OK) {
        env_log(shard->env, ENV_LOG_WARNING, "cannot remove older snapshots in %s: %s", shard->options.directory,
                status_text(removed));
    }
}

static const struct snapshot_writer_events writer_events = {snapshot_ready, snapshot_finished};

enum status shard_snapshot(struct shard *shard)
{
    if (shard->failed) {
        return STATUS_CLOSED;
    }
    if (shard->snapshot != NULL) {
        return STATUS_BUSY;
    }
    uint64_t term = 0;
    ASSERT(raft_term_at(shard->raft, shard->applied_index, &term) == STATUS_OK);
    struct buffer extra;
    buffer_init(&extra);
    raft_configuration_encode(&shard->configuration, &extra);
    struct snapshot_meta meta = {
        .group = SHARD_GROUP,
        .index = shard->applied_index,
        .term = term,
        .time_ms = shard->applied_time_ms,
        .wall_ms = shard->applied_wall_ms,
        .hash_seed = shard->hash_seed,
        .extra = buffer_slice(&extra),
    };
    shard->snapshot_began_ns = env_monotonic_ns(shard->env);
    shard->snapshot_size_bytes = 0;
    shard->logged_before_snapshot_bytes = shard->logged_since_snapshot_bytes;
    shard->logged_since_snapshot_bytes = 0;
    enum status status =
        snapshot_writer_create(shard->env, shard->options.directory, &meta, &writer_events, shard, &shard->snapshot);
    buffer_deinit(&extra);
    if (status != STATUS_OK) {
        shard->snapshot = NULL;
        note_outcome(shard, status);
        env_log(shard->env, ENV_LOG_WARNING, "cannot begin a snapshot in %s: %s", shard->options.directory,
                status_text(status));
        return status;
    }
    shard->snapshot_index = meta.index;
    shard->snapshot_term = meta.term;
    shard->snapshot_ready = true;
    shard->snapshot_given = false;
    shard->snapshot_draining = false;
    machine_snapshot_begin(shard->machine);
    env_wake(shard->env);
    return STATUS_OK;
}

static bool snapshot_due(const struct shard *shard)
{
    uint64_t wanted = shard->options.snapshot_log_bytes;
    wanted = shard->stats.snapshot_bytes > wanted ? shard->stats.snapshot_bytes : wanted;
    if (shard->snapshot != NULL || shard->logged_since_snapshot_bytes < wanted ||
        shard->applied_index == shard->stats.snapshot_index) {
        return false;
    }
    return shard->stats.snapshot_status == STATUS_OK || env_monotonic_ns(shard->env) >= shard->snapshot_retry_ns;
}

void snapshot_begin_if_due(struct shard *shard)
{
    if (snapshot_due(shard) && shard_snapshot(shard) != STATUS_OK) {
        return; /* noted and said; tried again later */
    }
}

bool snapshot_go_on(struct shard *shard)
{
    if (shard->snapshot == NULL || !shard->snapshot_ready || shard->snapshot_draining) {
        return false;
    }
    if (shard->snapshot_given) {
        shard->snapshot_draining = true;
        snapshot_writer_finish(shard->snapshot);
        return false;
    }
    struct buffer *block = &shard->snapshot_block;
    buffer_clear(block);
    bool more = machine_snapshot_step(shard->machine, block, SHARD_SNAPSHOT_STEP_BYTES);
    shard->snapshot_size_bytes += block->size;
    if (block->size != 0) {
        shard->snapshot_ready = false;
        snapshot_writer_put(shard->snapshot, block);
    }
    if (!more) {
        machine_snapshot_end(shard->machine);
        shard->snapshot_given = true;
    }
    return shard->snapshot_ready;
}

void snapshot_abandon(struct shard *shard)
{
    if (shard->snapshot == NULL) {
        return;
    }
    if (!shard->snapshot_given) {
        machine_snapshot_end(shard->machine);
    }
    snapshot_writer_destroy(shard->snapshot);
    shard->snapshot = NULL;
}

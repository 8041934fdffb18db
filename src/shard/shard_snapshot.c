/* Snapshots beside service: a step of records per turn, written and synced in the background, then the log is trimmed.
 *
 *   idle ──begin──▶ giving blocks ──last block──▶ draining ──finished──▶ log trimmed, removing older ones ──▶ idle
 *                        └────────────────any failure────────────────▶ idle (again after SNAPSHOT_RETRY_MS)
 *
 * A snapshot that fails costs nothing but the log's growth: it is reported and tried again. */
#include "shard/shard_state.h"

#include "base/assert.h"
#include "base/memory.h"
#include "log/snapshot_format.h"

#include <stdlib.h>

enum { SNAPSHOT_RETRY_MS = 10000, NS_PER_MS = 1000000 };

/* ---- older snapshots ---- */

/* Unlinking a large file takes long, so it is not done on the loop. */
struct removal {
    struct env_work work;
    struct env *env;
    struct shard *shard; /* NULL when it has gone meanwhile */
    char *directory;
    uint32_t group;
    uint64_t index;
    enum status status;
};

static void removal_run(struct env_work *work)
{
    struct removal *removal = CONTAINER_OF(work, struct removal, work);
    removal->status = snapshot_remove_older(removal->env, removal->directory, removal->group, removal->index);
}

static void removal_done(struct env_work *work)
{
    struct removal *removal = CONTAINER_OF(work, struct removal, work);
    if (removal->shard != NULL) {
        removal->shard->removal = NULL;
        if (removal->status != STATUS_OK) {
            env_log(removal->env, ENV_LOG_WARNING, "cannot remove older snapshots in %s: %s", removal->directory,
                    status_text(removal->status));
        }
    }
    free(removal->directory);
    free(removal);
}

static void remove_older(struct shard *shard, uint64_t index)
{
    struct removal *removal = memory_allocate(sizeof(*removal));
    *removal = (struct removal){
        .work = {.run = removal_run, .done = removal_done},
        .env = shard->env,
        .shard = shard,
        .directory = memory_copy_text(shard->options.directory),
        .group = shard->options.group,
        .index = index,
    };
    ASSERT(shard->removal == NULL);
    shard->removal = removal;
    env_work_submit(shard->env, &removal->work);
}

/* ---- making one ---- */

static void snapshot_ready(void *owner)
{
    struct shard *shard = owner;
    shard->snapshot_ready = true;
    env_wake(shard->env);
}

void shard_snapshot_announce(struct shard *shard)
{
    char path[SNAPSHOT_PATH_BYTES];
    snapshot_format_path(shard->options.directory, shard->options.group, shard->snapshot_index, "", path);
    struct env_file *file = NULL;
    struct raft_snapshot_ident ident = {.index = shard->snapshot_index, .term = shard->snapshot_term};
    enum status status = env_open(shard->env, path, ENV_OPEN_READ, &file);
    if (status == STATUS_OK) {
        status = env_size(shard->env, file, &ident.size_bytes);
        env_close(shard->env, file);
    }
    if (status != STATUS_OK) {
        env_log(shard->env, ENV_LOG_WARNING, "%s: %s; the log keeps what it would replace", path, status_text(status));
        return;
    }
    env_random(shard->env, &ident.id, sizeof(ident.id));
    uint64_t before = shard->offered.index;
    shard->offered = ident;
    raft_snapshot_available(shard->raft, &ident);
    /* A member that is only slow, or is being sent the snapshot before, goes on from the log: else it would be sent one
     * snapshot after the other. But not more of the log is kept than from that one on. */
    uint64_t wish = raft_compact_wish(shard->raft);
    raft_compact(shard->raft, wish > before ? wish : before);
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
    struct snapshot_writer *writer = shard->snapshot;
    shard->snapshot = NULL;
    shard->snapshot_draining = false;
    shard->snapshot_ready = false;
    if (!shard->snapshot_given) {
        machine_snapshot_end(shard->machine);
    }
    note_outcome(shard, status);
    if (status != STATUS_OK) {
        env_log(shard->env, ENV_LOG_WARNING,
                "snapshot failed (%s: %s); the log keeps growing until one succeeds, trying "
                "again in %d s",
                what, status_text(status), SNAPSHOT_RETRY_MS / 1000);
    }
    snapshot_writer_destroy(writer); /* and `what` with it */
    if (status != STATUS_OK) {
        return;
    }
    env_log(shard->env, ENV_LOG_INFO, "snapshot at entry %llu: %llu bytes in %lld ms",
            (unsigned long long)shard->snapshot_index, (unsigned long long)shard->snapshot_size_bytes,
            (long long)shard->stats.snapshot_duration_ms);
    if (shard->store->failed) {
        return;
    }
    /* The one before stays while another member is sent it: else quick snapshots would let none of them arrive. */
    struct raft_snapshot_ident before = shard->offered;
    shard_snapshot_announce(shard);
    remove_older(shard, raft_snapshot_in_use(shard->raft, &before) ? before.index : shard->snapshot_index);
}

static const struct snapshot_writer_events writer_events = {snapshot_ready, snapshot_finished};

enum status shard_snapshot(struct shard *shard)
{
    if (shard->store->failed) {
        return STATUS_CLOSED;
    }
    if (shard->snapshot != NULL || shard->removal != NULL) { /* the removal would take the new one's temporary file */
        return STATUS_BUSY;
    }
    if (shard->applying) {
        shard->snapshot_asked = true;
        return STATUS_OK;
    }
    uint64_t term = 0;
    ASSERT(raft_term_at(shard->raft, shard->applied_index, &term) == STATUS_OK);
    struct buffer extra;
    buffer_init(&extra);
    raft_configuration_encode(&shard->configuration, &extra);
    struct snapshot_meta meta = {
        .group = shard->options.group,
        .index = shard->applied_index,
        .term = term,
        .time_ms = shard->applied_time_ms,
        .wall_ms = shard->applied_wall_ms,
        .hash_seed = shard->hash_seed,
        .folder = shard->store->folder,
        .extra = buffer_slice(&extra),
    };
    if (SHARD_MUTATED(shard, SNAPSHOT_WITH_GAP) && raft_term_at(shard->raft, meta.index + 1, &term) == STATUS_OK) {
        meta.index++;
        meta.term = term;
    }
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
    if (shard->snapshot != NULL || shard->removal != NULL || shard->logged_since_snapshot_bytes < wanted ||
        shard->applied_index == shard->stats.snapshot_index) {
        return false;
    }
    return shard->stats.snapshot_status == STATUS_OK || env_monotonic_ns(shard->env) >= shard->snapshot_retry_ns;
}

void snapshot_begin_if_due(struct shard *shard)
{
    bool asked = shard->snapshot_asked;
    shard->snapshot_asked = false;
    if ((asked || snapshot_due(shard)) && shard_snapshot(shard) != STATUS_OK) {
        return; /* noted and said; tried again later */
    }
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

void snapshot_leave(struct shard *shard)
{
    snapshot_abandon(shard);
    if (shard->removal != NULL) {
        shard->removal->shard = NULL;
        shard->removal = NULL;
    }
}

bool snapshot_go_on(struct shard *shard)
{
    if (shard->snapshot == NULL || shard->snapshot_draining) {
        return false;
    }
    if (!shard->snapshot_given && machine_snapshot_pending_bytes(shard->machine) > SHARD_SNAPSHOT_BEHIND_BYTES) {
        snapshot_abandon(shard);
        note_outcome(shard, STATUS_FULL);
        env_log(shard->env, ENV_LOG_WARNING, "snapshot given up: writes overtake it faster than the disk takes it");
        return false;
    }
    if (!shard->snapshot_ready) {
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

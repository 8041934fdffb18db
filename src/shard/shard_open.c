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
    shard->machine = machine_create(&(struct machine_options){meta->hash_seed});
    return STATUS_OK;
}

static enum status load_record(void *owner, struct slice record)
{
    struct shard *shard = owner;
    return machine_load_record(shard->machine, record);
}

static enum status load_snapshot(struct shard *shard, char *ret_message, size_t message_capacity)
{
    char path[PATH_BYTES];
    uint64_t index = 0;
    enum status status = snapshot_find(shard->env, shard->options.directory, SHARD_GROUP, path, sizeof(path), &index);
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
    status =
        snapshot_load(shard->env, path, load_header, load_record, shard, &meta, &extra, ret_message, message_capacity);
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
    shard->wall_ms = meta.wall_ms;
    return STATUS_OK;
}

/* The group's first entry says how its machine hashes. */
static enum status read_genesis(struct shard *shard, char *ret_message, size_t message_capacity)
{
    struct buffer bytes;
    buffer_init(&bytes);
    struct log_entry entry;
    struct entry_header header;
    enum status status = log_read(shard->log, SHARD_GROUP, 1, &bytes, &entry);
    struct slice body = entry.payload;
    if (status == STATUS_OK) {
        status = entry.kind == ENTRY_GENESIS ? entry_header_take(&body, &header) : STATUS_CORRUPT;
    }
    if (status == STATUS_OK && body.size != sizeof(uint64_t)) {
        status = STATUS_CORRUPT;
    }
    if (status == STATUS_OK) {
        shard->hash_seed = get_u64(body.data);
        shard->machine = machine_create(&(struct machine_options){shard->hash_seed});
    } else {
        (void)snprintf(ret_message, message_capacity, "the first log entry in %s: %s", shard->options.directory,
                       status_text(status));
    }
    buffer_deinit(&bytes);
    return status;
}

static void write_genesis(struct shard *shard)
{
    env_random(shard->env, &shard->hash_seed, sizeof(shard->hash_seed));
    shard->machine = machine_create(&(struct machine_options){shard->hash_seed});
    struct entry_header header = {.time_ms = 1, .wall_ms = env_wall_ms(shard->env)};
    uint8_t seed[sizeof(uint64_t)];
    put_u64(seed, shard->hash_seed);
    (void)shard_log_entry(shard, ENTRY_GENESIS, &header, slice_of(seed, sizeof(seed)));
    shard->applied_index = shard->last_index;
    log_flush(shard->log, LOG_SYNC_INLINE);
}

static enum status replay_log(struct shard *shard, uint64_t last, char *ret_message, size_t message_capacity)
{
    struct buffer bytes;
    buffer_init(&bytes);
    enum status status = STATUS_OK;
    for (uint64_t index = shard->applied_index + 1; index <= last && status == STATUS_OK; index++) {
        struct log_entry entry;
        buffer_clear(&bytes);
        status = log_read(shard->log, SHARD_GROUP, index, &bytes, &entry);
        if (status == STATUS_OK) {
            shard->logged_since_snapshot_bytes += entry.payload.size;
            status = entry_replay(shard, &entry);
        }
        if (status != STATUS_OK) {
            (void)snprintf(ret_message, message_capacity,
                           "log entry %llu in %s: %s; restore the folder from a backup, or start with an empty one",
                           (unsigned long long)index, shard->options.directory, status_text(status));
        }
        while (machine_work(shard->machine)) {
        }
    }
    buffer_deinit(&bytes);
    return status;
}

enum status shard_recover(struct shard *shard, char *ret_message, size_t message_capacity)
{
    int64_t began_ns = env_monotonic_ns(shard->env);
    enum status status = load_snapshot(shard, ret_message, message_capacity);
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t trimmed = 0;
    uint64_t trimmed_term = 0;
    uint64_t last = 0;
    uint64_t last_term = 0;
    log_bounds(shard->log, SHARD_GROUP, &trimmed, &trimmed_term, &last, &last_term);
    if (trimmed > shard->applied_index) {
        (void)snprintf(ret_message, message_capacity,
                       "%s: the log begins after entry %llu but the newest snapshot ends at %llu; a snapshot file is "
                       "missing: restore the folder from a backup",
                       shard->options.directory, (unsigned long long)trimmed, (unsigned long long)shard->applied_index);
        return STATUS_CORRUPT;
    }
    if (last < shard->applied_index) {
        (void)log_append_trim(shard->log, SHARD_GROUP, shard->applied_index, shard->snapshot_term);
        last = shard->applied_index;
    }
    if (shard->machine == NULL && last == 0) {
        write_genesis(shard);
        last = shard->last_index;
    } else if (shard->machine == NULL) {
        status = read_genesis(shard, ret_message, message_capacity);
    }
    if (status == STATUS_OK) {
        status = replay_log(shard, last, ret_message, message_capacity);
    }
    if (status == STATUS_OK && shard->failed) {
        (void)snprintf(ret_message, message_capacity, "%s: cannot write the log", shard->options.directory);
        status = STATUS_IO;
    }
    if (status == STATUS_OK) {
        shard_time_start(shard, shard->time_ms, shard->wall_ms);
        shard->stats.open_ms = (env_monotonic_ns(shard->env) - began_ns) / 1000000;
    }
    return status;
}

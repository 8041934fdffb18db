/* Messages to and from other members: entries read back from the log, snapshots in chunks. */
#include "shard/shard_state.h"

#include "base/assert.h"
#include "log/snapshot_format.h"
#include "raft/raft_codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATH_BYTES = 4096, MESSAGE_BYTES = 256 };

static struct raft_entry *entries_of(struct shard *shard)
{
    if (shard->entries == NULL) {
        shard->entries = calloc(RAFT_MAXIMUM_APPEND_ENTRIES, sizeof(*shard->entries));
        ASSERT(shard->entries != NULL);
    }
    return shard->entries;
}

void shard_transfer_deinit(struct shard *shard)
{
    if (shard->incoming != NULL) {
        env_close(shard->env, shard->incoming);
        shard->incoming = NULL;
    }
    buffer_deinit(&shard->message);
    free(shard->entries);
    shard->entries = NULL;
}

/* ---- out ---- */

/* Reads the entries that an append may carry. False when the log cannot be read: the store has failed then. */
static bool fill_append(struct shard *shard, struct raft_message *message)
{
    struct raft_entry *entries = entries_of(shard);
    struct buffer *bytes = &shard->entry_bytes;
    size_t offsets[RAFT_MAXIMUM_APPEND_ENTRIES];
    uint32_t count = 0;
    buffer_clear(bytes);
    while (count < message->append.available && count < RAFT_MAXIMUM_APPEND_ENTRIES &&
           (count == 0 || bytes->size < message->append.room_bytes)) {
        struct log_entry logged;
        offsets[count] = bytes->size;
        enum status status =
            log_read(shard->log, shard->options.group, message->append.prev_index + 1 + count, bytes, &logged);
        if (status != STATUS_OK) {
            store_fail(shard->store, status, "an entry that another member needs cannot be read back");
            return false;
        }
        entries[count++] = shard_entry_of(&logged);
    }
    for (uint32_t i = 0; i < count; i++) { /* the buffer may have moved while it grew */
        entries[i].payload.data = bytes->data + offsets[i];
    }
    message->append.entries = entries;
    message->append.count = count;
    raft_append_filled(shard->raft, message);
    return true;
}

/* Puts the next piece of the newest snapshot into the message; false when it can no longer be read. */
static bool fill_snapshot(struct shard *shard, struct raft_message *message)
{
    char path[PATH_BYTES];
    uint64_t index = 0;
    struct env_file *file = NULL;
    struct buffer *bytes = &shard->entry_bytes;
    size_t wanted = (size_t)message->snapshot.room_bytes;
    size_t size = 0;
    enum status status =
        snapshot_find(shard->env, shard->options.directory, shard->options.group, path, sizeof(path), &index);
    if (status == STATUS_OK && index == message->snapshot.ident.index) {
        status = env_open(shard->env, path, ENV_OPEN_READ, &file);
    } else {
        status = STATUS_NOTFOUND;
    }
    if (status == STATUS_OK) {
        buffer_clear(bytes);
        status = env_read(shard->env, file, message->snapshot.offset, buffer_reserve(bytes, wanted), wanted, &size);
        env_close(shard->env, file);
    }
    if (status != STATUS_OK || size != wanted) {
        raft_snapshot_gone(shard->raft, &message->snapshot.ident);
        return false;
    }
    message->snapshot.data = slice_of(bytes->data, size);
    return true;
}

void shard_send_messages(struct shard *shard)
{
    struct raft_message message;
    while (!shard->store->failed && raft_take_message(shard->raft, &message)) {
        ASSERT(shard->sink.send != NULL);
        if (message.type == RAFT_APPEND && !fill_append(shard, &message)) {
            return;
        }
        if (message.type == RAFT_SNAPSHOT && !fill_snapshot(shard, &message)) {
            continue;
        }
        buffer_clear(&shard->message);
        raft_message_encode(&message, &shard->message);
        shard->sink.send(shard->owner, shard->options.group, message.to, buffer_slice(&shard->message));
    }
    buffer_shrink(&shard->message, 1 << 20);
    buffer_shrink(&shard->entry_bytes, 1 << 20);
}

/* ---- in ---- */

enum status shard_receive(struct shard *shard, struct slice bytes)
{
    if (shard->store->failed) {
        return STATUS_CLOSED;
    }
    struct raft_message message;
    enum status status = raft_message_decode(bytes, entries_of(shard), &message);
    if (status == STATUS_OK) {
        status = raft_step(shard->raft, &message);
    }
    shard_pump(shard); /* what arrived is borrowed until then */
    env_wake(shard->env);
    return status;
}

void shard_peer_lost(struct shard *shard, uint64_t member) { raft_peer_lost(shard->raft, member); }

/* ---- a snapshot that arrives ---- */

struct arrival {
    struct machine *machine;
    uint64_t hash_seed;
};

static enum status arrival_header(void *owner, const struct snapshot_meta *meta)
{
    struct arrival *arrival = owner;
    arrival->hash_seed = meta->hash_seed;
    arrival->machine = machine_create(&(struct machine_options){meta->hash_seed});
    return STATUS_OK;
}

static enum status arrival_record(void *owner, struct slice record)
{
    struct arrival *arrival = owner;
    return machine_load_record(arrival->machine, record);
}

static void incoming_path(const struct shard *shard, char ret_path[static PATH_BYTES])
{
    (void)snprintf(ret_path, PATH_BYTES, "%s/incoming-%" PRIu32 ".tmp", shard->options.directory, shard->options.group);
}

static enum status write_chunk(struct shard *shard, const struct raft_ready *ready)
{
    char path[PATH_BYTES];
    incoming_path(shard, path);
    if (ready->chunk_offset == 0) {
        shard_transfer_deinit(shard);
        enum status status = env_open(
            shard->env, path, ENV_OPEN_READ | ENV_OPEN_WRITE | ENV_OPEN_CREATE | ENV_OPEN_TRUNCATE, &shard->incoming);
        if (status != STATUS_OK) {
            return status;
        }
    }
    if (shard->incoming == NULL) {
        return STATUS_NOTFOUND;
    }
    struct iovec part = {(void *)(uintptr_t)ready->chunk_data.data, ready->chunk_data.size};
    return env_write(shard->env, shard->incoming, ready->chunk_offset, &part, 1);
}

/* The machine becomes what the snapshot says. */
static void take_over(struct shard *shard, const struct snapshot_meta *meta, struct arrival *arrival)
{
    snapshot_abandon(shard);
    machine_destroy(shard->machine);
    shard->machine = arrival->machine;
    shard->hash_seed = arrival->hash_seed;
    shard->applied_index = meta->index;
    shard->commit = shard->commit > meta->index ? shard->commit : meta->index;
    shard->snapshot_index = meta->index;
    shard->snapshot_term = meta->term;
    shard->stats.snapshot_index = meta->index;
    shard->stats.installed++;
    shard->time_ms = meta->time_ms > shard->time_ms ? meta->time_ms : shard->time_ms;
    shard->wall_ms = meta->wall_ms > shard->wall_ms ? meta->wall_ms : shard->wall_ms;
    shard->applied_time_ms = meta->time_ms;
    shard->applied_wall_ms = meta->wall_ms;
    shard->logged_since_snapshot_bytes = 0;
    shard_lose_sight(shard, meta->index);
}

/* Checks the whole file, gives it its name, and takes its state. */
static enum status install(struct shard *shard, const struct raft_ready *ready)
{
    char path[PATH_BYTES];
    char name[SNAPSHOT_PATH_BYTES];
    char message[MESSAGE_BYTES] = "";
    incoming_path(shard, path);
    enum status status = snapshot_adopt(shard->env, shard->incoming, &shard->store->incarnation);
    if (status == STATUS_OK) {
        status = env_sync(shard->env, shard->incoming);
    }
    env_close(shard->env, shard->incoming);
    shard->incoming = NULL;
    struct arrival arrival = {0};
    struct snapshot_meta meta = {0};
    struct buffer extra;
    buffer_init(&extra);
    struct raft_configuration configuration;
    if (status == STATUS_OK) {
        status = snapshot_load(shard->env, path, &shard->store->incarnation, arrival_header, arrival_record, &arrival,
                               &meta, &extra, message, sizeof(message));
    }
    if (status == STATUS_OK && (meta.index != ready->chunk_ident.index || meta.term != ready->chunk_ident.term ||
                                meta.group != shard->options.group)) {
        status = STATUS_CORRUPT;
    }
    if (status == STATUS_OK) {
        status = raft_configuration_decode(buffer_slice(&extra), &configuration);
    }
    if (status == STATUS_OK) {
        snapshot_format_path(shard->options.directory, shard->options.group, meta.index, "", name);
        status = env_rename(shard->env, path, name);
    }
    if (status == STATUS_OK) {
        status = env_sync_directory(shard->env, shard->options.directory);
    }
    buffer_deinit(&extra);
    if (status != STATUS_OK) {
        machine_destroy(arrival.machine);
        env_log(shard->env, ENV_LOG_WARNING, "a snapshot from another member cannot be used: %s %s",
                status_text(status), message);
        return status;
    }
    take_over(shard, &meta, &arrival);
    shard->configuration = configuration;
    raft_snapshot_installed(shard->raft, &configuration);
    shard_snapshot_announce(shard);
    return STATUS_OK;
}

void shard_take_chunk(struct shard *shard, const struct raft_ready *ready)
{
    enum status status = write_chunk(shard, ready);
    if (status == STATUS_OK && !ready->chunk_last) {
        raft_snapshot_chunk_written(shard->raft);
        return;
    }
    if (status == STATUS_OK) {
        status = install(shard, ready);
    }
    if (status != STATUS_OK) {
        raft_snapshot_failed(shard->raft);
    }
}

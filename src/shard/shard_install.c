/* A snapshot from another member: arrives in chunks, and becomes the state.
 *
 *   chunk ─▶ written ─▶ … ─▶ last chunk ─▶ written, synced, checked, loaded into a machine of its own, named
 *                                                  │
 *                                                  ▼
 *                                       on the loop: the machine changes; the old one's memory goes in the background
 *
 * Everything that takes as long as the state is large is background work; messages, reads and entries go on meanwhile.
 * They cannot disturb it: until raft hears how the last chunk went, it commits and appends nothing and does not stand
 * for election (raft_snapshot.c), so the state that is being replaced stays as it is. */
#include "shard/shard_state.h"

#include "base/assert.h"
#include "base/memory.h"
#include "log/snapshot_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATH_BYTES = 4096, MESSAGE_BYTES = 256 };

struct arrival {
    struct env_work work;
    struct env *env;
    struct shard *shard; /* NULL when it has gone meanwhile */
    bool running;
    char *directory;
    uint32_t group;
    struct folder_name folder;
    const struct machine_scripts *scripts;
    struct env_file *file; /* NULL: none is being received */
    /* The chunk. */
    struct raft_snapshot_ident ident;
    uint64_t offset;
    bool last;
    struct buffer chunk;
    /* What came of it; from `machine` on only with the last one. */
    enum status status;
    struct machine *machine;
    struct snapshot_meta meta; /* without extra */
    struct raft_configuration configuration;
    char message[MESSAGE_BYTES];
};

/* ---- in the background ---- */

static void incoming_path(const char *directory, uint32_t group, char ret_path[static PATH_BYTES])
{
    (void)snprintf(ret_path, PATH_BYTES, "%s/incoming-%" PRIu32 ".tmp", directory, group);
}

static void close_file(struct arrival *arrival)
{
    if (arrival->file != NULL) {
        env_close(arrival->env, arrival->file);
        arrival->file = NULL;
    }
}

static enum status write_chunk(struct arrival *arrival)
{
    if (arrival->offset == 0) {
        char path[PATH_BYTES];
        incoming_path(arrival->directory, arrival->group, path);
        close_file(arrival);
        enum status status = env_open(
            arrival->env, path, ENV_OPEN_READ | ENV_OPEN_WRITE | ENV_OPEN_CREATE | ENV_OPEN_TRUNCATE, &arrival->file);
        if (status != STATUS_OK) {
            return status;
        }
    }
    if (arrival->file == NULL) {
        return STATUS_NOTFOUND;
    }
    struct iovec part = {arrival->chunk.data, arrival->chunk.size};
    return env_write(arrival->env, arrival->file, arrival->offset, &part, 1);
}

static enum status arrival_header(void *owner, const struct snapshot_meta *meta)
{
    struct arrival *arrival = owner;
    arrival->machine = machine_create(&(struct machine_options){meta->hash_seed, arrival->scripts});
    return STATUS_OK;
}

static enum status arrival_record(void *owner, struct slice record)
{
    struct arrival *arrival = owner;
    return machine_load_record(arrival->machine, record);
}

static enum status load(struct arrival *arrival, const char *path)
{
    struct buffer extra;
    buffer_init(&extra);
    enum status status = snapshot_load(arrival->env, path, &arrival->folder, arrival_header, arrival_record, arrival,
                                       &arrival->meta, &extra, arrival->message, MESSAGE_BYTES);
    if (status == STATUS_OK) {
        status = raft_configuration_decode(buffer_slice(&extra), &arrival->configuration);
    }
    buffer_deinit(&extra);
    const struct snapshot_meta *meta = &arrival->meta;
    if (status == STATUS_OK &&
        (meta->index != arrival->ident.index || meta->term != arrival->ident.term || meta->group != arrival->group)) {
        status = STATUS_CORRUPT;
    }
    return status;
}

/* Checks and loads the whole file, and gives it its name. */
static enum status complete(struct arrival *arrival)
{
    char path[PATH_BYTES];
    char name[SNAPSHOT_PATH_BYTES];
    incoming_path(arrival->directory, arrival->group, path);
    enum status status = snapshot_adopt(arrival->env, arrival->file, &arrival->folder);
    if (status == STATUS_OK) {
        status = env_sync(arrival->env, arrival->file);
    }
    close_file(arrival);
    if (status == STATUS_OK) {
        status = load(arrival, path);
    }
    if (status == STATUS_OK) {
        snapshot_format_path(arrival->directory, arrival->group, arrival->meta.index, "", name);
        status = env_rename(arrival->env, path, name);
    }
    if (status == STATUS_OK) {
        status = env_sync_directory(arrival->env, arrival->directory);
    }
    if (status != STATUS_OK) {
        machine_destroy(arrival->machine);
        arrival->machine = NULL;
    }
    return status;
}

static void arrival_run(struct env_work *work)
{
    struct arrival *arrival = CONTAINER_OF(work, struct arrival, work);
    arrival->message[0] = '\0';
    arrival->status = write_chunk(arrival);
    if (arrival->status == STATUS_OK && arrival->last) {
        arrival->status = complete(arrival);
    }
}

/* ---- memory that goes ---- */

struct discard {
    struct env_work work;
    struct machine *machine;
};

static void discard_run(struct env_work *work) { machine_destroy(CONTAINER_OF(work, struct discard, work)->machine); }

static void discard_done(struct env_work *work) { free(CONTAINER_OF(work, struct discard, work)); }

/* Takes NULL. */
static void discard_machine(struct env *env, struct machine *machine)
{
    if (machine == NULL) {
        return;
    }
    struct discard *discard = memory_allocate(sizeof(*discard));
    *discard = (struct discard){.work = {.run = discard_run, .done = discard_done}, .machine = machine};
    env_work_submit(env, &discard->work);
}

/* ---- on the loop ---- */

static void arrival_free(struct arrival *arrival)
{
    close_file(arrival);
    discard_machine(arrival->env, arrival->machine);
    buffer_deinit(&arrival->chunk);
    free(arrival->directory);
    free(arrival);
}

/* The machine becomes what the snapshot says. */
static void take_over(struct shard *shard, struct arrival *arrival)
{
    const struct snapshot_meta *meta = &arrival->meta;
    ASSERT(meta->index > shard->applied_index && !shard->leading);
    shard->applying = false; /* an entry that is half applied goes with the state that it was to change */
    shard->replayed = (struct progress){0};
    snapshot_abandon(shard);
    discard_machine(shard->env, shard->machine);
    shard->machine = arrival->machine;
    arrival->machine = NULL;
    shard->hash_seed = meta->hash_seed;
    shard->configuration = arrival->configuration;
    shard->applied_index = meta->index;
    shard->commit = shard->commit > meta->index ? shard->commit : meta->index;
    shard->snapshot_index = meta->index;
    shard->snapshot_term = meta->term;
    shard->stats.snapshot_index = meta->index;
    shard->stats.installed++;
    shard->time_ms = meta->time_ms;
    shard->wall_ms = meta->wall_ms;
    shard->time_term = meta->term;
    shard->applied_time_ms = meta->time_ms;
    shard->applied_wall_ms = meta->wall_ms;
    shard->logged_since_snapshot_bytes = 0;
    shard_lose_sight(shard, meta->index);
}

static void tell_raft(struct shard *shard, struct arrival *arrival)
{
    if (arrival->status != STATUS_OK) {
        env_log(shard->env, ENV_LOG_WARNING, "a snapshot from another member cannot be used: %s %s",
                status_text(arrival->status), arrival->message);
        raft_snapshot_failed(shard->raft);
    } else if (!arrival->last) {
        raft_snapshot_chunk_written(shard->raft);
    } else {
        take_over(shard, arrival);
        raft_snapshot_installed(shard->raft, &arrival->configuration);
        struct raft_status status;
        raft_status(shard->raft, &status);
        shard->last_index = status.last; /* of the log there is nothing, or what follows */
        shard_snapshot_announce(shard);
    }
}

static void arrival_done(struct env_work *work)
{
    struct arrival *arrival = CONTAINER_OF(work, struct arrival, work);
    struct shard *shard = arrival->shard;
    arrival->running = false;
    if (shard == NULL) {
        arrival_free(arrival);
        return;
    }
    if (!shard->store->failed) {
        tell_raft(shard, arrival);
        shard_pump(shard);
        env_wake(shard->env);
    }
}

static struct arrival *arrival_of(struct shard *shard)
{
    if (shard->arrival == NULL) {
        struct arrival *arrival = memory_allocate_zeroed(1, sizeof(*arrival));
        arrival->work = (struct env_work){.run = arrival_run, .done = arrival_done};
        arrival->env = shard->env;
        arrival->shard = shard;
        arrival->directory = memory_copy_text(shard->options.directory);
        arrival->group = shard->options.group;
        arrival->folder = shard->store->folder;
        arrival->scripts = shard->store->scripts;
        shard->arrival = arrival;
    }
    return shard->arrival;
}

void shard_take_chunk(struct shard *shard, const struct raft_ready *ready)
{
    struct arrival *arrival = arrival_of(shard);
    ASSERT(!arrival->running && arrival->machine == NULL);
    arrival->ident = ready->chunk_ident;
    arrival->offset = ready->chunk_offset;
    arrival->last = ready->chunk_last;
    buffer_clear(&arrival->chunk);
    buffer_append_slice(&arrival->chunk, ready->chunk_data);
    arrival->running = true;
    env_work_submit(shard->env, &arrival->work);
}

bool install_runs(const struct shard *shard)
{
    return shard->arrival != NULL && shard->arrival->running && shard->arrival->last;
}

void install_leave(struct shard *shard)
{
    struct arrival *arrival = shard->arrival;
    shard->arrival = NULL;
    if (arrival == NULL) {
        return;
    }
    if (arrival->running) {
        arrival->shard = NULL; /* done sees it */
    } else {
        arrival_free(arrival);
    }
}

void install_remove_leftovers(struct shard *shard)
{
    char path[PATH_BYTES];
    incoming_path(shard->options.directory, shard->options.group, path);
    enum status status = env_unlink(shard->env, path);
    if (status != STATUS_OK && status != STATUS_NOTFOUND) {
        env_log(shard->env, ENV_LOG_WARNING, "%s: cannot remove it: %s", path, status_text(status));
    }
}

/* Writes a snapshot beside service.
 *
 *   create ──▶ IDLE ──put──▶ BLOCK ──▶ IDLE (ready)
 *               │                │
 *               │                └─▶ failed ─▶ CLEANUP ─▶ OVER (finished)
 *               └──finish──▶ TRAILER ──▶ OVER (finished)      destroy: CLEANUP, then freed
 *
 * Each of BLOCK, TRAILER and CLEANUP is one piece of background work. */
#include "log/snapshot_format.h"

#include "base/assert.h"
#include "base/list.h"
#include "base/memory.h"
#include "log/snapshot.h"
#include "log/storage_advice.h"

#include <stdio.h>
#include <stdlib.h>

/* So much is written between syncs, so that no sync has much to do and the log's own are not held up behind it. */
enum { SYNC_BYTES = 1024 * 1024, WHAT_BYTES = SNAPSHOT_PATH_BYTES + 256 };

enum step { STEP_IDLE, STEP_BLOCK, STEP_TRAILER, STEP_CLEANUP, STEP_OVER };

struct snapshot_writer {
    struct env *env;
    const struct snapshot_writer_events *events;
    void *owner;
    struct env_work work;
    enum step step;
    bool running, destroyed;

    char *directory;
    char path[SNAPSHOT_PATH_BYTES], temporary[SNAPSHOT_PATH_BYTES];
    struct env_file *file;
    struct buffer header; /* not yet written; empty afterwards */
    struct buffer block;
    uint64_t offset, unsynced_bytes;
    struct snapshot_trailer trailer;

    enum status status;
    const char *operation; /* that failed */
    char what[WHAT_BYTES];
};

/* ---- on any thread ---- */

static enum status write_block(struct snapshot_writer *writer)
{
    uint8_t header[SNAPSHOT_BLOCK_HEADER_BYTES];
    struct iovec parts[3] = {
        {writer->header.data, writer->header.size}, {header, sizeof(header)}, {writer->block.data, writer->block.size}};
    snapshot_format_put_block(header, ++writer->trailer.blocks, buffer_slice(&writer->block), &writer->trailer.crc);
    writer->trailer.bytes += writer->block.size;
    writer->operation = "write";
    enum status status = env_write(writer->env, writer->file, writer->offset, parts, 3);
    size_t size = parts[0].iov_len + parts[1].iov_len + parts[2].iov_len;
    writer->offset += size;
    writer->unsynced_bytes += size;
    writer->header.size = 0;
    if (status == STATUS_OK && writer->unsynced_bytes >= SYNC_BYTES) {
        writer->operation = "sync";
        writer->unsynced_bytes = 0;
        status = env_sync(writer->env, writer->file);
    }
    return status;
}

static enum status write_trailer(struct snapshot_writer *writer)
{
    struct env *env = writer->env;
    uint8_t trailer[SNAPSHOT_TRAILER_BYTES];
    snapshot_format_put_trailer(trailer, &writer->trailer);
    struct iovec parts[2] = {{writer->header.data, writer->header.size}, {trailer, sizeof(trailer)}};
    writer->operation = "write";
    enum status status = env_write(env, writer->file, writer->offset, parts, 2);
    if (status == STATUS_OK) {
        writer->operation = "sync";
        status = env_sync(env, writer->file);
    }
    if (status == STATUS_OK) {
        writer->operation = "rename";
        status = env_rename(env, writer->temporary, writer->path);
    }
    if (status == STATUS_OK) {
        writer->operation = "sync the folder of";
        status = env_sync_directory(env, writer->directory);
    }
    return status;
}

static void clean_up(struct snapshot_writer *writer)
{
    if (writer->file != NULL) {
        env_close(writer->env, writer->file);
        writer->file = NULL;
    }
    enum status status = env_unlink(writer->env, writer->temporary);
    (void)status; /* when it is there still, the next start removes it */
}

static void run(struct env_work *work)
{
    struct snapshot_writer *writer = CONTAINER_OF(work, struct snapshot_writer, work);
    switch (writer->step) {
    case STEP_BLOCK: writer->status = write_block(writer); return;
    case STEP_TRAILER: writer->status = write_trailer(writer); return;
    case STEP_CLEANUP: clean_up(writer); return;
    case STEP_IDLE:
    case STEP_OVER: break;
    }
    UNREACHABLE();
}

/* ---- on the loop ---- */

static void submit(struct snapshot_writer *writer, enum step step)
{
    ASSERT(!writer->running);
    writer->step = step;
    writer->running = true;
    env_work_submit(writer->env, &writer->work);
}

static void free_writer(struct snapshot_writer *writer)
{
    if (writer->file != NULL) {
        env_close(writer->env, writer->file);
    }
    buffer_deinit(&writer->header);
    buffer_deinit(&writer->block);
    free(writer->directory);
    free(writer);
}

static void over(struct snapshot_writer *writer)
{
    writer->step = STEP_OVER;
    if (writer->status != STATUS_OK) {
        (void)snprintf(writer->what, sizeof(writer->what), "cannot %s %s: %s; %s", writer->operation, writer->path,
                       status_text(writer->status), storage_advice(writer->status));
    }
    writer->events->finished(writer->owner, writer->status, writer->what);
}

static void done(struct env_work *work)
{
    struct snapshot_writer *writer = CONTAINER_OF(work, struct snapshot_writer, work);
    writer->running = false;
    bool in_place = writer->step == STEP_TRAILER && writer->status == STATUS_OK;
    if (writer->destroyed && (writer->step == STEP_CLEANUP || in_place)) {
        free_writer(writer);
    } else if (writer->step != STEP_CLEANUP && (writer->destroyed || writer->status != STATUS_OK)) {
        submit(writer, STEP_CLEANUP);
    } else if (writer->step == STEP_BLOCK) {
        writer->step = STEP_IDLE;
        writer->events->ready(writer->owner);
    } else {
        over(writer);
    }
}

enum status snapshot_writer_create(struct env *env, const char *directory, const struct snapshot_meta *meta,
                                   const struct snapshot_writer_events *events, void *owner,
                                   struct snapshot_writer **ret_writer)
{
    ASSERT(meta->extra.size <= SNAPSHOT_EXTRA_BYTES);
    struct snapshot_writer *writer = memory_allocate_zeroed(1, sizeof(*writer));
    writer->env = env;
    writer->events = events;
    writer->owner = owner;
    writer->work = (struct env_work){.run = run, .done = done};
    writer->directory = memory_copy_text(directory);
    snapshot_format_path(directory, meta->group, meta->index, "", writer->path);
    snapshot_format_path(directory, meta->group, meta->index, ".tmp", writer->temporary);
    snapshot_format_put_header(&writer->header, meta, &writer->trailer.crc);
    enum status status =
        env_open(env, writer->temporary, ENV_OPEN_WRITE | ENV_OPEN_CREATE | ENV_OPEN_TRUNCATE, &writer->file);
    if (status != STATUS_OK) {
        free_writer(writer);
        return status;
    }
    *ret_writer = writer;
    return STATUS_OK;
}

void snapshot_writer_put(struct snapshot_writer *writer, struct buffer *block)
{
    ASSERT(writer->step == STEP_IDLE && !writer->destroyed);
    ASSERT(block->size <= SNAPSHOT_MAXIMUM_BLOCK_BYTES);
    struct buffer swap = writer->block;
    writer->block = *block;
    *block = swap;
    buffer_clear(block);
    submit(writer, STEP_BLOCK);
}

void snapshot_writer_finish(struct snapshot_writer *writer)
{
    ASSERT(writer->step == STEP_IDLE && !writer->destroyed);
    submit(writer, STEP_TRAILER);
}

void snapshot_writer_destroy(struct snapshot_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    writer->destroyed = true;
    if (writer->running) {
        return; /* done sees it */
    }
    if (writer->step == STEP_OVER) {
        free_writer(writer);
    } else {
        submit(writer, STEP_CLEANUP);
    }
}

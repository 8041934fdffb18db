/* Finds, checks and loads snapshots. One block is in memory at a time. */
#include "log/snapshot_format.h"

#include "log/storage_advice.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- names ---- */

struct found {
    uint32_t group;
    uint64_t index, below;
    bool any;
    struct buffer doomed; /* names, each with NUL */
};

static void find_newest(void *owner, const char *name)
{
    struct found *found = owner;
    uint32_t group;
    uint64_t index;
    if (snapshot_format_parse_name(name, &group, &index) == SNAPSHOT_NAME_COMPLETE && group == found->group &&
        (!found->any || index > found->index)) {
        found->any = true;
        found->index = index;
    }
}

enum status snapshot_find(struct env *env, const char *directory, uint32_t group, char *ret_path, size_t path_capacity,
                          uint64_t *ret_index)
{
    struct found found = {.group = group};
    enum status status = env_list_directory(env, directory, find_newest, &found);
    if (status != STATUS_OK) {
        return status;
    }
    if (!found.any) {
        return STATUS_NOTFOUND;
    }
    char path[SNAPSHOT_PATH_BYTES];
    snapshot_format_path(directory, group, found.index, "", path);
    if ((size_t)snprintf(ret_path, path_capacity, "%s", path) >= path_capacity) {
        return STATUS_TOO_LARGE;
    }
    *ret_index = found.index;
    return STATUS_OK;
}

static void find_doomed(void *owner, const char *name)
{
    struct found *found = owner;
    uint32_t group;
    uint64_t index;
    enum snapshot_name kind = snapshot_format_parse_name(name, &group, &index);
    if (kind != SNAPSHOT_NAME_OTHER && group == found->group &&
        (kind == SNAPSHOT_NAME_TEMPORARY || index < found->below)) {
        buffer_append(&found->doomed, name, strlen(name) + 1);
    }
}

enum status snapshot_remove_older(struct env *env, const char *directory, uint32_t group, uint64_t index)
{
    struct found found = {.group = group, .below = index};
    enum status status = env_list_directory(env, directory, find_doomed, &found);
    for (size_t at = 0; status == STATUS_OK && at < found.doomed.size;) {
        const char *name = (const char *)found.doomed.data + at;
        at += strlen(name) + 1;
        char path[SNAPSHOT_PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s/%.250s", directory, name);
        status = env_unlink(env, path);
    }
    bool removed = found.doomed.size > 0;
    buffer_deinit(&found.doomed);
    return status == STATUS_OK && removed ? env_sync_directory(env, directory) : status;
}

/* ---- loading ---- */

struct loader {
    struct env *env;
    const char *path;
    const struct folder_name *folder;
    struct env_file *file;
    uint64_t size; /* of the file */
    uint64_t at;   /* where the piece in `bytes` begins */
    struct buffer bytes;
    uint32_t chain;
    struct snapshot_trailer seen;
    enum status (*record)(void *owner, struct slice record);
    void *owner;
    char *message;
    size_t message_capacity;
};

__attribute__((format(printf, 3, 4))) static enum status refuse(struct loader *loader, enum status status,
                                                                const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    (void)snprintf(loader->message, loader->message_capacity, "%s: %s; %s", loader->path, text, storage_advice(status));
    return status;
}

static enum status damaged(struct loader *loader, uint64_t offset, const char *what)
{
    return refuse(loader, STATUS_CORRUPT, "damaged at byte %" PRIu64 ": %s", offset, what);
}

/* Has `size` bytes from loader->at in memory, of which those before bytes.size are there already. */
static enum status need(struct loader *loader, size_t size)
{
    if (size > loader->size - loader->at) {
        return damaged(loader, loader->size, "the file ends too early");
    }
    struct buffer *bytes = &loader->bytes;
    while (bytes->size < size) {
        size_t got = 0;
        size_t wanted = size - bytes->size;
        enum status status =
            env_read(loader->env, loader->file, loader->at + bytes->size, buffer_reserve(bytes, wanted), wanted, &got);
        if (status != STATUS_OK) {
            return refuse(loader, status, "cannot read: %s", status_text(status));
        }
        if (got == 0) {
            return damaged(loader, loader->at + bytes->size, "the file ends too early");
        }
        bytes->size += got;
    }
    return STATUS_OK;
}

static void next_piece(struct loader *loader)
{
    loader->at += loader->bytes.size;
    buffer_clear(&loader->bytes);
}

static enum status load_header(struct loader *loader, struct snapshot_meta *ret_meta, struct buffer *extra)
{
    enum status status = need(loader, SNAPSHOT_HEADER_BYTES);
    if (status != STATUS_OK) {
        return status;
    }
    struct snapshot_meta meta = {0};
    enum snapshot_fault fault = snapshot_format_take_header(buffer_slice(&loader->bytes), &meta, &loader->chain);
    uint32_t extra_size = get_u32(loader->bytes.data + 20);
    if (fault == SNAPSHOT_SHORT && extra_size <= SNAPSHOT_EXTRA_BYTES) {
        status = need(loader, SNAPSHOT_HEADER_BYTES + (size_t)extra_size);
        if (status != STATUS_OK) {
            return status;
        }
        fault = snapshot_format_take_header(buffer_slice(&loader->bytes), &meta, &loader->chain);
    }
    switch (fault) {
    case SNAPSHOT_MAGIC: return damaged(loader, 0, "this is no snapshot");
    case SNAPSHOT_SHORT: return damaged(loader, 20, "the header is damaged");
    case SNAPSHOT_CHECKSUM: return damaged(loader, 0, "the header's checksum is wrong");
    case SNAPSHOT_VERSION:
        return refuse(loader, STATUS_VERSION, "its format is version %" PRIu32 ", this cohort knows version %d",
                      get_u32(loader->bytes.data + 8), SNAPSHOT_FORMAT_VERSION);
    case SNAPSHOT_OK: break;
    }
    if (!folder_name_equal(&meta.folder, loader->folder)) {
        char text[FOLDER_NAME_TEXT_BYTES];
        folder_name_explain(&meta.folder, loader->folder, text);
        return refuse(loader, STATUS_INVALID, "%s", text);
    }
    uint8_t *copy = buffer_reserve(extra, meta.extra.size + 1); /* never NULL */
    memcpy(copy, meta.extra.data, meta.extra.size);
    extra->size += meta.extra.size;
    meta.extra.data = copy;
    *ret_meta = meta;
    next_piece(loader);
    return STATUS_OK;
}

static enum status give_records(struct loader *loader)
{
    struct slice rest =
        slice_of(loader->bytes.data + SNAPSHOT_BLOCK_HEADER_BYTES, loader->bytes.size - SNAPSHOT_BLOCK_HEADER_BYTES);
    while (rest.size > 0) {
        uint64_t offset = loader->at + loader->bytes.size - rest.size;
        uint64_t size;
        if (!varint_take(&rest, &size) || size > rest.size) {
            return damaged(loader, offset, "a record in a good block is malformed");
        }
        enum status status = loader->record(loader->owner, slice_of(rest.data, size));
        if (status != STATUS_OK) {
            return refuse(loader, status, "the record at byte %" PRIu64 " is refused: %s", offset, status_text(status));
        }
        rest = slice_of(rest.data + size, rest.size - size);
    }
    return STATUS_OK;
}

static enum status load_block(struct loader *loader, const struct snapshot_block *block)
{
    if (block->number != loader->seen.blocks + 1 || block->body_size > SNAPSHOT_MAXIMUM_BLOCK_BYTES) {
        return damaged(loader, loader->at, "this is not the block that was written here");
    }
    enum status status = need(loader, SNAPSHOT_BLOCK_HEADER_BYTES + (size_t)block->body_size);
    if (status != STATUS_OK) {
        return status;
    }
    if (!snapshot_format_check_block(buffer_slice(&loader->bytes), block, &loader->chain)) {
        return damaged(loader, loader->at, "a block's checksum is wrong");
    }
    loader->seen.blocks++;
    loader->seen.bytes += block->body_size;
    status = give_records(loader);
    next_piece(loader);
    return status;
}

static enum status load_trailer(struct loader *loader)
{
    enum status status = need(loader, SNAPSHOT_TRAILER_BYTES);
    if (status != STATUS_OK) {
        return status;
    }
    struct snapshot_trailer trailer;
    if (!snapshot_format_take_trailer(buffer_slice(&loader->bytes), &trailer)) {
        return damaged(loader, loader->at, "neither a block nor the trailer");
    }
    if (trailer.blocks != loader->seen.blocks || trailer.bytes != loader->seen.bytes || trailer.crc != loader->chain) {
        return damaged(loader, loader->at, "the trailer is not that of these blocks");
    }
    next_piece(loader);
    return loader->at == loader->size ? STATUS_OK : damaged(loader, loader->at, "there are bytes after the trailer");
}

static enum status load_blocks(struct loader *loader)
{
    for (;;) {
        struct snapshot_block block;
        enum status status = need(loader, SNAPSHOT_BLOCK_HEADER_BYTES);
        if (status != STATUS_OK) {
            return status;
        }
        if (!snapshot_format_take_block(buffer_slice(&loader->bytes), &block)) {
            return load_trailer(loader);
        }
        status = load_block(loader, &block);
        if (status != STATUS_OK) {
            return status;
        }
    }
}

static enum status load(struct loader *loader, enum status (*header)(void *owner, const struct snapshot_meta *meta),
                        struct snapshot_meta *ret_meta, struct buffer *extra)
{
    enum status status = env_size(loader->env, loader->file, &loader->size);
    if (status != STATUS_OK) {
        return refuse(loader, status, "cannot read its size: %s", status_text(status));
    }
    struct snapshot_meta meta;
    status = load_header(loader, &meta, extra);
    if (status != STATUS_OK) {
        return status;
    }
    status = header == NULL ? STATUS_OK : header(loader->owner, &meta);
    if (status != STATUS_OK) {
        return refuse(loader, status, "this snapshot is refused: %s", status_text(status));
    }
    status = load_blocks(loader);
    if (status == STATUS_OK) {
        *ret_meta = meta;
    }
    return status;
}

enum status snapshot_load(struct env *env, const char *path, const struct folder_name *folder,
                          enum status (*header)(void *owner, const struct snapshot_meta *meta),
                          enum status (*record)(void *owner, struct slice record), void *owner,
                          struct snapshot_meta *ret_meta, struct buffer *extra, char *ret_message,
                          size_t message_capacity)
{
    struct loader loader = {.env = env,
                            .path = path,
                            .folder = folder,
                            .record = record,
                            .owner = owner,
                            .message = ret_message,
                            .message_capacity = message_capacity};
    enum status status = env_open(env, path, ENV_OPEN_READ, &loader.file);
    if (status != STATUS_OK) {
        return refuse(&loader, status, "cannot open: %s", status_text(status));
    }
    status = load(&loader, header, ret_meta, extra);
    env_close(env, loader.file);
    buffer_deinit(&loader.bytes);
    return status;
}

enum status snapshot_adopt(struct env *env, struct env_file *file, const struct folder_name *folder)
{
    uint8_t bytes[SNAPSHOT_FOLDER_BYTES];
    snapshot_format_put_folder(bytes, folder);
    struct iovec part = {bytes, sizeof(bytes)};
    return env_write(env, file, SNAPSHOT_FOLDER_AT, &part, 1);
}

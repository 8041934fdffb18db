#include "sim_disk.h"

#include "base/assert.h"
#include "sim_names.h"

#include <stdio.h>
#include <stdlib.h>

struct env_file {
    struct list in_disk;
    struct sim_node *node; /* one reference */
    int flags;
    bool dead;    /* opened before the last crash */
    char *locked; /* path, when this is a lock */
};

struct sim_disk {
    struct sim_names names;
    struct list files; /* open ones */
    struct prng prng;
    size_t sector_bytes;
    uint64_t quota_bytes;
    struct sim_disk_fault faults[SIM_DISK_MAXIMUM_FAULTS];
    int fault_count;
    uint64_t operations[16]; /* by kind */

    bool lying;
    bool down;
    int crash_kinds; /* 0: none is planned */
    uint64_t crash_skip;
    void (*crashed)(void *owner);
    void *crashed_owner;
};

struct sim_disk *sim_disk_create(uint64_t seed)
{
    struct sim_disk *disk = calloc(1, sizeof(*disk));
    ASSERT(disk != NULL);
    sim_names_init(&disk->names);
    list_init(&disk->files);
    prng_seed(&disk->prng, seed);
    disk->sector_bytes = 512;
    return disk;
}

static void free_file(struct env_file *file)
{
    list_remove(&file->in_disk);
    sim_node_release(file->node);
    free(file->locked);
    free(file);
}

void sim_disk_destroy(struct sim_disk *disk)
{
    if (disk == NULL) {
        return;
    }
    LIST_FOR_EACH_SAFE (at, after, &disk->files) {
        free_file(CONTAINER_OF(at, struct env_file, in_disk));
    }
    sim_names_deinit(&disk->names);
    free(disk);
}

void sim_disk_set_sector(struct sim_disk *disk, size_t sector_bytes)
{
    ASSERT(sector_bytes == 512 || sector_bytes == 4096);
    disk->sector_bytes = sector_bytes;
}

void sim_disk_set_quota(struct sim_disk *disk, uint64_t quota_bytes) { disk->quota_bytes = quota_bytes; }

/* ---- crash points and faults ---- */

static enum status fault_of(struct sim_disk *disk, int kind)
{
    enum status status = STATUS_OK;
    for (int i = 0; i < disk->fault_count; i++) {
        struct sim_disk_fault *fault = &disk->faults[i];
        if ((fault->kinds & kind) == 0) {
            continue;
        }
        if (fault->skip > 0) {
            fault->skip--;
        } else if (fault->times > 0) {
            fault->times -= fault->times != UINT64_MAX;
            if (status == STATUS_OK && (fault->one_in <= 1 || prng_chance(&disk->prng, 1, fault->one_in))) {
                status = fault->status;
            }
        }
    }
    return status;
}

/* Before an operation: OK, or why it fails. */
static enum status begin(struct sim_disk *disk, enum sim_disk_kind kind)
{
    if (disk->down) {
        return STATUS_IO;
    }
    disk->operations[__builtin_ctz((unsigned)kind)]++;
    return fault_of(disk, kind);
}

/* After an operation has taken effect (or has failed). */
static enum status end(struct sim_disk *disk, enum sim_disk_kind kind, enum status status)
{
    if (disk->down || (disk->crash_kinds & (int)kind) == 0) {
        return status;
    }
    if (disk->crash_skip > 0) {
        disk->crash_skip--;
        return status;
    }
    disk->down = true;
    disk->crash_kinds = 0;
    if (disk->crashed != NULL) {
        disk->crashed(disk->crashed_owner);
    }
    return status;
}

void sim_disk_crash_after(struct sim_disk *disk, int kinds, uint64_t skip, void (*crashed)(void *owner), void *owner)
{
    disk->crash_kinds = kinds;
    disk->crash_skip = skip;
    disk->crashed = crashed;
    disk->crashed_owner = owner;
}

bool sim_disk_down(const struct sim_disk *disk) { return disk->down; }

void sim_disk_add_fault(struct sim_disk *disk, const struct sim_disk_fault *fault)
{
    ASSERT(disk->fault_count < SIM_DISK_MAXIMUM_FAULTS);
    ASSERT(fault->status != STATUS_OK);
    disk->faults[disk->fault_count++] = *fault;
}

void sim_disk_clear_faults(struct sim_disk *disk) { disk->fault_count = 0; }

void sim_disk_kill(struct sim_disk *disk)
{
    LIST_FOR_EACH (at, &disk->files) {
        struct env_file *file = CONTAINER_OF(at, struct env_file, in_disk);
        file->dead = true;
        free(file->locked);
        file->locked = NULL;
    }
    disk->down = false;
    disk->crash_kinds = 0;
}

void sim_disk_crash(struct sim_disk *disk)
{
    sim_disk_kill(disk);
    sim_names_crash(&disk->names, &disk->prng, disk->sector_bytes);
}

uint64_t sim_disk_operations(const struct sim_disk *disk, int kinds)
{
    uint64_t sum = 0;
    for (int i = 0; i < 16; i++) {
        sum += (kinds >> i & 1) ? disk->operations[i] : 0;
    }
    return sum;
}

uint64_t sim_disk_used(const struct sim_disk *disk) { return sim_names_used(&disk->names); }

/* ---- files ---- */

static struct env_file *make_file(struct sim_disk *disk, struct sim_node *node, int flags)
{
    struct env_file *file = calloc(1, sizeof(*file));
    ASSERT(file != NULL);
    file->node = sim_node_hold(node);
    file->flags = flags;
    list_append(&disk->files, &file->in_disk);
    return file;
}

enum status sim_disk_open(struct sim_disk *disk, const char *path, int flags, struct env_file **ret_file)
{
    char clean[SIM_PATH_BYTES];
    if (!sim_path_clean(path, clean)) {
        return STATUS_TOO_LARGE;
    }
    struct sim_node *node = sim_names_find(&disk->names, clean);
    bool creates = node == NULL && (flags & ENV_OPEN_CREATE) != 0;
    enum sim_disk_kind kind = creates ? SIM_DISK_CREATE : SIM_DISK_OPEN;
    enum status status = begin(disk, kind);
    if (status == STATUS_OK && node == NULL) {
        status = creates ? sim_names_make(&disk->names, clean, false, &node) : STATUS_NOTFOUND;
    } else if (status == STATUS_OK && node->directory) {
        status = STATUS_INVALID;
    } else if (status == STATUS_OK && (flags & ENV_OPEN_CREATE) && (flags & ENV_OPEN_EXCLUSIVE)) {
        status = STATUS_EXISTS;
    } else if (status == STATUS_OK && (flags & ENV_OPEN_TRUNCATE) && node->content.cache.size > 0) {
        sim_content_truncate(&node->content, 0);
    }
    if (status == STATUS_OK) {
        *ret_file = make_file(disk, node, flags);
    }
    return end(disk, kind, status);
}

void sim_disk_close(struct sim_disk *disk, struct env_file *file)
{
    (void)disk;
    free_file(file);
}

static enum status begin_on(struct sim_disk *disk, enum sim_disk_kind kind, const struct env_file *file)
{
    return file->dead ? STATUS_IO : begin(disk, kind);
}

enum status sim_disk_read(struct sim_disk *disk, struct env_file *file, uint64_t offset, void *data, size_t size,
                          size_t *ret_size)
{
    enum status status = begin_on(disk, SIM_DISK_READ, file);
    if (status == STATUS_OK) {
        const struct buffer *cache = &file->node->content.cache;
        size_t there = offset < cache->size ? cache->size - offset : 0;
        *ret_size = size < there ? size : there;
        if (*ret_size > 0) {
            memcpy(data, cache->data + offset, *ret_size);
        }
    }
    return end(disk, SIM_DISK_READ, status);
}

static void write_part(struct env_file *file, uint64_t offset, const struct iovec *parts, int count, uint64_t limit)
{
    struct buffer all;
    buffer_init(&all);
    for (int i = 0; i < count; i++) {
        buffer_append(&all, parts[i].iov_base, parts[i].iov_len);
    }
    sim_content_write(&file->node->content, offset, all.data, all.size < limit ? all.size : limit);
    buffer_deinit(&all);
}

enum status sim_disk_write(struct sim_disk *disk, struct env_file *file, uint64_t offset, const struct iovec *parts,
                           int count)
{
    uint64_t size = 0;
    for (int i = 0; i < count; i++) {
        size += parts[i].iov_len;
    }
    if (!file->dead && (file->flags & ENV_OPEN_WRITE) == 0) {
        return STATUS_INVALID;
    }
    enum status status = begin_on(disk, SIM_DISK_WRITE, file);
    bool dead = file->dead || disk->down;
    if (status == STATUS_OK && disk->quota_bytes != 0) {
        uint64_t old = file->node->content.cache.size;
        uint64_t grown = offset + size > old ? offset + size - old : 0;
        status = sim_disk_used(disk) + grown > disk->quota_bytes && grown > 0 ? STATUS_NOSPACE : STATUS_OK;
    }
    if (status == STATUS_OK) {
        write_part(file, offset, parts, count, UINT64_MAX);
    } else if (!dead && status == STATUS_IO && size > 0) {
        write_part(file, offset, parts, count, prng_below(&disk->prng, size));
    }
    return end(disk, SIM_DISK_WRITE, status);
}

void sim_disk_set_lying(struct sim_disk *disk, bool lying) { disk->lying = lying; }

enum status sim_disk_sync(struct sim_disk *disk, struct env_file *file)
{
    enum status status = begin_on(disk, SIM_DISK_SYNC, file);
    if (status == STATUS_OK && disk->lying) {
        return end(disk, SIM_DISK_SYNC, status);
    }
    if (status == STATUS_OK) {
        sim_content_sync(&file->node->content);
    } else if (!file->dead && !disk->down) {
        sim_content_settle(&file->node->content, &disk->prng, disk->sector_bytes);
    }
    return end(disk, SIM_DISK_SYNC, status);
}

enum status sim_disk_size(struct sim_disk *disk, struct env_file *file, uint64_t *ret_size)
{
    enum status status = begin_on(disk, SIM_DISK_SIZE, file);
    if (status == STATUS_OK) {
        *ret_size = file->node->content.cache.size;
    }
    return end(disk, SIM_DISK_SIZE, status);
}

enum status sim_disk_truncate(struct sim_disk *disk, struct env_file *file, uint64_t size)
{
    enum status status = begin_on(disk, SIM_DISK_TRUNCATE, file);
    if (status == STATUS_OK) {
        sim_content_truncate(&file->node->content, size);
    }
    return end(disk, SIM_DISK_TRUNCATE, status);
}

/* ---- names ---- */

enum status sim_disk_rename(struct sim_disk *disk, const char *from, const char *to)
{
    char clean_from[SIM_PATH_BYTES];
    char clean_to[SIM_PATH_BYTES];
    if (!sim_path_clean(from, clean_from) || !sim_path_clean(to, clean_to)) {
        return STATUS_TOO_LARGE;
    }
    enum status status = begin(disk, SIM_DISK_RENAME);
    if (status == STATUS_OK) {
        status = sim_names_rename(&disk->names, clean_from, clean_to);
    }
    return end(disk, SIM_DISK_RENAME, status);
}

enum status sim_disk_unlink(struct sim_disk *disk, const char *path)
{
    char clean[SIM_PATH_BYTES];
    if (!sim_path_clean(path, clean)) {
        return STATUS_TOO_LARGE;
    }
    enum status status = begin(disk, SIM_DISK_UNLINK);
    if (status == STATUS_OK) {
        status = sim_names_unlink(&disk->names, clean);
    }
    return end(disk, SIM_DISK_UNLINK, status);
}

enum status sim_disk_make_directory(struct sim_disk *disk, const char *path)
{
    char clean[SIM_PATH_BYTES];
    if (!sim_path_clean(path, clean)) {
        return STATUS_TOO_LARGE;
    }
    enum status status = begin(disk, SIM_DISK_MAKE_DIRECTORY);
    if (status == STATUS_OK) {
        struct sim_node *node = sim_names_find(&disk->names, clean);
        if (clean[0] == '\0' || (node != NULL && node->directory)) {
            status = STATUS_OK;
        } else {
            status = node != NULL ? STATUS_EXISTS : sim_names_make(&disk->names, clean, true, &node);
        }
    }
    return end(disk, SIM_DISK_MAKE_DIRECTORY, status);
}

enum status sim_disk_sync_directory(struct sim_disk *disk, const char *path)
{
    char clean[SIM_PATH_BYTES];
    if (!sim_path_clean(path, clean)) {
        return STATUS_TOO_LARGE;
    }
    enum status status = begin(disk, SIM_DISK_SYNC_DIRECTORY);
    if (status == STATUS_OK && !disk->lying) {
        status = sim_names_sync(&disk->names, clean);
    }
    return end(disk, SIM_DISK_SYNC_DIRECTORY, status);
}

enum status sim_disk_list_directory(struct sim_disk *disk, const char *path,
                                    void (*entry)(void *owner, const char *name), void *owner)
{
    char clean[SIM_PATH_BYTES];
    if (!sim_path_clean(path, clean)) {
        return STATUS_TOO_LARGE;
    }
    enum status status = begin(disk, SIM_DISK_LIST_DIRECTORY);
    if (status == STATUS_OK) {
        status = sim_names_list(&disk->names, clean, entry, owner);
    }
    return end(disk, SIM_DISK_LIST_DIRECTORY, status);
}

enum status sim_disk_lock_file(struct sim_disk *disk, const char *path, struct env_file **ret_file)
{
    char clean[SIM_PATH_BYTES];
    if (!sim_path_clean(path, clean)) {
        return STATUS_TOO_LARGE;
    }
    enum status status = begin(disk, SIM_DISK_LOCK);
    LIST_FOR_EACH (at, &disk->files) {
        const char *locked = CONTAINER_OF(at, struct env_file, in_disk)->locked;
        if (status == STATUS_OK && locked != NULL && strcmp(locked, clean) == 0) {
            status = STATUS_BUSY;
        }
    }
    struct sim_node *node = sim_names_find(&disk->names, clean);
    if (status == STATUS_OK && node == NULL) {
        status = sim_names_make(&disk->names, clean, false, &node);
    }
    if (status == STATUS_OK) {
        struct env_file *file = make_file(disk, node, ENV_OPEN_READ | ENV_OPEN_WRITE);
        file->locked = strdup(clean);
        ASSERT(file->locked != NULL);
        *ret_file = file;
    }
    return end(disk, SIM_DISK_LOCK, status);
}

/* ---- looking, and damage ---- */

static enum status find_file(struct sim_disk *disk, const char *path, struct sim_node **ret_node)
{
    char clean[SIM_PATH_BYTES];
    if (!sim_path_clean(path, clean)) {
        return STATUS_TOO_LARGE;
    }
    struct sim_node *node = sim_names_find(&disk->names, clean);
    if (node == NULL || node->directory) {
        return STATUS_NOTFOUND;
    }
    *ret_node = node;
    return STATUS_OK;
}

enum status sim_disk_peek(struct sim_disk *disk, const char *path, struct slice *ret_content)
{
    struct sim_node *node = NULL;
    enum status status = find_file(disk, path, &node);
    if (status == STATUS_OK) {
        *ret_content = buffer_slice(&node->content.cache);
    }
    return status;
}

void sim_disk_each_file(const struct sim_disk *disk, void (*file)(void *owner, const char *path, uint64_t size),
                        void *owner)
{
    for (size_t i = 0; i < disk->names.now.count; i++) {
        const struct sim_name *name = &disk->names.now.names[i];
        if (!name->node->directory) {
            file(owner, name->path, name->node->content.cache.size);
        }
    }
}

enum status sim_disk_flip(struct sim_disk *disk, const char *path, uint64_t offset, int bit)
{
    struct sim_node *node = NULL;
    enum status status = find_file(disk, path, &node);
    if (status == STATUS_OK) {
        ASSERT(offset < node->content.cache.size && bit >= 0 && bit < 8);
        node->content.cache.data[offset] ^= (uint8_t)(1 << bit);
        if (offset < node->content.disk.size) {
            node->content.disk.data[offset] ^= (uint8_t)(1 << bit);
        }
    }
    return status;
}

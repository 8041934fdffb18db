/* Files as processes have them: those of the node's disk, with what they cost. */
#include "sim_internal.h"

static enum status noted(struct sim_env *env, enum sim_disk_kind kind, uint64_t size, enum status status)
{
    sim_trace(env->sim, env->host->number, SIM_EVENT_FILE, (uint64_t)kind << 32 | (uint32_t)status, size);
    sim_env_spend(env, 1000 + (int64_t)size);
    return status;
}

static void spend_sync(struct sim_env *env)
{
    struct sim *sim = env->sim;
    sim_env_spend(env, sim_between(sim, SIM_DRAW_DISK, sim->timing.sync_minimum_ns, sim->timing.sync_maximum_ns));
    if (sim_one_in(sim, SIM_DRAW_DISK, sim->timing.slow_sync_one_in)) {
        sim_env_spend(env, sim_between(sim, SIM_DRAW_DISK, 0, sim->timing.slow_sync_ns));
    }
}

/* A dead process must not touch the disk that the next one uses. */
#define FILE_CALL(kind, size, call) noted(env, kind, size, sim_env_goes_on(env) ? (call) : STATUS_IO)

enum status sim_file_open(struct env *env_any, const char *path, int flags, struct env_file **ret_file)
{
    struct sim_env *env = sim_env_of(env_any);
    return FILE_CALL(SIM_DISK_OPEN, 0, sim_disk_open(env->host->disk, path, flags, ret_file));
}

void sim_file_close(struct env *env, struct env_file *file) { sim_disk_close(sim_env_of(env)->host->disk, file); }

enum status sim_file_read(struct env *env_any, struct env_file *file, uint64_t offset, void *data, size_t size,
                          size_t *ret_size)
{
    struct sim_env *env = sim_env_of(env_any);
    return FILE_CALL(SIM_DISK_READ, size, sim_disk_read(env->host->disk, file, offset, data, size, ret_size));
}

enum status sim_file_write(struct env *env_any, struct env_file *file, uint64_t offset, const struct iovec *parts,
                           int count)
{
    struct sim_env *env = sim_env_of(env_any);
    uint64_t size = 0;
    for (int i = 0; i < count; i++) {
        size += parts[i].iov_len;
    }
    return FILE_CALL(SIM_DISK_WRITE, size, sim_disk_write(env->host->disk, file, offset, parts, count));
}

enum status sim_file_sync(struct env *env_any, struct env_file *file)
{
    struct sim_env *env = sim_env_of(env_any);
    spend_sync(env);
    return FILE_CALL(SIM_DISK_SYNC, 0, sim_disk_sync(env->host->disk, file));
}

enum status sim_file_size(struct env *env_any, struct env_file *file, uint64_t *ret_size)
{
    struct sim_env *env = sim_env_of(env_any);
    return FILE_CALL(SIM_DISK_SIZE, 0, sim_disk_size(env->host->disk, file, ret_size));
}

enum status sim_file_truncate(struct env *env_any, struct env_file *file, uint64_t size)
{
    struct sim_env *env = sim_env_of(env_any);
    return FILE_CALL(SIM_DISK_TRUNCATE, 0, sim_disk_truncate(env->host->disk, file, size));
}

enum status sim_file_rename(struct env *env_any, const char *from, const char *to)
{
    struct sim_env *env = sim_env_of(env_any);
    return FILE_CALL(SIM_DISK_RENAME, 0, sim_disk_rename(env->host->disk, from, to));
}

enum status sim_file_unlink(struct env *env_any, const char *path)
{
    struct sim_env *env = sim_env_of(env_any);
    return FILE_CALL(SIM_DISK_UNLINK, 0, sim_disk_unlink(env->host->disk, path));
}

enum status sim_make_directory(struct env *env_any, const char *path)
{
    struct sim_env *env = sim_env_of(env_any);
    return FILE_CALL(SIM_DISK_MAKE_DIRECTORY, 0, sim_disk_make_directory(env->host->disk, path));
}

enum status sim_sync_directory(struct env *env_any, const char *path)
{
    struct sim_env *env = sim_env_of(env_any);
    spend_sync(env);
    return FILE_CALL(SIM_DISK_SYNC_DIRECTORY, 0, sim_disk_sync_directory(env->host->disk, path));
}

enum status sim_list_directory(struct env *env_any, const char *path, void (*entry)(void *owner, const char *name),
                               void *owner)
{
    struct sim_env *env = sim_env_of(env_any);
    return FILE_CALL(SIM_DISK_LIST_DIRECTORY, 0, sim_disk_list_directory(env->host->disk, path, entry, owner));
}

enum status sim_lock_file(struct env *env_any, const char *path, struct env_file **ret_file)
{
    struct sim_env *env = sim_env_of(env_any);
    return FILE_CALL(SIM_DISK_LOCK, 0, sim_disk_lock_file(env->host->disk, path, ret_file));
}

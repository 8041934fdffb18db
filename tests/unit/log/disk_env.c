#include "disk_env.h"

#include "base/assert.h"
#include "base/prng.h"

#include <stdio.h>

static struct disk_env *self(struct env *env) { return CONTAINER_OF(env, struct disk_env, env); }
static struct sim_disk *disk_of(struct env *env) { return self(env)->disk; }

static int64_t monotonic_ns(struct env *env) { return self(env)->now_ns; }

static void random_bytes(struct env *env, void *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)data)[i] = (uint8_t)prng_splitmix(&self(env)->random);
    }
}

static void timer_stop(struct env *env, struct env_timer *timer)
{
    struct disk_env *at = self(env);
    for (int i = 0; i < at->timer_count; i++) {
        if (at->timers[i] == timer) {
            at->timer_count--;
            at->timers[i] = at->timers[at->timer_count];
            at->due_ns[i] = at->due_ns[at->timer_count];
        }
    }
    timer->armed = false;
}

static void timer_start(struct env *env, struct env_timer *timer, int64_t at_ns)
{
    struct disk_env *at = self(env);
    timer_stop(env, timer);
    ASSERT(at->timer_count < 8);
    at->timers[at->timer_count] = timer;
    at->due_ns[at->timer_count++] = at_ns;
    timer->armed = true;
}

static void work_submit(struct env *env, struct env_work *work)
{
    struct disk_env *at = self(env);
    ASSERT(at->work_count < 8);
    at->work[at->work_count++] = work;
}

static enum status file_open(struct env *env, const char *path, int flags, struct env_file **ret_file)
{
    struct disk_env *at = self(env);
    if (at->open_limit != 0 && at->open_files >= at->open_limit) {
        return STATUS_FULL;
    }
    enum status status = sim_disk_open(disk_of(env), path, flags, ret_file);
    at->open_files += status == STATUS_OK;
    at->most_open_files = at->open_files > at->most_open_files ? at->open_files : at->most_open_files;
    return status;
}
static void file_close(struct env *env, struct env_file *file)
{
    self(env)->open_files--;
    sim_disk_close(disk_of(env), file);
}
static enum status file_read(struct env *env, struct env_file *file, uint64_t offset, void *data, size_t size,
                             size_t *ret_size)
{
    return sim_disk_read(disk_of(env), file, offset, data, size, ret_size);
}
static enum status file_write(struct env *env, struct env_file *file, uint64_t offset, const struct iovec *parts,
                              int count)
{
    return sim_disk_write(disk_of(env), file, offset, parts, count);
}
static enum status file_sync(struct env *env, struct env_file *file) { return sim_disk_sync(disk_of(env), file); }
static enum status file_size(struct env *env, struct env_file *file, uint64_t *ret_size)
{
    return sim_disk_size(disk_of(env), file, ret_size);
}
static enum status file_rename(struct env *env, const char *from, const char *to)
{
    return sim_disk_rename(disk_of(env), from, to);
}
static enum status file_unlink(struct env *env, const char *path) { return sim_disk_unlink(disk_of(env), path); }
static enum status sync_directory(struct env *env, const char *path)
{
    return sim_disk_sync_directory(disk_of(env), path);
}
static enum status list_directory(struct env *env, const char *path, void (*entry)(void *owner, const char *name),
                                  void *owner)
{
    return sim_disk_list_directory(disk_of(env), path, entry, owner);
}

static void log_line(struct env *env, enum env_log_level level, const char *line)
{
    (void)level;
    (void)snprintf(self(env)->line, sizeof(self(env)->line), "%s", line);
    self(env)->lines++;
}

static const struct env_operations operations = {
    .log = log_line,
    .monotonic_ns = monotonic_ns,
    .random = random_bytes,
    .timer_start = timer_start,
    .timer_stop = timer_stop,
    .work_submit = work_submit,
    .open = file_open,
    .close = file_close,
    .read = file_read,
    .write = file_write,
    .sync = file_sync,
    .size = file_size,
    .rename = file_rename,
    .unlink = file_unlink,
    .sync_directory = sync_directory,
    .list_directory = list_directory,
};

void disk_env_init(struct disk_env *disk_env, struct sim_disk *disk)
{
    *disk_env = (struct disk_env){.env = {&operations}, .disk = disk, .random = 1};
}

bool disk_env_step(struct disk_env *disk_env)
{
    if (disk_env->work_count == 0) {
        return false;
    }
    int at = disk_env->any_order ? (int)(prng_splitmix(&disk_env->random) % (uint64_t)disk_env->work_count) : 0;
    struct env_work *work = disk_env->work[at];
    disk_env->work_count--;
    memmove(&disk_env->work[at], &disk_env->work[at + 1], (size_t)(disk_env->work_count - at) * sizeof(work));
    work->run(work);
    work->done(work);
    return true;
}

void disk_env_run(struct disk_env *disk_env)
{
    while (disk_env_step(disk_env)) {
    }
}

void disk_env_advance(struct disk_env *disk_env, int64_t duration_ns)
{
    disk_env->now_ns += duration_ns;
    for (int i = 0; i < disk_env->timer_count;) {
        if (disk_env->due_ns[i] <= disk_env->now_ns) {
            struct env_timer *timer = disk_env->timers[i];
            timer_stop(&disk_env->env, timer);
            timer->fire(timer);
            i = 0;
        } else {
            i++;
        }
    }
}

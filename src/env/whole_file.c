#include "env/whole_file.h"

#include <stdio.h>

enum { PATH_BYTES = 4096 };

enum status whole_file_read(struct env *env, const char *path, size_t limit, struct buffer *out)
{
    struct env_file *file = NULL;
    enum status status = env_open(env, path, ENV_OPEN_READ, &file);
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t size = 0;
    status = env_size(env, file, &size);
    if (status == STATUS_OK && size > limit) {
        status = STATUS_TOO_LARGE;
    }
    if (status == STATUS_OK) {
        size_t got = 0;
        status = env_read(env, file, 0, buffer_reserve(out, (size_t)size + 1), (size_t)size + 1, &got);
        status = status == STATUS_OK && got > size ? STATUS_INVALID : status; /* a device: it says that it is empty */
        out->size += status == STATUS_OK ? got : 0;
    }
    env_close(env, file);
    return status;
}

static enum status write_durably(struct env *env, const char *path, struct slice content)
{
    struct env_file *file = NULL;
    enum status status = env_open(env, path, ENV_OPEN_WRITE | ENV_OPEN_CREATE | ENV_OPEN_TRUNCATE, &file);
    if (status != STATUS_OK) {
        return status;
    }
    struct iovec part = {(void *)(uintptr_t)content.data, content.size};
    status = env_write(env, file, 0, &part, 1);
    if (status == STATUS_OK) {
        status = env_sync(env, file);
    }
    env_close(env, file);
    return status;
}

static enum status sync_folder_of(struct env *env, const char *path)
{
    char directory[PATH_BYTES] = ".";
    const char *slash = strrchr(path, '/');
    if (slash != NULL) {
        (void)snprintf(directory, sizeof(directory), "%.*s", slash == path ? 1 : (int)(slash - path), path);
    }
    return env_sync_directory(env, directory);
}

enum status whole_file_replace(struct env *env, const char *path, struct slice content)
{
    char temporary[PATH_BYTES];
    if (snprintf(temporary, sizeof(temporary), "%s.tmp", path) >= PATH_BYTES) {
        return STATUS_INVALID;
    }
    enum status status = write_durably(env, temporary, content);
    if (status == STATUS_OK) {
        status = env_rename(env, temporary, path);
    }
    return status == STATUS_OK ? sync_folder_of(env, path) : status;
}

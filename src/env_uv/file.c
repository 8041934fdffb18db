/* Files by POSIX calls: interrupted ones are repeated, partial ones continued. Called from the loop and from work. */
#include "base/assert.h"
#include "env_uv/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MODE = 0600, DIRECTORY_MODE = 0700, FILE_WRITE_PARTS = 64 };

struct env_file {
    int fd;
    bool sync_failed;   /* later syncs prove nothing, so they fail too */
    bool is_lock;       /* then it is in `locks` */
    struct list locked; /* in `locks` */
};

static void close_lock(struct env_file *file);

/* Repeats the call while signals interrupt it. */
#define RETRY(result, call)                                                                                            \
    do {                                                                                                               \
        (result) = (call);                                                                                             \
    } while ((result) < 0 && errno == EINTR)

static enum status file_wrap(int fd, struct env_file **ret_file)
{
    struct env_file *file = malloc(sizeof(*file));
    if (file == NULL) {
        (void)close(fd);
        return STATUS_NOMEM;
    }
    *file = (struct env_file){.fd = fd};
    *ret_file = file;
    return STATUS_OK;
}

enum status env_uv_open(struct env *env, const char *path, int flags, struct env_file **ret_file)
{
    int mode = O_CLOEXEC;
    mode |= (flags & ENV_OPEN_WRITE) == 0 ? O_RDONLY : (flags & ENV_OPEN_READ) == 0 ? O_WRONLY : O_RDWR;
    mode |= (flags & ENV_OPEN_CREATE) != 0 ? O_CREAT : 0;
    mode |= (flags & ENV_OPEN_EXCLUSIVE) != 0 ? O_EXCL : 0;
    mode |= (flags & ENV_OPEN_TRUNCATE) != 0 ? O_TRUNC : 0;
    int fd;
    RETRY(fd, open(path, mode, FILE_MODE));
    return fd < 0 ? env_uv_status(errno) : file_wrap(fd, ret_file);
}

void env_uv_close(struct env *env, struct env_file *file)
{
    if (file->is_lock) {
        close_lock(file);
    } else {
        (void)close(file->fd); /* what matters was synced before; Linux frees the descriptor whatever it returns */
    }
    free(file);
}

enum status env_uv_read(struct env *env, struct env_file *file, uint64_t offset, void *data, size_t size,
                        size_t *ret_size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t count;
        RETRY(count, pread(file->fd, (char *)data + done, size - done, (off_t)(offset + done)));
        if (count < 0) {
            return env_uv_status(errno);
        }
        if (count == 0) {
            break;
        }
        done += (size_t)count;
    }
    *ret_size = done;
    return STATUS_OK;
}

/* Drops `size` bytes from the front of the parts; returns how many parts are used up. */
static int parts_advance(struct iovec *parts, int count, size_t size)
{
    int used = 0;
    while (used < count && size >= parts[used].iov_len) {
        size -= parts[used].iov_len;
        used++;
    }
    if (used < count) {
        parts[used].iov_base = (char *)parts[used].iov_base + size;
        parts[used].iov_len -= size;
    }
    return used;
}

static enum status write_all(int fd, uint64_t *offset, struct iovec *parts, int count)
{
    int at = parts_advance(parts, count, 0);
    while (at < count) {
        ssize_t written;
        RETRY(written, pwritev(fd, parts + at, count - at, (off_t)*offset));
        if (written <= 0) {
            return written < 0 ? env_uv_status(errno) : STATUS_IO;
        }
        *offset += (uint64_t)written;
        at += parts_advance(parts + at, count - at, (size_t)written);
    }
    return STATUS_OK;
}

enum status env_uv_write(struct env *env, struct env_file *file, uint64_t offset, const struct iovec *parts, int count)
{
    struct iovec copy[FILE_WRITE_PARTS];
    while (count > 0) {
        int now = count < FILE_WRITE_PARTS ? count : FILE_WRITE_PARTS;
        memcpy(copy, parts, (size_t)now * sizeof(*parts));
        enum status status = write_all(file->fd, &offset, copy, now);
        if (status != STATUS_OK) {
            return status;
        }
        parts += now;
        count -= now;
    }
    return STATUS_OK;
}

enum status env_uv_sync(struct env *env, struct env_file *file)
{
    if (file->sync_failed) {
        return STATUS_IO;
    }
    int result;
    RETRY(result, fdatasync(file->fd));
    if (result < 0) {
        file->sync_failed = true;
        return env_uv_status(errno);
    }
    return STATUS_OK;
}

enum status env_uv_size(struct env *env, struct env_file *file, uint64_t *ret_size)
{
    struct stat stat;
    if (fstat(file->fd, &stat) < 0) {
        return env_uv_status(errno);
    }
    *ret_size = (uint64_t)stat.st_size;
    return STATUS_OK;
}

enum status env_uv_truncate(struct env *env, struct env_file *file, uint64_t size)
{
    int result;
    RETRY(result, ftruncate(file->fd, (off_t)size));
    return result < 0 ? env_uv_status(errno) : STATUS_OK;
}

enum status env_uv_rename(struct env *env, const char *from, const char *to)
{
    return rename(from, to) < 0 ? env_uv_status(errno) : STATUS_OK;
}

enum status env_uv_unlink(struct env *env, const char *path)
{
    return unlink(path) < 0 ? env_uv_status(errno) : STATUS_OK;
}

enum status env_uv_make_directory(struct env *env, const char *path)
{
    if (mkdir(path, DIRECTORY_MODE) == 0) {
        return STATUS_OK;
    }
    int error = errno;
    struct stat there;
    if (error == EEXIST && stat(path, &there) == 0 && S_ISDIR(there.st_mode)) {
        return STATUS_OK;
    }
    return env_uv_status(error);
}

enum status env_uv_sync_directory(struct env *env, const char *path)
{
    int fd;
    RETRY(fd, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0) {
        return env_uv_status(errno);
    }
    int result;
    RETRY(result, fsync(fd));
    enum status status = result < 0 ? env_uv_status(errno) : STATUS_OK;
    (void)close(fd);
    return status;
}

enum status env_uv_list_directory(struct env *env, const char *path, void (*entry)(void *owner, const char *name),
                                  void *owner)
{
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return env_uv_status(errno);
    }
    struct dirent *at;
    for (errno = 0; (at = readdir(directory)) != NULL; errno = 0) {
        if (strcmp(at->d_name, ".") != 0 && strcmp(at->d_name, "..") != 0) {
            entry(owner, at->d_name);
        }
    }
    enum status status = errno != 0 ? env_uv_status(errno) : STATUS_OK;
    (void)closedir(directory);
    return status;
}

/* ---- locks ----
 *
 * A lock is of the open file, not of the process: closing another descriptor of the same file does not drop it. But a
 * child of fork has that open file too, and would keep the lock for as long as it lives. So a child closes its copies:
 * all that the process has locked are in one list, and no fork comes between the making, or the end, of a lock and its
 * place there. */

static struct {
    pthread_mutex_t mutex;
    struct list files;
} locks = {PTHREAD_MUTEX_INITIALIZER, {&locks.files, &locks.files}};

static void hold_locks(void) { (void)pthread_mutex_lock(&locks.mutex); }
static void release_locks(void) { (void)pthread_mutex_unlock(&locks.mutex); }

static void leave_locks_to_parent(void)
{
    LIST_FOR_EACH (at, &locks.files) {
        (void)close(CONTAINER_OF(at, struct env_file, locked)->fd);
    }
    list_init(&locks.files);
    (void)pthread_mutex_init(&locks.mutex, NULL);
}

static void prepare_for_forks(void) { (void)pthread_atfork(hold_locks, release_locks, leave_locks_to_parent); }

/* It is given up by name: the child of a moment ago may not have come so far as to close its copy. */
static void close_lock(struct env_file *file)
{
    struct flock none = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    hold_locks();
    list_remove(&file->locked);
    (void)fcntl(file->fd, F_OFD_SETLK, &none);
    (void)close(file->fd);
    release_locks();
}

/* For whoever finds it locked; where it cannot be written nobody is told. */
static void write_owner(int fd)
{
    char text[ENV_LOCK_OWNER_BYTES];
    int size = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    bool written = ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)size, 0) == size;
    (void)written;
}

static enum status lock_file(const char *path, struct env_file **ret_file)
{
    int fd;
    RETRY(fd, open(path, O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE));
    if (fd < 0) {
        return env_uv_status(errno);
    }
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int result;
    RETRY(result, fcntl(fd, F_OFD_SETLK, &lock));
    if (result < 0) {
        enum status status = errno == EAGAIN || errno == EACCES ? STATUS_BUSY : env_uv_status(errno);
        (void)close(fd);
        return status;
    }
    write_owner(fd);
    enum status status = file_wrap(fd, ret_file);
    if (status == STATUS_OK) {
        (*ret_file)->is_lock = true;
        list_append(&locks.files, &(*ret_file)->locked);
    }
    return status;
}

enum status env_uv_lock_file(struct env *env, const char *path, struct env_file **ret_file)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, prepare_for_forks);
    hold_locks();
    enum status status = lock_file(path, ret_file);
    release_locks();
    return status;
}

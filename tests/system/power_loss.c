/* LD_PRELOAD: what a machine does to an SQLite database, for test_engine_sqlite_faults.py; by what is in the
 * environment:
 *
 * - COHORT_TEST_SYNCED: whenever a file is synced, a copy of it stands beside it (.synced): what is left without power
 * - COHORT_TEST_BOOT: the path of a file that is /proc/sys/kernel/random/boot_id
 * - COHORT_TEST_TYPE: a number; every file system is of this type
 * - COHORT_TEST_NO_SYNC: a path; while this file is there, a sync fails with EIO */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

static void keep(int fd)
{
    char link[64];
    char path[PATH_MAX];
    char copy[PATH_MAX + 16];
    char bytes[65536];
    struct stat found;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof(path) - 1);
    if (size < 0 || getenv("COHORT_TEST_SYNCED") == NULL || fstat(fd, &found) != 0 || !S_ISREG(found.st_mode)) {
        return;
    }
    path[size] = '\0';
    (void)snprintf(copy, sizeof(copy), "%s.synced", path);
    int out = open(copy, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    off_t at = 0;
    while (out >= 0 && (size = pread(fd, bytes, sizeof(bytes), at)) > 0 && write(out, bytes, (size_t)size) == size) {
        at += size;
    }
    (void)close(out);
}

static int sync_by(const char *name, int fd)
{
    int (*real)(int) = (int (*)(int))next(name);
    const char *fails = getenv("COHORT_TEST_NO_SYNC");
    if (fails != NULL && access(fails, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    int code = real(fd);
    if (code == 0) {
        keep(fd);
    }
    return code;
}

int fsync(int fd) { return sync_by("fsync", fd); }
int fdatasync(int fd) { return sync_by("fdatasync", fd); }

static const char *path_of(const char *path)
{
    const char *boot = getenv("COHORT_TEST_BOOT");
    return boot != NULL && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0 ? boot : path;
}

static int open_by(const char *name, const char *path, int flags, mode_t mode)
{
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))next(name);
    return real(path_of(path), flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return open_by("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return open_by("open64", path, flags, mode);
}

int statfs64(const char *path, struct statfs64 *ret)
{
    int (*real)(const char *, struct statfs64 *) = (int (*)(const char *, struct statfs64 *))next("statfs64");
    const char *type = getenv("COHORT_TEST_TYPE");
    int code = real(path, ret);
    if (type != NULL) {
        ret->f_type = strtol(type, NULL, 0);
    }
    return code;
}

int statfs(const char *path, struct statfs *ret)
{
    int (*real)(const char *, struct statfs *) = (int (*)(const char *, struct statfs *))next("statfs");
    const char *type = getenv("COHORT_TEST_TYPE");
    int code = real(path, ret);
    if (type != NULL) {
        ret->f_type = strtol(type, NULL, 0);
    }
    return code;
}

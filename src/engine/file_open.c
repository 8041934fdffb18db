#include "engine/file_internal.h"

#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    NAME_BYTES = 200, /* of a file; a longer lock's is cut, and ends with a hash */
    PAUSE_NS = 20000, /* between two tries; doubles */
    PAUSE_MAXIMUM_NS = 5000000,
};

enum engine_code file_trouble(struct file_engine *file, const char *what)
{
    int code = errno;
    enum engine_code kind = code == EMFILE || code == ENFILE || code == ENOMEM ? ENGINE_BUSY : ENGINE_REFUSED;
    return engine_problem(&file->stored.engine, kind, "%s%s: cannot %s: %s; nothing was changed",
                          kind == ENGINE_REFUSED ? "ERR " : "", file->path, what, strerror(code));
}

/* ---- names ---- */

static bool is_plain(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '-' || byte == '_' || byte == '.' || byte == ':';
}

/* A lock's file: its name, with %xx for what might be special; when that is long, the first of it and a hash. */
enum engine_code file_set_path(struct file_engine *file, struct slice key)
{
    char name[3 * LOCK_STATE_KEY_BYTES + 1];
    size_t size = 0;
    for (size_t i = 0; i < key.size; i++) {
        bool plain = is_plain(key.data[i]) && !(i == 0 && key.data[i] == '.');
        size += (size_t)snprintf(&name[size], 4, plain ? "%c" : "%%%02x", key.data[i]);
    }
    if (size == 0) {
        name[size++] = '%'; /* as no other name is written */
    }
    name[size] = '\0';
    char hash[40] = "";
    if (size > NAME_BYTES) {
        struct id128 id = hash_name(key.data, key.size);
        hash[0] = '~';
        for (size_t i = 0; i < sizeof(id.bytes); i++) {
            (void)snprintf(&hash[1 + 2 * i], 3, "%02x", id.bytes[i]);
        }
        name[NAME_BYTES - sizeof(hash)] = '\0';
    }
    int length = snprintf(file->path, sizeof(file->path), "%s/%s%s%s", file->folder, name, hash, FILE_SUFFIX);
    if (length < 0 || (size_t)length >= sizeof(file->path)) {
        return engine_problem(&file->stored.engine, ENGINE_REFUSED, "ERR the path of the folder is too long");
    }
    return ENGINE_OK;
}

/* ---- the record lock ---- */

static bool try_lock(int fd, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* Others have it for microseconds, unless one is stopped just then. */
static enum engine_code take_lock(struct file_engine *file, short type)
{
    long pause_ns = 0;
    while (!try_lock(file->fd, type)) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR) {
            return file_trouble(file, "lock it");
        }
        if (engine_clock_ns() > file->stored.engine.deadline_ns) {
            return engine_problem(&file->stored.engine, ENGINE_BUSY, "%s: a process keeps it locked (is it stopped?)",
                                  file->path);
        }
        struct timespec pause = {.tv_nsec = pause_ns};
        (void)nanosleep(&pause, NULL);
        pause_ns = pause_ns == 0 ? PAUSE_NS : 2 * pause_ns;
        pause_ns = pause_ns > PAUSE_MAXIMUM_NS ? PAUSE_MAXIMUM_NS : pause_ns;
    }
    return ENGINE_OK;
}

/* Whether the file that was opened still is the one of that name. */
static bool is_there(const struct file_engine *file)
{
    struct stat opened;
    struct stat named;
    return fstat(file->fd, &opened) == 0 && stat(file->path, &named) == 0 && opened.st_ino == named.st_ino &&
           opened.st_dev == named.st_dev;
}

void file_close(struct file_engine *file)
{
    if (file->fd >= 0) {
        (void)close(file->fd); /* which gives the record lock back */
        file->fd = -1;
    }
}

/* Opens and locks it. ENGINE_NOT: there is none, and `looks`. */
enum engine_code file_open(struct file_engine *file, bool looks)
{
    for (;;) {
        file->fd = open(file->path, (looks ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (file->fd < 0) {
            return looks && errno == ENOENT ? ENGINE_NOT : file_trouble(file, "open it");
        }
        enum engine_code code = take_lock(file, looks ? F_RDLCK : F_WRLCK);
        if (code != ENGINE_OK || is_there(file)) {
            if (code != ENGINE_OK) {
                file_close(file);
            }
            return code;
        }
        file_close(file); /* it was removed meanwhile */
    }
}

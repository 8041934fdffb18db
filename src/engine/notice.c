#include "engine/notice.h"

#include <sys/inotify.h>
#include <unistd.h>

int notice_open_empty(void) { return inotify_init1(IN_NONBLOCK | IN_CLOEXEC); }

bool notice_watch(int fd, const char *file)
{
    return fd >= 0 && inotify_add_watch(fd, file, IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF) >= 0;
}

int notice_open(const char *folder)
{
    int fd = notice_open_empty();
    if (fd >= 0 && inotify_add_watch(fd, folder, IN_MODIFY | IN_ONLYDIR) < 0) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

void notice_take(int fd)
{
    char bytes[4096];
    while (read(fd, bytes, sizeof(bytes)) > 0) {
    }
}

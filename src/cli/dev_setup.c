#include "cli/dev_setup.h"

#include "cli/cli.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int dev_check_port(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    bool free_port = bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
    int problem = errno;
    (void)close(fd);
    if (free_port) {
        return CLI_CONTINUE;
    }
    if (problem == EADDRINUSE) {
        return cli_error(&cli_dev, EX_UNAVAILABLE,
                         "port %d is in use; stop the program that has it, or choose others with --port", port);
    }
    return cli_error(&cli_dev, EX_NOPERM, "cannot use port %d: %s; choose others with --port", port, strerror(problem));
}

/* Makes the folder with those above it. */
static bool make_folders(const char *path)
{
    char part[PATH_MAX];
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof(part)) {
        errno = size == 0 ? ENOENT : ENAMETOOLONG;
        return false;
    }
    for (size_t i = 1; i <= size; i++) {
        if (path[i] == '/' || path[i] == '\0') {
            memcpy(part, path, i);
            part[i] = '\0';
            if (mkdir(part, 0777) != 0 && errno != EEXIST) {
                return false;
            }
        }
    }
    return true;
}

int dev_make_folder(const char *path, char ret_path[static PATH_MAX])
{
    if (!make_folders(path) || realpath(path, ret_path) == NULL) {
        return cli_error(&cli_dev, EX_CANTCREAT, "cannot make the data folder %s: %s", path, strerror(errno));
    }
    return CLI_CONTINUE;
}

void dev_find_program(char ret_path[static PATH_MAX])
{
    char folder[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", ret_path, PATH_MAX - 1);
    if (size < 0) {
        (void)snprintf(ret_path, PATH_MAX, "cohort");
        return;
    }
    ret_path[size] = '\0';
    size_t inside = getcwd(folder, sizeof(folder)) == NULL ? 0 : strlen(folder);
    if (inside > 1 && strncmp(ret_path, folder, inside) == 0 && ret_path[inside] == '/') {
        memmove(ret_path, ret_path + inside + 1, (size_t)size - inside);
    }
}

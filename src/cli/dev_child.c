#include "cli/dev_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXEC_FAILED = 127 };

void dev_child_init(struct dev_child *child, int number, int port)
{
    *child = (struct dev_child){.number = number, .port = port, .output = -1};
}

/* ---- starting ---- */

__attribute__((noreturn)) static void become_child(char *const *argv, int output, pid_t parent)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    /* A session of its own: no signals from the terminal, and no stop for printing to it. */
    (void)setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        (void)dup2(null, STDIN_FILENO);
    }
    (void)dup2(output, STDOUT_FILENO);
    (void)dup2(output, STDERR_FILENO);
    /* The second look is for a parent that went before the first line took effect. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) {
        _exit(EXEC_FAILED);
    }
    (void)execv("/proc/self/exe", argv);
    (void)dprintf(STDERR_FILENO, "cohort dev: cannot run /proc/self/exe: %s; is /proc mounted?\n", strerror(errno));
    _exit(EXEC_FAILED);
}

bool dev_child_start(struct dev_child *child, char *const *argv, int64_t now_ms)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return false;
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        become_child(argv, ends[1], parent);
    }
    int problem = errno;
    (void)close(ends[1]);
    if (pid < 0) {
        (void)close(ends[0]);
        errno = problem;
        return false;
    }
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    child->pid = pid;
    child->output = ends[0];
    child->serves = false;
    child->began_ms = now_ms;
    child->restart_ms = 0;
    return true;
}

/* ---- its output ---- */

static void print_line(struct dev_child *child)
{
    (void)fprintf(stderr, "node %d | %.*s\n", child->number, (int)child->line_size, child->line);
    child->line_size = 0;
}

static void take_output(struct dev_child *child, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\n' || child->line_size == DEV_LINE_BYTES) {
            print_line(child);
        }
        if (bytes[i] != '\n') {
            child->line[child->line_size++] = bytes[i];
        }
    }
}

void dev_child_read(struct dev_child *child, bool last)
{
    char bytes[DEV_LINE_BYTES];
    ssize_t size = child->output < 0 ? 0 : read(child->output, bytes, sizeof(bytes));
    while (size > 0) {
        take_output(child, bytes, (size_t)size);
        size = read(child->output, bytes, sizeof(bytes));
    }
    if ((size == 0 || last) && child->output >= 0) {
        if (child->line_size > 0) {
            print_line(child);
        }
        (void)close(child->output);
        child->output = -1;
    }
}

void dev_child_describe_end(int status, char ret_text[static DEV_ENDED_BYTES])
{
    if (WIFSIGNALED(status)) {
        (void)snprintf(ret_text, DEV_ENDED_BYTES, "killed by signal %d (%s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    } else {
        (void)snprintf(ret_text, DEV_ENDED_BYTES, "exit status %d", WEXITSTATUS(status));
    }
}

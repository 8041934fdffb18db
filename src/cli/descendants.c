#include "cli/descendants.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STAT_BYTES = 512, NAME_BYTES = 32, FIRST_CAPACITY = 512 };

struct process {
    pid_t pid;
    pid_t parent;
    bool has_ended; /* a zombie */
};

struct processes {
    struct process *items;
    size_t count;
    size_t capacity;
};

/* "PID (NAME) STATE PARENT …"; the name may hold anything, so the last parenthesis counts. False: it is gone. */
static bool read_process(pid_t pid, struct process *ret_process)
{
    char name[NAME_BYTES];
    char text[STAT_BYTES];
    (void)snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return false;
    }
    ssize_t size = read(file, text, sizeof(text) - 1);
    (void)close(file);
    if (size <= 0) {
        return false;
    }
    text[size] = '\0';
    const char *end = strrchr(text, ')');
    char state;
    int parent;
    if (end == NULL || sscanf(end, ") %c %d", &state, &parent) != 2) {
        return false;
    }
    *ret_process = (struct process){.pid = pid, .parent = parent, .has_ended = state == 'Z' || state == 'X'};
    return true;
}

static void add(struct processes *processes, const struct process *process)
{
    if (processes->count == processes->capacity) {
        processes->capacity = processes->capacity == 0 ? FIRST_CAPACITY : 2 * processes->capacity;
        processes->items = memory_resize(processes->items, processes->capacity * sizeof(*processes->items));
    }
    processes->items[processes->count++] = *process;
}

static int by_number(const void *a, const void *b)
{
    pid_t one = ((const struct process *)a)->pid;
    pid_t other = ((const struct process *)b)->pid;
    return (one > other) - (one < other);
}

static void read_all(struct processes *processes)
{
    DIR *folder = opendir("/proc");
    if (folder == NULL) {
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        char *end;
        long pid = strtol(entry->d_name, &end, 10);
        struct process process;
        if (pid > 0 && *end == '\0' && read_process((pid_t)pid, &process)) {
            add(processes, &process);
        }
    }
    (void)closedir(folder);
    if (processes->count > 0) {
        qsort(processes->items, processes->count, sizeof(*processes->items), by_number);
    }
}

/* Walks up. What was read is no one moment, so the way has an end even if there is a circle in it. */
static bool is_below(const struct processes *processes, const struct process *process, pid_t top)
{
    for (size_t steps = 0; process != NULL && steps < processes->count; steps++) {
        if (process->parent == top) {
            return true;
        }
        const struct process parent = {.pid = process->parent};
        process = bsearch(&parent, processes->items, processes->count, sizeof(parent), by_number);
    }
    return false;
}

bool descendants_visible(void)
{
    struct process self;
    return read_process(getpid(), &self) && self.parent == getppid();
}

size_t descendants_signal(pid_t top, int signal_number, pid_t *ret_refused)
{
    struct processes processes = {0};
    size_t count = 0;
    pid_t refused = 0;
    read_all(&processes);
    for (size_t i = 0; i < processes.count; i++) {
        const struct process *process = &processes.items[i];
        if (process->has_ended || !is_below(&processes, process, top)) {
            continue;
        }
        if (kill(process->pid, signal_number) == 0) {
            count++;
        } else if (errno == EPERM) {
            refused = process->pid;
        }
    }
    free(processes.items);
    if (ret_refused != NULL) {
        *ret_refused = refused;
    }
    return count;
}

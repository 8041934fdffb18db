#include "embedded/nodes.h"

#include "base/ending.h"
#include "engine/local_place.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLDER_MODE = 0700 };

struct nodes_entry {
    struct nodes_entry *next;
    dev_t device;
    ino_t inode;
    struct node *node;
    uint32_t users;
    bool busy; /* it starts or stops */
    char said[EMBEDDED_SAID_BYTES];
};

/* The one thing that is the process's. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct nodes_entry *entries;
    bool inherited; /* by fork, from a process that had some */
} table = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void lock(void) { (void)pthread_mutex_lock(&table.mutex); }
static void unlock(void) { (void)pthread_mutex_unlock(&table.mutex); }

/* ---- fork ---- */

/* The folders' locks stay the parent's, too (src/env_uv/file.c). */
static void leave_to_parent(void)
{
    table.inherited = table.inherited || table.entries != NULL;
    table.entries = NULL;
    (void)pthread_mutex_init(&table.mutex, NULL);
    (void)pthread_cond_init(&table.changed, NULL);
}

/* ---- a thread of ours that cannot go on ---- */

/* Of a thread that may work for any node, all are struck. The table's mutex may be held by one that waits for this: it
 * is not taken, and entries are only ever added in front of those that are looked at. */
_Noreturn static void end_here(const char *line)
{
    bool is_first = node_strike_here(line);
    for (struct nodes_entry *at = table.entries; at != NULL && !is_first; at = at->next) {
        if (at->node != NULL) {
            node_strike(at->node, line);
        }
    }
    for (;;) {
        (void)pause();
    }
}

static void prepare(void)
{
    ending_set(end_here);
    (void)pthread_atfork(lock, unlock, leave_to_parent);
}

/* ---- entries ---- */

static enum status refuse(char problem[static ENGINE_PROBLEM_BYTES], const char *folder, const char *why)
{
    (void)snprintf(problem, ENGINE_PROBLEM_BYTES, "%.600s: %s", folder, why);
    return STATUS_INVALID;
}

/* Made when missing, and asked which it is. */
static enum status find_folder(const struct embedded_settings *settings, struct stat *ret_found,
                               char problem[static ENGINE_PROBLEM_BYTES])
{
    const char *folder = settings->folder;
    if (settings->create && mkdir(folder, FOLDER_MODE) != 0 && errno != EEXIST) {
        char why[160];
        (void)snprintf(why, sizeof(why), "cannot make the folder: %s", strerror(errno));
        return refuse(problem, folder, why);
    }
    if (stat(folder, ret_found) != 0) {
        return refuse(problem, folder, strerror(errno));
    }
    if (!S_ISDIR(ret_found->st_mode)) {
        return refuse(problem, folder, "it is no folder");
    }
    const char *remote = settings->local ? NULL : local_place_problem(folder);
    if (remote != NULL) {
        char why[256];
        (void)snprintf(why, sizeof(why),
                       "it is on a file system of other machines, too (%.64s), and embedded:// is for one: choose "
                       "another folder, or say local=yes when only this machine has it",
                       remote);
        return refuse(problem, folder, why);
    }
    return STATUS_OK;
}

/* One that starts, serves or stops; or that was struck, and has the folder until the process ends. */
static struct nodes_entry *find(const struct stat *folder)
{
    for (struct nodes_entry *at = table.entries; at != NULL; at = at->next) {
        if (at->device == folder->st_dev && at->inode == folder->st_ino &&
            (at->busy || node_serves(at->node) || node_is_struck(at->node))) {
            return at;
        }
    }
    return NULL;
}

static struct nodes_entry *add(const struct embedded_settings *settings, const struct stat *folder)
{
    struct nodes_entry *entry = calloc(1, sizeof(*entry));
    if (entry != NULL) {
        *entry = (struct nodes_entry){
            .next = table.entries, .device = folder->st_dev, .inode = folder->st_ino, .users = 1, .busy = true};
        memcpy(entry->said, settings->said, sizeof(entry->said));
        table.entries = entry;
    }
    return entry;
}

static void take_out(struct nodes_entry *entry)
{
    struct nodes_entry **at = &table.entries;
    while (*at != entry) {
        at = &(*at)->next;
    }
    *at = entry->next;
    free(entry);
}

/* ---- in and out ---- */

static enum status join(struct nodes_entry *entry, const struct embedded_settings *settings,
                        char problem[static ENGINE_PROBLEM_BYTES])
{
    if (node_is_struck(entry->node)) {
        node_explain(entry->node, problem);
        return STATUS_BUSY;
    }
    if (settings->said[0] != '\0' && strcmp(settings->said, entry->said) != 0) {
        return refuse(problem, settings->folder,
                      "it is open in this process with other options; give the same ones, or none");
    }
    entry->users++;
    return STATUS_OK;
}

static enum status start(struct nodes_entry *entry, const struct embedded_settings *settings,
                         const struct engine_url *url, char problem[static ENGINE_PROBLEM_BYTES])
{
    unlock();
    enum status status = node_start(settings, url, &entry->node, problem);
    lock();
    entry->busy = false;
    if (entry->node == NULL) {
        take_out(entry);
    }
    (void)pthread_cond_broadcast(&table.changed);
    return status;
}

/* Under the mutex, which it gives back while it starts a node. */
static enum status take(const struct embedded_settings *settings, const struct engine_url *url,
                        struct nodes_entry **ret_entry, char problem[static ENGINE_PROBLEM_BYTES])
{
    struct stat folder;
    enum status status = find_folder(settings, &folder, problem);
    if (status != STATUS_OK) {
        return status;
    }
    struct nodes_entry *entry = find(&folder);
    while (entry != NULL && entry->busy) {
        (void)pthread_cond_wait(&table.changed, &table.mutex);
        entry = find(&folder);
    }
    if (entry != NULL) {
        *ret_entry = entry;
        return join(entry, settings, problem);
    }
    *ret_entry = add(settings, &folder);
    if (*ret_entry == NULL) {
        (void)refuse(problem, settings->folder, "memory was refused");
        return STATUS_NOMEM;
    }
    return start(*ret_entry, settings, url, problem);
}

enum status nodes_take(const struct embedded_settings *settings, const struct engine_url *url,
                       struct nodes_entry **ret_entry, char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, prepare);
    lock();
    enum status status = STATUS_INVALID;
    if (table.inherited) {
        (void)refuse(ret_problem, settings->folder,
                     "this process was forked from one with an open embedded:// folder, and cannot open any: execute a "
                     "program first, or open folders only after the fork");
    } else {
        status = take(settings, url, ret_entry, ret_problem);
    }
    unlock();
    return status;
}

struct node *nodes_node(const struct nodes_entry *entry) { return entry->node; }

void nodes_leave(struct nodes_entry *entry)
{
    lock();
    if (--entry->users == 0 && !node_is_struck(entry->node)) {
        entry->busy = true;
        unlock();
        bool gone = node_stop(entry->node);
        lock();
        entry->busy = false;
        if (gone) {
            take_out(entry);
        }
        (void)pthread_cond_broadcast(&table.changed);
    }
    unlock();
}

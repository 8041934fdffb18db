/* The folder tree: which name stands for which file, as the process sees it and as the disk has it.
 *
 * Paths are clean: no leading or trailing slash, no "." parts, no doubled slashes; the root is "". */
#pragma once

#include "base/status.h"
#include "sim_content.h"

enum { SIM_PATH_BYTES = 512 };

struct sim_node {
    int references;
    bool directory;
    struct sim_content content; /* of a file */
};

struct sim_name {
    char *path; /* owned */
    struct sim_node *node;
};

struct sim_name_table {
    struct sim_name *names;
    size_t count, capacity;
};

/* A change of names not yet synced: `gone` (when not NULL) stops standing for a node, `path` (when not NULL) starts to
 * stand for `node`; both at once. */
struct sim_name_change {
    char *gone, *path;
    struct sim_node *node;
};

struct sim_names {
    struct sim_name_table now;
    struct sim_name_table disk;
    struct sim_name_change *changes; /* in order */
    size_t count, capacity;
};

bool sim_path_clean(const char *path, char clean[SIM_PATH_BYTES]);

struct sim_node *sim_node_hold(struct sim_node *node);
void sim_node_release(struct sim_node *node);

void sim_names_init(struct sim_names *names);
void sim_names_deinit(struct sim_names *names);
/* Borrowed; NULL when there is none. */
struct sim_node *sim_names_find(const struct sim_names *names, const char *path);
/* STATUS_NOTFOUND without the folder above it. The node is borrowed. */
enum status sim_names_make(struct sim_names *names, const char *path, bool directory, struct sim_node **ret_node);
enum status sim_names_rename(struct sim_names *names, const char *from, const char *to);
enum status sim_names_unlink(struct sim_names *names, const char *path);
enum status sim_names_sync(struct sim_names *names, const char *directory);
enum status sim_names_list(struct sim_names *names, const char *directory, void (*entry)(void *owner, const char *name),
                           void *owner);
uint64_t sim_names_used(const struct sim_names *names);
/* Settles the changes of names, then the content of every file that is left. */
void sim_names_crash(struct sim_names *names, struct prng *prng, size_t sector_bytes);

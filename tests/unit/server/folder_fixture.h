/* A node by itself, over a simulated disk: its data folder is looked at and changed while it is down. */
#pragma once

#include "server/node_file.h"
#include "server/server.h"
#include "sim.h"
#include "sim_disk.h"

enum { FOLDER_NODE = 0, FOLDER_NODE_ID = 3, FOLDER_WORKERS = 2 };

struct folder_world {
    struct sim *sim;
    struct server *server;
    struct env *envs[FOLDER_WORKERS];
    uint32_t workers;
    bool several; /* nodes in the cluster */
    bool ready, stopped;
    enum status stop_status;
    char message[SERVER_MESSAGE_BYTES];
};

/* For cmocka; with one worker. */
int folder_setup(void **state);
int folder_teardown(void **state);

/* A start, until all workers have their logs, it is refused, or a crash point ends it. */
enum status folder_start(struct folder_world *world);
void folder_end(struct folder_world *world, enum sim_crash how);
/* DIR/node as it is now; false: there is none. Then the node runs, without a server. */
bool folder_peek(struct folder_world *world, struct node_file *ret_file);
/* A process that does as told, and ends. */
void folder_put(struct folder_world *world, const char *path, struct slice content);
void folder_put_node_file(struct folder_world *world, const struct node_file *file);
void folder_remove(struct folder_world *world, const char *path);

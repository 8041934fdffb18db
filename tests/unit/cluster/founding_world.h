/* Several foundings joined by hand over simulated disks: every connection, message, crash and emptied disk is a call of
 * the test, and after each of them the invariants of founding.h are checked against all that ever happened. */
#pragma once

#include "cluster/founding.h"
#include "disk_env.h"

enum { WORLD_NODES = 5, WORLD_QUEUE = 64, WORLD_FOLDERS = 64, WORLD_MESSAGE_BYTES = 128 };

struct world_folder { /* a data folder: of one node, from when it was made until its disk is emptied */
    uint64_t node;
    enum founding_state told; /* what it has said to others */
    struct id128 set[WORLD_NODES];
    bool founded;
};

struct world_message {
    uint8_t bytes[WORLD_MESSAGE_BYTES];
    size_t size;
};

struct world_link { /* from one node to another: what is under way */
    struct world_message queue[WORLD_QUEUE];
    int count;
};

struct world_node {
    struct sim_disk *disk;
    struct disk_env env;
    struct founding *founding; /* NULL: down */
    int folder;                /* index in world.folders */
    bool refused;
    enum status status;
    int founded_events;
    char line[FOUNDING_MESSAGE_BYTES];
};

struct world {
    int count;
    uint32_t shards, replicas;
    uint64_t seed;
    struct member founders[WORLD_NODES];
    struct world_node nodes[WORLD_NODES];
    struct world_folder folders[WORLD_FOLDERS];
    int folder_count;
    struct world_link links[WORLD_NODES][WORLD_NODES];
    bool connected[WORLD_NODES][WORLD_NODES]; /* as the first knows it */
};

struct world *world_create(int count, uint64_t seed);
void world_destroy(struct world *world);

struct id128 world_incarnation(int folder);
/* False: refused, or its disk failed; the line is in node.line. */
bool world_start(struct world *world, int node);
/* Power goes, and what was not synced may. Silently: the others do not notice, and still get what it has sent. */
void world_crash(struct world *world, int at, bool silently);
/* Its disk is empty from now on; it is down. */
void world_wipe(struct world *world, int at, bool silently);
void world_connect(struct world *world, int a, int b);
/* What is under way is lost. Not noticed at the one that is down. */
void world_disconnect(struct world *world, int a, int b);
/* The oldest message on its way from a to b; false when there is none. */
bool world_deliver(struct world *world, int a, int b);
/* Starts what is down and not refused, connects all, and delivers until nothing is under way. */
void world_settle(struct world *world);
void world_settle_links(struct world *world);
/* All are founded, with the folders that they have now. */
bool world_all_founded(const struct world *world);

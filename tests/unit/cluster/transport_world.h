/* Nodes of the simulator with nothing on them but a transport, and what must be true of it checked all the time:
 * generations grow; up, frames and down come in this order; the frames of a generation are those of one connection of
 * the sender, each priority in order and without gaps; who is said to be gone has ended once. */
#pragma once

#include "cluster/transport.h"
#include "sim.h"
#include "sim_net.h"

#define WORLD_MS 1000000LL
enum {
    WORLD_NODES = 5, /* node ids are 1 … WORLD_NODES, on sim nodes 0 … */
    WORLD_PORT = 17000,
    WORLD_STRANGER = WORLD_NODES, /* the sim node of raw connections */
    WORLD_TYPE = 40,
    WORLD_LOGS = 200,
};

struct world_link { /* to one peer */
    bool up;
    uint64_t generation, last_generation;
    uint64_t sender_generation; /* of the frames of this generation; 0: none came yet */
    uint64_t next_in[TRANSPORT_PRIORITIES], next_out[TRANSPORT_PRIORITIES];
    uint64_t frames, bytes, ups, downs, gones, rooms;
    struct id128 incarnation;
};

struct world_node {
    struct world *world;
    int number; /* of the sim node */
    struct env *env;
    struct transport *transport; /* NULL: not running */
    struct transport_options options;
    struct world_link links[WORLD_NODES + 1]; /* by node id */
    uint64_t refused[TRANSPORT_REASONS], refused_by_peer[TRANSPORT_REASONS];
    enum transport_priority last_priority;
    void (*turn)(struct world_node *node); /* before transport_turn; may be NULL */
};

struct world {
    struct sim *sim;
    struct world_node nodes[WORLD_NODES];
    uint64_t hash;        /* of what happened */
    uint64_t frames, ups; /* in all */
    char logs[WORLD_LOGS][400];
    int log_count;
};

void world_init(struct world *world, uint64_t seed);
void world_deinit(struct world *world);

/* Options as all nodes have them; change them before world_start. */
void world_prepare(struct world *world, uint64_t id);
/* Starts a process; its peers are set with world_allow. */
void world_start(struct world *world, uint64_t id);
void world_allow(struct world *world, uint64_t id, uint64_t peer, const struct id128 *incarnation);
/* Prepares, starts and introduces the nodes 1 … count to each other, with known incarnations. */
void world_start_all(struct world *world, uint64_t count);
void world_crash(struct world *world, uint64_t id, enum sim_crash how);
/* The same node again, after world_crash, with the peers 1 … count. */
void world_restart(struct world *world, uint64_t id, uint64_t count);
void world_run_ms(struct world *world, int64_t ms);

/* A frame with `size` bytes behind its header. */
enum status world_send(struct world_node *node, uint64_t peer, enum transport_priority priority, size_t size);

struct id128 world_incarnation(uint64_t id);
struct world_node *world_node(struct world *world, uint64_t id);
struct world_link *world_link(struct world *world, uint64_t id, uint64_t peer);
bool world_connected(struct world *world, uint64_t one, uint64_t other);
/* How many lines of log contain the text. */
int world_logged(const struct world *world, const char *text);
struct transport_statistics world_statistics(struct world *world, uint64_t id);
struct transport_peer_statistics world_peer_statistics(struct world *world, uint64_t id, uint64_t peer);

/* ---- a connection made by hand from WORLD_STRANGER (or accepted there) ---- */
struct raw {
    struct env *env;
    struct env_stream *stream; /* NULL: closed here */
    struct buffer received, wanted;
    bool ended; /* the other side closed it, or it failed */
    bool deaf;
};
/* env is that of a sim node that runs (world_raw_env). */
struct env *world_raw_env(struct world *world);
void raw_open(struct raw *raw, struct env *env, const char *address);
void raw_adopt(struct raw *raw, struct env *env, struct env_stream *stream);
void raw_send(struct raw *raw, const void *data, size_t size);
void raw_close(struct raw *raw);

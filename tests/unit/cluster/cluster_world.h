/* Whole clusters in the simulator, without servers: nodes with a cluster on each, and clients made by hand that submit
 * to it. Each client appends words that are never used twice to one key of a shard, or reads that key; what it hears,
 * and what stands there in the end, is checked:
 *
 * 1. of each request the client hears at most once, and exactly once unless its node went down;
 * 2. a word stands there at most once; when its append was answered, or EXECUTED was, once; when it was refused with
 *    anything but UNCERTAIN, never;
 * 3. the words of a client stand in the order in which it submitted them;
 * 4. a read that was answered saw of the client's words exactly those before it that stand there. */
#pragma once

#include "cluster/cluster_internal.h"
#include "sim.h"
#include "sim_net.h"

#define WORLD_MS INT64_C(1000000)

enum {
    WORLD_NODES = 5, /* ids are 1 …, on the sim nodes 0 … */
    WORLD_CLIENTS = 8,
    WORLD_REQUESTS = 20000, /* of a client */
    WORLD_SHARDS = 4,
    WORLD_WORKERS = 3, /* of a node */
    WORLD_PEER_PORT = 17000,
    WORLD_WORD_BYTES = 8,
};

struct world_request {
    uint32_t shard;
    bool reads; /* the words; else it appends one, or is raw */
    bool raw;   /* another command, whose effect is not looked at */
    bool heard;
    enum status status; /* as heard; OK: the reply */
    uint32_t seen;      /* by a read: how many of its client's words */
};

struct world_client {
    struct requester requester; /* first */
    struct world *world;
    int number;
    struct world_node *node;
    uint64_t life; /* of the node, when it began */
    struct world_request *requests;
    int count, heard;
    struct buffer reply; /* being written, or the last */
    struct resp_writer writer;
    /* Called for each thing heard; may be NULL. */
    void (*told)(struct world_client *client, uint64_t tag);
    struct buffer slow; /* what was slow elsewhere: word and microseconds of each */
};

struct world_worker {
    struct world_node *node;
    struct env *env;
    struct workers *workers; /* NULL: it is the only one */
    struct cluster *cluster;
};

struct world_node {
    struct world *world;
    uint64_t id;
    uint64_t start, lives;
    struct world_worker workers[WORLD_WORKERS];
    struct env *env;         /* of the first worker, at which clients are, … */
    struct cluster *cluster; /* … and its part; NULL: down */
    bool failed;             /* it says so itself */
};

struct world {
    struct sim *sim;
    struct world_node nodes[WORLD_NODES];
    struct member founders[WORLD_NODES];
    int node_count;
    uint32_t shards, replicas;
    bool lease_reads;
    int workers; /* of each node; 0: one */
    const struct machine_scripts *scripts;
    uint32_t slow_us[WORLD_NODES]; /* what each node is to be told of as slow; 0: of nothing */
    int64_t served_ns;             /* what each request of another node takes, where it is executed */
    /* Of each message that a worker hears, when it has passed it on as a server does; may be NULL. */
    void (*heard)(struct world_worker *worker, const struct message *message);
    struct world_client clients[WORLD_CLIENTS];
    int client_count;
};

/* Nodes that are up, and have founded the cluster; every shard is led. How they read and how many workers they have
 * stands in *world before. */
void world_begin(struct world *world, uint64_t seed, int nodes, uint32_t shards, uint32_t replicas);
/* Checks everything that must be true, after what is blocked, paused or down has come back; ends it all. */
void world_end(struct world *world);
void world_run_ms(struct world *world, int64_t ms);
/* Turn by turn until it is so; fails after two minutes. */
void world_run_until(struct world *world, bool (*so)(void *argument), void *argument);

struct world_node *world_node(struct world *world, uint64_t id);
/* At the worker that has the shard. */
struct cluster *world_part_of(struct world *world, uint64_t id, uint32_t shard);
struct lane *world_lane(struct world *world, uint64_t id, uint32_t shard);
void world_kill(struct world *world, uint64_t id, enum sim_crash how);
void world_start(struct world *world, uint64_t id);
/* Nothing passes between the two any more, or again. */
void world_part(struct world *world, uint64_t one, uint64_t other, bool parted);
void world_reset(struct world *world, uint64_t one, uint64_t other);
/* Who leads the shard, as node `asked` knows; 0: nobody. */
uint64_t world_leader(struct world *world, uint64_t asked, uint32_t shard);
/* Waits until this node leads, by its own word, and `asked` knows. Hands over leadership if need be. */
void world_let_lead(struct world *world, uint64_t id, uint32_t shard);
void world_wait_for_leader(struct world *world, uint64_t asked, uint32_t shard);
bool world_votes(struct world *world, uint64_t id, uint32_t shard);
/* A voter of the shard that is neither of the two (0: any). */
uint64_t world_other_voter(struct world *world, uint32_t shard, uint64_t one, uint64_t other);
uint64_t world_stranger(struct world *world, uint32_t shard); /* a node that does not vote in it */
struct cluster_counters world_counters(struct world *world, uint64_t id);

struct world_client *world_client(struct world *world, uint64_t node);
/* Return the request's number. */
int world_append(struct world_client *client, uint32_t shard);
int world_read(struct world_client *client, uint32_t shard);
int world_command(struct world_client *client, uint32_t shard, const struct slice *argv, uint32_t argc);
/* The same with an internal command. */
int world_internal(struct world_client *client, uint32_t shard, uint16_t id, const struct slice *argv, uint32_t argc);
/* Everything that the client submitted was answered. */
void world_wait(struct world_client *client);
bool world_done(void *client);
/* Of requests first … last all were heard, with this status. */
void world_expect(const struct world_client *client, int first, int last, enum status status);

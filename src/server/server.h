/* The server: listeners, clients, routing; the composition root of a node.
 *
 * Everything it does to the outside goes through the env it is given, so the simulator runs it unchanged. */
#pragma once

#include "env/env.h"
#include "server/config.h"

struct member;
struct cluster;
struct server;
struct shard_stats;

enum { SERVER_MESSAGE_BYTES = 1024, SERVER_WORKERS_MAXIMUM = 64 };

struct server_options {
    uint64_t node_id;      /* from 1 */
    const char *directory; /* made when missing; its parent exists */
    const char *host;      /* to listen on; NULL: nothing, clients are handed in (server_take_client) */
    int port;              /* 0: a free one */
    const char *version;   /* of the program */
    int64_t maxclients;    /* CONFIG SET takes no more, for the system gives no more descriptors; 0: it gives any */

    /* The nodes of the cluster's beginning, this one among them (cluster/members.h; ids and addresses are taken). The
     * same at all of them. Borrowed until the server is destroyed. None: a cluster of one. */
    const struct member *founders;
    size_t founder_count;
    uint32_t shards, replicas; /* of the cluster; at least 1 */
    const char *peer_host;     /* to listen on for other nodes; NULL in a cluster of one */
    int peer_port;             /* not 0 */
    bool lease_reads;          /* strong reads trust the rates of the nodes' clocks instead of asking a majority */

    /* Of its workers, each with a loop of its own; the first is the one that server_create is given. Borrowed as the
     * founders are. None: one worker, that one. */
    struct env *const *workers;
    uint32_t worker_count; /* at most SERVER_WORKERS_MAXIMUM */
};

struct server_events {
    /* The server has stopped: OK after a shutdown, else why. The owner ends the loop and calls server_destroy. */
    void (*stopped)(void *owner, enum status status);
    /* CONFIG SET changed something; the owner looks at what is its own (loglevel). In each worker's thread, with its
     * env. */
    void (*configured)(void *owner, struct env *env, const struct config *config);
    /* All workers have opened their logs, and clients are served. May be NULL. */
    void (*ready)(void *owner);
    /* This worker, not the first, is done: its loop may end. In its thread. May be NULL when there is one worker. */
    void (*worker_stopped)(void *owner, struct env *env);
    /* The node is about to stop, and why, for a person; `stopped` follows. In the thread of the worker that failed. May
     * be NULL: the log has it. */
    void (*failed)(void *owner, const char *what);
};

/* Recovers the data, listens and serves. *config is taken over (also on failure). On failure ret_message is one line
 * for a person. */
MUST_USE enum status server_create(struct env *env, const struct server_options *options, struct config *config,
                                   const struct server_events *events, void *owner, struct server **ret_server,
                                   char ret_message[static SERVER_MESSAGE_BYTES]);
/* Closes everything at once; no other worker's loop runs any more. Takes NULL. */
void server_destroy(struct server *server);

/* Begins to stop: no new clients, what was received is answered, then `stopped`. A second call does not wait. */
void server_shutdown(struct server *server);

/* A client's stream, as a listener would have accepted it: of this env, and silent until now. Taken over. From a
 * callback of the first worker's loop. */
void server_take_client(struct server *server, struct env_stream *stream);

/* With how many workers the data folder was made; 0: that is not known, or there is none yet. */
uint32_t server_recorded_workers(struct env *env, const char *directory, uint64_t node_id);

/* What a data folder says of itself, for who opens it as it is. */
struct server_record {
    bool known; /* false: there is no node in it yet, and nothing else is set */
    uint64_t node_id;
    uint32_t workers;
    uint32_t nodes, shards, replicas; /* of its cluster; 0: it was not founded yet */
};
/* On failure ret_message is one line for a person. */
MUST_USE enum status server_record_read(struct env *env, const char *directory, struct server_record *ret_record,
                                        char ret_message[static SERVER_MESSAGE_BYTES]);

int server_port(const struct server *server);
/* Prometheus text. Figures of other workers than the first are at most one tick old. */
void server_metrics(struct server *server, struct buffer *out);
/* Of the data; see shard.h. */
void server_shard_stats(const struct server *server, struct shard_stats *ret_stats);
uint64_t server_digest(const struct server *server);
/* What it has of the cluster, to look at; borrowed. Of a shard: what the worker has that owns it; while no other thread
 * runs. */
const struct cluster *server_cluster(const struct server *server);
/* Attempts of transactions behind their first, which wait for locks: of the worker that owns the shard. */
uint64_t server_txn_attempts_of(const struct server *server, uint32_t shard);
const struct cluster *server_cluster_of(const struct server *server, uint32_t shard);

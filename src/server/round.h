/* Commands about the node as a whole, when it has several workers: a worker that is asked for one first asks the others
 * for their parts, and executes it when it has all of them. Meanwhile the command is parked, so what its client sends
 * behind it waits.
 *
 * INFO, CLIENT LIST, … add up what the parts say. CLIENT KILL, CLIENT PAUSE, … are done by every worker before the
 * client hears of it. CONFIG SET and REWRITE are executed by the first worker alone, which tells all others of the new
 * settings: so there is one order of changes. So is CLUSTER INFO: that worker has the connections. A transaction cannot
 * wait for parts: these commands are refused in it. */
#pragma once

#include "cluster/cluster.h"
#include "cluster/transport.h"
#include "machine/lock/locks.h"
#include "server/figures.h"
#include "server/server_state.h"

struct command;
struct command_spec;
struct connection;
struct round;

/* The command is about all workers of the node. */
bool round_takes(const struct command_spec *spec);
/* It is the first worker's to execute; its part is the reply. */
bool round_takes_first(const struct command_spec *spec);
/* Asks the other workers, and returns true: park the command. False: their parts are there. */
bool round_waits(struct connection *connection, const struct command *command);
/* The parts of the connection's command are not there yet. */
bool round_pending(const struct connection *connection);
/* The command was executed, or its client is gone. */
void round_end(struct connection *connection);

/* Calls for each part; for none when the node has one worker. */
void round_each(const struct round *round, void (*each)(void *owner, struct slice part), void *owner);

/* What INFO, metrics and COHORT.STATUS show of a worker, and of several together. */
struct server_part {
    struct server_figures figures;
    struct shard_stats stats;
    struct transport_statistics transport;
    struct cluster_message_counters messages;
    size_t connections, client_bytes, monitors;
    size_t feeds, feeds_behind, service_watches;
    uint64_t txns_of_lost;                /* transactions that were asked about, or aborted, since their node is lost */
    int64_t feed_lag_ms;                  /* of the worker whose is most */
    size_t blocked;                       /* wait for a lock */
    struct lock_heat hot[LOCKS_HOT];      /* of shards led here */
    uint32_t voting, leading, leaderless; /* of its shards */
};
/* Of this worker and of the parts of a round (NULL: of none). */
void server_part_sum(struct server *server, const struct round *round, struct server_part *ret_part);
/* Adds another worker's. */
void server_part_add(struct server_part *sum, const struct server_part *one);
void server_part_look(struct server *server, struct server_part *ret_part);
/* A shard, whichever worker has it. */
void round_replica(struct server *server, const struct round *round, uint32_t shard,
                   struct cluster_replica *ret_replica);

/* ---- for crew.c ---- */
void round_asked(struct server *server, uint32_t from, struct slice body);
void round_part(struct server *server, uint32_t from, struct slice body);
void rounds_destroy(struct server *server);

/* The workers of a node, as its servers see each other: a struct server in each (cluster/workers.h says how they
 * speak).
 *
 * The first is the node's: it has the data folder, the listener, the connections to other nodes, and the settings. It
 * starts and stops the others, and hands each a share of the clients.
 *
 *   start: folder and ports (first) ─START▶ each opens its log ─OPENED▶ all have: the folder is noted as complete, and
 *          the groups may open ─▶ ready
 *   stop:  DRAIN ▶ each answers what it has received, and says when nothing waits (QUIET) ─▶ all are quiet, or it is
 *          late: STOP ▶ each closes ─STOPPED▶ the last one: `stopped`
 *
 * What limits and figures of the whole node need, each tells the others when it changes (struct crew_share): at most
 * CREW_SHARE_BYTES of memory, or one tick, behind. */
#pragma once

#include "base/slice.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffer;
struct config;
struct env_stream;
struct server;

enum { CREW_SHARE_BYTES = 64 << 10 };

/* What one worker has of what is limited for all together. */
struct crew_share {
    uint64_t memory_bytes;  /* of data, and of what waits to become data */
    uint64_t client_bytes;  /* in buffers of clients */
    uint64_t largest_bytes; /* of the client that has most of them and may be closed for it */
    uint64_t clients;       /* that were closed, since it began */
    uint64_t monitors;
};

/* What the servers of a node's workers tell each other. */
enum crew_tell {
    CREW_START,
    CREW_OPENED,
    CREW_FAILED, /* status, a line for a person */
    CREW_CLIENT, /* a stream, and the client's id */
    CREW_SHARE,
    CREW_DRAIN, /* until when */
    CREW_QUIET, /* or no longer */
    CREW_STOP,
    CREW_STOPPED,
    CREW_SHUTDOWN, /* a client of that worker has asked for it */
    CREW_CONFIG,   /* the settings, from the first */
    CREW_FIGURES,  /* for metrics */
    CREW_LINE,     /* for those who monitor */
    CREW_INTEREST, /* pubsub.h: one subscription more or less: kind u8, more u8, name */
    CREW_ASK,      /* round.h */
    CREW_PART,
    CREW_SCRIPT, /* script_peers.h */
};

/* ---- at the first worker ---- */

/* Makes the others, and lets them start. */
void crew_start(struct server *server);
/* The worker that has the next client. */
uint32_t crew_next(struct server *server);
void crew_give_client(struct server *server, uint32_t worker, struct env_stream *stream, uint64_t id);
/* Clients of all workers. */
size_t crew_clients(const struct server *server);
void crew_drain(struct server *server);
bool crew_quiet(const struct server *server);
/* All stop; `stopped` follows when they have. */
void crew_stop(struct server *server);
/* The settings have changed: all others get them. */
void crew_tell_config(struct server *server);
/* When no worker runs any more. */
void crew_destroy(struct server *server);

/* ---- at any ---- */

/* At the end of a turn: what has changed is told, and all messages go. */
void crew_turn(struct server *server);
/* Ten times a second. */
void crew_tick(struct server *server);
/* Of the other workers together. */
struct crew_share crew_others(const struct server *server);
/* The log failed, or what else ends the node. */
void crew_fail(struct server *server, enum status status, const char *what);
/* Asks the first worker to stop the node. */
void crew_ask_shutdown(struct server *server);
/* That worker will have a monitor: lines go there from now on. */
void crew_expect_monitor(struct server *server, uint32_t worker);
/* To all: a client here subscribes to one more channel, or no longer. */
void crew_tell_interest(struct server *server, uint8_t kind, struct slice name, bool more);
/* A monitor's line, to the workers that have monitors. */
void crew_tell_monitors(struct server *server, struct slice line);

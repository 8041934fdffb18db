/* COHORT.FEED: the changes of keys that begin with a prefix, pushed to whoever asked (docs/feeds.md has the user's
 * view, machine/feed/feed_log.h what they are served from).
 *
 *   COHORT.FEED ─▶ KEEP or STATE to every shard ─▶ OK and a position ─▶ pushes ─▶ … ─▶ COHORT.UNFEED, RESET, the end of
 *   the connection, or a last push that says why
 *
 * For each shard a feed has a mark: all before it is pushed. The worker has marks of its own, its *front*: it reads
 * each shard's history once for all feeds that are there, and hands each change to those whose prefix it has. A feed
 * that is not at the front of a shard (it began with FROM, or its client is slow) reads that history by itself until it
 * is.
 *
 *      history of a shard   ──────────────┬───────────────────────┬──────────▶
 *                                     a feed behind             the front, with all others
 *
 * Invariants
 * 1. What is pushed was committed and is applied here, or at the node that was asked.
 * 2. A push holds changes of one shard, in their order, and the position behind them: the marks of that moment. So
 *    whoever begins there is told exactly what follows, whatever became of the connection.
 * 3. A feed is given more only while its client has less than `feed-output-bytes` unread: a slow one costs a set of
 * marks. It ends when its mark is forgotten; nothing is kept for its sake.
 * 4. A change costs its key's length and the feeds that it belongs to. A turn hands on about FEED_TURN_BYTES at most,
 * of each shard about FEED_FRONT_BYTES, and lets FEED_BEHIND feeds that are behind read once.
 * 5. Shards of another worker, and those that this node has none of, are asked again and again, each FEED_POLL_MS at
 *    least, FEED_POLL_IDLE_MS at most.
 * 6. While there are feeds, each shard is told to keep its history, at a third of the time that it is kept. */
#pragma once

#include "command/command.h"
#include "server/connection.h"

struct feed_start;
struct feeds;
struct server;

enum {
    FEEDS_PER_CLIENT = 1024,
    FEED_READ_BYTES = 64 << 10, /* of a history, at a time */
    FEED_FRONT_BYTES = 1 << 20,
    FEED_TURN_BYTES = 8 << 20,
    FEED_BEHIND = 64,
    FEED_POLL_MS = 5,
    FEED_POLL_IDLE_MS = 80,
    FEED_LATER_MS = 20,        /* until what is not applied here yet is looked for again */
    FEED_HEARTBEAT_MS = 10000, /* a feed without changes is told its position so often while every shard is led, … */
    FEED_HURRY_MS = 1000,      /* … or so often, when a quarter of what a shard keeps has passed; of all feeds … */
    FEED_TOLD_PER_TICK = 500, /* … so many in a tenth of a second: with 50,000 feeds each has its turn in ten seconds */
};

/* True for COHORT.FEED and COHORT.UNFEED. */
bool feeds_take(const struct command_spec *spec);
/* Nothing of the connection is pending. */
void feeds_command(struct connection *connection, const struct command *command);
/* The connection has feeds, or is about to. */
static inline bool feeds_of(const struct connection *connection) { return connection->feed_count != 0; }
/* The answer to its COHORT.FEED is still to come: what it sends meanwhile waits. */
static inline bool feeds_starting(const struct connection *connection) { return connection->feed_start != NULL; }
/* Over RESP2, what comes between pushes could not be told from them: most commands are refused. */
bool feeds_refuse(const struct connection *connection, const struct command_spec *spec);
/* All its feeds end: it closes, or forgets what it had going. */
void feeds_leave(struct connection *connection);
/* The client has read; it may be given more. */
void feeds_flushed(struct connection *connection);

/* Once per turn, behind the cluster's. True when there is more to do. */
bool feeds_turn(struct server *server);
/* Ten times a second. */
void feeds_tick(struct server *server);
/* Answers may still come: after the cluster has gone. */
void feeds_destroy(struct server *server);

/* How many there are in this worker, and how many of them are behind. */
size_t feeds_count(const struct server *server, size_t *ret_behind);
/* For so long changes may have been missing here, of some shard: its leader is not heard, or does not answer. To within
 * a tenth of a second; 0: there are no feeds. */
int64_t feeds_lag_ms(struct server *server);

/* ---- for reply.c: the answers of shards to COHORT.FEED ---- */

struct buffer *feed_start_part(struct feed_start *start);
/* True when it was the last one. */
bool feed_start_take(struct feed_start *start, uint32_t shard);
bool feed_start_failed(struct feed_start *start, enum status status);
/* The reply; with OK the feed begins. */
void feed_start_reply(struct connection *connection, struct feed_start *start, struct resp_writer *reply);
void feed_start_destroy(struct feed_start *start);

/* Commands that look at the whole cluster (DBSIZE, KEYS, SCAN, RANDOMKEY) when it has several shards: one request of a
 * client, one slot of its connection, a part for each shard, one reply.
 *
 * Invariants
 * 1. Parts are requests of the connection itself, so in each shard the command has its place among what the client sent
 *    before and after it. Over the shards it is not one atomic look.
 * 2. The reply is written when all parts are answered; it is an error when one of them failed.
 * 3. What is held of replies counts as output of the client.
 *
 * SCAN asks one shard at a time. Its cursor is (position in the shard) × shards + (shard − 1), 0 at the beginning and
 * the end; with one shard that is the position itself. The number of shards never changes, and positions mean the same
 * at every replica, so cursors hold through changes of leaders. */
#pragma once

#include "base/status.h"
#include "command/command.h"
#include "wire/resp_writer.h"

struct connection;
struct gather;

/* True for commands at the machine that have no keys, so no shard of their own. */
bool gather_takes(const struct command_spec *spec);
/* Asks the shards, and answers when they have. */
void gather_start(struct connection *connection, const struct command *command);

/* ---- for reply.c: the parts ---- */

/* Where the next part's reply is to be written. */
struct buffer *gather_part(struct gather *gather);
/* A part is there. True when it was the last one. */
bool gather_take(struct connection *connection, struct gather *gather, uint32_t shard);
bool gather_failed(struct gather *gather, enum status status);
/* Not the meta group. */
bool gather_asks_shards(const struct gather *gather);
/* Writes the client's reply. */
void gather_reply(const struct gather *gather, struct resp_writer *reply);
void gather_destroy(struct connection *connection, struct gather *gather);

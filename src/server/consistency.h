/* How new what a connection reads must be: COHORT.CONSISTENCY, and COHORT.POSITION, which carries what one connection
 * has seen to another.
 *
 * Invariants
 * 1. `connection.reached` has, of each shard, the last entry of its log of which this connection has seen anything: the
 *    one that holds its write, wherever that was executed, or the last one that a read of it may have seen. It never
 *    goes back. CONSISTENCY_SOMEWHERE: further than is known here (the reply to a write was lost, or a transaction was
 *    committed by its id): the next read there is strong, and tells.
 * 2. A read at level SESSION shows at least these entries; one at level BOUNDED all that was acknowledged so long
 * before (cluster/level_reads.h has both). They need not be strong, and so are answered by this node's replica, or wait
 * for it; what changes something, and strong reads, wait for them.
 * 3. Only reads of keys in one shard are weaker. Scripts, transactions, WATCH, what looks at several shards, and what
 *    tells of locks, elections and transactions, are as always: strong; at level EVENTUAL as READONLY has them. */
#pragma once

#include "server/server_state.h"

#define CONSISTENCY_SOMEWHERE UINT64_MAX
enum { CONSISTENCY_BOUND_MS = 24 * 3600 * 1000 }; /* at most */

/* Room for it; noinline: once for each connection. */
void consistency_make_room(struct connection *connection);

/* Something of the shard's log up to this entry was seen, by a read or write that was strong, or by one that was not.
 */
static inline void consistency_reach(struct connection *connection, uint32_t shard, uint64_t index)
{
    if (__builtin_expect(connection->reached == NULL, 0)) {
        consistency_make_room(connection);
    }
    uint64_t *reached = &connection->reached[shard - 1];
    *reached = index > *reached ? index : *reached;
}

/* The end of a request is told (cluster_told_index): behind a lost reply it is known again how far the shard is. */
void consistency_told(struct connection *connection, uint32_t shard, uint64_t index);
/* A write was executed, who knows where; in every shard (0). */
void consistency_lose(struct connection *connection, uint32_t shard);
void consistency_deinit(struct connection *connection);
/* As a connection begins. */
void consistency_reset(struct connection *connection);

/* This is a read that need not be strong, at the connection's level: consistency_read has it. */
bool consistency_takes(const struct connection *connection, const struct command_spec *spec);
void consistency_read(struct connection *connection, uint32_t shard, const struct command *command);
/* Some of them are under way. */
static inline bool consistency_waits(const struct connection *connection)
{
    return connection->level_end > connection->slot_head;
}
/* What a client is told when one failed; NULL: as always. */
const char *consistency_refusal(const struct connection *connection, const struct command_spec *spec,
                                enum status status);

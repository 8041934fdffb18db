/* DIR/cluster: which cluster this data folder belongs to, as it was founded.
 *
 *   cohort-cluster 1
 *   state = founded
 *   cluster = 32 hexadecimal digits
 *   shards = 8
 *   replicas = 3
 *   node = 1 INCARNATION 127.0.0.1:7001 127.0.0.1:17001     one line for each founder: for clients, for nodes
 *   node = 2 …
 *   checksum = CRC32C of all before this line
 *
 * A cluster of one node has no addresses in its record: where it listens is its own business.
 *
 * The record never changes after the founding; who belongs to the cluster later is the members' business (members.h).
 */
#pragma once

#include "cluster/members.h"
#include "env/env.h"

enum { FOUNDING_MESSAGE_BYTES = 1024 };

/* How far a node has come; see founding.h. */
enum founding_state {
    FOUNDING_FRESH,   /* no record */
    FOUNDING_AGREED,  /* it has agreed to this set of data folders, and never agrees to another */
    FOUNDING_FOUNDED, /* all of them have */
};

struct founding_record {
    /* Of a cluster of several: hash of what its nodes were started with (ids, addresses, shards, replicas), so nodes
     * that were started with something else are of another cluster from the first word on. Of a cluster of one: the
     * incarnation. */
    struct id128 cluster;
    uint32_t shards, replicas;
    uint32_t count;
    struct member nodes[PLACEMENT_MAXIMUM_NODES]; /* by id; id, incarnation, client, peer count */
};

/* Of what a node was started with; no incarnations, and of one node no cluster yet. STATUS_INVALID: they make no
 * cluster (two nodes with one id or address, too many, …). */
MUST_USE enum status founding_record_make(struct founding_record *ret_record, const struct member *founders,
                                          size_t founder_count, uint32_t shards, uint32_t replicas);

/* Reads directory/cluster. *ret_state is FRESH, and the record untouched, when there is none. On failure ret_message is
 * a line that says where and what to do. */
MUST_USE enum status founding_record_read(struct env *env, const char *directory, enum founding_state *ret_state,
                                          struct founding_record *ret_record,
                                          char ret_message[static FOUNDING_MESSAGE_BYTES]);
/* Writes it, atomically and durably. */
MUST_USE enum status founding_record_write(struct env *env, const char *directory, enum founding_state state,
                                           const struct founding_record *record,
                                           char ret_message[static FOUNDING_MESSAGE_BYTES]);

/* The same founders, shards and replicas, whatever the incarnations? If not, ret_message is a line that shows what was
 * founded and what this start says. */
bool founding_record_matches(const struct founding_record *record, const struct founding_record *started,
                             const char *directory, char ret_message[static FOUNDING_MESSAGE_BYTES]);

/* Which keys a command touches: what has to be free of others' locks before it may be executed.
 *
 * An EXEC touches what it watches (as a read) and what its commands touch; so do COHORT.TXN.READ, COHORT.TXN.PREPARE
 * and COHORT.TXN.LAST. LOCK.GUARD touches what its command touches; names of locks are no keys. A command that writes
 * is taken to write each of its keys. */
#pragma once

#include "command/command.h"

enum footprint_reach {
    FOOTPRINT_KEYS,        /* those that were called for; maybe none */
    FOOTPRINT_ALL_READ,    /* every key of the shard: KEYS, SCAN, DBSIZE … */
    FOOTPRINT_ALL_WRITTEN, /* FLUSHALL */
};

typedef void footprint_key(void *owner, struct slice key, bool writes);

/* Calls for each key, in order, one that is named twice twice. `scratch` is for inner commands; what does not decode is
 * passed over. */
enum footprint_reach footprint_visit(const struct command *command, struct command_arguments *scratch,
                                     footprint_key *key, void *owner);

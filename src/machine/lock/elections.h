/* An election is an exclusive lock in a namespace of its own: its name stands behind ELECTION_PREFIX, with which no
 * name of a lock begins, and its VALUE is the note. So terms of office are leases, and tokens, waits, snapshots and
 * limits are those of locks (locks.h). */
#pragma once

#include "machine/lock/lock_limits.h"
#include "machine/lock/locks.h"

enum { ELECTION_NAME_BYTES = 512, ELECTION_KEY_BYTES = ELECTION_NAME_BYTES + 2 };
#define ELECTION_PREFIX "\0E"

/* Names of locks that begin so are refused, in these words. */
#define lock_reserved_text "ERR no name of a lock begins with a zero byte; take another one"
static inline bool lock_name_reserved(struct slice key) { return key.size > 0 && key.data[0] == 0; }

/* The lock of an election whose name fits; it is written to `space`. */
struct slice election_key(struct slice election, uint8_t space[static ELECTION_KEY_BYTES]);
/* Whether the lock is one of an election, and of which. */
bool election_of(struct slice key, struct slice *ret_election);

/* Parses `election candidate PX ttl_ms [WAIT ms] [VALUE v]`. NULL, or what is wrong, as a reply's error. The key is the
 * election's name; the origin is not touched. */
const char *election_request_parse(const struct slice *argv, uint32_t argc, struct lock_request *ret_request);

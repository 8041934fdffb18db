/* What stands in ZooKeeper, as text that people can read. Pure.
 *
 *   /locks/NAME                               a lock, for ever: "cohort fence=7\npast owner=a token=3 …\n"
 *   /locks/NAME/GUID__lock__0000000012        who holds it or waits, as kazoo's: "cohort ttl_ms=1000 owner=a note="
 *   /locks/NAME/GUID__rlock__0000000013       a shared one
 *
 * NAME is the lock's name; what ZooKeeper does not take, or means something else by, is %xx. Owners and notes likewise,
 * and what is a space or a percent sign. */
#pragma once

#include "engine/lock_state.h"

enum {
    NODES_NAME_BYTES = 3 * LOCK_STATE_KEY_BYTES + 1, /* with a NUL */
    NODES_GUID_BYTES = 33,
    NODES_CHILD_BYTES = 128,
};

/* A child that holds the lock or waits for it. */
struct contender {
    const char *name;
    bool shared;
    int32_t sequence; /* wraps around */
};

/* A contender's data. Texts are in `bytes`. */
struct contender_data {
    bool ours;      /* else the owner is all that stands there */
    int64_t ttl_ms; /* 0: not ours */
    struct slice owner, note;
    uint8_t bytes[LOCK_STATE_OWNER_BYTES + LOCK_STATE_NOTE_BYTES];
};

/* The name of a lock's node, with a NUL. */
void nodes_name(struct slice key, char ret_name[static NODES_NAME_BYTES]);
/* The lock's name; at most as long as the node's. */
size_t nodes_key(const char *name, uint8_t *ret_key);

const char *nodes_suffix(bool shared);

/* False: it is something else. */
bool nodes_read_contender(const char *name, struct contender *ret_contender);
/* Those of the names, the first come first. NULL with names: memory was refused. To be freed. */
struct contender *nodes_contenders(char *const *names, size_t count, size_t *ret_count);
/* Who has to go before the one at `index` may hold the lock: the last that it waits for, or −1. */
ptrdiff_t nodes_predecessor(const struct contender *contenders, size_t index);

/* False: memory was refused. */
MUST_USE bool nodes_write_contender(struct buffer *out, int64_t ttl_ms, struct slice owner, struct slice note);
void nodes_read_contender_data(struct slice from, struct contender_data *ret_data);

/* Fence and past of a lock. */
MUST_USE bool nodes_write_lock(struct buffer *out, const struct lock_state *state);
/* STATUS_CORRUPT: somebody else's; STATUS_NOMEM. */
MUST_USE enum status nodes_read_lock(struct slice from, struct lock_state *state);

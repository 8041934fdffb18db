/* For lock_wait*.c. */
#pragma once

#include "server/lock_wait.h"
#include "server/server_state.h"
#include "server/wait_kind.h"

#define NS_PER_MS INT64_C(1000000)

enum wait_state {
    WAIT_ASKED,  /* the client's command is under way */
    WAIT_QUEUED, /* in the queue of its lock, as far as is known */
    WAIT_ASKING, /* the shard is asked what became of it */
    WAIT_OVER,   /* answered; a request is under way still */
    WAIT_LEAVES, /* the shard is to hear that nobody waits any more, … */
    WAIT_LEAVING /* … and is being told */
};

struct lock_wait {
    struct waiter waiter;
    struct requester requester;
    enum wait_state state;
    const struct wait_kind *kind;
    struct server *server;
    uint32_t shard;
    struct buffer words; /* the client's command, encoded */
    struct buffer name;  /* by which the shard is asked about it */
    struct slice owner;
    int64_t deadline_ns, next_ns;
    uint64_t leader; /* when it was last asked */
    bool anew;       /* it was in the queue before it was asked */
    bool unread;     /* it was executed, and its reply is lost: the owner may have had the lock before it asked */
    bool ends;       /* the client hears `last` when the shard has heard, unless it has passed */
    struct buffer last;
    struct buffer answer;
    struct resp_writer writer;
};

/* ---- lock_wait_say.c: what is said to the shard; each sets the state, unless it is refused ---- */

/* The client's command, in the name of the connection: what that asked of the shard before comes before. */
MUST_USE enum status wait_submit(struct lock_wait *wait);
/* What became of it? */
void wait_ask(struct lock_wait *wait);
/* Nobody waits. */
void wait_take_back(struct lock_wait *wait);
/* It is asked about after a while: of all waits of a worker LOCK_ASKS_PER_SECOND in a second at most. */
void wait_set_next_ask(struct lock_wait *wait);
void wait_set_next(struct lock_wait *wait, int64_t ms);

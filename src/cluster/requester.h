/* Whoever asks something of a shard and waits for the answer: a client's connection, a look at all shards, another
 * node's batch, the node itself. The first member of whatever it is; `tag` tells its requests apart.
 *
 * For each request that was taken exactly one of these comes: begin and end, or failed. */
#pragma once

#include "base/status.h"
#include "command/command.h"
#include "wire/resp_writer.h"

struct requester;

struct requester_events {
    /* A writer for the reply, or NULL when nobody waits for it any more. */
    struct resp_writer *(*begin)(struct requester *requester, uint64_t tag);
    /* `command` is NULL when it was executed elsewhere. */
    void (*end)(struct requester *requester, uint64_t tag, const struct command *command);
    /* UNCERTAIN: it may have been executed; EXECUTED: it was, and its reply is lost. Everything else: it definitely was
     * not (NO_LEADER: nobody could take it in time; NOSPACE, FULL, …: refused). */
    void (*failed)(struct requester *requester, uint64_t tag, enum status status);
    /* It definitely was not executed, and another node may lead now. NULL: the cluster takes it there. */
    void (*returned)(struct requester *requester, uint64_t tag);
    /* A request was slow at another node (it ends in a moment), or at another worker of this node (it has just ended).
     * Not NULL: whoever asks outlives the end of what it asked of another worker until the turn is over. */
    void (*slow)(struct requester *requester, const struct command *command, int64_t duration_ns);
};

struct requester {
    const struct requester_events *events;
    uint64_t id; /* 0, or another one for each whose requests must keep their order */
};

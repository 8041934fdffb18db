/* Requests that travel together to the leader of their shard, or wait for one. */
#pragma once

#include "base/buffer.h"
#include "base/list.h"
#include "cluster/forward_frame.h"
#include "cluster/requester.h"

enum { PARCEL_BYTES = 256 << 10 }; /* of commands, unless one is larger */

struct parcel_request {
    struct requester *requester;
    uint64_t tag;
    int64_t since_ns; /* when it was given to us */
    size_t at;        /* of its flags in `bytes`; its command follows */
    bool settled;     /* its requester has heard, or it has gone elsewhere */
    bool returned;    /* by the leader: not executed there */
};

struct parcel {
    struct list node;
    struct buffer bytes; /* for each request as NODE_FORWARD has it */
    struct parcel_request *requests;
    uint32_t count, capacity;
    uint32_t logged; /* of all requests */
    uint32_t settled, returned;
    bool question; /* it asks what became of others, and is not sent again itself */

    /* when sent */
    uint64_t number, sequence; /* sequence 0: nothing in it is logged */
    uint64_t leader, generation, term;
    struct buffer answers; /* what came of an answer that is not complete */
};

struct parcel *parcel_create(void);
/* Takes it out of its list. Its requesters are told nothing. */
void parcel_destroy(struct parcel *parcel);
/* False when it is full for this one; not of its first. */
bool parcel_takes(const struct parcel *parcel, size_t command_bytes);
void parcel_add(struct parcel *parcel, const struct command *command, bool logged, struct requester *requester,
                uint64_t tag, int64_t since_ns);
/* The same request in another parcel. */
void parcel_move(struct parcel *from, uint32_t place, struct parcel *to);
/* How many bytes the request has in it. */
size_t parcel_request_bytes(const struct parcel *parcel, uint32_t place);
bool parcel_logged(const struct parcel *parcel, uint32_t place);
/* Its command, decoded; true when it is logged. */
bool parcel_command(const struct parcel *parcel, uint32_t place, struct command_arguments *arguments,
                    struct command *ret_command);
void parcel_settle(struct parcel *parcel, uint32_t place);
/* Settles it, and tells its requester. */
void parcel_fail(struct parcel *parcel, uint32_t place, enum status status);
/* What its requests take of memory. */
size_t parcel_cost_bytes(const struct parcel *parcel);

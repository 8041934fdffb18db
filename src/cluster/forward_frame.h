/* What nodes say to each other about requests, as payloads of frames (transport.h). Pure.
 *
 *   NODE_RAFT, NODE_RAFT_BULK   messages of consensus, one behind the other: group u32 · size u32 · message
 *   NODE_RAFT_SIGNAL            the same; they came before NODE_RAFT frames that were sent before them, and come again
 *   NODE_LEADS                  the sender leads, and takes requests: shard u32 · term u64, one behind the other
 *   NODE_FOUNDING               founding.h
 *   NODE_LISTENS                of which events (wire/message.h) clients of the sender may hear: classes u32
 *   NODE_MESSAGES               for them: messages, one behind the other
 *   NODE_FORWARD                a parcel of requests for the leader of a shard:
 *                               shard u32 · count u32 · logged u32 · parcel u64 · term u64 · start u64 · sequence u64 ·
 *                               settled_below u64 · slow_us u32 (what takes at least so long is to be told) · then for
 *                               each request: flags u8 (bit 0: it is logged behind the
 *                               parcel's marker; else it is read-only, or COHORT.TXN.FINISH, which may come again) ·
 *                               whose order counts, varint (requester.h: id; 0: nobody's) · the command as
 *                               command_encode makes it
 *   NODE_ANSWERS                a piece of what became of them: shard u32 · parcel u64 · the next bytes of: for each
 *                               request, in any order: place u32 · outcome u8 (bit 7: it was slow) · status i8 · size
 *                               u32 · index u64 (of one that replied: the entry of the shard's log that holds it; of a
 *                               read, the last one that it may have seen) · reply · when it was slow, what it took:
 *                               microseconds u32
 *   NODE_NOTE                   what the servers of two nodes tell each other; nothing for this room (cluster_note)
 *   NODE_LOCK_NEWS              notices for clients of the receiver (machine/lock/lock_notice.h); may be lost
 *
 * Integers are little-endian. start, sequence and settled_below are those of machine/origin.h; sequence is 0 when
 * nothing in the parcel is logged. */
#pragma once

#include "base/buffer.h"
#include "base/status.h"
#include "cluster/transport.h"

enum node_frame {
    NODE_RAFT = TRANSPORT_FIRST_TYPE,
    NODE_RAFT_BULK,
    NODE_LEADS,
    NODE_FOUNDING,
    NODE_FORWARD,
    NODE_ANSWERS,
    NODE_RAFT_SIGNAL,
    NODE_NOTE,
    NODE_LISTENS,
    NODE_MESSAGES,
    NODE_LOCK_NEWS = 32,
};

enum {
    FORWARD_HEAD_BYTES = 56,
    FORWARD_REQUESTS = 4096, /* in one parcel */
    ANSWERS_HEAD_BYTES = 12,
    ANSWER_HEAD_BYTES = 18,
    ANSWER_TOOK_BYTES = 4,         /* behind the reply of a slow one */
    ANSWERS_PIECE_BYTES = 1 << 20, /* of answers in one frame, so that heartbeats come between */
    FORWARD_REPLY_BYTES = INT32_MAX,
};

#define FORWARD_NEVER_SLOW UINT32_MAX

struct forward_head {
    uint32_t shard, count, logged;
    uint64_t parcel, term, start, sequence, settled_below;
    uint32_t slow_us; /* FORWARD_NEVER_SLOW: nothing is to be told */
};

void forward_head_put(uint8_t at[static FORWARD_HEAD_BYTES], const struct forward_head *head);
/* STATUS_CORRUPT when it makes no sense by itself. */
MUST_USE enum status forward_head_take(struct slice *from, struct forward_head *ret_head);

enum forward_outcome {
    FORWARD_REPLIED,      /* executed; the reply follows */
    FORWARD_REFUSED,      /* definitely not executed, and not to be sent again: the status says why */
    FORWARD_RETURNED,     /* definitely not executed; another node may take it */
    FORWARD_UNCERTAIN,    /* nobody will know */
    FORWARD_EXECUTED,     /* executed, by an earlier sending; the reply is lost */
    FORWARD_REPLIED_LONG, /* as REPLIED; its scripts took long (SHARD_LONG_STEPS) */
    FORWARD_OUTCOMES,
};

struct answer_head {
    uint32_t place, size;
    uint32_t took_us; /* when slow */
    uint64_t index;   /* 0: it did not reply */
    bool slow;        /* of one that replied */
    enum forward_outcome outcome;
    enum status status;
};

void answers_head_put(uint8_t at[static ANSWERS_HEAD_BYTES], uint32_t shard, uint64_t parcel);
MUST_USE enum status answers_head_take(struct slice *from, uint32_t *ret_shard, uint64_t *ret_parcel);
void answer_head_put(uint8_t at[static ANSWER_HEAD_BYTES], const struct answer_head *head);
/* Takes head, reply and what it took from the front. AGAIN: not all of it is there. */
MUST_USE enum status answer_take(struct slice *from, struct answer_head *ret_head, struct slice *ret_reply);

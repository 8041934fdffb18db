/* Founding a cluster: once, when all the nodes that it is to begin with are up, with data folders that belong to none.
 *
 * What the founders must agree on is which data folders (incarnations) they are: a voter that comes back with an empty
 * disk must not pass for the one that voted. So the founding is one unanimous agreement on that set, in two steps, each
 * durable in DIR/cluster (founding_record.h) before another node hears of it:
 *
 *            all founders are up, and none has                 all founders of that set have
 *            agreed to another set                             agreed to it, or one has founded
 *     FRESH ─────────────────────────────────────▶ AGREED ───────────────────────────────────▶ FOUNDED ─▶ groups
 *        └──────────────── one has founded, with this very data folder in its set ──────────────▲
 *
 * Invariants
 * 1. A data folder agrees to one set at most, ever, and is in that set.
 * 2. A set is founded only when every data folder in it has agreed to it.
 * 3. By 1 and 2, two sets that were founded have no data folder in common. A second founding from the same list thus
 *    needs every single disk of the first to have been emptied or replaced: there never are two clusters each of which
 *    some node of the other could vote in, and surviving nodes of the first never help to found the second.
 * 4. Nobody takes part in a group before FOUNDED is on its disk. From then on it needs no other node to know it.
 * 5. A node whose data folder is not the one that others agreed on or founded with is refused, with what to do. That
 *    holds also for one that lost its disk between agreeing and founding: it may have founded before it lost it, so the
 *    others do not take back what they agreed to.
 * 6. Nothing here depends on time, or on the order or number of messages. A message says all that its sender knows.
 *
 * Message: version u8 (1) · state u8 · cluster id (16) · when not FRESH, the incarnations (16 each) of the founders in
 * order of their ids.
 *
 * The owner carries messages between connected nodes (in order, or not at all). Until there is a set
 * (founding_expected) it lets a founder come with whatever incarnation it has, also with another than before. */
#pragma once

#include "cluster/founding_record.h"

struct founding;

struct founding_events {
    void (*send)(void *owner, uint64_t node, struct slice payload);
    /* Once; not for a founding that is FOUNDED when it is made. */
    void (*founded)(void *owner, const struct founding_record *record);
    /* Once, and the last: this node cannot go on (INVALID: it is not one of those that agreed; else the disk). `line`
     * says what to do. */
    void (*refused)(void *owner, enum status status, const char *line);
};

struct founding_options {
    const char *directory; /* the data folder */
    uint64_t node;         /* this one, one of the founders */
    struct id128 incarnation;
    const struct member *founders; /* ids and addresses are taken */
    size_t founder_count;
    uint32_t shards, replicas;
};

/* Reads what there is. INVALID: the options make no cluster, or not the one that was founded, or not with this data
 * folder; else the disk. On failure ret_message is a line for a person. A cluster of one is FOUNDED when this returns.
 * No callbacks from here. */
MUST_USE enum status founding_create(struct env *env, const struct founding_options *options,
                                     const struct founding_events *events, void *owner, struct founding **ret_founding,
                                     char ret_message[static FOUNDING_MESSAGE_BYTES]);
/* Not from a callback. Takes NULL. */
void founding_destroy(struct founding *founding);

enum founding_state founding_state(const struct founding *founding);
/* Of what the nodes were started with; incarnations when not FRESH. The cluster id is that of the transport, at all
 * times. Borrowed. */
const struct founding_record *founding_record(const struct founding *founding);
/* The incarnation that this founder must have; NULL while any will do, and of a node that is no founder. */
const struct id128 *founding_expected(const struct founding *founding, uint64_t node);

/* ---- inputs; those of nodes that are no founders are ignored ---- */

void founding_peer_up(struct founding *founding, uint64_t node, const struct id128 *incarnation);
void founding_peer_down(struct founding *founding, uint64_t node);
/* CORRUPT: no founder of this cluster sends this; VERSION: only a later version does. Nothing changed then. */
MUST_USE enum status founding_receive(struct founding *founding, uint64_t node, struct slice payload);
/* A peer does not take connections of this node for its incarnation (TRANSPORT_INCARNATION). While nothing is agreed
 * that passes when the peer notices that an earlier one is gone; when it goes on, this node is refused. */
void founding_peer_refuses(struct founding *founding, uint64_t node);

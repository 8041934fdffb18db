/* Messages as bytes, and back. What a peer sends is checked here as a whole; the core sees only messages that make
 * sense by themselves.
 *
 * Bytes: type (1), then varints: from, to, term, and by type
 *   PRE_VOTE        next_term last_index last_term          PRE_VOTE_REPLY   next_term granted
 *   VOTE            last_index last_term transfer           VOTE_REPLY       granted
 *   APPEND          prev_index prev_term commit count, then for each entry: term - the term before it, kind (1),
 *                   version (1), size, payload
 *   APPEND_REPLY    rejected index, if rejected: hint_index hint_term
 *   HEARTBEAT       sequence sent_ms commit time_ms wall_ms
 *   HEARTBEAT_REPLY sequence sent_ms matched, matched - durable
 *   SNAPSHOT        ident (index term id size_bytes) offset size, data
 *   SNAPSHOT_REPLY  ident offset                            TIMEOUT_NOW      nothing
 * Flags are 0 or 1. Nothing may follow. Changes of the form need another frame type or protocol version (src/wire).
 */
#pragma once

#include "base/buffer.h"
#include "base/status.h"
#include "raft/raft_message.h"

/* An upper bound of what raft_message_encode appends, without payloads and data. */
enum { RAFT_MESSAGE_HEADER_BYTES = 128, RAFT_ENTRY_HEADER_BYTES = 22 };

/* Appends the message but for its last bytes, which may be many: the payload of the last entry, or the data. Returns
 * these, borrowed from the message. */
MUST_USE struct slice raft_message_encode_head(const struct raft_message *message, struct buffer *out);
/* Appends the message, payloads and data included. */
void raft_message_encode(const struct raft_message *message, struct buffer *out);

/* The whole of `bytes`. Entries go to entries[0, RAFT_MAXIMUM_APPEND_ENTRIES); payloads and data point into bytes.
 * STATUS_INVALID when malformed or senseless. */
MUST_USE enum status raft_message_decode(struct slice bytes, struct raft_entry *entries,
                                         struct raft_message *ret_message);

/* Does it make sense by itself: ids, order of entries, terms, limits. */
bool raft_message_valid(const struct raft_message *message);

/* Where a feed stands, as clients carry it: a word of letters, digits, '-' and '_' that means the same at every node.
 *
 *   base64url (RFC 4648, section 5, without '=') of
 *   version u8 (1) · whose u64 · number of shards varint · for each shard: index varint, place varint, sub varint ·
 *   CRC32C of all before u32
 *
 * index and place are those of the mark's position (shard/shard_entry.h). `whose` is a name for the histories of all
 * shards of this cluster: no other cluster has it. */
#pragma once

#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"
#include "machine/feed/feed_log.h"

enum feed_position_error { FEED_POSITION_OK, FEED_POSITION_MALFORMED, FEED_POSITION_VERSION, FEED_POSITION_SHARDS };

/* Appends the text. */
void feed_position_put(struct buffer *out, uint64_t whose, const struct feed_mark *marks, uint32_t shards);
/* Takes a position of a cluster with so many shards. */
enum feed_position_error feed_position_take(struct slice text, uint32_t shards, uint64_t *ret_whose,
                                            struct feed_mark *ret_marks);

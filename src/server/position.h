/* How far somebody has seen the data, as clients carry it from node to node: of each shard that he has read or written,
 * the last entry of its log of which he has seen anything. Pure.
 *
 *   base64url of
 *   version u8 (1) · whose u64 · number of shards varint · how many follow varint · for each, in their order: shards
 * that were left out before it varint, index varint · CRC32C of all before u32
 *
 * `whose` is a name for the logs of this cluster: no other cluster has it. */
#pragma once

#include "base/buffer.h"
#include "base/slice.h"

enum position_error { POSITION_OK, POSITION_MALFORMED, POSITION_NEWER, POSITION_FOREIGN };

/* Appends the text; by shard − 1, 0: nothing was seen of it. */
void position_put(struct buffer *out, uint64_t whose, const uint64_t *indices, uint32_t shards);
/* Each of ret_indices becomes at least what the position has; untouched unless POSITION_OK. */
enum position_error position_take(struct slice text, uint64_t whose, uint32_t shards, uint64_t *ret_indices);

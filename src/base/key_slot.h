/* The hash slot of a key, as Redis Cluster counts it (https://redis.io/docs/reference/cluster-spec/, "Key distribution
 * model"): CRC-16/XMODEM modulo 16384.
 *
 * Hash tags: when the key has a '{', a '}' after the first '{', and at least one byte between the two (up to the first
 * such '}'), only those bytes are hashed. So keys with the same tag are in the same slot. */
#pragma once

#include "base/slice.h"

enum { KEY_SLOTS = 16384 };

uint16_t key_slot(struct slice key);

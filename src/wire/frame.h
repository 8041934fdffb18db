/* Frames between nodes: what stands around every message on a connection. Pure.
 *
 *   offset  bytes
 *        0      4  size of the payload
 *        4      1  type; what it means is the users' business
 *        5      1  flags; 0 in this version
 *        6      2  check of the header: the low half of the CRC32C of bytes 0 to 5
 *        8      4  CRC32C of bytes 0 to 7 and the payload
 *       12         payload
 *
 * Integers are little-endian. The header has a check of its own, so that a damaged or foreign size is known at once
 * and nobody waits for bytes that never come. This form never changes without another protocol version, and the first
 * frame of a connection, which agrees on the version, keeps it for ever.
 *
 * Invariants
 * 1. The result depends on the bytes, never on how they were cut into calls.
 * 2. The decoder has no state and allocates nothing; the payload points into the caller's bytes. The checksum of the
 *    payload is computed once, when all of it is there. */
#pragma once

#include "base/buffer.h"
#include "base/status.h"

enum {
    FRAME_HEADER_BYTES = 12,
    FRAME_MAXIMUM_BYTES = 64 << 20, /* the default limit of a payload */
};

struct frame {
    uint8_t type;
    struct slice payload; /* borrowed from the decoded bytes */
    size_t size;          /* header and payload: drop so many bytes to come to the next frame */
};

/* Starts a frame in `out`: appends room for its header and returns where it stands. The caller appends the payload. */
size_t frame_begin(struct buffer *out);
/* Completes the frame begun at `at`; its payload is all that follows, less than 4 GiB (asserted). */
void frame_end(struct buffer *out, size_t at, uint8_t type);

/* Decodes the frame that starts with the first of these bytes.
 * STATUS_AGAIN: not whole yet, *ret_missing says how many more bytes it needs at least (at most limit_bytes +
 * FRAME_HEADER_BYTES; nobody has sent them yet). After all others the stream cannot be understood any more:
 * STATUS_INVALID (no frame of ours), STATUS_VERSION (flags of a later version), STATUS_TOO_LARGE (the payload exceeds
 * limit_bytes), STATUS_CORRUPT (wrong checksum). */
MUST_USE enum status frame_decode(struct slice bytes, size_t limit_bytes, struct frame *ret_frame, size_t *ret_missing);

/* The size, header included, of a frame that frame_end wrote. */
size_t frame_size(const uint8_t *at);

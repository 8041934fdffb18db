/* What nodes say before they trust each other: the first bytes of a connection, and refusals. Pure.
 *
 * Each side begins with 8 bytes that no other protocol begins with, so garbage is known by its first byte, and then
 * one frame (wire/frame.h) whose payload is a hello. The dialer speaks first. Bytes:
 *
 *   hello   0 u16 lowest version   2 u16 highest version   4 u8 purpose   5 3 × 0
 *           8 cluster (16)  24 u64 from (node id)  32 incarnation (16)  48 u64 to (node id)
 *          56 u64 run  64 u64 attempt                                   72 u64 start  80 u64 joined
 *          88 u64 count  96 count × u64: the lineage (lineage.h)        more may follow in later versions
 *   ready   nothing
 *   refuse  0 u8 reason  1 u8 0  2 u16 lowest version  4 u16 highest version   more may follow
 *   ping    0 u64 any number; comes back as pong
 *   part    0 u8 type of the large frame  1 u8 its priority  2 u8 1: its last part, else 0
 *           3 the next bytes of its payload, at least one
 *
 * `run` is random for each start of a process and `attempt` grows within a run: that is how an acceptor knows which of
 * two attempts of one dialer is the newer. The first three never change: they are read before a version is agreed on.
 */
#pragma once

#include "base/buffer.h"
#include "base/id128.h"
#include "base/status.h"
#include "cluster/transport.h"

enum transport_type { /* of frames */
                      TRANSPORT_TYPE_HELLO = 1,
                      TRANSPORT_TYPE_READY,
                      TRANSPORT_TYPE_REFUSE,
                      TRANSPORT_TYPE_PING,
                      TRANSPORT_TYPE_PONG,
                      TRANSPORT_TYPE_PART,
};

enum {
    TRANSPORT_MAGIC_BYTES = 8,
    TRANSPORT_HELLO_BYTES = 96, /* without the starts between */
    TRANSPORT_REFUSAL_BYTES = 6,
    TRANSPORT_PING_BYTES = 8,
    TRANSPORT_PART_HEAD_BYTES = 3,
    TRANSPORT_PART_BYTES = 64 << 10,        /* of the payload in a part; what is not larger travels whole */
    TRANSPORT_HANDSHAKE_FRAME_BYTES = 1024, /* limit of payloads before a connection is up */
};
extern const uint8_t transport_magic[TRANSPORT_MAGIC_BYTES];

struct transport_hello {
    uint16_t version_lowest, version_highest;
    uint8_t purpose;
    struct id128 cluster;
    uint64_t from, to; /* node ids */
    struct id128 incarnation;
    uint64_t run, attempt;
    struct lineage lineage;
};

struct transport_refusal {
    uint8_t reason; /* enum transport_reason, or one of a later version */
    uint16_t version_lowest, version_highest;
};

/* Append a whole frame. */
void transport_hello_encode(const struct transport_hello *hello, struct buffer *out);
void transport_refusal_encode(const struct transport_refusal *refusal, struct buffer *out);

/* STATUS_INVALID: too short, an empty range of versions, ids that nobody has, or no lineage. */
MUST_USE enum status transport_hello_decode(struct slice payload, struct transport_hello *ret_hello);
MUST_USE enum status transport_refusal_decode(struct slice payload, struct transport_refusal *ret_refusal);

/* The highest version that both know; 0: none. */
uint16_t transport_common_version(const struct transport_hello *one, const struct transport_hello *other);

/* News for whoever asked for a lock: what a wait has come to, and that a lease is lost. They leave the machine as
 * bytes, one behind the other, and go to the node that they name, in this form. They are no part of the state: one that
 * is lost is asked for (locks_ask).
 *
 *   kind u8 · node u64 · start u64 · client u64 · number u64 · token u64 · ttl_ms u64 · key size u16, owner size u16 ·
 * key · owner
 *
 * Integers are little-endian. */
#pragma once

#include "machine/lock/locks.h"

enum lock_notice_kind {
    LOCK_NOTICE_GRANTED,  /* token, ttl_ms */
    LOCK_NOTICE_ENDED,    /* the wait: its time is over */
    LOCK_NOTICE_LOST,     /* the lease ended before it was released: token */
    LOCK_NOTICE_TAKEN,    /* the wait goes on, for a later request of the same owner */
    LOCK_NOTICE_RESERVED, /* the wait of a part (lock_parts.h) */
    LOCK_NOTICE_OVER,     /* the wait: its session has ended */
    LOCK_NOTICES,
};

struct lock_notice {
    enum lock_notice_kind kind;
    struct lock_origin to;
    uint64_t token;
    int64_t ttl_ms;
    struct slice key, owner;
};

enum { LOCK_NOTICE_HEAD_BYTES = 1 + 6 * 8 + 2 * 2, LOCK_NOTICES_BYTES = 16 << 20 };

void lock_notice_put(struct buffer *out, const struct lock_notice *notice);
/* Takes one from the front of *from, and points into it. False: that is none. */
bool lock_notice_take(struct slice *from, struct lock_notice *ret_notice);

/* What users can grow of locks, and how far. Beyond, they are refused in words; what is idle is forgotten, the longest
 * idle first. */
#pragma once

#include <stdint.h>

enum {
    LOCK_KEY_BYTES = 1024,
    LOCK_OWNER_BYTES = 256,
    LOCK_NOTE_BYTES = 512,
    LOCK_REQUEST_ID_BYTES = 128, /* of REENTRANT, … */
    LOCK_REQUEST_IDS = 256,      /* … of one owner */
    LOCK_HOLDERS = 4096,         /* of one lock */
    LOCK_WAITERS = 4096,         /* of one lock, … */
    LOCKS_WAITERS = 128 << 10,   /* … and of a shard */
    LOCKS_BUSY = 1 << 20,        /* locks of a shard that are held or waited for */
    LOCKS_IDLE = 64 << 10,       /* that are neither: they have a history, and the newest token that was seen, … */
    LOCKS_IDLE_BYTES = 32 << 20, /* … in so much memory */
    LOCK_HISTORY = 16,           /* ended grants of a lock */
    LOCK_LIST_COUNT = 1000,
    LOCK_PERMITS = 1 << 30,
};

/* The lease of a lock that ends with a session. */
#define LOCK_NEVER_MS (INT64_MAX / 2)
#define LOCK_TIME_MS (INT64_C(365) * 24 * 60 * 60 * 1000) /* no lease and no wait is longer */

/* What users can grow of sessions, and how far. Beyond, they are refused in words. */
#pragma once

#include <stdint.h>

enum {
    SESSIONS = 1 << 20,     /* of a shard: open, and ended ones that other shards have not heard of yet */
    SESSION_SHARDS = 1024,  /* that one has locks or keys in; as many as there are shards at most */
    SESSION_BEATS = 4096,   /* heartbeats in one command */
    SESSION_ENDS = 256,     /* ends in one command */
    SESSION_CLAIMS = 16384, /* locks and waits, keys, endpoints of one session in one shard, each */
    SESSION_TIES = 1 << 20, /* sessions with locks or keys in a shard */
    SESSION_ASKED_MS =
        60 * 1000 /* so long a shard waits to hear that a session lives, before it forgets that it asked */
};

#define SESSION_TTL_MINIMUM_MS INT64_C(100)
#define SESSION_TTL_MS (INT64_C(24) * 60 * 60 * 1000) /* no session lives for longer without a heartbeat */

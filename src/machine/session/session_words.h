/* What commands say in the name of sessions. */
#pragma once

#include "machine/session/ties.h"

/* The beginning of what is said of a session that this shard has not heard of: who asked brings them together, and
 * asks again (src/server/session_client.h). */
#define SESSION_UNTIED                                                                                                 \
    "NOSESSION the session has ended, or this shard has nothing of it yet; "                                           \
    "send one command with SESSION for a key of this shard outside of scripts and LOCK.GUARD first"
#define SESSION_BONDS_FULL                                                                                             \
    "BUSY this session has 16384 keys in this shard, which is the most; delete some, or open another one"
_Static_assert(SESSION_CLAIMS == 16384, "as the text says");
#define SESSION_IS_OVER "NOSESSION the session has ended, or never was; open another one"

/* NULL and the tie that lives; or what is wrong, as a reply's error. */
const char *tie_of_name(struct ties *ties, struct slice name, struct tie **ret_tie);

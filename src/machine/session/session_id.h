/* The name of a session: the shard it lives in, and its number there, which never comes again: "3-1a2b3c", the number
 * in hexadecimal.
 *
 * A node that asks a lock's shard in the name of a session adds how long the session lives at least, as its own shard
 * has just said: "3-1a2b3c/9500". No client can say that: the node takes none of it. */
#pragma once

#include "base/slice.h"

struct session_id {
    uint32_t shard; /* from 1 */
    uint64_t number;
};

enum { SESSION_ID_BYTES = 48 };

/* Returns the size. */
size_t session_id_format(char text[static SESSION_ID_BYTES], struct session_id id);
bool session_id_parse(struct slice text, struct session_id *ret_id);

/* The same with the time behind it; -1 when it has none. */
size_t session_name_format(char text[static SESSION_ID_BYTES], struct session_id id, int64_t left_ms);
bool session_name_parse(struct slice text, struct session_id *ret_id, int64_t *ret_left_ms);

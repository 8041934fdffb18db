/* A node's reply as JSON: maps become objects, nil becomes null. Strings that are not UTF-8 are shown as far as they
 * are printable (base/printable.h). */
#pragma once

#include "base/slice.h"
#include "base/status.h"

#include <jansson.h>

enum { REPLY_JSON_BYTES = 8 << 20 }; /* longer replies are refused: JSON takes a multiple of it */

/* The whole of `reply`, as RESP2 or RESP3 has it; an error reply is a string. CORRUPT: it is none. TOO_LARGE. */
MUST_USE enum status reply_json(struct slice reply, json_t **ret_json);

/* What an active check says, and how it judges the answer. Pure. */
#pragma once

#include "base/slice.h"
#include "base/status.h"

enum proxy_check_kind {
    PROXY_CHECK_TCP,  /* connecting is enough */
    PROXY_CHECK_RESP, /* PING, and PONG; that a password is wanted is an answer too */
    PROXY_CHECK_HTTP, /* GET, and a status of 200 to 399 */
};

enum {
    PROXY_CHECK_PATH_BYTES = 255,
    PROXY_CHECK_SAID_BYTES = 1024,
    PROXY_CHECK_HEARD_BYTES = 12, /* of an answer are enough */
};

/* "tcp", "resp", "http:/path"; the path is borrowed from the text. */
bool proxy_check_parse(struct slice text, enum proxy_check_kind *ret_kind, struct slice *ret_path);
/* Returns the size; 0: nothing. A host of at most 255 bytes. */
size_t proxy_check_say(enum proxy_check_kind kind, struct slice path, struct slice host,
                       uint8_t ret_bytes[static PROXY_CHECK_SAID_BYTES]);
/* STATUS_OK: it passes. STATUS_INVALID: it does not. STATUS_AGAIN: that is to be seen. */
MUST_USE enum status proxy_check_judge(enum proxy_check_kind kind, struct slice heard);

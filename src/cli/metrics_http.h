/* Prometheus text over HTTP: GET /metrics, on the node's own loop. */
#pragma once

#include "base/buffer.h"
#include "env/env.h"

struct metrics_http;

/* Listens on HOST:PORT (numeric host, or "localhost"). `render` appends the text. STATUS_UNSUPPORTED when built without
 * libmicrohttpd; STATUS_INVALID on a malformed address; STATUS_BUSY when the port is taken. */
MUST_USE enum status metrics_http_start(struct env *env, const char *address,
                                        void (*render)(void *owner, struct buffer *out), void *owner,
                                        struct metrics_http **ret_metrics);
void metrics_http_stop(struct metrics_http *metrics); /* takes NULL */

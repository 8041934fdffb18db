/* etcd's v3 API as JSON over HTTP, its gRPC gateway (https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/), by libcurl
 * on the host's thread.
 *
 *      etcd_call ──▶ endpoint ──no answer──▶ the next one ──▶ … until the engine's deadline
 *      etcd_send, streams: go on whenever the descriptor is driven, also while a call waits
 *
 * Invariants
 * 1. A call blocks until the engine's deadline at most; each endpoint has its part of what is left.
 * 2. A call that changes something and had no sure answer is ENGINE_UNCERTAIN. It may be sent twice, to two endpoints:
 * so what is sent must be harmless the second time.
 * 3. Callbacks are called from driving alone; they must not free anything that a call under way uses. */
#pragma once

#include "engine/etcd_place.h"

#include <jansson.h>

struct etcd_http;
struct etcd_stream;

/* The answer, borrowed; NULL: there is none. */
typedef void (*etcd_answered)(void *data, json_t *answer);

/* STATUS_NOMEM, STATUS_FULL (no descriptors). `tick` is called when the time of etcd_http_wake has come. */
MUST_USE enum status etcd_http_create(const struct etcd_place *place, void (*tick)(void *data), void *data,
                                      struct etcd_http **ret_http);
void etcd_http_destroy(struct etcd_http *http);

/* Readable when etcd_http_drive has something to do. */
int etcd_http_fd(const struct etcd_http *http);
/* Does what is to be done; waits for it so long. */
void etcd_http_drive(struct etcd_http *http, int timeout_ms);
/* CLOCK_MONOTONIC; an earlier time that was asked for stays. */
void etcd_http_wake(struct etcd_http *http, int64_t at_ns);
/* Whether something that was sent has not been answered. */
bool etcd_http_is_busy(const struct etcd_http *http);

/* ENGINE_OK: *ret_answer is the caller's. ENGINE_NOT: there is no such lease. Others: `engine` has the problem. */
enum engine_code etcd_call(struct etcd_http *http, struct engine *engine, const char *path, struct slice body,
                           bool changes, json_t **ret_answer);

/* Once, to the present endpoint. False: memory was refused, and nothing is called. */
bool etcd_send(struct etcd_http *http, const char *path, struct slice body, etcd_answered answered, void *data);

/* An answer in lines: `answered` for each; with NULL it has ended by itself. NULL: memory was refused. */
struct etcd_stream *etcd_stream_open(struct etcd_http *http, const char *path, struct slice body,
                                     etcd_answered answered, void *data);
void etcd_stream_close(struct etcd_stream *stream);

/* One connection to one node.
 *
 * Two ways to use it. Blocking: connect, then client_connection_call. Driven by the caller's own loop: start, poll the
 * descriptor, then write requests into `out`, flush, fill, and take replies. The descriptor never blocks by itself;
 * the blocking calls poll it until a deadline.
 *
 *      closed ──start──▶ connecting ──finish──▶ open ──any failure, close──▶ closed
 *
 * Invariants
 * 1. Replies come in the order of requests. After a failure (anything but OK and AGAIN) the outcome of requests that
 *    were sent and not answered is unknown, and the connection is closed.
 * 2. Received bytes are bounded: by one line and one read on the caller's loop, where strings are skipped as they come;
 *    by CLIENT_REPLY_BYTES_MAXIMUM in a call.
 * 3. A connection belongs to one thread. Nothing here prints, or raises a signal.
 * 4. A peer whose machine is gone is missed within half a minute, though nothing is sent (TCP's keepalive). */
#pragma once

#include "base/buffer.h"
#include "base/status.h"
#include "client/url.h"
#include "wire/resp_reply.h"

enum {
    CLIENT_READ_BYTES = 16 * 1024,
    CLIENT_REPLY_BYTES_MAXIMUM = 1 << 30, /* a whole reply of client_connection_call; beyond it STATUS_TOO_LARGE */
};

struct client_connection {
    int fd;                          /* −1 when closed */
    struct resp_reply_limits limits; /* the defaults unless changed after init */
    struct buffer out;               /* requests not sent yet; append with resp_command */
    size_t sent;                     /* bytes of `out` that are sent */
    struct buffer in;                /* received bytes */
    size_t parsed;                   /* bytes of `in` that belong to replies taken already */
    struct resp_reader reader;
};

void client_connection_init(struct client_connection *connection);
void client_connection_deinit(struct client_connection *connection);

/* Monotonic nanoseconds, for deadlines. */
int64_t client_clock_ns(void);

/* ---- blocking ---- */

/* STATUS_REFUSED, STATUS_TIMEOUT, STATUS_NOTFOUND (no such host), STATUS_IO. The resolver's own time is not bounded
 * by the deadline. */
MUST_USE enum status client_connection_open(struct client_connection *connection,
                                            const struct client_endpoint *endpoint, int64_t deadline_ns);

/* Sends one request and waits for its reply: *ret_reply is the whole of it as RESP, pushes before it left out, valid
 * until the next use of the connection. An error reply is STATUS_OK here. No other request may be under way. */
MUST_USE enum status client_connection_call(struct client_connection *connection, const struct slice *argv, size_t argc,
                                            int64_t deadline_ns, struct slice *ret_reply);

/* ---- on the caller's loop ---- */

/* Begins to connect; poll the descriptor for writing, then call finish. */
MUST_USE enum status client_connection_start(struct client_connection *connection,
                                             const struct client_endpoint *endpoint);
/* The same, to the address number `which` (modulo their count, *ret_count) of a host that has several. */
MUST_USE enum status client_connection_start_other(struct client_connection *connection,
                                                   const struct client_endpoint *endpoint, uint32_t which,
                                                   uint32_t *ret_count);
MUST_USE enum status client_connection_finish(struct client_connection *connection);

/* Sends what `out` holds. AGAIN: poll for writing, then go on. */
MUST_USE enum status client_connection_flush(struct client_connection *connection);

/* Reads once what has arrived. AGAIN: nothing there. STATUS_CLOSED: the peer closed. */
MUST_USE enum status client_connection_fill(struct client_connection *connection);

/* ---- for who keeps replies whole, and sends from buffers of its own (link.h) ---- */

enum { CLIENT_SEND_PIECES = 64 };

/* Sends as much of the pieces (1 to CLIENT_SEND_PIECES) as the kernel takes. AGAIN: nothing. */
MUST_USE enum status client_connection_send(struct client_connection *connection, const struct slice *pieces,
                                            size_t count, size_t *ret_sent);

/* Whether the peer has closed, or the connection failed, as far as this machine has heard. What arrived before that can
 * still be received. */
bool client_connection_has_ended(const struct client_connection *connection);

/* As fill, but what was taken stays in `in` until it is forgotten: `bytes` from the front, at most `parsed`. */
MUST_USE enum status client_connection_receive(struct client_connection *connection);
void client_connection_forget(struct client_connection *connection, size_t bytes);

/* Takes one whole reply off the received bytes without looking at it; AGAIN when more must be filled.
 * *ret_line is the first line of a reply that is one line (an error's text, without the marker), else empty; it is
 * valid until the next fill. STATUS_CORRUPT when the bytes are no RESP, TOO_LARGE when a string is beyond the limit. */
MUST_USE enum status client_connection_skip(struct client_connection *connection, enum resp_type *ret_type,
                                            struct slice *ret_line);

void client_connection_close(struct client_connection *connection);

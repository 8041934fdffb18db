/* Writes RESP2 and RESP3 (https://redis.io/docs/reference/protocol-spec/) into a buffer.
 *
 * A writer without a buffer discards: a replica that applies an entry has nobody to answer.
 * Aggregates are counted by the caller: resp_map(w, n) is followed by n pairs. In RESP2 a map is an
 * array of 2n, a set and a push an array, null a nil bulk, a double a bulk, a boolean an integer. */
#pragma once

#include "base/buffer.h"

enum { RESP2 = 2, RESP3 = 3 };

/* Of the text of a status or an error: what is longer is cut off, since readers take lines of a bounded size only
 * (resp_reply.h). A position of a feed over the most shards (feed_position.h) has 20 KiB. */
enum { RESP_LINE_MAXIMUM_BYTES = 60000 };

struct resp_writer {
    struct buffer *out; /* borrowed; NULL discards */
    int protocol;       /* RESP2 or RESP3 */
};

static inline struct resp_writer resp_writer_to(struct buffer *out, int protocol)
{
    return (struct resp_writer){out, protocol};
}

/* +text */
void resp_status(struct resp_writer *writer, const char *text);
/* -text: an error starts with its code ("ERR …", "WRONGTYPE …"); CR and LF in it become spaces. */
void resp_error(struct resp_writer *writer, const char *text);
__attribute__((format(printf, 2, 3))) void resp_error_format(struct resp_writer *writer, const char *format, ...);
void resp_integer(struct resp_writer *writer, int64_t value);
void resp_bulk(struct resp_writer *writer, struct slice value);
void resp_bulk_string(struct resp_writer *writer, const char *value);
/* An integer as a bulk string. */
void resp_bulk_integer(struct resp_writer *writer, int64_t value);
void resp_verbatim(struct resp_writer *writer, const char format[static 3], struct slice value);
/* nil: $-1 or _ */
void resp_null(struct resp_writer *writer);
/* nil where an array was expected: *-1 or _ */
void resp_null_array(struct resp_writer *writer);
void resp_array(struct resp_writer *writer, size_t count);
void resp_map(struct resp_writer *writer, size_t pairs);
void resp_set(struct resp_writer *writer, size_t count);
void resp_push(struct resp_writer *writer, size_t count);
void resp_boolean(struct resp_writer *writer, bool value);
void resp_double(struct resp_writer *writer, double value);
/* Bytes that are RESP already. */
void resp_raw(struct resp_writer *writer, struct slice bytes);

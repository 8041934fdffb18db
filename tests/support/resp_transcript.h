/* Feeds bytes to the RESP parsers in pieces, as a connection would, and writes down what came out: two ways of cutting
 * the same bytes must give the same transcript. Used by unit tests and fuzzers.
 *
 * The region moves to a fresh allocation of exact size for each piece, so that a parser which keeps pointers or reads
 * beyond its end is caught by AddressSanitizer. */
#pragma once

#include "base/assert.h"
#include "base/buffer.h"
#include "wire/resp_reply.h"
#include "wire/resp_request.h"

#include <inttypes.h>
#include <stdlib.h>

/* Size of the next piece, at least 1; `left` bytes remain. */
typedef size_t (*cut_function)(void *owner, size_t left);

struct transcript_feed {
    const uint8_t *bytes;
    size_t size;
    size_t fed;
    uint8_t *region;
    size_t region_size;
    cut_function cut;
    void *owner;
};

static inline size_t cut_whole(void *owner, size_t left) { return left; }
static inline size_t cut_bytes(void *owner, size_t left) { return 1; }

/* One cut, at *owner (a size_t) bytes. */
static inline size_t cut_once(void *owner, size_t left)
{
    size_t at = *(size_t *)owner;
    *(size_t *)owner = 0;
    return at == 0 || at > left ? left : at;
}

static inline struct transcript_feed transcript_feed_of(struct slice bytes, cut_function cut, void *owner)
{
    return (struct transcript_feed){.bytes = bytes.data, .size = bytes.size, .cut = cut, .owner = owner};
}

/* Drops bytes from the front of the region. */
static inline void transcript_drop(struct transcript_feed *feed, size_t consumed)
{
    ASSERT(consumed <= feed->region_size);
    feed->region_size -= consumed;
    if (consumed > 0) {
        memmove(feed->region, feed->region + consumed, feed->region_size);
    }
}

/* Adds the next piece; false at the end of the bytes. */
static inline bool transcript_more(struct transcript_feed *feed)
{
    size_t left = feed->size - feed->fed;
    if (left == 0) {
        return false;
    }
    size_t piece = feed->cut(feed->owner, left);
    ASSERT(piece > 0 && piece <= left);
    uint8_t *moved = malloc(feed->region_size + piece);
    ASSERT(moved != NULL);
    if (feed->region_size > 0) {
        memcpy(moved, feed->region, feed->region_size);
    }
    memcpy(moved + feed->region_size, feed->bytes + feed->fed, piece);
    free(feed->region);
    feed->region = moved;
    feed->region_size += piece;
    feed->fed += piece;
    return true;
}

static inline void transcript_slice(struct buffer *out, struct slice slice)
{
    buffer_append_format(out, " %zu:", slice.size);
    buffer_append_slice(out, slice);
}

/* Writes each request as a line, then the error or "end". */
static inline void transcript_requests(struct buffer *out, const struct resp_request_limits *limits,
                                       struct transcript_feed feed)
{
    struct resp_request_parser parser;
    resp_request_init(&parser);
    bool more = true;
    while (more) {
        switch (resp_request_parse(&parser, limits, feed.region, feed.region_size)) {
        case RESP_REQUEST_READY:
            ASSERT(parser.argc > 0 && parser.argc <= limits->arguments + limits->line_bytes);
            for (uint32_t i = 0; i < parser.argc; i++) {
                ASSERT(parser.argv[i].size <= limits->bulk_bytes || parser.argv[i].size <= limits->line_bytes);
                transcript_slice(out, parser.argv[i]);
            }
            buffer_append_byte(out, '\n');
            transcript_drop(&feed, parser.consumed);
            break;
        case RESP_REQUEST_PARTIAL:
            ASSERT(parser.missing_bytes >= 1 && parser.missing_bytes <= limits->bulk_bytes + 2);
            transcript_drop(&feed, parser.consumed);
            ASSERT(feed.region_size <= limits->total_bytes + limits->line_bytes + 1);
            more = transcript_more(&feed);
            if (!more) {
                buffer_append_string(out, "end");
            }
            break;
        case RESP_REQUEST_INVALID: {
            char text[RESP_REQUEST_ERROR_BYTES];
            resp_request_error(&parser, text);
            buffer_append_string(out, text);
            more = false;
        }
        }
    }
    free(feed.region);
    resp_request_deinit(&parser);
}

static inline void transcript_token(struct buffer *out, const struct resp_token *token)
{
    buffer_append_format(out, "%*s%d/%d %" PRId64 " %.17g #%" PRIu64 " %.3s%s", (int)token->depth, "", (int)token->type,
                         (int)token->root, token->integer, token->number, token->count, token->format,
                         token->last ? " last" : "");
    transcript_slice(out, token->text);
    buffer_append_byte(out, '\n');
}

/* Writes each token as a line, or each skipped reply, then the problem or "end". */
static inline void transcript_replies(struct buffer *out, const struct resp_reply_limits *limits,
                                      struct transcript_feed feed, bool skip)
{
    struct resp_reader reader;
    resp_reader_init(&reader);
    bool more = true;
    size_t taken = 0;
    while (more) {
        struct resp_token token;
        enum resp_type root = RESP_NULL;
        enum resp_reply_result result = skip ? resp_reader_skip(&reader, limits, feed.region, feed.region_size, &root)
                                             : resp_reader_next(&reader, limits, feed.region, feed.region_size, &token);
        if (result == RESP_REPLY_READY && !skip) {
            transcript_token(out, &token);
        }
        if (result != RESP_REPLY_INVALID) {
            transcript_drop(&feed, reader.consumed);
            taken += reader.consumed;
        }
        if (result == RESP_REPLY_READY && skip) {
            buffer_append_format(out, "%d until %zu\n", (int)root, taken);
        } else if (result == RESP_REPLY_INVALID) {
            buffer_append_string(out, reader.problem);
            more = false;
        } else if (result == RESP_REPLY_PARTIAL) {
            more = transcript_more(&feed);
            if (!more) {
                buffer_append_string(out, "end");
            }
        }
    }
    free(feed.region);
}

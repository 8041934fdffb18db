/* An incremental reader of replies, RESP2 and RESP3, for clients: a flat run of tokens, or whole replies skipped.
 *
 * As with requests (resp_request.h) the caller owns one contiguous region that may move and grow between calls, and
 * drops `consumed` bytes from its front after each call. A token is given when all its bytes are there, so a region
 * must be able to hold one bulk string; skipping needs a line at a time only.
 *
 * An aggregate is one token with the number of elements that follow (a map's pairs count twice), and they follow
 * depth first. An attribute is a token with its pairs, then comes what it describes. A push may stand between
 * replies; `root` tells which type the outermost value has. Streamed strings and aggregates ("$?") are refused.
 *
 * Invariants: tokens depend on the bytes alone, never on how they were cut; memory is the struct; after INVALID
 * nothing more can be read. */
#pragma once

#include "base/slice.h"

enum { RESP_REPLY_DEPTH = 32 }; /* aggregates within aggregates */

struct resp_reply_limits {
    size_t bulk_bytes; /* one string */
    size_t line_bytes; /* a status, an error, a number */
    size_t elements;   /* of one aggregate */
};

#define RESP_REPLY_DEFAULT_LIMITS                                                                                      \
    ((struct resp_reply_limits){                                                                                       \
        .bulk_bytes = (size_t)512 << 20, .line_bytes = (size_t)64 << 10, .elements = (size_t)1 << 31})

enum resp_type {
    RESP_STATUS,     /* text */
    RESP_ERROR,      /* text, from '-' or '!' */
    RESP_INTEGER,    /* integer */
    RESP_BULK,       /* text */
    RESP_VERBATIM,   /* text, after format[3] and ':' */
    RESP_BIG_NUMBER, /* text: digits with an optional sign */
    RESP_DOUBLE,     /* number */
    RESP_BOOLEAN,    /* integer: 0 or 1 */
    RESP_NULL,
    RESP_ARRAY, /* count, as the rest */
    RESP_SET,
    RESP_PUSH,
    RESP_MAP,
    RESP_ATTRIBUTE,
};

struct resp_token {
    enum resp_type type;
    enum resp_type root; /* type of the outermost value around this token; a leading attribute's is its own */
    uint32_t depth;      /* aggregates around this one */
    bool last;           /* the reply ends with this token */
    struct slice text;   /* into the region, until its bytes are dropped */
    char format[3];      /* of a verbatim string: "txt", "mkd" */
    int64_t integer;
    double number;
    uint64_t count; /* elements that follow */
};

enum resp_reply_result {
    RESP_REPLY_PARTIAL, /* drop `consumed`, read at least one more byte */
    RESP_REPLY_READY,
    RESP_REPLY_INVALID, /* not RESP, or over a limit: `problem` says what */
};

struct resp_reader {
    size_t consumed;     /* by the last call: bytes to drop */
    const char *problem; /* after INVALID; static storage */
    bool too_long;       /* after INVALID: a string is beyond limits.bulk_bytes */

    /* private */
    size_t scanned;                  /* no CR stands before this offset */
    uint64_t left[RESP_REPLY_DEPTH]; /* elements still to come of each open aggregate */
    uint32_t attributes;             /* bit d: left[d] belongs to an attribute */
    uint32_t depth;
    enum resp_type root;
    uint64_t skip_values; /* values still to be skipped; 0: not skipping */
    uint64_t skip_bytes;  /* of the string being skipped */
    bool skip_in_bulk;
    bool skip_root_known;
};

void resp_reader_init(struct resp_reader *reader);

/* Takes the next token. */
enum resp_reply_result resp_reader_next(struct resp_reader *reader, const struct resp_reply_limits *limits,
                                        const uint8_t *data, size_t size, struct resp_token *ret_token);

/* Skips one whole reply, of any depth; *ret_root is its type. PARTIAL may have consumed a part of it. Must be called
 * between replies or after its own PARTIAL. */
enum resp_reply_result resp_reader_skip(struct resp_reader *reader, const struct resp_reply_limits *limits,
                                        const uint8_t *data, size_t size, enum resp_type *ret_root);

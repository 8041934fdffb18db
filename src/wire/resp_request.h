/* An incremental parser of client requests: RESP arrays of bulk strings, and inline commands.
 *
 * It works in place. The caller owns one contiguous region of received bytes that starts with the first byte of the
 * request being parsed; between calls it may move and grow that region, because the parser remembers offsets only.
 * Work done is never repeated: a request that arrives in a thousand pieces costs the same scan as one that arrives
 * whole.
 *
 * Invariants
 * 1. The result and the arguments depend on the bytes alone, never on how they were cut into calls.
 * 2. Memory is one array of arguments, kept from request to request. It grows with the arguments that arrived, never
 *    with the number that was announced.
 * 3. After RESP_REQUEST_INVALID the connection cannot be understood any more: send the text, then close.
 *
 *      between requests ──'*'──▶ count line ──▶ ┌▶ '$' size line ──▶ bulk ─┐ ──▶ REQUEST
 *           ▲    └──other──▶ inline line        └───── more to come ───────┘        │
 *           └───────────────────────────────────────────────────────────────────────┘
 *
 * The rules are Redis 7.0's, found by asking one: a line ends at CR and whatever byte follows it, so do bulks; empty
 * and negative arrays and blank lines are skipped; inline words may be "quoted\x20like this" or 'like this'. One
 * difference: Redis waits for ever on a zero byte in an inline or length line; here it is a byte like others. */
#pragma once

#include "base/slice.h"

struct resp_request_limits {
    size_t bulk_bytes;    /* one argument (proto-max-bulk-len) */
    size_t arguments;     /* of one request */
    size_t line_bytes;    /* an inline request; a length line */
    size_t total_bytes;   /* one request with its framing (client-query-buffer-limit) */
    bool unauthenticated; /* a password is set and not given yet: 10 arguments of 16 KB at most, as Redis */
};

#define RESP_REQUEST_DEFAULT_LIMITS                                                                                    \
    ((struct resp_request_limits){.bulk_bytes = (size_t)512 << 20,                                                     \
                                  .arguments = (size_t)1 << 20,                                                        \
                                  .line_bytes = (size_t)64 << 10,                                                      \
                                  .total_bytes = (size_t)1 << 30})

enum {
    RESP_REQUEST_KEPT_ARGUMENTS = 1024, /* an array larger than this is given back after its request */
    RESP_REQUEST_ERROR_BYTES = 96,      /* room for every text of resp_request_error */
};

enum resp_request_result {
    RESP_REQUEST_PARTIAL, /* drop `consumed` bytes, read at least one more */
    RESP_REQUEST_READY,   /* argc > 0 arguments are in argv; drop `consumed` bytes when done with them */
    RESP_REQUEST_INVALID, /* resp_request_error says why */
};

enum resp_request_failure {
    RESP_REQUEST_NO_FAILURE,
    RESP_REQUEST_BAD_COUNT,
    RESP_REQUEST_BAD_BULK_SIZE,
    RESP_REQUEST_NOT_A_BULK,
    RESP_REQUEST_UNBALANCED_QUOTES,
    RESP_REQUEST_LONG_INLINE,
    RESP_REQUEST_LONG_COUNT,
    RESP_REQUEST_LONG_BULK_SIZE,
    RESP_REQUEST_UNAUTHENTICATED_COUNT,
    RESP_REQUEST_UNAUTHENTICATED_BULK_SIZE,
    RESP_REQUEST_TOO_LARGE, /* over total_bytes, where Redis closes without a word */
};

/* While a request is parsed its arguments are known by offset; when it is ready, by pointer. */
union resp_request_argument {
    struct slice slice;
    struct {
        size_t offset;
        size_t size;
    } span;
};

struct resp_request_parser {
    /* results of the last call */
    const struct slice *argv; /* into the region; until its bytes are dropped or the parser is used again */
    uint32_t argc;
    size_t consumed; /* bytes to drop from the front of the region */
    /* After PARTIAL: bytes without which the request cannot go on, at least 1; inside a bulk, all that is missing of
     * it, so that a reader can make room for a large value once. A hint, not a promise: never more than bulk_bytes
     * + 2, and nobody has sent those bytes yet. */
    size_t missing_bytes;

    /* private */
    union resp_request_argument *arguments;
    uint32_t capacity;
    uint32_t announced; /* arguments of the array being parsed; 0: between requests */
    size_t at;          /* offset of what is to be parsed next */
    size_t scanned;     /* no line end stands between `at` and here */
    bool in_bulk;       /* bulk_size is known, its bytes start at `at` */
    uint8_t failure;    /* enum resp_request_failure */
    uint8_t failure_byte;
    size_t bulk_size;
};

void resp_request_init(struct resp_request_parser *parser);
void resp_request_deinit(struct resp_request_parser *parser);

/* Gives memory back; for a connection that fell silent. Does nothing in the middle of a request. */
void resp_request_trim(struct resp_request_parser *parser);

/* Parses at most one request from the region. `data` holds the bytes left from the last call, less the `consumed`
 * ones, and what arrived since. Inline requests are unescaped in place: the region's bytes before `consumed` change.
 * `limits` may differ from call to call. Must not be called again after RESP_REQUEST_INVALID. */
enum resp_request_result resp_request_parse(struct resp_request_parser *parser,
                                            const struct resp_request_limits *limits, uint8_t *data, size_t size);

/* After RESP_REQUEST_INVALID: the error reply's text ("ERR Protocol error: …"), for resp_error. */
void resp_request_error(const struct resp_request_parser *parser, char ret_text[static RESP_REQUEST_ERROR_BYTES]);

#include "wire/resp_request.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"
#include "wire/resp_inline.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    FIRST_ARGUMENTS = 8,
    FAST_DIGITS = 15, /* cannot overflow; longer numbers take the slow road */
    UNAUTHENTICATED_ARGUMENTS = 10,
    UNAUTHENTICATED_BULK_BYTES = 16384,
};

enum length_result { LENGTH_TAKEN, LENGTH_PARTIAL, LENGTH_INVALID, LENGTH_TOO_LONG };

void resp_request_init(struct resp_request_parser *parser) { *parser = (struct resp_request_parser){0}; }

void resp_request_deinit(struct resp_request_parser *parser)
{
    free(parser->arguments);
    resp_request_init(parser);
}

void resp_request_trim(struct resp_request_parser *parser)
{
    if (parser->announced == 0) {
        free(parser->arguments);
        parser->arguments = NULL;
        parser->argv = NULL;
        parser->argc = 0;
        parser->capacity = 0;
    }
}

__attribute__((noinline)) static void grow_arguments(struct resp_request_parser *parser)
{
    uint32_t capacity = parser->capacity == 0 ? FIRST_ARGUMENTS : parser->capacity * 2;
    void *arguments = memory_resize(parser->arguments, (size_t)capacity * sizeof(*parser->arguments));
    parser->arguments = arguments;
    parser->capacity = capacity;
}

static inline union resp_request_argument *add_argument(struct resp_request_parser *parser)
{
    if (parser->argc == parser->capacity) {
        grow_arguments(parser);
    }
    return &parser->arguments[parser->argc++];
}

static enum resp_request_result fail(struct resp_request_parser *parser, enum resp_request_failure failure)
{
    parser->failure = (uint8_t)failure;
    return RESP_REQUEST_INVALID;
}

static enum resp_request_result partial(struct resp_request_parser *parser, size_t missing_bytes)
{
    parser->missing_bytes = missing_bytes;
    return RESP_REQUEST_PARTIAL;
}

/* The rare cases of take_length: a line that is not complete, zero, negative, malformed, very long. */
__attribute__((noinline)) static enum length_result take_length_slowly(struct resp_request_parser *parser,
                                                                       const uint8_t *data, size_t size,
                                                                       size_t line_bytes, int64_t *ret_length)
{
    size_t from = parser->scanned > parser->at ? parser->scanned : parser->at;
    const uint8_t *end = memchr(data + from, '\r', size - from);
    size_t line = (end == NULL ? size : (size_t)(end - data)) - parser->at;
    if (line > line_bytes) {
        return LENGTH_TOO_LONG;
    }
    parser->scanned = parser->at + line;
    if (end == NULL || end + 1 == data + size) {
        return LENGTH_PARTIAL;
    }
    if (line == 0 || !number_parse_int64(slice_of(data + parser->at + 1, line - 1), ret_length)) {
        return LENGTH_INVALID;
    }
    parser->at += line + 2;
    return LENGTH_TAKEN;
}

/* Takes a line "<any byte><number>\r<any byte>" at parser->at; moves on when it is valid. */
static inline enum length_result take_length(struct resp_request_parser *parser, const uint8_t *data, size_t size,
                                             size_t line_bytes, int64_t *ret_length)
{
    if (parser->at == size) {
        return LENGTH_PARTIAL;
    }
    const uint8_t *end = data + size;
    const uint8_t *digits = data + parser->at + 1;
    const uint8_t *at = digits;
    int64_t length = 0;
    while (at < end && (uint8_t)(*at - '0') < 10 && at - digits < FAST_DIGITS) {
        length = length * 10 + (*at++ - '0');
    }
    if (__builtin_expect(end - at >= 2 && *at == '\r' && at != digits && (*digits != '0' || at - digits == 1), 1)) {
        *ret_length = length;
        parser->at = (size_t)(at - data) + 2;
        return LENGTH_TAKEN;
    }
    return take_length_slowly(parser, data, size, line_bytes, ret_length);
}

/* Between requests, at a '*'. READY means that the array may be parsed (announced > 0) or skipped (0). */
static inline enum resp_request_result parse_count(struct resp_request_parser *parser,
                                                   const struct resp_request_limits *limits, const uint8_t *data,
                                                   size_t size)
{
    int64_t count = 0;
    switch (take_length(parser, data, size, limits->line_bytes, &count)) {
    case LENGTH_PARTIAL: return partial(parser, 1);
    case LENGTH_INVALID: return fail(parser, RESP_REQUEST_BAD_COUNT);
    case LENGTH_TOO_LONG: return fail(parser, RESP_REQUEST_LONG_COUNT);
    case LENGTH_TAKEN: break;
    }
    if (count > (int64_t)limits->arguments || count > INT32_MAX) {
        return fail(parser, RESP_REQUEST_BAD_COUNT);
    }
    if (limits->unauthenticated && count > UNAUTHENTICATED_ARGUMENTS) {
        return fail(parser, RESP_REQUEST_UNAUTHENTICATED_COUNT);
    }
    parser->announced = count > 0 ? (uint32_t)count : 0;
    return RESP_REQUEST_READY;
}

/* Takes a bulk's size line. */
static inline enum resp_request_result parse_bulk_size(struct resp_request_parser *parser,
                                                       const struct resp_request_limits *limits, const uint8_t *data,
                                                       size_t size)
{
    size_t start = parser->at;
    int64_t bulk_size = 0;
    enum length_result result = take_length(parser, data, size, limits->line_bytes, &bulk_size);
    if (result == LENGTH_PARTIAL) {
        return partial(parser, 1);
    }
    if (result == LENGTH_TOO_LONG) {
        return fail(parser, RESP_REQUEST_LONG_BULK_SIZE);
    }
    if (data[start] != '$') {
        parser->failure_byte = data[start];
        return fail(parser, RESP_REQUEST_NOT_A_BULK);
    }
    if (result == LENGTH_INVALID || bulk_size < 0 || (uint64_t)bulk_size > limits->bulk_bytes) {
        return fail(parser, RESP_REQUEST_BAD_BULK_SIZE);
    }
    if (limits->unauthenticated && bulk_size > UNAUTHENTICATED_BULK_BYTES) {
        return fail(parser, RESP_REQUEST_UNAUTHENTICATED_BULK_SIZE);
    }
    if (parser->at + (size_t)bulk_size + 2 > limits->total_bytes) {
        return fail(parser, RESP_REQUEST_TOO_LARGE);
    }
    parser->bulk_size = (size_t)bulk_size;
    parser->in_bulk = true;
    return RESP_REQUEST_READY;
}

static inline enum resp_request_result parse_bulks(struct resp_request_parser *parser,
                                                   const struct resp_request_limits *limits, uint8_t *data, size_t size)
{
    while (parser->argc < parser->announced) {
        if (!parser->in_bulk) {
            enum resp_request_result result = parse_bulk_size(parser, limits, data, size);
            if (result != RESP_REQUEST_READY) {
                return result;
            }
        }
        size_t wanted = parser->bulk_size + 2;
        if (size - parser->at < wanted) {
            return partial(parser, wanted - (size - parser->at));
        }
        union resp_request_argument *argument = add_argument(parser);
        argument->span.offset = parser->at;
        argument->span.size = parser->bulk_size;
        parser->at += wanted;
        parser->in_bulk = false;
    }
    for (uint32_t i = 0; i < parser->argc; i++) {
        parser->arguments[i].slice.data = data + parser->arguments[i].span.offset;
    }
    return RESP_REQUEST_READY;
}

/* Between requests, at a byte other than '*'. READY with argc == 0 is a blank line. */
static enum resp_request_result parse_inline(struct resp_request_parser *parser,
                                             const struct resp_request_limits *limits, uint8_t *data, size_t size)
{
    uint8_t *end = memchr(data + parser->scanned, '\n', size - parser->scanned);
    size_t line = end == NULL ? size : (size_t)(end - data);
    if (line > limits->line_bytes) {
        return fail(parser, RESP_REQUEST_LONG_INLINE);
    }
    if (end == NULL) {
        parser->scanned = size;
        return partial(parser, 1);
    }
    parser->at = line + 1;
    if (line > 0 && data[line - 1] == '\r') {
        end--;
    }
    uint8_t *at = data;
    struct slice word;
    bool balanced;
    while (resp_inline_next(&at, end, &word, &balanced)) {
        add_argument(parser)->slice = word;
    }
    return balanced ? RESP_REQUEST_READY : fail(parser, RESP_REQUEST_UNBALANCED_QUOTES);
}

static enum resp_request_result parse_one(struct resp_request_parser *parser, const struct resp_request_limits *limits,
                                          uint8_t *data, size_t size)
{
    if (parser->announced == 0) {
        if (size == 0) {
            return partial(parser, 1);
        }
        if (data[0] != '*') {
            return parse_inline(parser, limits, data, size);
        }
        enum resp_request_result result = parse_count(parser, limits, data, size);
        if (result != RESP_REQUEST_READY) {
            return result;
        }
    }
    return parse_bulks(parser, limits, data, size);
}

/* Forgets the last request, and its array when that was unusually large. */
static inline void begin_request(struct resp_request_parser *parser)
{
    parser->argc = 0;
    parser->argv = NULL;
    if (__builtin_expect(parser->capacity > RESP_REQUEST_KEPT_ARGUMENTS, 0)) {
        resp_request_trim(parser);
    }
}

enum resp_request_result resp_request_parse(struct resp_request_parser *parser,
                                            const struct resp_request_limits *limits, uint8_t *data, size_t size)
{
    ASSERT(parser->failure == RESP_REQUEST_NO_FAILURE);
    if (parser->announced == 0) {
        begin_request(parser);
    }
    ASSERT(parser->at <= size && parser->scanned <= size);
    parser->consumed = 0;
    for (;;) {
        enum resp_request_result result = parse_one(parser, limits, data, size);
        if (result != RESP_REQUEST_READY) {
            return result;
        }
        size_t taken = parser->at;
        parser->consumed += taken;
        parser->at = 0;
        parser->scanned = 0;
        parser->announced = 0;
        if (parser->argc > 0) {
            parser->argv = &parser->arguments[0].slice;
            return RESP_REQUEST_READY;
        }
        data += taken; /* nothing to execute: go on behind it */
        size -= taken;
    }
}

void resp_request_error(const struct resp_request_parser *parser, char ret_text[static RESP_REQUEST_ERROR_BYTES])
{
    static const char *const texts[] = {
        [RESP_REQUEST_NO_FAILURE] = "none",
        [RESP_REQUEST_BAD_COUNT] = "invalid multibulk length",
        [RESP_REQUEST_BAD_BULK_SIZE] = "invalid bulk length",
        [RESP_REQUEST_UNBALANCED_QUOTES] = "unbalanced quotes in request",
        [RESP_REQUEST_LONG_INLINE] = "too big inline request",
        [RESP_REQUEST_LONG_COUNT] = "too big mbulk count string",
        [RESP_REQUEST_LONG_BULK_SIZE] = "too big bulk count string",
        [RESP_REQUEST_UNAUTHENTICATED_COUNT] = "unauthenticated multibulk length",
        [RESP_REQUEST_UNAUTHENTICATED_BULK_SIZE] = "unauthenticated bulk length",
        [RESP_REQUEST_TOO_LARGE] = "request exceeds client-query-buffer-limit",
    };
    if (parser->failure == RESP_REQUEST_NOT_A_BULK) {
        char shown = parser->failure_byte == '\0' ? ' ' : (char)parser->failure_byte;
        (void)snprintf(ret_text, RESP_REQUEST_ERROR_BYTES, "ERR Protocol error: expected '$', got '%c'", shown);
        return;
    }
    (void)snprintf(ret_text, RESP_REQUEST_ERROR_BYTES, "ERR Protocol error: %s", texts[parser->failure]);
}

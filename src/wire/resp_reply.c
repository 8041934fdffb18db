#include "wire/resp_reply.h"

#include "base/assert.h"
#include "base/number.h"

#include <math.h>
#include <stdlib.h>

enum { DOUBLE_BYTES = 128 }; /* longest text of a double */

/* The first line of a value; a string's body follows it. */
struct head {
    struct resp_token token;
    size_t bytes; /* of the line with its end */
    bool has_body;
    size_t body_bytes;
};

void resp_reader_init(struct resp_reader *reader) { *reader = (struct resp_reader){0}; }

static enum resp_reply_result invalid(struct resp_reader *reader, const char *problem)
{
    reader->problem = problem;
    return RESP_REPLY_INVALID;
}

/* Finds the line at the front of the region: READY with its length before CRLF. */
static enum resp_reply_result find_line(struct resp_reader *reader, const struct resp_reply_limits *limits,
                                        const uint8_t *data, size_t size, size_t *ret_line)
{
    const uint8_t *end = size > reader->scanned ? memchr(data + reader->scanned, '\r', size - reader->scanned) : NULL;
    size_t line = end == NULL ? size : (size_t)(end - data);
    if (line > limits->line_bytes) {
        return invalid(reader, "line too long");
    }
    reader->scanned = line;
    if (end == NULL || line + 1 == size) {
        return RESP_REPLY_PARTIAL;
    }
    if (end[1] != '\n') {
        return invalid(reader, "line does not end with CRLF");
    }
    *ret_line = line;
    return RESP_REPLY_READY;
}

static bool parse_double(struct slice text, double *ret_number)
{
    char copy[DOUBLE_BYTES];
    if (text.size == 0 || text.size >= sizeof(copy) || memchr(text.data, ' ', text.size) != NULL) {
        return false;
    }
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    char *end = NULL;
    *ret_number = strtod(copy, &end);
    return end == copy + text.size;
}

static bool is_big_number(struct slice text)
{
    size_t i = text.size > 0 && (text.data[0] == '-' || text.data[0] == '+') ? 1 : 0;
    if (i == text.size) {
        return false;
    }
    for (; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
    }
    return true;
}

/* A value that is one line. */
static const char *decode_scalar(uint8_t marker, struct slice text, struct resp_token *token)
{
    token->text = text;
    switch (marker) {
    case '+': token->type = RESP_STATUS; return NULL;
    case '-': token->type = RESP_ERROR; return NULL;
    case ':': token->type = RESP_INTEGER; return number_parse_int64(text, &token->integer) ? NULL : "malformed integer";
    case '_': token->type = RESP_NULL; return text.size == 0 ? NULL : "malformed null";
    case '#':
        token->type = RESP_BOOLEAN;
        token->integer = text.size == 1 && text.data[0] == 't';
        return text.size == 1 && (text.data[0] == 't' || text.data[0] == 'f') ? NULL : "malformed boolean";
    case ',': token->type = RESP_DOUBLE; return parse_double(text, &token->number) ? NULL : "malformed double";
    case '(': token->type = RESP_BIG_NUMBER; return is_big_number(text) ? NULL : "malformed big number";
    default: return "unknown type of reply";
    }
}

static const char string_too_long[] = "string too long";

/* A value whose line holds a length. */
static const char *decode_sized(const struct resp_reply_limits *limits, uint8_t marker, struct slice text,
                                struct head *head)
{
    int64_t length;
    if (!number_parse_int64(text, &length)) {
        return "malformed length";
    }
    struct resp_token *token = &head->token;
    if (length == -1 && (marker == '$' || marker == '*')) {
        token->type = RESP_NULL;
        return NULL;
    }
    if (length < 0) {
        return "negative length";
    }
    head->has_body = marker == '$' || marker == '!' || marker == '=';
    if ((uint64_t)length > (head->has_body ? limits->bulk_bytes : limits->elements)) {
        return head->has_body ? string_too_long : "too many elements";
    }
    if (head->has_body) {
        head->body_bytes = (size_t)length;
        token->type = marker == '$' ? RESP_BULK : marker == '!' ? RESP_ERROR : RESP_VERBATIM;
        return marker == '=' && length < 4 ? "malformed verbatim string" : NULL;
    }
    token->count = (uint64_t)length;
    switch (marker) {
    case '*': token->type = RESP_ARRAY; break;
    case '~': token->type = RESP_SET; break;
    case '>': token->type = RESP_PUSH; break;
    default: token->type = marker == '%' ? RESP_MAP : RESP_ATTRIBUTE; token->count *= 2;
    }
    return NULL;
}

/* Reads the line at the front of the region; nothing is consumed. */
static enum resp_reply_result read_head(struct resp_reader *reader, const struct resp_reply_limits *limits,
                                        const uint8_t *data, size_t size, struct head *ret_head)
{
    size_t line;
    enum resp_reply_result result = find_line(reader, limits, data, size, &line);
    if (result != RESP_REPLY_READY) {
        return result;
    }
    if (line == 0) {
        return invalid(reader, "empty line");
    }
    *ret_head = (struct head){.bytes = line + 2};
    struct slice text = slice_of(data + 1, line - 1);
    const char *problem;
    switch (data[0]) {
    case '$':
    case '!':
    case '=':
    case '*':
    case '~':
    case '>':
    case '%':
    case '|': problem = decode_sized(limits, data[0], text, ret_head); break;
    default: problem = decode_scalar(data[0], text, &ret_head->token); break;
    }
    reader->too_long = problem == string_too_long;
    return problem == NULL ? RESP_REPLY_READY : invalid(reader, problem);
}

/* Counts a finished value in the aggregates around it; true when it ends the reply. */
static bool finish_value(struct resp_reader *reader)
{
    while (reader->depth > 0) {
        uint32_t top = reader->depth - 1;
        if (--reader->left[top] > 0) {
            return false;
        }
        reader->depth = top;
        if ((reader->attributes >> top & 1) != 0) {
            return false; /* what the attribute describes is still to come */
        }
    }
    return true;
}

static enum resp_reply_result open_aggregate(struct resp_reader *reader, const struct resp_token *token)
{
    if (reader->depth == RESP_REPLY_DEPTH) {
        return invalid(reader, "reply nested too deeply");
    }
    uint32_t bit = (uint32_t)1 << reader->depth;
    reader->attributes = token->type == RESP_ATTRIBUTE ? reader->attributes | bit : reader->attributes & ~bit;
    reader->left[reader->depth++] = token->count;
    return RESP_REPLY_READY;
}

static enum resp_reply_result take_body(struct resp_reader *reader, struct head *head, const uint8_t *data, size_t size)
{
    struct resp_token *token = &head->token;
    if (size - head->bytes < head->body_bytes + 2) {
        return RESP_REPLY_PARTIAL;
    }
    token->text = slice_of(data + head->bytes, head->body_bytes);
    head->bytes += head->body_bytes + 2;
    if (data[head->bytes - 2] != '\r' || data[head->bytes - 1] != '\n') {
        return invalid(reader, "string does not end with CRLF");
    }
    if (token->type == RESP_VERBATIM) {
        if (token->text.data[3] != ':') {
            return invalid(reader, "malformed verbatim string");
        }
        memcpy(token->format, token->text.data, 3);
        token->text = slice_of(token->text.data + 4, token->text.size - 4);
    }
    return RESP_REPLY_READY;
}

enum resp_reply_result resp_reader_next(struct resp_reader *reader, const struct resp_reply_limits *limits,
                                        const uint8_t *data, size_t size, struct resp_token *ret_token)
{
    ASSERT(reader->problem == NULL && reader->skip_values == 0 && !reader->skip_in_bulk);
    reader->consumed = 0;
    struct head head;
    enum resp_reply_result result = read_head(reader, limits, data, size, &head);
    if (result != RESP_REPLY_READY) {
        return result;
    }
    struct resp_token *token = &head.token;
    if (token->type == RESP_PUSH && reader->depth > 0) {
        return invalid(reader, "push inside a reply");
    }
    token->depth = reader->depth;
    if (head.has_body) {
        result = take_body(reader, &head, data, size);
    } else if (token->count > 0) {
        result = open_aggregate(reader, token);
    }
    if (result != RESP_REPLY_READY) {
        return result;
    }
    if (token->depth == 0) {
        reader->root = token->type;
    }
    token->root = reader->root;
    token->last = token->count == 0 && token->type != RESP_ATTRIBUTE && finish_value(reader);
    reader->consumed = head.bytes;
    reader->scanned = 0;
    *ret_token = *token;
    return RESP_REPLY_READY;
}

/* Skips the rest of a string. */
static enum resp_reply_result skip_body(struct resp_reader *reader, const uint8_t *data, size_t size)
{
    size_t at = reader->consumed;
    size_t step = size - at < reader->skip_bytes ? size - at : (size_t)reader->skip_bytes;
    reader->skip_bytes -= step;
    at += step;
    reader->consumed = at;
    if (reader->skip_bytes > 0 || size - at < 2) {
        return RESP_REPLY_PARTIAL;
    }
    if (data[at] != '\r' || data[at + 1] != '\n') {
        return invalid(reader, "string does not end with CRLF");
    }
    reader->consumed = at + 2;
    reader->skip_in_bulk = false;
    return RESP_REPLY_READY;
}

/* Skips one line; a string's body is left to skip_body. */
static enum resp_reply_result skip_head(struct resp_reader *reader, const struct resp_reply_limits *limits,
                                        const uint8_t *data, size_t size)
{
    struct head head;
    size_t at = reader->consumed;
    if (at == size) {
        return RESP_REPLY_PARTIAL;
    }
    enum resp_reply_result result = read_head(reader, limits, data + at, size - at, &head);
    if (result != RESP_REPLY_READY) {
        return result;
    }
    enum resp_type type = head.token.type;
    bool is_root = reader->skip_values == 1 && !reader->skip_root_known;
    if (type == RESP_PUSH && !is_root) {
        return invalid(reader, "push inside a reply");
    }
    if (is_root && type != RESP_ATTRIBUTE) {
        reader->root = type;
        reader->skip_root_known = true;
    }
    reader->skip_values += head.token.count;
    if (reader->skip_values > (uint64_t)1 << 62) {
        return invalid(reader, "too many elements");
    }
    if (type != RESP_ATTRIBUTE) {
        reader->skip_values--;
    }
    reader->skip_in_bulk = head.has_body;
    reader->skip_bytes = head.body_bytes;
    reader->consumed = at + head.bytes;
    reader->scanned = 0;
    return RESP_REPLY_READY;
}

enum resp_reply_result resp_reader_skip(struct resp_reader *reader, const struct resp_reply_limits *limits,
                                        const uint8_t *data, size_t size, enum resp_type *ret_root)
{
    ASSERT(reader->problem == NULL && reader->depth == 0);
    reader->consumed = 0;
    if (reader->skip_values == 0 && !reader->skip_in_bulk) {
        reader->skip_values = 1;
        reader->skip_root_known = false;
    }
    while (reader->skip_values > 0 || reader->skip_in_bulk) {
        enum resp_reply_result result =
            reader->skip_in_bulk ? skip_body(reader, data, size) : skip_head(reader, limits, data, size);
        if (result != RESP_REPLY_READY) {
            return result;
        }
    }
    *ret_root = reader->root;
    return RESP_REPLY_READY;
}

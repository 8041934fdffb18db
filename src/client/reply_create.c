/* From RESP to a tree, in two passes over the tokens: one counts, one fills. */
#include "client/reply.h"

#include "base/assert.h"
#include "wire/resp_reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Tokens of a whole reply without attributes. */
struct walk {
    struct resp_reader reader;
    const uint8_t *at;
    size_t left;
    uint64_t ignored; /* values of an attribute that are still to come */
};

/* STATUS_CLOSED at the end. */
static enum status walk_next(struct walk *walk, struct resp_token *ret_token)
{
    static const struct resp_reply_limits limits = {
        .bulk_bytes = SIZE_MAX / 4, .line_bytes = SIZE_MAX / 4, .elements = SIZE_MAX / 4};
    while (walk->left > 0) {
        if (resp_reader_next(&walk->reader, &limits, walk->at, walk->left, ret_token) != RESP_REPLY_READY) {
            return STATUS_CORRUPT;
        }
        walk->at += walk->reader.consumed;
        walk->left -= walk->reader.consumed;
        if (ret_token->type == RESP_ATTRIBUTE) {
            walk->ignored += ret_token->count;
        } else if (walk->ignored > 0) {
            walk->ignored += ret_token->count;
            walk->ignored--;
        } else {
            return STATUS_OK;
        }
    }
    return STATUS_CLOSED;
}

static bool has_text(enum resp_type type)
{
    return type == RESP_STATUS || type == RESP_ERROR || type == RESP_BULK || type == RESP_VERBATIM ||
           type == RESP_BIG_NUMBER;
}

static enum status count_all(struct slice resp, size_t *ret_nodes, size_t *ret_text_bytes)
{
    struct walk walk = {.at = resp.data, .left = resp.size};
    resp_reader_init(&walk.reader);
    struct resp_token token = {0};
    enum status status;
    size_t nodes = 0;
    size_t text_bytes = 0;
    while ((status = walk_next(&walk, &token)) == STATUS_OK) {
        nodes++;
        text_bytes += has_text(token.type) ? token.text.size + 1 : 0;
    }
    if (status != STATUS_CLOSED || nodes == 0 || !token.last) {
        return STATUS_CORRUPT;
    }
    *ret_nodes = nodes;
    *ret_text_bytes = text_bytes;
    return STATUS_OK;
}

/* Where the nodes and texts of a tree go. */
struct build {
    struct cohort_reply *free_node;
    char *free_text;
    struct {
        struct cohort_reply *next; /* the part to fill next */
        uint64_t left;
    } open[RESP_REPLY_DEPTH + 1];
    uint32_t depth;
};

static const char *put_text(struct build *build, struct slice text)
{
    char *at = build->free_text;
    if (text.size > 0) {
        memcpy(at, text.data, text.size);
    }
    at[text.size] = '\0';
    build->free_text += text.size + 1;
    return at;
}

static struct cohort_reply node_of(struct build *build, const struct resp_token *token)
{
    switch (token->type) {
    case RESP_STATUS:
    case RESP_BULK:
    case RESP_VERBATIM:
    case RESP_BIG_NUMBER:
    case RESP_ERROR:
        return (struct cohort_reply){.type = token->type == RESP_ERROR ? COHORT_REPLY_ERROR : COHORT_REPLY_STRING,
                                     .size = token->text.size,
                                     .text = put_text(build, token->text)};
    case RESP_INTEGER:
    case RESP_BOOLEAN: return (struct cohort_reply){.type = COHORT_REPLY_INTEGER, .integer = token->integer};
    case RESP_DOUBLE: return (struct cohort_reply){.type = COHORT_REPLY_DOUBLE, .number = token->number};
    case RESP_NULL: return (struct cohort_reply){.type = COHORT_REPLY_NIL};
    case RESP_MAP:
    case RESP_ARRAY:
    case RESP_SET:
    case RESP_PUSH: break;
    case RESP_ATTRIBUTE: UNREACHABLE();
    }
    return (struct cohort_reply){.type = token->type == RESP_MAP ? COHORT_REPLY_MAP : COHORT_REPLY_ARRAY,
                                 .size = (size_t)token->count,
                                 .parts = build->free_node};
}

static void put_node(struct build *build, const struct resp_token *token)
{
    struct cohort_reply *at = build->open[build->depth].next++;
    build->open[build->depth].left--;
    *at = node_of(build, token);
    if (token->count > 0) {
        build->depth++;
        build->open[build->depth].next = build->free_node;
        build->open[build->depth].left = token->count;
        build->free_node += token->count;
    }
    while (build->depth > 0 && build->open[build->depth].left == 0) {
        build->depth--;
    }
}

enum status reply_create(struct slice resp, struct cohort_reply **ret_reply)
{
    size_t nodes;
    size_t text_bytes;
    enum status status = count_all(resp, &nodes, &text_bytes);
    if (status != STATUS_OK) {
        return status;
    }
    struct cohort_reply *root = malloc(nodes * sizeof(*root) + text_bytes);
    if (root == NULL) {
        return STATUS_NOMEM;
    }
    struct build build = {.free_node = root + 1, .free_text = (char *)(root + nodes), .open[0] = {root, 1}};
    struct walk walk = {.at = resp.data, .left = resp.size};
    resp_reader_init(&walk.reader);
    struct resp_token token;
    while (walk_next(&walk, &token) == STATUS_OK) {
        put_node(&build, &token);
    }
    ASSERT(build.depth == 0 && build.free_node == root + nodes);
    *ret_reply = root;
    return STATUS_OK;
}

/* The text ends with a NUL. */
static struct cohort_reply *error_of(const char *text, size_t size)
{
    struct cohort_reply *reply = malloc(sizeof(*reply) + size + 1);
    if (reply != NULL) {
        char *copy = (char *)(reply + 1);
        memcpy(copy, text, size + 1);
        *reply = (struct cohort_reply){.type = COHORT_REPLY_ERROR, .size = size, .text = copy};
    }
    return reply;
}

struct cohort_reply *reply_error(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    ASSERT(size >= 0);
    return error_of(text, (size_t)size < sizeof(text) ? (size_t)size : sizeof(text) - 1);
}

struct cohort_reply *reply_copy_error(const struct cohort_reply *reply)
{
    struct cohort_bytes text = cohort_reply_bytes(reply);
    return error_of(text.data, text.size);
}

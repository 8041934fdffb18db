/* hiredis against the server on 127.0.0.1:PORT: blocking calls, pipelines, binary values, errors, the asynchronous
 * API on a poll loop. Ends with 0, or prints what was wrong. */
#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                                  \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static bool is_text(const redisReply *reply, int type, const char *text)
{
    return reply != NULL && reply->type == type && reply->len == strlen(text) &&
           memcmp(reply->str, text, reply->len) == 0;
}

static bool is_integer(const redisReply *reply, long long value)
{
    return reply != NULL && reply->type == REDIS_REPLY_INTEGER && reply->integer == value;
}

static void blocking_calls(redisContext *context)
{
    redisReply *reply = redisCommand(context, "SET %s %s", "greeting", "hello");
    CHECK(is_text(reply, REDIS_REPLY_STATUS, "OK"));
    freeReplyObject(reply);

    static const char binary[] = "a\0b\r\n\xff";
    reply = redisCommand(context, "SET %s %b", "binary", binary, sizeof(binary) - 1);
    CHECK(is_text(reply, REDIS_REPLY_STATUS, "OK"));
    freeReplyObject(reply);
    reply = redisCommand(context, "GET binary");
    CHECK(reply != NULL && reply->type == REDIS_REPLY_STRING && reply->len == sizeof(binary) - 1);
    CHECK(memcmp(reply->str, binary, reply->len) == 0);
    freeReplyObject(reply);

    reply = redisCommand(context, "GET nothing");
    CHECK(reply != NULL && reply->type == REDIS_REPLY_NIL);
    freeReplyObject(reply);
    reply = redisCommand(context, "INCR greeting");
    CHECK(is_text(reply, REDIS_REPLY_ERROR, "ERR value is not an integer or out of range"));
    freeReplyObject(reply);

    reply = redisCommand(context, "HSET user name Ada born 1815");
    CHECK(is_integer(reply, 2));
    freeReplyObject(reply);
    reply = redisCommand(context, "HMGET user born none name");
    CHECK(reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 3);
    CHECK(is_text(reply->element[0], REDIS_REPLY_STRING, "1815"));
    CHECK(reply->element[1]->type == REDIS_REPLY_NIL);
    CHECK(is_text(reply->element[2], REDIS_REPLY_STRING, "Ada"));
    freeReplyObject(reply);
}

static void pipeline(redisContext *context)
{
    enum { COUNT = 10000 };
    for (int i = 0; i < COUNT; i++) {
        CHECK(redisAppendCommand(context, "INCR counter") == REDIS_OK);
    }
    for (int i = 0; i < COUNT; i++) {
        redisReply *reply;
        CHECK(redisGetReply(context, (void **)&reply) == REDIS_OK);
        CHECK(is_integer(reply, i + 1));
        freeReplyObject(reply);
    }
}

static void transaction(redisContext *context)
{
    const char *commands[] = {"MULTI", "SET a 1", "INCR a", "EXEC"};
    for (int i = 0; i < 4; i++) {
        CHECK(redisAppendCommand(context, commands[i]) == REDIS_OK);
    }
    for (int i = 0; i < 4; i++) {
        redisReply *reply;
        CHECK(redisGetReply(context, (void **)&reply) == REDIS_OK);
        if (i == 3) {
            CHECK(reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && is_integer(reply->element[1], 2));
        }
        freeReplyObject(reply);
    }
}

/* ---- the asynchronous API, on the smallest loop that can drive it ---- */

struct loop {
    bool wants_read;
    bool wants_write;
    int answered;
};

static void add_read(void *data) { ((struct loop *)data)->wants_read = true; }
static void delete_read(void *data) { ((struct loop *)data)->wants_read = false; }
static void add_write(void *data) { ((struct loop *)data)->wants_write = true; }
static void delete_write(void *data) { ((struct loop *)data)->wants_write = false; }

static void answered(redisAsyncContext *context, void *reply, void *data)
{
    struct loop *loop = data;
    CHECK(reply != NULL);
    loop->answered++;
    CHECK(is_integer(reply, loop->answered));
}

static void asynchronous_calls(int port)
{
    enum { COUNT = 1000 };
    struct loop loop = {0};
    redisAsyncContext *context = redisAsyncConnect("127.0.0.1", port);
    CHECK(context != NULL && context->err == 0);
    context->ev.data = &loop;
    context->ev.addRead = add_read;
    context->ev.delRead = delete_read;
    context->ev.addWrite = add_write;
    context->ev.delWrite = delete_write;
    loop.wants_write = true; /* to learn that the connection is up */
    for (int i = 0; i < COUNT; i++) {
        CHECK(redisAsyncCommand(context, answered, &loop, "INCR async") == REDIS_OK);
    }
    while (loop.answered < COUNT) {
        struct pollfd poll_fd = {.fd = context->c.fd,
                                 .events = (short)((loop.wants_read ? POLLIN : 0) | (loop.wants_write ? POLLOUT : 0))};
        CHECK(poll(&poll_fd, 1, 30000) > 0);
        if (poll_fd.revents & POLLOUT) {
            redisAsyncHandleWrite(context);
        }
        if (poll_fd.revents & (POLLIN | POLLHUP | POLLERR)) {
            redisAsyncHandleRead(context);
        }
    }
    redisAsyncFree(context);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    int port = atoi(argv[1]);
    redisContext *context = redisConnect("127.0.0.1", port);
    CHECK(context != NULL && context->err == 0);
    blocking_calls(context);
    pipeline(context);
    transaction(context);
    redisFree(context);
    asynchronous_calls(port);
    return 0;
}

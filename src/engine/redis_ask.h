/* One request to several Redis servers at the same time, and their answers. No longer than until a given moment: one
 * server that hangs keeps nobody. What it answers later is thrown away. */
#pragma once

#include "engine/redis_link.h"

enum { REDIS_ARGUMENTS = 16, REDIS_GRACE_MS = 20 };

/* A script by its place in the links' tables, its keys and arguments. */
struct redis_request {
    size_t script;
    int key_count, count;
    struct slice arguments[REDIS_ARGUMENTS]; /* keys first */
};

enum redis_outcome {
    REDIS_NO_ANSWER, /* surely not executed, and never will be */
    REDIS_LOST,      /* may have been executed, or will be */
    REDIS_ANSWERED,
};

struct redis_answer {
    enum redis_outcome outcome;
    redisReply *reply;             /* of REDIS_ANSWERED */
    uint64_t serial, behind_bytes; /* redis_ask's own */
    bool as_text, is_slow;
};

/* Whether what has been answered is enough. The others are waited for a moment longer (REDIS_GRACE_MS), unless they owe
 * something already: what was asked is done at more servers then, and one that hangs costs a moment once. */
typedef bool (*redis_enough)(void *data, const struct redis_answer *answers, size_t count);

/* `answers` has one for each link, to be freed by redis_answers_free. */
void redis_ask(struct redis_link *links, size_t count, const struct redis_request *request, int64_t until_ns,
               redis_enough enough, void *data, struct redis_answer *ret_answers);
void redis_answers_free(struct redis_answer *answers, size_t count);

/* Puts a request where there is a connection, and waits for nothing. */
void redis_tell(struct redis_link *links, size_t count, const struct redis_request *request);

#include "engine/redis_ask.h"

#include <poll.h>
#include <stdio.h>

enum { NS_PER_MS = 1000000, RESOLVING_MS = 5, REDIS_GRACE_NS = REDIS_GRACE_MS * NS_PER_MS };

/* By its hash when it is known that the server has it. 0: it could not be put. */
static uint64_t put(struct redis_link *link, const struct redis_request *request, bool as_text, int64_t now_ns)
{
    const char *words[REDIS_ARGUMENTS + 3];
    size_t sizes[REDIS_ARGUMENTS + 3];
    char keys[16];
    const char *sha = link->shas[request->script];
    bool by_hash = !as_text && sha[0] != '\0';
    words[0] = by_hash ? "EVALSHA" : "EVAL";
    words[1] = by_hash ? sha : link->scripts[request->script];
    (void)snprintf(keys, sizeof(keys), "%d", request->key_count);
    words[2] = keys;
    for (int i = 0; i < 3; i++) {
        sizes[i] = strlen(words[i]);
    }
    for (int i = 0; i < request->count; i++) {
        words[3 + i] = request->arguments[i].size > 0 ? (const char *)request->arguments[i].data : "";
        sizes[3 + i] = request->arguments[i].size;
    }
    struct redis_words all = {3 + request->count, words, sizes};
    return redis_link_put(link, &all, now_ns);
}

static void begin(struct redis_link *link, const struct redis_request *request, bool as_text,
                  struct redis_answer *answer)
{
    int64_t now_ns = engine_clock_ns();
    bool is_slow = redis_link_owes(link);
    redis_link_wake(link, now_ns);
    *answer =
        (struct redis_answer){.serial = put(link, request, as_text, now_ns), .as_text = as_text, .is_slow = is_slow};
    answer->behind_bytes = link->put_bytes;
    redis_link_step(link, now_ns);
}

/* Its connection is gone, or was closed. */
static void end(const struct redis_link *link, struct redis_answer *answer)
{
    answer->outcome = redis_link_sent(link, answer->behind_bytes) ? REDIS_LOST : REDIS_NO_ANSWER;
    answer->serial = 0;
}

static void take(struct redis_link *link, const struct redis_request *request, struct redis_answer *answer)
{
    redisReply *reply;
    int64_t now_ns = engine_clock_ns();
    while (answer->serial != 0 && (reply = redis_link_reply(link, now_ns)) != NULL) {
        if (link->answered != answer->serial) {
            freeReplyObject(reply);
        } else if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOSCRIPT", 8) == 0 && !answer->as_text) {
            freeReplyObject(reply);
            begin(link, request, true, answer);
        } else {
            answer->outcome = REDIS_ANSWERED;
            answer->reply = reply;
            answer->serial = 0;
        }
    }
    if (answer->serial != 0 && link->phase == REDIS_AWAY) {
        end(link, answer);
    }
}

static bool is_pending(const struct redis_answer *answers, size_t count, bool also_slow)
{
    for (size_t i = 0; i < count; i++) {
        if (answers[i].serial != 0 && (also_slow || !answers[i].is_slow)) {
            return true;
        }
    }
    return false;
}

static void wait_for_more(struct redis_link *links, size_t count, const struct redis_answer *answers, int64_t until_ns)
{
    struct pollfd fds[REDIS_SERVERS];
    bool resolves = false;
    for (size_t i = 0; i < count; i++) {
        bool pending = answers[i].serial != 0;
        fds[i] = (struct pollfd){.fd = pending ? links[i].fd : -1, .events = redis_link_events(&links[i])};
        resolves = resolves || (pending && links[i].phase == REDIS_RESOLVING);
    }
    int64_t left_ns = until_ns - engine_clock_ns();
    int64_t left_ms = left_ns <= 0 ? 0 : (left_ns + NS_PER_MS - 1) / NS_PER_MS;
    left_ms = resolves && left_ms > RESOLVING_MS ? RESOLVING_MS : left_ms;
    (void)poll(fds, count, (int)(left_ms < 1000 ? left_ms : 1000));
}

/* Who has not answered until now does not. What has not been sent never is. */
static void give_up(struct redis_link *links, size_t count, struct redis_answer *answers)
{
    for (size_t i = 0; i < count; i++) {
        if (answers[i].serial == 0) {
            continue;
        }
        bool sent = redis_link_sent(&links[i], answers[i].behind_bytes);
        if (!sent) {
            redis_link_take_back(&links[i]);
        }
        answers[i].outcome = sent ? REDIS_LOST : REDIS_NO_ANSWER;
        answers[i].serial = 0;
        if (links[i].phase != REDIS_AWAY) {
            (void)snprintf(links[i].problem, sizeof(links[i].problem), "%s:%s has not answered yet",
                           links[i].place->host, links[i].place->port);
            links[i].code = ENGINE_DOWN;
        }
    }
}

void redis_ask(struct redis_link *links, size_t count, const struct redis_request *request, int64_t until_ns,
               redis_enough enough, void *data, struct redis_answer *ret_answers)
{
    for (size_t i = 0; i < count; i++) {
        begin(&links[i], request, false, &ret_answers[i]);
    }
    bool is_enough = false;
    while (is_pending(ret_answers, count, !is_enough)) {
        for (size_t i = 0; i < count; i++) {
            if (ret_answers[i].serial != 0) {
                redis_link_step(&links[i], engine_clock_ns());
                take(&links[i], request, &ret_answers[i]);
            }
        }
        int64_t now_ns = engine_clock_ns();
        if (!is_enough && enough != NULL && enough(data, ret_answers, count)) {
            is_enough = true;
            until_ns = until_ns < now_ns + REDIS_GRACE_NS ? until_ns : now_ns + REDIS_GRACE_NS;
        }
        if (now_ns >= until_ns) {
            break;
        }
        if (is_pending(ret_answers, count, !is_enough)) {
            wait_for_more(links, count, ret_answers, until_ns);
        }
    }
    give_up(links, count, ret_answers);
}

void redis_answers_free(struct redis_answer *answers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (answers[i].reply != NULL) {
            freeReplyObject(answers[i].reply);
        }
        answers[i].reply = NULL;
    }
}

void redis_tell(struct redis_link *links, size_t count, const struct redis_request *request)
{
    for (size_t i = 0; i < count; i++) {
        if (links[i].phase == REDIS_OPEN) {
            int64_t now_ns = engine_clock_ns();
            (void)put(&links[i], request, false, now_ns);
            redis_link_step(&links[i], now_ns);
        }
    }
}

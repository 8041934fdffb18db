/* redis://
 *
 * How a lock is kept. The recipe is that of Redis's documentation ("Distributed Locks with Redis", the part for a
 * single instance; SET, "Patterns"): the key `name` holds the owner's text and lives for the lock's time (SET … PX), it
 * is prolonged and deleted only while it holds that text, each in one script. So redis-py's Lock, npm's redlock and
 * whoever else does the same exclude each other with this engine. Beside it, for this engine alone:
 *
 *      cohort:lock/of:NAME   hash: whose grant it is, its token and note, who waits, how the last grants ended
 *      cohort:lock/index     sorted set: the names that are held, by their end
 *      cohort:lock/token     the last token
 *      cohort:lock/wake:…    channels, one for each engine of which somebody waits
 *
 * Who waits is served in order. The release publishes on the channel of who is first; others who wait, and that one too
 * where foreign holders publish nothing or an engine is gone, ask now and then. Who has not asked for two seconds does
 * not wait.
 *
 * Clocks. A lease is counted by the server, which ends keys by its wall clock; the client counts from before it asked,
 * by its own, a hundredth and 2 ms less (the drift that Redlock allows). A wall clock of the server that is set forward
 * ends leases early, and that is not noticed.
 *
 * Tokens are microseconds of the server's wall clock, and always more than the last: they grow while the server keeps
 * `cohort:lock/token`, and also when it lost that unless its clock was set back. That is no promise for ever, so
 * COHORT_CAN_FENCE is not claimed.
 *
 * When the server crashes, or fails over to a replica, what it had not saved or handed on is forgotten: a lock may then
 * be granted within the lease of who held it. When the connection is lost before a reply came, ENGINE_UNCERTAIN: asked
 * again, the same owner has the same grant; a renewal twice is one; a release that was done is 0 the second time. */
#include "engine/redis.h"

#include "base/number.h"
#include "base/prng.h"
#include "engine/module.h"
#include "engine/redis_ask.h"
#include "engine/redis_error.h"
#include "engine/redis_reply.h"
#include "engine/redis_scripts.h"
#include "engine/redlock.h"

#include <cohort/engine.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    TTL_LEAST_MS = 10,
    DRIFT_MS = 2,
    POLL_LEAST_MS = 50,
    POLL_JITTER_MS = 100,
    KEY_BYTES = LOCK_STATE_KEY_BYTES + 64,
    CHANNEL_BYTES = 48,
    NUMBER_BYTES = 24,
};

struct redis {
    struct engine engine;
    struct redis_url url;
    struct redis_link link;
    struct redis_link ear; /* subscribes to `channel` from the first wait on */
    int epoll_fd;          /* has the ear's descriptor */
    bool deaf;             /* the server lets nobody subscribe */
    struct prng prng;
    char channel[CHANNEL_BYTES];
};

/* Room for what a request is made of. */
struct request {
    struct redis_request request;
    char of[KEY_BYTES];
    char numbers[3][NUMBER_BYTES];
};

static struct redis *redis_of(struct engine *engine) { return (struct redis *)engine; }

/* ---- asking ---- */

static void begin_request(struct request *request, enum redis_script script, struct slice key)
{
    size_t size = strlen(REDIS_OWN "of:");
    memcpy(request->of, REDIS_OWN "of:", size);
    memcpy(request->of + size, key.data, key.size);
    request->request = (struct redis_request){
        .script = script,
        .key_count = 4,
        .count = 4,
        .arguments = {key, slice_of(request->of, size + key.size), SLICE_LITERAL(REDIS_OWN "index"),
                      SLICE_LITERAL(REDIS_OWN "token")},
    };
}

static void add(struct request *request, struct slice argument)
{
    request->request.arguments[request->request.count++] = argument;
}

static void add_number(struct request *request, int which, int64_t number)
{
    size_t size = number_format_int64(request->numbers[which], number);
    add(request, slice_of(request->numbers[which], size));
}

static enum engine_code outcome(struct redis *redis, const struct redis_answer *answer)
{
    struct engine *engine = &redis->engine;
    if (answer->outcome == REDIS_LOST) {
        return engine_problem(engine, ENGINE_UNCERTAIN, "%s, after it was asked", redis->link.problem);
    }
    if (answer->outcome == REDIS_NO_ANSWER) {
        return engine_problem(engine, redis->link.code, "%s", redis->link.problem);
    }
    if (answer->reply->type != REDIS_REPLY_ERROR) {
        return ENGINE_OK;
    }
    char words[REDIS_LINK_PROBLEM_BYTES];
    enum engine_code code = redis_error("redis", answer->reply->str, words, sizeof(words));
    (void)engine_problem(engine, code, "%s", words);
    if (strstr(answer->reply->str, "READONLY") != NULL) { /* the name may lead to another server now */
        redis_link_fail(&redis->link, code, "%s", words);
    }
    return code;
}

/* ENGINE_OK: *ret_reply is the caller's, and of this type. */
static enum engine_code ask(struct redis *redis, const struct request *request, int type, redisReply **ret_reply)
{
    struct redis_answer answer;
    redis_ask(&redis->link, 1, &request->request, redis->engine.deadline_ns, NULL, NULL, &answer);
    enum engine_code code = outcome(redis, &answer);
    if (code == ENGINE_OK && answer.reply->type != type) {
        code = engine_problem(&redis->engine, ENGINE_UNCERTAIN, "what answers there is no Redis server");
    }
    if (code == ENGINE_OK) {
        *ret_reply = answer.reply;
    } else {
        redis_answers_free(&answer, 1);
    }
    return code;
}

static enum engine_code name_problem(struct engine *engine, struct slice key)
{
    if (slice_starts_with(key, SLICE_LITERAL(REDIS_OWN))) {
        return engine_problem(engine, ENGINE_REFUSED,
                              "ERR redis: names that begin with " REDIS_OWN " are the engine's own; use another");
    }
    return ENGINE_OK;
}

/* ---- leases ---- */

static int64_t less_drift(int64_t left_ms)
{
    int64_t sure_ms = left_ms - left_ms / 100 - DRIFT_MS;
    return sure_ms > 0 ? sure_ms : 0;
}

/* ---- who is woken ---- */

static void watch_ear(struct redis *redis)
{
    short wanted = redis_link_events(&redis->ear);
    int fd = wanted == 0 ? -1 : redis->ear.fd;
    uint32_t events = ((wanted & POLLIN) != 0 ? EPOLLIN : 0) | ((wanted & POLLOUT) != 0 ? EPOLLOUT : 0);
    struct epoll_event event = {.events = events};
    if (fd >= 0) {
        (void)epoll_ctl(redis->epoll_fd, EPOLL_CTL_ADD, fd, &event);
        (void)epoll_ctl(redis->epoll_fd, EPOLL_CTL_MOD, fd, &event);
    }
}

static void heard(struct engine *engine)
{
    struct redis *redis = redis_of(engine);
    int64_t now_ns = engine_clock_ns();
    redis_link_step(&redis->ear, now_ns);
    for (redisReply *reply; (reply = redis_link_reply(&redis->ear, now_ns)) != NULL; freeReplyObject(reply)) {
        redis->deaf = redis->deaf || reply->type == REDIS_REPLY_ERROR;
    }
    watch_ear(redis);
}

/* From the first wait on. Until it is heard that the channel is there, nothing is published there. */
static void listen_for(struct redis *redis)
{
    if (redis->ear.phase == REDIS_AWAY && !redis->deaf) {
        int64_t now_ns = engine_clock_ns();
        redis_link_wake(&redis->ear, now_ns);
        const char *words[] = {"SUBSCRIBE", redis->channel};
        size_t sizes[] = {strlen(words[0]), strlen(words[1])};
        (void)redis_link_put(&redis->ear, &(struct redis_words){2, words, sizes}, now_ns);
    }
    if (redis->ear.phase == REDIS_RESOLVING || redis->ear.phase == REDIS_CONNECTING) {
        heard(&redis->engine);
    }
    watch_ear(redis);
}

static int channel_fd(const struct engine *engine) { return ((const struct redis *)engine)->epoll_fd; }

/* ---- requests ---- */

static enum engine_code granted(struct redis *redis, const redisReply *reply, struct lock_granted *ret_granted)
{
    int64_t left_ms;
    switch (redis_number(redis_at(reply, 0))) {
    case 0: return ENGINE_NOT;
    case 1:
        ret_granted->token = (uint64_t)redis_number(redis_at(reply, 1));
        ret_granted->ttl_ms = less_drift(redis_number(redis_at(reply, 2)));
        return ENGINE_OK;
    case 2: {
        int64_t poll_ms = POLL_LEAST_MS + (int64_t)(prng_next(&redis->prng) % POLL_JITTER_MS);
        left_ms = redis_number(redis_at(reply, 1));
        poll_ms = redis_number(redis_at(reply, 2)) == 1 ? poll_ms : 2 * poll_ms;
        ret_granted->again_ms = left_ms > 0 && left_ms < poll_ms ? left_ms : poll_ms;
        listen_for(redis);
        return ENGINE_WAITS;
    }
    default:
        return engine_problem(&redis->engine, ENGINE_REFUSED, "BUSY redis: too many wait for this lock; try later");
    }
}

static enum engine_code acquire(struct engine *engine, const struct lock_wanted *wanted,
                                struct lock_granted *ret_granted)
{
    struct redis *redis = redis_of(engine);
    enum engine_code code = name_problem(engine, wanted->key);
    if (code != ENGINE_OK) {
        return code;
    }
    if (wanted->ttl_ms < TTL_LEAST_MS) {
        return engine_problem(engine, ENGINE_REFUSED, "ERR redis: PX is at least 10 ms, the way there takes some");
    }
    struct request request;
    begin_request(&request, REDIS_SCRIPT_ACQUIRE, wanted->key);
    add(&request, wanted->owner);
    add_number(&request, 0, wanted->ttl_ms);
    add_number(&request, 1, wanted->wait_ms > 0 ? wanted->wait_ms : 0);
    add_number(&request, 2, wanted->extends);
    add(&request, wanted->note);
    add(&request, slice_from_string(redis->channel));
    redisReply *reply;
    code = ask(redis, &request, REDIS_REPLY_ARRAY, &reply);
    if (code == ENGINE_OK) {
        code = granted(redis, reply, ret_granted);
        freeReplyObject(reply);
    } else if (code == ENGINE_UNCERTAIN && wanted->wait_ms > 0) { /* asked again, it is the same grant or place */
        ret_granted->again_ms = POLL_LEAST_MS;
        code = ENGINE_WAITS;
    }
    return code;
}

static enum engine_code renew(struct engine *engine, struct slice key, struct slice owner, uint64_t token,
                              int64_t ttl_ms, int64_t *ret_left_ms)
{
    struct request request;
    begin_request(&request, REDIS_SCRIPT_RENEW, key);
    add(&request, owner);
    add_number(&request, 0, (int64_t)token);
    add_number(&request, 1, ttl_ms);
    redisReply *reply;
    enum engine_code code = ask(redis_of(engine), &request, REDIS_REPLY_ARRAY, &reply);
    if (code == ENGINE_OK) {
        code = redis_number(redis_at(reply, 0)) == 1 ? ENGINE_OK : ENGINE_NOT;
        *ret_left_ms = less_drift(redis_number(redis_at(reply, 1)));
        freeReplyObject(reply);
    }
    return code;
}

static enum engine_code release(struct engine *engine, struct slice key, struct slice owner, uint64_t token)
{
    struct request request;
    begin_request(&request, REDIS_SCRIPT_RELEASE, key);
    add(&request, owner);
    add_number(&request, 0, (int64_t)token);
    redisReply *reply;
    enum engine_code code = ask(redis_of(engine), &request, REDIS_REPLY_INTEGER, &reply);
    if (code == ENGINE_OK) {
        code = redis_number(reply) == 1 ? ENGINE_OK : ENGINE_NOT;
        freeReplyObject(reply);
    }
    return code;
}

static enum engine_code leave(struct engine *engine, struct slice key, struct slice owner)
{
    struct request request;
    begin_request(&request, REDIS_SCRIPT_LEAVE, key);
    add(&request, owner);
    redisReply *reply;
    enum engine_code code = ask(redis_of(engine), &request, REDIS_REPLY_INTEGER, &reply);
    if (code == ENGINE_OK) {
        freeReplyObject(reply);
    }
    return code;
}

/* ---- looks ---- */

static enum engine_code look(struct engine *engine, struct slice key, struct lock_state *ret_state, int64_t *ret_now_ms)
{
    struct request request;
    begin_request(&request, REDIS_SCRIPT_LOOK, key);
    redisReply *reply;
    enum engine_code code = ask(redis_of(engine), &request, REDIS_REPLY_ARRAY, &reply);
    if (code == ENGINE_OK) {
        *ret_now_ms = redis_number(redis_at(reply, 0));
        if (!redis_fill(ret_state, reply, *ret_now_ms)) {
            code = engine_problem(engine, ENGINE_BUSY, "memory was refused");
        }
        freeReplyObject(reply);
    }
    return code;
}

static enum engine_code list(struct engine *engine, engine_listed listed, void *data)
{
    struct request request;
    begin_request(&request, REDIS_SCRIPT_LIST, slice_of("", 0));
    add_number(&request, 0, REDIS_LIST_NAMES);
    redisReply *reply;
    enum engine_code code = ask(redis_of(engine), &request, REDIS_REPLY_ARRAY, &reply);
    if (code == ENGINE_OK) {
        for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
            listed(data, redis_text(reply->element[i]));
        }
        freeReplyObject(reply);
    }
    return code;
}

/* ---- its life ---- */

static void close_redis(struct engine *engine)
{
    struct redis *redis = redis_of(engine);
    redis_link_deinit(&redis->link);
    redis_link_deinit(&redis->ear);
    (void)close(redis->epoll_fd);
    free(redis);
}

static enum status open_redis(const struct engine_url *url, struct engine **ret_engine,
                              char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    struct redis *redis = calloc(1, sizeof(*redis));
    if (redis == NULL) {
        (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "memory was refused");
        return STATUS_NOMEM;
    }
    enum status status = redis_url_take(url, &redis->url, ret_problem);
    if (status == STATUS_OK && redis->url.count != 1) {
        (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES,
                       "redis://: it is one server; several that know nothing of each other are redlock://");
        status = STATUS_INVALID;
    }
    uint64_t random[2];
    redis->epoll_fd = status == STATUS_OK ? epoll_create1(EPOLL_CLOEXEC) : -1;
    if (status == STATUS_OK &&
        (redis->epoll_fd < 0 || getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))) {
        (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "no file descriptors are left, or no random numbers");
        status = STATUS_FULL;
    }
    if (status != STATUS_OK) {
        if (redis->epoll_fd >= 0) {
            (void)close(redis->epoll_fd);
        }
        free(redis);
        return status;
    }
    prng_seed(&redis->prng, random[0]);
    (void)snprintf(redis->channel, sizeof(redis->channel), REDIS_OWN "wake:%016" PRIx64, random[1]);
    redis_link_init(&redis->link, &redis->url.places[0], &redis->url.login, redis_scripts_one);
    redis_link_init(&redis->ear, &redis->url.places[0], &redis->url.login, NULL);
    redis->ear.epoll_fd = redis->epoll_fd;
    redis->engine.ops = &engine_redis;
    *ret_engine = &redis->engine;
    return STATUS_OK;
}

const struct engine_ops engine_redis = {
    .scheme = "redis",
    .can = COHORT_CAN_PROCESSES | COHORT_CAN_LOCK | COHORT_CAN_QUEUE | COHORT_CAN_ELECT | COHORT_CAN_LOOK,
    .open = open_redis,
    .close = close_redis,
    .fd = channel_fd,
    .heard = heard,
    .acquire = acquire,
    .renew = renew,
    .release = release,
    .leave = leave,
    .look = look,
    .list = list,
};

MODULE_OF(&engine_redis, &engine_redlock);

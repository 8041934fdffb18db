/* redlock://
 *
 * The algorithm that Salvatore Sanfilippo published ("Distributed Locks with Redis", redis.io), at N servers that know
 * nothing of each other:
 *
 *   acquire   at all of them at the same time: SET name value NX PX ttl, with a value that no other grant has. Held is
 *             what a quorum, N/2 + 1, has given, while ttl − elapsed − (ttl × 0.01 + 2 ms) is left; otherwise it is
 *             released at all of them, and tried again after a random pause
 *   renew     at all of them, where the value still stands; a quorum must have done so in time. Where it cannot be had
 *             any more the lock is given up, and released at all
 *   release   at all of them, while the value stands
 *
 * The value is the owner, a space and 16 random digits: these are the token too. So a request that a server executes
 * late (it hung) never hits another grant of the same owner. npm's redlock, and whoever else follows the algorithm with
 * the key `name` at the same servers, exclude each other with this engine.
 *
 * What is told of `left` is the least that a quorum has, less the drift; the client counts it from before it asked, so
 * that `elapsed` is in it. Here it is only looked whether something is left at all.
 *
 * A server that hangs costs at most a tenth of the ttl, once, or a moment: who owes an answer is not waited for when a
 * quorum has given one, and is left alone for a while after two seconds. Its late answers are thrown away.
 *
 * What breaks it: a server that forgets its keys (crash without `appendfsync always`) and comes back within the ttl may
 * give a lock a second time: start it again after the longest ttl only. A wall clock that is set forward at a server
 * ends its keys early. A holder that is stopped for longer than its lease uses what it no longer holds, and no token
 * tells (Kleppmann, "How to do distributed locking"): hence neither COHORT_CAN_FENCE nor elections. */
#include "engine/redlock.h"

#include "base/number.h"
#include "engine/redis_ask.h"
#include "engine/redis_error.h"
#include "engine/redis_scripts.h"
#include "engine/redlock_tally.h"

#include <cohort/engine.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define NS_PER_MS INT64_C(1000000)

enum {
    TTL_LEAST_MS = 20,
    DRIFT_MS = 2,
    PATIENCE_LEAST_MS = 5,
    PATIENCE_MOST_MS = 500,
    ATTEMPTS = 3, /* of who does not wait, when nobody has a quorum */
    PAUSE_LEAST_MS = 10,
    PAUSE_JITTER_MS = 90,
    DIGITS = 16,
    VALUE_BYTES = LOCK_STATE_OWNER_BYTES + 1 + DIGITS + 1,
    NUMBER_BYTES = 24,
};

struct redlock {
    struct engine engine;
    struct redis_url url;
    size_t count, quorum;
    struct redis_link links[REDIS_SERVERS];
};

struct value {
    char text[VALUE_BYTES];
    size_t size;
};

static struct redlock *redlock_of(struct engine *engine) { return (struct redlock *)engine; }

static uint64_t random_number(void)
{
    uint64_t number = 0;
    while (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number)) {
    }
    return number;
}

/* False: nobody has such a name. */
static bool make_value(struct value *value, struct slice owner, uint64_t token)
{
    if (owner.size > LOCK_STATE_OWNER_BYTES) {
        return false;
    }
    memcpy(value->text, owner.data, owner.size);
    (void)snprintf(value->text + owner.size, DIGITS + 2, " %016" PRIx64, token);
    value->size = owner.size + 1 + DIGITS;
    return true;
}

/* 0: it is none of this engine's. */
static uint64_t token_of(struct slice value)
{
    uint64_t token = 0;
    if (value.size < DIGITS + 1 || value.data[value.size - DIGITS - 1] != ' ') {
        return 0;
    }
    for (size_t i = value.size - DIGITS; i < value.size; i++) {
        int digit = value.data[i] >= 'a' ? value.data[i] - 'a' + 10 : value.data[i] - '0';
        if (digit < 0 || digit > 15) {
            return 0;
        }
        token = 16 * token + (uint64_t)digit;
    }
    return token;
}

/* ---- asking ---- */

/* So long one server may be silent: small beside the time to live. */
static int64_t until_ns(const struct redlock *redlock, int64_t ttl_ms)
{
    int64_t patience_ms = ttl_ms / 10;
    patience_ms = patience_ms < PATIENCE_LEAST_MS ? PATIENCE_LEAST_MS : patience_ms;
    patience_ms = patience_ms > PATIENCE_MOST_MS ? PATIENCE_MOST_MS : patience_ms;
    int64_t at_ns = engine_clock_ns() + patience_ms * NS_PER_MS;
    return at_ns < redlock->engine.deadline_ns ? at_ns : redlock->engine.deadline_ns;
}

/* A quorum has said yes, or cannot any more. */
static bool is_decided(const struct redlock *redlock, const struct redlock_tally *tally)
{
    return tally->yes >= redlock->quorum || tally->answered - tally->yes > redlock->count - redlock->quorum;
}

static bool enough_values(void *data, const struct redis_answer *answers, size_t count)
{
    struct redlock_tally tally = redlock_count_values(answers, count);
    return is_decided(data, &tally);
}

static bool enough_yes(void *data, const struct redis_answer *answers, size_t count)
{
    struct redlock_tally tally = redlock_count_yes(answers, count);
    return is_decided(data, &tally);
}

static int64_t less_drift(int64_t left_ms) { return left_ms - left_ms / 100 - DRIFT_MS; }

/* The least that a quorum has. */
static int64_t sure_ms(const struct redlock *redlock, const struct redlock_tally *tally)
{
    return less_drift(tally->lefts_ms[redlock->quorum - 1]);
}

static int64_t elapsed_ms(int64_t since_ns) { return (engine_clock_ns() - since_ns + NS_PER_MS - 1) / NS_PER_MS; }

/* No quorum answered: the words are of the first who did not. */
static enum engine_code too_few(struct redlock *redlock, const struct redis_answer *answers,
                                const struct redlock_tally *tally, enum engine_code code)
{
    char words[REDIS_LINK_PROBLEM_BYTES] = "";
    size_t refused = 0;
    for (size_t i = 0; i < redlock->count; i++) {
        struct slice one;
        int64_t left_ms;
        if (redlock_take(&answers[i], &one, &left_ms)) {
            continue;
        }
        char own[REDIS_LINK_PROBLEM_BYTES];
        enum engine_code own_code = redlock->links[i].code;
        (void)snprintf(own, sizeof(own), "%s", redlock->links[i].problem);
        if (answers[i].outcome == REDIS_ANSWERED) {
            own_code = answers[i].reply->type == REDIS_REPLY_ERROR
                           ? redis_error("redlock", answers[i].reply->str, own, sizeof(own))
                           : ENGINE_REFUSED;
        }
        if (words[0] == '\0' || (own_code == ENGINE_REFUSED && refused == 0)) {
            memcpy(words, own, sizeof(words));
        }
        refused += own_code == ENGINE_REFUSED;
    }
    if (refused > redlock->count - redlock->quorum) { /* waiting does not help */
        return engine_problem(&redlock->engine, ENGINE_REFUSED, "%s", words);
    }
    return engine_problem(&redlock->engine, code, "%zu of %zu servers answered, and %zu are needed; %s",
                          tally->answered, redlock->count, redlock->quorum, words);
}

/* At all of them, also where the request before may be executed yet: it stands behind it. */
static void release_everywhere(struct redlock *redlock, struct slice key, const struct value *value)
{
    struct redis_request request = {.script = REDLOCK_SCRIPT_RELEASE,
                                    .key_count = 1,
                                    .count = 2,
                                    .arguments = {key, slice_of(value->text, value->size)}};
    redis_tell(redlock->links, redlock->count, &request);
}

/* ---- acquire ---- */

static int64_t jitter_ms(void) { return PAUSE_LEAST_MS + (int64_t)(random_number() % PAUSE_JITTER_MS); }

static void rest(int64_t pause_ms)
{
    struct timespec pause = {.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * NS_PER_MS};
    (void)nanosleep(&pause, NULL);
}

/* ENGINE_WAITS: nobody has a quorum, so that it may be tried again. */
static enum engine_code judge(struct redlock *redlock, const struct redis_answer *answers, int64_t began_ns,
                              int64_t ttl_ms, struct lock_granted *ret_granted, int64_t *ret_others_ms)
{
    struct redlock_tally tally = redlock_count_values(answers, redlock->count);
    *ret_others_ms = tally.others_ms;
    if (tally.yes >= redlock->quorum) {
        int64_t left_ms = sure_ms(redlock, &tally);
        left_ms = left_ms < less_drift(ttl_ms) ? left_ms : less_drift(ttl_ms); /* clocks may have been set back */
        if (left_ms <= elapsed_ms(began_ns)) {
            return ENGINE_WAITS;
        }
        *ret_granted = (struct lock_granted){.token = token_of(tally.value), .ttl_ms = left_ms};
        return ENGINE_OK;
    }
    if (tally.answered < redlock->quorum) {
        return too_few(redlock, answers, &tally, ENGINE_DOWN);
    }
    return tally.answered - tally.yes >= redlock->quorum ? ENGINE_NOT : ENGINE_WAITS;
}

static enum engine_code try_once(struct redlock *redlock, const struct lock_wanted *wanted,
                                 struct lock_granted *ret_granted, int64_t *ret_others_ms)
{
    struct redis_answer answers[REDIS_SERVERS];
    struct value value;
    char ttl[NUMBER_BYTES];
    uint64_t token = random_number() >> 2; /* at most 2^62 */
    if (!make_value(&value, wanted->owner, token == 0 ? 1 : token)) {
        return engine_problem(&redlock->engine, ENGINE_REFUSED, "ERR an owner has at most 256 bytes");
    }
    struct redis_request request = {
        .script = REDLOCK_SCRIPT_ACQUIRE,
        .key_count = 1,
        .count = 4,
        .arguments = {wanted->key, wanted->owner, slice_of(value.text, value.size),
                      slice_of(ttl, number_format_int64(ttl, wanted->ttl_ms))},
    };
    int64_t began_ns = engine_clock_ns();
    redis_ask(redlock->links, redlock->count, &request, until_ns(redlock, wanted->ttl_ms), enough_values, redlock,
              answers);
    enum engine_code code = judge(redlock, answers, began_ns, wanted->ttl_ms, ret_granted, ret_others_ms);
    if (code != ENGINE_OK || ret_granted->token != token_of(slice_of(value.text, value.size))) {
        release_everywhere(redlock, wanted->key, &value);
    }
    redis_answers_free(answers, redlock->count);
    return code;
}

static enum engine_code acquire(struct engine *engine, const struct lock_wanted *wanted,
                                struct lock_granted *ret_granted)
{
    struct redlock *redlock = redlock_of(engine);
    if (wanted->ttl_ms < TTL_LEAST_MS) {
        return engine_problem(engine, ENGINE_REFUSED, "ERR redlock: PX is at least 20 ms, the way there takes some");
    }
    enum engine_code code;
    int64_t others_ms = 0;
    for (int attempt = 1;; attempt++) {
        code = try_once(redlock, wanted, ret_granted, &others_ms);
        int64_t pause_ms = jitter_ms();
        bool again = code == ENGINE_WAITS && wanted->wait_ms <= 0 && attempt < ATTEMPTS &&
                     engine_clock_ns() + pause_ms * NS_PER_MS < engine->deadline_ns;
        if (!again) {
            break;
        }
        rest(pause_ms);
    }
    if (code != ENGINE_WAITS && code != ENGINE_NOT) {
        return code;
    }
    if (wanted->wait_ms <= 0) {
        return ENGINE_NOT;
    }
    int64_t pause_ms = jitter_ms();
    ret_granted->again_ms = others_ms > 0 && others_ms < pause_ms ? others_ms : pause_ms;
    return ENGINE_WAITS;
}

/* ---- the others ---- */

static enum engine_code renew(struct engine *engine, struct slice key, struct slice owner, uint64_t token,
                              int64_t ttl_ms, int64_t *ret_left_ms)
{
    struct redlock *redlock = redlock_of(engine);
    struct redis_answer answers[REDIS_SERVERS];
    struct value value;
    char ttl[NUMBER_BYTES];
    if (!make_value(&value, owner, token)) {
        return ENGINE_NOT;
    }
    struct redis_request request = {
        .script = REDLOCK_SCRIPT_RENEW,
        .key_count = 1,
        .count = 3,
        .arguments = {key, slice_of(value.text, value.size), slice_of(ttl, number_format_int64(ttl, ttl_ms))}};
    int64_t began_ns = engine_clock_ns();
    redis_ask(redlock->links, redlock->count, &request, until_ns(redlock, ttl_ms), enough_yes, redlock, answers);
    struct redlock_tally tally = redlock_count_yes(answers, redlock->count);
    enum engine_code code = ENGINE_OK;
    if (tally.yes >= redlock->quorum) {
        *ret_left_ms = sure_ms(redlock, &tally);
        code = *ret_left_ms > elapsed_ms(began_ns) ? ENGINE_OK : ENGINE_NOT;
    } else if (tally.answered - tally.yes > redlock->count - redlock->quorum) {
        code = ENGINE_NOT;
    } else {
        code = too_few(redlock, answers, &tally, ENGINE_DOWN);
    }
    if (code == ENGINE_NOT) {
        release_everywhere(redlock, key, &value);
    }
    redis_answers_free(answers, redlock->count);
    return code;
}

static enum engine_code release(struct engine *engine, struct slice key, struct slice owner, uint64_t token)
{
    struct redlock *redlock = redlock_of(engine);
    struct redis_answer answers[REDIS_SERVERS];
    struct value value;
    if (!make_value(&value, owner, token)) {
        return ENGINE_NOT;
    }
    struct redis_request request = {.script = REDLOCK_SCRIPT_RELEASE,
                                    .key_count = 1,
                                    .count = 2,
                                    .arguments = {key, slice_of(value.text, value.size)}};
    redis_ask(redlock->links, redlock->count, &request, until_ns(redlock, INT32_MAX), enough_yes, redlock, answers);
    struct redlock_tally tally = redlock_count_yes(answers, redlock->count);
    enum engine_code code = ENGINE_OK;
    if (tally.yes < redlock->quorum) {
        bool refused = tally.answered - tally.yes > redlock->count - redlock->quorum;
        code = refused ? ENGINE_NOT : too_few(redlock, answers, &tally, ENGINE_UNCERTAIN);
    }
    redis_answers_free(answers, redlock->count);
    return code;
}

/* Places in queues there are none. */
static enum engine_code leave(struct engine *engine, struct slice key, struct slice owner)
{
    (void)engine;
    (void)key;
    (void)owner;
    return ENGINE_OK;
}

/* For what was granted and could not be told. */
static enum engine_code look(struct engine *engine, struct slice key, struct lock_state *ret_state, int64_t *ret_now_ms)
{
    struct redlock *redlock = redlock_of(engine);
    struct redis_answer answers[REDIS_SERVERS];
    struct redis_request request = {.script = REDLOCK_SCRIPT_LOOK, .key_count = 1, .count = 1, .arguments = {key}};
    redis_ask(redlock->links, redlock->count, &request, until_ns(redlock, INT32_MAX), enough_values, redlock, answers);
    struct redlock_tally tally = redlock_count_values(answers, redlock->count);
    enum engine_code code = ENGINE_OK;
    *ret_now_ms = engine_clock_ns() / NS_PER_MS;
    if (tally.answered < redlock->quorum) {
        code = too_few(redlock, answers, &tally, ENGINE_DOWN);
    } else if (tally.yes >= redlock->quorum && token_of(tally.value) != 0) {
        struct lock_claim claim = {.owner = slice_of(tally.value.data, tally.value.size - DIGITS - 1),
                                   .permits = 1,
                                   .token = token_of(tally.value),
                                   .since_ms = *ret_now_ms,
                                   .due_ms = *ret_now_ms + tally.lefts_ms[redlock->quorum - 1]};
        bool fits = claim.owner.size <= LOCK_STATE_OWNER_BYTES && lock_state_add(ret_state, false, &claim);
        code = fits ? ENGINE_OK : engine_problem(engine, ENGINE_BUSY, "memory was refused");
    }
    redis_answers_free(answers, redlock->count);
    return code;
}

/* ---- its life ---- */

static void close_redlock(struct engine *engine)
{
    struct redlock *redlock = redlock_of(engine);
    for (size_t i = 0; i < redlock->count; i++) {
        redis_link_deinit(&redlock->links[i]);
    }
    free(redlock);
}

static const struct engine_ops engine_redlock_of_few;

static enum status open_redlock(const struct engine_url *url, struct engine **ret_engine,
                                char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    struct redlock *redlock = calloc(1, sizeof(*redlock));
    if (redlock == NULL) {
        (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "memory was refused");
        return STATUS_NOMEM;
    }
    enum status status = redis_url_take(url, &redlock->url, ret_problem);
    if (status != STATUS_OK) {
        free(redlock);
        return status;
    }
    redlock->count = redlock->url.count;
    redlock->quorum = redlock->count / 2 + 1;
    for (size_t i = 0; i < redlock->count; i++) {
        redis_link_init(&redlock->links[i], &redlock->url.places[i], &redlock->url.login, redis_scripts_redlock);
    }
    redlock->engine.ops = redlock->count > 2 ? &engine_redlock : &engine_redlock_of_few;
    *ret_engine = &redlock->engine;
    return STATUS_OK;
}

#define OPERATIONS                                                                                                     \
    .scheme = "redlock", .open = open_redlock, .close = close_redlock, .acquire = acquire, .renew = renew,             \
    .release = release, .leave = leave, .look = look

const struct engine_ops engine_redlock = {OPERATIONS,
                                          .can = COHORT_CAN_PROCESSES | COHORT_CAN_LOCK | COHORT_CAN_SURVIVE};

/* One or two servers must all be there. */
static const struct engine_ops engine_redlock_of_few = {OPERATIONS, .can = COHORT_CAN_PROCESSES | COHORT_CAN_LOCK};

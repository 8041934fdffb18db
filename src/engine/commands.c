#include "engine/commands_internal.h"

#include "base/number.h"

#include <cohort/engine.h>

#define TIME_MAXIMUM_MS (INT64_C(365) * 24 * 3600 * 1000)
#define PERMITS_MAXIMUM (INT64_C(1) << 30)

enum { NS_PER_MS = 1000000, AGAIN_MAXIMUM_MS = 250 };

/* ---- replies ---- */

enum engine_execution engine_answer_error(struct call *call, const char *text)
{
    resp_error(call->reply, text);
    return ENGINE_ANSWERED;
}

static enum engine_execution answer_arity(struct call *call)
{
    char name[32];
    size_t size = call->argv[0].size < sizeof(name) - 1 ? call->argv[0].size : sizeof(name) - 1;
    memcpy(name, call->argv[0].data, size);
    name[size] = '\0';
    resp_error_format(call->reply, "ERR wrong number of arguments for '%s' command", name);
    return ENGINE_ANSWERED;
}

void engine_answer_code(struct resp_writer *reply, const struct engine *engine, enum engine_code code)
{
    static const char *const words[] = {
        [ENGINE_DOWN] = "CLUSTERDOWN",
        [ENGINE_BUSY] = "BUSY",
        [ENGINE_UNCERTAIN] = "UNCERTAIN",
    };
    if (code == ENGINE_REFUSED) {
        resp_error(reply, engine->problem);
        return;
    }
    resp_error_format(reply, "%s %s: %s", words[code], engine->ops->scheme, engine->problem);
}

enum engine_execution engine_answer_unsupported(struct call *call, const char *what)
{
    resp_error_format(call->reply, "UNSUPPORTED %s:// has no %s; cohort_can() tells what it has",
                      call->engine->ops->scheme, what);
    return ENGINE_ANSWERED;
}

/* ---- arguments ---- */

bool engine_key_problem(struct call *call, struct slice key)
{
    if (key.size > LOCK_STATE_KEY_BYTES) {
        resp_error(call->reply, "ERR the name of a lock has at most 1024 bytes");
        return true;
    }
    if (key.size > 0 && key.data[0] == 0) {
        resp_error(call->reply, "ERR no name of a lock begins with a zero byte");
        return true;
    }
    return false;
}

static bool token_of(struct call *call, struct slice text, uint64_t *ret_token)
{
    int64_t number;
    if (!number_parse_int64(text, &number) || number < 0) {
        resp_error(call->reply, "ERR a token is a number that an acquire gave");
        return false;
    }
    *ret_token = (uint64_t)number;
    return true;
}

/* What of an acquire's options was said. */
struct options {
    int64_t ttl_ms, wait_ms, permits, limit;
    bool shared;
    struct slice note;
    const char *problem;
};

static int64_t take_number(struct options *options, struct slice text, int64_t least, int64_t most, const char *problem)
{
    int64_t number = least;
    if (!number_parse_int64(text, &number) || number < least || number > most) {
        options->problem = problem;
    }
    return number;
}

static void take_option(struct options *options, struct slice name, struct slice value)
{
    if (slice_is_word(name, "PX")) {
        options->ttl_ms = take_number(options, value, 1, TIME_MAXIMUM_MS, "ERR PX is from 1 ms to a year");
    } else if (slice_is_word(name, "WAIT")) {
        options->wait_ms = take_number(options, value, 0, TIME_MAXIMUM_MS, "ERR WAIT is from 0 ms to a year");
    } else if (slice_is_word(name, "PERMITS")) {
        options->permits = take_number(options, value, 1, PERMITS_MAXIMUM, "ERR PERMITS is from 1 to 1073741824");
    } else if (slice_is_word(name, "LIMIT")) {
        options->limit = take_number(options, value, 1, PERMITS_MAXIMUM, "ERR LIMIT is from 1 to 1073741824");
    } else if (slice_is_word(name, "MODE")) {
        options->shared = slice_is_word(value, "SHARED");
        if (!options->shared && !slice_is_word(value, "EXCLUSIVE")) {
            options->problem = "ERR MODE is EXCLUSIVE or SHARED";
        }
    } else if (slice_is_word(name, "NOTE") || slice_is_word(name, "VALUE")) {
        options->note = value;
        if (value.size > LOCK_STATE_NOTE_BYTES) {
            options->problem = "ERR NOTE and VALUE have at most 512 bytes";
        }
    } else if (slice_is_word(name, "SESSION")) {
        options->problem = "UNSUPPORTED an engine has no sessions: give PX";
    } else if (slice_is_word(name, "REENTRANT")) {
        options->problem = "UNSUPPORTED an engine counts no acquires of one owner";
    } else {
        options->problem = "ERR syntax error";
    }
}

static const char *wanted_problem(const struct engine *engine, const struct options *options)
{
    if (options->problem != NULL) {
        return options->problem;
    }
    if (options->ttl_ms == 0) {
        return "ERR PX is missing: how long the lock lives";
    }
    if ((options->permits != 0) != (options->limit != 0) || options->permits > options->limit) {
        return "ERR PERMITS and LIMIT go together, and PERMITS is at most LIMIT";
    }
    if (options->permits != 0 && options->shared) {
        return "ERR permits have no MODE";
    }
    if (options->shared && (engine->ops->can & COHORT_CAN_SHARE) == 0) {
        return "UNSUPPORTED this engine has no shared locks; cohort_can() tells what it has";
    }
    if (options->permits != 0 && (engine->ops->can & COHORT_CAN_PERMITS) == 0) {
        return "UNSUPPORTED this engine has no permits; cohort_can() tells what it has";
    }
    return NULL;
}

/* Of key owner [name value …] from argv[1] on; of an election, when it extends. */
static bool take_wanted(struct call *call, bool extends, struct lock_wanted *ret_wanted)
{
    struct options options = {.note = slice_of("", 0)};
    if (call->argc % 2 == 0) {
        options.problem = "ERR syntax error";
    }
    for (size_t i = 3; i + 1 < call->argc; i += 2) {
        take_option(&options, call->argv[i], call->argv[i + 1]);
    }
    if (call->argv[2].size < 1 || call->argv[2].size > LOCK_STATE_OWNER_BYTES) { /* in the server's words */
        options.problem =
            extends ? "ERR the name of a candidate has 1 to 256 bytes" : "ERR the name of an owner has 1 to 256 bytes";
    }
    const char *problem = wanted_problem(call->engine, &options);
    if (problem != NULL) {
        resp_error(call->reply, problem);
        return false;
    }
    enum lock_kind kind = options.shared ? LOCK_KIND_SHARED : LOCK_KIND_EXCLUSIVE;
    *ret_wanted = (struct lock_wanted){.key = call->argv[1],
                                       .owner = call->argv[2],
                                       .note = options.note,
                                       .kind = options.permits != 0 ? LOCK_KIND_PERMITS : kind,
                                       .permits = options.permits != 0 ? (uint32_t)options.permits : 1,
                                       .limit = (uint32_t)options.limit,
                                       .ttl_ms = options.ttl_ms,
                                       .wait_ms = options.wait_ms};
    return true;
}

/* ---- acquire ---- */

static void answer_granted(struct resp_writer *reply, const struct lock_granted *granted)
{
    resp_array(reply, 2);
    resp_integer(reply, (int64_t)granted->token);
    resp_integer(reply, granted->ttl_ms);
}

enum engine_execution engine_execute_wait(struct engine *engine, struct engine_wait *wait, struct resp_writer *reply)
{
    int64_t now_ns = engine_clock_ns();
    wait->wanted.wait_ms = wait->until_ns > now_ns ? (wait->until_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
    struct lock_granted granted = {0};
    enum engine_code code = engine->ops->acquire(engine, &wait->wanted, &granted);
    if (code == ENGINE_WAITS || (code == ENGINE_BUSY && wait->wanted.wait_ms > 0)) {
        int64_t again_ms =
            granted.again_ms > 0 && granted.again_ms < AGAIN_MAXIMUM_MS ? granted.again_ms + 1 : AGAIN_MAXIMUM_MS;
        wait->again_ns = engine_clock_ns() + again_ms * NS_PER_MS;
        wait->again_ns = wait->again_ns < wait->until_ns ? wait->again_ns : wait->until_ns;
        return ENGINE_MUST_WAIT;
    }
    switch (code) {
    case ENGINE_OK: answer_granted(reply, &granted); break;
    case ENGINE_NOT: resp_null_array(reply); break;
    default: engine_answer_code(reply, engine, code); break;
    }
    return ENGINE_ANSWERED;
}

static enum engine_execution acquire(struct call *call, struct slice key, bool extends)
{
    struct engine_wait *wait = call->wait;
    if (!take_wanted(call, extends, &wait->wanted)) {
        return ENGINE_ANSWERED;
    }
    memcpy(wait->key, key.data, key.size);
    wait->wanted.key = slice_of(wait->key, key.size);
    wait->wanted.extends = extends;
    wait->until_ns = engine_clock_ns() + wait->wanted.wait_ms * NS_PER_MS;
    return engine_execute_wait(call->engine, wait, call->reply);
}

static enum engine_execution lock_acquire(struct call *call)
{
    return engine_key_problem(call, call->argv[1]) ? ENGINE_ANSWERED : acquire(call, call->argv[1], false);
}

/* ---- renew, release ---- */

/* LOCK.RENEW key owner token PX ttl */
static enum engine_execution lock_renew(struct call *call)
{
    uint64_t token;
    int64_t ttl_ms;
    int64_t left_ms = 0;
    if (engine_key_problem(call, call->argv[1]) || !token_of(call, call->argv[3], &token)) {
        return ENGINE_ANSWERED;
    }
    if (!slice_is_word(call->argv[4], "PX") || !number_parse_int64(call->argv[5], &ttl_ms) || ttl_ms < 1 ||
        ttl_ms > TIME_MAXIMUM_MS) {
        return engine_answer_error(call, "ERR PX is from 1 ms to a year");
    }
    struct engine *engine = call->engine;
    enum engine_code code = engine->ops->renew(engine, call->argv[1], call->argv[2], token, ttl_ms, &left_ms);
    switch (code) {
    case ENGINE_OK: resp_integer(call->reply, left_ms); break;
    case ENGINE_NOT:
        resp_error(call->reply, "LOCKLOST this owner does not hold the lock by this token; acquire it anew");
        break;
    default: engine_answer_code(call->reply, engine, code); break;
    }
    return ENGINE_ANSWERED;
}

/* LOCK.RELEASE key owner token [FORCE]: whoever knows owner and token may release; it is the same here by force. */
static enum engine_execution release(struct call *call, struct slice key)
{
    uint64_t token;
    if (call->argc == 5 && !slice_is_word(call->argv[4], "FORCE")) {
        return engine_answer_error(call, "ERR syntax error");
    }
    if (!token_of(call, call->argv[3], &token)) {
        return ENGINE_ANSWERED;
    }
    enum engine_code code = call->engine->ops->release(call->engine, key, call->argv[2], token);
    if (code == ENGINE_OK || code == ENGINE_NOT) {
        resp_integer(call->reply, code == ENGINE_OK);
    } else {
        engine_answer_code(call->reply, call->engine, code);
    }
    return ENGINE_ANSWERED;
}

static enum engine_execution lock_release(struct call *call)
{
    return engine_key_problem(call, call->argv[1]) ? ENGINE_ANSWERED : release(call, call->argv[1]);
}

static enum engine_execution fence_check(struct call *call)
{
    uint64_t token;
    if (engine_key_problem(call, call->argv[1]) || !token_of(call, call->argv[2], &token)) {
        return ENGINE_ANSWERED;
    }
    if ((call->engine->ops->can & COHORT_CAN_FENCE) == 0) {
        return engine_answer_unsupported(call, "tokens that only grow");
    }
    enum engine_code code = call->engine->ops->fence(call->engine, call->argv[1], token);
    if (code == ENGINE_OK || code == ENGINE_NOT) {
        resp_integer(call->reply, code == ENGINE_OK);
    } else {
        engine_answer_code(call->reply, call->engine, code);
    }
    return ENGINE_ANSWERED;
}

/* ---- elections: locks behind a zero byte ---- */

static enum engine_execution elect(struct call *call, enum engine_execution (*act)(struct call *call, struct slice key))
{
    uint8_t key[LOCK_STATE_KEY_BYTES];
    struct slice name = call->argv[1];
    if ((call->engine->ops->can & COHORT_CAN_ELECT) == 0) {
        return engine_answer_unsupported(call, "elections");
    }
    if (name.size > LOCK_STATE_KEY_BYTES - 1) {
        return engine_answer_error(call, "ERR the name of an election has at most 1023 bytes");
    }
    key[0] = 0;
    memcpy(&key[1], name.data, name.size);
    return act(call, slice_of(key, name.size + 1));
}

static enum engine_execution campaign(struct call *call, struct slice key) { return acquire(call, key, true); }

static enum engine_execution elect_campaign(struct call *call) { return elect(call, campaign); }
static enum engine_execution elect_leader(struct call *call) { return elect(call, engine_leader); }
static enum engine_execution elect_resign(struct call *call) { return elect(call, release); }

/* ---- the connection's own ---- */

static enum engine_execution hello(struct call *call)
{
    call->reply->protocol = RESP3; /* libcohort asks for nothing else */
    resp_map(call->reply, 3);
    resp_bulk_string(call->reply, "server");
    resp_bulk_string(call->reply, "cohort-engine");
    resp_bulk_string(call->reply, "engine");
    resp_bulk_string(call->reply, call->engine->ops->scheme);
    resp_bulk_string(call->reply, "proto");
    resp_integer(call->reply, RESP3);
    return ENGINE_ANSWERED;
}

static enum engine_execution ping(struct call *call)
{
    resp_status(call->reply, "PONG");
    return ENGINE_ANSWERED;
}

/* libcohort asks so whether a node can serve who waits there. */
static enum engine_execution exists(struct call *call)
{
    resp_integer(call->reply, 0);
    return ENGINE_ANSWERED;
}

static const struct command {
    const char *name;
    size_t least, most; /* words, the name too */
    enum engine_execution (*execute)(struct call *call);
} commands[] = {
    {"LOCK.ACQUIRE", 5, SIZE_MAX, lock_acquire},
    {"LOCK.RENEW", 6, 6, lock_renew},
    {"LOCK.RELEASE", 4, 5, lock_release},
    {"LOCK.INFO", 2, 2, engine_lock_info},
    {"LOCK.HISTORY", 2, 4, engine_lock_history},
    {"LOCK.LIST", 1, 7, engine_lock_list},
    {"FENCE.CHECK", 3, 3, fence_check},
    {"ELECT.CAMPAIGN", 5, SIZE_MAX, elect_campaign},
    {"ELECT.LEADER", 2, 2, elect_leader},
    {"ELECT.RESIGN", 4, 5, elect_resign},
    {"HELLO", 1, SIZE_MAX, hello},
    {"PING", 1, 2, ping},
    {"EXISTS", 2, 2, exists},
};

enum engine_execution engine_execute(struct engine *engine, const struct slice *argv, size_t argc,
                                     struct resp_writer *reply, struct engine_wait *ret_wait)
{
    struct call call = {engine, argv, argc, reply, ret_wait};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (slice_is_word(argv[0], commands[i].name)) {
            bool fits = argc >= commands[i].least && argc <= commands[i].most;
            return fits ? commands[i].execute(&call) : answer_arity(&call);
        }
    }
    return engine_answer_unsupported(&call, "such command");
}

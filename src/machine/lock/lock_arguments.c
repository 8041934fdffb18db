#include "machine/lock/lock_arguments.h"

#include "base/number.h"
#include "base/varint.h"
#include "machine/lock/elections.h"
#include "machine/lock/lock_limits.h"
#include "machine/session/session_id.h"

void lock_origin_put(uint8_t at[static LOCK_ORIGIN_BYTES], const struct lock_origin *origin)
{
    put_u64(at, origin->node);
    put_u64(at + 8, origin->start);
    put_u64(at + 16, origin->client);
    put_u64(at + 24, origin->number);
}

bool lock_origin_take(struct slice from, struct lock_origin *ret_origin)
{
    if (from.size != LOCK_ORIGIN_BYTES) {
        return false;
    }
    const uint8_t *at = from.data;
    *ret_origin = (struct lock_origin){get_u64(at), get_u64(at + 8), get_u64(at + 16), get_u64(at + 24)};
    return true;
}

const char *lock_names_fit(struct slice key, struct slice owner)
{
    _Static_assert(LOCK_KEY_BYTES == 1024 && LOCK_OWNER_BYTES == 256 && LOCK_NOTE_BYTES == 512 &&
                       LOCK_REQUEST_ID_BYTES == 128 && LOCK_PERMITS == 1073741824,
                   "as the texts say");
    if (key.size > LOCK_KEY_BYTES) {
        return "ERR the name of a lock has 1024 bytes at most";
    }
    if (lock_name_reserved(key)) {
        return lock_reserved_text;
    }
    return owner.size > LOCK_OWNER_BYTES ? "ERR the name of an owner has 256 bytes at most" : NULL;
}

const char *lock_token_parse(struct slice text, uint64_t *ret_token)
{
    int64_t token;
    if (!number_parse_int64(text, &token) || token < 1) {
        return "ERR a token is the positive integer that LOCK.ACQUIRE gave";
    }
    *ret_token = (uint64_t)token;
    return NULL;
}

const char *lock_time_parse(struct slice text, int64_t least, const char *what, int64_t *ret_ms)
{
    return number_parse_int64(text, ret_ms) && *ret_ms >= least && *ret_ms <= LOCK_TIME_MS ? NULL : what;
}

static const char ttl_text[] = "ERR PX is the time to live in ms, from 1 to 31536000000 (a year)";
static const char wait_text[] = "ERR WAIT is a time in ms, from 0 to 31536000000 (a year)";

struct parsing {
    struct lock_request *request;
    bool ttl, wait, mode, permits, limit, session;
};

static const char *take_mode(struct parsing *parsing, struct slice value)
{
    if (parsing->mode) {
        return "ERR syntax error";
    }
    parsing->mode = true;
    parsing->request->mode = slice_is_word(value, "SHARED") ? LOCK_SHARED : LOCK_EXCLUSIVE;
    bool known = parsing->request->mode == LOCK_SHARED || slice_is_word(value, "EXCLUSIVE");
    return known ? NULL : "ERR MODE is EXCLUSIVE or SHARED";
}

static const char *take_count(struct slice value, uint32_t *ret_count, bool *ret_given)
{
    int64_t number;
    if (*ret_given || !number_parse_int64(value, &number) || number < 1 || number > LOCK_PERMITS) {
        return "ERR PERMITS and LIMIT are integers from 1 to 1073741824, each given once";
    }
    *ret_count = (uint32_t)number;
    *ret_given = true;
    return NULL;
}

static const char *take_time(struct slice value, int64_t least, const char *text, int64_t *ret_ms, bool *ret_given)
{
    if (*ret_given) {
        return "ERR syntax error";
    }
    *ret_given = true;
    return lock_time_parse(value, least, text, ret_ms);
}

static const char *take_session(struct parsing *parsing, struct slice value)
{
    struct session_id id;
    if (parsing->session) {
        return "ERR syntax error";
    }
    parsing->session = true;
    parsing->request->session = value;
    bool good = session_name_parse(value, &id, &parsing->request->ttl_ms);
    return good ? NULL : "ERR SESSION is followed by the id that SESSION.OPEN gave";
}

static const char *take_option(struct parsing *parsing, struct slice word, struct slice value)
{
    struct lock_request *request = parsing->request;
    if (slice_is_word(word, "PX")) {
        return take_time(value, 1, ttl_text, &request->ttl_ms, &parsing->ttl);
    }
    if (slice_is_word(word, "WAIT")) {
        return take_time(value, 0, wait_text, &request->wait_ms, &parsing->wait);
    }
    if (slice_is_word(word, "MODE")) {
        return take_mode(parsing, value);
    }
    if (slice_is_word(word, "PERMITS")) {
        return take_count(value, &request->permits, &parsing->permits);
    }
    if (slice_is_word(word, "LIMIT")) {
        return take_count(value, &request->limit, &parsing->limit);
    }
    if (slice_is_word(word, "REENTRANT")) {
        request->id = value;
        return value.size >= 1 && value.size <= LOCK_REQUEST_ID_BYTES
                   ? NULL
                   : "ERR the id behind REENTRANT has 1 to 128 bytes";
    }
    if (slice_is_word(word, "NOTE")) {
        request->note = value;
        return value.size <= LOCK_NOTE_BYTES ? NULL : "ERR a NOTE has 512 bytes at most";
    }
    if (slice_is_word(word, "SESSION")) {
        return take_session(parsing, value);
    }
    return "ERR syntax error";
}

const char *lock_request_parse(const struct slice *argv, uint32_t argc, struct lock_request *ret_request)
{
    *ret_request = (struct lock_request){.key = argv[0], .owner = argv[1], .mode = LOCK_EXCLUSIVE};
    struct parsing parsing = {.request = ret_request};
    const char *problem = lock_names_fit(argv[0], argv[1]);
    for (uint32_t i = 2; problem == NULL && i < argc; i += 2) {
        problem = i + 1 == argc ? "ERR syntax error" : take_option(&parsing, argv[i], argv[i + 1]);
    }
    if (problem != NULL) {
        return problem;
    }
    if (parsing.ttl == parsing.session) {
        return parsing.ttl ? "ERR a lock has a time to live of its own (PX), or ends with a SESSION, not both"
                           : ttl_text;
    }
    if (parsing.permits != parsing.limit || (parsing.permits && parsing.mode)) {
        return "ERR a semaphore is asked for by PERMITS n LIMIT m, without MODE";
    }
    if (parsing.permits && ret_request->permits > ret_request->limit) {
        return "ERR more PERMITS than LIMIT are never there";
    }
    ret_request->mode = parsing.permits ? LOCK_PERMITS_MODE : ret_request->mode;
    ret_request->permits = parsing.permits ? ret_request->permits : 1;
    return NULL;
}

bool lock_may_guard(const struct command_spec *spec)
{
    return spec->place == COMMAND_AT_MACHINE && !spec->internal && (spec->flags & COMMAND_NO_MULTI) == 0 &&
           (spec->first_key != 0 || spec->key_count != 0);
}

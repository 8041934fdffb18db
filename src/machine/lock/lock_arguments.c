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

const char *lock_name_fits(struct slice key)
{
    _Static_assert(LOCK_KEY_BYTES == 1024 && LOCK_OWNER_BYTES == 256 && LOCK_NOTE_BYTES == 512 &&
                       LOCK_REQUEST_ID_BYTES == 128 && LOCK_PERMITS == 1073741824,
                   "as the texts say");
    if (key.size > LOCK_KEY_BYTES) {
        return "ERR the name of a lock has 1024 bytes at most";
    }
    return lock_name_reserved(key) ? lock_reserved_text : NULL;
}

const char *lock_names_fit(struct slice key, struct slice owner)
{
    const char *problem = lock_name_fits(key);
    bool fits = owner.size >= 1 && owner.size <= LOCK_OWNER_BYTES;
    return problem == NULL && !fits ? "ERR the name of an owner has 1 to 256 bytes" : problem;
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

/* ---- the options of LOCK.ACQUIRE, each once ---- */

static const char *take_px(struct lock_request *request, struct slice value)
{
    return lock_time_parse(value, 1, ttl_text, &request->ttl_ms);
}

static const char *take_wait(struct lock_request *request, struct slice value)
{
    return lock_time_parse(value, 0, wait_text, &request->wait_ms);
}

static const char *take_mode(struct lock_request *request, struct slice value)
{
    request->mode = slice_is_word(value, "SHARED") ? LOCK_SHARED : LOCK_EXCLUSIVE;
    bool known = request->mode == LOCK_SHARED || slice_is_word(value, "EXCLUSIVE");
    return known ? NULL : "ERR MODE is EXCLUSIVE or SHARED";
}

static const char *take_count(struct slice value, uint32_t *ret_count)
{
    int64_t number;
    if (!number_parse_int64(value, &number) || number < 1 || number > LOCK_PERMITS) {
        return "ERR PERMITS and LIMIT are integers from 1 to 1073741824";
    }
    *ret_count = (uint32_t)number;
    return NULL;
}

static const char *take_permits(struct lock_request *request, struct slice value)
{
    return take_count(value, &request->permits);
}

static const char *take_limit(struct lock_request *request, struct slice value)
{
    return take_count(value, &request->limit);
}

static const char *take_reentrant(struct lock_request *request, struct slice value)
{
    request->id = value;
    bool fits = value.size >= 1 && value.size <= LOCK_REQUEST_ID_BYTES;
    return fits ? NULL : "ERR the id behind REENTRANT has 1 to 128 bytes";
}

static const char *take_note(struct lock_request *request, struct slice value)
{
    request->note = value;
    return value.size <= LOCK_NOTE_BYTES ? NULL : "ERR a NOTE has 512 bytes at most";
}

static const char *take_session(struct lock_request *request, struct slice value)
{
    struct session_id id;
    request->session = value;
    bool good = session_name_parse(value, &id, &request->ttl_ms);
    return good ? NULL : "ERR SESSION is followed by the id that SESSION.OPEN gave";
}

enum option {
    OPTION_PX,
    OPTION_SESSION,
    OPTION_MODE,
    OPTION_PERMITS,
    OPTION_LIMIT,
    OPTION_ANY,
    OPTIONS = OPTION_ANY + 3
};

#define OPTION(word, take)                                                                                             \
    {                                                                                                                  \
        word, LOCK_TWICE(word), take                                                                                   \
    }

static const struct {
    const char *word, *twice;
    const char *(*take)(struct lock_request *request, struct slice value);
} options[OPTIONS] = {
    [OPTION_PX] = OPTION("PX", take_px),          [OPTION_SESSION] = OPTION("SESSION", take_session),
    [OPTION_MODE] = OPTION("MODE", take_mode),    [OPTION_PERMITS] = OPTION("PERMITS", take_permits),
    [OPTION_LIMIT] = OPTION("LIMIT", take_limit), OPTION("WAIT", take_wait),
    OPTION("REENTRANT", take_reentrant),          OPTION("NOTE", take_note),
};

static const char *take_option(struct lock_request *request, bool given[static OPTIONS], struct slice word,
                               struct slice value)
{
    for (int i = 0; i < OPTIONS; i++) {
        if (slice_is_word(word, options[i].word)) {
            bool again = given[i];
            given[i] = true;
            return again ? options[i].twice : options[i].take(request, value);
        }
    }
    return "ERR syntax error";
}

const char *lock_request_parse(const struct slice *argv, uint32_t argc, struct lock_request *ret_request)
{
    *ret_request = (struct lock_request){.key = argv[0], .owner = argv[1], .mode = LOCK_EXCLUSIVE};
    bool given[OPTIONS] = {0};
    const char *problem = lock_names_fit(argv[0], argv[1]);
    for (uint32_t i = 2; problem == NULL && i < argc; i += 2) {
        problem = i + 1 == argc ? "ERR syntax error" : take_option(ret_request, given, argv[i], argv[i + 1]);
    }
    if (problem != NULL) {
        return problem;
    }
    if (given[OPTION_PX] == given[OPTION_SESSION]) {
        return given[OPTION_PX] ? "ERR a lock has a time to live of its own (PX), or ends with a SESSION, not both"
                                : ttl_text;
    }
    bool permits = given[OPTION_PERMITS];
    if (permits != given[OPTION_LIMIT] || (permits && given[OPTION_MODE])) {
        return "ERR a semaphore is asked for by PERMITS n LIMIT m, without MODE";
    }
    if (permits && ret_request->permits > ret_request->limit) {
        return "ERR more PERMITS than LIMIT are never there";
    }
    ret_request->mode = permits ? LOCK_PERMITS_MODE : ret_request->mode;
    ret_request->permits = permits ? ret_request->permits : 1;
    return NULL;
}

bool lock_may_guard(const struct command_spec *spec)
{
    return spec->place == COMMAND_AT_MACHINE && !spec->internal && (spec->flags & COMMAND_NO_MULTI) == 0 &&
           (spec->first_key != 0 || spec->key_count != 0);
}

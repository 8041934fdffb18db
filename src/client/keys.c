/* cohort/keys.h: each call is one command, and what its reply means. */
#include "base/number.h"
#include "client/handle.h"

#include <cohort/keys.h>

enum { WORDS_MAXIMUM = 8 };

/* A command in the making. It goes by value, so a number's text is pointed to only when the request is made. */
struct words {
    struct cohort_bytes argv[WORDS_MAXIMUM];
    size_t argc;
    size_t number_at; /* the word that is `digits`; 0: none */
    char digits[NUMBER_INT64_BYTES];
    unsigned flags;
    operation_step step;
};

static void add(struct words *words, struct cohort_bytes word) { words->argv[words->argc++] = word; }

static void add_number(struct words *words, int64_t number)
{
    words->number_at = words->argc;
    add(words, cohort_bytes_of(NULL, number_format_int64(words->digits, number)));
}

static struct words command(const char *name, struct cohort_bytes key, unsigned flags, operation_step step)
{
    return (struct words){.argv = {cohort_text(name), key}, .argc = 2, .flags = flags, .step = step};
}

static struct client_request request_of(struct words *words)
{
    if (words->number_at != 0) {
        words->argv[words->number_at].data = words->digits;
    }
    return (struct client_request){
        .argv = words->argv, .argc = words->argc, .flags = words->flags, .key = &words->argv[1], .step = words->step};
}

static enum cohort_status call(struct cohort *cohort, struct words words, struct cohort_reply **ret_reply)
{
    struct client_request request = request_of(&words);
    return client_call(cohort, &request, ret_reply);
}

static enum cohort_status start(struct cohort *cohort, struct words words, cohort_callback callback, void *data)
{
    struct client_request request = request_of(&words);
    return client_start(cohort, &request, callback, data);
}

/* A call whose reply, or a part of it, is a number. */
static enum cohort_status call_number(struct cohort *cohort, struct words words, int part, int64_t *ret_number,
                                      struct cohort_reply **ret_reply)
{
    struct cohort_reply *reply = NULL;
    enum cohort_status status = call(cohort, words, &reply);
    if (ret_number != NULL) {
        *ret_number = cohort_reply_integer(part < 0 ? reply : cohort_reply_at(reply, (size_t)part));
    }
    if (ret_reply != NULL) {
        *ret_reply = reply;
    } else {
        cohort_reply_free(reply);
    }
    return status;
}

/* ---- get ---- */

static struct words get_words(struct cohort_bytes key)
{
    return command("GET", key, COHORT_READ, step_nil_is_not_found);
}

enum cohort_status cohort_get(struct cohort *cohort, struct cohort_bytes key, struct cohort_reply **ret_reply)
{
    return call(cohort, get_words(key), ret_reply);
}

enum cohort_status cohort_get_start(struct cohort *cohort, struct cohort_bytes key, cohort_callback callback,
                                    void *data)
{
    return start(cohort, get_words(key), callback, data);
}

/* ---- set ---- */

static struct words set_words(struct cohort_bytes key, struct cohort_bytes value,
                              const struct cohort_set_options *given)
{
    struct cohort_set_options options;
    client_take_options(&options, sizeof(options), given);
    struct words words = command("SET", key, 0, step_nil_is_conflict);
    add(&words, value);
    switch (options.when) {
    case COHORT_SET_ALWAYS: break;
    case COHORT_SET_ABSENT: add(&words, cohort_text("NX")); break;
    case COHORT_SET_PRESENT: add(&words, cohort_text("XX")); break;
    case COHORT_SET_EQUAL:
        add(&words, cohort_text("IFEQ"));
        add(&words, options.equal);
        break;
    }
    if (options.ttl_ms != 0 || options.expire_at_ms != 0) {
        add(&words, cohort_text(options.ttl_ms != 0 ? "PX" : "PXAT"));
        add_number(&words, options.ttl_ms != 0 ? options.ttl_ms : options.expire_at_ms);
    } else if (options.keep_ttl != 0) {
        add(&words, cohort_text("KEEPTTL"));
    }
    return words;
}

enum cohort_status cohort_set(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes value,
                              const struct cohort_set_options *given, struct cohort_reply **ret_reply)
{
    return call(cohort, set_words(key, value, given), ret_reply);
}

enum cohort_status cohort_set_start(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes value,
                                    const struct cohort_set_options *given, cohort_callback callback, void *data)
{
    return start(cohort, set_words(key, value, given), callback, data);
}

/* ---- del ---- */

static struct words del_words(struct cohort_bytes key) { return command("DEL", key, 0, step_zero_is_not_found); }

enum cohort_status cohort_del(struct cohort *cohort, struct cohort_bytes key, struct cohort_reply **ret_reply)
{
    return call(cohort, del_words(key), ret_reply);
}

enum cohort_status cohort_del_start(struct cohort *cohort, struct cohort_bytes key, cohort_callback callback,
                                    void *data)
{
    return start(cohort, del_words(key), callback, data);
}

/* ---- incr ---- */

static struct words incr_words(struct cohort_bytes key, int64_t by)
{
    struct words words = command("INCRBY", key, 0, NULL);
    add_number(&words, by);
    return words;
}

enum cohort_status cohort_incr(struct cohort *cohort, struct cohort_bytes key, int64_t by, int64_t *ret_value,
                               struct cohort_reply **ret_reply)
{
    return call_number(cohort, incr_words(key, by), -1, ret_value, ret_reply);
}

enum cohort_status cohort_incr_start(struct cohort *cohort, struct cohort_bytes key, int64_t by,
                                     cohort_callback callback, void *data)
{
    return start(cohort, incr_words(key, by), callback, data);
}

/* ---- getv ---- */

static struct words getv_words(struct cohort_bytes key)
{
    return command("COHORT.GETV", key, COHORT_READ, step_nil_is_not_found);
}

enum cohort_status cohort_getv(struct cohort *cohort, struct cohort_bytes key, int64_t *ret_version,
                               struct cohort_reply **ret_reply)
{
    return call_number(cohort, getv_words(key), 1, ret_version, ret_reply);
}

enum cohort_status cohort_getv_start(struct cohort *cohort, struct cohort_bytes key, cohort_callback callback,
                                     void *data)
{
    return start(cohort, getv_words(key), callback, data);
}

/* ---- setv ---- */

static struct words setv_words(struct cohort_bytes key, struct cohort_bytes value, int64_t version)
{
    struct words words = command("COHORT.SETV", key, 0, step_nil_is_conflict);
    add(&words, value);
    add_number(&words, version);
    return words;
}

enum cohort_status cohort_setv(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes value,
                               int64_t version, int64_t *ret_version, struct cohort_reply **ret_reply)
{
    return call_number(cohort, setv_words(key, value, version), -1, ret_version, ret_reply);
}

enum cohort_status cohort_setv_start(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes value,
                                     int64_t version, cohort_callback callback, void *data)
{
    return start(cohort, setv_words(key, value, version), callback, data);
}

/* ---- hget ---- */

static struct words hget_words(struct cohort_bytes key, struct cohort_bytes field)
{
    struct words words = command("HGET", key, COHORT_READ, step_nil_is_not_found);
    add(&words, field);
    return words;
}

enum cohort_status cohort_hget(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes field,
                               struct cohort_reply **ret_reply)
{
    return call(cohort, hget_words(key, field), ret_reply);
}

enum cohort_status cohort_hget_start(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes field,
                                     cohort_callback callback, void *data)
{
    return start(cohort, hget_words(key, field), callback, data);
}

/* ---- hset ---- */

static struct words hset_words(struct cohort_bytes key, struct cohort_bytes field, struct cohort_bytes value)
{
    struct words words = command("HSET", key, 0, NULL);
    add(&words, field);
    add(&words, value);
    return words;
}

enum cohort_status cohort_hset(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes field,
                               struct cohort_bytes value, struct cohort_reply **ret_reply)
{
    return call(cohort, hset_words(key, field, value), ret_reply);
}

enum cohort_status cohort_hset_start(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes field,
                                     struct cohort_bytes value, cohort_callback callback, void *data)
{
    return start(cohort, hset_words(key, field, value), callback, data);
}

/* ---- hdel ---- */

static struct words hdel_words(struct cohort_bytes key, struct cohort_bytes field)
{
    struct words words = command("HDEL", key, 0, step_zero_is_not_found);
    add(&words, field);
    return words;
}

enum cohort_status cohort_hdel(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes field,
                               struct cohort_reply **ret_reply)
{
    return call(cohort, hdel_words(key, field), ret_reply);
}

enum cohort_status cohort_hdel_start(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes field,
                                     cohort_callback callback, void *data)
{
    return start(cohort, hdel_words(key, field), callback, data);
}

/* ---- hgetall ---- */

static struct words hgetall_words(struct cohort_bytes key) { return command("HGETALL", key, COHORT_READ, NULL); }

enum cohort_status cohort_hgetall(struct cohort *cohort, struct cohort_bytes key, struct cohort_reply **ret_reply)
{
    return call(cohort, hgetall_words(key), ret_reply);
}

enum cohort_status cohort_hgetall_start(struct cohort *cohort, struct cohort_bytes key, cohort_callback callback,
                                        void *data)
{
    return start(cohort, hgetall_words(key), callback, data);
}

/* ---- hincr ---- */

static struct words hincr_words(struct cohort_bytes key, struct cohort_bytes field, int64_t by)
{
    struct words words = command("HINCRBY", key, 0, NULL);
    add(&words, field);
    add_number(&words, by);
    return words;
}

enum cohort_status cohort_hincr(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes field, int64_t by,
                                int64_t *ret_value, struct cohort_reply **ret_reply)
{
    return call_number(cohort, hincr_words(key, field, by), -1, ret_value, ret_reply);
}

enum cohort_status cohort_hincr_start(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes field,
                                      int64_t by, cohort_callback callback, void *data)
{
    return start(cohort, hincr_words(key, field, by), callback, data);
}

uint32_t cohort_key_slot(struct cohort_bytes key) { return key_slot(slice_of(key.data, key.size)); }

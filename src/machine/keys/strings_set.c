/* Whole strings: SET in all its forms, several at once, and compare-and-set by version. */
#include "command/machine_handlers.h"
#include "machine/keys/expire_time.h"
#include "machine/session/session_words.h"

/* Makes the key hold this string, without expiry unless it is kept; returns the entry, for call_changed. */
static struct entry *put_string(struct call *call, struct slice key, struct entry *entry, struct slice value,
                                bool keep_expiry)
{
    if (entry == NULL) {
        return keyspace_add_string(call->keyspace, key, value);
    }
    if (!keep_expiry && expire_time_of(entry).kind != DUE_NEVER) {
        entry_set_due(call->keyspace, entry, DUE_NEVER, 0);
    }
    return entry_set_string(call->keyspace, entry, value);
}

struct set_options {
    bool nx, xx, get, keep_ttl, persist, compare;
    enum expire_unit unit;
    struct slice expire;
    struct slice expected; /* IFEQ's */
    struct slice session;  /* its name; empty: none */
};

static enum expire_unit expire_unit_of(struct slice word)
{
    static const struct {
        const char *word;
        enum expire_unit unit;
    } units[] = {{"ex", EXPIRE_EX}, {"px", EXPIRE_PX}, {"exat", EXPIRE_EXAT}, {"pxat", EXPIRE_PXAT}};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (slice_is_word(word, units[i].word)) {
            return units[i].unit;
        }
    }
    return EXPIRE_NONE;
}

/* Takes EX, PX, EXAT or PXAT with its value at argv[*at]. The same word may come twice, as in Redis; the last counts.
 */
static bool take_expire(struct call *call, uint32_t *at, struct set_options *options)
{
    enum expire_unit unit = expire_unit_of(call->argv[*at]);
    bool fits = unit != EXPIRE_NONE && *at + 1 < call->argc && !options->keep_ttl && !options->persist &&
                (options->unit == EXPIRE_NONE || options->unit == unit);
    if (fits) {
        options->unit = unit;
        options->expire = call->argv[++*at];
    }
    return fits;
}

static bool read_set_options(struct call *call, struct set_options *options)
{
    for (uint32_t i = 3; i < call->argc; i++) {
        struct slice word = call->argv[i];
        if (slice_is_word(word, "nx") && !options->xx && !options->compare) {
            options->nx = true;
        } else if (slice_is_word(word, "xx") && !options->nx && !options->compare) {
            options->xx = true;
        } else if (slice_is_word(word, "get")) {
            options->get = true;
        } else if (slice_is_word(word, "keepttl") && options->unit == EXPIRE_NONE) {
            options->keep_ttl = true;
        } else if (slice_is_word(word, "ifeq") && i + 1 < call->argc && !options->nx && !options->xx &&
                   !options->compare) {
            options->compare = true;
            options->expected = call->argv[++i];
        } else if (slice_is_word(word, "session") && i + 1 < call->argc && call->argv[i + 1].size != 0 &&
                   options->session.size == 0) {
            options->session = call->argv[++i];
        } else if (!take_expire(call, &i, options)) {
            call_syntax_error(call);
            return false;
        }
    }
    if (options->session.size != 0 && (options->keep_ttl || options->unit != EXPIRE_NONE)) {
        call_syntax_error(call);
        return false;
    }
    return true;
}

/* Stores the value and its expiry. A moment that is past already removes the key, and its watchers see that. */
static void store(struct call *call, struct slice key, struct entry *entry, struct slice value, bool keep_expiry,
                  struct expire_time expire)
{
    entry = put_string(call, key, entry, value, keep_expiry);
    call_notify(call, EVENT_STRING, "set", key);
    if (expire.kind != DUE_NEVER) {
        call_notify(call, EVENT_GENERIC, "expire", key);
    }
    if (expire_time_is_past(call, expire)) {
        call_notify(call, EVENT_EXPIRED, "expired", key);
        call_remove(call, entry);
        return;
    }
    if (expire.kind != DUE_NEVER) {
        entry_set_due(call->keyspace, entry, expire.kind, expire.due_ms);
    }
    call_changed(call, entry);
}

/* True when the conditions let SET go on; else false, with the reply written unless GET has done so. */
static bool set_conditions_hold(struct call *call, const struct entry *entry, const struct set_options *options)
{
    bool hold = !(options->nx && entry != NULL) && !((options->xx || options->compare) && entry == NULL);
    if (hold && options->compare) {
        if (!options->get && !call_has_type(call, entry, ENTRY_STRING)) {
            return false;
        }
        char digits[NUMBER_INT64_BYTES];
        hold = slice_equal(entry_string(entry, digits), options->expected);
    }
    if (!hold && !options->get) {
        resp_null(&call->reply);
    }
    return hold;
}

/* GET's part of SET: the former value. False after an error reply. */
static bool reply_former(struct call *call, const struct entry *entry)
{
    if (entry == NULL) {
        call_notify(call, EVENT_MISSED, "keymiss", call->argv[1]);
        resp_null(&call->reply);
        return true;
    }
    if (!call_has_type(call, entry, ENTRY_STRING)) {
        return false;
    }
    call_bulk_entry(call, entry);
    return true;
}

/* The key ends with this session. False after an error reply. */
static bool find_session(struct call *call, struct slice name, struct expire_time *ret_expire)
{
    struct tie *tie = NULL;
    const char *problem = tie_of_name(call->ties, name, &tie);
    if (problem == NULL && keyspace_count_bonded(call->keyspace, tie->ordinal) >= SESSION_CLAIMS) {
        problem = SESSION_BONDS_FULL;
    }
    if (problem != NULL) {
        resp_error(&call->reply, problem);
        return false;
    }
    *ret_expire = (struct expire_time){DUE_SESSION, (int64_t)tie->ordinal};
    return true;
}

void strings_set(struct call *call)
{
    struct set_options options = {0};
    struct expire_time expire = {DUE_NEVER, 0};
    if (call->argc > 3 && !read_set_options(call, &options)) {
        return;
    }
    if (options.unit != EXPIRE_NONE && !expire_time_read(call, options.unit, options.expire, &expire)) {
        return;
    }
    if (options.session.size != 0 && !find_session(call, options.session, &expire)) {
        return;
    }
    struct entry *entry = call_edit(call, call->argv[1]);
    if (options.get && !reply_former(call, entry)) {
        return;
    }
    if (!set_conditions_hold(call, entry, &options)) {
        return;
    }
    store(call, call->argv[1], entry, call->argv[2], options.keep_ttl, expire);
    if (!options.get) {
        call_ok(call);
    }
}

void strings_setnx(struct call *call)
{
    struct entry *entry = call_edit(call, call->argv[1]);
    bool absent = entry == NULL;
    if (absent) {
        call_changed(call, put_string(call, call->argv[1], NULL, call->argv[2], false));
        call_notify(call, EVENT_STRING, "set", call->argv[1]);
    }
    resp_integer(&call->reply, absent);
}

static void set_with_expire(struct call *call, enum expire_unit unit)
{
    struct expire_time expire;
    if (expire_time_read(call, unit, call->argv[2], &expire)) {
        store(call, call->argv[1], call_edit(call, call->argv[1]), call->argv[3], false, expire);
        call_ok(call);
    }
}

void strings_setex(struct call *call) { set_with_expire(call, EXPIRE_EX); }
void strings_psetex(struct call *call) { set_with_expire(call, EXPIRE_PX); }

void strings_getset(struct call *call)
{
    struct entry *entry = call_edit(call, call->argv[1]);
    if (reply_former(call, entry)) {
        call_changed(call, put_string(call, call->argv[1], entry, call->argv[2], false));
        call_notify(call, EVENT_STRING, "set", call->argv[1]);
    }
}

void strings_getdel(struct call *call)
{
    struct entry *entry = call_edit(call, call->argv[1]);
    if (reply_former(call, entry) && entry != NULL) {
        call_remove(call, entry);
        call_notify(call, EVENT_GENERIC, "del", call->argv[1]);
    }
}

/* Reads GETEX's options: one kind of expiry, or PERSIST. */
static bool read_getex_options(struct call *call, struct set_options *options)
{
    for (uint32_t i = 2; i < call->argc; i++) {
        if (slice_is_word(call->argv[i], "persist") && options->unit == EXPIRE_NONE) {
            options->persist = true;
        } else if (!take_expire(call, &i, options)) {
            call_syntax_error(call);
            return false;
        }
    }
    return true;
}

void strings_getex(struct call *call)
{
    struct set_options options = {0};
    struct expire_time expire = {DUE_NEVER, 0};
    if (!read_getex_options(call, &options)) {
        return;
    }
    struct entry *entry = call_edit(call, call->argv[1]);
    if (entry == NULL) {
        call_notify(call, EVENT_MISSED, "keymiss", call->argv[1]);
        resp_null(&call->reply);
        return;
    }
    if (!call_has_type(call, entry, ENTRY_STRING)) {
        return;
    }
    if (options.unit != EXPIRE_NONE && !expire_time_read(call, options.unit, options.expire, &expire)) {
        return;
    }
    call_bulk_entry(call, entry);
    if (expire_time_is_past(call, expire)) {
        call_remove(call, entry);
        call_notify(call, EVENT_GENERIC, "del", call->argv[1]);
    } else if (options.unit != EXPIRE_NONE || (options.persist && expire_time_of(entry).kind != DUE_NEVER)) {
        entry_set_due(call->keyspace, entry, expire.kind, expire.due_ms);
        call_due_changed(call, entry);
        call_notify(call, EVENT_GENERIC, options.persist ? "persist" : "expire", call->argv[1]);
    }
}

static void set_all(struct call *call)
{
    for (uint32_t i = 1; i < call->argc; i += 2) {
        struct entry *entry = call_edit(call, call->argv[i]);
        call_changed(call, put_string(call, call->argv[i], entry, call->argv[i + 1], false));
        call_notify(call, EVENT_STRING, "set", call->argv[i]);
    }
}

void strings_mset(struct call *call)
{
    if (call->argc % 2 == 0) {
        call_arity_error(call);
        return;
    }
    set_all(call);
    call_ok(call);
}

void strings_msetnx(struct call *call)
{
    if (call->argc % 2 == 0) {
        call_arity_error(call);
        return;
    }
    for (uint32_t i = 1; i < call->argc; i += 2) {
        if (call_look(call, call->argv[i]) != NULL) {
            resp_integer(&call->reply, 0);
            return;
        }
    }
    set_all(call);
    resp_integer(&call->reply, 1);
}

/* COHORT.SETV: like etcd's compare of mod_revision. It edits a value that the caller has seen, so an expiry stays, as
 * with APPEND or INCR. */
void strings_setv(struct call *call)
{
    int64_t expected;
    if (!call_integer(call, call->argv[3], &expected)) {
        return;
    }
    if (expected < 0) {
        resp_error(&call->reply, "ERR value is out of range, must be positive");
        return;
    }
    struct entry *entry = call_edit(call, call->argv[1]);
    if (entry != NULL && !call_has_type(call, entry, ENTRY_STRING)) {
        return;
    }
    if ((entry == NULL ? 0 : entry_version(entry)) != (uint64_t)expected) {
        resp_null(&call->reply);
        return;
    }
    call_changed(call, put_string(call, call->argv[1], entry, call->argv[2], true));
    call_notify(call, EVENT_STRING, "set", call->argv[1]);
    resp_integer(&call->reply, (int64_t)call->position);
}

/* EXPIRE and its kin: setting, telling and removing times to live. */
#include "command/machine_handlers.h"
#include "machine/keys/expire_time.h"

struct expire_conditions {
    bool nx, xx, gt, lt;
};

static bool read_conditions(struct call *call, struct expire_conditions *ret_conditions)
{
    struct expire_conditions c = {0};
    for (uint32_t i = 3; i < call->argc; i++) {
        if (slice_is_word(call->argv[i], "nx")) {
            c.nx = true;
        } else if (slice_is_word(call->argv[i], "xx")) {
            c.xx = true;
        } else if (slice_is_word(call->argv[i], "gt")) {
            c.gt = true;
        } else if (slice_is_word(call->argv[i], "lt")) {
            c.lt = true;
        } else {
            call_error_about(call, "Unsupported option ", call->argv[i]);
            return false;
        }
    }
    if (c.nx && (c.xx || c.gt || c.lt)) {
        resp_error(&call->reply, "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if (c.gt && c.lt) {
        resp_error(&call->reply, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    *ret_conditions = c;
    return true;
}

/* Unlike SET's, this time may be zero or negative: the key is then removed. */
static bool read_when(struct call *call, enum expire_unit unit, struct expire_time *ret_when)
{
    int64_t value;
    if (!call_integer(call, call->argv[2], &value)) {
        return false;
    }
    bool seconds = unit == EXPIRE_EX || unit == EXPIRE_EXAT;
    bool relative = unit == EXPIRE_EX || unit == EXPIRE_PX;
    bool fits = !seconds || (value <= INT64_MAX / 1000 && value >= INT64_MIN / 1000);
    if (fits) {
        value *= seconds ? 1000 : 1;
        fits = !relative || value <= 0 ||
               (value <= INT64_MAX - call->time.present_wall_ms && value <= INT64_MAX - call->time.present_time_ms);
    }
    if (!fits) {
        call_expire_error(call);
        return false;
    }
    *ret_when = relative ? (struct expire_time){DUE_TIME, call->time.present_time_ms + value}
                         : (struct expire_time){DUE_WALL, value};
    return true;
}

/* How the new moment compares with the entry's own: on the clock they share, else on the wall clock. */
static bool conditions_hold(struct call *call, const struct entry *entry, struct expire_conditions conditions,
                            struct expire_time when)
{
    struct expire_time now = expire_time_of(entry);
    bool none = now.kind == DUE_NEVER || now.kind == DUE_SESSION;
    if ((conditions.nx && !none) || (conditions.xx && none)) {
        return false;
    }
    bool same_clock = when.kind == now.kind;
    int64_t when_ms = same_clock ? when.due_ms : expire_time_wall_ms(call, when);
    int64_t now_ms = same_clock ? now.due_ms : expire_time_wall_ms(call, now);
    if (conditions.gt && (none || when_ms <= now_ms)) {
        return false;
    }
    return !(conditions.lt && !none && when_ms >= now_ms);
}

static void expire(struct call *call, enum expire_unit unit)
{
    struct expire_conditions conditions = {0};
    struct expire_time when;
    if ((call->argc > 3 && !read_conditions(call, &conditions)) || !read_when(call, unit, &when)) {
        return;
    }
    struct entry *entry = call_edit(call, call->argv[1]);
    if (entry == NULL || (call->argc > 3 && !conditions_hold(call, entry, conditions, when))) {
        resp_integer(&call->reply, 0);
        return;
    }
    if (expire_time_is_past(call, when)) {
        call_remove(call, entry);
        call_notify(call, EVENT_GENERIC, "del", call->argv[1]);
    } else {
        entry_set_due(call->keyspace, entry, when.kind, when.due_ms);
        call_due_changed(call, entry);
        call_notify(call, EVENT_GENERIC, "expire", call->argv[1]);
    }
    resp_integer(&call->reply, 1);
}

void keys_expire(struct call *call) { expire(call, EXPIRE_EX); }
void keys_pexpire(struct call *call) { expire(call, EXPIRE_PX); }
void keys_expireat(struct call *call) { expire(call, EXPIRE_EXAT); }
void keys_pexpireat(struct call *call) { expire(call, EXPIRE_PXAT); }

void keys_persist(struct call *call)
{
    struct entry *entry = call_edit(call, call->argv[1]);
    bool had = entry != NULL && expire_time_of(entry).kind != DUE_NEVER;
    if (had) {
        entry_set_due(call->keyspace, entry, DUE_NEVER, 0);
        call_due_changed(call, entry);
        call_notify(call, EVENT_GENERIC, "persist", call->argv[1]);
    }
    resp_integer(&call->reply, had);
}

/* Rounded as Redis does; ms is not negative. */
static int64_t to_seconds(int64_t ms) { return (int64_t)(((uint64_t)ms + 500) / 1000); }

/* The entry's expiry; false after the reply -2 (no key) or -1 (no expiry). */
static bool find_expiry(struct call *call, struct expire_time *ret_time)
{
    const struct entry *entry = call_find(call, call->argv[1]);
    if (entry == NULL) {
        resp_integer(&call->reply, -2);
        return false;
    }
    *ret_time = expire_time_of(entry);
    if (ret_time->kind == DUE_NEVER || ret_time->kind == DUE_SESSION) {
        resp_integer(&call->reply, -1);
        return false;
    }
    return true;
}

static void reply_remaining(struct call *call, bool seconds)
{
    struct expire_time time;
    if (!find_expiry(call, &time)) {
        return;
    }
    int64_t now_ms = time.kind == DUE_TIME ? call->time.present_time_ms + call->ahead_ms
                                           : call->time.present_wall_ms + call->ahead_wall_ms;
    int64_t left_ms = time.due_ms > now_ms ? time.due_ms - now_ms : 0;
    resp_integer(&call->reply, seconds ? to_seconds(left_ms) : left_ms);
}

void keys_ttl(struct call *call) { reply_remaining(call, true); }
void keys_pttl(struct call *call) { reply_remaining(call, false); }

void keys_expiretime(struct call *call)
{
    struct expire_time time;
    if (find_expiry(call, &time)) {
        resp_integer(&call->reply, to_seconds(expire_time_wall_ms(call, time)));
    }
}

void keys_pexpiretime(struct call *call)
{
    struct expire_time time;
    if (find_expiry(call, &time)) {
        resp_integer(&call->reply, expire_time_wall_ms(call, time));
    }
}

#include "machine/keys/expire_time.h"

bool expire_time_read(struct call *call, enum expire_unit unit, struct slice text, struct expire_time *ret_time)
{
    int64_t value;
    if (!call_integer(call, text, &value)) {
        return false;
    }
    bool seconds = unit == EXPIRE_EX || unit == EXPIRE_EXAT;
    bool relative = unit == EXPIRE_EX || unit == EXPIRE_PX;
    bool fits = value > 0 && (!seconds || value <= INT64_MAX / 1000);
    if (fits) {
        value *= seconds ? 1000 : 1;
        fits = !relative ||
               (value <= INT64_MAX - call->time.present_wall_ms && value <= INT64_MAX - call->time.present_time_ms);
    }
    if (!fits) {
        call_expire_error(call);
        return false;
    }
    if (relative) {
        *ret_time = (struct expire_time){DUE_TIME, value + call->time.present_time_ms};
    } else {
        *ret_time = (struct expire_time){DUE_WALL, value};
    }
    return true;
}

bool expire_time_is_past(const struct call *call, struct expire_time time)
{
    switch (time.kind) {
    case DUE_TIME: return time.due_ms <= call->time.present_time_ms;
    case DUE_WALL: return time.due_ms <= call->time.present_wall_ms;
    case DUE_SESSION: /* nobody knows when */
    case DUE_NEVER: break;
    }
    return false;
}

int64_t expire_time_wall_ms(const struct call *call, struct expire_time time)
{
    if (time.kind != DUE_TIME) {
        return time.due_ms;
    }
    int64_t wall_ms;
    bool overflow =
        __builtin_add_overflow(call->time.present_wall_ms, time.due_ms - call->time.present_time_ms, &wall_ms);
    return overflow ? INT64_MAX : wall_ms;
}

struct expire_time expire_time_of(const struct entry *entry)
{
    struct expire_time time = {DUE_NEVER, 0};
    time.kind = entry_due(entry, &time.due_ms);
    return time;
}

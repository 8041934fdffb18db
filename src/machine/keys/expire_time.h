/* Times to live as users write them. EXPIRE and SET EX, PX count in the shard's time, which runs only while the shard
 * does; EXPIREAT and EXAT, PXAT name a moment of the wall clock. */
#pragma once

#include "machine/call.h"

enum expire_unit { EXPIRE_NONE, EXPIRE_EX, EXPIRE_PX, EXPIRE_EXAT, EXPIRE_PXAT };

struct expire_time {
    enum due_kind kind; /* DUE_NEVER: none was asked for */
    int64_t due_ms;
};

/* Reads a time to live that must be positive, as SET and GETEX take it. False after an error reply. */
bool expire_time_read(struct call *call, enum expire_unit unit, struct slice text, struct expire_time *ret_time);

/* True when that moment has come by the time of the call. */
bool expire_time_is_past(const struct call *call, struct expire_time time);

/* The moment on the wall clock, as far as it can be told now. */
int64_t expire_time_wall_ms(const struct call *call, struct expire_time time);

/* When an entry is due. */
struct expire_time expire_time_of(const struct entry *entry);

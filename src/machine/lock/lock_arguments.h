/* What a LOCK.ACQUIRE says. */
#pragma once

#include "command/command.h"
#include "machine/lock/locks.h"

/* Where the node that asks puts itself: 4 × u64, little-endian, in one argument of COHORT.LOCK.ACQUIRE. */
enum { LOCK_ORIGIN_BYTES = 32 };
void lock_origin_put(uint8_t at[static LOCK_ORIGIN_BYTES], const struct lock_origin *origin);
bool lock_origin_take(struct slice from, struct lock_origin *ret_origin);

/* What is said of an option that comes a second time. */
#define LOCK_TWICE(option) "ERR syntax error: " option " is given twice"

/* Parses `key owner …`. NULL, or what is wrong, as a reply's error; the origin is not touched. */
const char *lock_request_parse(const struct slice *argv, uint32_t argc, struct lock_request *ret_request);
/* A token or a time: NULL, or the error. */
const char *lock_token_parse(struct slice text, uint64_t *ret_token);
const char *lock_time_parse(struct slice text, int64_t least, const char *what, int64_t *ret_ms);
/* NULL, or that the name of the lock is too long, or its owner's is, or empty: all whose program forgot to name
 * themselves would be one owner. Who renews or releases is only looked up. */
const char *lock_name_fits(struct slice key);
const char *lock_names_fit(struct slice key, struct slice owner);
/* A command that LOCK.GUARD may carry: about keys, and not about locks. */
bool lock_may_guard(const struct command_spec *spec);

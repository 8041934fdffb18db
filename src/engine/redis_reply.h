/* The replies of redis://'s scripts. */
#pragma once

#include "engine/engine.h"

#include <hiredis/hiredis.h>

/* Of an array; one that is not there is nil. */
const redisReply *redis_at(const redisReply *reply, size_t which);

/* An integer, or one that is written; else 0. */
int64_t redis_number(const redisReply *reply);

/* Of a string; else it is empty. */
struct slice redis_text(const redisReply *reply);

/* What LOOK said, into an initialised state. False: memory was refused. Who holds the lock by other means has token 0,
 * and no note. */
bool redis_fill(struct lock_state *state, const redisReply *reply, int64_t now_ms);

#include "engine/redis_reply.h"

#include "base/number.h"

const redisReply *redis_at(const redisReply *reply, size_t which)
{
    static const redisReply nothing = {.type = REDIS_REPLY_NIL};
    return reply->type == REDIS_REPLY_ARRAY && which < reply->elements ? reply->element[which] : &nothing;
}

int64_t redis_number(const redisReply *reply)
{
    int64_t number = 0;
    if (reply->type == REDIS_REPLY_INTEGER) {
        return reply->integer;
    }
    if (reply->type == REDIS_REPLY_STRING) {
        (void)number_parse_int64(slice_of(reply->str, (size_t)reply->len), &number);
    }
    return number;
}

struct slice redis_text(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? slice_of(reply->str, (size_t)reply->len) : slice_of("", 0);
}

bool redis_fill(struct lock_state *state, const redisReply *reply, int64_t now_ms)
{
    const redisReply *held = redis_at(reply, 1);
    bool is_ours = redis_at(reply, 3)->type == REDIS_REPLY_STRING;
    int64_t left_ms = redis_number(redis_at(reply, 2));
    struct slice owner = redis_text(held);
    owner.size = owner.size > LOCK_STATE_OWNER_BYTES ? LOCK_STATE_OWNER_BYTES : owner.size;
    struct lock_claim holder = {.owner = owner,
                                .permits = 1,
                                .token = is_ours ? (uint64_t)redis_number(redis_at(reply, 4)) : 0,
                                .since_ms = is_ours ? redis_number(redis_at(reply, 5)) : now_ms,
                                .due_ms = now_ms + left_ms,
                                .note = is_ours ? redis_text(redis_at(reply, 6)) : slice_of("", 0)};
    bool fits = held->type != REDIS_REPLY_STRING || lock_state_add(state, false, &holder);
    const redisReply *waiters = redis_at(reply, 7);
    for (size_t i = 0; fits && i < waiters->elements && i < LOCK_STATE_WAITERS; i++) {
        const redisReply *one = waiters->element[i];
        struct lock_claim claim = {.owner = redis_text(redis_at(one, 0)),
                                   .permits = 1,
                                   .since_ms = redis_number(redis_at(one, 2)),
                                   .due_ms = redis_number(redis_at(one, 3)),
                                   .asked_ms = redis_number(redis_at(one, 4))};
        fits = lock_state_add(state, true, &claim);
    }
    const redisReply *past = redis_at(reply, 8);
    for (size_t i = past->elements; fits && i > 0; i--) { /* the oldest first */
        const redisReply *one = past->element[i - 1];
        struct lock_past end = {.owner = redis_text(redis_at(one, 0)),
                                .token = (uint64_t)redis_number(redis_at(one, 1)),
                                .from_ms = redis_number(redis_at(one, 2)),
                                .to_ms = redis_number(redis_at(one, 3))};
        int64_t why = redis_number(redis_at(one, 4));
        end.why = why > 0 && why < LOCK_WHYS ? (enum lock_why)why : LOCK_WHY_RELEASED;
        fits = lock_state_add_past(state, &end);
    }
    return fits;
}

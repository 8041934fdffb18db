#include "engine/stored.h"

#include <stdio.h>

struct entered {
    struct stored *stored;
    struct slice key;
    struct lock_state state;
    int64_t now_ms;
    bool changed;
};

static enum engine_code enter(struct entered *entered, struct engine *engine, struct slice key)
{
    *entered = (struct entered){.stored = (struct stored *)engine, .key = key};
    lock_state_init(&entered->state);
    enum engine_code code =
        entered->stored->store->enter(entered->stored, key, false, &entered->state, &entered->now_ms);
    if (code != ENGINE_OK) {
        lock_state_deinit(&entered->state);
        return code;
    }
    entered->changed = lock_state_expire(&entered->state, entered->now_ms);
    return ENGINE_OK;
}

/* What was done counts only when it could be written. */
static enum engine_code leave(struct entered *entered, enum engine_code code)
{
    enum engine_code written =
        entered->stored->store->leave(entered->stored, entered->key, &entered->state, entered->changed);
    lock_state_deinit(&entered->state);
    return written == ENGINE_OK ? code : written;
}

static enum engine_code code_of(struct engine *engine, enum lock_answer answer, const char *problem)
{
    switch (answer) {
    case LOCK_ANSWER_GRANTED: return ENGINE_OK;
    case LOCK_ANSWER_NOT: return ENGINE_NOT;
    case LOCK_ANSWER_WAITS: return ENGINE_WAITS;
    case LOCK_ANSWER_REFUSED: return engine_problem(engine, ENGINE_REFUSED, "%s", problem);
    case LOCK_ANSWER_NOMEM: break;
    }
    return engine_problem(engine, ENGINE_BUSY, "memory was refused");
}

enum engine_code stored_acquire(struct engine *engine, const struct lock_wanted *wanted,
                                struct lock_granted *ret_granted)
{
    struct entered entered;
    enum engine_code code = enter(&entered, engine, wanted->key);
    if (code != ENGINE_OK) {
        return code;
    }
    char problem[LOCK_STATE_PROBLEM_BYTES] = "";
    enum lock_answer answer = lock_state_acquire(&entered.state, wanted, entered.now_ms, ret_granted, problem);
    if (answer == LOCK_ANSWER_NOMEM) { /* the state may be changed in part */
        entered.changed = false;
    } else {
        entered.changed = entered.changed || (answer != LOCK_ANSWER_REFUSED && !ret_granted->unchanged);
    }
    return leave(&entered, code_of(engine, answer, problem));
}

enum engine_code stored_renew(struct engine *engine, struct slice key, struct slice owner, uint64_t token,
                              int64_t ttl_ms, int64_t *ret_left_ms)
{
    struct entered entered;
    enum engine_code code = enter(&entered, engine, key);
    if (code != ENGINE_OK) {
        return code;
    }
    bool holds = lock_state_renew(&entered.state, owner, token, ttl_ms, entered.now_ms, ret_left_ms);
    entered.changed = entered.changed || holds;
    return leave(&entered, holds ? ENGINE_OK : ENGINE_NOT);
}

enum engine_code stored_release(struct engine *engine, struct slice key, struct slice owner, uint64_t token)
{
    struct entered entered;
    enum engine_code code = enter(&entered, engine, key);
    if (code != ENGINE_OK) {
        return code;
    }
    bool held = lock_state_release(&entered.state, owner, token, entered.now_ms);
    entered.changed = entered.changed || held;
    return leave(&entered, held ? ENGINE_OK : ENGINE_NOT);
}

enum engine_code stored_leave(struct engine *engine, struct slice key, struct slice owner)
{
    struct entered entered;
    enum engine_code code = enter(&entered, engine, key);
    if (code != ENGINE_OK) {
        return code;
    }
    entered.changed = lock_state_leave(&entered.state, owner) || entered.changed;
    return leave(&entered, ENGINE_OK);
}

enum engine_code stored_look(struct engine *engine, struct slice key, struct lock_state *ret_state, int64_t *ret_now_ms)
{
    struct stored *stored = (struct stored *)engine;
    enum engine_code code = stored->store->enter(stored, key, true, ret_state, ret_now_ms);
    if (code == ENGINE_OK) {
        (void)lock_state_expire(ret_state, *ret_now_ms);
        code = stored->store->leave(stored, key, ret_state, false);
    }
    return code;
}

enum engine_code stored_fence(struct engine *engine, struct slice key, uint64_t token)
{
    struct entered entered;
    enum engine_code code = enter(&entered, engine, key);
    if (code != ENGINE_OK) {
        return code;
    }
    bool is_newer;
    bool is_newest = lock_state_fence(&entered.state, token, &is_newer);
    entered.changed = entered.changed || is_newer;
    return leave(&entered, is_newest ? ENGINE_OK : ENGINE_NOT);
}

#include "engine/lock_state.h"

#include "base/list.h"
#include "base/record.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDING_MS = 5 };

/* ---- memory ---- */

/* A text's bytes stand behind it. All go together with the state, which lives for one request. */
struct text {
    struct list node;
};

void lock_state_init(struct lock_state *state) { *state = (struct lock_state){0}; }

void lock_state_deinit(struct lock_state *state)
{
    if (state->texts != NULL) {
        LIST_FOR_EACH_SAFE (at, after, state->texts) {
            free(CONTAINER_OF(at, struct text, node));
        }
        free(state->texts);
    }
    free(state->holders);
    free(state->waiters);
    lock_state_init(state);
}

static bool keep_text(struct lock_state *state, struct slice *text)
{
    if (text->size == 0) {
        *text = slice_of("", 0);
        return true;
    }
    if (state->texts == NULL) {
        state->texts = malloc(sizeof(*state->texts));
        if (state->texts == NULL) {
            return false;
        }
        list_init(state->texts);
    }
    struct text *kept = malloc(sizeof(*kept) + text->size);
    if (kept == NULL) {
        return false;
    }
    list_append(state->texts, &kept->node);
    memcpy(kept + 1, text->data, text->size);
    *text = slice_of(kept + 1, text->size);
    return true;
}

bool lock_state_add(struct lock_state *state, bool waits, const struct lock_claim *claim)
{
    struct lock_claim **claims = waits ? &state->waiters : &state->holders;
    uint32_t *count = waits ? &state->waiter_count : &state->holder_count;
    struct lock_claim kept = *claim;
    if ((*count & (*count - 1)) == 0) { /* full: at each power of two it doubles */
        size_t capacity = *count == 0 ? 1 : 2 * (size_t)*count;
        struct lock_claim *grown = realloc(*claims, capacity * sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        *claims = grown;
    }
    if (!keep_text(state, &kept.owner) || !keep_text(state, &kept.note)) {
        return false;
    }
    (*claims)[(*count)++] = kept;
    return true;
}

static void remove_claim(struct lock_claim *claims, uint32_t *count, uint32_t at)
{
    (*count)--;
    memmove(&claims[at], &claims[at + 1], (*count - at) * sizeof(*claims));
}

static void put_past(struct lock_state *state, const struct lock_past *past, uint32_t at)
{
    uint32_t kept = state->past_count < LOCK_STATE_PAST ? state->past_count : LOCK_STATE_PAST - 1;
    memmove(&state->past[at + 1], &state->past[at], (kept - at) * sizeof(*past));
    state->past[at] = *past;
    state->past_count = kept + 1;
}

bool lock_state_add_past(struct lock_state *state, const struct lock_past *past)
{
    struct lock_past kept = *past;
    if (state->past_count == LOCK_STATE_PAST) {
        return true; /* older than all that are kept */
    }
    if (!keep_text(state, &kept.owner)) {
        return false;
    }
    put_past(state, &kept, state->past_count);
    return true;
}

/* ---- ends ---- */

static void end_holder(struct lock_state *state, uint32_t at, int64_t to_ms, enum lock_why why)
{
    const struct lock_claim *claim = &state->holders[at];
    struct lock_past past = {claim->owner, claim->token, claim->since_ms, to_ms, why};
    put_past(state, &past, 0);
    remove_claim(state->holders, &state->holder_count, at);
}

bool lock_state_expire(struct lock_state *state, int64_t now_ms)
{
    uint32_t before = state->holder_count + state->waiter_count;
    for (uint32_t i = state->holder_count; i-- > 0;) {
        if (state->holders[i].due_ms < now_ms) { /* at due_ms it may believe in a part of that millisecond */
            end_holder(state, i, state->holders[i].due_ms, LOCK_WHY_EXPIRED);
        }
    }
    for (uint32_t i = state->waiter_count; i-- > 0;) {
        const struct lock_claim *claim = &state->waiters[i];
        if (claim->due_ms <= now_ms || claim->asked_ms + LOCK_STATE_PATIENCE_MS <= now_ms) {
            remove_claim(state->waiters, &state->waiter_count, i);
        }
    }
    return state->holder_count + state->waiter_count != before;
}

void lock_state_end_all(struct lock_state *state, int64_t now_ms)
{
    while (state->holder_count > 0) {
        end_holder(state, state->holder_count - 1, now_ms, LOCK_WHY_GONE);
    }
    state->waiter_count = 0;
}

/* ---- acquire ---- */

static struct lock_claim *find_owner(struct lock_claim *claims, uint32_t count, struct slice owner)
{
    for (uint32_t i = 0; i < count; i++) {
        if (slice_equal(claims[i].owner, owner)) {
            return &claims[i];
        }
    }
    return NULL;
}

static bool fits(const struct lock_state *state, const struct lock_wanted *wanted)
{
    uint64_t sum = wanted->permits;
    for (uint32_t i = 0; i < state->holder_count; i++) {
        const struct lock_claim *holder = &state->holders[i];
        if (holder->kind == LOCK_KIND_EXCLUSIVE || holder->kind != wanted->kind) {
            return false;
        }
        sum += holder->permits;
    }
    return wanted->kind != LOCK_KIND_PERMITS || sum <= wanted->limit;
}

static enum lock_answer refuse(char problem[static LOCK_STATE_PROBLEM_BYTES], const char *why)
{
    (void)snprintf(problem, LOCK_STATE_PROBLEM_BYTES, "%s", why);
    return LOCK_ANSWER_REFUSED;
}

static enum lock_answer held_already(struct lock_claim *claim, const struct lock_wanted *wanted, int64_t now_ms,
                                     struct lock_granted *ret_granted, char problem[static LOCK_STATE_PROBLEM_BYTES])
{
    if (claim->kind != wanted->kind || claim->permits != wanted->permits) {
        (void)snprintf(problem, LOCK_STATE_PROBLEM_BYTES,
                       "ERR this owner holds the lock as %s (%u permits) and asks for it as %s (%u permits): release "
                       "it, then acquire it anew",
                       lock_kind_text(claim->kind), claim->permits, lock_kind_text(wanted->kind), wanted->permits);
        return LOCK_ANSWER_REFUSED;
    }
    bool extends = wanted->extends && claim->due_ms < now_ms + wanted->ttl_ms;
    claim->due_ms = extends ? now_ms + wanted->ttl_ms : claim->due_ms;
    *ret_granted =
        (struct lock_granted){.token = claim->token, .ttl_ms = claim->due_ms - now_ms, .unchanged = !extends};
    return LOCK_ANSWER_GRANTED;
}

static bool other_limit(const struct lock_state *state, const struct lock_wanted *wanted)
{
    bool any = false;
    for (uint32_t i = 0; i < state->holder_count; i++) {
        any = any || state->holders[i].kind == LOCK_KIND_PERMITS;
    }
    for (uint32_t i = 0; i < state->waiter_count; i++) {
        any = any || state->waiters[i].kind == LOCK_KIND_PERMITS;
    }
    return any && wanted->kind == LOCK_KIND_PERMITS && state->limit != wanted->limit;
}

static enum lock_answer grant(struct lock_state *state, const struct lock_wanted *wanted, struct lock_claim *claim,
                              int64_t now_ms, struct lock_granted *ret_granted,
                              char problem[static LOCK_STATE_PROBLEM_BYTES])
{
    if (state->holder_count == LOCK_STATE_HOLDERS) {
        return refuse(problem, "BUSY too many hold this lock; try again when some have released it");
    }
    claim->token = state->token + 1;
    claim->since_ms = now_ms;
    claim->due_ms = now_ms + wanted->ttl_ms;
    if (!lock_state_add(state, false, claim)) {
        return LOCK_ANSWER_NOMEM;
    }
    state->token++;
    if (wanted->kind == LOCK_KIND_PERMITS) {
        state->limit = wanted->limit;
    }
    *ret_granted = (struct lock_granted){.token = claim->token, .ttl_ms = wanted->ttl_ms};
    return LOCK_ANSWER_GRANTED;
}

/* Until the first of those in the way could be over. */
static int64_t next_ms(const struct lock_state *state, int64_t now_ms)
{
    int64_t due_ms = INT64_MAX;
    for (uint32_t i = 0; i < state->holder_count; i++) {
        due_ms = state->holders[i].due_ms < due_ms ? state->holders[i].due_ms : due_ms;
    }
    return due_ms == INT64_MAX ? 0 : due_ms - now_ms;
}

/* Who waits is asked about often, and a state that is written wakes all others who wait: so it is written now and then.
 * What is left of a wait is rounded up, so its end seems to move a little. */
static void keep_place(struct lock_claim *waiter, int64_t now_ms, int64_t due_ms, struct lock_granted *ret_granted)
{
    ret_granted->unchanged =
        now_ms - waiter->asked_ms < LOCK_STATE_PATIENCE_MS / 4 && waiter->due_ms + ROUNDING_MS >= due_ms;
    if (!ret_granted->unchanged) {
        waiter->asked_ms = now_ms;
        waiter->due_ms = due_ms > waiter->due_ms ? due_ms : waiter->due_ms;
    }
}

static enum lock_answer wait_on(struct lock_state *state, const struct lock_wanted *wanted, struct lock_claim *waiter,
                                struct lock_claim *claim, int64_t now_ms, struct lock_granted *ret_granted,
                                char problem[static LOCK_STATE_PROBLEM_BYTES])
{
    if (waiter != NULL) {
        keep_place(waiter, now_ms, now_ms + wanted->wait_ms, ret_granted);
    } else if (state->waiter_count == LOCK_STATE_WAITERS) {
        return refuse(problem, "BUSY too many wait for this lock; try again later");
    } else if (!lock_state_add(state, true, claim)) {
        return LOCK_ANSWER_NOMEM;
    } else if (wanted->kind == LOCK_KIND_PERMITS) {
        state->limit = wanted->limit;
    }
    ret_granted->again_ms = next_ms(state, now_ms);
    return LOCK_ANSWER_WAITS;
}

enum lock_answer lock_state_acquire(struct lock_state *state, const struct lock_wanted *wanted, int64_t now_ms,
                                    struct lock_granted *ret_granted, char ret_problem[static LOCK_STATE_PROBLEM_BYTES])
{
    *ret_granted = (struct lock_granted){0};
    struct lock_claim *holder = find_owner(state->holders, state->holder_count, wanted->owner);
    if (holder != NULL) {
        return held_already(holder, wanted, now_ms, ret_granted, ret_problem);
    }
    struct lock_claim *waiter = find_owner(state->waiters, state->waiter_count, wanted->owner);
    if (waiter != NULL && (waiter->kind != wanted->kind || waiter->permits != wanted->permits)) {
        return refuse(ret_problem, "ERR this owner waits for the lock in another mode");
    }
    if (other_limit(state, wanted)) {
        (void)snprintf(ret_problem, LOCK_STATE_PROBLEM_BYTES,
                       "ERR the lock's LIMIT is %u for all who hold it and wait for it", state->limit);
        return LOCK_ANSWER_REFUSED;
    }
    struct lock_claim claim = {.owner = wanted->owner,
                               .note = wanted->note,
                               .kind = wanted->kind,
                               .permits = wanted->permits,
                               .since_ms = now_ms,
                               .due_ms = now_ms + wanted->wait_ms,
                               .asked_ms = now_ms};
    bool is_first = waiter == NULL ? state->waiter_count == 0 : waiter == &state->waiters[0];
    if (is_first && fits(state, wanted)) {
        enum lock_answer answer = grant(state, wanted, &claim, now_ms, ret_granted, ret_problem);
        if (answer == LOCK_ANSWER_GRANTED) {
            (void)lock_state_leave(state, wanted->owner);
        }
        return answer;
    }
    if (wanted->wait_ms <= 0) {
        ret_granted->unchanged = !lock_state_leave(state, wanted->owner);
        return LOCK_ANSWER_NOT;
    }
    return wait_on(state, wanted, waiter, &claim, now_ms, ret_granted, ret_problem);
}

/* ---- the others ---- */

static struct lock_claim *find_token(struct lock_state *state, struct slice owner, uint64_t token)
{
    struct lock_claim *holder = find_owner(state->holders, state->holder_count, owner);
    return holder != NULL && holder->token == token ? holder : NULL;
}

bool lock_state_renew(struct lock_state *state, struct slice owner, uint64_t token, int64_t ttl_ms, int64_t now_ms,
                      int64_t *ret_left_ms)
{
    struct lock_claim *holder = find_token(state, owner, token);
    if (holder == NULL) {
        return false;
    }
    holder->due_ms = holder->due_ms > now_ms + ttl_ms ? holder->due_ms : now_ms + ttl_ms;
    *ret_left_ms = holder->due_ms - now_ms;
    return true;
}

bool lock_state_release(struct lock_state *state, struct slice owner, uint64_t token, int64_t now_ms)
{
    const struct lock_claim *holder = find_token(state, owner, token);
    if (holder == NULL) {
        return false;
    }
    end_holder(state, (uint32_t)(holder - state->holders), now_ms, LOCK_WHY_RELEASED);
    return true;
}

bool lock_state_leave(struct lock_state *state, struct slice owner)
{
    const struct lock_claim *waiter = find_owner(state->waiters, state->waiter_count, owner);
    if (waiter == NULL) {
        return false;
    }
    remove_claim(state->waiters, &state->waiter_count, (uint32_t)(waiter - state->waiters));
    return true;
}

bool lock_state_fence(struct lock_state *state, uint64_t token, bool *ret_changed)
{
    *ret_changed = token > state->fence;
    if (*ret_changed) {
        state->fence = token;
    }
    bool holds = false;
    for (uint32_t i = 0; i < state->holder_count; i++) {
        holds = holds || state->holders[i].token == token;
    }
    return holds || token == state->fence;
}

const char *lock_kind_text(enum lock_kind kind)
{
    static const char *const texts[LOCK_KINDS] = {"exclusive", "shared", "permits"};
    return texts[kind];
}

const char *lock_why_text(enum lock_why why)
{
    static const char *const texts[LOCK_WHYS] = {"released", "expired", "client gone"};
    return texts[why];
}

/* COHORT.LOCK.RESERVE, RESERVE.WITH, GRANT, BACK, SETTLE: what nodes say about the parts of a LOCK.MACQUIRE. */
#include "machine/call.h"

#include "command/machine_handlers.h"
#include "machine/lock/lock_arguments.h"
#include "machine/lock/lock_commands.h"
#include "machine/lock/lock_limits.h"
#include "machine/lock/lock_parts.h"
#include "machine/session/session_words.h"

static void malformed(struct call *call) { resp_error(&call->reply, "ERR no node of ours can have said this"); }

static struct lock_now now_of(const struct call *call)
{
    return (struct lock_now){call->position, call->time.applied_time_ms};
}

/* LOCK.MACQUIRE: nodes make several commands of it. */
void lock_macquire(struct call *call) { malformed(call); }

static bool names_fit(const struct slice *keys, uint32_t count, struct slice owner)
{
    bool fit = count <= LOCK_PARTS;
    for (uint32_t i = 0; i < count && fit; i++) {
        fit = lock_names_fit(keys[i], owner) == NULL;
    }
    return fit;
}

static void put_told(struct call *call, const struct lock_part_told *told, uint32_t count)
{
    struct buffer out;
    buffer_init(&out);
    for (uint32_t i = 0; i < count; i++) {
        lock_part_told_put(&out, &told[i]);
    }
    resp_bulk(&call->reply, buffer_slice(&out));
    buffer_deinit(&out);
}

/* False: nothing is told of the keys but an error. */
static bool told_of(enum lock_outcome outcome, enum lock_part_state *ret_state)
{
    switch (outcome) {
    case LOCK_RESERVED: *ret_state = LOCK_PART_RESERVED; return true;
    case LOCK_GRANTED: *ret_state = LOCK_PART_HELD; return true;
    case LOCK_QUEUED: *ret_state = LOCK_PART_QUEUED; return true;
    case LOCK_HELD_BY_OTHERS: *ret_state = LOCK_PART_BUSY; return true;
    case LOCK_OTHER_REQUEST: *ret_state = LOCK_PART_OTHER; return true;
    case LOCK_NUMBER_REFUSED: *ret_state = LOCK_PART_ANEW; return true;
    case LOCK_IS_HELD_OTHERWISE:
    case LOCK_OTHER_LIMIT:
    case LOCK_MANY_HOLDERS:
    case LOCK_MANY_WAITERS:
    case LOCK_MANY_WAITERS_IN_ALL:
    case LOCK_MANY_LOCKS:
    case LOCK_MANY_IDS:
    case LOCK_MANY_OF_SESSION:
    case LOCK_IS_PART: break;
    }
    return false;
}

/* They are granted at once, if all are there. */
static void grant_all(struct call *call, const struct slice *keys, uint32_t count, struct slice owner,
                      const struct lock_origin *origin, struct lock_part_told *told)
{
    struct lock_answer answers[LOCK_PARTS];
    struct lock_now now = now_of(call);
    if (locks_grant_parts(call->locks, keys, count, owner, origin, &now, answers)) {
        for (uint32_t i = 0; i < count; i++) {
            told[i] = (struct lock_part_told){LOCK_PART_HELD, answers[i].token, answers[i].ttl_ms};
        }
    }
}

/* What of a request stands before its keys. */
static bool take_head(struct call *call, struct lock_request *ret_request, struct lock_part_ask *ret_ask)
{
    *ret_ask = (struct lock_part_ask){.home = call->argv[2]};
    *ret_request = (struct lock_request){.owner = call->argv[3], .mode = LOCK_EXCLUSIVE, .permits = 1, .part = ret_ask};
    return lock_origin_take(call->argv[1], &ret_request->origin) && ret_ask->home.size <= LOCK_KEY_BYTES &&
           lock_time_parse(call->argv[4], 1, "", &ret_request->ttl_ms) == NULL &&
           lock_time_parse(call->argv[5], 0, "", &ret_request->wait_ms) == NULL &&
           number_parse_int64(call->argv[6], &ret_ask->keep_ms) && ret_ask->keep_ms >= 0 &&
           ret_ask->keep_ms <= 2 * LOCK_TIME_MS;
}

static void reserve(struct call *call, struct lock_request *request, const struct slice *keys, uint32_t count)
{
    struct lock_now now = now_of(call);
    struct lock_part_told told[LOCK_PARTS];
    uint32_t reserved = 0;
    uint32_t told_count = 0;
    bool goes_on = true;
    while (goes_on && told_count < count) {
        struct lock_answer answer = {0};
        request->key = keys[told_count];
        enum lock_outcome outcome = locks_acquire(call->locks, request, &now, &answer);
        struct lock_part_told *one = &told[told_count++];
        if (!told_of(outcome, &one->state)) {
            lock_put_outcome(call, outcome, &answer);
            return;
        }
        one->token = answer.token;
        one->ttl_ms = answer.ttl_ms;
        reserved += one->state == LOCK_PART_RESERVED ? 1 : 0;
        goes_on = one->state == LOCK_PART_RESERVED || one->state == LOCK_PART_HELD;
    }
    if (goes_on && (reserved == count || reserved == 0) && slice_equal(call->argv[7], SLICE_LITERAL("1"))) {
        grant_all(call, keys, count, request->owner, &request->origin, told);
    }
    put_told(call, told, told_count);
}

/* COHORT.LOCK.RESERVE origin home owner ttl_ms wait_ms keep_ms alone key [key …] */
void lock_parts_reserve(struct call *call)
{
    struct lock_part_ask ask;
    struct lock_request request;
    if (take_head(call, &request, &ask) && names_fit(call->argv + 8, call->argc - 8, request.owner)) {
        reserve(call, &request, call->argv + 8, call->argc - 8);
    } else {
        malformed(call);
    }
}

/* COHORT.LOCK.RESERVE.WITH origin home owner ttl_ms wait_ms keep_ms alone session note key [key …]: the session's name
 * with what it lives, as LOCK.ACQUIRE is sent to a shard; empty: none */
void lock_parts_reserve_with(struct call *call)
{
    struct lock_part_ask ask;
    struct lock_request request;
    if (!take_head(call, &request, &ask) || !names_fit(call->argv + 10, call->argc - 10, request.owner) ||
        call->argv[9].size > LOCK_NOTE_BYTES) {
        malformed(call);
        return;
    }
    request.note = call->argv[9];
    const char *problem = call->argv[8].size == 0 ? NULL : tie_of_name(call->ties, call->argv[8], &request.tie);
    if (problem == NULL) {
        reserve(call, &request, call->argv + 10, call->argc - 10);
    } else {
        resp_error(&call->reply, problem);
    }
}

/* COHORT.LOCK.GRANT origin owner key [key …] */
void lock_parts_grant(struct call *call)
{
    const struct slice *keys = call->argv + 3;
    uint32_t count = call->argc - 3;
    struct lock_origin origin;
    struct lock_part_told told[LOCK_PARTS] = {{LOCK_PART_RESERVED, 0, 0}};
    if (!lock_origin_take(call->argv[1], &origin) || !names_fit(keys, count, call->argv[2])) {
        malformed(call);
        return;
    }
    grant_all(call, keys, count, call->argv[2], &origin, told);
    if (told[0].state == LOCK_PART_HELD) {
        put_told(call, told, count);
    } else {
        resp_null(&call->reply);
    }
}

/* COHORT.LOCK.BACK origin owner key [key …]: OK; or 1, since another request was told of all of it. */
void lock_parts_back(struct call *call)
{
    struct lock_origin origin;
    if (!lock_origin_take(call->argv[1], &origin)) {
        malformed(call);
        return;
    }
    struct lock_now now = now_of(call);
    if (locks_take_back_parts(call->locks, call->argv + 3, call->argc - 3, call->argv[2], &origin, &now)) {
        call_ok(call);
    } else {
        resp_integer(&call->reply, 1);
    }
}

/* COHORT.LOCK.SETTLE origin key owner */
void lock_parts_settle(struct call *call)
{
    struct lock_origin origin;
    if (!lock_origin_take(call->argv[1], &origin)) {
        malformed(call);
        return;
    }
    struct lock_now now = now_of(call);
    resp_integer(&call->reply, locks_settle(call->locks, call->argv[2], call->argv[3], &origin, &now) ? 1 : 0);
}

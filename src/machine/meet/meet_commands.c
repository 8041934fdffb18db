/* BARRIER.ENTER, LATCH.SET, DOWN, WAIT, and what nodes say about those who wait. */
#include "machine/call.h"

#include "command/machine_handlers.h"
#include "machine/lock/lock_arguments.h"
#include "machine/meet/meet_arguments.h"

#include <inttypes.h>

_Static_assert(MEET_MEMBERS == 4096 && MEETS_MEMBERS == 131072 && MEETS_BUSY == 65536 && LATCH_COUNT == 1073741824,
               "as the texts say");

static struct lock_now now_of(const struct call *call)
{
    return (struct lock_now){call->position, call->time.applied_time_ms};
}

static void malformed(struct call *call) { resp_error(&call->reply, "ERR no node of ours can have said this"); }

static void put_outcome(struct call *call, enum meet_outcome outcome, uint32_t count)
{
    switch (outcome) {
    case MEET_PASSED: resp_integer(&call->reply, 1); return;
    case MEET_NOT_YET: resp_null(&call->reply); return;
    case MEET_QUEUED: resp_status(&call->reply, "QUEUED"); return;
    case MEET_OTHER_COUNT:
        resp_error_format(&call->reply,
                          "ERR those who are in this barrier gave COUNT %" PRIu32 "; all of them give the same", count);
        return;
    case MEET_NO_LATCH:
        resp_error(&call->reply, "ERR no latch of this name is set, or it was open long ago; LATCH.SET name n first");
        return;
    case MEET_MANY_MEMBERS: resp_error(&call->reply, "BUSY 4096 wait here, which is the most; try again later"); return;
    case MEET_MANY_MEMBERS_IN_ALL:
        resp_error(&call->reply,
                   "BUSY 131072 wait at barriers and latches of this shard, which is the most; try again later");
        return;
    case MEET_MANY:
        resp_error(&call->reply, "BUSY 65536 barriers and latches of this shard are in use, which is the most; open "
                                 "some latches by LATCH.SET name 0");
        return;
    }
}

/* ---- barriers ---- */

static void enter(struct call *call, uint32_t from, const struct lock_origin *origin)
{
    struct meet_request request;
    uint32_t count = 0;
    const char *problem = barrier_request_parse(call->argv + from, call->argc - from, &request);
    if (problem != NULL) {
        resp_error(&call->reply, problem);
        return;
    }
    request.origin = *origin;
    request.wait_ms = origin->node == 0 ? 0 : request.wait_ms; /* nobody could be told */
    struct lock_now now = now_of(call);
    enum meet_outcome outcome = meets_enter(call->meets, &request, &now, &count);
    put_outcome(call, outcome, count);
}

/* BARRIER.ENTER name owner COUNT n [WAIT ms] */
void barrier_enter(struct call *call)
{
    struct lock_origin nobody = {0};
    enter(call, 1, &nobody);
}

/* COHORT.BARRIER.ENTER origin name owner … */
void barrier_enter_for(struct call *call)
{
    struct lock_origin origin;
    if (lock_origin_take(call->argv[1], &origin)) {
        enter(call, 2, &origin);
    } else {
        malformed(call);
    }
}

/* ---- latches ---- */

/* LATCH.SET name n */
void latch_set(struct call *call)
{
    int64_t count = 0;
    const char *problem = latch_name_fits(call->argv[1]);
    if (problem == NULL && (!number_parse_int64(call->argv[2], &count) || count < 0 || count > LATCH_COUNT)) {
        problem = "ERR a latch opens after 1 to 1073741824 downs; 0 opens and forgets it";
    }
    if (problem != NULL) {
        resp_error(&call->reply, problem);
        return;
    }
    struct lock_now now = now_of(call);
    enum meet_outcome outcome = meets_latch_set(call->meets, call->argv[1], (uint32_t)count, &now);
    if (outcome == MEET_NOT_YET) {
        resp_integer(&call->reply, 0);
    } else {
        put_outcome(call, outcome, 0);
    }
}

/* LATCH.DOWN name */
void latch_down(struct call *call)
{
    uint32_t left = 0;
    struct lock_now now = now_of(call);
    enum meet_outcome outcome = meets_latch_down(call->meets, call->argv[1], &now, &left);
    if (outcome == MEET_PASSED) {
        resp_integer(&call->reply, left);
    } else {
        put_outcome(call, outcome, 0);
    }
}

/* Who waits at a latch has no name; the request is its own owner. */
static void wait_at(struct call *call, uint32_t from, const struct lock_origin *origin, struct slice owner)
{
    struct meet_request request;
    const char *problem = latch_request_parse(call->argv + from, call->argc - from, &request);
    if (problem != NULL) {
        resp_error(&call->reply, problem);
        return;
    }
    request.owner = owner;
    request.origin = *origin;
    request.wait_ms = origin->node == 0 ? 0 : request.wait_ms;
    struct lock_now now = now_of(call);
    put_outcome(call, meets_latch_wait(call->meets, &request, &now), 0);
}

/* LATCH.WAIT name [WAIT ms] */
void latch_wait(struct call *call)
{
    struct lock_origin nobody = {0};
    wait_at(call, 1, &nobody, slice_of(NULL, 0));
}

/* COHORT.LATCH.WAIT origin name [WAIT ms] */
void latch_wait_for(struct call *call)
{
    struct lock_origin origin;
    if (lock_origin_take(call->argv[1], &origin)) {
        wait_at(call, 2, &origin, call->argv[1]);
    } else {
        malformed(call);
    }
}

/* ---- what nodes say: origin name owner kind ---- */

static bool take_request(struct call *call, struct lock_origin *ret_origin, enum meet_kind *ret_kind,
                         struct slice *ret_owner)
{
    if (!lock_origin_take(call->argv[1], ret_origin) || !meet_kind_parse(call->argv[4], ret_kind)) {
        malformed(call);
        return false;
    }
    *ret_owner = *ret_kind == MEET_LATCH ? call->argv[1] : call->argv[3];
    return true;
}

/* COHORT.MEET.ASK: what became of a request that waited. */
void meet_ask(struct call *call)
{
    struct lock_origin origin;
    enum meet_kind kind;
    struct slice owner;
    if (take_request(call, &origin, &kind, &owner)) {
        int64_t time_ms = call->time.present_time_ms;
        put_outcome(call, meets_ask(call->meets, kind, call->argv[2], owner, &origin, time_ms), 0);
    }
}

/* COHORT.MEET.LEAVE: its client is gone, or waits no longer: it hears whether it has passed. */
void meet_leave(struct call *call)
{
    struct lock_origin origin;
    enum meet_kind kind;
    struct slice owner;
    if (take_request(call, &origin, &kind, &owner)) {
        struct lock_now now = now_of(call);
        if (meets_take_back(call->meets, kind, call->argv[2], owner, &origin, &now)) {
            resp_integer(&call->reply, 1);
        } else {
            call_ok(call);
        }
    }
}

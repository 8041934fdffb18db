/* LOCK.ACQUIRE, RENEW, RELEASE, GUARD, FENCE.CHECK, and what nodes say about those who wait. */
#include "machine/call.h"

#include "command/machine_handlers.h"
#include "machine/dispatch.h"
#include "machine/lock/lock_arguments.h"
#include "machine/lock/lock_commands.h"
#include "machine/lock/lock_limits.h"
#include "machine/lock/locks.h"
#include "machine/machine_mutation.h"
#include "machine/meet/meets.h"
#include "machine/session/session_words.h"
#include "machine/session/ties.h"

#include <inttypes.h>

static struct lock_now now_of(const struct call *call)
{
    return (struct lock_now){call->position, call->time.applied_time_ms};
}

static void put_grant(struct call *call, const struct lock_answer *answer)
{
    resp_array(&call->reply, 2);
    resp_integer(&call->reply, (int64_t)answer->token);
    resp_integer(&call->reply, answer->ttl_ms);
}

void lock_put_outcome(struct call *call, enum lock_outcome outcome, const struct lock_answer *answer)
{
    switch (outcome) {
    case LOCK_GRANTED: put_grant(call, answer); return;
    case LOCK_HELD_BY_OTHERS: resp_null_array(&call->reply); return;
    case LOCK_QUEUED: resp_status(&call->reply, "QUEUED"); return;
    case LOCK_IS_HELD_OTHERWISE:
        resp_error(&call->reply,
                   "ERR this owner holds the lock, or waits for it, in another mode or with other permits; "
                   "a lock is not upgraded: release it, then acquire it anew");
        return;
    case LOCK_OTHER_LIMIT:
        resp_error_format(&call->reply,
                          "ERR the LIMIT of this semaphore is %" PRIu32 " now; it can be another when nobody holds it "
                          "or waits for it",
                          answer->limit);
        return;
    case LOCK_MANY_HOLDERS:
        resp_error(&call->reply, "BUSY 4096 hold this lock, which is the most; try again when some have released it");
        return;
    case LOCK_MANY_WAITERS:
        resp_error(&call->reply, "BUSY 4096 wait for this lock, which is the most; try again later");
        return;
    case LOCK_MANY_WAITERS_IN_ALL:
        resp_error(&call->reply, "BUSY 131072 wait for locks of this shard, which is the most; try again later");
        return;
    case LOCK_MANY_LOCKS:
        resp_error(&call->reply, "BUSY 1048576 locks of this shard are held, which is the most; release some");
        return;
    case LOCK_MANY_IDS:
        resp_error(&call->reply, "ERR this owner has acquired the lock 256 times, which is the most; release some");
        return;
    case LOCK_MANY_OF_SESSION:
        resp_error(&call->reply, "BUSY this session has 16384 locks in this shard, which is the most; release some, or "
                                 "open another one");
        return;
    case LOCK_IS_PART:
        resp_error(&call->reply, "ERR this owner asks for the lock by a LOCK.MACQUIRE that is under way; wait for its "
                                 "end, then try again");
        return;
    case LOCK_RESERVED:
    case LOCK_OTHER_REQUEST:
    case LOCK_NUMBER_REFUSED: break; /* of parts alone */
    }
}

_Static_assert(LOCK_HOLDERS == 4096 && LOCK_WAITERS == 4096 && LOCKS_WAITERS == 131072 && LOCKS_BUSY == 1048576 &&
                   LOCK_REQUEST_IDS == 256 && SESSION_CLAIMS == 16384,
               "as the texts say");

static void acquire(struct call *call, uint32_t from, const struct lock_origin *origin)
{
    struct lock_request request;
    struct lock_answer answer = {0};
    const char *problem = lock_request_parse(call->argv + from, call->argc - from, &request);
    if (problem != NULL) {
        resp_error(&call->reply, problem);
        return;
    }
    if (request.session.size != 0 && (problem = tie_of_name(call->ties, request.session, &request.tie)) != NULL) {
        resp_error(&call->reply, problem);
        return;
    }
    request.origin = *origin;
    request.wait_ms = origin->node == 0 ? 0 : request.wait_ms; /* nobody could be told */
    struct lock_now now = now_of(call);
    enum lock_outcome outcome = locks_acquire(call->locks, &request, &now, &answer);
    if (outcome == LOCK_IS_HELD_OTHERWISE) {
        lock_put_otherwise(call, &answer.had, &request);
    } else {
        lock_put_outcome(call, outcome, &answer);
    }
}

void lock_acquire(struct call *call)
{
    struct lock_origin nobody = {0};
    acquire(call, 1, &nobody);
}

static void malformed(struct call *call) { resp_error(&call->reply, "ERR no node of ours can have said this"); }

/* COHORT.LOCK.ACQUIRE origin key owner … */
void lock_acquire_for(struct call *call)
{
    struct lock_origin origin;
    if (!lock_origin_take(call->argv[1], &origin)) {
        malformed(call);
        return;
    }
    acquire(call, 2, &origin);
}

/* LOCK.RENEW key owner token PX ttl_ms */
void lock_renew(struct call *call)
{
    uint64_t token = 0;
    int64_t ttl_ms = 0;
    if (!slice_is_word(call->argv[4], "PX")) {
        call_syntax_error(call);
        return;
    }
    const char *problem = lock_token_parse(call->argv[3], &token);
    problem = problem != NULL
                  ? problem
                  : lock_time_parse(call->argv[5], 1,
                                    "ERR PX is the time to live in ms, from 1 to 31536000000 (a year)", &ttl_ms);
    if (problem != NULL) {
        resp_error(&call->reply, problem);
        return;
    }
    if (locks_held_by_session(call->locks, call->argv[1], call->argv[2], token)) {
        resp_error(&call->reply, "ERR this lock is held as long as its session lives: SESSION.KEEPALIVE renews that");
        return;
    }
    struct lock_now now = now_of(call);
    int64_t left_ms = locks_renew(call->locks, call->argv[1], call->argv[2], token, ttl_ms, &now);
    if (left_ms > 0) {
        resp_integer(&call->reply, left_ms);
    } else {
        resp_error(&call->reply, "LOCKLOST this owner does not hold the lock by this token any more; acquire it anew");
    }
}

/* FORCE alone, or REENTRANT id. NULL, or what is wrong. */
static const char *take_release_options(const struct call *call, bool *ret_force, struct slice *ret_id)
{
    *ret_force = call->argc == 5 && slice_is_word(call->argv[4], "FORCE");
    if (call->argc == 6 && slice_is_word(call->argv[4], "FORCE") && slice_is_word(call->argv[5], "FORCE")) {
        return LOCK_TWICE("FORCE");
    }
    for (uint32_t i = 4; i < call->argc && !*ret_force; i += 2) {
        if (i + 1 == call->argc || !slice_is_word(call->argv[i], "REENTRANT") || call->argv[i + 1].size == 0) {
            return "ERR syntax error";
        }
        if (i > 4) {
            return LOCK_TWICE("REENTRANT");
        }
        *ret_id = call->argv[i + 1];
    }
    return NULL;
}

/* LOCK.RELEASE key owner token [REENTRANT request-id | FORCE] */
void lock_release(struct call *call)
{
    uint64_t token = 0;
    bool force = false;
    struct slice id = slice_of(NULL, 0);
    const char *problem = lock_token_parse(call->argv[3], &token);
    problem = problem == NULL ? take_release_options(call, &force, &id) : problem;
    if (problem != NULL) {
        resp_error(&call->reply, problem);
        return;
    }
    struct lock_now now = now_of(call);
    const struct slice *argv = call->argv;
    bool held = force ? locks_take_away(call->locks, argv[1], argv[2], token, &now)
                      : locks_release(call->locks, argv[1], argv[2], token, id, &now);
    resp_integer(&call->reply, held ? 1 : 0);
}

/* FENCE.CHECK key token */
void fence_check(struct call *call)
{
    uint64_t token = 0;
    const char *problem = lock_token_parse(call->argv[2], &token);
    problem = problem == NULL ? lock_name_fits(call->argv[1]) : problem;
    if (problem == NULL && token > locks_last_token(call->locks)) {
        problem = "ERR no lock of this shard was granted by such a token yet; is it of another lock, or cluster?";
    }
    if (problem != NULL) {
        resp_error(&call->reply, problem);
        return;
    }
    struct lock_now now = now_of(call);
    resp_integer(&call->reply, locks_fence(call->locks, call->argv[1], token, &now) ? 1 : 0);
}

/* LOCK.GUARD key token COMMAND … */
void lock_guard(struct call *call)
{
    uint64_t token = 0;
    const struct command_spec *spec = NULL;
    const char *problem = lock_token_parse(call->argv[2], &token);
    if (problem != NULL) {
        resp_error(&call->reply, problem);
        return;
    }
    struct command inner = {NULL, call->argv + 3, call->argc - 3, (uint8_t)call->reply.protocol};
    if (command_lookup(inner.argv, inner.argc, &spec) != COMMAND_FOUND || !lock_may_guard(spec)) {
        malformed(call); /* the node has looked */
        return;
    }
    if (!MACHINE_MUTATED(GUARD_BLIND) && !locks_held(call->locks, call->argv[1], token, call->time.applied_time_ms)) {
        resp_error(&call->reply, "FENCED this token does not hold the lock any more; the command was not executed");
        return;
    }
    inner.spec = spec;
    dispatch_within(call, &inner);
}

/* ---- what nodes say: origin key owner ---- */

/* COHORT.LOCK.ASK: what became of a request that waited. */
void lock_ask(struct call *call)
{
    struct lock_origin origin;
    struct lock_answer answer = {0};
    if (!lock_origin_take(call->argv[1], &origin)) {
        malformed(call);
        return;
    }
    switch (locks_ask(call->locks, call->argv[2], call->argv[3], &origin, call->time.present_time_ms, &answer)) {
    case LOCK_ASKED_HOLDS: put_grant(call, &answer); return;
    case LOCK_ASKED_WAITS: resp_status(&call->reply, "QUEUED"); return;
    case LOCK_ASKED_NOTHING: resp_null_array(&call->reply); return;
    }
}

/* COHORT.LOCK.LEAVE: its client is gone. */
void lock_leave(struct call *call)
{
    struct lock_origin origin;
    if (!lock_origin_take(call->argv[1], &origin)) {
        malformed(call);
        return;
    }
    struct lock_now now = now_of(call);
    locks_take_back(call->locks, call->argv[2], call->argv[3], &origin, &now);
    call_ok(call);
}

/* COHORT.LOCK.REAP node start: nobody waits at any earlier start of this node. */
void lock_reap(struct call *call)
{
    int64_t node = 0;
    int64_t start = 0;
    if (!number_parse_int64(call->argv[1], &node) || !number_parse_int64(call->argv[2], &start)) {
        malformed(call);
        return;
    }
    struct lock_now now = now_of(call);
    resp_integer(&call->reply, (int64_t)(locks_reap(call->locks, (uint64_t)node, (uint64_t)start, &now) +
                                         meets_reap(call->meets, (uint64_t)node, (uint64_t)start)));
}

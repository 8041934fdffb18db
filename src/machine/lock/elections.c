/* ELECT.CAMPAIGN, LEADER, RESIGN. */
#include "machine/lock/elections.h"

#include "command/machine_handlers.h"
#include "machine/call.h"
#include "machine/lock/lock.h"
#include "machine/lock/lock_arguments.h"
#include "machine/machine_mutation.h"

_Static_assert((int)ELECTION_KEY_BYTES <= (int)LOCK_KEY_BYTES && LOCK_NOTE_BYTES == 512 && LOCK_WAITERS == 4096 &&
                   LOCKS_WAITERS == 131072 && LOCKS_BUSY == 1048576,
               "as the texts say");

struct slice election_key(struct slice election, uint8_t space[static ELECTION_KEY_BYTES])
{
    size_t size = sizeof(ELECTION_PREFIX) - 1;
    memcpy(space, ELECTION_PREFIX, size);
    if (election.size > 0) {
        memcpy(space + size, election.data, election.size);
    }
    return slice_of(space, size + election.size);
}

bool election_of(struct slice key, struct slice *ret_election)
{
    struct slice prefix = SLICE_LITERAL(ELECTION_PREFIX);
    if (!slice_starts_with(key, prefix)) {
        return false;
    }
    *ret_election = slice_of(key.data + prefix.size, key.size - prefix.size);
    return true;
}

/* ---- arguments ---- */

struct given {
    bool ttl, wait, value;
};

static const char *once(bool *given, const char *twice, const char *problem)
{
    const char *found = *given ? twice : problem;
    *given = true;
    return found;
}

static const char *take_option(struct lock_request *request, struct given *given, struct slice word, struct slice value)
{
    if (slice_is_word(word, "PX")) {
        return once(&given->ttl, LOCK_TWICE("PX"),
                    lock_time_parse(value, 1, "ERR PX is the term of office in ms, from 1 to 31536000000 (a year)",
                                    &request->ttl_ms));
    }
    if (slice_is_word(word, "WAIT")) {
        return once(
            &given->wait, LOCK_TWICE("WAIT"),
            lock_time_parse(value, 0, "ERR WAIT is a time in ms, from 0 to 31536000000 (a year)", &request->wait_ms));
    }
    if (slice_is_word(word, "VALUE")) {
        request->note = value;
        return once(&given->value, LOCK_TWICE("VALUE"),
                    value.size <= LOCK_NOTE_BYTES ? NULL : "ERR a VALUE has 512 bytes at most");
    }
    return "ERR syntax error";
}

static const char *election_fits(struct slice election)
{
    return election.size > ELECTION_NAME_BYTES ? "ERR the name of an election has 512 bytes at most" : NULL;
}

static const char *names_fit(struct slice election, struct slice candidate)
{
    const char *problem = election_fits(election);
    bool fits = candidate.size >= 1 && candidate.size <= LOCK_OWNER_BYTES;
    return problem == NULL && !fits ? "ERR the name of a candidate has 1 to 256 bytes" : problem;
}

const char *election_request_parse(const struct slice *argv, uint32_t argc, struct lock_request *ret_request)
{
    *ret_request = (struct lock_request){.key = argv[0], .owner = argv[1], .mode = LOCK_EXCLUSIVE, .permits = 1};
    struct given given = {0};
    const char *problem = names_fit(argv[0], argv[1]);
    for (uint32_t i = 2; problem == NULL && i < argc; i += 2) {
        problem = i + 1 == argc ? "ERR syntax error" : take_option(ret_request, &given, argv[i], argv[i + 1]);
    }
    return problem == NULL && !given.ttl ? "ERR the term of office is given as PX ttl_ms; renew it by campaigning again"
                                         : problem;
}

/* ---- commands ---- */

static void put_outcome(struct call *call, enum lock_outcome outcome, const struct lock_answer *answer)
{
    switch (outcome) {
    case LOCK_GRANTED:
        resp_array(&call->reply, 2);
        resp_integer(&call->reply, (int64_t)answer->token);
        resp_integer(&call->reply, answer->ttl_ms);
        return;
    case LOCK_QUEUED: resp_status(&call->reply, "QUEUED"); return;
    case LOCK_MANY_WAITERS:
        resp_error(&call->reply, "BUSY 4096 candidates wait in this election, which is the most; try again later");
        return;
    case LOCK_MANY_WAITERS_IN_ALL:
        resp_error(&call->reply,
                   "BUSY 131072 wait in elections and for locks of this shard, which is the most; try again later");
        return;
    case LOCK_MANY_LOCKS:
        resp_error(&call->reply, "BUSY 1048576 elections and locks of this shard are held, which is the most");
        return;
    case LOCK_HELD_BY_OTHERS:
    case LOCK_IS_HELD_OTHERWISE:
    case LOCK_OTHER_LIMIT:
    case LOCK_MANY_HOLDERS:
    case LOCK_MANY_IDS:
    case LOCK_MANY_OF_SESSION: /* the last five never: all ask alike; and no election is one of several */
    case LOCK_RESERVED:
    case LOCK_IS_PART:
    case LOCK_OTHER_REQUEST:
    case LOCK_NUMBER_REFUSED: break;
    }
    resp_null_array(&call->reply);
}

static bool leads(const struct locks *locks, const struct lock_request *request, const struct lock_now *now)
{
    const struct lock *lock = lock_find(locks, request->key);
    const struct claim *holder = lock == NULL || list_empty(&lock->holders) ? NULL : claim_of(lock->holders.next);
    return holder != NULL && holder->due_ms > now->time_ms && slice_equal(claim_owner(holder), request->owner);
}

/* Whoever leads already goes on leading, for the new term or longer; `only` that. */
static void campaign(struct call *call, uint32_t from, const struct lock_origin *origin, bool only)
{
    struct lock_request request;
    struct lock_answer answer = {0};
    uint8_t space[ELECTION_KEY_BYTES];
    const char *problem = election_request_parse(call->argv + from, call->argc - from, &request);
    if (problem != NULL) {
        resp_error(&call->reply, problem);
        return;
    }
    request.key = election_key(request.key, space);
    request.origin = *origin;
    request.wait_ms = origin->node == 0 ? 0 : request.wait_ms; /* nobody could be told */
    struct lock_now now = {call->position, call->time.applied_time_ms};
    if (only && !leads(call->locks, &request, &now)) {
        resp_error(&call->reply, "OOM command not allowed when used memory > 'maxmemory'; only who leads leads on.");
        return;
    }
    enum lock_outcome outcome = locks_acquire(call->locks, &request, &now, &answer);
    if (outcome == LOCK_GRANTED && MACHINE_MUTATED(OFFICE_ANEW)) {
        (void)locks_release(call->locks, request.key, request.owner, answer.token, slice_of(NULL, 0), &now);
        outcome = locks_acquire(call->locks, &request, &now, &answer);
    }
    if (outcome == LOCK_GRANTED && answer.ttl_ms < request.ttl_ms) {
        answer.ttl_ms = locks_renew(call->locks, request.key, request.owner, answer.token, request.ttl_ms, &now);
    }
    put_outcome(call, outcome, &answer);
}

/* ELECT.CAMPAIGN election candidate PX ttl_ms [WAIT ms] [VALUE v] */
void elect_campaign(struct call *call)
{
    struct lock_origin nobody = {0};
    campaign(call, 1, &nobody, false);
}

static void campaign_for(struct call *call, bool only)
{
    struct lock_origin origin;
    if (lock_origin_take(call->argv[1], &origin)) {
        campaign(call, 2, &origin, only);
    } else {
        resp_error(&call->reply, "ERR no node of ours can have said this");
    }
}

/* COHORT.ELECT.CAMPAIGN origin election candidate … */
void elect_campaign_for(struct call *call) { campaign_for(call, false); }

/* COHORT.ELECT.RENEW: as that, for who leads already. */
void elect_renew_for(struct call *call) { campaign_for(call, true); }

/* Who leads by the applied time; a term that is over by the present one makes the look go through the log. */
static const struct claim *leader(struct call *call, struct slice election)
{
    uint8_t space[ELECTION_KEY_BYTES];
    const struct lock *lock =
        election.size > ELECTION_NAME_BYTES ? NULL : lock_find(call->locks, election_key(election, space));
    if (lock == NULL || list_empty(&lock->holders)) {
        if (MACHINE_MUTATED(LEADER_PAST) && lock != NULL && !list_empty(&lock->past)) {
            return claim_of(lock->past.prev);
        }
        return NULL;
    }
    const struct claim *holder = claim_of(lock->holders.next);
    bool leads = holder->due_ms > call->time.applied_time_ms;
    call->must_log |= leads && holder->due_ms <= call->time.present_time_ms;
    return leads ? holder : NULL;
}

/* ELECT.LEADER election */
void elect_leader(struct call *call)
{
    const struct claim *holder = leader(call, call->argv[1]);
    if (holder == NULL) {
        resp_null_array(&call->reply);
        return;
    }
    resp_map(&call->reply, 4);
    resp_bulk_string(&call->reply, "candidate");
    resp_bulk(&call->reply, claim_owner(holder));
    resp_bulk_string(&call->reply, "token");
    resp_integer(&call->reply, (int64_t)holder->token);
    resp_bulk_string(&call->reply, "ttl_ms");
    int64_t left_ms = holder->due_ms - call->time.present_time_ms - call->ahead_ms;
    resp_integer(&call->reply, left_ms > 0 ? left_ms : 1); /* no entry has ended it yet */
    resp_bulk_string(&call->reply, "value");
    resp_bulk(&call->reply, claim_note(holder));
}

/* ELECT.RESIGN election candidate token [FORCE] */
void elect_resign(struct call *call)
{
    uint64_t token = 0;
    uint8_t space[ELECTION_KEY_BYTES];
    const char *problem = election_fits(call->argv[1]);
    if (problem == NULL && lock_token_parse(call->argv[3], &token) != NULL) {
        problem = "ERR a token is the positive integer that ELECT.CAMPAIGN gave";
    }
    bool force = call->argc == 5 && slice_is_word(call->argv[4], "FORCE");
    bool twice = call->argc == 6 && slice_is_word(call->argv[4], "FORCE") && slice_is_word(call->argv[5], "FORCE");
    problem = problem == NULL && twice ? LOCK_TWICE("FORCE") : problem;
    problem = problem == NULL && call->argc > 4 && !force ? "ERR syntax error" : problem;
    if (problem != NULL) {
        resp_error(&call->reply, problem);
        return;
    }
    struct lock_now now = {call->position, call->time.applied_time_ms};
    struct slice key = election_key(call->argv[1], space);
    bool led = force ? locks_take_away(call->locks, key, call->argv[2], token, &now)
                     : locks_release(call->locks, key, call->argv[2], token, slice_of(NULL, 0), &now);
    resp_integer(&call->reply, led ? 1 : 0);
}

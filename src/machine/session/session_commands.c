/* The commands about sessions: of the shard where one lives, and of those where something ends with it. */
#include "command/machine_handlers.h"
#include "machine/call.h"
#include "machine/lock/locks.h"
#include "machine/machine_mutation.h"
#include "machine/service/services.h"
#include "machine/session/session_words.h"
#include "machine/session/sessions.h"

enum { END_BUDGET = 4096 /* locks, keys and endpoints that one COHORT.SESSION.END ends */ };

static void malformed(struct call *call) { resp_error(&call->reply, "ERR no node of ours can have said this"); }

static bool take_number(struct slice text, int64_t most, int64_t *ret_value)
{
    return number_parse_int64(text, ret_value) && *ret_value >= 1 && *ret_value <= most;
}

static int64_t now_ms(const struct call *call) { return call->time.applied_time_ms; }

/* ---- where it lives; numbers are decimal ---- */

/* COHORT.SESSION.OPEN shard ttl_ms: the id. */
void session_open(struct call *call)
{
    int64_t shard;
    int64_t ttl_ms;
    if (!take_number(call->argv[1], UINT16_MAX, &shard) || !take_number(call->argv[2], SESSION_TTL_MS, &ttl_ms)) {
        malformed(call);
        return;
    }
    uint64_t lowest = (call->locks->restores << LOCK_TOKEN_RESTORE_SHIFT) + call->position;
    struct session_id id = {.shard = (uint32_t)shard};
    id.number = sessions_open(call->sessions, ttl_ms, lowest, now_ms(call));
    if (id.number == 0) {
        _Static_assert(SESSIONS == 1048576, "as the text says");
        resp_error(&call->reply, "BUSY 1048576 sessions live in this shard, which is the most; close some");
        return;
    }
    char text[SESSION_ID_BYTES];
    resp_bulk(&call->reply, slice_of(text, session_id_format(text, id)));
}

/* COHORT.SESSION.BEAT number …: of each its time to live, or 0. */
void session_beat(struct call *call)
{
    call->sessions->beat_commands++;
    resp_array(&call->reply, call->argc - 1);
    for (uint32_t i = 1; i < call->argc; i++) {
        int64_t number;
        bool good = take_number(call->argv[i], INT64_MAX, &number);
        resp_integer(&call->reply, good ? sessions_beat(call->sessions, (uint64_t)number, now_ms(call)) : 0);
    }
}

/* COHORT.SESSION.CLOSE number */
void session_close(struct call *call)
{
    int64_t number;
    if (!take_number(call->argv[1], INT64_MAX, &number)) {
        malformed(call);
        return;
    }
    resp_integer(&call->reply, sessions_close(call->sessions, (uint64_t)number, now_ms(call)) ? 1 : 0);
}

/* COHORT.SESSION.LOOK number: what remains of it by the clock of who leads (src/shard/shard_apply.c has it). -1:
 * nothing, and no entry of the log has ended it yet. */
void session_look(struct call *call)
{
    int64_t number;
    if (!take_number(call->argv[1], INT64_MAX, &number)) {
        malformed(call);
        return;
    }
    int64_t left_ms = sessions_left_ms(call->sessions, (uint64_t)number, now_ms(call));
    int64_t passed_ms = MACHINE_MUTATED(LOOK_BY_LAST_ENTRY) ? 0 : call->time.present_time_ms - now_ms(call);
    resp_integer(&call->reply, left_ms == 0 ? 0 : left_ms > passed_ms ? left_ms - passed_ms : -1);
}

/* COHORT.SESSION.SHARD JOIN shard number: what remains of it. COHORT.SESSION.SHARD LEFT shard number …: OK. */
void session_shard_says(struct call *call)
{
    int64_t shard;
    int64_t number;
    bool joins = slice_is_word(call->argv[1], "JOIN");
    if (!take_number(call->argv[2], UINT16_MAX, &shard) || (joins && call->argc != 4)) {
        malformed(call);
        return;
    }
    for (uint32_t i = 3; i < call->argc; i++) {
        if (!take_number(call->argv[i], INT64_MAX, &number)) {
            malformed(call);
            return;
        }
        if (!joins) {
            sessions_leave(call->sessions, (uint64_t)number, (uint32_t)shard);
        }
    }
    if (!joins) {
        call_ok(call);
        return;
    }
    int64_t left_ms = sessions_join(call->sessions, (uint64_t)number, (uint32_t)shard, now_ms(call));
    if (left_ms < 0) {
        _Static_assert(SESSION_SHARDS == 1024, "as the text says");
        resp_error(&call->reply, "ERR the session has locks or keys in 1024 shards, which is the most");
        return;
    }
    resp_integer(&call->reply, left_ms);
}

/* ---- where something ends with it ---- */

const char *tie_of_name(struct ties *ties, struct slice name, struct tie **ret_tie)
{
    struct session_id id;
    int64_t left_ms;
    if (!session_name_parse(name, &id, &left_ms)) {
        return "ERR SESSION is followed by the id that SESSION.OPEN gave";
    }
    if (ties->open) { /* whether it lives is asked before anything is prepared */
        *ret_tie = ties_name(ties, id, false);
        return NULL;
    }
    struct tie *tie = ties_find(ties, id);
    if (tie != NULL && tie->state == TIE_ENDS) {
        return SESSION_IS_OVER;
    }
    if (tie == NULL || tie->state != TIE_LIVES) {
        return SESSION_UNTIED;
    }
    *ret_tie = tie;
    return NULL;
}

/* COHORT.SESSION.TIE id: what proves that it was asked for; 0: it lives already; -1: it has ended.
 * COHORT.SESSION.TIE id ordinal: it lives, as the session's shard says: 1, or 0: ask anew. */
void session_tie(struct call *call)
{
    struct session_id id;
    int64_t ordinal = 0;
    if (!session_id_parse(call->argv[1], &id) ||
        (call->argc > 2 && (call->argc > 3 || !take_number(call->argv[2], INT64_MAX, &ordinal)))) {
        malformed(call);
        return;
    }
    if (call->argc > 2) {
        resp_integer(&call->reply, ties_confirm(call->ties, id, (uint64_t)ordinal) ? 1 : 0);
        return;
    }
    const struct tie *tie = ties_ask(call->ties, id, now_ms(call));
    if (tie == NULL) {
        _Static_assert(SESSION_TIES == 1048576, "as the text says");
        resp_error(&call->reply,
                   "BUSY 1048576 sessions have locks or keys in this shard, which is the most; close some");
        return;
    }
    resp_integer(&call->reply, tie->state == TIE_ASKED ? (int64_t)tie->ordinal : tie->state == TIE_LIVES ? 0 : -1);
}

/* True: nothing is left of it. */
static bool end_one(struct call *call, struct session_id id, size_t *budget)
{
    struct tie *tie = ties_find(call->ties, id);
    if (tie == NULL) {
        return true;
    }
    tie_end(call->ties, tie);
    struct lock_now now = {call->position, now_ms(call)};
    *budget -= locks_end_tied(call->locks, tie, *budget, &now);
    *budget -= keyspace_end_bond(call->keyspace, tie->ordinal, *budget, call->position);
    if (!MACHINE_MUTATED(SERVICE_OUTLIVES)) {
        *budget -= services_end_tied(call->services, tie, *budget, &now);
    }
    if (tie->claim_count != 0 || tie->endpoint_count != 0 || keyspace_count_bonded(call->keyspace, tie->ordinal) != 0) {
        return false;
    }
    ties_forget(call->ties, tie);
    return true;
}

/* COHORT.SESSION.END id …: they have ended. Of each whether nothing is left of it here: 1, or 0: say it again. */
void session_over(struct call *call)
{
    size_t budget = END_BUDGET;
    resp_array(&call->reply, call->argc - 1);
    for (uint32_t i = 1; i < call->argc; i++) {
        struct session_id id;
        bool over = !session_id_parse(call->argv[i], &id) || (budget > 0 && end_one(call, id, &budget));
        resp_integer(&call->reply, over ? 1 : 0);
    }
}

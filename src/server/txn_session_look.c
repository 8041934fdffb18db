/* A look at all keys in a transaction that is open (DBSIZE, KEYS, SCAN, RANDOMKEY): the shards look, and are told what
 * the transaction has made of their keys so far. What they saw must still be so when it is prepared, as with a key that
 * was read: nobody has written in those shards since. */
#include "base/memory.h"
#include "server/route_refuse.h"
#include "server/txn_session_internal.h"

#include <stdio.h>

/* Shards that know nothing of what was changed here. */
static bool has_changes(const struct txn_session *session, uint32_t shard)
{
    const struct txn_values *values = &session->plan.values;
    return values->flushed || txn_values_count(values, shard) > 0;
}

/* Each shard is told before its first step. */
static void tell_shapes(struct txn_session *session)
{
    struct txn_plan *look = &session->look;
    for (uint32_t i = 0; i < look->step_count; i++) {
        struct plan_step *step = &look->steps[i];
        bool first = i == 0 || look->steps[i - 1].shard != step->shard;
        if (first && has_changes(session, step->shard)) {
            txn_seem_say_all(&session->plan.values, step->shard, &step->seems);
        }
    }
}

void session_look_at_all(struct txn_session *session, const struct command *command)
{
    struct server *server = session->server;
    struct txn_plan *look = &session->look;
    txn_plan_init(look, server->shards, false);
    txn_plan_add(look, command);
    txn_plan_seal(look);
    if (look->draws) {
        env_random(server->env, (uint8_t *)&look->random, sizeof(look->random));
    }
    tell_shapes(session);
    session_wait_for(session, command);
    session_go(session, SESSION_READ);
    txn_round_begin(&session->round);
    for (uint32_t i = 0; i < look->part_count; i++) {
        uint32_t shard = look->parts[i].shard;
        const struct command read = txn_say_read(&session->arguments, look, i);
        txn_round_ask(&session->round, shard - 1, shard, &read);
    }
    txn_round_asked(&session->round);
}

bool session_has_looked(const struct txn_session *session, uint32_t shard)
{
    return session->looked != NULL && session->looked[shard - 1].told;
}

/* False when the shard was seen otherwise before. */
static bool note_numbers(struct txn_session *session, uint32_t shard, struct whole_numbers numbers)
{
    if (session->plan.values.flushed) {
        return true; /* whatever was there is gone for this transaction */
    }
    if (session->looked == NULL) {
        session->looked = memory_allocate_zeroed(session->server->shards, sizeof(*session->looked));
    }
    struct session_look *looked = &session->looked[shard - 1];
    if (!looked->told) {
        *looked = (struct session_look){true, numbers};
    }
    return looked->numbers.position == numbers.position && looked->numbers.count == numbers.count;
}

void session_add_seen(struct txn_session *session)
{
    for (uint32_t shard = 1; shard <= session->server->shards; shard++) {
        if (session_has_looked(session, shard)) {
            const struct whole_numbers *seen = &session->looked[shard - 1].numbers;
            txn_plan_seen(&session->plan, shard, seen->position, seen->count);
        }
    }
}

/* `[[position, count], [reply …]]`; why it cannot be taken, or NULL. */
static const char *take_answer(struct txn_session *session, uint32_t part)
{
    struct plan_part *at = &session->look.parts[part];
    struct round_question *question = &session->round.questions[at->shard - 1];
    struct buffer kept = at->answer;
    at->answer = question->answer;
    question->answer = kept;
    struct slice from = buffer_slice(&at->answer);
    uint64_t outer = 0;
    uint64_t two = 0;
    uint64_t replies = 0;
    int64_t position;
    int64_t count;
    if (!answer_array(&from, &outer) || outer != 2 || !answer_array(&from, &two) || two != 2 ||
        !answer_integer(&from, &position) || !answer_integer(&from, &count) || !answer_array(&from, &replies) ||
        !txn_plan_take(&session->look, part, from)) {
        return "-ERR a shard gave an answer that cannot be understood";
    }
    return note_numbers(session, at->shard, (struct whole_numbers){(uint64_t)position, (uint64_t)count})
               ? NULL
               : "-TXNABORT others have written in a shard that it had looked at; begin it again";
}

/* False: `problem` says why. */
static bool take_answers(struct txn_session *session, char problem[static WHY_BYTES])
{
    for (uint32_t i = 0; i < session->look.part_count; i++) {
        const struct round_question *question = &session->round.questions[session->look.parts[i].shard - 1];
        struct slice said;
        const char *why = NULL;
        if (question->status != STATUS_OK) {
            (void)snprintf(problem, WHY_BYTES, "-%s", route_refusal(question->status, true));
            return false;
        }
        if (answer_error_text(buffer_slice(&question->answer), &said)) {
            (void)snprintf(problem, WHY_BYTES, "-%.*s", (int)said.size, (const char *)said.data);
            return false;
        }
        why = take_answer(session, i);
        if (why != NULL) {
            (void)snprintf(problem, WHY_BYTES, "%s", why);
            return false;
        }
    }
    return true;
}

void session_looked_over(struct txn_session *session)
{
    char problem[WHY_BYTES];
    bool taken = take_answers(session, problem);
    session_go(session, SESSION_ACTIVE);
    if (!taken) {
        txn_plan_deinit(&session->look);
        session_fail(session, problem);
        return;
    }
    struct resp_writer *reply = session_answer_begin(session);
    if (reply != NULL) {
        txn_plan_reply(&session->look, 0, reply);
    }
    txn_plan_deinit(&session->look);
    if (reply != NULL) {
        session_answer_end(session);
    } else if (session->connection == NULL) {
        session_start_abort(session, "its client is gone");
    }
}

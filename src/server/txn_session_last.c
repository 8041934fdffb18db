/* TXN.COMMIT of what was not prepared before, in two phases: home votes last (machine/txn/README.md). */
#include "base/memory.h"
#include "server/txn_session_internal.h"

#include <stdio.h>
#include <stdlib.h>

void session_say_last(struct txn_session *session)
{
    const struct say_attempt attempt = session_attempt(session);
    const struct command last = txn_say_last(&session->arguments, &attempt, &session->plan, session->votes);
    session_ask_home(session, &last);
    txn_round_asked(&session->round);
}

void session_last_over(struct txn_session *session)
{
    uint64_t vote;
    enum status status = session_home_status(session);
    if (status == STATUS_OK && answer_yes(session_home_answer(session), &vote)) {
        session_end(session, "OK");
        return;
    }
    if (status == STATUS_OK) {
        session_note_no(session, session_home_answer(session));
    } else {
        (void)snprintf(session->why, sizeof(session->why), "its home shard was lost before it was committed");
    }
    session->unsure = status == STATUS_UNCERTAIN || status == STATUS_EXECUTED;
    session_start_abort(session, session->why); /* if it is committed, home says so */
}

void session_drop_parts(struct txn_session *session, bool all)
{
    bool *prepared = memory_allocate_zeroed(session->plan.part_count, sizeof(*prepared));
    const struct say_attempt attempt = session_attempt(session);
    const struct command drop = txn_say_drop(&session->arguments, &attempt);
    for (uint32_t i = 0; i < session->plan.part_count; i++) {
        uint32_t shard = session->plan.parts[i].shard;
        const struct round_question *question = &session->round.questions[shard - 1];
        prepared[i] = shard != session->home && (all || round_question_may_be_yes(question));
    }
    txn_round_begin(&session->round);
    for (uint32_t i = 0; i < session->plan.part_count; i++) {
        uint32_t shard = session->plan.parts[i].shard;
        if (prepared[i]) {
            txn_round_ask(&session->round, shard - 1, shard, &drop);
        }
    }
    free(prepared);
}

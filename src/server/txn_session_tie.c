/* A transaction of TXN.* is about to be prepared: what it may be too large for, and the sessions that its keys take to
 * other shards (txn_ties.h). */
#include "server/txn_session_internal.h"

#include <stdio.h>

/* Nobody else knows more of it than its id. */
static void refuse(struct txn_session *session, const char *why)
{
    session->refused = true;
    (void)snprintf(session->why, sizeof(session->why), "%s", why);
    session_start_abort(session, session->why);
}

static void tie(struct txn_session *session)
{
    struct command command;
    uint32_t shard = 0;
    switch (txn_tie_next(&session->tie, &session->plan.values, &command, &shard)) {
    case TXN_TIE_MORE:
        session_go(session, SESSION_TIE);
        txn_round_begin(&session->round);
        txn_round_ask(&session->round, 0, shard, &command);
        txn_round_asked(&session->round);
        return;
    case TXN_TIE_DONE: session_prepare(session); return;
    case TXN_TIE_MANY: refuse(session, "it takes keys of more than 64 sessions to other shards"); return;
    case TXN_TIE_ENDED: refuse(session, SESSION_TIE_OVER); return;
    case TXN_TIE_FAILED: break;
    }
    UNREACHABLE();
}

void session_tie_over(struct txn_session *session)
{
    struct slice said;
    enum txn_tie_end end = txn_tie_take(&session->tie, &session->plan.values, &session->round);
    if (session->given_up) {
        refuse(session, "it took too long to prepare");
    } else if (end == TXN_TIE_MORE) {
        tie(session);
    } else if (end == TXN_TIE_ENDED) {
        refuse(session, SESSION_TIE_OVER);
    } else if (session->round.questions[0].status == STATUS_OK &&
               answer_error_text(txn_round_answer(&session->round, 0), &said)) {
        char why[WHY_BYTES];
        (void)snprintf(why, sizeof(why), "%.*s", (int)(said.size < sizeof(why) ? said.size : sizeof(why) - 1),
                       (const char *)said.data);
        refuse(session, why);
    } else {
        refuse(session, "a shard that one of its sessions is needed in does not answer");
    }
}

void session_start_prepare(struct txn_session *session)
{
    if (txn_plan_too_large(&session->plan)) {
        refuse(session, "it is larger than one over several shards may be (65536 keys, 32 MiB written)");
        return;
    }
    txn_tie_begin(&session->tie);
    tie(session);
}

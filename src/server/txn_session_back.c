/* A transaction of three phases that all participants may have voted for is taken back: whoever knows its id may be
 * committing it at the same time, and the outcome is the quorum's (machine/txn/README.md). So home is told ABORT only
 * when nobody can commit it any more: somebody has refused to vote, or a quorum is in pre-abort.
 *
 *   BACK: ASK all ─▶ ABORT            one had not voted, and refuses now
 *              └───▶ MOVE PREABORT ─▶ ABORT, or the end: it is committed, or nobody knows yet
 */
#include "server/txn_session_internal.h"

#include <stdio.h>

static void ask_all(struct txn_session *session, const struct command *command)
{
    for (uint32_t i = 0; i < session->plan.part_count; i++) {
        uint32_t shard = session->plan.parts[i].shard;
        txn_round_ask(&session->round, shard - 1, shard, command);
    }
}

struct session_tally session_tally(const struct txn_session *session)
{
    uint32_t precommit = 0;
    uint32_t preabort = 0;
    struct session_tally tally = {0};
    for (uint32_t i = 0; i < session->plan.part_count; i++) {
        const struct round_question *question = &session->round.questions[session->plan.parts[i].shard - 1];
        struct slice word;
        if (question->status != STATUS_OK || !answer_word(buffer_slice(&question->answer), &word)) {
            continue;
        }
        precommit += slice_is_word(word, "PRECOMMIT") || slice_is_word(word, "COMMITTED");
        preabort += slice_is_word(word, "PREABORT");
        tally.commit = tally.commit || slice_is_word(word, "COMMITTED");
        tally.abort = tally.abort || slice_is_word(word, "ABORTED");
    }
    tally.commit = tally.commit || precommit >= txn_quorum_commit(session->plan.part_count);
    tally.abort = tally.abort || preabort >= txn_quorum_abort(session->plan.part_count);
    return tally;
}

void session_say_move(struct txn_session *session, bool commit)
{
    txn_round_begin(&session->round);
    const struct say_attempt attempt = session_attempt(session);
    const struct command move = txn_say_move(&session->arguments, &attempt, commit);
    ask_all(session, &move);
}

void session_say_ask(struct txn_session *session)
{
    txn_round_begin(&session->round);
    const struct say_attempt attempt = session_attempt(session);
    const struct command ask = txn_say_ask(&session->arguments, &attempt);
    ask_all(session, &ask);
}

void session_start_back(struct txn_session *session, const char *reason)
{
    if (session->protocol != TXN_3PC || session->plan.part_count == 0) {
        session_start_abort(session, reason);
        return;
    }
    if (reason != session->why) {
        (void)snprintf(session->why, sizeof(session->why), "%s", reason);
    }
    session_go(session, SESSION_BACK);
    session->moved = false;
    session_say_ask(session);
    txn_round_asked(&session->round);
}

void session_back_over(struct txn_session *session)
{
    struct session_tally tally = session_tally(session);
    if (tally.abort) {
        session_start_abort(session, session->why);
    } else if (tally.commit) {
        bool commits = session->waiting && session->spec->id == COMMAND_TXN_COMMIT;
        session_end(session, commits ? "OK" : "-ERR the transaction is committed already");
    } else if (!session->moved) {
        session->moved = true;
        session_say_move(session, false);
        txn_round_asked(&session->round);
    } else {
        session_end(session, "-UNCERTAIN too few shards have answered; ask TXN.STATUS what became of the transaction");
    }
}

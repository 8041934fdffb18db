/* How a transaction of TXN.* ends: committed, rolled back, by its own connection or by another. */
#include "base/memory.h"
#include "server/txn_session_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- COMMIT ---- */

static void decide(struct txn_session *session)
{
    session_go(session, SESSION_DECIDE);
    if (session->last) {
        session_say_last(session);
        return;
    }
    txn_round_begin(&session->round);
    const struct say_attempt attempt = session_attempt(session);
    const struct command commit = txn_say_commit(&session->arguments, &attempt, &session->plan, session->votes);
    session_ask_home(session, &commit);
    txn_round_asked(&session->round);
}

void session_start_decide(struct txn_session *session)
{
    if (session->protocol != TXN_3PC) {
        decide(session);
        return;
    }
    session_go(session, SESSION_MOVE);
    session->unsure = true;
    session_say_move(session, true);
    txn_round_asked(&session->round);
}

void session_move_over(struct txn_session *session)
{
    struct session_tally tally = session_tally(session);
    if (tally.commit) {
        session_leave_with(session, "OK"); /* the quorum has decided; home is told */
        decide(session);
    } else if (tally.abort) {
        (void)snprintf(session->why, sizeof(session->why), "others have rolled it back");
        session_start_abort(session, session->why);
    } else {
        session_end(session, "-UNCERTAIN too few shards have answered; ask TXN.STATUS what became of the transaction");
    }
}

/* Home's answer says that it is aborted, and mostly why. That reason is told, if it is another's: ours was cut off. */
static void end_aborted(struct txn_session *session)
{
    struct slice answer = session_home_answer(session);
    struct slice word;
    struct slice reason;
    uint64_t count = 0;
    char text[WHY_BYTES + 16];
    bool told = session_home_status(session) == STATUS_OK && answer_array(&answer, &count) && count == 2 &&
                answer_text(&answer, &word) && slice_is_word(word, "ABORT") && answer_text(&answer, &reason);
    bool others = told && reason.size != 0 &&
                  (reason.size > strlen(session->why) || memcmp(reason.data, session->why, reason.size) != 0);
    (void)snprintf(text, sizeof(text), "-TXNABORT %s%.*s", others ? "it was aborted: " : session->why,
                   others ? (int)reason.size : 0, others ? (const char *)reason.data : "");
    if (session->last && session->unsure) {
        session_drop_parts(session, true); /* home does not know them */
    }
    session_end(session, text);
}

void session_decide_over(struct txn_session *session)
{
    if (session->last) {
        session_last_over(session);
        return;
    }
    struct slice word = slice_of(NULL, 0);
    enum status status = session_home_status(session);
    bool told = status == STATUS_OK && answer_word(session_home_answer(session), &word);
    if (told && slice_is_word(word, "COMMIT")) {
        session_end(session, "OK");
    } else if (told && slice_is_word(word, "ABORT")) {
        (void)snprintf(session->why, sizeof(session->why), "it was aborted before it was committed");
        end_aborted(session);
    } else if (told) {
        session_end(session, "-ERR the home shard has no such transaction open in this epoch");
    } else {
        session->unsure = session->unsure || status == STATUS_UNCERTAIN || status == STATUS_EXECUTED;
        session_end(session, session->unsure
                                 ? "-UNCERTAIN the shard that decides about the transaction was lost; ask TXN.STATUS "
                                   "what became of it"
                                 : "-CLUSTERDOWN the shard that decides about the transaction does not answer; it was "
                                   "not committed, TXN.COMMIT it by its id");
    }
}

/* ---- ROLLBACK ---- */

void session_start_abort(struct txn_session *session, const char *reason)
{
    session_go(session, SESSION_ABORT);
    if (reason != session->why) {
        (void)snprintf(session->why, sizeof(session->why), "%s", reason);
    }
    if (session->last && !session->unsure) {
        session_drop_parts(session, false);
    } else {
        txn_round_begin(&session->round);
    }
    const struct say_attempt attempt = session_attempt(session);
    /* Of another connection's that is not OPEN yet: it may be when this arrives, and then it is its participants'. */
    bool begun = session->errand && session->protocol == TXN_3PC && session->plan.part_count == 0;
    const struct command abort = begun ? txn_say_resolve(&session->arguments, &attempt, false)
                                       : txn_say_abort(&session->arguments, &attempt, reason);
    session_ask_home(session, &abort);
    txn_round_asked(&session->round);
}

bool session_may_be_committed(const struct txn_session *session)
{
    if (session->last) {
        return session->unsure; /* nobody else has the votes */
    }
    if (session->plan.part_count == 0) {
        return session->errand; /* its own connection may have gone on */
    }
    return session->protocol == TXN_2PC && !session->refused;
}

/* Home was lost with the answer, and the next leader has it. */
static bool asks_again(struct txn_session *session)
{
    enum { ABORT_TRIES = 10 };
    enum status status = session_home_status(session);
    bool again = session_may_be_committed(session) && (status == STATUS_UNCERTAIN || status == STATUS_EXECUTED) &&
                 session->tries++ < ABORT_TRIES;
    if (again) {
        session_start_abort(session, session->why);
    }
    return again;
}

void session_abort_over(struct txn_session *session)
{
    struct slice word = slice_of(NULL, 0);
    bool told = session_home_status(session) == STATUS_OK && answer_word(session_home_answer(session), &word);
    bool rollback = session->waiting && session->spec->id == COMMAND_TXN_ROLLBACK;
    if (!told && asks_again(session)) {
        return;
    }
    if (told && session->errand && slice_is_word(word, "OPEN")) {
        session_start_look(session); /* it has been opened meanwhile */
        return;
    }
    if (told && slice_is_word(word, "COMMIT")) {
        session_end(session, rollback ? "-ERR the transaction is committed already" : "OK");
    } else if (!told && session_may_be_committed(session)) {
        session_end(session,
                    "-UNCERTAIN the home shard of the transaction does not answer; ask TXN.STATUS what became of it");
    } else if (rollback) {
        session_end(session, "OK"); /* nobody has said COMMIT: at the latest its time ends it */
    } else {
        end_aborted(session);
    }
}

/* ---- by its id, from another connection ---- */

void session_start_look(struct txn_session *session)
{
    session_go(session, SESSION_LOOK);
    txn_round_begin(&session->round);
    const struct slice argv[] = {SLICE_LITERAL("COHORT.TXN.STATUS"), session_id_of(session)};
    const struct command status = {command_by_id(COMMAND_COHORT_TXN_STATUS), argv, 2, RESP2};
    session_ask_home(session, &status);
    txn_round_asked(&session->round);
}

/* What home says of the transaction. */
struct look {
    struct slice state, outcome, protocol, reason;
    int64_t epoch;
};

static bool take_participants(struct txn_session *session, struct slice *from)
{
    struct txn_plan *plan = &session->plan;
    struct resp_token token;
    free(plan->parts);
    plan->parts = NULL;
    plan->part_count = 0;
    if (!answer_token(from, &token) || token.type != RESP_ARRAY) {
        return false;
    }
    plan->parts = memory_allocate_zeroed(session->server->shards, sizeof(*plan->parts));
    for (uint64_t left = token.count; left > 0;) {
        uint64_t within = 0;
        int64_t shard = 0;
        if (!answer_array(from, &within) || within == 0 || !answer_integer(from, &shard) || shard < 1 ||
            shard > session->server->shards || plan->part_count == session->server->shards) {
            return false;
        }
        plan->parts[plan->part_count++].shard = (uint32_t)shard;
        for (uint64_t i = 1; i < within; i++) {
            if (!answer_token(from, &token)) {
                return false;
            }
        }
        left--;
    }
    return true;
}

/* The map of COHORT.TXN.STATUS, in RESP2 an array of names and values. */
static bool take_look(struct txn_session *session, struct look *look)
{
    struct slice from = session_home_answer(session);
    uint64_t count = 0;
    bool good = answer_array(&from, &count) && count % 2 == 0;
    for (uint64_t i = 0; i < count && good; i += 2) {
        struct slice name;
        struct resp_token token;
        good = answer_text(&from, &name);
        if (good && slice_is_word(name, "participants")) {
            good = take_participants(session, &from);
        } else if (good && slice_is_word(name, "branches")) {
            break; /* the last one, and home's alone */
        } else if (good) {
            good = answer_token(&from, &token);
            look->state = slice_is_word(name, "state") ? token.text : look->state;
            look->outcome = slice_is_word(name, "outcome") ? token.text : look->outcome;
            look->protocol = slice_is_word(name, "protocol") ? token.text : look->protocol;
            look->reason = slice_is_word(name, "reason") ? token.text : look->reason;
            look->epoch = slice_is_word(name, "epoch") ? token.integer : look->epoch;
        }
    }
    return good && count > 0;
}

/* Each participant: how does it stand? */
static void ask_parts(struct txn_session *session)
{
    session_go(session, SESSION_ASK);
    session_say_ask(session);
    txn_round_asked(&session->round);
}

void session_look_over(struct txn_session *session)
{
    struct look look = {0};
    if (session_home_status(session) != STATUS_OK) {
        session_end(session, "-CLUSTERDOWN the home shard of the transaction does not answer; try again");
        return;
    }
    if (!take_look(session, &look)) {
        session_end(session, session->commit ? "-TXNABORT no transaction with this id is known" : "OK");
        return;
    }
    session->epoch = (uint64_t)look.epoch;
    session->protocol = slice_is_word(look.protocol, "3PC") ? TXN_3PC : TXN_2PC;
    bool committed = slice_is_word(look.outcome, "COMMIT");
    if (committed) {
        session_end(session, session->commit ? "OK" : "-ERR the transaction is committed already");
    } else if (slice_is_word(look.outcome, "ABORT")) {
        char text[WHY_BYTES];
        (void)snprintf(text, sizeof(text), "-TXNABORT it was aborted: %.*s", (int)look.reason.size,
                       (const char *)look.reason.data);
        session_end(session, session->commit ? text : "OK");
    } else if (!session->commit) {
        session_start_back(session, "rolled back");
    } else if (session->plan.part_count == 0) {
        session_end(session, "-ERR the transaction is not prepared");
    } else {
        ask_parts(session);
    }
}

void session_ask_over(struct txn_session *session)
{
    bool prepared = true;
    for (uint32_t i = 0; i < session->plan.part_count; i++) {
        uint32_t shard = session->plan.parts[i].shard;
        const struct round_question *question = &session->round.questions[shard - 1];
        struct slice from = buffer_slice(&question->answer);
        struct slice word;
        uint64_t count = 0;
        int64_t vote = 0;
        if (question->status != STATUS_OK) {
            session_end(session,
                        "-CLUSTERDOWN a shard that takes part does not answer; the transaction is as it was, try "
                        "again");
            return;
        }
        bool told = answer_array(&from, &count) && answer_text(&from, &word) && answer_integer(&from, &vote);
        session->votes[i] = (uint64_t)vote;
        prepared =
            prepared && told &&
            (slice_is_word(word, "WAIT") || slice_is_word(word, "PRECOMMIT") || slice_is_word(word, "COMMITTED"));
    }
    if (prepared) {
        session_start_decide(session);
    } else {
        session_start_back(session, "a shard that takes part has not prepared it, or has aborted it since");
    }
}

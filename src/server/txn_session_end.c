/* How a transaction of TXN.* ends: prepared, committed, rolled back, by its own connection or by another. */
#include "base/memory.h"
#include "server/txn_session_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- PREPARE ---- */

/* The shards that it has read, written or looked in, all of them when it flushes; home, when there is none. */
static void find_parts(struct txn_session *session)
{
    struct txn_plan *plan = &session->plan;
    if (plan->parts != NULL) {
        return;
    }
    session_add_seen(session);
    plan->parts = memory_allocate_zeroed(session->server->shards, sizeof(*plan->parts));
    for (uint32_t shard = 1; shard <= session->server->shards; shard++) {
        if (plan->values.flushed || txn_values_count(&plan->values, shard) > 0 || session_has_looked(session, shard)) {
            plan->parts[plan->part_count++].shard = shard;
        }
    }
    if (plan->part_count == 0) {
        plan->parts[plan->part_count++].shard = session->home;
    }
    txn_plan_order(plan);
}

void session_prepare(struct txn_session *session)
{
    session_go(session, SESSION_PREPARE);
    find_parts(session);
    session->last = session->commit && session->protocol == TXN_2PC;
    if (session->commit && session->timeout_ms > SESSION_COMMIT_MS) {
        session->timeout_ms =
            SESSION_COMMIT_MS; /* nobody will wait for it: should this node be lost, home ends it soon */
    }
    txn_round_begin(&session->round);
    if (!session->last) {
        session_ask_open(session);
    }
    const struct say_attempt attempt = session_attempt(session);
    for (uint32_t i = 0; i < session->plan.part_count; i++) {
        uint32_t shard = session->plan.parts[i].shard;
        if (!session->last || shard != session->home) {
            const struct command command = txn_say_prepare(&session->arguments, &attempt, &session->plan, i);
            txn_round_ask(&session->round, shard - 1, shard, &command);
        }
    }
    txn_round_asked(&session->round);
}

#define TOO_LARGE "it is larger than one may be in a shard (32 MiB, 65536 keys)"

/* Why home has not opened it; `told`: it has answered. When it was ended before, its reason comes with the next answer.
 */
static void note_not_opened(struct txn_session *session, bool told, struct slice word)
{
    static const struct {
        const char *word, *text;
    } reasons[] = {
        {"EPOCH", "the leader of its home shard has changed"},
        {"OLD", "its home shard has forgotten it"},
        {"EXISTS", "it was ended before"},
        {"FULL", "its home shard has no room for one more transaction"},
    };
    (void)snprintf(session->why, sizeof(session->why), "its home shard does not answer");
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]) && told; i++) {
        if (slice_is_word(word, reasons[i].word)) {
            (void)snprintf(session->why, sizeof(session->why), "%s", reasons[i].text);
        }
    }
}

/* Why a vote is no, for the client. */
void session_note_no(struct txn_session *session, struct slice answer)
{
    static const struct {
        const char *word, *text;
    } reasons[] = {
        {"CHANGED", "a key that it read was written by others"},
        {"EPOCH", "the leader of its home shard has changed"},
        {"REFUSED", "it was given up meanwhile"},
        {"FULL", "a shard has no room for one more transaction"},
        {"LARGE", TOO_LARGE},
        {"SESSION", SESSION_TIE_OVER},
        {"BONDS", "a session of its keys would have more than 16384 keys in a shard, which is the most"},
    };
    uint64_t count = 0;
    struct slice no;
    struct slice why;
    (void)snprintf(session->why, sizeof(session->why), "a shard could not prepare it");
    if (!answer_array(&answer, &count) || !answer_text(&answer, &no) || !answer_text(&answer, &why)) {
        return;
    }
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (slice_is_word(why, reasons[i].word)) {
            (void)snprintf(session->why, sizeof(session->why), "%s", reasons[i].text);
        }
    }
    struct slice whose;
    if (slice_is_word(why, "LOCKED") && answer_text(&answer, &whose)) {
        (void)snprintf(session->why, sizeof(session->why), "%s%.*s holds one of its keys",
                       whose.size == 0 ? "another transaction" : "the transaction ", (int)whose.size,
                       (const char *)whose.data);
    }
}

/* Home has opened it, or will when it votes last. */
static bool take_open(struct txn_session *session, bool *ret_refused)
{
    struct open_answer open;
    bool told = session_home_status(session) == STATUS_OK && answer_open(session_home_answer(session), &open);
    bool good = session->last || (told && slice_is_word(open.word, "OK"));
    *ret_refused = told && !good; /* else it may be open, and all may have voted yes */
    if (!good) {
        note_not_opened(session, told, open.word);
    }
    return good;
}

/* All who were asked have voted yes. */
static bool take_votes(struct txn_session *session, bool *ret_refused)
{
    for (uint32_t i = 0; i < session->plan.part_count; i++) {
        uint32_t shard = session->plan.parts[i].shard;
        const struct round_question *question = &session->round.questions[shard - 1];
        if (question->status != STATUS_OK) {
            bool large = question->status == STATUS_TOO_LARGE;
            (void)snprintf(session->why, sizeof(session->why), "%s",
                           large ? TOO_LARGE : "a shard that takes part does not answer");
            *ret_refused = large;
            return false;
        }
        if (question->asked && !answer_yes(buffer_slice(&question->answer), &session->votes[i])) {
            session_note_no(session, buffer_slice(&question->answer));
            *ret_refused = true;
            return false;
        }
    }
    return true;
}

void session_prepare_over(struct txn_session *session)
{
    bool refused;
    bool good = take_open(session, &refused) && take_votes(session, &refused);
    session->refused = refused;
    if (refused) {
        session_start_abort(session, session->why);
        return;
    }
    if (!good || session->given_up) {
        session_start_back(session, good ? "it took too long to prepare" : session->why);
        return;
    }
    session_go(session, SESSION_PREPARED);
    if (session->commit) {
        session_start_decide(session);
        return;
    }
    session_answer(session, "PREPARED");
    if (session->connection == NULL) {
        session_end(session, "OK"); /* it stays prepared until somebody finishes it by its id */
    }
}

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

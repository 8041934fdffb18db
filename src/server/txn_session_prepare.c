/* TXN.PREPARE, and the same for TXN.COMMIT: home is opened, the participants vote. */
#include "base/memory.h"
#include "server/txn_session_internal.h"

#include <stdio.h>

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

static void ask_vote(struct txn_session *session, uint32_t part)
{
    uint32_t shard = session->plan.parts[part].shard;
    const struct say_attempt attempt = session_attempt(session);
    const struct command command = txn_say_prepare(&session->arguments, &attempt, &session->plan, part);
    if (session->round.questions[shard - 1].asked) {
        txn_round_ask_again(&session->round, shard - 1, shard, &command);
    } else {
        txn_round_ask(&session->round, shard - 1, shard, &command);
    }
}

static void ask_votes(struct txn_session *session)
{
    for (uint32_t i = 0; i < session->plan.part_count; i++) {
        if (!session->last || session->plan.parts[i].shard != session->home) {
            ask_vote(session, i);
        }
    }
}

void session_prepare(struct txn_session *session)
{
    session_go(session, SESSION_PREPARE);
    find_parts(session);
    bool wide = txn_plan_is_wide(&session->plan);
    int64_t commit_ms = txn_plan_open_ms(&session->plan);
    session->last = session->commit && session->protocol == TXN_2PC && !wide;
    if (session->commit && session->timeout_ms > commit_ms) {
        session->timeout_ms = commit_ms; /* nobody will wait for it: should this node be lost, home ends it soon */
    }
    txn_round_begin(&session->round);
    if (!session->last) {
        session_ask_open(session);
    }
    if (!wide) {
        ask_votes(session);
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

void session_open_answered(struct txn_session *session)
{
    bool refused;
    if (txn_plan_is_wide(&session->plan) && take_open(session, &refused)) {
        ask_votes(session);
    }
}

/* A shard's leader was lost with its vote: the next one has it, and tells it again, or votes now. (A transaction of one
 * command needs the replies, too, which are lost; it begins anew.) */
void session_vote_answered(struct txn_session *session, uint32_t shard)
{
    enum { VOTE_TRIES = 3 };
    const struct round_question *question = &session->round.questions[shard - 1];
    bool lost = question->status == STATUS_UNCERTAIN || question->status == STATUS_EXECUTED ||
                question->status == STATUS_NOT_LEADER;
    if (lost && question->again < VOTE_TRIES && !session->given_up) {
        ask_vote(session, txn_plan_part(&session->plan, shard));
    }
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

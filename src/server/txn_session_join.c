/* TXN.JOIN: home notes an external participant. Only the connection that began the transaction may: what it says behind
 * that, TXN.PREPARE or TXN.COMMIT, says that all branches are prepared, so it must know of all. For the same reason a
 * JOIN that may have been noted, and was not answered, ends the transaction. */
#include "base/memory.h"
#include "server/route_refuse.h"
#include "server/txn_branch.h"
#include "server/txn_session_internal.h"

#include <stdio.h>

/* NULL, or why it cannot be. */
static const char *problem_of(const struct txn_session *session, const struct command *command)
{
    struct slice id = command->argv[1];
    bool evidence = command->argc == 6;
    if (command->argc == 5 || command->argc > 6 || (evidence && !slice_is_word(command->argv[4], "EVIDENCE"))) {
        return "-ERR syntax error";
    }
    if (session == NULL || !slice_equal(id, session_id_of(session))) {
        return "-ERR only the connection that began a transaction can join others to it; TXN.BEGIN it first";
    }
    if (session->state != SESSION_ACTIVE) {
        return session->state == SESSION_PREPARED
                   ? "-ERR the transaction is prepared, which says that all who take part are; join before"
                   : "-TXNABORT the transaction is aborted; TXN.ROLLBACK it first";
    }
    if (session->protocol == TXN_3PC) {
        return "-ERR a transaction of 3PC has no external participants: they cannot take part in its quorum; begin it "
               "with PROTOCOL 2PC";
    }
    if (!branch_label_valid(command->argv[3])) {
        return "-ERR a branch is 1 to 31 letters, digits, '.', '_' and '-'";
    }
    if (!branch_name_fits(id, command->argv[3])) {
        return "-ERR id and branch are too long: with a colon between them they are 64 bytes at most, bytes of the id "
               "that are not letters, digits, '.', '_', '-' and '~' counting three times; choose a shorter one";
    }
    if (evidence && !branch_text_valid(command->argv[5], TXN_EVIDENCE_BYTES)) {
        return "-ERR EVIDENCE is 1 to 64 printable bytes";
    }
    return NULL;
}

void session_join(struct connection *connection, const struct command *command)
{
    struct txn_session *session = connection->session;
    const char *problem = problem_of(session != NULL && session->errand ? NULL : session, command);
    if (problem == NULL) {
        const char *url = branch_url_problem(command->argv[2]);
        char text[WHY_BYTES];
        (void)snprintf(text, sizeof(text), "-%s", url == NULL ? "" : url);
        if (url != NULL) {
            session_answer_now(connection, text);
            return;
        }
    } else {
        bool failed = session == NULL && connection->txn_failed;
        session_answer_now(connection, failed ? "-TXNABORT the transaction was not begun or was given up, so this is "
                                                "not executed; TXN.ROLLBACK it first"
                                              : problem);
        return;
    }
    struct slice label = command->argv[3];
    memcpy(session->label, label.data, label.size);
    session->label_size = (uint8_t)label.size;
    session_wait_for(session, command);
    session_go(session, SESSION_JOIN);
    txn_round_begin(&session->round);
    char digits[NUMBER_INT64_BYTES];
    const struct slice argv[] = {SLICE_LITERAL("COHORT.TXN.JOIN"),
                                 session_id_of(session),
                                 slice_of(digits, number_format_uint64(digits, session->begun)),
                                 command->argv[2],
                                 label,
                                 command->argc == 6 ? command->argv[5] : slice_of(NULL, 0)};
    const struct command join = {command_by_id(COMMAND_COHORT_TXN_JOIN), argv, command->argc == 6 ? 6 : 5, RESP2};
    session_ask_home(session, &join);
    txn_round_asked(&session->round);
}

/* Why it was not noted; nothing is changed then. */
static const char *refusal_of(struct slice word)
{
    static const struct {
        const char *word, *text;
    } reasons[] = {
        {"OTHER", "-ERR the transaction has a branch of this name with another resource or other evidence; choose "
                  "another name"},
        {"MANY", "-ERR a transaction has at most 16 external participants"},
        {"FULL", "-BUSY the shard remembers 1024 transactions for external participants that are not finished, which "
                 "is the most; nothing was joined: finish some (TXN.BRANCHES lists them, cohort txn resolve does it), "
                 "or give them up with TXN.DONE … ABANDONED"},
        {"3PC", "-ERR a transaction of 3PC has no external participants; begin it with PROTOCOL 2PC"},
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (slice_is_word(word, reasons[i].word)) {
            return reasons[i].text;
        }
    }
    return NULL; /* it is over at home */
}

static void answer_joined(struct txn_session *session, int64_t restores, int64_t position)
{
    struct resp_writer *reply = session_answer_begin(session);
    if (reply == NULL) {
        session_start_abort(session, "its client is gone");
        return;
    }
    struct branch_name name = {.restores = (uint64_t)restores,
                               .position = (uint64_t)position,
                               .id = session_id_of(session),
                               .label = slice_of(session->label, session->label_size)};
    char text[BRANCH_NAME_BYTES];
    txn_branch_cluster(session->server, name.cluster);
    resp_bulk(reply, slice_of(text, branch_name_make(text, &name)));
    session_answer_end(session);
}

void session_join_over(struct txn_session *session)
{
    struct slice answer = session_home_answer(session);
    struct slice word = slice_of(NULL, 0);
    uint64_t count = 0;
    int64_t restores = 0;
    int64_t position = 0;
    bool told = session_home_status(session) == STATUS_OK && answer_array(&answer, &count) && count == 3 &&
                answer_text(&answer, &word) && answer_integer(&answer, &restores) && answer_integer(&answer, &position);
    session_go(session, SESSION_ACTIVE);
    if (told && slice_is_word(word, "JOINED")) {
        answer_joined(session, restores, position);
    } else if (told && refusal_of(word) != NULL && session->connection != NULL) {
        session_answer(session, refusal_of(word));
    } else if (told) {
        session_fail(session, "-TXNABORT the transaction is over at its home shard: its time is, or others have ended "
                              "it; TXN.STATUS tells");
    } else {
        char text[WHY_BYTES];
        (void)snprintf(text, sizeof(text), "-%s", route_refusal(session_home_status(session), false));
        session_fail(session, text);
    }
}

#include "server/txn_session.h"

#include "base/key_slot.h"
#include "base/memory.h"
#include "base/number.h"
#include "cluster/slot.h"
#include "server/consistency.h"
#include "server/figures.h"
#include "server/gather.h"
#include "server/pubsub.h"
#include "server/txn_session_internal.h"

#include <stdio.h>
#include <stdlib.h>

static struct txn_session *of(struct txn_round *round) { return (struct txn_session *)round; }

void session_go(struct txn_session *session, enum session_state to)
{
#define MAY(state) (1U << (state))
    static const unsigned moves[SESSION_STATES] = {
        [SESSION_BEGIN] = MAY(SESSION_BEGIN) | MAY(SESSION_ACTIVE) | MAY(SESSION_LOOK) | MAY(SESSION_ENDED),
        [SESSION_ACTIVE] =
            MAY(SESSION_READ) | MAY(SESSION_JOIN) | MAY(SESSION_TIE) | MAY(SESSION_PREPARE) | MAY(SESSION_ABORT),
        [SESSION_TIE] = MAY(SESSION_TIE) | MAY(SESSION_PREPARE) | MAY(SESSION_ABORT),
        [SESSION_READ] = MAY(SESSION_ACTIVE) | MAY(SESSION_ABORT),
        [SESSION_JOIN] = MAY(SESSION_ACTIVE) | MAY(SESSION_ABORT),
        [SESSION_PREPARE] = MAY(SESSION_PREPARED) | MAY(SESSION_BACK) | MAY(SESSION_ABORT),
        [SESSION_PREPARED] =
            MAY(SESSION_MOVE) | MAY(SESSION_DECIDE) | MAY(SESSION_BACK) | MAY(SESSION_ABORT) | MAY(SESSION_ENDED),
        [SESSION_LOOK] = MAY(SESSION_ASK) | MAY(SESSION_BACK) | MAY(SESSION_ABORT) | MAY(SESSION_ENDED),
        [SESSION_ASK] =
            MAY(SESSION_MOVE) | MAY(SESSION_DECIDE) | MAY(SESSION_BACK) | MAY(SESSION_ABORT) | MAY(SESSION_ENDED),
        [SESSION_BACK] = MAY(SESSION_ABORT) | MAY(SESSION_ENDED),
        [SESSION_MOVE] = MAY(SESSION_DECIDE) | MAY(SESSION_ABORT) | MAY(SESSION_ENDED),
        [SESSION_DECIDE] = MAY(SESSION_DECIDE) | MAY(SESSION_ABORT) | MAY(SESSION_ENDED),
        [SESSION_ABORT] = MAY(SESSION_ABORT) | MAY(SESSION_LOOK) | MAY(SESSION_ENDED),
    };
    ASSERT((moves[session->state] & MAY(to)) != 0);
    session->state = to;
}

/* ---- replies ---- */

void session_answer_now(struct connection *connection, const char *text)
{
    struct resp_writer *reply = reply_begin(connection);
    if (text[0] == '-') {
        resp_error(reply, text + 1);
    } else {
        resp_status(reply, text);
    }
    reply_end(connection);
}

void session_wait_for(struct txn_session *session, const struct command *command)
{
    ASSERT(!session->waiting && !connection_pending(session->connection));
    session->slot = slot_open(session->connection, command->spec);
    session->spec = command_called(command);
    figures_keep(session->server, command, &session->words);
    session->waiting = true;
    session->asked_ns = server_now_ns(session->server);
}

/* A writer for the reply that the client waits for; NULL when nobody does. */
struct resp_writer *session_answer_begin(struct txn_session *session)
{
    struct connection *connection = session->connection;
    if (connection == NULL || !session->waiting) {
        return NULL;
    }
    struct slot *slot = slot_at(connection, session->slot);
    connection->writer = resp_writer_to(slot->silent ? NULL : &slot->stash, slot->protocol);
    connection->reply_start = 0;
    return &connection->writer;
}

void session_answer_end(struct txn_session *session)
{
    struct connection *connection = session->connection;
    int64_t duration_ns = server_now_ns(session->server) - session->asked_ns;
    session->waiting = false;
    figures_part(session->server, session->spec->id, duration_ns, true);
    figures_slow_kept(session->server, &session->words, duration_ns, connection->peer,
                      connection->name == NULL ? "" : connection->name);
    session->server->took_long = txn_values_took_long(&session->plan.values);
    slot_finish(connection, session->slot);
}

void session_answer(struct txn_session *session, const char *text)
{
    struct resp_writer *reply = session_answer_begin(session);
    if (reply != NULL) {
        if (text[0] == '-') {
            resp_error(reply, text + 1);
        } else {
            resp_status(reply, text);
        }
        session_answer_end(session);
    }
}

void session_free(struct txn_session *session)
{
    list_remove(&session->node);
    txn_round_deinit(&session->round);
    txn_plan_deinit(&session->plan);
    txn_plan_deinit(&session->look);
    free(session->looked);
    say_arguments_deinit(&session->arguments);
    slow_words_deinit(&session->words);
    buffer_deinit(&session->command);
    free(session->votes);
    free(session);
}

void session_leave_with(struct txn_session *session, const char *text)
{
    if (session->connection != NULL) {
        session->connection->session = NULL;
        session->connection->txn_failed = session->spec->id == COMMAND_TXN_BEGIN && text[0] == '-';
    }
    struct buffer *published = &session->plan.values.events.messages;
    if (session->errand && session->commit && session->connection != NULL) {
        consistency_lose(session->connection, 0); /* home alone was asked: where it wrote is not known here */
    }
    if (session->commit && strcmp(text, "OK") == 0) {
        pubsub_publish_all(session->server, buffer_slice(published)); /* by its scripts; it is committed */
        buffer_clear(published);
    }
    session_answer(session, text);
    session->connection = NULL;
}

void session_end(struct txn_session *session, const char *text)
{
    session_go(session, SESSION_ENDED);
    txn_round_begin(&session->round); /* what comes yet is nobody's */
    session_leave_with(session, text);
    if (session->round.owed == 0) {
        session_free(session);
    }
}

void session_fail(struct txn_session *session, const char *text)
{
    if (session->connection != NULL) {
        session->connection->session = NULL;
        session->connection->txn_failed = true;
    }
    session_answer(session, text);
    session->connection = NULL;
    session_start_abort(session, "a shard refused what it reads");
}

/* ---- questions ---- */

struct say_attempt session_attempt(const struct txn_session *session)
{
    const struct server *server = session->server;
    const struct txn_runner self = {server->options.node_id, server->node_file.lineage.start};
    return (struct say_attempt){
        .id = session_id_of(session),
        .home = session->home,
        .epoch = session->epoch,
        .protocol = session->protocol,
        .timeout_ms = session->timeout_ms,
        .begun = session->begun,
        .kept_ms = session->made ? 0 : server->config.txn_id_kept_ms,
        .runner = session->made ? (struct txn_runner){0} : self,
    };
}

void session_ask_home(struct txn_session *session, const struct command *command)
{
    txn_round_ask(&session->round, session->server->shards, session->home, command);
}

void session_ask_open(struct txn_session *session)
{
    const struct say_attempt attempt = session_attempt(session);
    const struct command open = txn_say_open(&session->arguments, &attempt, &session->plan);
    session_ask_home(session, &open);
}

uint64_t session_term_of(const struct txn_session *session)
{
    struct cluster_replica replica;
    cluster_replica(session->server->cluster, session->home, &replica);
    return replica.term > session->epoch ? replica.term : session->epoch;
}

void session_note_home(struct txn_session *session, const struct open_answer *open)
{
    uint64_t *known = &session->server->txn_positions[session->home - 1];
    *known = open->position > *known ? open->position : *known;
    session->epoch = open->term;
}

/* ---- the other commands ---- */

bool txn_session_takes(const struct command_spec *spec)
{
    switch (spec->id) {
    case COMMAND_TXN_BEGIN:
    case COMMAND_TXN_JOIN:
    case COMMAND_TXN_PREPARE:
    case COMMAND_TXN_COMMIT:
    case COMMAND_TXN_ROLLBACK:
    case COMMAND_TXN_STATUS: return true;
    default: return false;
    }
}

uint32_t txn_session_home(const struct server *server, struct slice id)
{
    struct txn_id parsed;
    bool valid = txn_id_parse(id, &parsed) && (!parsed.made || (parsed.home >= 1 && parsed.home <= server->shards));
    return !valid ? 0 : parsed.made ? parsed.home : slot_shard(key_slot(id), server->shards);
}

static void answer_no_id(struct connection *connection)
{
    session_answer_now(connection, "-ERR this is no id of a transaction");
}

/* It is of TXN.BEGIN: whoever runs another one counts on being the only one that says COMMIT. */
static bool may_finish(struct slice id)
{
    struct txn_id parsed;
    return txn_id_parse(id, &parsed) && !parsed.runs;
}

/* Somebody else's, by its id. */
static void start_errand(struct connection *connection, const struct command *command)
{
    struct slice id = command->argv[1];
    uint32_t home = txn_session_home(connection->server, id);
    if (home == 0) {
        answer_no_id(connection);
        return;
    }
    if (!may_finish(id)) {
        session_answer_now(connection, "-ERR this is the transaction of a command or a MULTI; it ends by itself");
        return;
    }
    if (connection->session != NULL) {
        session_answer_now(connection, "-ERR this connection has a transaction of its own open; finish that first");
        return;
    }
    struct txn_session *session = session_create(connection);
    connection->session = session;
    connection->txn_failed = false;
    session->errand = true;
    session->commit = command->spec->id == COMMAND_TXN_COMMIT;
    session->home = home;
    memcpy(session->id, id.data, id.size);
    session->id_size = id.size;
    session_wait_for(session, command);
    session_start_look(session);
}

static void finish(struct txn_session *session, const struct command *command)
{
    bool prepared = session->state == SESSION_PREPARED;
    if (command->spec->id == COMMAND_TXN_PREPARE && prepared) {
        session_answer_now(session->connection, "PREPARED");
        return;
    }
    session_wait_for(session, command);
    switch (command->spec->id) {
    case COMMAND_TXN_ROLLBACK: session_start_back(session, "rolled back"); return;
    case COMMAND_TXN_COMMIT:
        session->commit = true;
        if (prepared) {
            session_start_decide(session);
            return;
        }
        break;
    default: break;
    }
    session_start_prepare(session);
}

/* TXN.PREPARE, TXN.COMMIT and TXN.ROLLBACK of what has failed; the last two end that. */
static void answer_failed(struct connection *connection, const struct command_spec *spec)
{
    connection->txn_failed = spec->id == COMMAND_TXN_PREPARE;
    session_answer_now(connection, spec->id == COMMAND_TXN_ROLLBACK
                                       ? "OK"
                                       : "-TXNABORT it was not begun or was given up, as was said before");
}

void txn_session_command(struct connection *connection, const struct command *command)
{
    struct txn_session *session = connection->session;
    if (command->spec->id == COMMAND_TXN_BEGIN) {
        session_begin(connection, command);
        return;
    }
    if (command->spec->id == COMMAND_TXN_JOIN) {
        session_join(connection, command);
        return;
    }
    if (command->spec->id == COMMAND_TXN_STATUS) {
        if (txn_session_home(connection->server, command->argv[1]) == 0) {
            answer_no_id(connection);
        } else {
            gather_start(connection, command);
        }
        return;
    }
    if (command->argc > 2) {
        session_answer_now(connection, "-ERR syntax error");
        return;
    }
    bool own = session != NULL && (command->argc == 1 || slice_equal(command->argv[1], session_id_of(session)));
    if (own) {
        finish(session, command);
    } else if (connection->txn_failed && (command->argc == 1 || command->spec->id == COMMAND_TXN_PREPARE)) {
        answer_failed(connection, command->spec);
    } else if (command->argc == 1) {
        session_answer_now(connection, "-ERR no transaction is open on this connection");
    } else if (command->spec->id == COMMAND_TXN_PREPARE) {
        session_answer_now(connection, "-ERR only the connection that began a transaction can prepare it");
    } else {
        start_errand(connection, command);
    }
}

/* ---- events ---- */

static enum status on_submit(struct txn_round *round, uint32_t shard, const struct command *command, uint64_t tag)
{
    return cluster_submit(of(round)->server->cluster, shard, command, CLUSTER_PLAIN, &round->requester, tag);
}

static void on_answered(struct txn_round *round, uint32_t q)
{
    struct txn_session *session = of(round);
    if (session->state == SESSION_PREPARE && q == session->server->shards) {
        session_open_answered(session);
    } else if (session->state == SESSION_PREPARE) {
        session_vote_answered(session, q + 1);
    }
}

static void on_over(struct txn_round *round)
{
    struct txn_session *session = of(round);
    switch (session->state) {
    case SESSION_BEGIN: session_begin_over(session); return;
    case SESSION_READ: session_read_over(session); return;
    case SESSION_JOIN: session_join_over(session); return;
    case SESSION_TIE: session_tie_over(session); return;
    case SESSION_PREPARE: session_prepare_over(session); return;
    case SESSION_LOOK: session_look_over(session); return;
    case SESSION_ASK: session_ask_over(session); return;
    case SESSION_MOVE: session_move_over(session); return;
    case SESSION_DECIDE: session_decide_over(session); return;
    case SESSION_BACK: session_back_over(session); return;
    case SESSION_ABORT: session_abort_over(session); return;
    case SESSION_ACTIVE:
    case SESSION_PREPARED:
    case SESSION_ENDED:
    case SESSION_STATES: break;
    }
    UNREACHABLE();
}

static void on_settled(struct txn_round *round)
{
    if (round->number != 0 && of(round)->state == SESSION_ENDED) {
        session_free(of(round));
    }
}

static void on_told(struct txn_round *round, uint32_t shard)
{
    const struct txn_session *session = of(round);
    if (session->connection != NULL) {
        consistency_told(session->connection, shard, cluster_told_index(session->server->cluster));
    }
}

static const struct txn_round_events round_events = {on_submit, on_answered, on_over, on_settled, on_told};

struct txn_session *session_create(struct connection *connection)
{
    struct server *server = connection->server;
    struct txn_session *session = memory_allocate_zeroed(1, sizeof(*session));
    txn_round_init(&session->round, &round_events, server->shards + 1);
    session->server = server;
    session->connection = connection;
    session->votes = memory_allocate_zeroed(server->shards, sizeof(*session->votes));
    txn_plan_init(&session->plan, server->shards, true);
    session->plan.values.scripts = cluster_scripts(server->cluster);
    say_arguments_init(&session->arguments);
    list_append(&server->sessions, &session->node);
    return session;
}

/* ---- ends ---- */

bool txn_session_holds(const struct connection *connection)
{
    return connection->session != NULL || connection->txn_failed;
}

bool txn_session_waits(const struct connection *connection)
{
    return connection->session != NULL && connection->session->waiting;
}

void txn_session_leave(struct connection *connection)
{
    struct txn_session *session = connection->session;
    connection->txn_failed = false;
    if (session == NULL) {
        return;
    }
    connection->session = NULL;
    session->connection = NULL;
    session->waiting = false;
    switch (session->state) {
    case SESSION_ACTIVE: session_start_abort(session, "its client is gone"); return;
    case SESSION_PREPARED: session_end(session, "OK"); return;
    default: return; /* goes on, and ends there */
    }
}

void txn_session_lose(struct connection *connection)
{
    const struct txn_session *session = connection->session;
    bool failed = connection->txn_failed || (session != NULL && session->state == SESSION_ACTIVE);
    txn_session_leave(connection);
    connection->txn_failed = failed;
}

/* What is known when shards do not answer in time. */
static void give_up(struct txn_session *session)
{
    static const char down[] =
        "-CLUSTERDOWN the shards of the transaction do not answer; it was not committed, try again";
    bool unknown = session->state == SESSION_MOVE || session->state == SESSION_DECIDE ||
                   session->state == SESSION_BACK || /* it is out, or others' */
                   (session->state == SESSION_ABORT && session_may_be_committed(session));
    bool last = session->spec->id == COMMAND_TXN_COMMIT || session->spec->id == COMMAND_TXN_ROLLBACK;
    if (session->connection != NULL) {
        session->connection->session = NULL;
        session->connection->txn_failed = !last;
    }
    session_answer(session, unknown ? "-UNCERTAIN the shard that decides about the transaction does not answer; ask "
                                      "TXN.STATUS what became of it"
                                    : down);
    session->connection = NULL;
    if (session->state == SESSION_READ || session->state == SESSION_JOIN || session->state == SESSION_TIE ||
        session->state == SESSION_PREPARE) {
        session->given_up = true; /* it is rolled back once the shards have answered */
        return;
    }
    session->state = SESSION_ENDED; /* from wherever it was: home ends the transaction when its time is over */
    txn_round_begin(&session->round);
    if (session->round.owed == 0) {
        session_free(session);
    }
}

void txn_sessions_look_after(struct server *server, int64_t before_ns)
{
    LIST_FOR_EACH_SAFE (at, after, &server->sessions) {
        struct txn_session *session = CONTAINER_OF(at, struct txn_session, node);
        if (session->waiting && session->asked_ns < before_ns) {
            give_up(session);
        }
    }
}

void txn_sessions_destroy(struct server *server)
{
    while (!list_empty(&server->sessions)) {
        session_free(CONTAINER_OF(server->sessions.next, struct txn_session, node));
    }
}

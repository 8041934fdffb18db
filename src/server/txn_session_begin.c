/* TXN.BEGIN. */
#include "base/key_slot.h"
#include "base/number.h"
#include "cluster/slot.h"
#include "server/route_refuse.h"
#include "server/txn_session_internal.h"

#include <stdio.h>

static void make_id(struct txn_session *session)
{
    struct server *server = session->server;
    const struct txn_id made = {
        .made = true,
        .home = session->home,
        .position = server->txn_positions[session->home - 1],
        .node = server->options.node_id,
        .start = server->node_file.lineage.start,
        .sequence = ++server->txn_sequence * SERVER_WORKERS_MAXIMUM + server->worker,
    };
    session->id_size = txn_id_make(session->id, &made);
}

static void ask_begin(struct txn_session *session)
{
    txn_round_begin(&session->round);
    session->epoch = session_term_of(session);
    if (session->made) {
        make_id(session);
    }
    session_ask_open(session);
    txn_round_asked(&session->round);
}

enum { BEGIN_TRIES = 10 };

void session_begin_over(struct txn_session *session)
{
    struct open_answer open;
    if (session_home_status(session) != STATUS_OK) {
        char text[WHY_BYTES];
        (void)snprintf(text, sizeof(text), "-%s", route_refusal(session_home_status(session), false));
        session_end(session, text);
    } else if (!answer_open(session_home_answer(session), &open)) {
        session_end(session, "-ERR the shard of the transaction gave an answer that cannot be understood");
    } else if (slice_is_word(open.word, "OK")) {
        session_note_home(session, &open);
        session->begun = open.position;
        session_go(session, SESSION_ACTIVE);
        struct resp_writer *reply = session_answer_begin(session);
        if (reply != NULL) {
            resp_bulk(reply, session_id_of(session));
            session_answer_end(session);
        } else {
            session_start_abort(session, "its client is gone");
        }
    } else if (slice_is_word(open.word, "EXISTS") && !session->made) {
        session_end(session,
                    "-TXNEXISTS a transaction with this id runs or ran already; TXN.STATUS tells what became of it");
    } else if (slice_is_word(open.word, "FULL")) {
        session_end(session, "-BUSY the shard has no room for one more transaction; it was not begun, try again later");
    } else if (++session->tries < BEGIN_TRIES) {
        session_note_home(session, &open);
        ask_begin(session);
    } else {
        session_end(session,
                    "-CLUSTERDOWN the shard's leader changes all the time; the transaction was not begun, try again");
    }
}

struct begin_options {
    struct slice id;
    bool has_id;
    enum txn_protocol protocol;
    int64_t timeout_ms;
};

/* Why the options of TXN.BEGIN are none; NULL: they are. */
static const char *take_options(const struct command *command, struct begin_options *options)
{
    for (uint32_t i = 1; i < command->argc; i += 2) {
        struct slice word = command->argv[i];
        if (i + 1 == command->argc) {
            return "-ERR syntax error";
        }
        struct slice value = command->argv[i + 1];
        struct txn_id parsed;
        if (slice_is_word(word, "ID")) {
            if (!txn_id_parse(value, &parsed) || parsed.made) {
                return "-ERR an id of a client is 1 to 128 bytes that do not begin with ~";
            }
            options->id = value;
            options->has_id = true;
        } else if (slice_is_word(word, "PROTOCOL")) {
            bool three = slice_is_word(value, "3PC");
            if (!three && !slice_is_word(value, "2PC")) {
                return "-ERR the protocol is 2PC or 3PC";
            }
            options->protocol = three ? TXN_3PC : TXN_2PC;
        } else if (slice_is_word(word, "TIMEOUT")) {
            if (!number_parse_int64(value, &options->timeout_ms) || options->timeout_ms < 1 ||
                options->timeout_ms > TXN_TIMEOUT_MS) {
                return "-ERR the timeout is 1 to 86400000 ms";
            }
        } else {
            return "-ERR syntax error";
        }
    }
    return NULL;
}

void session_begin(struct connection *connection, const struct command *command)
{
    struct server *server = connection->server;
    struct begin_options options = {.protocol = server->config.txn_protocol == 1 ? TXN_3PC : TXN_2PC,
                                    .timeout_ms = SESSION_TIMEOUT_MS};
    const char *problem = take_options(command, &options);
    if (problem == NULL && connection->session != NULL) {
        problem = "-ERR this connection has a transaction open; TXN.COMMIT or TXN.ROLLBACK it first";
    }
    if (problem == NULL && (connection->in_multi || connection->watches.count > 0)) {
        problem = "-ERR TXN.BEGIN does not go together with MULTI and WATCH; DISCARD and UNWATCH first";
    }
    if (problem != NULL) {
        connection->txn_failed = connection->session == NULL; /* what was sent behind it was to be a part of it */
        session_answer_now(connection, problem);
        return;
    }
    struct txn_session *session = session_create(connection);
    connection->session = session;
    connection->txn_failed = false;
    session->protocol = options.protocol;
    session->timeout_ms = options.timeout_ms;
    session->made = !options.has_id;
    uint64_t random = 0;
    env_random(server->env, (uint8_t *)&random, sizeof(random));
    session->home =
        options.has_id ? slot_shard(key_slot(options.id), server->shards) : (uint32_t)(random % server->shards) + 1;
    if (options.has_id) {
        memcpy(session->id, options.id.data, options.id.size);
        session->id_size = options.id.size;
    }
    session_wait_for(session, command);
    ask_begin(session);
}

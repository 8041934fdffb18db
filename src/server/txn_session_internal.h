/* What the files of txn_session*.c share. */
#pragma once

#include "base/assert.h"
#include "machine/txn/txn.h"
#include "machine/txn/whole.h"
#include "server/server_state.h"
#include "server/txn_answer.h"
#include "server/txn_plan.h"
#include "server/txn_round.h"
#include "server/txn_say.h"
#include "server/txn_session.h"
#include "server/txn_ties.h"

enum session_state {
    SESSION_BEGIN,
    SESSION_ACTIVE,
    SESSION_READ,
    SESSION_JOIN,
    SESSION_TIE,
    SESSION_PREPARE,
    SESSION_PREPARED,
    SESSION_LOOK,
    SESSION_ASK,
    SESSION_MOVE,
    SESSION_DECIDE,
    SESSION_BACK,
    SESSION_ABORT,
    SESSION_ENDED,
    SESSION_STATES,
};

enum { WHY_BYTES = 384 };

struct session_look {
    bool told;
    struct whole_numbers numbers;
};

struct txn_session {
    struct txn_round round; /* first; a question for each shard, and the last one for home */
    struct list node;       /* of server.sessions */
    struct server *server;
    struct connection *connection; /* NULL: nobody waits */
    enum session_state state;
    bool errand;   /* for a transaction of another connection */
    bool commit;   /* what is prepared is committed at once */
    bool last;     /* … and home's vote is the decision */
    bool waiting;  /* a slot waits for a reply */
    bool unsure;   /* COMMIT may have been decided */
    bool refused;  /* nobody can commit it: home has not opened it, or a vote was no */
    bool given_up; /* its client was told that it is not committed */
    bool moved;    /* BACK: pre-abort was said */
    uint64_t slot;
    const struct command_spec *spec;
    struct slow_words words; /* of the command that waits for its reply */
    int64_t asked_ns;
    char id[TXN_ID_BYTES];
    size_t id_size;
    bool made; /* the id is ours */
    uint32_t home;
    uint64_t epoch;
    uint64_t begun; /* where home noted TXN.BEGIN */
    enum txn_protocol protocol;
    int64_t timeout_ms;
    uint32_t tries;
    struct txn_plan plan;        /* of values: what was read and written; its parts when it is prepared */
    uint64_t *votes;             /* of each part */
    struct buffer command;       /* encoded: the one that waits for what it reads */
    struct txn_plan look;        /* … when that looks at all keys; else it has no parts */
    struct session_look *looked; /* by shard − 1: the first look at all its keys; NULL: there was none anywhere */
    struct txn_tie tie;
    uint8_t label[TXN_LABEL_BYTES]; /* of the branch that joins */
    uint8_t label_size;
    char why[WHY_BYTES];
    struct say_arguments arguments; /* scratch */
};

void session_go(struct txn_session *session, enum session_state to);
struct txn_session *session_create(struct connection *connection);
void session_free(struct txn_session *session);
/* The connection has no transaction any more; `text` is the last reply: an error behind '-', else a status. */
void session_end(struct txn_session *session, const char *text);

/* The same, but the session goes on by itself. */
void session_leave_with(struct txn_session *session, const char *text);

/* A step has failed: its client hears why, and what it sends behind that is refused until it says that it knows. */
void session_fail(struct txn_session *session, const char *text);

/* A reply to a connection that waits for none. */
void session_answer_now(struct connection *connection, const char *text);
/* From now on the client waits for a reply. */
void session_wait_for(struct txn_session *session, const struct command *command);
/* That reply, as a text, … */
void session_answer(struct txn_session *session, const char *text);
/* … or written by the caller; NULL, and no end, when nobody waits. */
struct resp_writer *session_answer_begin(struct txn_session *session);
void session_answer_end(struct txn_session *session);

static inline struct slice session_id_of(const struct txn_session *session)
{
    return slice_of(session->id, session->id_size);
}
struct say_attempt session_attempt(const struct txn_session *session);
void session_ask_home(struct txn_session *session, const struct command *command);
/* With the participants, or with none: the id is taken. */
void session_ask_open(struct txn_session *session);
static inline struct slice session_home_answer(const struct txn_session *session)
{
    return txn_round_answer(&session->round, session->server->shards);
}
static inline enum status session_home_status(const struct txn_session *session)
{
    return session->round.questions[session->server->shards].status;
}
/* Home told its position and its term. */
void session_note_home(struct txn_session *session, const struct open_answer *open);
uint64_t session_term_of(const struct txn_session *session);

/* txn_session_begin.c */
void session_begin(struct connection *connection, const struct command *command);
void session_begin_over(struct txn_session *session);

/* txn_session_run.c */
void session_read_over(struct txn_session *session);

/* txn_session_join.c: TXN.JOIN. */
void session_join(struct connection *connection, const struct command *command);
void session_join_over(struct txn_session *session);

/* txn_session_look.c: what looks at all keys. */
void session_look_at_all(struct txn_session *session, const struct command *command);
/* A round of it is under way. */
static inline bool session_looks(const struct txn_session *session) { return session->look.part_count != 0; }
void session_looked_over(struct txn_session *session);
bool session_has_looked(const struct txn_session *session, uint32_t shard);
/* What was seen must still be so: before the parts are found. */
void session_add_seen(struct txn_session *session);

/* txn_session_prepare.c */
void session_prepare(struct txn_session *session);
/* Home has, or a shard, while the votes are asked for. */
void session_open_answered(struct txn_session *session);
void session_vote_answered(struct txn_session *session, uint32_t shard);
void session_prepare_over(struct txn_session *session);
void session_note_no(struct txn_session *session, struct slice answer);

/* txn_session_end.c: the ends of rounds, and TXN.COMMIT, TXN.ROLLBACK. */
void session_look_over(struct txn_session *session);
void session_ask_over(struct txn_session *session);
void session_move_over(struct txn_session *session);
void session_decide_over(struct txn_session *session);
void session_abort_over(struct txn_session *session);

/* As long as home has not answered: somebody who knows the id may have committed it (of 3PC that is the quorum's). */
bool session_may_be_committed(const struct txn_session *session);

/* txn_session_last.c */
/* All but home have voted yes, in this round. */
void session_say_last(struct txn_session *session);
void session_last_over(struct txn_session *session);
/* Nobody will say LAST: a round that ends the parts that home would not tell; those that this round has asked and that
 * may be prepared, or `all`. */
void session_drop_parts(struct txn_session *session, bool all);

/* txn_session_tie.c */
#define SESSION_TIE_OVER "a session that one of its keys ends with has ended"
/* The sessions of its keys first, then PREPARE. */
void session_start_prepare(struct txn_session *session);
void session_tie_over(struct txn_session *session);

/* txn_session_back.c */
void session_start_back(struct txn_session *session, const char *reason);
void session_back_over(struct txn_session *session);
/* What the participants have told in this round decides the transaction: nobody can do otherwise any more. */
struct session_tally {
    bool commit, abort;
};
struct session_tally session_tally(const struct txn_session *session);
/* A round to all participants, not begun to be waited for. */
void session_say_move(struct txn_session *session, bool commit);
void session_say_ask(struct txn_session *session);

void session_start_decide(struct txn_session *session);
void session_start_abort(struct txn_session *session, const char *reason);
void session_start_look(struct txn_session *session);

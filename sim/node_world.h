/* The inside of a run of nodes; for node_*.c only. */
#pragma once

#include "base/buffer.h"
#include "check/history.h"
#include "cluster/members.h"
#include "env/timer_heap.h"
#include "node_run.h"
#include "server/server.h"
#include "sim_net.h"
#include "wire/resp_reply.h"

#define MS INT64_C(1000000)

enum {
    NODE_PORT = 6379,
    NODE_PEER_PORT = 16379,
    NODE_CLIENT_MACHINE = 16, /* the first client's; the others' follow */
    NODE_KEY_BYTES = 48,
    NODE_VALUE_BYTES = 40000, /* more than half a segment of the log */
    NODE_PENDING = 40,        /* replies that a client waits for */
    NODE_ELEMENTS = 16,       /* of an array that is a reply */
    NODE_STEPS = 16,          /* of a transaction, and accounts of the bank */
    NODE_TXN_ID_BYTES = 128,
};

struct locks;
struct node_feeds;
struct node_holders;
struct node_levels;
struct node_services;
struct node_world;

/* A machine for a server. */
struct node {
    struct node_world *world;
    int number;  /* of the machine; the server's id is one more */
    int workers; /* of its process */
    struct env *envs[SIM_NODE_WORKERS];
    struct server *server; /* NULL while it is down */
    bool leaving;          /* it was asked to stop, and has not yet */
    bool stopped;          /* it says so itself; to be closed */
    enum status stop_status;
    bool crashed; /* by a crash point; to be closed */
    struct env_timer restart;
    bool wiped;    /* its disk was replaced by an empty one */
    bool rotten;   /* a byte of it changed */
    bool left_out; /* it stays down */
    uint64_t applied[SIM_GROUPS + 1], terms[SIM_GROUPS + 1];
    bool leading[SIM_GROUPS + 1];
    bool opened[SIM_GROUPS + 1]; /* seen to be, since it started */
};

/* A shard as the world has seen it. */
struct node_shard {
    char tag[8];           /* keys "{tag}…" are its own */
    struct buffer leaders; /* uint8_t by term: node + 1; 0: none */
    struct buffer digests; /* uint64_t by applied index; 0: not seen */
    uint32_t generation;   /* of its keys: a text that has grown long is left alone */
    uint32_t appended;     /* to the texts of this generation */
    int64_t token_count; /* the token of this number: its largest value that anybody was told, and where it was then */
    int token_place;
    struct node_many_seen {
        int64_t token; /* the newest that anybody was told */
        /* as a leader had it last */
        uint64_t applied, grants, number;
        struct node_many_request *request; /* NULL: free, or another's */
        uint32_t serial;
        bool reserved;
    } many, of_sessions; /* the locks M, and Z, which sessions take */
    int64_t tokens[3];   /* the newest that anybody was told: of the lock, the semaphore, the lock of circles */
    struct node_election {
        int64_t newest, resigned; /* the newest token that anybody was told, or has resigned by */
    } election;
};

/* A reply, once it is whole. */
struct node_reply {
    enum resp_type type;
    int64_t integer;
    struct slice text;
    size_t count; /* of an array */
    struct node_element {
        enum resp_type type;
        int64_t integer;
        size_t offset, size; /* of its text, in the client's `text` */
        struct slice text;
    } elements[NODE_ELEMENTS];
    size_t offset, size;
};

enum node_ask {
    NODE_ASK_PREPARE,     /* READONLY, MULTI, …: nothing by itself */
    NODE_ASK_WATCH,       /* without it there is no second half */
    NODE_ASK_OPERATION,   /* one of the history */
    NODE_ASK_LOOK,        /* the same; what it sees decides the next request */
    NODE_ASK_VERSION,     /* COHORT.GETV: the same */
    NODE_ASK_SET_VERSION, /* COHORT.SETV */
    NODE_ASK_EXEC,        /* of as many operations of the history */
    NODE_ASK_EXEC_WATCHED,
    NODE_ASK_CROSSING, /* an EXEC over two shards */
    NODE_ASK_ALL,      /* a number that all shards have a part in */
    NODE_ASK_WEAK,
    NODE_ASK_SET_EXPIRING,
    NODE_ASK_READ_EXPIRING,
    NODE_ASK_SCRIPTS, /* in the end */
    NODE_ASK_LOCK_ACQUIRE,
    NODE_ASK_LOCK_RENEW,
    NODE_ASK_LOCK_RELEASE,
    NODE_ASK_LOCK_MANY,
    NODE_ASK_LOCK_MANY_RELEASE,
    NODE_ASK_SESSION_OPEN,
    NODE_ASK_SESSION_KEEPALIVE,
    NODE_ASK_SESSION_CLOSE,
    NODE_ASK_SESSION_LOCK,
    NODE_ASK_SESSION_MANY,
    NODE_ASK_SESSION_MANY_RELEASE,
    NODE_ASK_SESSION_CLOSE_OTHER, /* another client's */
    NODE_ASK_SESSION_SET,
    NODE_ASK_SESSION_GET,
    NODE_ASK_SESSION_RENAME,
    NODE_ASK_SESSION_EXEC,
    NODE_ASK_SESSION_KEYS,
    NODE_ASK_SESSION_FINAL,
    NODE_ASK_ELECT_CAMPAIGN,
    NODE_ASK_ELECT_LEADER,
    NODE_ASK_ELECT_RESIGN,
    NODE_ASK_ELECT_TAKE, /* as an administrator, from another one */
    NODE_ASK_BARRIER_ENTER,
    NODE_ASK_LATCH_SET,
    NODE_ASK_LATCH_DOWN,
    NODE_ASK_LATCH_WAIT,
    NODE_ASK_LATCH_FINAL,
    NODE_ASK_ROLL_BACK_OTHER, /* another client's transaction, by its id */
    NODE_ASK_TXN_EXEC,        /* this and what follows: of client->txn; also MGET */
    NODE_ASK_TXN_DONE,        /* one command, MSET or FLUSHALL, whose OK is that of all steps */
    NODE_ASK_TXN_BEGIN,
    NODE_ASK_TXN_STEP,
    NODE_ASK_TXN_PREPARE,
    NODE_ASK_TXN_COMMIT,
    NODE_ASK_TXN_ROLLBACK,
    NODE_ASK_TXN_STATUS,
};

/* What clients do with names of scripts in the end, one after the other. */
enum node_scripts_stage {
    NODE_SCRIPTS_NOTHING,
    NODE_SCRIPTS_TELL,    /* each client tells its node a text */
    NODE_SCRIPTS_KNOWN,   /* all must be known at each node */
    NODE_SCRIPTS_FLUSH,   /* one client */
    NODE_SCRIPTS_UNKNOWN, /* at each node */
    NODE_SCRIPTS_STAGES,
};

/* A reply to come. */
struct node_pending {
    enum node_ask ask;
    uint32_t operations[2]; /* in the history */
    uint32_t operation_count;
    uint32_t subject; /* weak read: in world->weak_reads; expiring: in world->expiring */
    int64_t asked_ns;
};

enum node_txn_kind {
    NODE_TXN_NOTHING,
    NODE_TXN_APPEND,   /* one word to both twins, after a look at both */
    NODE_TXN_SET,      /* both twins, to one value */
    NODE_TXN_READ,     /* both twins */
    NODE_TXN_CROSS,    /* looks at one key, appends to another; others do the opposite: no twins */
    NODE_TXN_TRANSFER, /* from one account of the bank to another */
    NODE_TXN_SUM,      /* of all accounts */
    NODE_TXN_FLUSH,    /* FLUSHALL alone, or with a count of what is left */
    NODE_TXN_PAIRS,    /* KEYS of all twins: of each either both are there, or none */
    NODE_TXN_CLAIM,    /* a key that is made when a look finds none in any shard (node_txn_move.c) */
    NODE_TXN_MOVE,     /* a token from key to key, among looks at all keys (node_txn_move.c) */
};

enum node_txn_stage {
    NODE_TXN_SAYING,   /* the client waits for a reply, or says its steps */
    NODE_TXN_PREPARED, /* any connection may commit it, by its id */
    NODE_TXN_AFTER,    /* its id tells what became of it, on any connection */
};

/* A transaction of several keys, in whichever shards. Twins are two keys of different shards that are only written
 * together, so they are equal in every look; the accounts of the bank begin empty, so their sum is 0 at every look. */
struct node_txn {
    enum node_txn_kind kind;
    enum node_txn_stage stage;
    char id[NODE_TXN_ID_BYTES]; /* of TXN.BEGIN; empty: not known */
    int step, steps;
    int flush; /* which step is a FLUSHALL, from 1; 0: none */
    char keys[NODE_STEPS][NODE_KEY_BYTES];
    char value[16];
    int64_t amount;
    struct node_result { /* of each step */
        enum resp_type type;
        int64_t integer;
        size_t offset, size; /* in texts */
    } results[NODE_STEPS];
    struct buffer texts;
    bool registers; /* the twins are registers, else texts */
    bool noted;     /* in the history, from `first` on */
    bool decided;   /* COMMIT may have been said */
    bool watched;   /* the first key was as seen_* before */
    bool named;     /* the client chose the id */
    bool repeated;  /* … and it has begun before */
    bool of_values; /* a command among them makes its node run them: none writes before all is read */
    bool piped;     /* its first step was said behind TXN.BEGIN at once */
    bool lasting;   /* begun for longer than a run waits: never left prepared, so nothing of it may stay locked */
    uint32_t first;
    uint32_t cleared, cleared_count; /* in the history: what the FLUSHALL does to single keys */
    int token, place;                /* MOVE: which, and where to */
    int skipped;                     /* so many of its first steps */
    int64_t token_count;             /* as somebody was told before */
    unsigned known, found[2];        /* tokens, by bits: that were made before; that KEYS has found in each place.
                                      * CLAIM: shards in which it has found one */
    int tries;
};

/* What a client has of locks (node_locks.c): one at a time. */
struct node_lock {
    bool pending; /* a request about it is under way */
    bool holds;   /* was granted it, as far as it knows */
    int shard, mode, permits;
    uint32_t serial; /* of the owner: another one for each lock that is taken, … */
    bool further;    /* … but this one, which is asked for while the owner may hold another */
    bool of_many;    /* it is the one that is one of several (node_many.c) */
    bool in_circle;  /* it is one of two that are taken in either order (node_circles.c) */
    bool unsure;     /* this owner has asked, and was not answered: a grant may be as old as that */
    int64_t token, floor;
    int64_t ttl_ms, wait_ms, asked_ns;
    int64_t told_ttl_ms; /* that the lease had left, and no renewal since */
    int64_t until_ns;    /* it may believe to hold it so long; 0: it may not */
    int64_t until_before_ns;
};

enum { NODE_NOWHERE = -1 };

enum { NODE_MANY = 3, NODE_MANY_REQUESTS = 16 };

/* Several locks of a session (node_bundles.c). */
struct node_bundle {
    int count;
    int shards[NODE_MANY];
    uint32_t serial;
    bool asks;  /* it is under way, … */
    bool lived; /* … and its session was believed to live when it was asked */
    bool holds;
    bool again; /* it was not answered: the same owner asks anew, elsewhere */
    int64_t tokens[NODE_MANY], floors[NODE_MANY];
};

/* What a client has of sessions (node_sessions.c): one at a time. */
struct node_session {
    bool pending; /* a request about it is under way */
    uint32_t serial;
    char id[48]; /* empty: none */
    int64_t ttl_ms, asked_ns;
    int64_t until_ns; /* it may believe that it lives so long; 0: it may not */
    int asked_shard;
    int lock_shard; /* it was granted the lock of this shard; 0: of none */
    int key_shard;  /* it has its key there; 0: it has none; NODE_NOWHERE: somewhere */
    bool doomed;    /* another client closes it, or has */
    struct node_bundle bundle;
};

/* What a client has of several locks (node_many.c). */
struct node_many {
    int pending; /* requests under way */
    bool holds;
    bool again; /* what it has asked for was not answered: the same owner asks anew, elsewhere */
    bool hasty; /* it does not wait for the answer */
    int count;
    int shards[NODE_MANY];
    uint32_t serial;
    int64_t tokens[NODE_MANY], floors[NODE_MANY];
    int64_t ttl_ms, wait_ms, asked_ns;
    int64_t until_ns; /* it may believe to hold them so long; 0: it may not */
    int64_t until_before_ns;
};

/* One of its last LOCK.MACQUIREs, as leaders have it. */
struct node_many_request {
    uint32_t serial;
    int home;
    bool of_session; /* which may end at each shard by itself */
    /* Numbers of its attempts; 0: none. */
    uint64_t held;         /* at home, when that was last seen */
    uint64_t taken, early; /* to be looked at: a part was taken back while that was held, or held while it was not */
};

/* What a client has of elections (node_elections.c): one candidacy at a time. */
struct node_office {
    bool pending; /* a request about it is under way */
    bool holds;   /* was elected, as far as it knows */
    int shard;
    uint32_t serial; /* of the candidate: another one for each candidacy */
    int64_t token, floor, resigned;
    int64_t ttl_ms, wait_ms, asked_ns;
    int64_t since_ns, until_ns; /* it may believe to lead so long; until 0: it may not */
    int64_t until_before_ns;
    bool wanted;          /* an administrator has asked to take it away: nobody counts on this one's belief any more */
    int64_t victim_token; /* of whom this one takes it away, as one */
};

/* A latch that a client has set (node_meets.c), and the downs that anybody has asked for, and was answered. */
struct node_latch {
    uint32_t serial;
    int shard, count, asked, answered;
    bool set; /* it is known to be */
};

/* What a client does at a barrier or latch. */
struct node_meeting {
    bool pending;
    int64_t asked_ns;
    size_t entry;    /* in world->entries */
    int whose;       /* latch */
    uint32_t serial; /* of it, and … */
    int answered;    /* … its downs that were answered before */
};

struct node_client {
    struct node_world *world;
    int number;
    struct env *env;
    struct env_timer timer; /* of env: the next request, or that the replies are late */
    struct env_stream *stream;
    int node;  /* that it is connected to */
    bool weak; /* on this connection */
    struct resp_reader reader;
    struct buffer in, out, text;
    struct node_reply reply; /* so far */
    size_t element;          /* of it */
    struct node_pending pending[NODE_PENDING];
    size_t pending_at, pending_count;
    /* What the second half of a transaction or compare-and-set builds upon. */
    enum node_ask next; /* PREPARE: nothing */
    bool watching;      /* a WATCH may have been taken that no EXEC follows */
    int next_shard;
    char next_key[NODE_KEY_BYTES];
    struct buffer seen;
    bool seen_there;
    int64_t seen_version;
    int final_shard; /* in the end: which one is to be asked; 0: not the end */
    int final_node;
    uint32_t final_generation;
    enum node_scripts_stage final_scripts;
    char other_id[NODE_TXN_ID_BYTES];
    struct node_txn txn;
    struct node_lock lock;
    struct node_session session;
    struct node_many many;
    struct node_many_request many_requests[NODE_MANY_REQUESTS];
    uint32_t bundles; /* so many were asked for */
    struct node_many_request bundle_requests[NODE_MANY_REQUESTS];
    struct node_office office;
    struct node_latch latch;
    struct node_meeting meeting;
};

enum { NODE_TALKERS = 4 };

/* Subscribes and publishes (node_messages.c). */
struct node_talker {
    struct node_world *world;
    int number;
    struct env *env;
    struct env_timer timer;
    struct env_stream *stream; /* NULL: not connected */
    struct resp_reader reader;
    struct buffer in, out;
    struct buffer words[3]; /* of the push that is being read */
    int word;
    bool subscribed;
    int epoch, said, scripted; /* connections, and what it has said by this one; by scripts, ever */
    struct node_heard {
        int epoch, last, count;
    } heard[NODE_TALKERS];
    struct buffer scripts; /* heard: uint32_t each */
};

enum {
    NODE_AGENTS = 5,  /* of services */
    NODE_READERS = 3, /* at levels of consistency */
    NODE_MOVER_MACHINE = SIM_NODES - 1,
    NODE_AGENT_MACHINE = NODE_MOVER_MACHINE - NODE_AGENTS,
    NODE_READER_MACHINE = NODE_AGENT_MACHINE - NODE_READERS,
};

/* Says who is to lead (node_moves.c). */
struct node_mover {
    struct node_world *world;
    struct env *env;
    struct env_timer timer;
    struct env_stream *stream; /* NULL: not connected */
    struct buffer in, out;
    int shard, node; /* of the last question; nodes from 0 */
    bool asked;      /* and not answered */
    bool taken;      /* the last answer was OK */
    int64_t asked_ns;
};

struct node_weak_read {
    char key[NODE_KEY_BYTES];
    int64_t ended_ns; /* 0: no reply */
    bool there;
    bool appended;       /* a text that only grows, else any value that was written */
    size_t offset, size; /* in world->weak_texts */
};

struct node_expiring {
    char key[NODE_KEY_BYTES];
    int64_t asked_ns, acknowledged_ns, ttl_ms;
    int64_t gone_ns; /* first seen to be gone; 0: not yet */
    bool acknowledged;
};

struct node_plan {
    int kind;         /* a class of the profile; 0: none runs */
    int shard, first; /* and the node that led it when the plan began */
    int64_t until_ns;
    int64_t cut_at_ns[SIM_MEMBERS], late_ns[SIM_MEMBERS];
    bool acknowledged; /* something that was appended, since it began */
};

struct node_world {
    struct sim *sim;
    struct sim_profile profile;
    struct sim_mutation mutation;
    struct sim_record record;
    struct sim_result *result;
    struct timer_heap events; /* faults, restarts */
    struct node nodes[SIM_MEMBERS];
    struct node_shard shards[SIM_GROUPS + 1]; /* 0 is the meta group */
    struct node_client clients[SIM_CLIENTS];
    struct node_talker talkers[NODE_TALKERS];
    struct node_mover mover;
    struct member founders[SIM_MEMBERS];
    struct history history;
    struct buffer weak_reads, weak_texts; /* of struct node_weak_read */
    struct buffer expiring;               /* of struct node_expiring */
    struct buffer entries;                /* of barriers (node_meets.c) */
    struct buffer txn_ids;                /* that clients chose, and that have begun; NODE_TXN_ID_BYTES each */
    struct buffer txn_outcomes;           /* that anybody was told (node_txn_others.c) */
    uint64_t words;                       /* each value is used once */
    struct env_timer fault, plan_timer;
    struct node_plan plan;
    int faults_left;
    int64_t healed_ns; /* since when nothing is broken any more; 0: something is */
    int hasty_faults;  /* so many follow each other quickly */
    bool healed, clients_stopped;
    struct node_feeds *feeds;       /* NULL: nobody follows */
    struct node_services *services; /* NULL: there are none */
    struct node_holders *holders;   /* NULL: there are none */
    struct node_levels *levels;     /* the same */
    bool lease_reads, mixed_reads;  /* some nodes; not all of these */
    int protocols;                  /* of transactions: 2PC, 3PC, or one at some nodes */
    int64_t command_timeout_ms;
    int64_t snapshot_log_bytes;
    uint32_t turn_steps; /* as store_options.turn_steps */
    int64_t feed_history_bytes, feed_history_ms;
};

/* ---- node_run.c ---- */
/* Nodes and clients that are about to start. */
struct node_world *node_world_create(uint64_t seed, const struct sim_profile *profile,
                                     const struct sim_mutation *mutation, const struct sim_record *record,
                                     struct sim_result *result);
void node_world_destroy(struct node_world *world);
/* Runs until all shards agree, or the run has failed. */
void node_converge(struct node_world *world);

/* ---- node_world.c ---- */
uint64_t node_draw(struct node_world *world, enum sim_draw stream, uint64_t bound);
/* The first failure counts; the run ends. */
__attribute__((format(printf, 2, 3))) void node_fail(struct node_world *world, const char *format, ...);
/* A line in the diagram; node -1: all. */
__attribute__((format(printf, 4, 5))) void node_note(struct node_world *world, int node, enum diagram_mark mark,
                                                     const char *format, ...);
void node_reach(struct node_world *world, enum sim_mark mark, uint64_t times);
void node_world_run_for(struct node_world *world, int64_t duration_ns);
/* What happens between steps of time: ended processes are buried, others start, and the shards are looked at. */
void node_world_turn(struct node_world *world);
void node_start(struct node *node);
/* Ends the process, or what a crash point left of it. */
void node_stop(struct node *node, enum sim_crash how);
/* Asks it to stop, as SIGTERM does. */
void node_shut_down(struct node *node);
void node_restart_after(struct node *node, int64_t delay_ms);
/* It is up, and what it says is heard. */
bool node_alive(const struct node *node);

struct node_sight {
    bool here, leading;
    uint64_t term, applied, last, keys, snapshot;
};
/* Its transactions, and its time; NULL when the node has none that are open. */
const struct txns *node_txns(const struct node *node, int shard, int64_t *ret_time_ms);
/* A shard (from 1) at a node that is alive. */
void node_look(const struct node *node, int shard, struct node_sight *ret_sight);
/* Of its state; 0 when it has none of the shard. */
uint64_t node_digest(const struct node *node, int shard);
/* One that believes to lead; drawn when there are several; NULL. */
struct node *node_leader(struct node_world *world, int shard, enum sim_draw stream);

/* ---- node_asks.c: into client->out and client->pending ---- */
/* A command that does nothing by itself: OK or QUEUED is expected. */
void node_ask_prepare(struct node_client *client, const char *text);
void node_ask_something(struct node_client *client);
/* Reads of everything in one generation of a shard's keys, and some writes: a node that is well serves them all. */
void node_ask_finally(struct node_client *client);

__attribute__((format(printf, 2, 3))) void node_request(struct node_client *client, const char *format, ...);
struct node_pending *node_expect(struct node_client *client, enum node_ask ask);
void node_new_value(struct node_client *client, bool may_be_long, char ret_value[static NODE_VALUE_BYTES]);
/* Key of a kind: r, q registers; a text; c counter; h hash; x, y texts that are appended to together; u, v twins of two
 * shards that are texts, m, n that are registers; s, w texts of two shards; b an account; e expires. */
void node_key_of(const struct node_client *client, int shard, char kind, uint32_t generation,
                 char ret_key[static NODE_KEY_BYTES]);
void node_count_word(struct node_client *client, int shard);

/* ---- node_txn.c: transactions over shards ---- */
/* One that is said at once: MULTI … EXEC, MSET, MGET. */
void node_txn_ask(struct node_client *client, int shard);
/* One of TXN.*, which is said command by command. */
void node_txn_begin(struct node_client *client, int shard);
/* What follows in it; false: there is none. */
bool node_txn_go_on(struct node_client *client);
void node_txn_ask_finally(struct node_client *client, int shard, uint32_t generation);
/* The reply is an answer of one of these, or an error. */
void node_txn_answered(struct node_client *client, const struct node_pending *pending, bool error, bool uncertain);
/* The connection is gone. */
void node_txn_disconnected(struct node_client *client);

/* ---- node_scripts.c ---- */
/* Says a count of 3 by a script; false: it is to be said plainly. */
bool node_scripts_count(struct node_client *client, const char *key);
/* The client's part in this stage, and the reply to it. */
void node_scripts_ask_finally(struct node_client *client);
void node_scripts_answered(struct node_client *client);

/* ---- node_flush.c ---- */
/* A transaction with a FLUSHALL is about to be committed; and is, or never will be. */
void node_flush_note(struct node_client *client);
void node_flush_end(struct node_client *client, bool done);
/* What its looks at all keys have shown, once it is committed. */
void node_flush_check(struct node_client *client);

/* ---- node_txn_ids.c ---- */
/* One of its own; sometimes one that has begun before. */
void node_txn_choose_id(struct node_client *client, char ret_id[static NODE_TXN_ID_BYTES]);
void node_txn_has_begun(struct node_client *client);
/* -TXNEXISTS is for ids that have begun. */
void node_txn_check_refusal(struct node_client *client, enum node_ask ask);

/* ---- node_txn_others.c ---- */
/* False: none runs. */
bool node_txn_roll_back_other(struct node_client *client);
/* False: it is an error as any. */
bool node_txn_other_answered(struct node_client *client);
/* All who are told the outcome of a transaction are told the same. */
void node_txn_note_outcome(struct node_client *client, const char *id, bool committed);

/* ---- node_txn_look.c ---- */
/* What shows in the records of the shards that the node leads. */
void node_txn_look(struct node *node, int shard, uint64_t term);
/* Why the shard is not done with all transactions; NULL: it is. */
const char *node_txn_left(struct node_world *world, int shard);

/* ---- node_locks.c ---- */
/* False: a request about a lock is under way. */
bool node_lock_ask(struct node_client *client, int shard);
void node_lock_ask_finally(struct node_client *client, int shard);
static inline bool node_lock_takes(enum node_ask ask)
{
    return ask >= NODE_ASK_LOCK_ACQUIRE && ask <= NODE_ASK_LOCK_MANY_RELEASE;
}
void node_lock_answered(struct node_client *client, enum node_ask ask);
/* False: it is an error as any. */
bool node_lock_refused(struct node_client *client, enum node_ask ask);
void node_lock_unanswered(struct node_client *client, enum node_ask ask);
void node_lock_look(struct node *node, int shard);
const char *node_lock_key(struct node_client *client, char text[static NODE_KEY_BYTES]);
const char *node_lock_owner(const struct node_client *client, char text[static NODE_KEY_BYTES]);

/* ---- node_many.c ---- */
bool node_many_takes(const struct node_client *client);
/* False: a request about it is under way. */
bool node_many_ask(struct node_client *client);
/* The client waits no longer, and is about to leave its node. */
void node_many_leave(struct node_client *client);
void node_many_answered(struct node_client *client, enum node_ask ask);
bool node_many_refused(struct node_client *client, enum node_ask ask);
void node_many_unanswered(struct node_client *client, enum node_ask ask);
/* At a leader: those of sessions, too. */
void node_many_look(struct node *node, int shard, const struct locks *locks, uint64_t applied);

/* ---- node_circles.c ---- */
/* The client is told that its wait is one of a circle. */
void node_circle_told(struct node_client *client);

/* ---- node_sessions.c ---- */
/* False: a request about a session is under way. */
bool node_session_ask(struct node_client *client, int shard);
void node_session_ask_finally(struct node_client *client, int shard);
static inline bool node_session_takes(enum node_ask ask)
{
    return ask >= NODE_ASK_SESSION_OPEN && ask <= NODE_ASK_SESSION_FINAL;
}
void node_session_answered(struct node_client *client, enum node_ask ask);
/* False: it is an error as any. */
bool node_session_refused(struct node_client *client, enum node_ask ask);
void node_session_unanswered(struct node_client *client, enum node_ask ask);
/* For node_bundles.c: a request about the session; it lives for so long from when that was said; the lock of this
 * shard is granted to it, which nobody else may believe to hold. */
void node_session_expect(struct node_client *client, enum node_ask ask);
void node_session_told(struct node_client *client, int64_t left_ms);
void node_session_note_token(struct node_world *world, int shard, int64_t token);
void node_session_check_others(struct node_client *client, int shard);

/* ---- node_bundles.c ---- */
/* False: nothing is asked. */
bool node_bundle_ask(struct node_client *client);
void node_bundle_ask_finally(struct node_client *client);
void node_bundle_answered(struct node_client *client, enum node_ask ask);
/* Of a LOCK.MACQUIRE. False: it is an error as any. */
bool node_bundle_refused(struct node_client *client);
void node_bundle_unanswered(struct node_client *client, enum node_ask ask);

/* ---- node_elections.c ---- */
/* False: a request about an office is under way. */
bool node_office_ask(struct node_client *client, int shard);
void node_office_ask_finally(struct node_client *client, int shard);
static inline bool node_office_takes(enum node_ask ask)
{
    return ask >= NODE_ASK_ELECT_CAMPAIGN && ask <= NODE_ASK_ELECT_TAKE;
}
void node_office_answered(struct node_client *client, enum node_ask ask);
void node_office_unanswered(struct node_client *client);

/* ---- node_meets.c ---- */
/* False: a request about a barrier or latch is under way. */
bool node_meet_ask(struct node_client *client, int shard);
void node_meet_ask_finally(struct node_client *client, int shard);
static inline bool node_meet_takes(enum node_ask ask)
{
    return ask >= NODE_ASK_BARRIER_ENTER && ask <= NODE_ASK_LATCH_FINAL;
}
void node_meet_answered(struct node_client *client, const struct node_pending *pending);
void node_meet_unanswered(struct node_client *client, enum node_ask ask);
void node_meet_look(struct node *node, int shard);
/* In the end: of all who entered barriers. */
void node_meets_check(struct node_world *world);

/* ---- node_client.c: connections ---- */
void node_client_start(struct node_client *client);
void node_client_deinit(struct node_client *client);
/* Every shard is asked once more by this client, through this node; done when final_shard is past the last. */
void node_client_finish(struct node_client *client, int node);
/* Behind that: its part in this stage; done when final_scripts is NOTHING. */
void node_client_finish_scripts(struct node_client *client, enum node_scripts_stage stage);

/* ---- node_messages.c ---- */
void node_talkers_start(struct node_world *world);
/* When nothing is broken any more: everybody is heard by everybody. */
void node_talkers_finish(struct node_world *world);
void node_talkers_deinit(struct node_world *world);

/* ---- node_levels.c ---- */
/* NULL when the profile wants none; both others take that. */
struct node_levels *node_levels_create(struct node_world *world);
/* When nothing is broken any more: what they have seen is shown by every node. */
void node_levels_finish(struct node_levels *levels);
void node_levels_destroy(struct node_levels *levels);

/* ---- node_moves.c ---- */
void node_moves_start(struct node_world *world);
/* When nothing is broken any more: who is told to lead a shard does. */
void node_moves_finish(struct node_world *world);
void node_moves_deinit(struct node_world *world);

/* ---- node_replies.c: what replies mean ---- */
void node_unexpected(struct node_client *client, const char *what);
void node_client_answered(struct node_client *client, const struct node_pending *pending);
/* No reply will come. */
void node_client_unanswered(struct node_client *client, const struct node_pending *pending);
struct node_weak_read *node_weak_read(struct node_world *world, uint32_t number);
struct node_expiring *node_expiring(struct node_world *world, uint32_t number);
/* The account, in the end. */
void node_check_history(struct node_world *world);

/* ---- node_faults.c ---- */
void node_fault_fire(struct env_timer *timer);
void node_faults_heal(struct node_world *world);

/* ---- node_plans.c ---- */
void node_plan_fire(struct env_timer *timer);
/* After each step of the world. */
void node_plan_step(struct node_world *world);
/* So that no read waits behind a write that must wait, who is with an old leader only reads, and the others do nothing
 * until there is a new one. */
enum node_plan_wish { NODE_PLAN_ANYTHING, NODE_PLAN_READS, NODE_PLAN_NOTHING };
enum node_plan_wish node_plan_wish(struct node_client *client);
enum node_plan_wish node_plan_wish_at(const struct node_world *world, int node, bool early);

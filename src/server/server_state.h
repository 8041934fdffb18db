/* What the files of this room share. */
#pragma once

#include "base/list.h"
#include "cluster/cluster.h"
#include "cluster/workers.h"
#include "machine/keys/table.h"
#include "server/connection.h"
#include "server/crew.h"
#include "server/node_file.h"
#include "server/server.h"
#include "server/slowlog.h"
#include "server/waiter.h"

struct lock_look;
struct server_part;

enum server_phase { SERVER_SERVING, SERVER_DRAINING, SERVER_STOPPED };

#define SERVER_REDIS_VERSION "7.0.15" /* whose replies we give */

enum {
    SERVER_PEER_PORT_DISTANCE = 10000,
    SERVER_READ_BYTES = 256 << 10, /* read from one client in one turn, at most, … */
    SERVER_READ_LEAST_BYTES = 16 << 10,
    SERVER_BYTES_PER_COMMAND = 256, /* … and for each command of its share */
    SERVER_SPARE_BUFFERS = 64,      /* output buffers kept for the next client that needs one */
    SERVER_SPARE_BUFFER_BYTES = 64 << 10,
    SERVER_CRON_MS = 100,
    SERVER_COMMANDS_PER_TURN = 16384, /* of all clients, about: between two turns nobody hears this node's heartbeat */
    SERVER_SHARE_MAXIMUM = 8192,      /* of one client */
    SERVER_SHARE_MINIMUM = 16,
    SERVER_REFUSALS_PER_SECOND = 8000, /* with -BUSY, of all clients, about: a few hundredths of a core */
    SERVER_REFUSALS_AT_ONCE = SERVER_REFUSALS_PER_SECOND / 10,
};

struct command_figures {
    uint64_t calls, rejected, failed;
    uint64_t duration_ns;
};

struct error_figures {
    char code[32];
    uint64_t count;
};

enum { SERVER_ERROR_KINDS = 64 };

struct server_figures {
    uint64_t connections_received, connections_rejected;
    uint64_t commands;
    uint64_t bytes_read, bytes_written;
    uint64_t errors;
    uint64_t clients_cut_output, clients_cut_idle, clients_cut_memory;
    uint64_t uncertain;                 /* commands answered -UNCERTAIN */
    uint64_t reads[CONSISTENCY_LEVELS]; /* in one shard, by level; … */
    uint64_t reads_waited, reads_stale; /* … those that had to wait for a replica, or for who has one; and in vain */
    uint64_t feed_pushes, feed_changes;
    uint64_t feeds_ended;    /* by the server: what they wanted was forgotten */
    uint64_t service_pushes; /* to watches: changes and lists */
    uint64_t messages_published, messages_delivered;
    uint64_t lock_deadlocks; /* waits of clients that ended since they were one of a circle */
    uint64_t turns;
    struct error_figures error_kinds[SERVER_ERROR_KINDS];
    size_t error_kind_count;
    struct command_figures by_command[COMMAND_MAXIMUM];
    /* instantaneous rates: sampled by cron */
    uint64_t sampled_commands;
    int64_t sampled_ns;
    uint64_t commands_per_second;
};

struct server {
    struct env *env;
    struct server_options options;
    struct config config;
    struct server_events events;
    void *owner;
    enum server_phase phase;
    enum status stop_status;
    char *directory, *worker_directory;
    char run_id[41];
    char incarnation[ID128_DIGITS + 1];
    struct node_file node_file; /* whose the data folder is, and which start this is */

    struct env_file *folder_lock;
    struct env_listener *listener;
    int port;
    struct cluster *cluster;
    struct feeds *feeds;                     /* NULL before the first COHORT.FEED */
    struct service_watches *service_watches; /* the same of SERVICE.WATCH */
    struct channels channels;
    struct buffer encoded[2], event_name; /* scratch of pubsub_deliver.c: a message, for each protocol */
    const struct connection *publisher;   /* in the middle of its reply; NULL: nobody */
    const struct connection *executing;   /* the same, of an EXEC: messages for it come behind its reply, … */
    struct buffer behind_exec;            /* … and wait here */
    uint32_t shards;                      /* of the cluster */

    struct list connections; /* all open ones, oldest first */
    struct list dirty;       /* have output for this turn */
    struct list resume;      /* have input to look at without a new readiness */
    struct list slowed;      /* met -BUSY: the longest waiting first */
    struct script_room script_room;
    bool took_long;                          /* the script of the slot that is being finished */
    struct list closed;                      /* gone, but the shard still owes them replies */
    struct list txns;                        /* transactions over several shards that are under way (txn_client.h) */
    uint64_t txn_attempts;                   /* of them, behind their first: with locks that they wait for */
    uint64_t txn_attempts_most;              /* that one needed */
    struct list sessions;                    /* of TXN.* (txn_session.h) */
    struct session_clients *session_clients; /* session_state.h */
    struct waiters waiters;                  /* requests that may take their time */
    struct table lock_clients;               /* lock_client_item: connections that hear of locks that they lose */
    struct lock_look *lock_look;             /* for circles, while a client waits for long; NULL: none is under way */
    struct command_arguments lock_arguments, session_arguments;
    uint64_t txn_sequence;   /* of their ids */
    uint64_t *txn_positions; /* of each shard, as it told them last: for ids */
    size_t connection_count;
    uint64_t next_client_id;
    const struct command *as_sent; /* while a script is routed: EVALSHA that became EVAL; else NULL */
    size_t monitors;
    size_t client_bytes; /* held in all clients' buffers */

    uint32_t takers, taken; /* clients that gave commands in this turn, and how many commands */
    uint32_t refusals;      /* so many of the slowed may go on now */
    int64_t refusals_ns;    /* when that was reckoned */
    uint32_t share_of_turn; /* of one client in this turn, after how many they were in the last one */
    uint8_t *read_buffer;   /* SERVER_READ_BYTES, shared: a request that is whole in it is never copied */
    struct buffer spare_buffers[SERVER_SPARE_BUFFERS];
    size_t spare_count;
    struct command_arguments arguments;        /* scratch */
    struct command_arguments script_arguments; /* of an EVALSHA, with its text */
    struct buffer scratch;

    int64_t now_ns;  /* at the start of this turn's first event */
    int64_t mark_ns; /* end of the last measured command */
    bool clock_fresh;
    bool memory_fresh;     /* memory_bytes is of this turn */
    uint64_t memory_bytes; /* of the data here, with what waits to become data */
    int64_t pause_until_ns;
    bool pause_all; /* CLIENT PAUSE ALL, else WRITE */
    int64_t shutdown_deadline_ns;
    int64_t began_ns, began_wall_ms;
    int64_t told_accept_ns; /* when the log was told of the last such failure; 0: never */

    struct env_timer cron;
    struct slowlog slowlog;
    struct server_figures figures;
    bool ready_due; /* `ready` is to be told */

    /* texts that EVALSHA finds (script_peers.h) */
    struct script_texts *script_texts;
    struct list script_waits; /* struct script_wait */
    uint64_t last_script_wait;
    /* at the first worker */
    struct list script_asks; /* struct script_ask */
    size_t script_ask_count;
    uint64_t last_script_ask;
    int64_t scripts_met_ns; /* another node was met for the first time; 0: never */

    /* the workers of the node (crew.h) */
    uint32_t worker, worker_count;
    struct workers *workers;         /* NULL: there is one */
    struct crew_share share, shared; /* of this one, now and as the others were told */
    struct crew_share *others;       /* by worker; zero of this one */
    uint64_t monitors_elsewhere;
    struct list rounds; /* struct round */
    uint64_t last_round;
    bool quiet, told_quiet; /* it drains, and nothing waits */
    uint32_t crew_stopped;
    /* at the first */
    struct server **crew; /* the others */
    struct workers **crew_workers;
    bool *crew_quiet;
    uint32_t crew_opened, next_worker;
    uint64_t clients_given;
    struct server_part *parts; /* the others' figures, as they came last; NULL until asked for */
};

/* How a connection hears of its requests at the shards. */
extern const struct requester_events connection_requester;

/* At another worker than the first: made there, opened in its own thread. */
struct server *server_create_worker(struct server *first, uint32_t worker);
MUST_USE enum status server_open_worker(struct server *server, char ret_message[static SERVER_MESSAGE_BYTES]);
/* From now on it has turns. */
void server_begin_turns(struct server *server);
extern const struct env_listener_events accept_events;
/* All is open. */
void server_ready(struct server *server);
/* Nothing more comes: every client is told what is not known of its requests. */
void server_give_up(struct server *server);
/* No new requests; what was received is answered, until the deadline. */
void server_drain(struct server *server, int64_t deadline_ns);
/* Of the data of this worker, with what waits to become data; once per turn. */
uint64_t server_memory_bytes(struct server *server);
/* The monotonic clock, read once per turn. */
int64_t server_now_ns(struct server *server);
/* After a setting changed. */
void server_apply_config(struct server *server);
MUST_USE enum status server_rewrite_config(struct server *server);
/* Ends with this status after replies were flushed. */
void server_stop(struct server *server, enum status status);

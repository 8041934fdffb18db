/* The inside of a run of one transaction; for txn_*.c only. */
#pragma once

#include "node_world.h"
#include "sequence.h"
#include "txn_run.h"
#include "txn_watch.h"

enum { TXN_NODES = 5, TXN_SHARDS = 3, TXN_COLUMNS = TXN_NODES + 1 };

/* A connection that says something once and reads what comes. */
struct txn_client {
    struct node_world *world;
    struct env *env;
    struct env_stream *stream; /* NULL: it has none, or has none any more */
    struct buffer out, in;
    bool gone; /* it was lost with the connection */
};

struct txn_world {
    const struct txn_case *what;
    struct node_world *nodes;
    struct txn_client client;
    struct txn_outcome *outcome;
    struct txn_watch *watch;
    struct sequence *sequence; /* NULL: nobody looks */
    int driver;                /* the node that the client talks to */
    int leaders[TXN_SHARDS + 1];
    int64_t lost_ns;             /* when the driver was lost; 0: it was not */
    int64_t began_ns, looked_ns; /* since when points count: 0, not yet */
    bool ended;                  /* they do not any more */
    uint64_t syncs[TXN_NODES], first_syncs[TXN_NODES];
    int column_of[TXN_NODES]; /* in the sequence */
    struct txn_seen {         /* what was last seen of the transaction at a shard's leader */
        uint8_t home, part;
    } seen[TXN_SHARDS + 1];
    uint8_t decided; /* enum home_state: its outcome, as home told */
    int led_by[TXN_SHARDS + 1];
    bool alive[TXN_NODES];
};

/* ---- txn_client.c ---- */
void txn_client_begin(struct txn_client *client, struct node_world *world, int machine);
void txn_client_end(struct txn_client *client);
/* To a node, on a new connection. */
void txn_client_say(struct txn_client *client, int node, struct slice words);
/* More, on the same connection; what came before is forgotten. */
void txn_client_go_on(struct txn_client *client, struct slice words);
/* So many replies are there; their text is client->in. */
bool txn_client_heard(const struct txn_client *client, int replies);

/* ---- txn_show.c: what is seen of it, for the sequence ---- */
void txn_show_begin(struct txn_world *world);
/* After each step. */
void txn_show_step(struct txn_world *world);
size_t txn_show_sent(struct txn_world *world, int64_t at_ns, int from, int to, enum txn_message message,
                     const char *text);
void txn_show_crash(struct txn_world *world, int column, const char *text);

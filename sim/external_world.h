/* The inside of a run with external participants; for external_*.c only. */
#pragma once

#include "external_run.h"
#include "machine/txn/branch.h"
#include "machine/txn/txn_id.h"
#include "node_world.h"
#include "txn_watch.h"
#include "txn_world.h"

#include "base/prng.h"

enum { EXTERNAL_RESOURCES = 2 };

enum external_state { EXTERNAL_NONE, EXTERNAL_PREPARED, EXTERNAL_COMMITTED, EXTERNAL_ABORTED };

/* The one branch of a resource. */
struct external_branch {
    char name[BRANCH_NAME_BYTES]; /* empty: it has not joined */
    enum external_state state;
};

enum resolver_step {
    RESOLVER_REST,
    RESOLVER_LIST,
    RESOLVER_ASK,
    RESOLVER_ACT,
    RESOLVER_TELL, /* that the branch is finished */
    RESOLVER_LOOK, /* which branches home believes to be unfinished */
};

struct external_world {
    const struct external_case *what;
    struct external_outcome *outcome;
    struct node_world *nodes;
    struct txn_watch *watch;
    struct prng prng;
    struct external_branch branches[EXTERNAL_RESOURCES];
    int64_t began_ns, looked_ns;
    bool ended;
    /* the client */
    struct txn_client client;
    int driver;
    int step;
    bool waits; /* for the reply to its last words */
    int64_t next_ns;
    char id[TXN_ID_BYTES + 1];
    bool over;
    /* the resolver */
    struct txn_client resolver;
    enum resolver_step resolving;
    bool listed[EXTERNAL_RESOURCES], commits[EXTERNAL_RESOURCES];
    int at; /* branch */
    bool asked;
    int64_t asked_ns, resolve_ns;
};

/* ---- external_run.c ---- */
/* Something has happened after which somebody may be lost. */
void external_point(struct external_world *world);
/* In ns: mostly short; now and then longer than the transaction may take. */
int64_t external_pause(struct external_world *world);

/* ---- external_resource.c ---- */
void external_prepare(struct external_world *world, int branch);
void external_finish(struct external_world *world, int branch, bool commits);

/* ---- external_client.c ---- */
void external_client_turn(struct external_world *world);

/* ---- external_resolver.c ---- */
void external_resolver_turn(struct external_world *world);

/* What the owners of one handle hold and wait for: its nodes in ZooKeeper.
 *
 *   create ──▶ UNSURE (no answer) ──found by its GUID──▶ WAITS ──first, confirmed by a write──▶ HELD
 *                 │ not asked for                          │ wait over, not asked for              │ released, time
 * over └────────────────────▶ ENDS ◀────────────┴───────────────────────────────────────┘ └── its node is gone ──▶
 * (forgotten)
 *
 * All are forgotten when their session has ended: so are their nodes. */
#pragma once

#include "engine/engine.h"
#include "engine/zookeeper_nodes.h"
#include "engine/zookeeper_session.h"

enum { CLAIMS_FOLDER_BYTES = 1024, CLAIMS_PATH_BYTES = CLAIMS_FOLDER_BYTES + NODES_NAME_BYTES + NODES_CHILD_BYTES };

enum claim_state { CLAIM_UNSURE, CLAIM_WAITS, CLAIM_HELD, CLAIM_ENDS };

struct claim {
    struct list node;
    enum claim_state state;
    bool shared;
    bool was_held, released; /* CLAIM_ENDS */
    bool must_look;          /* CLAIM_WAITS: something has changed */
    char guid[NODES_GUID_BYTES];
    char child[NODES_CHILD_BYTES]; /* "": not known */
    uint64_t token;
    int64_t ttl_ms;
    int64_t sent_ms; /* before the write that its time counts from */
    int64_t due_ms;
    int64_t since_wall_ms;
    int64_t asked_ms;

    char ahead[NODES_CHILD_BYTES]; /* whom it waits for; "": not known */
    bool ahead_holds;
    int32_t ahead_version;
    int64_t ahead_ttl_ms; /* 0: not ours, so for its session's time */
    int64_t ahead_seen_ms;

    struct slice key, owner, note; /* in bytes */
    uint8_t bytes[];
};

struct zookeeper {
    struct engine engine;
    struct session session;
    struct list claims;
    struct buffer data; /* that is to be written */
    int64_t timer_ms;
    char folder[CLAIMS_FOLDER_BYTES]; /* "": the root */
    char lock_path[CLAIMS_PATH_BYTES], child_path[CLAIMS_PATH_BYTES];
};

static inline struct zookeeper *zookeeper_of(struct engine *engine) { return (struct zookeeper *)engine; }

/* In words what ZooKeeper's code means; `writes`: it was asked to change something. */
enum engine_code zookeeper_problem(struct zookeeper *zookeeper, int code, bool writes);
/* ENGINE_OK, or ENGINE_DOWN by the deadline. */
enum engine_code zookeeper_ready(struct zookeeper *zookeeper);
/* The folder and the lock's node, when they are not there. */
int zookeeper_make_lock(struct zookeeper *zookeeper, struct slice key);
void zookeeper_set_paths(struct zookeeper *zookeeper, struct slice key, const char *child);
int zookeeper_get(struct zookeeper *zookeeper, const char *path, bool watches, struct session_answer *ret_answer);
int zookeeper_children(struct zookeeper *zookeeper, const char *path, struct session_answer *ret_answer);
int64_t zookeeper_wall_ms(void);

/* Takes what has happened: watches, the end of the session. */
void claims_hear(struct zookeeper *zookeeper);
/* Ends what is over, and sets the timer. */
void claims_sweep(struct zookeeper *zookeeper);
void claims_set_timer(struct zookeeper *zookeeper);

struct claim *claims_find(struct zookeeper *zookeeper, struct slice key, struct slice owner);
/* NULL: memory was refused. */
struct claim *claims_add(struct zookeeper *zookeeper, const struct lock_wanted *wanted);
void claims_forget(struct claim *claim);
void claims_forget_all(struct zookeeper *zookeeper);

/* Its child by its GUID, after all that was written before. ZNONODE: it is not there. */
int claims_find_child(struct zookeeper *zookeeper, struct claim *claim);
/* Its node is to go; later, when that cannot be now. */
void claims_doom(struct claim *claim);
/* ENGINE_OK: its node is gone, and it is forgotten. */
enum engine_code claims_end(struct zookeeper *zookeeper, struct claim *claim);
/* What is told of a grant that has ended; best effort. */
void claims_note_past(struct zookeeper *zookeeper, struct slice key, const struct lock_past *past);

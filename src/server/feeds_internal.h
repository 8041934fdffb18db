/* What the files of feeds share. */
#pragma once

#include "base/assert.h"
#include "base/memory.h"
#include "server/feed_answer.h"
#include "server/feed_position.h"
#include "server/feed_prefixes.h"
#include "server/feeds.h"
#include "server/server_state.h"

#include <stdlib.h>

enum { FEED_MS_NS = 1000000 };

/* Where a feed is in a shard. */
struct feed_place {
    struct feed_mark mark; /* while it is behind */
    bool behind;
};

struct feed_group;

/* A feed is in one of the lists of struct feeds when it is behind anywhere: `ready` when it may read; `later` when what
 * it wants is not here yet; in none when its client has not read, or an answer is on its way. */
struct feed {
    struct connection *connection;
    struct feed_group *group;
    struct list of_group, of_connection, told_node, behind_node;
    struct feed_place *places; /* by shard − 1; NULL: at the front everywhere */
    uint32_t behind;           /* in so many shards */
    uint32_t next;             /* the shard − 1 that it reads next */
    struct feed_fetch *fetch;  /* what it has asked for, or NULL */
    bool stuck;                /* its client has to read first */
    int64_t told_ns, due_ns;   /* it told its position; it looks again */
    uint64_t passed_bytes;     /* of struct feeds, when it told its position */
};

/* The feeds of a prefix. */
struct feed_group {
    struct feed_prefix *prefix;
    struct list feeds;
    size_t count;
    struct list touched_node;
    struct buffer body; /* changes for them, encoded, … */
    size_t changes;     /* … and how many */
};

/* A question to a shard whose history is not here, or not this worker's: the front's when it is no feed's. */
struct feed_fetch {
    struct requester requester; /* first */
    struct feeds *feeds;
    struct list node;
    struct feed *feed; /* NULL: the front's, or the feed has ended */
    uint32_t shard;
    struct feed_mark mark; /* that was asked for: if it is another by now, the answer is nobody's */
    bool front, keep;
    struct buffer reply;
    struct resp_writer writer;
};

struct feed_source {
    struct feed_mark mark; /* the front: all before it is handed on */
    bool known;            /* it is one */
    uint64_t applied;      /* all that was applied here up to this entry is handed on; 0: it is not known to be */
    bool asked;            /* an answer is on its way; the same of KEEP: */
    bool keeping;
    int64_t poll_ns, pause_ms; /* when it is asked next, when it is not here */
    int64_t current_ns;        /* when nothing that the others had was missing here, as far as this node knew */
    bool kept;                 /* KEEP was answered, the last time at: */
    int64_t kept_ns;
};

struct feeds {
    struct server *server;
    struct feed_prefixes prefixes;
    struct feed_source *sources; /* by shard − 1 */
    uint32_t first;              /* the shard − 1 that a turn reads first: each in turn */
    uint64_t whose;
    size_t count, behind, starting; /* starting: their shards are asked */
    struct list told;               /* all feeds, who told its position longest ago first */
    struct list ready, later;       /* of those that are behind; later: the first is due first */
    struct list fetches;
    struct list touched;   /* groups that have changes in `body` */
    uint64_t passed_bytes; /* of records that were handed on, or passed by */
    struct env_timer timer;
    int64_t timer_ns;
    struct buffer position; /* of the front, as text; empty: it has moved since */
    struct buffer scratch, records;
    struct feed_mark *marks; /* scratch, by shard − 1 */
};

/* ---- feeds.c ---- */
struct feeds *feeds_make(struct server *server);
void feed_add(struct feeds *feeds, struct connection *connection, struct slice prefix, const struct feed_mark *marks);
void feed_end(struct feed *feed);
/* Wakes the loop then, or before. */
void feeds_want_at(struct feeds *feeds, int64_t at_ns);
/* The client has room, and all clients together. */
bool feed_may_push(const struct feed *feed);
void feed_stick(struct feed *feed);
void feed_make_ready(struct feed *feed);
/* It is no more at the front of a shard, but at this mark; or it is again. */
void feed_fall_behind(struct feed *feed, uint32_t shard, struct feed_mark mark);
void feed_caught_up(struct feed *feed, uint32_t shard);
/* Its mark in a shard. */
struct feed_mark feed_mark_of(const struct feed *feed, uint32_t shard);

/* ---- feed_push.c ---- */
/* Appends a change of a shard as an array. */
void feed_put_change(struct feeds *feeds, uint32_t shard, const struct feed_change *change, struct buffer *out);
/* Changes that were put so, and the position as it is now. */
void feed_push(struct feed *feed, struct slice body, size_t changes);
/* The last push: why it ends. Then it has. */
void feed_push_end(struct feed *feed, const char *code, const char *text);
/* Appends its position. */
void feed_position_of(const struct feed *feed, struct buffer *out);

/* ---- feed_read.c ---- */
/* Reads from this worker's state. False: it is not here. */
bool feed_read_here(struct feeds *feeds, uint32_t shard, struct feed_mark mark, struct feed_answer *ret_answer);
/* Asks whoever has it; `feed` NULL: for the front. False: it is not taken now. */
bool feed_ask(struct feeds *feeds, uint32_t shard, struct feed_mark mark, struct feed *feed);
/* Asks a shard to keep its history. */
void feed_ask_keep(struct feeds *feeds, uint32_t shard);

/* ---- feed_front.c ---- */
/* Takes on the front of each shard as far as this turn may. True when more is there. */
bool feed_front_turn(struct feeds *feeds);
void feed_front_answered(struct feeds *feeds, uint32_t shard, const struct feed_answer *answer);
void feed_front_failed(struct feeds *feeds, uint32_t shard);

/* ---- feed_behind.c ---- */
bool feed_behind_turn(struct feeds *feeds);
void feed_behind_answered(struct feed *feed, uint32_t shard, const struct feed_answer *answer);
/* It looks again in a while. */
void feed_look_later(struct feed *feed);

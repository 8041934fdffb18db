/* What the files of watches share. */
#pragma once

#include "base/memory.h"
#include "server/server_state.h"
#include "server/service_watch.h"
#include "server/txn_answer.h"

#include <stdlib.h>

enum { SERVICE_MS_NS = 1000000 };

enum { SERVICE_FROM_LIST = -1 /* in the place of a revision: the list, whatever is known */ };

/* The watches of one service. */
struct service_group {
    uint32_t key_size; /* first: struct table_item */
    uint32_t shard;
    struct list node; /* of service_source.groups */
    struct list watches;
    size_t count;
    int64_t revision; /* it reads on from here; INT64_MAX: nobody is to be told anything now */
    uint8_t name[];
};

struct service_watch {
    struct connection *connection;
    struct service_group *group;
    struct list of_group, of_connection, told_node;
    int64_t revision; /* all up to this is told; of one that begins, what it asks for */
    bool begins;      /* its shard is asked, or is going to be */
    bool stuck;       /* its client has to read first: it is not counted in its group */
    struct service_fetch *fetch;
    int64_t told_ns;
};

/* A question to a shard: of all groups that are next, or of one watch that begins. */
struct service_fetch {
    struct requester requester; /* first */
    struct service_watches *watches;
    struct list node;
    struct service_watch *watch; /* NULL: it has ended, or */
    bool of_shard;               /* the question is that of all */
    uint32_t shard;
    struct buffer reply;
    struct resp_writer writer;
};

/* A shard. */
struct service_source {
    struct list groups; /* the next to be read first */
    size_t count;
    size_t left;      /* of this round: to be read before all is as new as `newest` */
    int64_t newest;   /* of the shard, when the round began */
    int64_t known;    /* all groups are as new as this; -1: they are not known to be */
    bool spoiled;     /* groups have come, gone or gone back meanwhile: another round, whatever this one says */
    bool forced;      /* look, whatever is applied */
    uint64_t applied; /* what was applied here when it was looked at last */
    bool asked;       /* an answer is on its way */
    int64_t poll_ns, pause_ms; /* when it is asked next, when it is not here */
};

struct service_watches {
    struct server *server;
    struct table groups;
    struct service_source *sources; /* by shard − 1 */
    struct list told;               /* all watches, who was told anything longest ago first */
    struct list fetches;
    size_t count;
    struct env_timer timer;
    int64_t timer_ns;
    struct buffer scratch;
    struct command_arguments arguments;
    struct buffer digits;
};

/* ---- service_watch.c ---- */

/* Wakes the loop then, or before. */
void service_watches_want_at(struct service_watches *watches, int64_t at_ns);
/* Its client has room, and all clients together. */
bool service_watch_may_push(const struct service_watch *watch);
static inline struct slice service_group_name(const struct service_group *group)
{
    return slice_of(group->name, group->key_size);
}
static inline struct service_source *service_source_of(struct service_watches *watches, uint32_t shard)
{
    return &watches->sources[shard - 1];
}
/* Not all of its groups may be as new as was known. */
void service_source_spoil(struct service_watches *watches, struct service_source *source);
/* Its watches are where they are: where it reads on from. */
void service_group_place(struct service_watches *watches, struct service_group *group);

/* ---- service_watch_read.c ---- */

/* Asks the shard of a watch that begins, if it is not asked. */
void service_watch_begin(struct service_watch *watch);
bool service_source_turn(struct service_watches *watches, uint32_t shard);

/* ---- service_watch_tell.c ---- */

/* Takes apart what a shard has answered to the question of all. False: no node of ours has said that. */
bool service_watches_tell(struct service_watches *watches, uint32_t shard, struct slice reply);
/* A watch is told what it begins with, or asks again. */
void service_watch_told_first(struct service_watch *watch, struct slice reply);
void service_watch_tell_alive(struct service_watch *watch);

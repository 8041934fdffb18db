/* What the files of txn_finisher*.c share. */
#pragma once

#include "base/assert.h"
#include "base/memory.h"
#include "cluster/txn_finisher.h"

#include <stdlib.h>

#define NS_PER_MS INT64_C(1000000)

enum { FINISHER_TAG_ROUND = 1 << 16 }; /* tags are the round's number × this + place */

enum role { HOME_DECIDED, HOME_OVERDUE, PART_PREPARED, PART_FINISHED };

/* What a command to one shard came to. */
struct answer {
    uint32_t shard;
    bool asked, status; /* status: by COHORT.TXN.STATUS */
    bool good;          /* the reply was an array that begins with this word */
    char word[12];
    int64_t number, last; /* the elements behind it, when they are integers */
};

struct task {
    struct requester requester; /* first */
    struct finisher *finisher;
    struct watch *watch;
    struct list node, ready_node; /* in one of the watch's lists; and in its list of those that go on */
    enum role role;
    uint32_t shard;                                           /* whose record it is */
    void (*then)(struct task *task, const struct txns *txns); /* when all have answered; NULL: pause */
    void (*told)(struct task *task, const struct txns *txns); /* when home has said how it stands */
    struct answer *answers;
    uint32_t answer_count, pending;
    uint64_t round;  /* whose answers are pending */
    uint32_t owed;   /* answers of all rounds to come */
    int64_t over_ns; /* the round is judged by what has come then; INT64_MAX: all are waited for */
    int64_t next_ns, pause_ms;
    bool silent; /* a part's home has not answered the last time */
    struct buffer reply;
    struct resp_writer writer;
    struct slice id;   /* points into `key`, behind role and shard */
    uint32_t key_size; /* first of struct table_item, which begins here */
    uint8_t key[];
};

/* What is known of the records of a shard that is led here. */
struct watch {
    struct list homes, parts;       /* the tasks */
    struct list ready;              /* of both: a round is over */
    int64_t scan_ns;                /* no task of `parts` has a pause or a round that ends before this */
    uint64_t seen;                  /* the last turn in which it was looked at */
    uint64_t opened, decided;       /* records up to these positions were looked at: */
    int64_t soonest_ms;             /* no deadline of the open ones is before this */
    int64_t prepared_ms;            /* of the shard's time: no part that is prepared is due before this */
    int64_t lost_ms;                /* the same: nodes that run what is young are looked at then */
    uint8_t finished[TXN_ID_BYTES]; /* of what is finished, who was looked at last; the next turn goes on behind it */
    size_t finished_size;           /* 0: it begins with the oldest */
};

struct finisher {
    struct env *env;
    struct finisher_events events;
    void *owner;
    struct table table;     /* of struct task, from key_size on */
    struct watch **watches; /* by shard − 1; NULL: none yet */
    uint32_t watch_count;
    uint64_t turn, looked, early;
    bool gathering;  /* the shard that is looked at */
    int64_t next_ns; /* when something is due; INT64_MAX: nothing is */
    struct env_timer timer;
};

struct watch *finisher_watch(struct finisher *finisher, uint32_t shard);
/* The task for this record. There are as many as there may be records, so that none waits for another's. */
struct task *finisher_task(struct finisher *finisher, enum role role, uint32_t shard, struct slice id);
/* NULL: there is none. */
struct task *finisher_task_find(struct finisher *finisher, enum role role, uint32_t shard, struct slice id);
/* It is owed nothing. */
void finisher_task_free(struct task *task);
/* One that waits for nothing: its next step, when it is due. */
void finisher_advance(struct task *task, const struct txns *txns);
/* The same for this record, which is there. */
struct task *finisher_run(struct finisher *finisher, enum role role, uint32_t shard, struct slice id,
                          const struct txns *txns);
/* ---- txn_finisher_lost.c ---- */
void finisher_look_at_lost(struct finisher *finisher, struct watch *watch, uint32_t shard, const struct txns *txns,
                           int64_t time_ms);
/* OPEN, and the node that alone may finish it is lost. */
bool finisher_forsaken(const struct finisher *finisher, const struct home *home);
/* The loop is woken then, or before. */
void finisher_want_at(struct finisher *finisher, int64_t at_ns);
/* Takes a reply: an array of a word and numbers, or what COHORT.TXN.STATUS tells, as RESOLVE would say that, but ABSENT
 * instead of making it an abort. */
void finisher_take(struct answer *answer, struct slice reply);
/* One of a part: it is looked at in this turn, or in the next one. */
void finisher_ready(struct task *task);
/* Its pause, or its round, ends then. */
void finisher_scan_at(struct task *task, int64_t at_ns);
/* Begins what the task's record asks for; the record is there. */
void finisher_act(struct task *task, const struct txns *txns);

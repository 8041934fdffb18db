/* The inside of a store; for the files of this room only. */
#pragma once

#include "base/list.h"
#include "machine/scripts.h"
#include "shard/store.h"

struct store {
    struct env *env;
    struct store_events events;
    void *owner;
    struct folder_name folder;
    const struct machine_scripts *scripts; /* NULL, or … */
    struct machine_scripts own_scripts;    /* … those of the options, with the beat of this store */
    int64_t beat_ns;                       /* when it was asked for the last one */
    bool had_large;                        /* this turn's log has SHARD_LARGE_BYTES and more of one entry */
    struct log *log;
    struct list shards;     /* struct shard, in order of opening, but for `tired` ones */
    size_t pending_bytes;   /* of all of them */
    int64_t turn_steps;     /* what a turn may apply, … */
    int64_t steps_left;     /* … and what is left of it in this one */
    int64_t script_ns;      /* when its first script was done; 0: there was none */
    struct shard *tired;    /* used it up; NULL: none */
    struct env_timer timer; /* for the earliest deadline of consensus */
    int64_t timer_at_ns;    /* when armed */
    bool failed;
    enum status failed_status;
    char *opening_message; /* while a shard opens: where a failure is told */
    size_t opening_message_capacity;
};

/* Work may be done again. */
void store_begin_work(struct store *store);
/* Nothing more is accepted by any shard; the owner hears of it. */
void store_fail(struct store *store, enum status status, const char *what);

/* For lock_many*.c. */
#pragma once

#include "machine/lock/lock_parts.h"
#include "server/lock_many.h"
#include "server/server_state.h"

#define NS_PER_MS INT64_C(1000000)

enum many_phase { MANY_TRIES, MANY_WAITS, MANY_GRANTS, MANY_GIVES_BACK };

struct many_key {
    struct slice name;
    uint32_t shard, place; /* in the client's order */
    struct lock_part_told told;
};

struct many_part {
    uint32_t shard, first, count; /* of keys */
    uint32_t told;                /* keys that the last RESERVE tells of */
    uint16_t asked;               /* the command that is under way; 0: none */
    bool has;                     /* the shard may have something of the request */
    bool granted;
    bool again;         /* news came while it was asked */
    enum status status; /* of the last answer */
    struct buffer answer;
    struct resp_writer writer;
};

struct lock_many {
    struct waiter waiter;
    struct requester requester;
    enum many_phase phase;
    struct server *server;
    struct buffer names; /* keys, the owner, the session, the note */
    struct slice owner;
    struct slice session, note; /* as LOCK.ACQUIRE has them; empty: none */
    struct many_key *keys;      /* in their order */
    struct many_part *parts;
    uint32_t key_count, part_count;
    uint32_t current; /* of WAITS: the part that is wanted next */
    int64_t ttl_ms;
    bool may_wait;
    int64_t deadline_ns;
    int64_t next_ns; /* of WAITS: when `current` is asked for again; of the others: when what failed is */
    int64_t grants_until_ns, back_until_ns;
    uint64_t leader;     /* of the current part, when it was last asked for */
    bool anew;           /* behind GIVES_BACK it begins again, … */
    int64_t anew_ns;     /* … but not before */
    bool had_some;       /* it has begun again, since its owner had some of the locks, but not all */
    bool may_be_granted; /* home was asked to: it gives back first, so that others are never gone before it, … */
    bool stays;          /* … and it did not, since the owner's next request was told of it: the others are granted */
    struct buffer reply; /* behind GIVES_BACK the client is told; empty: nil */
};

/* ---- lock_many.c ---- */

void many_free(struct lock_many *many);
void many_set_next(struct lock_many *many, int64_t ms);
/* There is time left to wait. */
bool many_in_time(const struct lock_many *many);
/* The client has its locks. */
void many_answer_grants(struct lock_many *many);
/* All is given back; then the client is told this (NULL: nil), … */
void many_end_with(struct lock_many *many, const char *text);
/* … what `reply` says, … */
void many_give_back(struct lock_many *many);
/* … or it begins anew, if there is time: home has refused this number, or has forgotten it. */
void many_begin_anew(struct lock_many *many);
void many_back_all(struct lock_many *many);
/* It gives back, and that may have come to its end: then it is freed. */
void many_go_back(struct lock_many *many);

/* ---- lock_many_run.c ---- */

extern const struct requester_events many_events;
void many_try_all(struct lock_many *many);
void many_ask_current(struct lock_many *many);
void many_ask_grants(struct lock_many *many);
/* Behind each answer, and each change of phase; it may be freed. */
void many_go_on(struct lock_many *many);

/* ---- lock_many_words.c ---- */

int64_t many_left_ms(const struct lock_many *many);

/* What the client says, understood; the part of it that stays is copied. NULL, or the error. */
const char *many_parse(struct lock_many *many, const struct command *command);
/* Keys in their order, and parts of them; shards are known. */
void many_arrange(struct lock_many *many);
void many_free_words(struct lock_many *many);
/* Asks a part; what cannot be asked has failed at once. */
void many_ask(struct lock_many *many, uint32_t at, uint16_t id, int64_t wait_ms);
/* Takes what a RESERVE or GRANT has told. False: it is something else. */
bool many_take_told(struct lock_many *many, struct many_part *part);
/* The client's reply: tokens and times to live, in its order. */
void many_put_grants(const struct lock_many *many, struct buffer *out);

static inline bool many_is_there(const struct lock_part_told *told)
{
    return told->state == LOCK_PART_RESERVED || told->state == LOCK_PART_HELD;
}

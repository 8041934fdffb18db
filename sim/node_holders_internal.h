/* For node_holders*.c. */
#pragma once

#include "node_holders.h"

enum { HOLDER_REPLY_TEXT = 16 };

enum step {
    STEP_NOTHING,
    STEP_ACQUIRE,
    STEP_RENEW,
    STEP_RELEASE,
    STEP_CHECK,
    STEP_GUARD,
    STEP_TAKE,  /* as an administrator, what another one holds */
    STEP_READ,  /* what is on its way to the resource */
    STEP_WRITE, /* … and comes there later than it was meant to */
};

enum { JUDGE_FENCE, JUDGE_GUARD, JUDGE_RESOURCE, JUDGES };

struct holder {
    struct node_holders *all;
    int number;
    struct env *env;
    struct env_timer timer; /* the next step, or that the reply is late */
    struct env_stream *stream;
    struct resp_reader reader;
    struct buffer in, out;
    struct reply { /* so far */
        enum resp_type type;
        int64_t integers[2];
        size_t count;
        char text[HOLDER_REPLY_TEXT]; /* its beginning */
    } reply;
    enum step step;      /* that is asked for, or on its way */
    enum step dozing_to; /* what it does next, whatever the time is by then */
    bool again;          /* it has no answer to its LOCK.ACQUIRE: it asks again as the same owner */
    bool late;           /* it has not looked at its clock since it was stopped: it uses the lock in every way */
    bool wanted;         /* an administrator has asked to take away what it holds: nobody counts on its belief, … */
    int64_t taken_ns;    /* … and was told that it is gone; 0: not */
    int64_t asked_ns, told_ns, until_ns, start_ns; /* of the hold; start_ns of the step */
    int64_t token;                                 /* 0: it holds nothing */
    int64_t wait_ms, ttl_ms, seen;
    uint32_t serial; /* of the owner */
    /* of STEP_TAKE */
    struct holder *victim;
    int64_t victim_token;
};

struct node_holders {
    struct node_world *world;
    struct holder holders[NODE_HOLDERS];
    int64_t newest, value; /* of the resource */
    char key[16];
};

static inline int64_t holder_now(const struct holder *holder) { return sim_now_ns(holder->all->world->sim); }

/* It holds nothing any more: what it held goes to the history. */
void holder_note_hold(struct holder *holder);
/* An administrator was told that it has taken away what this one held by this token. */
void holder_taken(struct holder *holder, int64_t token);
/* The token has passed in the cluster: that must not be when it was taken away before the step. */
void holder_note_passed(struct holder *holder, const char *where);
/* The step's use of the token, judged. */
void holder_note_use(struct holder *holder, int judge, bool passed);
/* The resource's judgement of a token, and what it does then. */
bool holder_resource_takes(struct holder *holder);

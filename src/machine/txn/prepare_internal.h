/* What the files of PREPARE and LAST share (prepare_command.c votes, prepare_execute.c computes, last_command.c
 * decides).
 */
#pragma once

#include "machine/call.h"
#include "machine/txn/footprint.h"
#include "machine/txn/prepare.h"

struct touched {
    struct slice key;
    bool writes;
};

struct preparing {
    struct call *call;
    struct txn_prepare said;
    struct touched *keys; /* sorted, each once, when they are gathered */
    size_t key_count, key_capacity;
    enum footprint_reach reach;
    struct buffer body;
    struct buffer replies;
    bool vary;          /* another replica may have made other replies */
    const char *no;     /* why the vote is no */
    struct slice whose; /* which transaction or key that is about, or what home knows better */
    char number[NUMBER_INT64_BYTES];
};

/* Always false: the vote is no. */
bool prepare_no(struct preparing *preparing, const char *why, struct slice whose);
/* False: malformed, and the reply is written. */
bool prepare_begin(struct preparing *preparing, struct call *call);
/* Votes: the part is prepared, or preparing->no says why not, or the reply is an error. */
void prepare_vote(struct preparing *preparing);
void prepare_end(struct preparing *preparing);

/* prepare_execute.c: `body` and `replies`. False: it is too large, which is a vote, or the values are none. */
bool prepare_execute(struct preparing *preparing);

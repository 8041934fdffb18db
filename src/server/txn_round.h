/* Questions to shards that are asked together, and their answers: a round. One round at a time; what comes yet of an
 * earlier one is nobody's.
 *
 * Whoever owns one is told of each answer, then, when no answer of this round is owed any more, that it is over. It
 * must not be freed while answers of any round are owed. */
#pragma once

#include "base/buffer.h"
#include "cluster/requester.h"

struct txn_round;

struct txn_round_events {
    /* As cluster_submit. */
    enum status (*submit)(struct txn_round *round, uint32_t shard, const struct command *command, uint64_t tag);
    /* Question q is answered, or has failed; it may ask more. May be NULL. */
    void (*answered)(struct txn_round *round, uint32_t q);
    void (*over)(struct txn_round *round);
    /* An answer came that was nobody's, and it was the last one owed. */
    void (*settled)(struct txn_round *round);
    /* A shard has answered one of this round: who asked has seen something of it (cluster_told_index). May be NULL. */
    void (*told)(struct txn_round *round, uint32_t shard);
};

struct round_question {
    struct buffer answer;
    enum status status; /* of what failed */
    bool asked, answered;
    uint8_t again; /* so often it was asked again */
    uint32_t shard;
};

struct txn_round {
    struct requester requester; /* first: see requester.h */
    const struct txn_round_events *events;
    struct round_question *questions;
    uint32_t count;
    uint32_t waiting; /* answers of this round to come */
    uint64_t number;  /* of this round */
    uint64_t owed;    /* answers of all rounds to come */
    struct resp_writer writer;
};

void txn_round_init(struct txn_round *round, const struct txn_round_events *events, uint32_t count);
void txn_round_deinit(struct txn_round *round);
/* Forgets the round before. */
void txn_round_begin(struct txn_round *round);
/* Asks one question of this round, once. */
void txn_round_ask(struct txn_round *round, uint32_t q, uint32_t shard, const struct command *command);
/* Asks one that has come to nothing once more, when its answer is told to be none (events.answered). */
void txn_round_ask_again(struct txn_round *round, uint32_t q, uint32_t shard, const struct command *command);
/* All is asked: it is over now if nobody took a question. */
void txn_round_asked(struct txn_round *round);

/* It asked for a vote, and that may be yes: no other is told, and it may have been executed. */
bool round_question_may_be_yes(const struct round_question *question);

static inline struct slice txn_round_answer(const struct txn_round *round, uint32_t q)
{
    return buffer_slice(&round->questions[q].answer);
}

#include "server/txn_round.h"

#include "base/assert.h"
#include "base/memory.h"
#include "server/txn_answer.h"

#include <stdlib.h>

enum { TAG_ROUND = 1 << 16 }; /* tags are the round's number × this + question */

/* NULL when the tag is of a round before. */
static struct round_question *question_of(struct txn_round *round, uint64_t tag)
{
    return tag / TAG_ROUND == round->number ? &round->questions[tag % TAG_ROUND] : NULL;
}

static struct resp_writer *on_begin(struct requester *requester, uint64_t tag)
{
    struct txn_round *round = (struct txn_round *)requester;
    struct round_question *question = question_of(round, tag);
    if (question == NULL) {
        return NULL;
    }
    round->writer = resp_writer_to(&question->answer, RESP2);
    return &round->writer;
}

static void take(struct txn_round *round, uint64_t tag, enum status status)
{
    struct round_question *question = question_of(round, tag);
    ASSERT(round->owed > 0);
    round->owed--;
    if (question == NULL) {
        if (round->owed == 0) {
            round->events->settled(round);
        }
        return;
    }
    ASSERT(round->waiting > 0);
    question->answered = true;
    question->status = status;
    round->waiting--;
    if (round->events->answered != NULL) {
        round->events->answered(round, (uint32_t)(tag % TAG_ROUND));
    }
    if (round->waiting == 0) {
        round->events->over(round);
    }
}

static void on_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    struct txn_round *round = (struct txn_round *)requester;
    const struct round_question *question = question_of(round, tag);
    (void)command;
    if (question != NULL && round->events->told != NULL) {
        round->events->told(round, question->shard);
    }
    take(round, tag, STATUS_OK);
}

static void on_failed(struct requester *requester, uint64_t tag, enum status status)
{
    take((struct txn_round *)requester, tag, status);
}

static const struct requester_events requester_events = {.begin = on_begin, .end = on_end, .failed = on_failed};

void txn_round_init(struct txn_round *round, const struct txn_round_events *events, uint32_t count)
{
    ASSERT(count < TAG_ROUND);
    *round = (struct txn_round){
        .requester = {.events = &requester_events},
        .events = events,
        .questions = memory_allocate_zeroed(count, sizeof(*round->questions)),
        .count = count,
    };
}

void txn_round_deinit(struct txn_round *round)
{
    for (uint32_t q = 0; q < round->count; q++) {
        buffer_deinit(&round->questions[q].answer);
    }
    free(round->questions);
}

void txn_round_begin(struct txn_round *round)
{
    round->number++;
    round->waiting = 0;
    for (uint32_t q = 0; q < round->count; q++) {
        struct round_question *question = &round->questions[q];
        buffer_clear(&question->answer);
        *question = (struct round_question){.answer = question->answer};
    }
}

void txn_round_ask(struct txn_round *round, uint32_t q, uint32_t shard, const struct command *command)
{
    struct round_question *question = &round->questions[q];
    ASSERT(!question->asked);
    question->asked = true;
    question->shard = shard;
    question->status = round->events->submit(round, shard, command, round->number * TAG_ROUND + q);
    question->answered = question->status != STATUS_OK;
    round->waiting += question->status == STATUS_OK;
    round->owed += question->status == STATUS_OK;
}

void txn_round_ask_again(struct txn_round *round, uint32_t q, uint32_t shard, const struct command *command)
{
    struct round_question *question = &round->questions[q];
    ASSERT(question->asked && question->answered);
    buffer_clear(&question->answer);
    question->asked = false;
    question->again++;
    txn_round_ask(round, q, shard, command);
}

bool round_question_may_be_yes(const struct round_question *question)
{
    uint64_t vote;
    if (!question->asked || !question->answered) {
        return question->asked;
    }
    return question->status == STATUS_OK ? answer_yes(buffer_slice(&question->answer), &vote)
                                         : question->status == STATUS_UNCERTAIN || question->status == STATUS_EXECUTED;
}

void txn_round_asked(struct txn_round *round)
{
    if (round->waiting == 0) {
        round->events->over(round);
    }
}

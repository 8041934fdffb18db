#include "shard/outcomes.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"
#include "machine/txn/txn.h"
#include "shard/shard_state.h"

#include <stdlib.h>

#define NS_PER_MS INT64_C(1000000)

struct outcome {
    struct list node;
    void *origin;
    uint64_t tag;
    struct buffer bytes; /* the command, encoded */
};

static void timer_fire(struct env_timer *timer)
{
    struct shard *shard = CONTAINER_OF(timer, struct shard, outcomes.timer);
    shard->outcomes.due = true;
    env_wake(shard->env);
}

void outcomes_init(struct shard *shard)
{
    list_init(&shard->outcomes.waiting);
    claims_init(&shard->outcomes.sure, 0);
    env_timer_init(&shard->outcomes.timer, timer_fire);
}

static void outcome_free(struct outcome *outcome)
{
    list_remove(&outcome->node);
    buffer_deinit(&outcome->bytes);
    free(outcome);
}

/* The first of them, or NULL. */
static struct outcome *first(struct list *outcomes)
{
    return list_empty(outcomes) ? NULL : CONTAINER_OF(outcomes->next, struct outcome, node);
}

/* All of them go into *ret_list: what is made of them may take more. */
static void take_all(struct shard *shard, struct list *ret_list)
{
    struct outcomes *outcomes = &shard->outcomes;
    list_init(ret_list);
    for (struct outcome *outcome; (outcome = first(&outcomes->waiting)) != NULL;) {
        list_remove(&outcome->node);
        list_append(ret_list, &outcome->node);
        shard_unweigh(shard, outcome->bytes.size + sizeof(*outcome));
    }
    outcomes->count = 0;
    outcomes->due = false;
    claims_deinit(&outcomes->sure);
    env_timer_stop(shard->env, &outcomes->timer);
}

void outcomes_deinit(struct shard *shard)
{
    struct list all;
    take_all(shard, &all);
    while (!list_empty(&all)) {
        outcome_free(first(&all));
    }
}

static struct command command_of(const struct outcome *outcome, struct command_arguments *arguments)
{
    struct slice from = buffer_slice(&outcome->bytes);
    struct command command;
    ASSERT(command_decode(&from, arguments, &command) == STATUS_OK);
    return command;
}

bool outcome_is_sure(const struct shard *shard, const struct command *command)
{
    int64_t epoch;
    const struct part *part = parts_find(&machine_txns(shard->machine)->parts, command->argv[1]);
    if (part == NULL || !number_parse_int64(command->argv[2], &epoch) || (uint64_t)epoch != part->epoch) {
        return false;
    }
    return part->state == PART_WAIT || part->state == PART_PRECOMMIT || part->state == PART_PREABORT;
}

static int64_t wait_ms(const struct shard *shard)
{
    bool slow = SHARD_MUTATED(shard, OUTCOME_SLOW) || SHARD_MUTATED(shard, OUTCOME_LOST) ||
                SHARD_MUTATED(shard, READ_BEFORE_OUTCOME);
    (void)shard;
    return slow ? 1000 : OUTCOME_MS;
}

enum status outcomes_take(struct shard *shard, const struct command *command, const struct shard_request *request)
{
    struct outcomes *outcomes = &shard->outcomes;
    ASSERT(txn_ends(command->spec));
    struct outcome *outcome = memory_allocate(sizeof(*outcome));
    *outcome = (struct outcome){.origin = request->origin, .tag = request->tag};
    list_init(&outcome->node);
    command_encode(&outcome->bytes, command);
    if (!shard_may_wait(shard, outcome->bytes.size + sizeof(*outcome))) {
        outcome_free(outcome);
        return STATUS_FULL;
    }
    shard_weigh(shard, outcome->bytes.size + sizeof(*outcome));
    list_append(&outcomes->waiting, &outcome->node);
    outcomes->count++;
    if (outcome_is_sure(shard, command)) {
        claims_add(&outcomes->sure, command->argv[1], true);
        shard->gate.dirty = true; /* a write that is held may go behind it */
    }
    outcomes->due = outcomes->due || !slice_is_word(command->argv[3], "COMMIT"); /* who aborts waits, to try again */
    if (!outcomes->timer.armed) {
        env_timer_start(shard->env, &outcomes->timer, env_monotonic_ns(shard->env) + wait_ms(shard) * NS_PER_MS);
    }
    return STATUS_OK;
}

bool outcomes_end(const struct outcomes *outcomes, const struct part *part)
{
    return outcomes->count != 0 && claims_block(&outcomes->sure, part_id(part), false);
}

static void log_one(struct shard *shard, struct outcome *outcome, struct command_arguments *arguments)
{
    struct command command = command_of(outcome, arguments);
    enum status status = batch_add(shard, &command, REQUEST_LOGGED, outcome->origin, outcome->tag);
    if (status == STATUS_NOT_LEADER) {
        shard->sink.returned(shard->owner, outcome->origin, outcome->tag, &command);
    } else if (status != STATUS_OK) {
        shard->sink.refused(shard->owner, outcome->origin, outcome->tag, STATUS_BUSY);
    }
    outcome_free(outcome);
}

static void flush(struct shard *shard)
{
    struct list all;
    struct command_arguments arguments; /* the shard's may be in use */
    ASSERT(shard->announced == 0);
    take_all(shard, &all);
    command_arguments_init(&arguments);
    while (!list_empty(&all)) {
        log_one(shard, first(&all), &arguments);
    }
    command_arguments_deinit(&arguments);
}

void outcomes_go_first(struct shard *shard)
{
    if (!SHARD_MUTATED(shard, OUTCOME_BEHIND)) {
        shard->stats.outcomes_joined += shard->outcomes.count;
        flush(shard);
    }
}

void outcomes_turn(struct shard *shard, bool sealing)
{
    const struct outcomes *outcomes = &shard->outcomes;
    bool joins = sealing && shard->open->logged_count != 0;
    if (outcomes->count != 0 && shard->leading && (outcomes->due || joins || shard->gate.held_count != 0)) {
        shard->stats.outcomes_joined += joins ? outcomes->count : 0;
        flush(shard);
    }
}

void outcomes_return(struct shard *shard)
{
    struct list all;
    take_all(shard, &all);
    while (!list_empty(&all)) {
        struct outcome *outcome = first(&all);
        struct command command = command_of(outcome, &shard->arguments);
        shard->stats.outcomes_returned++;
        if (!SHARD_MUTATED(shard, OUTCOME_LOST)) {
            shard->sink.returned(shard->owner, outcome->origin, outcome->tag, &command);
        }
        outcome_free(outcome);
    }
}

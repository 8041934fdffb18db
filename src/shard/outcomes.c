#include "shard/outcomes.h"

#include "base/assert.h"
#include "base/number.h"
#include "machine/txn/txn.h"
#include "shard/shard_state.h"

#define NS_PER_MS INT64_C(1000000)

static void timer_fire(struct env_timer *timer)
{
    struct shard *shard = CONTAINER_OF(timer, struct shard, outcomes.timer);
    shard->outcomes.due = true;
    env_wake(shard->env);
}

void outcomes_init(struct shard *shard)
{
    buffer_init(&shard->outcomes.bytes);
    buffer_init(&shard->outcomes.requests);
    shard->outcomes.mark = 1;
    env_timer_init(&shard->outcomes.timer, timer_fire);
}

void outcomes_deinit(struct shard *shard)
{
    struct outcomes *outcomes = &shard->outcomes;
    shard_unweigh(shard, outcomes->bytes.size + outcomes->requests.size);
    buffer_deinit(&outcomes->bytes);
    buffer_deinit(&outcomes->requests);
    env_timer_stop(shard->env, &outcomes->timer);
}

struct part *outcome_part(const struct shard *shard, const struct command *command)
{
    int64_t epoch;
    struct part *part = parts_find(&machine_txns(shard->machine)->parts, command->argv[1]);
    if (part == NULL || !number_parse_int64(command->argv[2], &epoch) || (uint64_t)epoch != part->epoch) {
        return NULL;
    }
    bool voted = part->state == PART_WAIT || part->state == PART_PRECOMMIT || part->state == PART_PREABORT;
    return voted ? part : NULL;
}

static int64_t wait_ms(const struct shard *shard)
{
    bool slow = SHARD_MUTATED(shard, OUTCOME_SLOW) || SHARD_MUTATED(shard, OUTCOME_LOST) ||
                SHARD_MUTATED(shard, READ_BEFORE_OUTCOME);
    (void)shard;
    return slow ? 1000 : OUTCOME_MS;
}

enum status outcomes_take(struct shard *shard, const struct command *command, struct part *part,
                          const struct shard_request *request)
{
    struct outcomes *outcomes = &shard->outcomes;
    struct request waits = {request->origin, request->tag, REQUEST_LOGGED, machine_aim(shard->machine, command)};
    size_t before = outcomes->bytes.size;
    ASSERT(txn_ends(command->spec));
    if (outcomes->count == OUTCOMES_WAITING) {
        return STATUS_FULL;
    }
    command_encode(&outcomes->bytes, command);
    size_t size = outcomes->bytes.size - before + sizeof(waits);
    if (!shard_may_wait(shard, size)) {
        outcomes->bytes.size = before;
        return STATUS_FULL;
    }
    shard_weigh(shard, size);
    buffer_append(&outcomes->requests, &waits, sizeof(waits));
    outcomes->count++;
    if (part != NULL) {
        part->mark = outcomes->mark;
        shard->gate.dirty = true; /* a write that is held may go behind it */
    }
    outcomes->due = outcomes->due || !slice_is_word(command->argv[3], "COMMIT");
    if (!outcomes->timer.armed) {
        env_timer_start(shard->env, &outcomes->timer, env_monotonic_ns(shard->env) + wait_ms(shard) * NS_PER_MS);
    }
    return STATUS_OK;
}

bool outcome_frees(const struct shard *shard, struct slice key)
{
    const struct part *part = lock_table_sole(&machine_txns(shard->machine)->parts.locks, key);
    return shard->outcomes.count != 0 && part != NULL && part->mark == shard->outcomes.mark;
}

/* Nothing waits any more; what did is in the two buffers until it is cleared there. */
static void end_waiting(struct shard *shard)
{
    struct outcomes *outcomes = &shard->outcomes;
    outcomes->count = 0;
    outcomes->mark++;
    outcomes->due = false;
    env_timer_stop(shard->env, &outcomes->timer);
}

static void flush(struct shard *shard)
{
    struct outcomes *outcomes = &shard->outcomes;
    batch_join(shard, buffer_slice(&outcomes->bytes), (const struct request *)(const void *)outcomes->requests.data,
               outcomes->count);
    end_waiting(shard);
    buffer_clear(&outcomes->bytes);
    buffer_clear(&outcomes->requests);
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
    if (outcomes->count != 0 && shard->leading && !shard->store->failed &&
        (outcomes->due || joins || shard->gate.held_count != 0)) {
        shard->stats.outcomes_joined += joins ? outcomes->count : 0;
        flush(shard);
    }
}

void outcomes_return(struct shard *shard)
{
    struct outcomes *outcomes = &shard->outcomes;
    struct buffer bytes = outcomes->bytes; /* the sink may say them again */
    struct buffer requests = outcomes->requests;
    struct slice rest = buffer_slice(&bytes);
    uint32_t count = outcomes->count;
    buffer_init(&outcomes->bytes);
    buffer_init(&outcomes->requests);
    shard_unweigh(shard, bytes.size + requests.size);
    end_waiting(shard);
    for (uint32_t i = 0; i < count && !SHARD_MUTATED(shard, OUTCOME_LOST); i++) {
        const struct request *request = (const struct request *)(const void *)requests.data + i;
        struct command command;
        ASSERT(command_decode(&rest, &shard->arguments, &command) == STATUS_OK);
        shard->sink.returned(shard->owner, request->origin, request->tag, &command);
        shard->stats.outcomes_returned++;
    }
    buffer_deinit(&bytes);
    buffer_deinit(&requests);
}

#include "shard/shard.h"

#include "base/assert.h"
#include "base/memory.h"
#include "machine/txn/txn.h"
#include "shard/shard_state.h"

#include <stdio.h>
#include <stdlib.h>

void shard_close_batch(struct shard *shard)
{
    ASSERT(shard->announced == 0); /* all that was announced has come */
    list_append(&shard->waiting, &shard->open->node);
    shard->open = batch_take(shard);
}

/* Reads alone wait for a round of the leader's heartbeats; a lone voter needs none. */
static enum status ask_for_round(struct shard *shard, struct batch *batch)
{
    batch->round = 0;
    return shard->lone || raft_read(shard->raft, &batch->round) == STATUS_OK ? STATUS_OK : STATUS_AGAIN;
}

/* The batch's entry goes to consensus. */
static enum status propose(struct shard *shard, struct batch *batch)
{
    enum status status = log_reserve(shard->log, batch->logged.size);
    if (status != STATUS_OK) {
        return status;
    }
    shard_time_now(shard, &batch->header.time_ms, &batch->header.wall_ms);
    batch->header.commands = (uint16_t)batch->logged_count;
    entry_header_put(batch->logged.data, &batch->header);
    if (shard_propose(shard, batch->kind, buffer_slice(&batch->logged), &batch->index) != STATUS_OK) {
        return STATUS_AGAIN;
    }
    batch->term = shard->term;
    shard_time_entry_made(shard, &batch->header, shard->term);
    return STATUS_OK;
}

/* Whether as much is on its way as may be. What is committed and waits to be applied would wait at a new leader, too,
 * before it leads: so there is never more of it than was on its way when the work of a turn was not enough. */
static bool sealed_enough(const struct shard *shard)
{
    size_t bytes = 0;
    if (shard->behind) {
        return true;
    }
    LIST_FOR_EACH (at, &shard->sealed) {
        bytes += batch_pending_bytes(CONTAINER_OF(at, struct batch, node));
    }
    return bytes >= SHARD_SEALED_BYTES;
}

/* Whether a batch waits. The open one gathers until then: behind others that are held back it would only be small, and
 * so it would ahead of those that are about to come. */
static bool close_next(struct shard *shard)
{
    if (list_empty(&shard->waiting) && shard->open->request_count != 0 && !shard->gather.waits) {
        shard_close_batch(shard);
    }
    return !list_empty(&shard->waiting);
}

/* Takes the batches that wait to the log, as far as it has space. Returns how many requests that were. */
static size_t seal_waiting(struct shard *shard)
{
    size_t requests = 0;
    shard->held_back = false;
    while (shard->leading && !shard->store->failed && close_next(shard)) {
        if (sealed_enough(shard)) {
            shard->held_back = true;
            break;
        }
        struct batch *batch = CONTAINER_OF(shard->waiting.next, struct batch, node);
        bool logs = batch->logged_count != 0 || batch->kind == ENTRY_TIME;
        enum status status = logs ? propose(shard, batch) : ask_for_round(shard, batch);
        if (status == STATUS_AGAIN || shard->store->failed) {
            break;
        }
        if (status != STATUS_OK) {
            batch_refuse(shard, batch, status);
            if (batch->request_count == 0) { /* nothing is left that could wait for a round */
                batch_give_back(shard, batch);
                continue;
            }
            if (ask_for_round(shard, batch) != STATUS_OK) {
                break;
            }
        }
        if (batch->logged.size > SHARD_LARGE_BYTES) {
            shard->had_large = true;
            env_wake(shard->env);
        }
        requests += batch->request_count;
        gather_sealed(shard, batch);
        list_remove(&batch->node);
        list_append(&shard->sealed, &batch->node);
        shard_pump(shard); /* consensus borrows the payload only until then */
    }
    return requests;
}

static void close_time_entry(struct shard *shard)
{
    int64_t time_ms = 0;
    int64_t wall_ms = 0;
    shard_time_now(shard, &time_ms, &wall_ms);
    shard->time_entry_due = false;
    if (machine_has_due(shard->machine, time_ms, wall_ms) || time_ms - shard->time_ms >= SHARD_TIME_ENTRY_MS) {
        shard->open->kind = ENTRY_TIME;
        shard_close_batch(shard);
    }
}

size_t shard_begin_turn(struct shard *shard, bool sealing)
{
    shard->had_large = false;
    shard_tick(shard);
    shard_pump(shard);
    gate_turn(shard);
    outcomes_turn(shard, sealing);
    gather_turn(shard);
    if (!sealing || !shard->leading || shard->store->failed) {
        return 0; /* while a sync runs the next batch gathers */
    }
    if (shard->time_entry_due && !close_next(shard) && shard->open->request_count == 0) {
        close_time_entry(shard);
    }
    return seal_waiting(shard);
}

/* Whether a turn now would bring something to the log. */
static bool may_log(const struct shard *shard)
{
    if (!shard->leading || log_syncing(shard->log)) {
        return false;
    }
    return list_empty(&shard->waiting) ? shard->open->request_count != 0 || shard->time_entry_due
                                       : shard->held_back && !sealed_enough(shard);
}

bool shard_end_turn(struct shard *shard)
{
    shard_apply(shard);
    if (shard->machine == NULL || shard->store->failed) {
        return false;
    }
    if (shard->leading) {
        shard_time_schedule(shard);
    }
    snapshot_begin_if_due(shard);
    bool more = snapshot_go_on(shard);
    more = machine_work(shard->machine) || more;
    return may_log(shard) || more || shard->behind || (shard->gate.dirty && shard->gate.held_count != 0);
}

bool shard_idle(const struct shard *shard)
{
    return shard->open->request_count == 0 && shard->gate.held_count == 0 && shard->outcomes.count == 0 &&
           list_empty(&shard->waiting) && list_empty(&shard->sealed) && list_empty(&shard->orphans) &&
           !log_syncing(shard->log);
}

bool shard_may_run(const struct shard *shard) { return shard->store->steps_left > 0; }

/* A read at once counts, too. */
static __attribute__((noinline)) bool read_script(struct shard *shard, const struct machine_context *context,
                                                  const struct command *command, struct resp_writer *reply)
{
    const uint64_t *steps = machine_steps(shard->machine);
    uint64_t before = *steps;
    bool read = shard_look(shard, context, command, reply);
    shard->store->steps_left -= (int64_t)(*steps - before);
    return read;
}

static inline bool read_now(struct shard *shard, const struct machine_context *context, const struct command *command,
                            struct resp_writer *reply)
{
    if (__builtin_expect(command_may_script(command->spec), 0)) {
        return read_script(shard, context, command, reply);
    }
    return shard_look(shard, context, command, reply);
}

bool shard_read(struct shard *shard, const struct command *command, struct resp_writer *reply)
{
    ASSERT(shard->leading && (shard->lone || shard->options.lease_reads));
    if (shard->gate.awake && gate_stops_read(shard, command)) {
        return false;
    }
    struct machine_context context = {0};
    shard_time_now(shard, &context.time_ms, &context.wall_ms);
    bool listens = shard->options.event_classes != NULL && (*shard->options.event_classes & EVENT_MISSED) != 0;
    if (__builtin_expect(!listens, 1)) {
        return read_now(shard, &context, command, reply);
    }
    shard_listen_begin(shard, shard->term);
    bool read = read_now(shard, &context, command, reply);
    shard_listen_end(shard);
    return read;
}

bool shard_read_applied(struct shard *shard, const struct command *command, struct resp_writer *reply)
{
    if (shard->machine == NULL) {
        return false;
    }
    struct machine_context context = {.time_ms = shard->applied_time_ms, .wall_ms = shard->applied_wall_ms};
    bool read = read_now(shard, &context, command, reply);
    ASSERT(read); /* nothing is due between the applied time and itself */
    return true;
}

uint64_t shard_key_version(const struct shard *shard, struct slice key)
{
    return machine_key_version(shard->machine, key);
}

const struct locks *shard_locks(const struct shard *shard)
{
    return shard->machine == NULL ? NULL : machine_locks(shard->machine);
}

const struct sessions *shard_sessions(const struct shard *shard)
{
    return shard->machine == NULL ? NULL : machine_sessions(shard->machine);
}

uint64_t shard_steps(const struct shard *shard) { return *machine_steps(shard->machine) - shard->steps_seen; }

int64_t shard_present_ms(const struct shard *shard)
{
    int64_t time_ms;
    int64_t wall_ms;
    shard_time_now(shard, &time_ms, &wall_ms);
    return time_ms;
}

const struct services *shard_services(const struct shard *shard)
{
    return shard->machine == NULL ? NULL : machine_services(shard->machine);
}

const struct meets *shard_meets(const struct shard *shard)
{
    return shard->machine == NULL ? NULL : machine_meets(shard->machine);
}

bool shard_gathering(const struct shard *shard) { return shard->open->logged_count != 0; }

const struct txns *shard_txns(const struct shard *shard, int64_t *ret_time_ms)
{
    const struct txns *txns = shard->machine == NULL ? NULL : machine_txns(shard->machine);
    if (txns == NULL || (txns->homes.open_count == 0 && txns->parts.table.count == 0)) {
        return NULL;
    }
    int64_t wall_ms;
    shard_time_now(shard, ret_time_ms, &wall_ms);
    return txns;
}

uint64_t shard_count_in_slot(const struct shard *shard, uint16_t slot)
{
    return shard->machine == NULL ? 0 : machine_count_in_slot(shard->machine, slot);
}

uint64_t shard_applied_index(const struct shard *shard) { return shard->applied_index; }

uint64_t shard_seen_index(const struct shard *shard) { return shard->applied_index + (shard->applying ? 1 : 0); }

const uint64_t *shard_told_index(const struct shard *shard) { return &shard->told_index; }

bool shard_read_blocked(const struct shard *shard, const struct command *command)
{
    return shard->machine == NULL || machine_blocked(shard->machine, command);
}

uint64_t shard_digest(const struct shard *shard)
{
    return shard->machine == NULL || shard->applying ? 0 : machine_digest(shard->machine);
}

void shard_stats(const struct shard *shard, struct shard_stats *ret_stats)
{
    *ret_stats = shard->stats;
    if (shard->machine != NULL) {
        machine_stats(shard->machine, &ret_stats->machine);
    }
    log_stats(shard->log, &ret_stats->log);
    ret_stats->elected = shard->elected;
    ret_stats->leading = shard_leading(shard);
    ret_stats->leader = shard->leader;
    ret_stats->term = shard->term;
    ret_stats->applied_index = shard->applied_index;
    ret_stats->committed_index = shard->commit;
    ret_stats->last_index = shard->last_index;
    ret_stats->pending_bytes = shard->pending_bytes;
    ret_stats->snapshot_running = shard->snapshot != NULL;
    ret_stats->installing = install_runs(shard);
}

#ifdef COHORT_MUTATIONS
static enum raft_mutation raft_mutation_of_all;
static enum shard_mutation mutation_of_all;

void shard_mutate(enum raft_mutation raft_mutation, enum shard_mutation mutation)
{
    raft_mutation_of_all = raft_mutation;
    mutation_of_all = mutation;
}
#endif

enum status shard_open(struct store *store, const struct shard_options *options, const struct shard_sink *sink,
                       void *owner, struct shard **ret_shard, char *ret_message, size_t message_capacity)
{
    struct shard *shard = memory_allocate_zeroed(1, sizeof(*shard));
    *shard = (struct shard){
        .store = store, .env = store->env, .options = *options, .sink = *sink, .owner = owner, .log = store->log};
    list_append(&store->shards, &shard->node);
    list_init(&shard->waiting);
    list_init(&shard->sealed);
    list_init(&shard->orphans);
    list_init(&shard->spare);
    list_init(&shard->departures);
    command_arguments_init(&shard->arguments);
    command_arguments_init(&shard->ahead_arguments);
    gate_init(shard);
    outcomes_init(shard);
    shard_time_init(shard);
    if (shard->options.snapshot_log_bytes == 0) {
        shard->options.snapshot_log_bytes = SHARD_SNAPSHOT_LOG_BYTES;
    }
    if (shard->options.pending_bytes == 0) {
        shard->options.pending_bytes = SHARD_PENDING_BYTES;
    }
    shard->open = batch_take(shard);
    store->opening_message = ret_message;
    store->opening_message_capacity = message_capacity;
    enum status status = shard_recover(shard, ret_message, message_capacity);
    store->opening_message = NULL;
    if (status != STATUS_OK) {
        shard_close(shard);
        return status;
    }
#ifdef COHORT_MUTATIONS
    raft_mutate(shard->raft, raft_mutation_of_all);
    shard->mutation = mutation_of_all;
#endif
    *ret_shard = shard;
    return STATUS_OK;
}

static void batches_destroy(struct list *batches)
{
    LIST_FOR_EACH_SAFE (at, after, batches) {
        batch_destroy(CONTAINER_OF(at, struct batch, node));
    }
}

void shard_close(struct shard *shard)
{
    if (shard == NULL) {
        return;
    }
    list_remove(&shard->node);
    shard->store->tired = shard->store->tired == shard ? NULL : shard->store->tired;
    snapshot_leave(shard);
    gate_deinit(shard);
    outcomes_deinit(shard);
    shard_time_stop(shard);
    shard_transfer_leave(shard);
    install_leave(shard);
    buffer_deinit(&shard->events.messages);
    machine_destroy(shard->machine);
    raft_destroy(shard->raft);
    buffer_deinit(&shard->storing);
    buffer_deinit(&shard->entry_bytes);
    batch_destroy(shard->open);
    batches_destroy(&shard->waiting);
    batches_destroy(&shard->sealed);
    batches_destroy(&shard->orphans);
    batches_destroy(&shard->spare);
    buffer_deinit(&shard->snapshot_block);
    command_arguments_deinit(&shard->arguments);
    command_arguments_deinit(&shard->ahead_arguments);
    free(shard);
}

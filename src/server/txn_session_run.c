/* Commands of a transaction that is open: over what it has read, and what it reads for them. */
#include "base/key_slot.h"
#include "base/memory.h"
#include "cluster/slot.h"
#include "server/route_refuse.h"
#include "server/route_submit.h"
#include "server/txn_session_internal.h"

#include <stdio.h>
#include <stdlib.h>

struct keyed {
    uint32_t shard, position;
};

struct reading {
    struct txn_session *session;
    const struct command *command;
    struct keyed *keys;
    uint32_t count;
};

static uint32_t shard_of(const struct txn_session *session, struct slice key)
{
    return slot_shard(key_slot(key), session->server->shards);
}

static void gather_unknown(void *owner, uint32_t position)
{
    struct reading *reading = owner;
    struct slice key = reading->command->argv[position];
    if (!txn_values_knows(&reading->session->plan.values, key)) {
        reading->keys[reading->count++] = (struct keyed){shard_of(reading->session, key), position};
    }
}

static void run_now(struct txn_session *session, const struct command *command, struct resp_writer *reply)
{
    struct txn_plan *plan = &session->plan;
    bool flushed = plan->values.flushed;
    scripts_spent_forget(&plan->values.spent); /* other commands have their own turns */
    txn_values_run(&plan->values, command, reply);
    if (plan->values.flushed && !flushed) {
        txn_plan_add(plan, command); /* once is enough: what was written since is put behind it */
    }
}

/* COHORT.DUMP to each shard that has some of the keys. */
static void ask_keys(struct txn_session *session, const struct slice *keys, uint32_t count)
{
    struct slice *argv = memory_allocate((1 + (size_t)count) * sizeof(*argv));
    argv[0] = SLICE_LITERAL("COHORT.DUMP");
    for (uint32_t shard = 1, i = 0; shard <= session->server->shards; shard++) {
        uint32_t argc = 1;
        while (i < count && shard_of(session, keys[i]) == shard) {
            argv[argc++] = keys[i++];
        }
        const struct command dump = {command_by_id(COMMAND_COHORT_DUMP), argv, argc, RESP2};
        if (argc > 1) {
            txn_round_ask(&session->round, shard - 1, shard, &dump);
        }
    }
    free(argv);
}

static int compare_keyed(const void *a, const void *b)
{
    const struct keyed *x = a;
    const struct keyed *y = b;
    int order = (x->shard > y->shard) - (x->shard < y->shard);
    return order != 0 ? order : (x->position > y->position) - (x->position < y->position);
}

/* The keys of the command that are not known yet, shard by shard; the caller frees. */
static struct slice *unknown_keys(struct txn_session *session, const struct command *command, uint32_t *ret_count)
{
    struct reading reading = {session, command, memory_allocate(command->argc * sizeof(struct keyed)), 0};
    struct slice *keys = memory_allocate(command->argc * sizeof(*keys));
    (void)command_keys(command->spec, command->argv, command->argc, gather_unknown, &reading);
    qsort(reading.keys, reading.count, sizeof(*reading.keys), compare_keyed);
    for (uint32_t i = 0; i < reading.count; i++) {
        keys[i] = command->argv[reading.keys[i].position];
    }
    free(reading.keys);
    *ret_count = reading.count;
    return keys;
}

size_t txn_session_bytes(const struct txn_session *session)
{
    return txn_values_memory_bytes(&session->plan.values) + session->command.capacity;
}

bool txn_session_run(struct connection *connection, const struct command *command)
{
    struct txn_session *session = connection->session;
    const struct command_spec *spec = command->spec;
    if (spec->place != COMMAND_AT_MACHINE || (session != NULL && session->errand)) {
        return false;
    }
    if (session == NULL) {
        ASSERT(connection->txn_failed);
        session_answer_now(connection, "-TXNABORT the transaction was not begun or was given up, so this is not "
                                       "executed; TXN.ROLLBACK it first");
        return true;
    }
    if (session->state != SESSION_ACTIVE) {
        session_answer_now(connection, session->state == SESSION_PREPARED
                                           ? "-ERR the transaction is prepared; TXN.COMMIT or TXN.ROLLBACK it first"
                                           : "-TXNABORT the transaction is aborted; TXN.ROLLBACK it first");
        return true;
    }
    if (session->plan.values.bytes > TXN_READ_BYTES) {
        session_answer_now(connection, "-ERR the transaction has read more than 64 MiB; TXN.COMMIT or TXN.ROLLBACK it");
        return true;
    }
    bool large = txn_values_memory_bytes(&session->plan.values) > TXN_VALUES_BYTES;
    if (large || txn_session_bytes(session) > (size_t)connection->server->config.client_query_buffer_bytes) {
        session_answer_now(connection,
                           large ? "-ERR the transaction is larger than one may be (128 MiB of what it reads and "
                                   "writes); TXN.ROLLBACK it and send less"
                                 : "-ERR the transaction is larger than client-query-buffer-limit; TXN.ROLLBACK it and "
                                   "send less");
        return true;
    }
    if (txn_plan_looks(spec)) {
        session_look_at_all(session, command);
        return true;
    }
    uint32_t count;
    struct slice *keys = unknown_keys(session, command, &count);
    if (count == 0) {
        struct resp_writer *reply = reply_begin(connection);
        run_now(session, command, reply);
        reply_end(connection);
        route_measure(connection, command);
    } else {
        buffer_clear(&session->command);
        command_encode(&session->command, command);
        session_wait_for(session, command);
        session_go(session, SESSION_READ);
        txn_round_begin(&session->round);
        ask_keys(session, keys, count);
        txn_round_asked(&session->round);
    }
    free(keys);
    return true;
}

static void answer_read(struct txn_session *session, const struct command *command)
{
    struct resp_writer *reply = session_answer_begin(session);
    if (reply != NULL) {
        run_now(session, command, reply);
        session_answer_end(session);
    } else if (session->connection == NULL) {
        session_start_abort(session, "its client is gone");
    }
}

void session_read_over(struct txn_session *session)
{
    if (session_looks(session)) {
        session_looked_over(session);
        return;
    }
    struct command_arguments arguments;
    struct command command;
    struct slice from = buffer_slice(&session->command);
    command_arguments_init(&arguments);
    enum status status = command_decode(&from, &arguments, &command);
    ASSERT(status == STATUS_OK);
    uint32_t count;
    struct slice *keys = unknown_keys(session, &command, &count);
    char problem[WHY_BYTES] = "";
    for (uint32_t shard = 1, at = 0; shard <= session->server->shards; shard++) {
        const struct round_question *question = &session->round.questions[shard - 1];
        const struct slice *some = keys + at;
        uint32_t taken = 0;
        while (at < count && shard_of(session, keys[at]) == shard) {
            taken++;
            at++;
        }
        struct slice said;
        if (!question->asked || problem[0] != '\0') {
            continue;
        }
        if (question->status != STATUS_OK) {
            (void)snprintf(problem, sizeof(problem), "-%s", route_refusal(question->status, true));
        } else if (answer_error_text(buffer_slice(&question->answer), &said)) {
            (void)snprintf(problem, sizeof(problem), "-%.*s", (int)said.size, (const char *)said.data);
        } else if (!txn_values_take(&session->plan.values, shard, some, taken, buffer_slice(&question->answer))) {
            (void)snprintf(problem, sizeof(problem), "-ERR a shard gave an answer that cannot be understood");
        }
    }
    session_go(session, SESSION_ACTIVE);
    if (problem[0] != '\0') {
        session_fail(session, problem);
    } else {
        answer_read(session, &command);
    }
    free(keys);
    command_arguments_deinit(&arguments);
}

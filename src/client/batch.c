/* Batches (cohort/transaction.h): MULTI, the commands, EXEC, in one run on the connection that all share. */
#include "client/command.h"
#include "client/handle.h"

#include "base/number.h"
#include "wire/resp_command.h"

#include <cohort/transaction.h>
#include <stdlib.h>

enum { BATCH_COMMANDS_MAXIMUM = 65536 };

struct cohort_batch {
    struct buffer commands;
    uint32_t count;
    int slot;        /* of the first command's key */
    bool is_refused; /* a command of it was: what runs has all that was asked of it */
};

enum cohort_status cohort_batch_create(struct cohort_batch **ret_batch)
{
    struct cohort_batch *batch = calloc(1, sizeof(*batch));
    if (batch == NULL) {
        return COHORT_NOMEM;
    }
    batch->slot = -1;
    *ret_batch = batch;
    return COHORT_OK;
}

void cohort_batch_free(struct cohort_batch *batch)
{
    if (batch != NULL) {
        buffer_deinit(&batch->commands);
        free(batch);
    }
}

static enum cohort_status add(struct cohort_batch *batch, size_t argc, const struct cohort_bytes *argv)
{
    if (argc < 1 || argc > COMMAND_WORDS_MAXIMUM || !command_may_be_queued(argv[0])) {
        return COHORT_INVALID;
    }
    if (batch->count == BATCH_COMMANDS_MAXIMUM) {
        return COHORT_FULL;
    }
    if (!request_append(&batch->commands, argv, argc)) {
        return COHORT_NOMEM;
    }
    if (batch->count++ == 0 && argc > 1) {
        batch->slot = key_slot(slice_of(argv[1].data, argv[1].size));
    }
    return COHORT_OK;
}

enum cohort_status cohort_batch_add(struct cohort_batch *batch, size_t argc, const struct cohort_bytes *argv)
{
    enum cohort_status status = add(batch, argc, argv);
    batch->is_refused = batch->is_refused || status != COHORT_OK;
    return status;
}

/* EXEC's reply says it all, but for EXECABORT: then the first error says why. */
static bool take_exec(struct operation *operation, bool may_go_on)
{
    bool refused = operation->trouble != NULL && operation->status == COHORT_REFUSED;
    if (refused) {
        struct cohort_reply *why = operation->trouble;
        operation->trouble = NULL;
        operation_answer(operation, reply_status(why), why);
    }
    return false;
}

static struct operation *make(struct cohort *cohort, const struct cohort_batch *batch)
{
    static const struct cohort_bytes multi = {"MULTI", 5};
    static const struct cohort_bytes exec = {"EXEC", 4};
    struct client_request request = {.argv = &multi, .argc = 1, .step = take_exec};
    struct operation *operation = NULL;
    if (operation_create(cohort, &request, &operation) != STATUS_OK) {
        return NULL;
    }
    if (!buffer_try_reserve(&operation->request, batch->commands.size + 64)) {
        operation_destroy(operation);
        return NULL;
    }
    buffer_append_slice(&operation->request, buffer_slice(&batch->commands));
    operation->replies += batch->count;
    operation->replies_left += batch->count;
    operation->slot = batch->slot;
    if (operation_add(operation, &exec, 1) != STATUS_OK) {
        operation_destroy(operation);
        return NULL;
    }
    return operation;
}

enum cohort_status cohort_batch_run(struct cohort *cohort, const struct cohort_batch *batch,
                                    struct cohort_reply **ret_reply)
{
    if (batch->is_refused) {
        return client_refuse(
            COHORT_TXNABORT, ret_reply,
            "a command was refused when it was added to the batch, so none of it is executed; make it anew");
    }
    return client_run(cohort, make(cohort, batch), ret_reply);
}

enum cohort_status cohort_batch_run_start(struct cohort *cohort, const struct cohort_batch *batch,
                                          cohort_callback callback, void *data)
{
    return batch->is_refused ? COHORT_TXNABORT : client_submit(cohort, make(cohort, batch), callback, data);
}

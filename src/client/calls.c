/* What the API's calls are made of (handle.h). */
#include "base/assert.h"
#include "client/handle.h"

#include <stdlib.h>

enum cohort_status client_refuse(enum cohort_status status, struct cohort_reply **ret_reply, const char *why)
{
    if (ret_reply != NULL) {
        *ret_reply = reply_error("%s", why);
    }
    return status;
}

enum cohort_status client_refuse_inherited(struct cohort_reply **ret_reply)
{
    return client_refuse(COHORT_INVALID, ret_reply,
                         "this handle was opened before a fork, and is the parent's; a child opens one of its own");
}

void client_take_options(void *ret_options, size_t size, const void *given)
{
    memset(ret_options, 0, size);
    if (given != NULL) {
        size_t has;
        memcpy(&has, given, sizeof(has));
        memcpy(ret_options, given, has == 0 || has > size ? size : has);
    }
}

void outcome_init(struct outcome *outcome, struct operation *operation)
{
    *outcome = (struct outcome){.operation = operation};
    list_init(&outcome->node);
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&outcome->cond, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

static const char *why_not_taken(enum cohort_status status)
{
    switch (status) {
    case COHORT_FULL: return "too much is under way on this handle; try again when some has ended";
    case COHORT_CANCELLED: return "the handle is being closed";
    default: return "the connection of the transaction was lost; it is rolled back";
    }
}

enum cohort_status client_run(struct cohort *cohort, struct operation *operation, struct cohort_reply **ret_reply)
{
    if (operation == NULL) {
        return client_refuse(COHORT_NOMEM, ret_reply, "memory was refused");
    }
    if (handle_is_inherited(cohort)) {
        operation_destroy(operation);
        return client_refuse_inherited(ret_reply);
    }
    struct outcome outcome;
    outcome_init(&outcome, operation);
    operation->outcome = &outcome;
    handle_lock(cohort);
    enum cohort_status status = operation_submit(operation);
    if (status == COHORT_OK) {
        handle_flush(cohort);
        handle_wait(cohort, &outcome);
    }
    handle_unlock(cohort);
    (void)pthread_cond_destroy(&outcome.cond);
    if (status != COHORT_OK) {
        operation_destroy(operation);
        return client_refuse(status, ret_reply, why_not_taken(status));
    }
    if (ret_reply != NULL) {
        *ret_reply = outcome.reply;
    } else {
        cohort_reply_free(outcome.reply);
    }
    return outcome.status;
}

enum cohort_status client_submit(struct cohort *cohort, struct operation *operation, cohort_callback callback,
                                 void *data)
{
    if (operation == NULL) {
        return COHORT_NOMEM;
    }
    if (handle_is_inherited(cohort)) {
        operation_destroy(operation);
        return COHORT_INVALID;
    }
    operation->callback = callback;
    operation->data = data;
    handle_lock(cohort);
    enum cohort_status status = operation_submit(operation);
    if (status == COHORT_OK) {
        handle_wake(cohort);
    }
    handle_unlock(cohort);
    if (status != COHORT_OK) {
        operation_destroy(operation);
    }
    return status;
}

/* NULL: memory was refused; the context is released then too. */
static struct operation *make(struct cohort *cohort, const struct client_request *request)
{
    struct operation *operation = NULL;
    if (operation_create(cohort, request, &operation) != STATUS_OK && request->release != NULL) {
        request->release(request->context);
    }
    return operation;
}

enum cohort_status client_call(struct cohort *cohort, const struct client_request *request,
                               struct cohort_reply **ret_reply)
{
    return client_run(cohort, make(cohort, request), ret_reply);
}

enum cohort_status client_start(struct cohort *cohort, const struct client_request *request, cohort_callback callback,
                                void *data)
{
    return client_submit(cohort, make(cohort, request), callback, data);
}

/* ---- what replies mean ---- */

static bool replace_nil(struct operation *operation, enum cohort_status status)
{
    if (operation->status == COHORT_OK && cohort_reply_type(operation->reply) == COHORT_REPLY_NIL) {
        operation->status = status;
    }
    return false;
}

bool step_nil_is_not_found(struct operation *operation, bool may_go_on)
{
    return replace_nil(operation, COHORT_NOTFOUND);
}

bool step_nil_is_conflict(struct operation *operation, bool may_go_on)
{
    return replace_nil(operation, COHORT_CONFLICT);
}

bool step_zero_is_not_found(struct operation *operation, bool may_go_on)
{
    if (operation->status == COHORT_OK && cohort_reply_integer(operation->reply) == 0) {
        operation->status = COHORT_NOTFOUND;
    }
    return false;
}

#include "client/operation.h"

#include "base/assert.h"
#include "base/number.h"
#include "client/feed.h"
#include "client/handle.h"
#include "wire/resp_command.h"

#include <inttypes.h>
#include <stdlib.h>

/* At most what resp_command appends: each word's bytes, its length and line ends. SIZE_MAX: there cannot be so much, as
 * when a caller gives −1 for a size. */
static size_t request_bound(const struct cohort_bytes *argv, size_t argc)
{
    size_t bytes = NUMBER_INT64_BYTES + 8;
    for (size_t i = 0; i < argc; i++) {
        if (argv[i].size > SIZE_MAX / 4 - bytes) {
            return SIZE_MAX;
        }
        bytes += argv[i].size + NUMBER_INT64_BYTES + 8;
    }
    return bytes;
}

bool request_append(struct buffer *request, const struct cohort_bytes *argv, size_t argc)
{
    size_t bytes = request_bound(argv, argc);
    if (bytes == SIZE_MAX || !buffer_try_reserve(request, bytes)) {
        return false;
    }
    struct resp_writer writer = resp_writer_to(request, RESP2);
    resp_array(&writer, argc);
    for (size_t i = 0; i < argc; i++) {
        resp_bulk(&writer, slice_of(argv[i].data, argv[i].size));
    }
    return true;
}

enum status operation_add(struct operation *operation, const struct cohort_bytes *argv, size_t argc)
{
    if (!request_append(&operation->request, argv, argc)) {
        return STATUS_NOMEM;
    }
    operation->replies++;
    operation->replies_left++;
    return STATUS_OK;
}

static void forget_replies(struct operation *operation)
{
    cohort_reply_free(operation->reply);
    cohort_reply_free(operation->trouble);
    operation->reply = NULL;
    operation->trouble = NULL;
}

enum status operation_ask(struct operation *operation, const struct cohort_bytes *argv, size_t argc)
{
    buffer_clear(&operation->request);
    operation->sent_bytes = 0;
    operation->replies = 0;
    operation->replies_left = 0;
    return operation_add(operation, argv, argc);
}

void operation_answer(struct operation *operation, enum cohort_status status, struct cohort_reply *reply)
{
    if (reply != operation->reply) {
        cohort_reply_free(operation->reply);
    }
    operation->status = status;
    operation->reply = reply;
}

enum status operation_create(struct cohort *cohort, const struct client_request *request,
                             struct operation **ret_operation)
{
    struct operation *operation = malloc(sizeof(*operation));
    if (operation == NULL) {
        return STATUS_NOMEM;
    }
    int64_t timeout_ms = request->timeout_ms > 0 ? request->timeout_ms : cohort->settings.timeout_ms;
    timeout_ms = timeout_ms < OPERATION_TIMEOUT_MAXIMUM_MS ? timeout_ms : OPERATION_TIMEOUT_MAXIMUM_MS;
    int64_t now_ns = client_clock_ns();
    *operation = (struct operation){
        .cohort = cohort,
        .flags = request->flags,
        .slot = -1,
        .link = request->link,
        .pinned = request->link != NULL,
        .deadline_ns = now_ns + timeout_ms * 1000000,
        .patience_ns = timeout_ms * 1000000 / 3,
        .step = request->step,
    };
    if ((request->flags & OPERATION_PROBED) != 0) {
        operation->patience_ns = cohort->settings.timeout_ms * 1000000;
    }
    list_init(&operation->node);
    timer_init(&operation->timer, TIMER_OPERATION);
    if (request->argc > 0 && operation_add(operation, request->argv, request->argc) != STATUS_OK) {
        operation_destroy(operation);
        return STATUS_NOMEM;
    }
    if (request->key != NULL && request->key->data != NULL) { /* one of the words, as a rule: its size is sound */
        operation->slot = key_slot(slice_of(request->key->data, request->key->size));
    }
    operation->context = request->context;
    operation->release = request->release;
    *ret_operation = operation;
    return STATUS_OK;
}

void operation_destroy(struct operation *operation)
{
    if (operation == NULL) {
        return;
    }
    ASSERT(!operation->timer.is_set);
    if (operation->release != NULL) {
        operation->release(operation->context);
    }
    forget_replies(operation);
    buffer_deinit(&operation->request);
    free(operation);
}

/* ---- its end ---- */

/* It was not executed, says the status; but was it before, when it was lost? */
static bool is_definite(enum cohort_status status)
{
    return status == COHORT_BUSY || status == COHORT_CLUSTERDOWN || status == COHORT_TIMEOUT ||
           status == COHORT_UNREACHABLE || status == COHORT_CANCELLED || status == COHORT_DENIED;
}

static void end(struct operation *operation)
{
    struct cohort *cohort = operation->cohort;
    ASSERT(operation->state != OPERATION_ENDED && list_empty(&operation->node));
    timers_clear(&cohort->timers, &operation->timer);
    if (operation->was_lost && (operation->flags & COHORT_READ) == 0 && is_definite(operation->status)) {
        operation->status = COHORT_UNCERTAIN;
    }
    bool well = operation->state == OPERATION_SENT;
    operation->state = OPERATION_ENDED;
    if ((operation->flags & OPERATION_INTERNAL) == 0) {
        cohort->operations--;
        cohort->request_bytes -= operation->request.capacity;
    }
    struct link *link = operation->link;
    bool keeps = (operation->flags & OPERATION_KEEPS_LINK) != 0 && operation->status == COHORT_OK;
    if (link != NULL && !operation->pinned && link->is_private && !keeps) {
        operation->link = NULL;
        link_give_back(link, well);
    }
    handle_deliver(cohort, operation);
}

static void wait_for_link(struct operation *operation)
{
    struct cohort *cohort = operation->cohort;
    operation->state = OPERATION_WAITING;
    operation->sent_bytes = 0;
    operation->replies_left = operation->replies;
    if (operation->again != NULL) {
        operation->again(operation);
    }
    list_append(&cohort->waiting, &operation->node);
    cohort->dispatch_due = true;
    handle_wake(cohort);
}

static bool may_be_repeated(const struct operation *operation)
{
    return (operation->flags & (COHORT_READ | COHORT_AGAIN)) != 0;
}

/* A refused one waits a little, and so does one of which the server does not know; false when it is none, or its
 * deadline is before that. */
static bool pause_and_retry(struct operation *operation)
{
    struct cohort *cohort = operation->cohort;
    bool refused = operation->status == COHORT_BUSY || operation->status == COHORT_CLUSTERDOWN;
    bool unknown = operation->status == COHORT_UNCERTAIN && operation->state == OPERATION_SENT;
    if ((!refused && !(unknown && may_be_repeated(operation))) || operation->pinned || operation->overflowed ||
        (operation->flags & OPERATION_NO_RETRY) != 0) {
        return false;
    }
    operation->was_lost = operation->was_lost || unknown;
    uint32_t doubled = operation->refusals < 6 ? operation->refusals : 6;
    int64_t pause_ns = ((int64_t)HANDLE_REFUSED_MS << doubled) * 1000000;
    if (pause_ns > (int64_t)HANDLE_REFUSED_MAXIMUM_MS * 1000000) {
        pause_ns = (int64_t)HANDLE_REFUSED_MAXIMUM_MS * 1000000;
    }
    pause_ns = pause_ns / 2 + (int64_t)prng_below(&cohort->prng, (uint64_t)pause_ns / 2);
    int64_t now_ns = client_clock_ns();
    operation->again_ns = now_ns + pause_ns;
    /* An engine that was busy for long would be so again, and its words would come too late. */
    bool is_engine = cohort->connector.connect != NULL && operation->status == COHORT_BUSY;
    int64_t took_ns = is_engine ? now_ns - operation->sent_ns : 0;
    if (operation->again_ns + took_ns >= operation->deadline_ns) {
        return false;
    }
    if (operation->link != NULL && operation->link->is_private) {
        link_give_back(operation->link, true);
    }
    operation->link = NULL;
    operation->refusals++;
    operation->state = OPERATION_PAUSING;
    list_append(&cohort->pausing, &operation->node);
    handle_set_timer(cohort, &operation->timer, operation->again_ns);
    cohort->leaders_doubted = true;
    return true;
}

static void conclude(struct operation *operation, bool may_go_on)
{
    ASSERT(list_empty(&operation->node));
    may_go_on = may_go_on && !operation->cohort->closing;
    if (operation->step != NULL && operation->step(operation, may_go_on) && may_go_on) {
        forget_replies(operation);
        operation->refusals = 0;
        if (operation->link != NULL && operation->link->state == LINK_OPEN) { /* its own: goes on there */
            operation->replies_left = operation->replies;
            link_append(operation->link, operation);
            handle_wake(operation->cohort);
        } else {
            wait_for_link(operation);
        }
        return;
    }
    if (!may_go_on || !pause_and_retry(operation)) {
        end(operation);
    }
}

void operation_answered(struct operation *operation)
{
    if (operation->ghost) {
        operation_destroy(operation);
        return;
    }
    struct node *node = operation->link->node;
    if (!operation->pinned && !operation->link->is_private) {
        operation->link = NULL;
    }
    operation->status = reply_status(operation->reply);
    if (operation->status == COHORT_CLUSTERDOWN || operation->status == COHORT_UNCERTAIN) {
        handle_doubt_node(operation->cohort, node);
    }
    if (operation->reply == NULL) { /* it came, and there was no memory for it */
        operation->status = (operation->flags & COHORT_READ) != 0 ? COHORT_NOMEM : COHORT_UNCERTAIN;
    }
    conclude(operation, true);
}

/* What it did is done; what it says would be as large again. */
static void end_overflowed(struct operation *operation)
{
    bool reads = (operation->flags & COHORT_READ) != 0;
    operation_answer(operation, reads ? COHORT_PROTOCOL : COHORT_UNCERTAIN,
                     reply_error("the reply is larger than reply_bytes_max, which is %" PRIu64
                                 " bytes: ask for less at once, or raise it in struct cohort_options",
                                 operation->cohort->settings.reply_bytes_max));
    conclude(operation, true);
}

void operation_lost(struct operation *operation, const char *why)
{
    if (operation->ghost) {
        operation_destroy(operation);
        return;
    }
    if (operation->overflowed && !operation->cohort->closing) {
        operation->was_lost = true;
        operation->link = NULL;
        end_overflowed(operation);
        return;
    }
    bool was_sent = operation->state == OPERATION_SENT;
    bool safe = !was_sent || may_be_repeated(operation);
    operation->was_lost = operation->was_lost || was_sent;
    operation->link = NULL;
    if (safe && !operation->pinned && !operation->cohort->closing) {
        wait_for_link(operation);
        return;
    }
    bool unknown = was_sent && (operation->flags & COHORT_READ) == 0;
    enum cohort_status definite = operation->cohort->closing ? COHORT_CANCELLED : COHORT_UNREACHABLE;
    operation_answer(operation, unknown ? COHORT_UNCERTAIN : definite,
                     reply_error("the connection was lost before the answer: %s", why));
    conclude(operation, true);
}

/* ---- time ---- */

/* Takes it out of wherever it is. True when the server may have it. */
static bool withdraw(struct operation *operation)
{
    bool may_be_there = operation->state == OPERATION_SENT || operation->sent_bytes > 0;
    if (operation->state == OPERATION_SENT || operation->state == OPERATION_QUEUED) {
        link_remove(operation->link, operation);
    } else {
        list_remove(&operation->node);
    }
    return may_be_there;
}

static void expire(struct operation *operation)
{
    struct cohort *cohort = operation->cohort;
    bool reads = (operation->flags & COHORT_READ) != 0;
    bool may_be_there = withdraw(operation);
    operation->was_lost = operation->was_lost || may_be_there;
    bool untouched = reads && operation->replies_left == operation->replies;
    if (operation->refusals > 0 && (untouched || !may_be_there)) {
        /* what the server said last stays */
    } else if (may_be_there) {
        operation_answer(operation, reads ? COHORT_TIMEOUT : COHORT_UNCERTAIN,
                         reply_error("no answer came within the time limit"));
    } else if (operation->was_lost) {
        operation_answer(operation, COHORT_TIMEOUT,
                         reply_error("no answer came within the time limit%s%s",
                                     cohort->problem[0] != '\0' ? "; last tried: " : "", cohort->problem));
    } else if (cohort->problem[0] != '\0') {
        operation_answer(operation, COHORT_UNREACHABLE, reply_error("no node can be reached: %s", cohort->problem));
    } else {
        operation_answer(operation, COHORT_TIMEOUT, reply_error("the time limit passed before it could be sent"));
    }
    operation->state = OPERATION_WAITING;
    conclude(operation, false);
}

void operation_cancel(struct operation *operation, enum cohort_status status, const char *why)
{
    ASSERT(operation->state != OPERATION_NEW && operation->state != OPERATION_ENDED);
    bool may_be_there = withdraw(operation);
    operation->was_lost = operation->was_lost || may_be_there;
    operation_answer(operation, status, reply_error("%s", why));
    operation->state = OPERATION_WAITING;
    conclude(operation, false);
}

/* Nothing came since it was sent: its link is in doubt, and it goes elsewhere if it may. */
static void grow_impatient(struct operation *operation)
{
    struct link *link = operation->link;
    if (operation->pinned && (operation->flags & OPERATION_RESOLVES) != 0) {
        link_remove(link, operation);
        operation->state = OPERATION_WAITING;
        operation->was_lost = true;
        operation_answer(operation, COHORT_UNCERTAIN, reply_error("no answer came"));
        handle_set_timer(operation->cohort, &operation->timer, operation->deadline_ns);
        conclude(operation, true);
        return;
    }
    link_suspect(link);
    if (operation->pinned || !may_be_repeated(operation)) {
        handle_set_timer(operation->cohort, &operation->timer, operation->deadline_ns);
        return;
    }
    operation->was_lost = true;
    link_remove(link, operation);
    operation->link = NULL;
    handle_set_timer(operation->cohort, &operation->timer, operation->deadline_ns);
    wait_for_link(operation);
}

void operation_due(struct operation *operation, int64_t now_ns)
{
    if (now_ns >= operation->deadline_ns) {
        expire(operation);
        return;
    }
    int64_t due_ns = operation->deadline_ns;
    if (operation->state == OPERATION_PAUSING) {
        list_remove(&operation->node);
        wait_for_link(operation);
    } else if (operation->state == OPERATION_SENT && (operation->flags & OPERATION_UNHURRIED) == 0) {
        int64_t heard_ns = operation->link->received_ns;
        int64_t since_ns = heard_ns > operation->sent_ns ? heard_ns : operation->sent_ns;
        if (since_ns + operation->patience_ns <= now_ns) {
            grow_impatient(operation);
            return;
        }
        due_ns = since_ns + operation->patience_ns < due_ns ? since_ns + operation->patience_ns : due_ns;
    } else if (operation->state == OPERATION_SENT && (operation->flags & OPERATION_PROBED) != 0) {
        due_ns = now_ns + operation->patience_ns < due_ns ? now_ns + operation->patience_ns : due_ns;
        handle_set_timer(operation->cohort, &operation->timer, due_ns);
        link_probe(operation->link, operation); /* it may be without that link now */
        return;
    }
    handle_set_timer(operation->cohort, &operation->timer, due_ns);
}

static uint32_t count_private(const struct list *operations)
{
    uint32_t count = 0;
    LIST_FOR_EACH (at, operations) {
        count += (CONTAINER_OF(at, struct operation, node)->flags & OPERATION_PRIVATE) != 0;
    }
    return count;
}

/* Whether one more would have a connection of its own: those that have one, and those that wait for one, count. */
static bool has_connection_left(const struct cohort *cohort)
{
    uint32_t taken = count_private(&cohort->waiting) + count_private(&cohort->pausing);
    LIST_FOR_EACH (at, &cohort->links) {
        const struct link *link = CONTAINER_OF(at, struct link, all);
        taken += link->is_private && link->is_taken;
    }
    taken += client_feeds_without_link(cohort);
    return taken < cohort->settings.connections_max;
}

enum cohort_status operation_submit(struct operation *operation)
{
    struct cohort *cohort = operation->cohort;
    const struct client_settings *settings = &cohort->settings;
    ASSERT(operation->state == OPERATION_NEW);
    if (cohort->closing) {
        return COHORT_CANCELLED;
    }
    if (operation->link_of != NULL) {
        operation->link = *operation->link_of;
        operation->pinned = true;
        if (operation->link == NULL) {
            return COHORT_TXNABORT;
        }
    }
    if ((operation->flags & OPERATION_INTERNAL) == 0) {
        uint64_t bytes = cohort->request_bytes + operation->request.capacity;
        if (cohort->operations >= settings->operations_max || bytes > settings->request_bytes_max) {
            return COHORT_FULL;
        }
        if ((operation->flags & OPERATION_PRIVATE) != 0 && !has_connection_left(cohort)) {
            return COHORT_FULL;
        }
        cohort->operations++;
        cohort->request_bytes = bytes;
    }
    operation->state = OPERATION_WAITING;
    int64_t due_ns = client_clock_ns() + operation->patience_ns;
    handle_set_timer(cohort, &operation->timer, due_ns < operation->deadline_ns ? due_ns : operation->deadline_ns);
    handle_dispatch(cohort, operation);
    return COHORT_OK;
}

/* Batches: made once, used again, so that a request costs no allocation. */
#include "shard/shard_state.h"

#include "base/assert.h"
#include "base/memory.h"
#include "machine/txn/prepare.h"

#include <stdlib.h>

enum { BATCH_KEEP_BYTES = 1 << 20, BATCH_KEEP_REQUESTS = 4096, SPARE_BATCHES = 8 };
#define NS_PER_MS INT64_C(1000000)

static void batch_begin(struct batch *batch)
{
    batch->round = 0;
    batch->kind = ENTRY_COMMANDS;
    batch->done = (struct progress){0};
    buffer_reserve(&batch->logged, ENTRY_HEADER_BYTES);
    batch->logged.size = ENTRY_HEADER_BYTES;
}

struct batch *batch_take(struct shard *shard)
{
    if (!list_empty(&shard->spare)) {
        struct batch *batch =
            CONTAINER_OF(shard->spare.prev, struct batch, node); /* the last one used: it is in caches */
        list_remove(&batch->node);
        shard->spare_count--;
        batch_begin(batch);
        return batch;
    }
    struct batch *batch = memory_allocate_zeroed(1, sizeof(*batch));
    list_init(&batch->node);
    batch_begin(batch);
    return batch;
}

void batch_give_back(struct shard *shard, struct batch *batch)
{
    list_remove(&batch->node);
    gate_detach(shard, batch);
    if (shard->spare_count == SPARE_BATCHES) { /* a crowd has left */
        batch_destroy(batch);
        return;
    }
    buffer_clear(&batch->logged);
    buffer_clear(&batch->reads);
    buffer_shrink(&batch->logged, BATCH_KEEP_BYTES);
    buffer_shrink(&batch->reads, BATCH_KEEP_BYTES);
    if (batch->request_capacity > BATCH_KEEP_REQUESTS) {
        free(batch->requests);
        batch->requests = NULL;
        batch->request_capacity = 0;
    }
    batch->request_count = 0;
    batch->logged_count = 0;
    batch->index = 0;
    batch->round = 0;
    list_append(&shard->spare, &batch->node);
    shard->spare_count++;
}

void batch_destroy(struct batch *batch)
{
    list_remove(&batch->node);
    buffer_deinit(&batch->logged);
    buffer_deinit(&batch->reads);
    buffer_deinit(&batch->claimed);
    free(batch->requests);
    free(batch);
}

size_t batch_pending_bytes(const struct batch *batch)
{
    return batch->logged.size - ENTRY_HEADER_BYTES + batch->reads.size + batch->request_count * sizeof(struct request);
}

void shard_weigh(struct shard *shard, size_t bytes)
{
    shard->pending_bytes += bytes;
    shard->store->pending_bytes += bytes;
}

void shard_unweigh(struct shard *shard, size_t bytes)
{
    ASSERT(shard->pending_bytes >= bytes && shard->store->pending_bytes >= bytes);
    shard->pending_bytes -= bytes;
    shard->store->pending_bytes -= bytes;
}

void batch_refuse(struct shard *shard, struct batch *batch, enum status status)
{
    gate_detach(shard, batch);
    shard_unweigh(shard, batch_pending_bytes(batch));
    size_t kept = 0;
    for (size_t i = 0; i < batch->request_count; i++) {
        const struct request *request = &batch->requests[i];
        if (request->kind == REQUEST_READ) {
            batch->requests[kept++] = *request;
        } else if (request->kind == REQUEST_LOGGED) {
            shard->sink.refused(shard->owner, request->origin, request->tag, status);
        }
    }
    batch->request_count = kept;
    batch->logged_count = 0;
    batch_begin(batch);
    shard_weigh(shard, batch_pending_bytes(batch));
}

static size_t command_size(const struct command *command)
{
    size_t size = 16;
    for (uint32_t i = 0; i < command->argc; i++) {
        size += command->argv[i].size + 5;
    }
    return size;
}

/* The store's, or the leader's, reason to take nothing. */
static enum status check_open(const struct shard *shard)
{
    if (shard->store->failed) {
        return STATUS_CLOSED;
    }
    return shard->leading ? STATUS_OK : STATUS_NOT_LEADER;
}

/* The oldest batch that is not applied; NULL: none. */
static const struct batch *oldest_batch(const struct shard *shard)
{
    const struct list *lists[] = {&shard->sealed, &shard->waiting};
    for (size_t i = 0; i < 2; i++) {
        if (!list_empty(lists[i])) {
            return CONTAINER_OF(lists[i]->next, struct batch, node);
        }
    }
    return shard->open->request_count != 0 ? shard->open : NULL;
}

bool shard_late(const struct shard *shard)
{
    if (shard->pending_bytes < SHARD_LATE_BYTES) {
        return false;
    }
    const struct batch *oldest = oldest_batch(shard);
    return oldest != NULL && env_monotonic_ns(shard->env) - oldest->since_ns > SHARD_LATE_MS * NS_PER_MS;
}

size_t shard_pending_bytes(const struct shard *shard) { return shard->pending_bytes; }

bool shard_may_wait(const struct shard *shard, size_t bytes)
{
    return shard->pending_bytes + bytes <= shard->options.pending_bytes &&
           shard->store->pending_bytes + bytes <= STORE_PENDING_BYTES;
}

static struct request *add_request(struct shard *shard, struct batch *batch)
{
    if (batch->request_count == 0) {
        batch->since_ns = env_monotonic_ns(shard->env);
    }
    if (batch->request_count == batch->request_capacity) {
        size_t capacity = batch->request_capacity == 0 ? 64 : batch->request_capacity * 2;
        struct request *requests = memory_resize(batch->requests, capacity * sizeof(*requests));
        batch->requests = requests;
        batch->request_capacity = capacity;
    }
    return &batch->requests[batch->request_count++];
}

/* Whether there is room for one more; closes the open batch when it is full. What was announced has its room. */
static enum status make_room(struct shard *shard, const struct command *command, enum request_kind kind)
{
    if (shard->announced != 0 && kind == REQUEST_LOGGED) {
        return STATUS_OK;
    }
    size_t size = command_size(command);
    if (size > LOG_MAXIMUM_ENTRY_BYTES - ENTRY_HEADER_BYTES) {
        return STATUS_TOO_LARGE;
    }
    if (!shard_may_wait(shard, size + sizeof(struct request))) {
        return STATUS_FULL;
    }
    const struct batch *batch = shard->open;
    bool large = kind == REQUEST_LOGGED && batch->logged_count != 0 && batch->logged.size + size > SHARD_BATCH_BYTES;
    if (shard->announced == 0 && (large || batch->request_count >= SHARD_BATCH_COMMANDS)) {
        shard_close_batch(shard);
    }
    return STATUS_OK;
}

enum status batch_add(struct shard *shard, const struct command *command, enum request_kind kind, void *origin,
                      uint64_t tag)
{
    enum status status = check_open(shard);
    if (shard->outcomes.count != 0 && kind == REQUEST_LOGGED && shard->announced == 0 && status == STATUS_OK) {
        outcomes_go_first(shard);
    }
    if (status == STATUS_OK) {
        status = make_room(shard, command, kind);
    }
    if (status != STATUS_OK) {
        return status;
    }
    struct batch *batch = shard->open;
    struct buffer *into = kind == REQUEST_LOGGED ? &batch->logged : &batch->reads;
    size_t before = into->size;
    command_encode(into, command);
    shard_weigh(shard, into->size - before + sizeof(struct request));
    batch->logged_count += kind == REQUEST_LOGGED ? 1 : 0;
    if (txn_prepares(command->spec)) {
        gate_attach(batch, shard, command);
    }
    *add_request(shard, batch) = (struct request){origin, tag, kind, machine_aim(shard->machine, command)};
    if (shard->announced != 0 && kind == REQUEST_LOGGED) {
        ASSERT(into->size - before <= shard->announced_bytes);
        shard->announced_bytes -= into->size - before;
        shard->announced--;
    }
    return STATUS_OK;
}

enum status batch_announce(struct shard *shard, const struct machine_origin *from, bool part, uint32_t logged_count,
                           size_t bytes)
{
    ASSERT(shard->announced == 0 && shard->sink.repeated != NULL);
    enum status status = check_open(shard);
    if (status != STATUS_OK) {
        return status;
    }
    if (!machine_origin_valid(from)) {
        return STATUS_INVALID;
    }
    if (logged_count == 0) {
        return STATUS_OK;
    }
    if (logged_count >= SHARD_BATCH_COMMANDS ||
        bytes > LOG_MAXIMUM_ENTRY_BYTES - ENTRY_HEADER_BYTES - ENTRY_ORIGIN_BYTES) {
        return STATUS_TOO_LARGE;
    }
    if (shard->outcomes.count != 0) {
        outcomes_go_first(shard);
    }
    size_t whole = ENTRY_ORIGIN_BYTES + bytes;
    if (!shard_may_wait(shard, whole + (1 + (size_t)logged_count) * sizeof(struct request))) {
        return STATUS_FULL;
    }
    struct batch *batch = shard->open;
    if ((batch->logged_count != 0 && batch->logged.size + whole > SHARD_BATCH_BYTES) ||
        batch->request_count + 1 + logged_count > SHARD_BATCH_COMMANDS) {
        shard_close_batch(shard);
        batch = shard->open;
    }
    size_t before = batch->logged.size;
    entry_origin_put(&batch->logged, from, part, logged_count);
    shard_weigh(shard, batch->logged.size - before + sizeof(struct request));
    batch->logged_count++;
    *add_request(shard, batch) = (struct request){.kind = REQUEST_ORIGIN};
    shard->announced = logged_count;
    shard->announced_bytes = bytes;
    return STATUS_OK;
}

void batch_join(struct shard *shard, struct slice commands, const struct request *requests, uint32_t count)
{
    ASSERT(shard->announced == 0);
    const struct batch *open = shard->open;
    if ((open->logged_count != 0 && open->logged.size + commands.size > SHARD_BATCH_BYTES) ||
        open->request_count + count > SHARD_BATCH_COMMANDS) {
        shard_close_batch(shard);
    }
    struct batch *batch = shard->open;
    buffer_append_slice(&batch->logged, commands);
    for (uint32_t i = 0; i < count; i++) {
        *add_request(shard, batch) = requests[i];
    }
    batch->logged_count += count;
}

static struct machine_origin origin_of(const struct shard_origin *origin)
{
    return (struct machine_origin){origin->node, origin->start, origin->sequence, origin->settled_below};
}

enum status shard_forwarded(struct shard *shard, const struct shard_origin *origin, uint32_t logged_count, size_t bytes)
{
    struct machine_origin from = origin_of(origin);
    return batch_announce(shard, &from, false, logged_count, bytes);
}

enum status shard_forwarded_part(struct shard *shard, const struct shard_origin *origin, uint32_t logged_count,
                                 size_t bytes)
{
    struct machine_origin from = origin_of(origin);
    return batch_announce(shard, &from, true, logged_count, bytes);
}

/* ---- through the gate ---- */

/* An outcome, unless it was announced with its batch. */
static bool waits_for_entry(const struct command *command, bool logged, const struct shard_request *request)
{
    return txn_ends(command->spec) && (request->forwarded == NULL || !logged);
}

enum status shard_take(struct shard *shard, const struct command *command, bool logged,
                       const struct shard_request *request)
{
    enum request_kind kind = logged ? REQUEST_LOGGED : REQUEST_READ;
    enum status status = check_open(shard);
    if (status != STATUS_OK) {
        return status;
    }
    if (command->spec->internal && waits_for_entry(command, logged, request)) {
        return outcomes_take(shard, command, outcome_part(shard, command), request);
    }
    bool looked_at = request->forwarded == NULL && (shard->gate.awake || command->spec->internal);
    if (looked_at && gate_holds(shard, command, request, logged, &status)) {
        return status;
    }
    status = batch_add(shard, command, kind, request->origin, request->tag);
    if (status != STATUS_OK && request->forwarded == NULL) {
        shard_let_go(shard, command);
    }
    return status;
}

enum status shard_submit(struct shard *shard, const struct command *command, void *origin, uint64_t tag)
{
    bool write = (command->spec->flags & COMMAND_READONLY) == 0;
    return shard_take(shard, command, write, &(struct shard_request){.origin = origin, .tag = tag});
}

enum status shard_submit_logged(struct shard *shard, const struct command *command, void *origin, uint64_t tag)
{
    return shard_take(shard, command, true, &(struct shard_request){.origin = origin, .tag = tag});
}

bool shard_hold(struct shard *shard, const struct command *command, bool logged, const struct shard_request *request,
                enum status *ret_status)
{
    ASSERT(request->forwarded != NULL && shard->leading);
    struct part *ends = waits_for_entry(command, logged, request) ? outcome_part(shard, command) : NULL;
    if (ends != NULL) {
        *ret_status = outcomes_take(shard, command, ends, request);
        return true;
    }
    return gate_holds(shard, command, request, logged, ret_status);
}

void shard_let_go(struct shard *shard, const struct command *command)
{
    if (txn_prepares(command->spec)) {
        gate_unclaim(shard, command);
    }
}

void shard_forget(struct shard *shard, const void *origin) { gate_forget(shard, origin); }

bool shard_holds_any(const struct shard *shard) { return gate_busy(shard); }

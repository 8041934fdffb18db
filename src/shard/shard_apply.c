/* Apply: committed entries into the machine, replies out to the sink. */
#include "shard/shard_state.h"

#include "base/assert.h"
#include "base/varint.h"

enum { POSITION_BITS = 16 };

/* How many commands before it a command's entry is asked for from memory; its bucket twice as many before. */
enum { AHEAD = 8 };

enum { TOLD_BYTES = 256 << 10 }; /* so much is told before a batch is over */

static struct machine_context context_of(const struct shard *shard, uint64_t index, uint64_t term,
                                         const struct entry_header *header)
{
    struct machine_context context = {
        .position = index << POSITION_BITS, .time_ms = header->time_ms, .wall_ms = header->wall_ms, .term = term};
    if (SHARD_MUTATED(shard, EXPIRE_BY_LOCAL_CLOCK)) {
        shard_time_now(shard, &context.time_ms, &context.wall_ms);
    }
    return context;
}

/* ---- how much in a turn ---- */

enum { STEP_BYTES = 16 };
#define NS_PER_MS INT64_C(1000000)

bool shard_tires(struct shard *shard)
{
    struct store *store = shard->store;
    shard->behind = true;
    store->tired = store->tired == NULL ? shard : store->tired;
    env_wake(shard->env);
    return false;
}

/* The machine may be slow, or another worker have had the engine for long. */
static void script_done(struct shard *shard, uint64_t steps)
{
    struct store *store = shard->store;
    int64_t now_ns = env_monotonic_ns(store->env);
    shard->steps_seen += steps;
    store->steps_left -= (int64_t)steps;
    store->script_ns = store->script_ns == 0 ? now_ns : store->script_ns;
    if (now_ns - store->script_ns > STORE_TURN_MS * NS_PER_MS && store->steps_left > 0) {
        store->steps_left = 0;
    }
}

/* Counts a command. */
static inline void work_done(struct shard *shard, const uint64_t *steps)
{
    shard->store->steps_left -= STORE_COMMAND_STEPS;
    if (__builtin_expect(*steps != shard->steps_seen, 0)) {
        script_done(shard, *steps - shard->steps_seen);
    }
}

static void entry_done(struct shard *shard, size_t bytes)
{
    shard->store->steps_left -= STORE_COMMAND_STEPS + (int64_t)(bytes / STEP_BYTES);
}

/* ---- what is told ---- */

void shard_listen_begin(struct shard *shard, uint64_t term)
{
    bool tells = shard->sink.told != NULL && shard->elected && term == shard->term;
    if (tells) {
        shard->events.wanted = shard->options.event_classes == NULL ? 0 : *shard->options.event_classes;
        machine_listen(shard->machine, &shard->events);
    }
}

static void tell(struct shard *shard)
{
    if (shard->events.messages.size != 0) {
        struct buffer messages = shard->events.messages; /* who hears of it may read, and tell more */
        buffer_init(&shard->events.messages);
        shard->sink.told(shard->owner, buffer_slice(&messages));
        buffer_clear(&messages);
        if (shard->events.messages.data == NULL && messages.capacity <= TOLD_BYTES) {
            shard->events.messages = messages;
        } else {
            buffer_deinit(&messages);
        }
    }
}

void shard_listen_end(struct shard *shard)
{
    machine_listen(shard->machine, NULL);
    tell(shard);
}

/* ---- news about locks ---- */

enum { NEWS_KEPT_BYTES = 256 << 10 };

static void news_begin(struct shard *shard, const struct batch *batch)
{
    machine_tell_locks(shard->machine, shard->sink.lock_news != NULL && shard->elected && batch->index != 0 &&
                                           batch->term == shard->term);
}

static void news_end(struct shard *shard)
{
    struct buffer *notices = machine_lock_notices(shard->machine);
    if (notices->size != 0) {
        shard->sink.lock_news(shard->owner, buffer_slice(notices));
        buffer_clear(notices);
        buffer_shrink(notices, NEWS_KEPT_BYTES);
    }
    machine_tell_locks(shard->machine, false);
}

/* Of records, which tell how old they are, and of a session, which tells what remains of it: clients count that from
 * before they asked, and the last entry may be older. No key of theirs can be due. */
static bool tells_ages(const struct command_spec *spec)
{
    return spec->id == COMMAND_COHORT_TXN_STATUS || spec->id == COMMAND_COHORT_TXN_LIST ||
           spec->id == COMMAND_COHORT_TXN_PARTS || spec->id == COMMAND_COHORT_TXN_PART ||
           spec->id == COMMAND_COHORT_SESSION_LOOK;
}

/* They tell what remains of something, which is looked up in the applied state all the same. */
static bool tells_remains(const struct command_spec *spec)
{
    return spec->id == COMMAND_TTL || spec->id == COMMAND_PTTL || spec->id == COMMAND_LOCK_INFO ||
           spec->id == COMMAND_ELECT_LEADER || spec->id == COMMAND_EXEC;
}

bool shard_look(struct shard *shard, const struct machine_context *context, const struct command *command,
                struct resp_writer *reply)
{
    bool part = command->spec->id == COMMAND_COHORT_TXN_PART;
    if (part) {
        resp_array(reply, 3);
    }
    bool read = machine_read(shard->machine, context, command, reply);
    if (part) {
        gate_tell(shard, command->argv[1], reply);
    }
    return read;
}

static void apply_read(struct shard *shard, struct slice *reads, const struct request *request)
{
    struct command command;
    ASSERT(command_decode(reads, &shard->arguments, &command) == STATUS_OK);
    struct resp_writer *reply = shard->sink.begin(shard->owner, request->origin, request->tag);
    if (reply != NULL) {
        /* The applied state is this read's present: a key due later than that is still there for it. */
        struct machine_context context = {.time_ms = shard->applied_time_ms, .wall_ms = shard->applied_wall_ms};
        if (tells_ages(command.spec)) {
            shard_time_now(shard, &context.time_ms, &context.wall_ms);
        } else if (tells_remains(command.spec)) {
            shard_time_now(shard, &context.ahead_ms, &context.ahead_wall_ms);
            context.ahead_ms -= shard->applied_time_ms;
            context.ahead_wall_ms -= shard->applied_wall_ms;
        }
        ASSERT(shard_look(shard, &context, &command, reply));
    }
    shard->sink.end(shard->owner, request->origin, request->tag, &command);
}

/* The marker before `count` commands that another node forwarded; returns how many of them are to be skipped. */
static uint32_t apply_origin(struct shard *shard, const struct machine_origin *origin, bool part, uint32_t count,
                             struct machine_context *context)
{
    bool fresh = machine_apply_origin(shard->machine, context, origin, part);
    context->position++;
    shard->stats.repeated += fresh ? 0 : 1;
    return fresh || SHARD_MUTATED(shard, FORWARDED_TWICE) ? 0 : count;
}

static uint32_t take_origin(struct shard *shard, struct slice *logged, struct machine_context *context)
{
    struct command command;
    struct machine_origin origin;
    bool part = false;
    uint32_t count = 0;
    ASSERT(command_decode_logged(logged, &shard->arguments, &command) == STATUS_OK);
    ASSERT(entry_origin_take(&command, &origin, &part, &count));
    return apply_origin(shard, &origin, part, count, context);
}

static void apply_logged(struct shard *shard, const struct command *command, const struct request *request,
                         const struct machine_context *context)
{
    struct resp_writer discard = {NULL, command->protocol};
    struct resp_writer *reply = shard->sink.begin(shard->owner, request->origin, request->tag);
    machine_apply(shard->machine, context, command, reply != NULL ? reply : &discard);
    shard->sink.end(shard->owner, request->origin, request->tag, command);
    shard->stats.commands++;
    gate_applied(&shard->gate, command->spec);
    if (__builtin_expect(shard->events.messages.size >= TOLD_BYTES, 0)) {
        tell(shard);
    }
}

static void prefetch_after(const struct shard *shard, const struct batch *batch, size_t number)
{
    if (number + 2 * AHEAD < batch->request_count) {
        machine_prefetch_bucket(shard->machine, batch->requests[number + 2 * AHEAD].aim);
    }
    if (number + AHEAD < batch->request_count) {
        machine_prefetch_entry(shard->machine, batch->requests[number + AHEAD].aim);
    }
}

static struct slice rest_of(const struct buffer *buffer, size_t done)
{
    return done == 0 ? buffer_slice(buffer) : slice_of(buffer->data + done, buffer->size - done);
}

/* At the beginning, and again in each turn that goes on with it. */
static void go_on_with(struct shard *shard, const struct batch *batch)
{
    shard->applying = true;
    shard->told_index = batch->index == 0 ? shard->applied_index : batch->index;
    shard_listen_begin(shard, batch->index == 0 ? shard->term : batch->term);
    news_begin(shard, batch);
    if (batch->index != 0) {
        shard->applied_time_ms = batch->header.time_ms;
        shard->applied_wall_ms = batch->header.wall_ms;
        machine_apply_clock(shard->machine, batch->header.time_ms, batch->header.wall_ms); /* a read may come first */
    }
}

/* One request, from the front of its slice. */
static void apply_request(struct shard *shard, const struct request *request, struct slice *logged, struct slice *reads,
                          struct machine_context *context, uint32_t *skipped)
{
    if (request->kind == REQUEST_READ) {
        apply_read(shard, reads, request);
        return;
    }
    if (request->kind == REQUEST_ORIGIN) {
        *skipped = take_origin(shard, logged, context);
        return;
    }
    struct command command;
    ASSERT(command_decode(logged, &shard->arguments, &command) == STATUS_OK);
    if (*skipped == 0) {
        apply_logged(shard, &command, request, context);
    } else {
        (*skipped)--;
        shard->sink.repeated(shard->owner, request->origin, request->tag);
    }
    context->position++;
}

static void batch_done(struct shard *shard, const struct batch *batch)
{
    entry_done(shard, batch->logged.size);
    shard_unweigh(shard, batch_pending_bytes(batch));
    shard->applying = false;
    if (batch->index != 0) {
        ASSERT(batch->index == shard->applied_index + 1);
        shard->applied_index = batch->index;
        shard->stats.entries++;
    }
}

bool batch_apply(struct shard *shard, struct batch *batch)
{
    struct progress *done = &batch->done;
    struct slice logged = rest_of(&batch->logged, ENTRY_HEADER_BYTES + done->logged_bytes);
    struct slice reads = rest_of(&batch->reads, done->read_bytes);
    struct machine_context context = context_of(shard, batch->index, batch->term, &batch->header);
    uint64_t first = context.position;
    context.position += done->commands;
    go_on_with(shard, batch);
    if (batch->kind == ENTRY_TIME) {
        machine_apply_time(shard->machine, &context);
        shard->time_entry_due =
            machine_has_due(shard->machine, context.time_ms, context.wall_ms); /* more than a step */
    }
    const uint64_t *steps = machine_steps(shard->machine);
    shard->steps_seen = *steps;
    size_t i = done->requests;
    for (; i < batch->request_count && shard_may_work(shard); i++) {
        prefetch_after(shard, batch, i);
        apply_request(shard, &batch->requests[i], &logged, &reads, &context, &done->skipped);
        work_done(shard, steps);
    }
    shard_listen_end(shard);
    news_end(shard);
    if (i != batch->request_count) {
        done->requests = i;
        done->commands = (uint32_t)(context.position - first);
        done->logged_bytes = batch->logged.size - ENTRY_HEADER_BYTES - logged.size;
        done->read_bytes = batch->reads.size - reads.size;
        shard->applying = batch->index != 0; /* reads alone leave the state as it is */
        shard->stats.divided++;
        return false;
    }
    ASSERT(logged.size == 0 && reads.size == 0);
    batch_done(shard, batch);
    return true;
}

/* Runs ahead of replay and asks for the memory that the commands will need, as prefetch_after does for our own. */
struct lookahead {
    struct slice rest;
    uint32_t left, seen;
    uint64_t aims[2 * AHEAD]; /* of the last commands seen */
};

static void look_ahead(struct shard *shard, struct lookahead *ahead, uint32_t number)
{
    while (ahead->left != 0 && ahead->seen <= number + 2 * AHEAD - 1) {
        struct command command;
        if (command_decode_logged(&ahead->rest, &shard->ahead_arguments, &command) != STATUS_OK) {
            ahead->left = 0; /* replay will come to it */
            return;
        }
        uint64_t aim = command.spec->place == COMMAND_AT_LOG ? 0 : machine_aim(shard->machine, &command);
        machine_prefetch_bucket(shard->machine, aim);
        ahead->aims[ahead->seen++ % (2 * AHEAD)] = aim;
        ahead->left--;
    }
    if (number + AHEAD < ahead->seen) {
        machine_prefetch_entry(shard->machine, ahead->aims[(number + AHEAD) % (2 * AHEAD)]);
    }
}

/* One command of an entry, from its front; `left` are in it. */
static enum status replay_command(struct shard *shard, struct slice *body, uint32_t left, struct progress *done,
                                  struct machine_context *context)
{
    struct command command;
    enum status status = command_decode_logged(body, &shard->arguments, &command);
    if (status != STATUS_OK) {
        return status;
    }
    if (command.spec->place == COMMAND_AT_LOG) {
        struct machine_origin origin;
        bool part = false;
        if (done->forwarded != 0 || !entry_origin_take(&command, &origin, &part, &done->forwarded) ||
            done->forwarded > left - 1) {
            return STATUS_CORRUPT;
        }
        done->skipped = apply_origin(shard, &origin, part, done->forwarded, context);
        return STATUS_OK;
    }
    if (done->skipped == 0) {
        struct resp_writer discard = {NULL, command.protocol};
        machine_apply(shard->machine, context, &command, &discard);
    }
    done->forwarded -= done->forwarded != 0 ? 1 : 0;
    done->skipped -= done->skipped != 0 ? 1 : 0;
    context->position++;
    return STATUS_OK;
}

static enum status replay_commands(struct shard *shard, struct slice whole, const struct entry_header *header,
                                   struct machine_context *context)
{
    struct progress *done = &shard->replayed;
    struct slice body = slice_of(whole.data + done->logged_bytes, whole.size - done->logged_bytes);
    struct lookahead ahead = {.rest = body, .left = header->commands - done->commands};
    const uint64_t *steps = machine_steps(shard->machine);
    shard->steps_seen = *steps;
    uint32_t first = done->commands;
    context->position += first;
    done->skipped += first != 0 && SHARD_MUTATED(shard, GOES_ON_BEHIND) ? 1 : 0;
    for (; done->commands < header->commands; done->commands++) {
        if (!shard_may_work(shard)) {
            done->logged_bytes = whole.size - body.size;
            shard->stats.divided++;
            return STATUS_AGAIN;
        }
        look_ahead(shard, &ahead, done->commands - first);
        enum status status = replay_command(shard, &body, header->commands - done->commands, done, context);
        if (status != STATUS_OK) {
            return status;
        }
        work_done(shard, steps);
    }
    *done = (struct progress){0};
    return body.size == 0 ? STATUS_OK : STATUS_CORRUPT;
}

/* The group's first entry of ours says how its machine hashes. */
static enum status replay_genesis(struct shard *shard, struct slice body)
{
    if (body.size != sizeof(uint64_t) || shard->machine != NULL) {
        return STATUS_CORRUPT;
    }
    shard->hash_seed = get_u64(body.data);
    shard->machine = machine_create(&(struct machine_options){shard->hash_seed, shard->store->scripts});
    return STATUS_OK;
}

static enum status replay_payload(struct shard *shard, const struct raft_entry *entry)
{
    struct slice body = entry->payload;
    struct entry_header header;
    enum status status = entry_header_take(&body, &header);
    if (status != STATUS_OK) {
        return status;
    }
    if (header.time_ms < shard->applied_time_ms || header.wall_ms < shard->applied_wall_ms ||
        (shard->machine == NULL) != (entry->kind == ENTRY_GENESIS)) {
        return STATUS_CORRUPT;
    }
    struct machine_context context = context_of(shard, entry->index, entry->term, &header);
    switch (entry->kind) {
    case ENTRY_COMMANDS: status = replay_commands(shard, body, &header, &context); break;
    case ENTRY_TIME: machine_apply_time(shard->machine, &context); break;
    case ENTRY_GENESIS: status = replay_genesis(shard, body); break;
    default: status = STATUS_VERSION; break;
    }
    if (status == STATUS_OK) {
        shard_time_entry_made(shard, &header, entry->term);
        shard->applied_time_ms = header.time_ms;
        shard->applied_wall_ms = header.wall_ms;
    }
    return status;
}

enum status entry_replay(struct shard *shard, const struct raft_entry *entry)
{
    ASSERT(entry->index == shard->applied_index + 1);
    enum status status = STATUS_OK;
    if (entry->kind == RAFT_ENTRY_CONFIGURATION) {
        status = raft_configuration_decode(entry->payload, &shard->configuration);
    } else if (entry->kind != RAFT_ENTRY_NOOP) {
        status = replay_payload(shard, entry);
    }
    shard->applying = status == STATUS_AGAIN;
    if (status == STATUS_OK) {
        entry_done(shard, entry->payload.size);
        shard->applied_index = entry->index;
        shard->stats.replayed_entries++;
    }
    return status;
}

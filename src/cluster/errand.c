/* Requests for shards of other workers of this node: the worker whose connection asks sends them to the one that owns
 * the shard, where a visitor stands in for who asked. It submits them to the lane as any requester does, under the
 * asker's id and tags, so the order of the asker's requests holds there; what the lane answers goes back.
 *
 *   asker ─cluster_submit─▶ REQUEST ─▶ visitor ─cluster_submit─▶ lane
 *   asker ◀──begin, end─── ANSWER ◀── visitor ◀──begin, end────┘
 *
 * Bounds: a worker asks another for ERRAND_ASKED_BYTES at most that are not answered (else FULL: the request goes
 * nowhere); what waits there counts in its lanes. Of answers that the asker has not taken there are
 * ERRAND_OWED_BYTES; beyond that only what became of a request is told, as to other nodes (remote.c). */
#include "cluster/cluster_internal.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

enum { TAKEN_BYTES = 1 << 20 }; /* of answers: told of so many at a time */

/* As they lie in records: no other process reads them. */
struct request_head {
    uint64_t asker, id, tag;    /* the asker is only given back */
    struct cluster_bound bound; /* CLUSTER_WITHIN */
    uint32_t shard;
    uint16_t way;
    bool tell_slow;
};

struct errand_answer_head {
    uint64_t asker, tag;
    uint64_t index; /* as cluster_told_index, when it replied */
    uint32_t bytes; /* of the request */
    bool replied;   /* what it is follows */
    bool took_long; /* as FORWARD_REPLIED_LONG */
    enum status status;
};

struct slow_head {
    uint64_t asker;
    int64_t duration_ns;
};

struct visitor {
    struct requester requester; /* first */
    struct list node;           /* in cluster.visitors */
    struct cluster *cluster;
    uint32_t from, bytes;
    uint64_t asker;
    uint8_t protocol;
    bool replying, tell_slow;
    struct resp_writer writer;
    size_t head_at; /* of the answer, in what it writes to */
};

static struct colleague *colleague_of(struct cluster *cluster, uint32_t worker) { return &cluster->colleagues[worker]; }

/* ---- asking ---- */

static size_t bytes_of(const struct command *command)
{
    size_t bytes = sizeof(struct request_head) + sizeof(struct visitor);
    for (uint32_t i = 0; i < command->argc; i++) {
        bytes += command->argv[i].size + sizeof(struct slice);
    }
    return bytes;
}

enum status errand_submit(const struct lane *lane, const struct command *command, enum cluster_way way,
                          const struct cluster_bound *bound, struct requester *requester, uint64_t tag)
{
    struct cluster *cluster = lane->cluster;
    uint32_t owner = cluster_worker_of(cluster, lane->shard);
    struct colleague *colleague = colleague_of(cluster, owner);
    size_t bytes = bytes_of(command);
    if (bytes > CLUSTER_COMMAND_BYTES && !cluster_alone(cluster)) {
        return STATUS_TOO_LARGE;
    }
    if (colleague->asked != 0 && colleague->asked_bytes + bytes > ERRAND_ASKED_BYTES) {
        return STATUS_FULL;
    }
    struct request_head head = {.asker = (uintptr_t)requester,
                                .id = requester->id,
                                .tag = tag,
                                .bound = bound == NULL ? (struct cluster_bound){0} : *bound,
                                .shard = lane->shard,
                                .way = (uint16_t)way,
                                .tell_slow = requester->events->slow != NULL};
    struct buffer *record = workers_begin(cluster->workers, owner, WORKERS_CLUSTER, CLUSTER_TELL_REQUEST);
    buffer_append(record, &head, sizeof(head));
    command_encode(record, command);
    colleague->asked++;
    colleague->asked_bytes += workers_end(cluster->workers, owner);
    cluster->counters.errands++;
    return STATUS_OK;
}

void errand_answered(struct cluster *cluster, uint32_t from, struct slice body)
{
    struct errand_answer_head head;
    ASSERT(body.size >= sizeof(head));
    memcpy(&head, body.data, sizeof(head));
    struct colleague *colleague = colleague_of(cluster, from);
    ASSERT(colleague->asked > 0 && colleague->asked_bytes >= head.bytes);
    colleague->asked--;
    colleague->asked_bytes -= head.bytes;
    colleague->taken_bytes += body.size;
    struct requester *requester = (struct requester *)(uintptr_t)head.asker;
    if (!head.replied) {
        requester->events->failed(requester, head.tag, head.status);
        return;
    }
    struct resp_writer *writer = requester->events->begin(requester, head.tag);
    if (writer != NULL) {
        resp_raw(writer, slice_of(body.data + sizeof(head), body.size - sizeof(head)));
    }
    cluster->took_long = head.took_long;
    cluster->told_index = head.index;
    requester->events->end(requester, head.tag, NULL);
}

/* Behind the answer, in the same message and so in the same turn; before it, of what another node took so long for. */
void errand_was_slow(struct cluster *cluster, struct slice body)
{
    struct slow_head head;
    struct command command;
    ASSERT(body.size > sizeof(head));
    memcpy(&head, body.data, sizeof(head));
    struct slice rest = slice_of(body.data + sizeof(head), body.size - sizeof(head));
    ASSERT(command_decode(&rest, &cluster->arguments, &command) == STATUS_OK);
    struct requester *requester = (struct requester *)(uintptr_t)head.asker;
    requester->events->slow(requester, &command, head.duration_ns);
}

void errands_turn(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->worker_count; i++) {
        struct colleague *colleague = colleague_of(cluster, i);
        if (colleague->taken_bytes >= TAKEN_BYTES) {
            uint64_t bytes = colleague->taken_bytes;
            struct slice part = slice_of(&bytes, sizeof(bytes));
            colleague->taken_bytes = 0;
            workers_tell(cluster->workers, i, WORKERS_CLUSTER, CLUSTER_TELL_TAKEN, &part, 1);
        }
    }
}

/* ---- visiting ---- */

void errand_taken(struct cluster *cluster, uint32_t from, struct slice body)
{
    uint64_t bytes = 0;
    ASSERT(body.size == sizeof(bytes));
    memcpy(&bytes, body.data, sizeof(bytes));
    ASSERT(colleague_of(cluster, from)->owed_bytes >= bytes);
    colleague_of(cluster, from)->owed_bytes -= bytes;
}

static struct buffer *begin_answer(struct visitor *visitor, uint64_t tag, bool replied, enum status status)
{
    struct errand_answer_head head = {.asker = visitor->asker,
                                      .tag = tag,
                                      .index = visitor->cluster->told_index, /* of a reply that is at its beginning… */
                                      .bytes = visitor->bytes,
                                      .replied = replied,
                                      .status = status};
    struct buffer *record =
        workers_begin(visitor->cluster->workers, visitor->from, WORKERS_CLUSTER, CLUSTER_TELL_ANSWER);
    buffer_append(record, &head, sizeof(head));
    return record;
}

static void visitor_free(struct visitor *visitor)
{
    list_remove(&visitor->node);
    free(visitor);
}

/* It is the last that is heard of the visitor. */
static void end_answer(struct visitor *visitor)
{
    size_t size = workers_end(visitor->cluster->workers, visitor->from);
    colleague_of(visitor->cluster, visitor->from)->owed_bytes += size;
    visitor_free(visitor);
}

static void answer_failed(struct visitor *visitor, uint64_t tag, enum status status)
{
    (void)begin_answer(visitor, tag, false, status);
    end_answer(visitor);
}

static struct resp_writer *visitor_begin(struct requester *requester, uint64_t tag)
{
    struct visitor *visitor = (struct visitor *)requester;
    if (colleague_of(visitor->cluster, visitor->from)->owed_bytes > ERRAND_OWED_BYTES) {
        return NULL;
    }
    struct buffer *record = begin_answer(visitor, tag, true, STATUS_OK);
    visitor->replying = true;
    visitor->head_at = record->size - sizeof(struct errand_answer_head);
    visitor->writer = resp_writer_to(record, visitor->protocol);
    return &visitor->writer;
}

static void tell_slow(const struct visitor *visitor, const struct command *command, int64_t duration_ns)
{
    struct cluster *cluster = visitor->cluster;
    struct slow_head head = {.asker = visitor->asker, .duration_ns = duration_ns};
    struct buffer *record = workers_begin(cluster->workers, visitor->from, WORKERS_CLUSTER, CLUSTER_TELL_SLOW);
    buffer_append(record, &head, sizeof(head));
    command_encode(record, command);
    (void)workers_end(cluster->workers, visitor->from);
}

/* Counts what a command took here, where it was executed. The visitor is gone already: this is a copy. */
static void note_visit(const struct visitor *visitor, const struct command *command)
{
    struct cluster *cluster = visitor->cluster;
    int64_t duration_ns = 0;
    if (command != NULL && cluster->events.visited != NULL &&
        cluster->events.visited(cluster->owner, command, &duration_ns) && visitor->tell_slow) {
        tell_slow(visitor, command, duration_ns);
    }
}

static void visitor_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    struct visitor *visitor = (struct visitor *)requester;
    struct visitor gone = *visitor;
    if (visitor->replying) {
        uint8_t *head = visitor->writer.out->data + visitor->head_at;
        head[offsetof(struct errand_answer_head, took_long)] =
            (command == NULL || command_may_script(command->spec)) && visitor->cluster->took_long;
        memcpy(head + offsetof(struct errand_answer_head, index), &visitor->cluster->told_index, /* … and at its end */
               sizeof(visitor->cluster->told_index));
        end_answer(visitor);
    } else {
        bool reads = command != NULL && (command->spec->flags & COMMAND_READONLY) != 0;
        answer_failed(visitor, tag, reads ? STATUS_FULL : STATUS_EXECUTED);
    }
    note_visit(&gone, command);
}

static void visitor_failed(struct requester *requester, uint64_t tag, enum status status)
{
    answer_failed((struct visitor *)requester, tag, status);
}

/* At another node. */
static void visitor_slow(struct requester *requester, const struct command *command, int64_t duration_ns)
{
    const struct visitor *visitor = (const struct visitor *)requester;
    if (visitor->tell_slow) {
        tell_slow(visitor, command, duration_ns);
    }
}

static const struct requester_events visitor_events = {visitor_begin, visitor_end, visitor_failed, NULL, visitor_slow};

/* What can be read at once is. */
static bool read_at_once(struct visitor *visitor, const struct request_head *head, const struct command *command,
                         enum cluster_way *way)
{
    bool weak = head->way == CLUSTER_WEAK;
    bool within = head->way == CLUSTER_WITHIN;
    if (!weak && !within && head->way != CLUSTER_READ) {
        return false;
    }
    struct buffer *scratch = &visitor->cluster->scratch;
    buffer_clear(scratch);
    visitor->writer = resp_writer_to(scratch, visitor->protocol);
    *way = CLUSTER_PLAIN;
    struct cluster *cluster = visitor->cluster;
    bool read = (weak && cluster_read_here(cluster, head->shard, command, &visitor->writer)) ||
                (within ? cluster_read_within(cluster, head->shard, command, &head->bound, head->id, &visitor->writer)
                        : cluster_read(cluster, head->shard, command, &visitor->writer, way));
    if (read) {
        struct visitor gone = *visitor;
        buffer_append_slice(begin_answer(visitor, head->tag, true, STATUS_OK), buffer_slice(scratch));
        end_answer(visitor);
        note_visit(&gone, command);
    }
    buffer_shrink(scratch, TAKEN_BYTES);
    return read;
}

void errand_arrived(struct cluster *cluster, uint32_t from, struct slice body)
{
    struct request_head head;
    ASSERT(body.size > sizeof(head));
    memcpy(&head, body.data, sizeof(head));
    struct slice rest = slice_of(body.data + sizeof(head), body.size - sizeof(head));
    struct command command;
    ASSERT(command_decode(&rest, &cluster->arguments, &command) == STATUS_OK);
    ASSERT(cluster_worker_of(cluster, head.shard) == cluster->worker);
    struct visitor *visitor = memory_allocate_zeroed(1, sizeof(*visitor));
    *visitor = (struct visitor){.requester = {&visitor_events, head.id},
                                .cluster = cluster,
                                .from = from,
                                .bytes = (uint32_t)body.size,
                                .asker = head.asker,
                                .protocol = command.protocol,
                                .tell_slow = head.tell_slow};
    list_init(&visitor->node);
    list_append(&cluster->visitors, &visitor->node);
    enum cluster_way way = (enum cluster_way)head.way;
    if (read_at_once(visitor, &head, &command, &way)) {
        return;
    }
    enum status status =
        head.way == CLUSTER_WITHIN
            ? cluster_submit_within(cluster, head.shard, &command, &head.bound, &visitor->requester, head.tag)
            : cluster_submit(cluster, head.shard, &command, way, &visitor->requester, head.tag);
    if (status != STATUS_OK) {
        answer_failed(visitor, head.tag, status);
    }
}

/* ---- both ---- */

bool errands_idle(const struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->worker_count; i++) {
        if (cluster->colleagues[i].asked != 0) {
            return false;
        }
    }
    return list_empty(&cluster->visitors);
}

void errands_destroy(struct cluster *cluster)
{
    while (!list_empty(&cluster->visitors)) {
        visitor_free(CONTAINER_OF(cluster->visitors.next, struct visitor, node));
    }
}

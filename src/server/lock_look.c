#include "server/lock_look.h"

#include "base/memory.h"
#include "server/lock_knot.h"
#include "server/server_state.h"

#include <stdlib.h>

#define NS_PER_MS INT64_C(1000000)

struct lock_look {
    struct requester requester;
    struct server *server;
    struct resp_writer writer;
    struct buffer *before, *now; /* of each shard: its answer to the last look, and to this one */
    struct lock_sight *sights;
    uint32_t waiting; /* answers to come, and one more while they are asked for */
    int64_t next_ns;
    bool soon; /* this look came early */
};

static struct lock_look *of(struct requester *requester)
{
    return CONTAINER_OF(requester, struct lock_look, requester);
}

/* ---- the end of a look ---- */

static void end_wait(void *owner, const struct lock_origin *waiter, const char *text)
{
    struct lock_look *look = owner;
    struct server *server = look->server;
    if (waiter->node == server->options.node_id && waiter->start == server->node_file.lineage.start &&
        waiter_deadlock(server, waiter->number, text)) {
        server->figures.lock_deadlocks++;
    }
}

static void leave_in_peace(void *owner, const struct lock_origin *waiter, const char *text)
{
    (void)owner;
    (void)waiter;
    (void)text;
}

/* What a bulk string holds; nothing, when the answer is another one. */
static struct slice body_of(const struct buffer *answer)
{
    const uint8_t *line = answer->size == 0 ? NULL : memchr(answer->data, '\n', answer->size);
    if (line == NULL || answer->data[0] != '$' || answer->data + answer->size < line + 3) {
        return slice_of(NULL, 0);
    }
    return slice_of(line + 1, (size_t)(answer->data + answer->size - line) - 3);
}

static size_t see(struct lock_look *look, bool before)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < look->server->shards; i++) {
        look->sights[i].now = body_of(&look->now[i]);
        look->sights[i].before = before ? body_of(&look->before[i]) : look->sights[i].now;
        bytes += look->sights[i].now.size;
    }
    return bytes;
}

static void end_look(struct lock_look *look)
{
    static const struct lock_knot_events ends = {end_wait};
    static const struct lock_knot_events finds = {leave_in_peace};
    uint32_t shards = look->server->shards;
    size_t bytes = see(look, true);
    (void)lock_knots(look->sights, shards, &ends, look);
    (void)see(look, false);
    look->soon = !look->soon && lock_knots(look->sights, shards, &finds, look) > 0;
    int64_t pause_ms = look->soon ? LOCK_LOOK_SOON_MS : LOCK_LOOK_MS + (int64_t)(bytes * 1000 / LOCK_LOOK_BYTES);
    look->next_ns = server_now_ns(look->server) + pause_ms * NS_PER_MS;
    struct buffer *before = look->before;
    look->before = look->now;
    look->now = before;
}

static void take(struct lock_look *look)
{
    if (--look->waiting == 0) {
        end_look(look);
    }
}

static struct resp_writer *look_begin(struct requester *requester, uint64_t tag)
{
    struct lock_look *look = of(requester);
    buffer_clear(&look->now[tag]);
    look->writer = resp_writer_to(&look->now[tag], RESP2);
    return &look->writer;
}

static void look_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    (void)tag;
    (void)command;
    take(of(requester));
}

static void look_failed(struct requester *requester, uint64_t tag, enum status status)
{
    (void)status;
    buffer_clear(&of(requester)->now[tag]);
    take(of(requester));
}

static const struct requester_events look_events = {look_begin, look_end, look_failed, NULL, NULL};

/* ---- its beginning ---- */

static struct lock_look *create(struct server *server)
{
    struct lock_look *look = memory_allocate_zeroed(1, sizeof(*look));
    look->requester.events = &look_events;
    look->server = server;
    look->before = memory_allocate_zeroed(server->shards, sizeof(*look->before));
    look->now = memory_allocate_zeroed(server->shards, sizeof(*look->now));
    look->sights = memory_allocate_zeroed(server->shards, sizeof(*look->sights));
    for (uint32_t i = 0; i < server->shards; i++) {
        look->sights[i].shard = i + 1;
    }
    return look;
}

static void begin(struct lock_look *look)
{
    struct server *server = look->server;
    const struct slice argv[] = {SLICE_LITERAL("COHORT.LOCK.WAITS")};
    const struct command command = {command_by_id(COMMAND_COHORT_LOCK_WAITS), argv, 1, RESP2};
    look->waiting = 1;
    for (uint32_t i = 0; i < server->shards; i++) {
        buffer_clear(&look->now[i]);
        look->waiting++;
        if (cluster_submit(server->cluster, i + 1, &command, CLUSTER_PLAIN, &look->requester, i) != STATUS_OK) {
            look->waiting--;
        }
    }
    take(look);
}

static void forget(struct server *server)
{
    lock_look_destroy(server->lock_look);
    server->lock_look = NULL;
}

void lock_look_after(struct server *server, bool waits)
{
    struct lock_look *look = server->lock_look;
    if (look != NULL && look->waiting > 0) {
        return;
    }
    if (!waits || server->phase != SERVER_SERVING) {
        forget(server);
        return;
    }
    if (look == NULL) {
        look = create(server);
        server->lock_look = look;
    }
    if (server_now_ns(server) >= look->next_ns) {
        begin(look);
    }
}

void lock_look_destroy(struct lock_look *look)
{
    if (look == NULL) {
        return;
    }
    for (uint32_t i = 0; i < look->server->shards; i++) {
        buffer_deinit(&look->before[i]);
        buffer_deinit(&look->now[i]);
    }
    free(look->before);
    free(look->now);
    free(look->sights);
    free(look);
}

#include "server/lock_many.h"

#include "base/assert.h"
#include "base/memory.h"
#include "server/figures.h"
#include "server/lock_client.h"
#include "server/lock_many_internal.h"

#include <stdlib.h>

/* ---- life ---- */

static struct slice number_of(const struct lock_many *many) { return slice_of(&many->number, sizeof(many->number)); }

void many_set_number(struct lock_many *many)
{
    struct table *numbers = &many->server->lock_many_numbers;
    if (many->number != 0) {
        table_remove(numbers, table_hash(numbers, number_of(many)), many);
    }
    many->number = lock_wait_number(many->server);
    table_insert(numbers, table_hash(numbers, number_of(many)), many);
}

void many_free(struct lock_many *many)
{
    struct table *numbers = &many->server->lock_many_numbers;
    table_remove(numbers, table_hash(numbers, number_of(many)), many);
    list_remove(&many->node);
    many->server->lock_many_count--;
    many_free_words(many);
    free(many);
}

void many_set_next(struct lock_many *many, int64_t ms) { many->next_ns = server_now_ns(many->server) + ms * NS_PER_MS; }

/* ---- answers ---- */

static void answer(struct lock_many *many, struct slice reply)
{
    struct connection *connection = many->connection;
    struct server *server = many->server;
    uint64_t number = many->slot;
    int64_t spent_ns = server_now_ns(server) - many->began_ns;
    if (connection == NULL) {
        return;
    }
    many->connection = NULL;
    connection->lock_many = NULL;
    struct slot *slot = slot_at(connection, number);
    slot->kind = SLOT_PLAIN;
    if (!slot->silent) {
        buffer_append_slice(&slot->stash, reply);
    }
    connection->reply_start = 0;
    slot_finish(connection, number);
    figures_part(server, COMMAND_LOCK_MACQUIRE, spent_ns, true);
    env_wake(server->env);
}

void many_answer_grants(struct lock_many *many)
{
    struct buffer reply;
    buffer_init(&reply);
    many_put_grants(many, &reply);
    answer(many, buffer_slice(&reply));
    buffer_deinit(&reply);
}

/* What waits to be told. */
static void answer_reply(struct lock_many *many)
{
    if (many->connection != NULL && many->reply.size == 0) {
        struct resp_writer writer = resp_writer_to(&many->reply, slot_at(many->connection, many->slot)->protocol);
        resp_null_array(&writer);
    }
    answer(many, buffer_slice(&many->reply));
}

/* ---- giving back ---- */

void many_back_all(struct lock_many *many)
{
    bool home_first = many->may_be_granted && many->parts[0].has;
    for (uint32_t i = 0; i < (home_first ? 1 : many->part_count); i++) {
        struct many_part *part = &many->parts[i];
        if (part->has && part->asked == 0) {
            many_ask(many, i, COMMAND_COHORT_LOCK_BACK, 0);
        }
    }
    many_set_next(many, LOCK_MANY_AGAIN_MS);
}

static bool has_nothing(const struct lock_many *many)
{
    for (uint32_t i = 0; i < many->part_count; i++) {
        if (many->parts[i].has || many->parts[i].asked != 0) {
            return false;
        }
    }
    return true;
}

/* It ends, or begins anew, when all shards have heard. */
void many_give_back(struct lock_many *many)
{
    many->phase = MANY_GIVES_BACK;
    many->back_until_ns = server_now_ns(many->server) + LOCK_MANY_BACK_MS * NS_PER_MS;
    many_back_all(many);
}

/* The client is told this in the end; NULL: nil. */
void many_end_with(struct lock_many *many, const char *text)
{
    struct resp_writer writer = resp_writer_to(&many->reply, RESP2);
    buffer_clear(&many->reply);
    if (text != NULL) {
        resp_error(&writer, text);
    }
    many->anew = false;
    many_give_back(many);
}

bool many_in_time(const struct lock_many *many)
{
    return many->may_wait && server_now_ns(many->server) < many->deadline_ns;
}

/* Home has refused this number, or has forgotten it. */
void many_begin_anew(struct lock_many *many)
{
    many->anew = many_in_time(many);
    buffer_clear(&many->reply);
    many_give_back(many);
}

void many_go_back(struct lock_many *many)
{
    bool clean = has_nothing(many);
    if (clean && many->anew && many->connection != NULL && many_in_time(many)) {
        many_try_all(many);
        many_go_on(many);
        return;
    }
    if (many->connection != NULL && (clean || server_now_ns(many->server) >= many->back_until_ns)) {
        answer_reply(many);
    }
    if (clean) {
        many_free(many);
    }
}

/* ---- from the client ---- */

void lock_many_acquire(struct connection *connection, const struct command *command)
{
    struct server *server = connection->server;
    struct lock_many *many = memory_allocate_zeroed(1, sizeof(*many));
    many->key_size = sizeof(many->number);
    many->requester.events = &many_events;
    many->server = server;
    many->client = connection->id;
    many->began_ns = server_now_ns(server);
    ASSERT(many_parse(many, command) == NULL); /* as it was looked at before */
    for (uint32_t i = 0; i < many->key_count; i++) {
        many->keys[i].shard = slot_shard(key_slot(many->keys[i].name), server->shards);
    }
    many_arrange(many);
    list_init(&many->node);
    list_append(&server->lock_manys, &many->node);
    server->lock_many_count++;
    lock_client_note(connection);
    many->connection = connection;
    many->slot = slot_open(connection, command->spec);
    struct slot *slot = slot_at(connection, many->slot);
    slot->kind = SLOT_LOCKS;
    slot->locks = many;
    connection->lock_many = many;
    many_try_all(many);
    many_go_on(many);
}

void lock_many_leave(struct lock_many *many)
{
    if (many == NULL || many->connection == NULL) {
        return;
    }
    many->connection->lock_many = NULL;
    many->connection = NULL;
    if (many->phase != MANY_GIVES_BACK) {
        many_give_back(many);
    }
    if (has_nothing(many)) {
        many_free(many);
    }
}

bool lock_many_waits(const struct lock_many *many) { return many->phase != MANY_TRIES; }

/* ---- news, and time ---- */

static struct lock_many *find(struct server *server, uint64_t number)
{
    struct slice key = slice_of(&number, sizeof(number));
    return table_find(&server->lock_many_numbers, table_hash(&server->lock_many_numbers, key), key);
}

bool lock_many_news(struct server *server, const struct lock_notice *notice)
{
    struct lock_many *many = find(server, notice->to.number);
    if (many == NULL) {
        return false;
    }
    struct many_part *part = &many->parts[many->current];
    if (many->phase != MANY_WAITS || many->connection == NULL) {
        return true;
    }
    env_wake(server->env);
    if (notice->kind == LOCK_NOTICE_RESERVED) {
        part->again = true;
        many_ask_current(many);
    } else if (notice->kind == LOCK_NOTICE_ENDED) {
        many_end_with(many, NULL);
        many_go_on(many);
    }
    return true;
}

bool lock_many_deadlock(struct server *server, uint64_t number, const char *text)
{
    struct lock_many *many = find(server, number);
    if (many == NULL || many->phase != MANY_WAITS || many->connection == NULL) {
        return false;
    }
    many_end_with(many, text);
    many_go_on(many);
    return true;
}

static void look_after_wait(struct lock_many *many, int64_t now_ns)
{
    uint64_t leader = cluster_leader(many->server->cluster, many->parts[many->current].shard);
    if (now_ns >= many->deadline_ns + LOCK_MANY_LATE_MS * NS_PER_MS) {
        many_end_with(many, NULL);
        many_go_on(many);
        return;
    }
    for (uint32_t i = many->current + 1; i < many->part_count; i++) { /* none is kept behind what is waited for */
        if (many->parts[i].has && many->parts[i].asked == 0) {
            many_ask(many, i, COMMAND_COHORT_LOCK_BACK, 0);
        }
    }
    if (many->parts[many->current].status != STATUS_OK) {
        many_go_on(many);
    } else if (now_ns >= many->next_ns || (leader != 0 && leader != many->leader)) {
        many_ask_current(many);
    }
}

static void look_after(struct lock_many *many, int64_t now_ns)
{
    switch (many->phase) {
    case MANY_TRIES: return;
    case MANY_WAITS: look_after_wait(many, now_ns); return;
    case MANY_GRANTS:
        if (now_ns >= many->grants_until_ns) {
            many_end_with(many,
                          "UNCERTAIN a shard of these locks does not answer; they may have been granted, and are being "
                          "given back: ask again");
            many_go_on(many);
        } else if (now_ns >= many->next_ns) {
            many_ask_grants(many);
        }
        return;
    case MANY_GIVES_BACK:
        if (now_ns >= many->next_ns) {
            many_back_all(many);
        }
        many_go_on(many);
        return;
    }
}

bool lock_many_look_after(struct server *server, int64_t old_ms)
{
    int64_t now_ns = server_now_ns(server);
    bool old = false;
    LIST_FOR_EACH_SAFE (at, after, &server->lock_manys) {
        struct lock_many *many = CONTAINER_OF(at, struct lock_many, node);
        old = old || (many->phase == MANY_WAITS && now_ns - many->began_ns >= old_ms * NS_PER_MS);
        look_after(many, now_ns);
    }
    return old;
}

void lock_many_drain(struct server *server)
{
    LIST_FOR_EACH_SAFE (at, after, &server->lock_manys) {
        struct lock_many *many = CONTAINER_OF(at, struct lock_many, node);
        if (many->phase == MANY_WAITS && many->connection != NULL) {
            many_end_with(many, "CLUSTERDOWN this node is stopping, and has not acquired the locks; try another node");
            many_go_on(many);
        }
    }
}

void lock_many_init(struct server *server)
{
    list_init(&server->lock_manys);
    table_init(&server->lock_many_numbers, 0, offsetof(struct lock_many, number));
}

static void leave_in_peace(void *owner, void *item)
{
    (void)owner;
    (void)item;
}

void lock_many_destroy(struct server *server)
{
    while (!list_empty(&server->lock_manys)) {
        many_free(CONTAINER_OF(server->lock_manys.next, struct lock_many, node));
    }
    while (table_release(&server->lock_many_numbers, 1024, leave_in_peace, NULL)) {
    }
}

#include "server/lock_many.h"

#include "base/assert.h"
#include "base/memory.h"
#include "machine/session/session_words.h"
#include "server/lock_client.h"
#include "server/lock_many_internal.h"

#include <stdlib.h>

/* ---- life ---- */

static struct lock_many *of(struct waiter *waiter) { return CONTAINER_OF(waiter, struct lock_many, waiter); }

void many_free(struct lock_many *many)
{
    waiter_deinit(&many->waiter, many->server);
    many_free_words(many);
    free(many);
}

void many_set_next(struct lock_many *many, int64_t ms) { many->next_ns = server_now_ns(many->server) + ms * NS_PER_MS; }

/* ---- answers ---- */

static void answer(struct lock_many *many, struct slice reply)
{
    if (many->waiter.connection != NULL) {
        waiter_answer(&many->waiter, reply);
        env_wake(many->server->env);
    }
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
    struct waiter *waiter = &many->waiter;
    if (waiter->connection != NULL && many->reply.size == 0) {
        struct resp_writer writer = resp_writer_to(&many->reply, slot_at(waiter->connection, waiter->slot)->protocol);
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
            many_ask(many, i, many->stays ? COMMAND_COHORT_LOCK_GRANT : COMMAND_COHORT_LOCK_BACK, 0);
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
    if (clean && many->anew && many->waiter.connection != NULL && many_in_time(many)) {
        if (server_now_ns(many->server) >= many->anew_ns) {
            many_try_all(many);
            many_go_on(many);
        }
        return;
    }
    if (many->waiter.connection != NULL && (clean || server_now_ns(many->server) >= many->back_until_ns)) {
        answer_reply(many);
    }
    if (clean) {
        many_free(many);
    }
}

/* ---- what comes from outside (waiter.h) ---- */

static bool queued(const struct waiter *waiter)
{
    return CONTAINER_OF(waiter, const struct lock_many, waiter)->phase != MANY_TRIES;
}

static bool end(struct waiter *waiter, const char *text)
{
    struct lock_many *many = of(waiter);
    if (many->phase != MANY_WAITS || waiter->connection == NULL) {
        return false;
    }
    many_end_with(many, text);
    many_go_on(many);
    return true;
}

static void leave(struct waiter *waiter)
{
    struct lock_many *many = of(waiter);
    if (many->phase != MANY_GIVES_BACK) {
        many_give_back(many);
    }
    if (has_nothing(many)) {
        many_free(many);
    }
}

static void hear(struct waiter *waiter, const struct lock_notice *notice)
{
    struct lock_many *many = of(waiter);
    if (many->phase == MANY_WAITS && notice->kind == LOCK_NOTICE_RESERVED) {
        many->parts[many->current].again = true;
        many_ask_current(many);
    } else if (many->phase == MANY_WAITS && (notice->kind == LOCK_NOTICE_ENDED || notice->kind == LOCK_NOTICE_OVER)) {
        many_end_with(many, notice->kind == LOCK_NOTICE_OVER ? SESSION_IS_OVER : NULL);
        many_go_on(many);
    }
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

static void look_after(struct waiter *waiter, int64_t now_ns)
{
    struct lock_many *many = of(waiter);
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

static void destroy(struct waiter *waiter) { many_free(of(waiter)); }

static const struct waiter_kind manys = {
    .queued = queued,
    .end = end,
    .leave = leave,
    .hear = hear,
    .look_after = look_after,
    .destroy = destroy,
    .stopping = "CLUSTERDOWN this node is stopping, and has not acquired the locks; try another node",
};

/* ---- its beginning ---- */

void lock_many_acquire(struct connection *connection, const struct command *command)
{
    struct lock_many *many = memory_allocate_zeroed(1, sizeof(*many));
    many->requester.events = &many_events;
    many->server = connection->server;
    waiter_init(&many->waiter, &manys, connection);
    ASSERT(many_parse(many, command) == NULL); /* as it was looked at before */
    for (uint32_t i = 0; i < many->key_count; i++) {
        many->keys[i].shard = slot_shard(key_slot(many->keys[i].name), many->server->shards);
    }
    many_arrange(many);
    lock_client_note(connection);
    many->waiter.slot = slot_open(connection, command->spec);
    waiter_hold(&many->waiter);
    many_try_all(many);
    many_go_on(many);
}

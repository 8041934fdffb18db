#include "server/waiter.h"

#include "server/figures.h"
#include "server/server_state.h"

#define NS_PER_MS INT64_C(1000000)

/* ---- by number ---- */

static struct slice number_of(const struct waiter *waiter) { return slice_of(&waiter->number, sizeof(waiter->number)); }

static void forget_number(struct waiter *waiter, struct server *server)
{
    struct table *numbers = &server->waiters.numbers;
    if (waiter->number != 0) {
        table_remove(numbers, table_hash(numbers, number_of(waiter)), waiter);
    }
}

void waiter_set_number(struct waiter *waiter, struct server *server)
{
    struct waiters *waiters = &server->waiters;
    uint64_t now_us = (uint64_t)env_wall_ms(server->env) * 1000;
    forget_number(waiter, server);
    waiters->last_us = waiters->last_us < now_us ? now_us : waiters->last_us + 1;
    waiter->number = waiters->last_us * WORKERS_MAXIMUM + server->worker;
    table_insert(&waiters->numbers, table_hash(&waiters->numbers, number_of(waiter)), waiter);
}

static struct waiter *find(const struct server *server, uint64_t number)
{
    const struct table *numbers = &server->waiters.numbers;
    struct slice key = slice_of(&number, sizeof(number));
    return table_find(numbers, table_hash(numbers, key), key);
}

struct lock_origin waiter_origin(const struct waiter *waiter, const struct server *server)
{
    return (struct lock_origin){server->options.node_id, server->node_file.lineage.start, waiter->client,
                                waiter->number};
}

/* ---- its life ---- */

void waiter_init(struct waiter *waiter, const struct waiter_kind *kind, struct connection *connection)
{
    struct server *server = connection->server;
    *waiter = (struct waiter){.key_size = sizeof(waiter->number),
                              .kind = kind,
                              .connection = connection,
                              .client = connection->id,
                              .began_ns = server_now_ns(server)};
    list_init(&waiter->node);
    list_append(&server->waiters.all, &waiter->node);
    server->waiters.count++;
}

void waiter_deinit(struct waiter *waiter, struct server *server)
{
    forget_number(waiter, server);
    list_remove(&waiter->node);
    server->waiters.count--;
}

void waiter_hold(struct waiter *waiter)
{
    struct slot *slot = slot_at(waiter->connection, waiter->slot);
    slot->kind = SLOT_WAITER;
    slot->waiter = waiter;
    waiter->connection->waiter = waiter;
}

void waiter_answer(struct waiter *waiter, struct slice reply)
{
    struct connection *connection = waiter->connection;
    struct server *server = connection->server;
    struct slot *slot = slot_at(connection, waiter->slot);
    uint16_t command = slot->command;
    int64_t spent_ns = server_now_ns(server) - waiter->began_ns;
    waiter->connection = NULL;
    connection->waiter = NULL;
    slot->kind = SLOT_PLAIN;
    if (!slot->silent) {
        buffer_append_slice(&slot->stash, reply);
    }
    connection->reply_start = 0;
    slot_finish(connection, waiter->slot);
    figures_part(server, command, spent_ns, true);
}

/* ---- from outside ---- */

void waiter_leave(struct waiter *waiter)
{
    waiter->connection->waiter = NULL;
    waiter->connection = NULL;
    waiter->kind->leave(waiter);
}

static bool end(struct waiter *waiter, struct server *server, const char *text)
{
    if (waiter == NULL || !waiter->kind->end(waiter, text)) {
        return false;
    }
    env_wake(server->env);
    return true;
}

static bool unblocked(struct waiter *waiter, struct server *server)
{
    return end(waiter, server,
               waiter->unblock == WAITER_FAILS ? "UNBLOCKED client unblocked via CLIENT UNBLOCK" : NULL);
}

bool waiter_unblock(struct connection *connection, bool error)
{
    struct waiter *waiter = connection->waiter;
    if (waiter == NULL) {
        return false;
    }
    waiter->unblock = error ? WAITER_FAILS : WAITER_ENDS;
    (void)unblocked(waiter, connection->server); /* else when it is looked after */
    return true;
}

bool waiter_deadlock(struct server *server, uint64_t number, const char *text)
{
    return end(find(server, number), server, text);
}

void waiter_news(struct server *server, const struct lock_notice *notice)
{
    struct waiter *waiter = find(server, notice->to.number);
    if (waiter != NULL && waiter->connection != NULL) { /* else it is answered, or being taken back */
        env_wake(server->env);
        waiter->kind->hear(waiter, notice);
    }
}

/* ---- all of them ---- */

bool waiters_look_after(struct server *server, int64_t old_ms)
{
    int64_t now_ns = server_now_ns(server);
    bool old = false;
    LIST_FOR_EACH_SAFE (at, after, &server->waiters.all) {
        struct waiter *waiter = CONTAINER_OF(at, struct waiter, node);
        old = old || (waiter->connection != NULL && now_ns - waiter->began_ns >= old_ms * NS_PER_MS);
        if (waiter->unblock == WAITER_STAYS || !unblocked(waiter, server)) {
            waiter->kind->look_after(waiter, now_ns);
        }
    }
    return old;
}

void waiters_drain(struct server *server)
{
    LIST_FOR_EACH_SAFE (at, after, &server->waiters.all) {
        struct waiter *waiter = CONTAINER_OF(at, struct waiter, node);
        (void)waiter->kind->end(waiter, waiter->kind->stopping);
    }
}

bool waiters_idle(const struct server *server) { return list_empty(&server->waiters.all); }

void waiters_init(struct server *server)
{
    list_init(&server->waiters.all);
    table_init(&server->waiters.numbers, 0, offsetof(struct waiter, number));
}

static void leave_in_peace(void *owner, void *item)
{
    (void)owner;
    (void)item;
}

void waiters_destroy(struct server *server)
{
    while (!list_empty(&server->waiters.all)) {
        struct waiter *waiter = CONTAINER_OF(server->waiters.all.next, struct waiter, node);
        waiter->kind->destroy(waiter);
    }
    while (table_release(&server->waiters.numbers, 1024, leave_in_peace, NULL)) {
    }
}

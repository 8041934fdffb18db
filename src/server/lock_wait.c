#include "server/lock_client.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"
#include "machine/keys/table.h"
#include "machine/lock/elections.h"
#include "machine/lock/lock_arguments.h"
#include "server/figures.h"
#include "server/lock_look.h"
#include "server/lock_many.h"
#include "server/route.h"
#include "server/server_state.h"
#include "server/wait_kind.h"

#include <stdlib.h>

#define NS_PER_MS INT64_C(1000000)
enum { LEAVE_AGAIN_MS = 200, LOCK_LATE_MS = 400, LOCK_LOST_MS = 10000 };

enum wait_state {
    WAIT_ASKED,  /* ACQUIRE is under way */
    WAIT_QUEUED, /* in the queue of its lock, as far as is known */
    WAIT_ASKING, /* the shard is asked what became of it */
    WAIT_OVER,   /* answered; a request is under way still */
    WAIT_LEAVES, /* the shard is to hear that nobody waits, … */
    WAIT_LEAVING /* … and is being told */
};

struct lock_wait {
    uint32_t key_size; /* first: struct table_item; of the number */
    enum wait_state state;
    const struct wait_kind *kind;
    struct requester requester;
    struct list node; /* of server.lock_waits */
    struct server *server;
    struct connection *connection; /* NULL: nobody waits */
    uint64_t slot;
    uint32_t shard;
    struct buffer words; /* the client's command, encoded */
    struct buffer name;  /* by which the shard is asked about it */
    struct slice owner;
    int64_t began_ns, deadline_ns, next_ns;
    uint64_t leader; /* when it was last asked */
    uint64_t client;
    struct buffer answer;
    struct resp_writer writer;
    uint64_t number;
};

static struct lock_wait *of(struct requester *requester)
{
    return CONTAINER_OF(requester, struct lock_wait, requester);
}

static struct lock_origin origin_of(const struct lock_wait *wait)
{
    const struct server *server = wait->server;
    return (struct lock_origin){server->options.node_id, server->node_file.lineage.start, wait->client, wait->number};
}

/* ---- life ---- */

uint64_t lock_wait_number(struct server *server)
{
    uint64_t now_us = (uint64_t)env_wall_ms(server->env) * 1000;
    server->lock_sequence = server->lock_sequence < now_us ? now_us : server->lock_sequence + 1;
    return server->lock_sequence * WORKERS_MAXIMUM + server->worker;
}

static void set_number(struct lock_wait *wait)
{
    struct server *server = wait->server;
    struct slice key = slice_of(&wait->number, sizeof(wait->number));
    if (wait->number != 0) {
        table_remove(&server->lock_numbers, table_hash(&server->lock_numbers, key), wait);
    }
    wait->number = lock_wait_number(server);
    table_insert(&server->lock_numbers, table_hash(&server->lock_numbers, key), wait);
}

static void wait_free(struct lock_wait *wait)
{
    struct server *server = wait->server;
    struct slice key = slice_of(&wait->number, sizeof(wait->number));
    table_remove(&server->lock_numbers, table_hash(&server->lock_numbers, key), wait);
    list_remove(&wait->node);
    server->lock_wait_count--;
    buffer_deinit(&wait->words);
    buffer_deinit(&wait->name);
    buffer_deinit(&wait->answer);
    free(wait);
}

void lock_waits_init(struct server *server)
{
    list_init(&server->lock_waits);
    lock_many_init(server);
    table_init(&server->lock_numbers, 0, offsetof(struct lock_wait, number));
    table_init(&server->lock_clients, 0, offsetof(struct lock_client_item, id));
}

static void leave_in_peace(void *owner, void *item)
{
    (void)owner;
    (void)item;
}

void lock_waits_destroy(struct server *server)
{
    while (!list_empty(&server->lock_waits)) {
        wait_free(CONTAINER_OF(server->lock_waits.next, struct lock_wait, node));
    }
    while (table_release(&server->lock_numbers, 1024, leave_in_peace, NULL)) {
    }
    while (table_release(&server->lock_clients, 1024, leave_in_peace, NULL)) {
    }
    lock_look_destroy(server->lock_look);
    lock_many_destroy(server);
}

bool lock_wait_queued(const struct lock_wait *wait) { return wait->state == WAIT_QUEUED || wait->state == WAIT_ASKING; }

bool lock_waits_idle(const struct server *server)
{
    return list_empty(&server->lock_waits) && list_empty(&server->lock_manys);
}

/* ---- answers ---- */

/* The client hears; with a request under way the wait is over, else it goes. */
static void answer(struct lock_wait *wait, struct slice reply)
{
    struct connection *connection = wait->connection;
    uint64_t number = wait->slot;
    struct server *server = wait->server;
    uint16_t id = wait->kind->command;
    int64_t spent_ns = server_now_ns(server) - wait->began_ns;
    wait->connection = NULL;
    connection->lock_wait = NULL;
    struct slot *slot = slot_at(connection, number);
    slot->kind = SLOT_PLAIN;
    if (!slot->silent) {
        buffer_append_slice(&slot->stash, reply);
    }
    connection->reply_start = 0;
    if (wait->state == WAIT_QUEUED) {
        wait_free(wait);
    } else {
        wait->state = WAIT_OVER;
    }
    slot_finish(connection, number);
    figures_part(server, id, spent_ns, true);
}

static void answer_text(struct lock_wait *wait, const char *text)
{
    struct buffer reply;
    buffer_init(&reply);
    struct resp_writer writer = resp_writer_to(&reply, RESP2);
    resp_error(&writer, text);
    answer(wait, buffer_slice(&reply));
    buffer_deinit(&reply);
}

static void answer_nil(struct lock_wait *wait)
{
    struct buffer reply;
    buffer_init(&reply);
    struct resp_writer writer = resp_writer_to(&reply, slot_at(wait->connection, wait->slot)->protocol);
    if (wait->kind->leased) {
        resp_null_array(&writer);
    } else {
        resp_null(&writer);
    }
    answer(wait, buffer_slice(&reply));
    buffer_deinit(&reply);
}

static void answer_grant(struct lock_wait *wait, uint64_t token, int64_t ttl_ms)
{
    struct buffer reply;
    buffer_init(&reply);
    struct resp_writer writer = resp_writer_to(&reply, RESP2);
    if (wait->kind->leased) {
        resp_array(&writer, 2);
        resp_integer(&writer, (int64_t)token);
        resp_integer(&writer, ttl_ms);
    } else {
        resp_integer(&writer, 1);
    }
    answer(wait, buffer_slice(&reply));
    buffer_deinit(&reply);
}

/* ---- requests ---- */

/* The command with its origin, and with what is left of the wait. */
static uint32_t put_origin(const struct lock_wait *wait, struct slice *argv, uint32_t argc,
                           uint8_t origin[static LOCK_ORIGIN_BYTES], char digits[static NUMBER_INT64_BYTES])
{
    int64_t left_ms = (wait->deadline_ns - server_now_ns(wait->server) + NS_PER_MS - 1) / NS_PER_MS;
    struct lock_origin from = origin_of(wait);
    lock_origin_put(origin, &from);
    memmove(argv + 2, argv + 1, (argc - 1) * sizeof(*argv));
    argv[1] = slice_of(origin, LOCK_ORIGIN_BYTES);
    for (uint32_t i = wait->kind->options_from; i + 1 < argc + 1; i += 2) {
        if (slice_is_word(argv[i], "WAIT")) {
            argv[i + 1] = slice_of(digits, number_format_int64(digits, left_ms < 1 ? 1 : left_ms));
        }
    }
    return argc + 1;
}

/* In the name of the connection: what it asked of the shard before comes before. */
static enum status submit_acquire(struct lock_wait *wait)
{
    struct server *server = wait->server;
    struct command_arguments *arguments = &server->arguments;
    struct slice from = buffer_slice(&wait->words);
    struct command command;
    uint8_t origin[LOCK_ORIGIN_BYTES];
    char digits[NUMBER_INT64_BYTES];
    ASSERT(command_decode(&from, arguments, &command) == STATUS_OK);
    wait->owner = wait->kind->options_from > 3 ? command.argv[2] : slice_of(NULL, 0);
    command_arguments_reserve(arguments, command.argc + 1);
    uint32_t argc = put_origin(wait, arguments->items, command.argc, origin, digits);
    const struct command inner = {command_by_id(wait->kind->inner), arguments->items, argc, command.protocol};
    wait->requester.id = wait->connection->requester.id;
    wait->state = WAIT_ASKED;
    wait->leader = cluster_leader(server->cluster, wait->shard);
    return cluster_submit(server->cluster, wait->shard, &inner, CLUSTER_PLAIN, &wait->requester,
                          slot_tag(wait->slot, wait->shard));
}

static enum status submit_about(struct lock_wait *wait, uint16_t id)
{
    uint8_t origin[LOCK_ORIGIN_BYTES];
    const char *about = wait->kind->about;
    struct lock_origin from = origin_of(wait);
    lock_origin_put(origin, &from);
    const struct slice argv[] = {SLICE_LITERAL("COHORT.LOCK"), slice_of(origin, sizeof(origin)),
                                 buffer_slice(&wait->name), wait->owner, slice_from_string(about == NULL ? "" : about)};
    const struct command command = {command_by_id(id), argv, about == NULL ? 4 : 5, RESP2};
    wait->requester.id = 0;
    wait->leader = cluster_leader(wait->server->cluster, wait->shard);
    return cluster_submit(wait->server->cluster, wait->shard, &command, CLUSTER_PLAIN, &wait->requester, 0);
}

static void set_next(struct lock_wait *wait, int64_t ms)
{
    wait->next_ns = server_now_ns(wait->server) + ms * NS_PER_MS;
}

/* All of a worker's waits are asked about LOCK_ASKS_PER_SECOND times at most. */
static void set_next_ask(struct lock_wait *wait)
{
    int64_t crowd_ms = (int64_t)(wait->server->lock_wait_count * 1000 / LOCK_ASKS_PER_SECOND);
    int64_t soon_ns = wait->deadline_ns + LOCK_LATE_MS * NS_PER_MS;
    int64_t now_ns = server_now_ns(wait->server);
    set_next(wait, crowd_ms > LOCK_ASK_MS ? crowd_ms : LOCK_ASK_MS);
    if (now_ns < soon_ns && soon_ns < wait->next_ns) {
        wait->next_ns = soon_ns; /* its end should have been told by then */
    }
}

static void ask(struct lock_wait *wait)
{
    set_next_ask(wait);
    if (submit_about(wait, wait->kind->ask) == STATUS_OK) {
        wait->state = WAIT_ASKING;
    }
}

static void leave(struct lock_wait *wait)
{
    wait->state = WAIT_LEAVES;
    set_next(wait, LEAVE_AGAIN_MS);
    if (submit_about(wait, wait->kind->leave) == STATUS_OK) {
        wait->state = WAIT_LEAVING;
    }
}

void lock_wait_leave(struct lock_wait *wait)
{
    if (wait == NULL) {
        return;
    }
    wait->connection->lock_wait = NULL;
    wait->connection = NULL;
    if (wait->state == WAIT_QUEUED) {
        leave(wait);
    } /* else what is under way tells more */
}

/* The shard knows of no such request: its time was over, or another owner's request took its place and ended, or this
 * node was taken for gone. */
static void begin_anew(struct lock_wait *wait)
{
    int64_t left_ns = wait->deadline_ns - server_now_ns(wait->server);
    wait->state = WAIT_QUEUED;
    if (left_ns <= 0) {
        answer_nil(wait);
        return;
    }
    set_number(wait);
    enum status status = submit_acquire(wait);
    if (status != STATUS_OK) {
        wait->state = WAIT_QUEUED;
        answer_text(wait, route_refusal(status, true));
    }
}

static bool is_queued(struct slice reply) { return reply.size > 1 && reply.data[0] == '+'; }
static bool is_granted(struct slice reply)
{
    return reply.size > 1 && (reply.data[0] == ':' || (reply.data[0] == '*' && reply.data[1] == '2'));
}

/* ---- what the shard answers ---- */

static struct resp_writer *wait_begin(struct requester *requester, uint64_t tag)
{
    (void)tag;
    struct lock_wait *wait = of(requester);
    buffer_clear(&wait->answer);
    bool asked = wait->state == WAIT_ASKED && wait->connection != NULL;
    wait->writer = resp_writer_to(&wait->answer, asked ? slot_at(wait->connection, wait->slot)->protocol : RESP2);
    return &wait->writer;
}

/* Nobody waits; the shard may have something of the request. */
static void end_alone(struct lock_wait *wait, bool has_something)
{
    if (has_something) {
        leave(wait);
    } else {
        wait_free(wait);
    }
}

/* Ends one that is in the queue of its lock: the client is told why (NULL: nil), and the shard that nobody waits. */
static void end_queued(struct lock_wait *wait, const char *text)
{
    enum wait_state state = wait->state;
    wait->state = WAIT_ASKED; /* to stay */
    if (text == NULL) {
        answer_nil(wait);
    } else {
        answer_text(wait, text);
    }
    wait->state = state;
    if (state == WAIT_QUEUED) {
        leave(wait);
    }
}

/* The node stops: who waits may ask another. */
static void stop(struct lock_wait *wait)
{
    end_queued(wait, "CLUSTERDOWN this node is stopping, and the wait has ended; ask again at another node");
}

/* The shard cannot be asked. Its clock stands still then, but the client's does not. */
static void unheard(struct lock_wait *wait)
{
    if (server_now_ns(wait->server) - wait->deadline_ns >= LOCK_LOST_MS * NS_PER_MS) {
        end_queued(wait, "UNCERTAIN the wait for the lock is over, and its shard does not answer; the lock may have "
                         "been granted: acquire it again as the same owner");
    }
}

bool lock_wait_unblock(struct connection *connection, bool error)
{
    struct lock_wait *wait = connection->lock_wait;
    if (wait == NULL || !lock_wait_queued(wait)) {
        return false;
    }
    end_queued(wait, error ? "UNBLOCKED client unblocked via CLIENT UNBLOCK" : NULL);
    env_wake(connection->server->env);
    return true;
}

bool lock_wait_deadlock(struct server *server, uint64_t number, const char *text)
{
    struct slice key = slice_of(&number, sizeof(number));
    struct lock_wait *wait = table_find(&server->lock_numbers, table_hash(&server->lock_numbers, key), key);
    if (wait == NULL || wait->connection == NULL || !lock_wait_queued(wait)) {
        return wait == NULL && lock_many_deadlock(server, number, text);
    }
    end_queued(wait, text);
    env_wake(server->env);
    return true;
}

static void acquired(struct lock_wait *wait)
{
    struct slice reply = buffer_slice(&wait->answer);
    bool queued = is_queued(reply);
    if (wait->connection == NULL) {
        end_alone(wait, queued || is_granted(reply));
        return;
    }
    wait->state = WAIT_QUEUED;
    if (!queued) {
        answer(wait, reply);
    } else if (wait->server->phase != SERVER_SERVING) {
        stop(wait);
    } else if (wait->connection->finished_reading) {
        connection_close(wait->connection);
    } else {
        set_next_ask(wait);
    }
}

static void told(struct lock_wait *wait)
{
    struct slice reply = buffer_slice(&wait->answer);
    if (wait->connection == NULL) {
        end_alone(wait, is_queued(reply) || is_granted(reply));
        return;
    }
    wait->state = WAIT_QUEUED;
    if (is_granted(reply)) {
        answer(wait, reply);
    } else if (!is_queued(reply)) {
        begin_anew(wait);
    }
}

static void wait_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    (void)tag;
    (void)command;
    struct lock_wait *wait = of(requester);
    switch (wait->state) {
    case WAIT_ASKED: acquired(wait); return;
    case WAIT_ASKING: told(wait); return;
    case WAIT_OVER:
    case WAIT_LEAVING: wait_free(wait); return;
    case WAIT_QUEUED:
    case WAIT_LEAVES: break;
    }
    UNREACHABLE();
}

static bool perhaps(enum status status) { return status == STATUS_UNCERTAIN || status == STATUS_EXECUTED; }

static void acquire_failed(struct lock_wait *wait, enum status status)
{
    if (wait->connection == NULL) {
        end_alone(wait, perhaps(status));
        return;
    }
    wait->state = WAIT_QUEUED;
    if (status == STATUS_EXECUTED) {
        ask(wait); /* it was, and can be looked at */
        return;
    }
    struct connection *connection = wait->connection;
    figures_failed(wait->server, wait->kind->command, status);
    wait->state = perhaps(status) ? WAIT_ASKED : WAIT_QUEUED; /* else it is gone with the answer */
    answer_text(wait, route_refusal(status, false));
    if (perhaps(status)) {
        leave(wait);
    } else if (status == STATUS_FULL) {
        connection_slow(connection);
    }
}

static void wait_failed(struct requester *requester, uint64_t tag, enum status status)
{
    (void)tag;
    struct lock_wait *wait = of(requester);
    switch (wait->state) {
    case WAIT_ASKED: acquire_failed(wait, status); return;
    case WAIT_ASKING:
        wait->state = WAIT_QUEUED;
        if (wait->connection == NULL) {
            leave(wait);
        } else {
            unheard(wait);
        }
        return;
    case WAIT_OVER: wait_free(wait); return;
    case WAIT_LEAVING:
        if (status == STATUS_EXECUTED) {
            wait_free(wait);
        } else {
            wait->state = WAIT_LEAVES;
            set_next(wait, LEAVE_AGAIN_MS);
        }
        return;
    case WAIT_QUEUED:
    case WAIT_LEAVES: break;
    }
    UNREACHABLE();
}

static const struct requester_events wait_events = {wait_begin, wait_end, wait_failed, NULL, NULL};

/* ---- beginning ---- */

void lock_client_note(struct connection *connection)
{
    struct server *server = connection->server;
    struct lock_client_item *item = &connection->lock_client;
    if (item->key_size == 0 && connection->protocol == RESP3) {
        *item = (struct lock_client_item){sizeof(item->id), connection->id};
        struct slice key = slice_of(&item->id, sizeof(item->id));
        table_insert(&server->lock_clients, table_hash(&server->lock_clients, key), item);
    }
}

void lock_client_forget(struct connection *connection)
{
    struct server *server = connection->server;
    struct lock_client_item *item = &connection->lock_client;
    if (item->key_size != 0) {
        struct slice key = slice_of(&item->id, sizeof(item->id));
        table_remove(&server->lock_clients, table_hash(&server->lock_clients, key), item);
        item->key_size = 0;
    }
}

/* Granted at once, or not: the shard's reply is the client's. */
static void acquire_now(struct connection *connection, uint32_t shard, const struct command *command, uint16_t id)
{
    struct server *server = connection->server;
    struct command_arguments *arguments = &server->lock_arguments;
    uint8_t origin[LOCK_ORIGIN_BYTES];
    lock_origin_put(origin, &(struct lock_origin){server->options.node_id, server->node_file.lineage.start,
                                                  connection->id, server->worker});
    command_arguments_reserve(arguments, command->argc + 1);
    arguments->items[0] = command->argv[0];
    arguments->items[1] = slice_of(origin, sizeof(origin));
    memcpy(arguments->items + 2, command->argv + 1, (command->argc - 1) * sizeof(*command->argv));
    const struct command inner = {command_by_id(id), arguments->items, command->argc + 1, command->protocol};
    route_submit(connection, shard, &inner, command->spec);
}

void lock_client_ask(struct connection *connection, uint32_t shard, const struct command *command,
                     const struct wait_kind *kind)
{
    struct server *server = connection->server;
    int64_t ms = kind->wait_ms(command);
    if (kind->leased) {
        lock_client_note(connection);
    }
    if (ms == 0) {
        acquire_now(connection, shard, command, kind->inner);
        return;
    }
    struct lock_wait *wait = memory_allocate_zeroed(1, sizeof(*wait));
    wait->key_size = sizeof(wait->number);
    wait->requester.events = &wait_events;
    wait->kind = kind;
    wait->server = server;
    wait->connection = connection;
    wait->shard = shard;
    wait->client = connection->id;
    wait->began_ns = server_now_ns(server);
    wait->deadline_ns = wait->began_ns + ms * NS_PER_MS;
    list_init(&wait->node);
    list_append(&server->lock_waits, &wait->node);
    server->lock_wait_count++;
    set_number(wait);
    command_encode(&wait->words, command);
    kind->name(&wait->name, command->argv[1]);
    wait->slot = slot_open(connection, command->spec);
    enum status status = submit_acquire(wait);
    if (status != STATUS_OK) {
        slot_withdraw(connection);
        wait_free(wait);
        route_refuse(connection, status);
        return;
    }
    struct slot *slot = slot_at(connection, wait->slot);
    slot->kind = SLOT_LOCK;
    slot->lock = wait;
    connection->lock_wait = wait;
}

/* ---- news ---- */

static void push_lost(struct server *server, const struct lock_notice *notice)
{
    struct slice key = slice_of(&notice->to.client, sizeof(notice->to.client));
    struct lock_client_item *item = table_find(&server->lock_clients, table_hash(&server->lock_clients, key), key);
    struct connection *connection = item == NULL ? NULL : CONTAINER_OF(item, struct connection, lock_client);
    if (connection == NULL || connection->protocol != RESP3 || connection->reply_mode == REPLY_OFF) {
        return;
    }
    struct resp_writer writer = resp_writer_to(connection_output(connection), RESP3);
    resp_push(&writer, 4);
    struct slice name = notice->key;
    resp_bulk_string(&writer, election_of(notice->key, &name) ? "office-lost" : "lock-lost");
    resp_bulk(&writer, name);
    resp_bulk(&writer, notice->owner);
    resp_integer(&writer, (int64_t)notice->token);
    connection_mark_dirty(connection);
    env_wake(server->env);
}

void lock_client_news(struct server *server, const struct lock_notice *notice)
{
    if (notice->kind == LOCK_NOTICE_LOST) {
        push_lost(server, notice);
        return;
    }
    if (lock_many_news(server, notice)) {
        return;
    }
    struct slice key = slice_of(&notice->to.number, sizeof(notice->to.number));
    struct lock_wait *wait = table_find(&server->lock_numbers, table_hash(&server->lock_numbers, key), key);
    if (wait == NULL || wait->connection == NULL) {
        return; /* it is answered, or being taken back */
    }
    env_wake(server->env);
    switch (notice->kind) {
    case LOCK_NOTICE_GRANTED: answer_grant(wait, notice->token, notice->ttl_ms); return;
    case LOCK_NOTICE_ENDED: answer_nil(wait); return;
    case LOCK_NOTICE_TAKEN:
        answer_text(wait, "ERR a later request of the same owner waits in the place of this one");
        return;
    case LOCK_NOTICE_LOST:
    case LOCK_NOTICE_RESERVED:
    case LOCK_NOTICES: return;
    }
}

/* ---- ten times a second, and at the end ---- */

static void look_after(struct lock_wait *wait, int64_t now_ns)
{
    uint64_t leader = cluster_leader(wait->server->cluster, wait->shard);
    bool others = leader != 0 && leader != wait->leader;
    if (wait->state == WAIT_QUEUED && (others || now_ns >= wait->next_ns)) {
        ask(wait);
        if (wait->state == WAIT_QUEUED) {
            unheard(wait);
        }
    } else if (wait->state == WAIT_LEAVES && now_ns >= wait->next_ns) {
        leave(wait);
    }
}

void lock_waits_look_after(struct server *server)
{
    int64_t now_ns = server_now_ns(server);
    bool old = lock_many_look_after(server, LOCK_LOOK_AGE_MS);
    LIST_FOR_EACH_SAFE (at, after, &server->lock_waits) {
        struct lock_wait *wait = CONTAINER_OF(at, struct lock_wait, node);
        old = old || (wait->connection != NULL && now_ns - wait->began_ns >= LOCK_LOOK_AGE_MS * NS_PER_MS);
        look_after(wait, now_ns);
    }
    lock_look_after(server, old);
}

void lock_waits_drain(struct server *server)
{
    lock_many_drain(server);
    LIST_FOR_EACH_SAFE (at, after, &server->lock_waits) {
        struct lock_wait *wait = CONTAINER_OF(at, struct lock_wait, node);
        if (wait->connection != NULL && lock_wait_queued(wait)) {
            stop(wait);
        }
    }
}

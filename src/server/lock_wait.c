#include "server/lock_wait_internal.h"

#include "base/assert.h"
#include "base/memory.h"
#include "machine/session/session_words.h"
#include "server/figures.h"
#include "server/route_refuse.h"

#include <stdlib.h>

static struct lock_wait *of(struct requester *requester)
{
    return CONTAINER_OF(requester, struct lock_wait, requester);
}

static struct lock_wait *of_waiter(struct waiter *waiter) { return CONTAINER_OF(waiter, struct lock_wait, waiter); }

static void wait_free(struct lock_wait *wait)
{
    waiter_deinit(&wait->waiter, wait->server);
    buffer_deinit(&wait->words);
    buffer_deinit(&wait->name);
    buffer_deinit(&wait->answer);
    buffer_deinit(&wait->last);
    free(wait);
}

/* ---- what the client is told ---- */

static void put_text(struct buffer *out, const char *text)
{
    struct resp_writer writer = resp_writer_to(out, RESP2);
    resp_error(&writer, text);
}

static void put_nil(const struct lock_wait *wait, struct buffer *out)
{
    struct resp_writer writer = resp_writer_to(out, slot_at(wait->waiter.connection, wait->waiter.slot)->protocol);
    if (wait->kind->leased) {
        resp_null_array(&writer);
    } else {
        resp_null(&writer);
    }
}

static void tell_text(struct lock_wait *wait, const char *text)
{
    struct buffer reply;
    buffer_init(&reply);
    put_text(&reply, text);
    waiter_answer(&wait->waiter, buffer_slice(&reply));
    buffer_deinit(&reply);
}

static void tell_nil(struct lock_wait *wait)
{
    struct buffer reply;
    buffer_init(&reply);
    put_nil(wait, &reply);
    waiter_answer(&wait->waiter, buffer_slice(&reply));
    buffer_deinit(&reply);
}

static void tell_grant(struct lock_wait *wait, uint64_t token, int64_t ttl_ms)
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
    waiter_answer(&wait->waiter, buffer_slice(&reply));
    buffer_deinit(&reply);
}

/* ---- how it ends ---- */

/* It is answered, and the shard has nothing of it that is not the client's. */
static void settled(struct lock_wait *wait)
{
    if (wait->state == WAIT_QUEUED || wait->state == WAIT_LEAVES) {
        wait_free(wait);
    } else {
        wait->state = WAIT_OVER;
    }
}

/* Nobody waits, and nothing is under way; the shard may have something of the request. */
static void end_alone(struct lock_wait *wait, bool has_something)
{
    if (has_something) {
        wait_take_back(wait);
    } else {
        wait_free(wait);
    }
}

static bool is_in_queue(const struct lock_wait *wait)
{
    return wait->state == WAIT_QUEUED || wait->state == WAIT_ASKING;
}

/* The client is to hear this, when the shard has heard that it waits no more. */
static void end_when_heard(struct lock_wait *wait, const char *text)
{
    int64_t now_ns = server_now_ns(wait->server);
    wait->ends = true;
    wait->deadline_ns = wait->deadline_ns < now_ns ? wait->deadline_ns : now_ns;
    if (text == NULL) {
        put_nil(wait, &wait->last);
    } else {
        put_text(&wait->last, text);
    }
    if (wait->state == WAIT_QUEUED) {
        wait_take_back(wait);
    } /* else behind what is under way */
}

/* Ends one that is in the queue of its lock: the client is told why (NULL: nil), and the shard that nobody waits. */
static void end_queued(struct lock_wait *wait, const char *text)
{
    if (wait->kind->together) {
        end_when_heard(wait, text);
        return;
    }
    if (text == NULL) {
        tell_nil(wait);
    } else {
        tell_text(wait, text);
    }
    if (wait->state == WAIT_QUEUED) {
        wait_take_back(wait);
    } /* else what is under way tells more */
}

/* It was in the queue once: so it has a deadline of its own, and no command-timeout ends it. */
static bool has_waited(const struct lock_wait *wait) { return wait->state != WAIT_ASKED || wait->anew; }

/* The time is over by far, and its shard does not say so: the shard's clock stands still while nobody leads it, the
 * client's does not. True: the client is told. */
static bool unheard(struct lock_wait *wait, int64_t now_ns)
{
    if (wait->waiter.connection == NULL || !has_waited(wait) || now_ns - wait->deadline_ns < LOCK_LOST_MS * NS_PER_MS) {
        return false;
    }
    tell_text(wait, wait->kind->unheard);
    if (wait->state == WAIT_QUEUED) {
        wait_take_back(wait);
    } /* else what is under way tells more */
    return true;
}

/* The shard knows of no such request: its time was over, or another owner's request took its place and ended, or this
 * node was taken for gone. */
static void begin_anew(struct lock_wait *wait)
{
    if (wait->ends) {
        waiter_answer(&wait->waiter, buffer_slice(&wait->last));
        wait_free(wait);
        return;
    }
    if (server_now_ns(wait->server) >= wait->deadline_ns) {
        if (wait->unread) {
            tell_text(wait, wait->kind->unheard);
        } else {
            tell_nil(wait);
        }
        wait_free(wait);
        return;
    }
    wait->anew = true;
    waiter_set_number(&wait->waiter, wait->server);
    enum status status = wait_submit(wait);
    if (status != STATUS_OK) {
        tell_text(wait, route_refusal(status, true));
        wait_free(wait);
    }
}

/* ---- what the shard answers ---- */

static bool is_queued(struct slice reply) { return reply.size > 1 && reply.data[0] == '+'; }
static bool is_granted(struct slice reply)
{
    return reply.size > 1 && (reply.data[0] == ':' || (reply.data[0] == '*' && reply.data[1] == '2'));
}

static struct resp_writer *wait_begin(struct requester *requester, uint64_t tag)
{
    (void)tag;
    struct lock_wait *wait = of(requester);
    const struct waiter *waiter = &wait->waiter;
    buffer_clear(&wait->answer);
    bool asked = wait->state == WAIT_ASKED && waiter->connection != NULL;
    wait->writer = resp_writer_to(&wait->answer, asked ? slot_at(waiter->connection, waiter->slot)->protocol : RESP2);
    return &wait->writer;
}

static void acquired(struct lock_wait *wait)
{
    struct connection *connection = wait->waiter.connection;
    struct slice reply = buffer_slice(&wait->answer);
    bool queued = is_queued(reply);
    wait->unread = false;
    if (connection == NULL) {
        end_alone(wait, queued || is_granted(reply));
        return;
    }
    wait->state = WAIT_QUEUED;
    if (!queued) {
        if (slice_starts_with(reply, SLICE_LITERAL("-NOSESSION "))) {
            tell_text(wait, SESSION_IS_OVER); /* the shard had something of it before this was asked */
        } else {
            waiter_answer(&wait->waiter, reply);
        }
        wait_free(wait);
    } else if (wait->server->phase != SERVER_SERVING) {
        end_queued(wait, wait->waiter.kind->stopping);
    } else if (connection->finished_reading) {
        connection_close(connection);
    } else {
        wait_set_next_ask(wait);
    }
}

/* It is in the queue, and its time is over: that of its shard, which stood still for a while, is not. */
static bool is_late(const struct lock_wait *wait)
{
    return server_now_ns(wait->server) >= wait->deadline_ns + LOCK_LATE_MS * NS_PER_MS;
}

static void told(struct lock_wait *wait)
{
    struct slice reply = buffer_slice(&wait->answer);
    if (wait->waiter.connection == NULL) {
        end_alone(wait, is_queued(reply) || is_granted(reply));
        return;
    }
    wait->state = WAIT_QUEUED;
    wait->unread = wait->unread && !is_queued(reply);
    if (is_granted(reply)) {
        waiter_answer(&wait->waiter, reply);
        wait_free(wait);
    } else if (!is_queued(reply)) {
        begin_anew(wait);
    } else if (wait->ends) {
        wait_take_back(wait);
    } else if (is_late(wait)) {
        end_queued(wait, NULL);
    }
}

/* The shard has heard that nobody waits. */
static void left(struct lock_wait *wait)
{
    if (wait->waiter.connection != NULL) {
        struct slice reply = buffer_slice(&wait->answer);
        waiter_answer(&wait->waiter, is_granted(reply) ? reply : buffer_slice(&wait->last));
    }
    wait_free(wait);
}

static void wait_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    (void)tag;
    (void)command;
    struct lock_wait *wait = of(requester);
    switch (wait->state) {
    case WAIT_ASKED: acquired(wait); return;
    case WAIT_ASKING: told(wait); return;
    case WAIT_OVER: wait_free(wait); return;
    case WAIT_LEAVING: left(wait); return;
    case WAIT_QUEUED:
    case WAIT_LEAVES: break;
    }
    UNREACHABLE();
}

static void acquire_failed(struct lock_wait *wait, enum status status)
{
    struct connection *connection = wait->waiter.connection;
    bool perhaps = status == STATUS_UNCERTAIN || status == STATUS_EXECUTED;
    if (connection == NULL) {
        end_alone(wait, perhaps);
        return;
    }
    if (status == STATUS_EXECUTED) {
        wait->state = WAIT_QUEUED;
        wait->unread = true;
        wait_ask(wait); /* it was, and can be looked at */
        return;
    }
    figures_failed(wait->server, wait->kind->command, status);
    tell_text(wait, route_refusal(status, false));
    end_alone(wait, perhaps);
    if (status == STATUS_FULL) {
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
        if (wait->waiter.connection == NULL || wait->ends) {
            wait_take_back(wait);
        }
        return;
    case WAIT_OVER: wait_free(wait); return;
    case WAIT_LEAVING:
        if (status == STATUS_EXECUTED) {
            if (wait->waiter.connection != NULL) {
                tell_text(wait, wait->kind->unheard); /* whether it had passed is not known any more */
            }
            wait_free(wait);
        } else {
            wait->state = WAIT_LEAVES;
            wait_set_next(wait, LOCK_LEAVE_AGAIN_MS);
        }
        return;
    case WAIT_QUEUED:
    case WAIT_LEAVES: break;
    }
    UNREACHABLE();
}

static const struct requester_events wait_events = {wait_begin, wait_end, wait_failed, NULL, NULL};

/* ---- what comes from outside (waiter.h) ---- */

static bool queued(const struct waiter *waiter)
{
    return has_waited(CONTAINER_OF(waiter, const struct lock_wait, waiter));
}

static bool end(struct waiter *waiter, const char *text)
{
    struct lock_wait *wait = of_waiter(waiter);
    if (waiter->connection == NULL || !is_in_queue(wait) || wait->ends) {
        return false;
    }
    end_queued(wait, text);
    return true;
}

static void leave(struct waiter *waiter)
{
    struct lock_wait *wait = of_waiter(waiter);
    if (wait->state == WAIT_QUEUED) {
        wait_take_back(wait);
    } /* else what is under way tells more */
}

static void hear(struct waiter *waiter, const struct lock_notice *notice)
{
    struct lock_wait *wait = of_waiter(waiter);
    switch (notice->kind) {
    case LOCK_NOTICE_GRANTED: tell_grant(wait, notice->token, notice->ttl_ms); break;
    case LOCK_NOTICE_ENDED: tell_nil(wait); break;
    case LOCK_NOTICE_OVER: tell_text(wait, SESSION_IS_OVER); break;
    case LOCK_NOTICE_TAKEN:
        tell_text(wait, "ERR a later request of the same owner waits in the place of this one");
        break;
    case LOCK_NOTICE_LOST:
    case LOCK_NOTICE_RESERVED:
    case LOCK_NOTICES: return;
    }
    settled(wait);
}

static void look_after(struct waiter *waiter, int64_t now_ns)
{
    struct lock_wait *wait = of_waiter(waiter);
    uint64_t leader = cluster_leader(wait->server->cluster, wait->shard);
    bool others = leader != 0 && leader != wait->leader;
    if (unheard(wait, now_ns)) {
        return;
    }
    if (wait->state == WAIT_QUEUED && (others || now_ns >= wait->next_ns)) {
        wait_ask(wait);
    } else if (wait->state == WAIT_LEAVES && now_ns >= wait->next_ns) {
        wait_take_back(wait);
    }
}

static void destroy(struct waiter *waiter) { wait_free(of_waiter(waiter)); }

static const struct waiter_kind waits = {
    .queued = queued,
    .end = end,
    .leave = leave,
    .hear = hear,
    .look_after = look_after,
    .destroy = destroy,
    .stopping = "CLUSTERDOWN this node is stopping, and the wait has ended; ask again at another node",
};

/* ---- its beginning ---- */

void lock_wait_begin(struct connection *connection, uint32_t shard, const struct command *command,
                     const struct wait_kind *kind, int64_t ms)
{
    struct lock_wait *wait = memory_allocate_zeroed(1, sizeof(*wait));
    wait->requester.events = &wait_events;
    wait->kind = kind;
    wait->server = connection->server;
    wait->shard = shard;
    waiter_init(&wait->waiter, &waits, connection);
    waiter_set_number(&wait->waiter, wait->server);
    wait->deadline_ns = wait->waiter.began_ns + ms * NS_PER_MS;
    command_encode(&wait->words, command);
    kind->name(&wait->name, command->argv[1]);
    wait->waiter.slot = slot_open(connection, command->spec);
    enum status status = wait_submit(wait);
    if (status != STATUS_OK) {
        slot_withdraw(connection);
        wait_free(wait);
        route_refuse(connection, status);
        return;
    }
    waiter_hold(&wait->waiter);
}

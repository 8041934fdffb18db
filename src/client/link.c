#include "client/link.h"

#include "base/assert.h"
#include "client/handle.h"
#include "client/keeper.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

void link_init(struct link *link, struct cohort *cohort, struct node *node)
{
    *link = (struct link){.cohort = cohort, .node = node};
    client_connection_init(&link->connection);
    link->connection.limits.bulk_bytes = cohort->settings.reply_bytes_max;
    timer_init(&link->timer, TIMER_LINK);
    list_init(&link->queued);
    list_init(&link->sent);
    list_append(&cohort->links, &link->all);
}

static void watch_anew(struct link *link)
{
    link_watch(link, (link->deaf ? 0 : EPOLLIN) | (link->wants_write ? EPOLLOUT : 0), EPOLL_CTL_MOD);
}

/* ---- receiving ---- */

static void take_push(struct link *link, struct slice resp)
{
    struct cohort_reply *push;
    if (link->pushed == NULL && list_empty(&link->cohort->kept)) {
        return;
    }
    if (reply_create(resp, &push) != STATUS_OK) {
        link_lose(link, "no memory for what it sent");
        return;
    }
    keepers_hear(link->cohort, push);
    if (link->pushed == NULL || !link->pushed(link, push)) {
        cohort_reply_free(push);
    }
}

/* A server that has no room for a connection says so before it is asked anything. */
static void lose_unasked(struct link *link, struct slice resp)
{
    struct cohort_reply *reply = NULL;
    char why[128] = "it answers what was not asked";
    if (reply_create(resp, &reply) == STATUS_OK && cohort_reply_type(reply) == COHORT_REPLY_ERROR) {
        (void)snprintf(why, sizeof(why), "%s", cohort_reply_text(reply));
    }
    cohort_reply_free(reply);
    link_lose(link, why);
}

static void take_reply(struct link *link, struct slice resp)
{
    if (list_empty(&link->sent)) {
        lose_unasked(link, resp);
        return;
    }
    struct operation *operation = CONTAINER_OF(link->sent.next, struct operation, node);
    if (!operation->ghost) {
        struct cohort_reply *reply = NULL;
        if (reply_create(resp, &reply) == STATUS_OK && operation->trouble == NULL && operation->replies_left > 1 &&
            cohort_reply_type(reply) == COHORT_REPLY_ERROR) {
            operation->trouble = reply;
        } else {
            cohort_reply_free(operation->reply);
            operation->reply = reply;
        }
    }
    if (--operation->replies_left == 0) {
        list_remove(&operation->node);
        operation_answered(operation);
    }
}

/* It would be as large the next time: whose it is must hear of that. */
static void lose_to_size(struct link *link, bool is_push)
{
    link->overflowed = is_push;
    if (!is_push && !list_empty(&link->sent)) {
        CONTAINER_OF(link->sent.next, struct operation, node)->overflowed = true;
    }
    link_lose(link, "a reply is larger than reply_bytes_max");
}

/* What stands at the front of what was not given out. */
static bool is_push(const struct link *link)
{
    return link->connection.in.size > link->taken && link->connection.in.data[link->taken] == '>';
}

static void take_replies(struct link *link)
{
    struct client_connection *connection = &link->connection;
    while (link->state >= LINK_GREETING && !link->paused) {
        enum resp_type type;
        struct slice line;
        bool pushed = is_push(link);
        enum status status = client_connection_skip(connection, &type, &line);
        if (status == STATUS_AGAIN) {
            break;
        }
        if (status == STATUS_TOO_LARGE) {
            lose_to_size(link, pushed);
            return;
        }
        if (status != STATUS_OK) {
            link_lose(link, "it sends what is no reply");
            return;
        }
        struct slice resp = slice_of(connection->in.data + link->taken, connection->parsed - link->taken);
        if (resp.size > link->cohort->settings.reply_bytes_max) { /* as if it had not come at once */
            lose_to_size(link, pushed);
            return;
        }
        link->taken = connection->parsed;
        if (type == RESP_PUSH) {
            take_push(link, resp);
        } else {
            take_reply(link, resp);
        }
    }
    if (link->state >= LINK_GREETING && !link->paused) {
        client_connection_forget(connection, link->taken);
        link->taken = 0;
        buffer_shrink(&connection->in, HANDLE_IN_KEPT_BYTES);
        if (connection->in.size > link->cohort->settings.reply_bytes_max) {
            lose_to_size(link, is_push(link));
        }
    }
}

static void receive(struct link *link)
{
    enum status status = client_connection_receive(&link->connection);
    if (status == STATUS_AGAIN) {
        return;
    }
    if (status != STATUS_OK) {
        link_lose(link, status_text(status));
        return;
    }
    link->received_ns = client_clock_ns();
    if (link->suspect) {
        link->suspect = false;
        timers_clear(&link->cohort->timers, &link->timer);
        link->cohort->dispatch_due = true;
    }
    take_replies(link);
}

/* ---- sending ---- */

void link_append(struct link *link, struct operation *operation)
{
    operation->link = link;
    operation->state = OPERATION_QUEUED;
    list_append(&link->queued, &operation->node);
}

/* Bytes that the kernel took, from the front of the queue. */
static void move_sent(struct link *link, size_t bytes)
{
    while (bytes > 0) {
        struct operation *first = CONTAINER_OF(link->queued.next, struct operation, node);
        size_t left = first->request.size - first->sent_bytes;
        size_t step = left < bytes ? left : bytes;
        first->sent_bytes += step;
        bytes -= step;
        if (step == left) {
            list_remove(&first->node);
            first->state = OPERATION_SENT;
            list_append(&link->sent, &first->node);
        }
    }
}

/* What goes next, stamped with the time before it goes. */
static size_t gather(struct link *link, struct slice *pieces, size_t room)
{
    int64_t now_ns = client_clock_ns();
    int64_t boottime_ns = handle_boottime_ns();
    size_t count = 0;
    LIST_FOR_EACH (at, &link->queued) {
        if (count == room) {
            break;
        }
        struct operation *operation = CONTAINER_OF(at, struct operation, node);
        if (operation->sent_bytes == 0) {
            operation->sent_ns = now_ns;
            operation->sent_boottime_ns = boottime_ns;
            if (operation->timer.is_set && operation->timer.due_ns > now_ns + operation->patience_ns) {
                handle_set_timer(link->cohort, &operation->timer, now_ns + operation->patience_ns);
            }
        }
        pieces[count++] =
            slice_of(operation->request.data + operation->sent_bytes, operation->request.size - operation->sent_bytes);
    }
    return count;
}

/* What is sent on a link that has ended would be of unknown outcome; what it brought before its end is taken. */
static void look_for_the_end(struct link *link)
{
    while (link->state >= LINK_GREETING && !link->paused && client_connection_has_ended(&link->connection)) {
        receive(link); /* nothing more arrives, so this comes to the end */
    }
}

void link_flush(struct link *link)
{
    struct slice pieces[CLIENT_SEND_PIECES];
    look_for_the_end(link);
    while (!list_empty(&link->queued) && link->state >= LINK_GREETING) {
        size_t count = gather(link, pieces, CLIENT_SEND_PIECES);
        size_t sent = 0;
        enum status status = client_connection_send(&link->connection, pieces, count, &sent);
        if (status == STATUS_OK) {
            move_sent(link, sent);
            continue;
        }
        if (status == STATUS_AGAIN) {
            if (!link->wants_write) {
                link->wants_write = true;
                watch_anew(link);
            }
            return;
        }
        link_lose(link, status_text(status));
        return;
    }
}

void link_ready(struct link *link, uint32_t events)
{
    if (link->state == LINK_CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
        link_connected(link);
    }
    if (link->state >= LINK_GREETING && link->wants_write && (events & EPOLLOUT) != 0) {
        link->wants_write = false;
        watch_anew(link);
        link_flush(link);
    }
    if (link->paused && (events & (EPOLLERR | EPOLLHUP)) != 0) {
        link_lose(link, "it closed the connection"); /* this cannot be kept from being told again and again */
    } else if (link->paused && (events & EPOLLIN) != 0 && !link->deaf) {
        link->deaf = true;
        watch_anew(link);
    } else if (link->state >= LINK_GREETING && !link->paused && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
        receive(link);
    }
}

bool link_is_usable(const struct link *link) { return link->state == LINK_OPEN && !link->suspect; }

void link_pause(struct link *link)
{
    ASSERT(link->is_private && link->state == LINK_OPEN);
    link->paused = true;
}

void link_resume(struct link *link)
{
    if (!link->paused) {
        return;
    }
    link->paused = false;
    take_replies(link);
    if (link->state == LINK_OPEN && !link->paused && link->deaf) {
        link->deaf = false;
        watch_anew(link);
    }
}

/* ---- trouble and end ---- */

void link_due(struct link *link)
{
    link_lose(link, link->state == LINK_OPEN ? "it does not answer" : "it cannot be connected to in time");
}

void link_suspect(struct link *link)
{
    if (!link->suspect && link->state == LINK_OPEN) {
        link->suspect = true;
        handle_set_timer(link->cohort, &link->timer, client_clock_ns() + link->cohort->settings.timeout_ms * 1000000);
    }
}

/* All of a list, each to operation_lost. */
static void lose_all(struct list *operations, const char *why)
{
    while (!list_empty(operations)) {
        struct operation *operation = CONTAINER_OF(operations->next, struct operation, node);
        list_remove(&operation->node);
        operation_lost(operation, why);
    }
}

static void move_all(struct list *from, struct list *to)
{
    list_init(to);
    while (!list_empty(from)) {
        struct list *first = from->next;
        list_remove(first);
        list_append(to, first);
    }
}

static void close_now(struct link *link)
{
    if (link->connection.fd >= 0) {
        (void)epoll_ctl(link->cohort->work_fd, EPOLL_CTL_DEL, link->connection.fd, NULL);
    }
    client_connection_close(&link->connection);
    timers_clear(&link->cohort->timers, &link->timer);
    link_forget_probe(link);
    link->state = LINK_CLOSED;
    link->taken = 0;
    link->suspect = false;
    link->wants_write = false;
    link->paused = false;
    link->deaf = false;
}

void link_lose(struct link *link, const char *why)
{
    if (link->state == LINK_CLOSED) {
        return;
    }
    char text[128]; /* `why` may be in what is freed below */
    (void)snprintf(text, sizeof(text), "%s", why);
    bool was_open = link->state == LINK_OPEN;
    struct list queued;
    struct list sent;
    move_all(&link->queued, &queued);
    move_all(&link->sent, &sent);
    close_now(link);
    handle_node_failed(link->cohort, link->node, was_open, text);
    void (*lost)(struct link *) = link->lost;
    bool is_private = link->is_private;
    link->lost = NULL;
    if (lost != NULL) {
        lost(link);
    }
    lose_all(&sent, text);
    lose_all(&queued, text);
    if (is_private) {
        link_destroy(link);
    }
}

/* Something in the place of an operation that has ended, for its reply. */
static bool leave_ghost(struct operation *operation)
{
    struct operation *ghost = malloc(sizeof(*ghost));
    if (ghost == NULL) {
        return false;
    }
    *ghost = (struct operation){.cohort = operation->cohort,
                                .ghost = true,
                                .state = operation->state,
                                .sent_bytes = operation->sent_bytes,
                                .replies_left = operation->replies_left};
    list_init(&ghost->node);
    timer_init(&ghost->timer, TIMER_OPERATION);
    if (operation->state == OPERATION_QUEUED) { /* the rest of its bytes has to follow */
        if (!buffer_try_reserve(&ghost->request, operation->request.size)) {
            free(ghost);
            return false;
        }
        buffer_append_slice(&ghost->request, buffer_slice(&operation->request));
    }
    list_append(&operation->node, &ghost->node); /* right behind it */
    return true;
}

void link_remove(struct link *link, struct operation *operation)
{
    bool is_there = operation->state == OPERATION_SENT || operation->sent_bytes > 0;
    bool has_ghost = is_there && !link->is_private && leave_ghost(operation);
    list_remove(&operation->node);
    operation->link = NULL;
    if (is_there && !has_ghost) {
        link_lose(link, "the time of what was sent on it is over");
    } else if (!is_there && link->is_private && !operation->pinned) {
        link_give_back(link, true);
    }
}

void link_give_back(struct link *link, bool as_new)
{
    ASSERT(link->is_private && link->is_taken);
    struct cohort *cohort = link->cohort;
    link_forget_probe(link);
    link->is_taken = false;
    link->lost = NULL;
    link->pushed = NULL;
    link->owner = NULL;
    uint32_t idle = 0;
    LIST_FOR_EACH (at, &cohort->links) {
        struct link *other = CONTAINER_OF(at, struct link, all);
        idle += other->is_private && !other->is_taken;
    }
    bool is_clean = as_new && link->state == LINK_OPEN && list_empty(&link->queued) && list_empty(&link->sent);
    if (!is_clean || idle > HANDLE_IDLE_LINKS) {
        link_destroy(link);
    }
    cohort->dispatch_due = true;
    handle_wake(cohort);
}

void link_destroy(struct link *link)
{
    struct cohort *cohort = link->cohort;
    if (link->state != LINK_CLOSED) {
        struct list rest;
        move_all(&link->queued, &rest);
        lose_all(&rest, "it was closed");
        move_all(&link->sent, &rest);
        close_now(link);
        lose_all(&rest, "it was closed");
    }
    list_remove(&link->all);
    if (!link->is_private) {
        client_connection_deinit(&link->connection);
        return; /* its node frees it */
    }
    cohort->private_count--;
    list_append(&cohort->dead, &link->all); /* whoever has just lost it may look at it once more */
}

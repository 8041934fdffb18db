/* How a link comes to be open (link.h). */
#include "base/assert.h"
#include "client/handle.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/epoll.h>

static bool is_address(const char *host)
{
    uint8_t address[16];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

void link_watch(struct link *link, uint32_t events, int how)
{
    struct epoll_event event = {.events = events, .data.ptr = link};
    if (epoll_ctl(link->cohort->work_fd, how, link->connection.fd, &event) != 0) {
        link_lose(link, "the system cannot watch its descriptor");
    }
}

/* Counts attempts in a row that found nobody. */
static void failed(struct link *link, enum status status)
{
    bool found_nobody = status == STATUS_REFUSED || status == STATUS_NOTFOUND;
    link->node->refused = found_nobody ? link->node->refused + 1 : 0;
    link_lose(link, status_text(status));
}

/* The attempt was made on `connection`, which becomes the link's. */
static void started(struct link *link, struct client_connection *connection, enum status status)
{
    link->node->attempts++;
    if (status != STATUS_OK) {
        failed(link, status);
        return;
    }
    link->connection.fd = connection->fd;
    link->state = LINK_CONNECTING;
    link->wants_write = true;
    link_watch(link, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
}

/* To a node in this process. When that is over for good, waiting for it is no use. */
static void connect_within(struct link *link, const struct client_connector *connector)
{
    struct cohort *cohort = link->cohort;
    struct client_connection connection;
    client_connection_init(&connection);
    struct node *node = link->node;
    enum status status = connector->connect(connector->context, &connection.fd);
    started(link, &connection, status); /* a private one may be gone now */
    if (status == STATUS_CLOSED && connector->explain != NULL) {
        char why[CLIENT_WHY_BYTES];
        connector->explain(connector->context, why);
        node->again_ns = 0; /* who comes later is told at once, too */
        handle_fail_waiting(cohort, COHORT_UNREACHABLE, why);
    }
}

void link_start(struct link *link)
{
    ASSERT(link->state == LINK_CLOSED);
    link->state = LINK_RESOLVING;
    handle_set_timer(link->cohort, &link->timer, client_clock_ns() + (int64_t)HANDLE_CONNECT_MS * 1000000);
    const struct client_connector *connector = &link->cohort->connector;
    if (connector->connect != NULL) {
        connect_within(link, connector);
        return;
    }
    if (!is_address(link->node->endpoint.host)) {
        handle_wake(link->cohort); /* link_resolve goes on */
        return;
    }
    struct client_connection connection;
    client_connection_init(&connection);
    started(link, &connection, client_connection_start(&connection, &link->node->endpoint));
}

void link_resolve(struct link *link)
{
    struct cohort *cohort = link->cohort;
    ASSERT(link->state == LINK_RESOLVING && cohort->driving);
    struct client_endpoint endpoint = link->node->endpoint;
    uint32_t which = link->node->attempts;
    uint32_t count = 1;
    struct client_connection connection;
    client_connection_init(&connection);
    handle_unlock(cohort);
    enum status status = client_connection_start_other(&connection, &endpoint, which, &count);
    handle_lock(cohort);
    link->node->addresses = count;
    if (link->state == LINK_RESOLVING) {
        started(link, &connection, status);
    } else {
        client_connection_deinit(&connection);
    }
}

static void greeted(struct operation *hello)
{
    struct link *link = hello->link;
    if (link == NULL) {
        return; /* lost meanwhile */
    }
    struct cohort *cohort = link->cohort;
    if (hello->status != COHORT_OK) {
        char why[128];
        (void)snprintf(why, sizeof(why), "%s", cohort_reply_text(hello->reply));
        if (hello->status == COHORT_DENIED) {
            handle_fail_waiting(cohort, COHORT_DENIED, why);
        }
        link_lose(link, why);
        return;
    }
    link->state = LINK_OPEN;
    timers_clear(&cohort->timers, &link->timer);
    link->node->failures = 0;
    link->node->was_reached = true;
    cohort->problem[0] = '\0';
    cohort->dispatch_due = true;
}

static void greet(struct link *link)
{
    struct cohort *cohort = link->cohort;
    link->state = LINK_GREETING;
    struct cohort_bytes argv[5] = {cohort_text("HELLO"), cohort_text("3"), cohort_text("AUTH"), cohort_text("default")};
    bool with_password = cohort->settings.password != NULL;
    if (with_password) {
        argv[4] = cohort_text(cohort->settings.password);
    }
    struct client_request request = {
        .argv = argv, .argc = with_password ? 5 : 2, .flags = COHORT_READ | OPERATION_INTERNAL, .link = link};
    struct operation *hello;
    if (operation_create(cohort, &request, &hello) != STATUS_OK) {
        link_lose(link, "no memory");
        return;
    }
    hello->ended = greeted;
    (void)operation_submit(hello); /* internal ones are never too many */
}

void link_connected(struct link *link)
{
    enum status status = client_connection_finish(&link->connection);
    if (status != STATUS_OK) {
        failed(link, status);
        return;
    }
    link->node->refused = 0;
    greet(link);
}

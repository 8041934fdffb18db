#include "proxy/worker.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_A_TURN = 256, FULL_TURNS = 16, LONGEST_SLEEP_MS = 60000 };

int64_t proxy_worker_clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

bool proxy_worker_watch(struct proxy_worker *worker, int fd, uint64_t tag)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = tag};
    return epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool watch_level(struct proxy_worker *worker, int fd, uint64_t tag)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag};
    return epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void tell_figures(struct proxy_worker *worker)
{
    if (worker->asked == worker->answered) {
        return;
    }
    balancer_tick(worker->balancer, worker->now_ns);
    worker->told_counts = worker->counts;
    worker->told_list = worker->list;
    for (uint32_t i = 0; i < worker->list->count; i++) {
        bool known = balancer_endpoint_statistics(worker->balancer, balancer_listed(worker->balancer, i),
                                                  &worker->told_backends[i]);
        ASSERT(known);
    }
    worker->answered = worker->asked;
    pthread_cond_broadcast(&worker->told);
}

/* Somebody wants figures, or an end, or has a list. */
static void woken(struct proxy_worker *worker)
{
    uint64_t count;
    ssize_t size = read(worker->event_fd, &count, sizeof(count));
    (void)size;
    pthread_mutex_lock(&worker->lock);
    proxy_worker_take_list(worker);
    tell_figures(worker);
    pthread_mutex_unlock(&worker->lock);
    if (atomic_load(&worker->proxy->stopping) && worker->listen_fd >= 0) {
        proxy_accept_last(worker);
        (void)close(worker->listen_fd);
        worker->listen_fd = -1;
        worker->accept_again_ns = 0;
        atomic_fetch_sub(&worker->proxy->listening, 1); /* after what was accepted counts as open */
    }
}

static void dispatch(struct proxy_worker *worker, uint64_t tag, uint32_t events)
{
    if (tag == TAG_EVENT) {
        woken(worker);
    } else if (tag == TAG_LISTENER) {
        if (worker->listen_fd >= 0) {
            proxy_accept_some(worker);
        }
    } else if ((tag & TAG_CHECK) != 0) {
        backend_check_event(worker, (uint32_t)(tag >> 8), events);
    } else {
        int side = (int)(tag & TAG_SIDE_BIT);
        proxy_connection_event(worker, (struct proxy_connection *)(uintptr_t)(tag & ~(uint64_t)TAG_SIDE_BIT), side,
                               events);
    }
}

/* Those that had more to do than a turn allows; each once. */
static void run_ready(struct proxy_worker *worker)
{
    struct list now;
    list_init(&now);
    while (!list_empty(&worker->ready)) {
        struct list *first = worker->ready.next;
        list_remove(first);
        list_append(&now, first);
    }
    while (!list_empty(&now)) {
        struct list *first = now.next;
        list_remove(first);
        proxy_connection_run(worker, CONTAINER_OF(first, struct proxy_connection, ready));
    }
}

static void free_closed(struct proxy_worker *worker)
{
    while (!list_empty(&worker->closed)) {
        struct list *first = worker->closed.next;
        list_remove(first);
        free(CONTAINER_OF(first, struct proxy_connection, timed));
    }
}

static void earlier(int64_t *due_ns, int64_t other_ns) { *due_ns = other_ns < *due_ns ? other_ns : *due_ns; }

static void earlier_of_list(int64_t *due_ns, const struct list *list, int64_t timeout_ns)
{
    if (!list_empty(list) && timeout_ns > 0) {
        earlier(due_ns, CONTAINER_OF(list->next, struct proxy_connection, timed)->since_ns + timeout_ns);
    }
}

static int sleep_ms(const struct proxy_worker *worker)
{
    const struct proxy_options *options = &worker->proxy->options;
    int64_t due_ns = worker->check_due_ns;
    if (!list_empty(&worker->ready)) {
        return 0;
    }
    if (worker->accept_again_ns != 0) {
        earlier(&due_ns, worker->accept_again_ns);
    }
    earlier_of_list(&due_ns, &worker->headers, options->connect_timeout_ns);
    earlier_of_list(&due_ns, &worker->connecting, options->connect_timeout_ns);
    earlier_of_list(&due_ns, &worker->streaming, options->idle_timeout_ns);
    int64_t ms = due_ns <= worker->now_ns ? 0 : (due_ns - worker->now_ns) / 1000000 + 1;
    return ms > LONGEST_SLEEP_MS ? LONGEST_SLEEP_MS : (int)ms;
}

/* Whether all that the system has to tell was told: after a pause (of the process, of the machine) what came meanwhile
 * counts before time that passed does. A worker that is never through with it looks at the time now and then. */
static bool has_heard_all(struct proxy_worker *worker, int count)
{
    worker->full_turns = count == EVENTS_A_TURN ? worker->full_turns + 1 : 0;
    return count >= 0 && worker->full_turns % FULL_TURNS == 0;
}

static void turn(struct proxy_worker *worker)
{
    struct epoll_event events[EVENTS_A_TURN];
    int count = epoll_wait(worker->epoll_fd, events, EVENTS_A_TURN, sleep_ms(worker));
    worker->now_ns = proxy_worker_clock_ns();
    for (int i = 0; i < count; i++) {
        dispatch(worker, events[i].data.u64, events[i].events);
    }
    run_ready(worker);
    if (has_heard_all(worker, count)) {
        proxy_connection_expire(worker);
        backend_check_run_due(worker);
    }
    if (worker->accept_again_ns != 0 && worker->now_ns >= worker->accept_again_ns &&
        watch_level(worker, worker->listen_fd, TAG_LISTENER)) {
        worker->accept_again_ns = 0;
    }
    free_closed(worker);
}

static void close_list(struct proxy_worker *worker, struct list *list)
{
    while (!list_empty(list)) {
        proxy_connection_close(worker, CONTAINER_OF(list->next, struct proxy_connection, timed), true);
    }
}

void *proxy_worker_run(void *of)
{
    struct proxy_worker *worker = of;
    worker->now_ns = proxy_worker_clock_ns();
    bool watched =
        watch_level(worker, worker->event_fd, TAG_EVENT) && watch_level(worker, worker->listen_fd, TAG_LISTENER);
    ASSERT(watched);
    pthread_mutex_lock(&worker->lock);
    proxy_worker_take_list(worker);
    pthread_mutex_unlock(&worker->lock);
    ASSERT(worker->list != NULL); /* the first one */
    while (!atomic_load(&worker->proxy->ending)) {
        turn(worker);
    }
    close_list(worker, &worker->headers);
    close_list(worker, &worker->connecting);
    close_list(worker, &worker->streaming);
    free_closed(worker);
    backend_check_deinit(worker);
    proxy_flow_free_pipes(worker);
    return NULL;
}

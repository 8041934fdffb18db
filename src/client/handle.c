/* Opening and closing a handle. */
#include "client/handle.h"

#include "base/assert.h"
#include "client/feed.h"

#include <cohort/engine.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
    OPERATIONS_MAX = 16384,
    CONNECTIONS_MAX = 64,
    REQUEST_BYTES_MAX = 128 << 20,
    REPLY_BYTES_MAX = 64 << 20,
};

int64_t handle_boottime_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

struct node *handle_add_node(struct cohort *cohort, const struct client_endpoint *endpoint, bool is_told)
{
    struct node *node = cohort->node_count == HANDLE_NODES ? NULL : calloc(1, sizeof(*node));
    if (node == NULL) {
        return NULL;
    }
    node->endpoint = *endpoint;
    node->is_told = is_told;
    link_init(&node->shared, cohort, node);
    cohort->nodes[cohort->node_count++] = node;
    return node;
}

static void init(struct cohort *cohort)
{
    *cohort = (struct cohort){.work_fd = -1, .wake_fd = -1, .loop_fd = -1, .ready_fd = -1, .loop_until_ns = INT64_MIN};
    handle_mark_init(&cohort->mark);
    (void)pthread_mutex_init(&cohort->mutex, NULL);
    (void)pthread_cond_init(&cohort->left, NULL);
    timer_init(&cohort->timer, TIMER_HANDLE);
    list_init(&cohort->waiters);
    list_init(&cohort->waiting);
    list_init(&cohort->pausing);
    list_init(&cohort->ready);
    list_init(&cohort->links);
    list_init(&cohort->dead);
    list_init(&cohort->keepers);
    list_init(&cohort->kept);
    list_init(&cohort->feeds);
    list_init(&cohort->telling);
    memset(cohort->leader_of, HANDLE_NODE_UNKNOWN, sizeof(cohort->leader_of));
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed)) {
        seed = (uint64_t)client_clock_ns();
    }
    prng_seed(&cohort->prng, seed);
}

static bool take_settings(struct cohort *cohort, const struct cohort_options *given, int64_t url_timeout_ms)
{
    struct cohort_options options;
    client_take_options(&options, sizeof(options), given);
    struct client_settings *settings = &cohort->settings;
    settings->flags = options.flags;
    settings->timeout_ms = options.timeout_ms > 0 ? options.timeout_ms : url_timeout_ms;
    settings->timeout_ms =
        settings->timeout_ms > HANDLE_TIMEOUT_MAXIMUM_MS ? HANDLE_TIMEOUT_MAXIMUM_MS : settings->timeout_ms;
    settings->operations_max = options.operations_max > 0 ? options.operations_max : OPERATIONS_MAX;
    settings->connections_max = options.connections_max > 0 ? options.connections_max : CONNECTIONS_MAX;
    settings->request_bytes_max = options.request_bytes_max > 0 ? options.request_bytes_max : REQUEST_BYTES_MAX;
    settings->reply_bytes_max = options.reply_bytes_max > 0 ? options.reply_bytes_max : REPLY_BYTES_MAX;
    if (options.password != NULL) {
        settings->password = strdup(options.password);
        return settings->password != NULL;
    }
    return true;
}

static bool add_to_epoll(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool open_descriptors(struct cohort *cohort)
{
    cohort->work_fd = epoll_create1(EPOLL_CLOEXEC);
    cohort->loop_fd = epoll_create1(EPOLL_CLOEXEC);
    cohort->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    cohort->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return cohort->work_fd >= 0 && cohort->loop_fd >= 0 && cohort->wake_fd >= 0 && cohort->ready_fd >= 0 &&
           add_to_epoll(cohort->work_fd, cohort->wake_fd) && add_to_epoll(cohort->loop_fd, cohort->work_fd) &&
           add_to_epoll(cohort->loop_fd, cohort->ready_fd);
}

static void close_descriptors(struct cohort *cohort)
{
    int *fds[] = {&cohort->work_fd, &cohort->wake_fd, &cohort->loop_fd, &cohort->ready_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0) {
            (void)close(*fds[i]);
            *fds[i] = -1;
        }
    }
}

static void free_handle(struct cohort *cohort)
{
    close_descriptors(cohort);
    for (uint32_t i = 0; i < cohort->node_count; i++) {
        free(cohort->nodes[i]);
    }
    (void)pthread_cond_destroy(&cohort->left);
    (void)pthread_mutex_destroy(&cohort->mutex);
    handle_mark_deinit(&cohort->mark);
    free(cohort->settings.password);
    free(cohort);
}

static bool add_nodes(struct cohort *cohort, const struct client_url *url)
{
    for (uint32_t i = 0; i < url->endpoint_count; i++) {
        if (handle_add_node(cohort, &url->endpoints[i], false) == NULL) {
            return false;
        }
    }
    cohort->next_node = (uint32_t)prng_below(&cohort->prng, cohort->node_count); /* not all clients at the first */
    return true;
}

enum cohort_status client_open(const struct client_url *url, const struct cohort_options *options,
                               const struct client_connector *connector, struct cohort **ret_cohort)
{
    struct cohort *cohort = malloc(sizeof(*cohort));
    if (cohort == NULL) {
        return COHORT_NOMEM;
    }
    init(cohort);
    enum cohort_status status = COHORT_OK;
    if (!take_settings(cohort, options, url->timeout_ms) || !add_nodes(cohort, url)) {
        status = COHORT_NOMEM;
    } else if (!open_descriptors(cohort)) {
        status = COHORT_SYSTEM;
    }
    if (status != COHORT_OK) {
        free_handle(cohort);
        return status;
    }
    cohort->connector = *connector;
    *ret_cohort = cohort;
    return COHORT_OK;
}

unsigned cohort_can(const struct cohort *cohort) { return cohort->connector.can; }

static void cancel_all(struct cohort *cohort, struct list *operations)
{
    while (!list_empty(operations)) {
        struct operation *operation = CONTAINER_OF(operations->next, struct operation, node);
        if (operation->ghost) {
            list_remove(&operation->node);
            operation_destroy(operation);
        } else {
            operation_cancel(operation, COHORT_CANCELLED, "the handle was closed");
        }
    }
}

/* In a child: its copies of the descriptors are closed, which the parent does not notice, so that the connections end
 * with the parent. If a thread of the parent's was within the handle at the fork, nothing can be looked at. */
static void leave_to_parent(struct cohort *cohort)
{
    if (pthread_mutex_trylock(&cohort->mutex) != 0) {
        return;
    }
    LIST_FOR_EACH (at, &cohort->links) {
        struct link *link = CONTAINER_OF(at, struct link, all);
        if (link->connection.fd >= 0) {
            (void)close(link->connection.fd);
            link->connection.fd = -1;
        }
    }
    close_descriptors(cohort);
}

void cohort_close(struct cohort *cohort)
{
    if (cohort == NULL) {
        return;
    }
    if (handle_is_inherited(cohort)) {
        leave_to_parent(cohort);
        return;
    }
    handle_lock(cohort);
    ASSERT(list_empty(&cohort->kept)); /* keepers are stopped before */
    while (cohort->leaving > 0) {
        (void)pthread_cond_wait(&cohort->left, &cohort->mutex);
    }
    cohort->closing = true;
    client_feeds_leave(cohort);
    cancel_all(cohort, &cohort->waiting);
    cancel_all(cohort, &cohort->pausing);
    while (!list_empty(&cohort->links)) {
        struct link *link = CONTAINER_OF(cohort->links.next, struct link, all);
        link_destroy(link); /* what is on it ends, as closing says */
    }
    cancel_all(cohort, &cohort->waiting);
    handle_call_back(cohort);
    handle_free_dead(cohort);
    ASSERT(list_empty(&cohort->feeds)); /* the caller closes them before */
    timers_clear(&cohort->timers, &cohort->timer);
    handle_unlock(cohort);
    if (cohort->connector.close != NULL) {
        cohort->connector.close(cohort->connector.context);
    }
    free_handle(cohort);
}

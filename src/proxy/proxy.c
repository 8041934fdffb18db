#include "base/assert.h"
#include "base/memory.h"
#include "proxy/worker.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { RETRIES_AT_START = 100 };

bool proxy_resolve(const char *host, int port, struct proxy_address *ret_address)
{
    char service[16];
    (void)snprintf(service, sizeof(service), "%d", port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, service, &hints, &found) != 0 || found == NULL) {
        return false;
    }
    *ret_address = (struct proxy_address){.size = found->ai_addrlen};
    memcpy(&ret_address->address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return true;
}

static int port_of(const struct sockaddr_storage *address)
{
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    memcpy(&four, address, sizeof(four));
    memcpy(&six, address, sizeof(six));
    return ntohs(address->ss_family == AF_INET6 ? six.sin6_port : four.sin_port);
}

static void set_port(struct sockaddr_storage *address, int port)
{
    if (address->ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)address)->sin6_port = htons((uint16_t)port);
    } else {
        ((struct sockaddr_in *)address)->sin_port = htons((uint16_t)port);
    }
}

static enum status status_of_errno(int error)
{
    switch (error) {
    case EADDRINUSE: return STATUS_BUSY;
    case EADDRNOTAVAIL: return STATUS_NOTFOUND;
    case EACCES:
    case EPERM: return STATUS_DENIED;
    case EMFILE:
    case ENFILE: return STATUS_FULL;
    default: return STATUS_IO;
    }
}

/* Another program's listener would share the port unnoticed (of the same user, with SO_REUSEPORT too): the first socket
 * is bound without it first. */
static enum status probe_port(const struct proxy_address *at)
{
    int fd = socket(at->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return status_of_errno(errno);
    }
    int on = 1;
    enum status status = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                                 bind(fd, (const struct sockaddr *)&at->address, at->size) == 0 && listen(fd, 1) == 0
                             ? STATUS_OK
                             : status_of_errno(errno);
    (void)close(fd);
    return status;
}

static enum status open_listener(struct proxy_address *at, int *ret_fd)
{
    int fd = socket(at->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return status_of_errno(errno);
    }
    int on = 1;
    struct sockaddr_storage bound = {0};
    socklen_t size = sizeof(bound);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 || /* what is accepted inherits it */
        bind(fd, (const struct sockaddr *)&at->address, at->size) != 0 || listen(fd, PROXY_BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&bound, &size) != 0) {
        enum status status = status_of_errno(errno);
        (void)close(fd);
        return status;
    }
    set_port(&at->address, port_of(&bound)); /* the same for the others */
    *ret_fd = fd;
    return STATUS_OK;
}

static struct proxy_worker *worker_create(struct proxy *proxy)
{
    struct proxy_worker *worker = memory_allocate_zeroed(1, sizeof(*worker));
    worker->proxy = proxy;
    worker->epoll_fd = worker->listen_fd = worker->event_fd = -1;
    worker->retry_tokens = RETRIES_AT_START;
    list_init(&worker->headers);
    list_init(&worker->connecting);
    list_init(&worker->streaming);
    list_init(&worker->ready);
    list_init(&worker->closed);
    (void)pthread_mutex_init(&worker->lock, NULL);
    pthread_condattr_t clock;
    (void)pthread_condattr_init(&clock);
    (void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&worker->told, &clock);
    (void)pthread_condattr_destroy(&clock);
    return worker;
}

static enum status worker_open(struct proxy *proxy, struct proxy_worker *worker, uint32_t number, const char **ret_why)
{
    struct balancer_options balancing = proxy->options.balancing;
    balancing.seed += number;
    enum status status = balancer_create(&balancing, &worker->balancer, ret_why);
    if (status != STATUS_OK) {
        return status;
    }
    status = open_listener(&proxy->options.listen, &worker->listen_fd);
    if (status != STATUS_OK) {
        return status;
    }
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return worker->epoll_fd >= 0 && worker->event_fd >= 0 ? STATUS_OK : status_of_errno(errno);
}

static void close_if_open(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

static void worker_destroy(struct proxy_worker *worker)
{
    close_if_open(worker->epoll_fd);
    close_if_open(worker->listen_fd);
    close_if_open(worker->event_fd);
    balancer_destroy(worker->balancer);
    proxy_list_release(worker->list);
    proxy_list_release(worker->next_list);
    free(worker->targets);
    (void)pthread_mutex_destroy(&worker->lock);
    (void)pthread_cond_destroy(&worker->told);
    free(worker);
}

enum status proxy_create(const struct proxy_options *options, struct proxy **ret_proxy, const char **ret_why)
{
    ASSERT(options->backend_count >= 1 && options->backend_count <= PROXY_MAXIMUM_BACKENDS);
    ASSERT(options->workers >= 1 && options->workers <= PROXY_MAXIMUM_WORKERS);
    ASSERT(options->retries <= PROXY_MAXIMUM_RETRIES);
    struct proxy *proxy = memory_allocate_zeroed(1, sizeof(*proxy));
    proxy->options = *options;
    *ret_why = NULL;
    enum status status = balancer_create(&options->balancing, &proxy->pattern, ret_why);
    if (status == STATUS_OK && port_of(&options->listen.address) != 0) {
        status = probe_port(&options->listen);
    }
    for (uint32_t i = 0; i < options->workers && status == STATUS_OK; i++) {
        proxy->workers[proxy->worker_count++] = worker_create(proxy);
        status = worker_open(proxy, proxy->workers[i], i, ret_why);
    }
    struct balancer_refused refused;
    if (status == STATUS_OK && proxy_update(proxy, options->backends, options->backend_count, &refused) != STATUS_OK) {
        *ret_why = balancer_refusal_text(refused.why);
        status = STATUS_INVALID;
    }
    proxy->port = port_of(&proxy->options.listen.address);
    for (uint32_t i = 0; i < options->workers && status == STATUS_OK; i++) {
        struct proxy_worker *worker = proxy->workers[i];
        atomic_fetch_add(&proxy->listening, 1);
        worker->started = pthread_create(&worker->thread, NULL, proxy_worker_run, worker) == 0;
        status = worker->started ? STATUS_OK : STATUS_NOMEM;
    }
    if (status != STATUS_OK) {
        proxy_destroy(proxy);
        return status;
    }
    *ret_proxy = proxy;
    return STATUS_OK;
}

int proxy_port(const struct proxy *proxy) { return proxy->port; }

uint32_t proxy_open(const struct proxy *proxy) { return atomic_load(&((struct proxy *)(uintptr_t)proxy)->open); }

void proxy_worker_wake(const struct proxy_worker *worker)
{
    uint64_t one = 1;
    ssize_t size = write(worker->event_fd, &one, sizeof(one));
    (void)size; /* full: it will wake up anyway */
}

bool proxy_has_ended(const struct proxy *proxy)
{
    struct proxy *one = (struct proxy *)(uintptr_t)proxy;
    return atomic_load(&one->listening) == 0 && atomic_load(&one->open) == 0; /* in this order */
}

void proxy_stop(struct proxy *proxy)
{
    atomic_store(&proxy->stopping, true);
    for (uint32_t i = 0; i < proxy->worker_count; i++) {
        proxy_worker_wake(proxy->workers[i]);
    }
}

void proxy_destroy(struct proxy *proxy)
{
    if (proxy == NULL) {
        return;
    }
    atomic_store(&proxy->ending, true);
    for (uint32_t i = 0; i < proxy->worker_count; i++) {
        if (proxy->workers[i]->started) {
            proxy_worker_wake(proxy->workers[i]);
            (void)pthread_join(proxy->workers[i]->thread, NULL);
        }
    }
    for (uint32_t i = 0; i < proxy->worker_count; i++) {
        worker_destroy(proxy->workers[i]);
    }
    balancer_destroy(proxy->pattern);
    proxy_list_release(proxy->list);
    free(proxy);
}

/* ---- figures ---- */

static bool wait_for_answer(struct proxy_worker *worker, const struct timespec *until)
{
    int result = 0;
    while (worker->answered != worker->asked && result == 0) {
        result = pthread_cond_timedwait(&worker->told, &worker->lock, until);
    }
    return worker->answered == worker->asked;
}

static void add_counts(struct proxy_counts *sum, const struct proxy_counts *more)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)more;
    _Static_assert(sizeof(*sum) % sizeof(uint64_t) == 0, "counts are all of one kind");
    for (size_t i = 0; i < sizeof(*sum) / sizeof(uint64_t); i++) {
        to[i] += from[i];
    }
}

static void add_backend(struct proxy_backend_figures *sum, const struct balancer_statistics *more)
{
    struct balancer_statistics *to = &sum->balancing;
    sum->healthy_workers += more->eligible;
    to->in_flight += more->in_flight;
    to->picked += more->picked;
    to->succeeded += more->succeeded;
    to->failed += more->failed;
    to->cancelled += more->cancelled;
    to->ejections += more->ejections;
    to->checks_passed += more->checks_passed;
    to->checks_failed += more->checks_failed;
    to->healthy = to->healthy && more->healthy;
    to->ejected = to->ejected || more->ejected;
}

static void add_worker(const struct proxy *proxy, const struct proxy_worker *worker, struct proxy_figures *figures)
{
    add_counts(&figures->counts, &worker->told_counts);
    for (uint32_t i = 0; i < proxy->list->count && worker->told_list == proxy->list; i++) {
        const struct balancer_listing *listing = &proxy->list->listings[i];
        if (figures->of[i].balancing.id.size == 0) {
            figures->of[i].balancing = worker->told_backends[i];
            figures->of[i].balancing.id = listing->id;
            figures->of[i].balancing.address = listing->address;
            figures->of[i].balancing.zone = listing->zone;
            figures->of[i].healthy_workers = worker->told_backends[i].eligible;
        } else {
            add_backend(&figures->of[i], &worker->told_backends[i]);
        }
    }
}

bool proxy_figures(struct proxy *proxy, struct proxy_figures *ret_figures)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    memset(ret_figures, 0, sizeof(*ret_figures));
    ret_figures->workers = proxy->worker_count;
    ret_figures->backends = proxy->list->count;
    bool all = true;
    for (uint32_t i = 0; i < proxy->worker_count && all; i++) {
        struct proxy_worker *worker = proxy->workers[i];
        pthread_mutex_lock(&worker->lock);
        worker->asked++;
        proxy_worker_wake(worker);
        all = wait_for_answer(worker, &until);
        if (all) {
            add_worker(proxy, worker, ret_figures);
        }
        pthread_mutex_unlock(&worker->lock);
    }
    return all;
}

/* Active checks: a TCP connection to each backend now and then, spread over the interval. */
#include "proxy/worker.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

void backend_check_init(struct proxy_worker *worker)
{
    const struct proxy_options *options = &worker->proxy->options;
    int64_t now_ns = proxy_worker_clock_ns();
    for (uint32_t i = 0; i < options->backend_count; i++) {
        int64_t apart_ns = options->check_interval_ns / options->backend_count;
        worker->checks[i] = (struct proxy_check){.fd = -1, .due_ns = now_ns + apart_ns * i};
    }
    worker->check_due_ns = options->check_interval_ns > 0 ? now_ns : INT64_MAX;
}

static void end(struct proxy_worker *worker, uint32_t number, bool passed)
{
    struct proxy_check *check = &worker->checks[number];
    if (check->fd >= 0) {
        (void)close(check->fd);
        check->fd = -1;
    }
    balancer_check_result(worker->balancer, number, worker->now_ns, passed);
}

static void start(struct proxy_worker *worker, uint32_t number)
{
    const struct proxy_options *options = &worker->proxy->options;
    const struct proxy_address *at = &options->backends[number].at;
    struct proxy_check *check = &worker->checks[number];
    int64_t timeout_ns = options->connect_timeout_ns < options->check_interval_ns ? options->connect_timeout_ns
                                                                                  : options->check_interval_ns;
    check->due_ns = worker->now_ns + options->check_interval_ns;
    check->deadline_ns = worker->now_ns + timeout_ns;
    check->fd = socket(at->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (check->fd < 0) {
        return; /* no descriptors: that says nothing about the backend */
    }
    if (!proxy_worker_watch(worker, check->fd, (uint64_t)number << 8 | TAG_CHECK)) {
        (void)close(check->fd);
        check->fd = -1;
        return;
    }
    if (connect(check->fd, (const struct sockaddr *)&at->address, at->size) != 0 && errno != EINPROGRESS) {
        end(worker, number, false);
    }
}

void backend_check_event(struct proxy_worker *worker, uint32_t number, uint32_t events)
{
    struct proxy_check *check = &worker->checks[number];
    int error = 0;
    socklen_t size = sizeof(error);
    if (check->fd < 0 || (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) {
        return;
    }
    end(worker, number, getsockopt(check->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0);
}

void backend_check_run_due(struct proxy_worker *worker)
{
    if (worker->now_ns < worker->check_due_ns) {
        return;
    }
    worker->check_due_ns = INT64_MAX;
    for (uint32_t i = 0; i < worker->proxy->options.backend_count; i++) {
        struct proxy_check *check = &worker->checks[i];
        if (check->fd >= 0 && worker->now_ns >= check->deadline_ns) {
            end(worker, i, false);
        }
        if (check->fd < 0 && worker->now_ns >= check->due_ns) {
            start(worker, i);
        }
        int64_t next_ns = check->fd >= 0 ? check->deadline_ns : check->due_ns;
        worker->check_due_ns = next_ns < worker->check_due_ns ? next_ns : worker->check_due_ns;
    }
}

void backend_check_deinit(struct proxy_worker *worker)
{
    for (uint32_t i = 0; i < worker->proxy->options.backend_count; i++) {
        if (worker->checks[i].fd >= 0) {
            (void)close(worker->checks[i].fd);
        }
    }
}

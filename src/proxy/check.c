/* Active checks: a TCP connection to each listed backend now and then, spread over the interval. */
#include "proxy/worker.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

static void forget(struct proxy_check *check)
{
    if (check->fd >= 0) {
        (void)close(check->fd);
        check->fd = -1;
    }
}

void backend_check_listed(struct proxy_worker *worker, bool first)
{
    const struct proxy_options *options = &worker->proxy->options;
    worker->check_due_ns = options->check_interval_ns > 0 ? worker->now_ns : INT64_MAX;
    for (uint32_t i = 0; i < worker->target_count; i++) {
        struct proxy_target *target = &worker->targets[i];
        forget(&target->check); /* its address may be another one now */
        if (!target->listed) {
            target->check.due_ns = 0; /* at once, should it come back */
        }
    }
    for (uint32_t i = 0; i < worker->list->count && first; i++) {
        int64_t apart_ns = options->check_interval_ns / worker->list->count;
        worker->targets[balancer_listed(worker->balancer, i)].check.due_ns = worker->now_ns + apart_ns * i;
    }
}

static void end(struct proxy_worker *worker, uint32_t handle, bool passed)
{
    forget(&worker->targets[handle].check);
    balancer_check_result(worker->balancer, handle, worker->now_ns, passed);
}

static void start(struct proxy_worker *worker, uint32_t handle)
{
    const struct proxy_options *options = &worker->proxy->options;
    const struct proxy_address *at = &worker->targets[handle].at;
    struct proxy_check *check = &worker->targets[handle].check;
    int64_t timeout_ns = options->connect_timeout_ns < options->check_interval_ns ? options->connect_timeout_ns
                                                                                  : options->check_interval_ns;
    check->due_ns = worker->now_ns + options->check_interval_ns;
    check->deadline_ns = worker->now_ns + timeout_ns;
    check->fd = socket(at->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (check->fd < 0) {
        return; /* no descriptors: that says nothing about the backend */
    }
    if (!proxy_worker_watch(worker, check->fd, (uint64_t)handle << 8 | TAG_CHECK)) {
        forget(check);
        return;
    }
    if (connect(check->fd, (const struct sockaddr *)&at->address, at->size) == 0 || errno == EINPROGRESS) {
        return;
    }
    if (proxy_is_own_failure(errno)) {
        forget(check);
    } else {
        end(worker, handle, false);
    }
}

void backend_check_event(struct proxy_worker *worker, uint32_t handle, uint32_t events)
{
    struct proxy_check *check = &worker->targets[handle].check;
    int error = 0;
    socklen_t size = sizeof(error);
    if (check->fd < 0 || (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) {
        return;
    }
    end(worker, handle, getsockopt(check->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0);
}

void backend_check_run_due(struct proxy_worker *worker)
{
    if (worker->now_ns < worker->check_due_ns) {
        return;
    }
    worker->check_due_ns = INT64_MAX;
    for (uint32_t i = 0; i < worker->list->count; i++) {
        uint32_t handle = balancer_listed(worker->balancer, i);
        struct proxy_check *check = &worker->targets[handle].check;
        if (check->fd >= 0 && worker->now_ns >= check->deadline_ns) {
            end(worker, handle, false);
        }
        if (check->fd < 0 && worker->now_ns >= check->due_ns) {
            start(worker, handle);
        }
        int64_t next_ns = check->fd >= 0 ? check->deadline_ns : check->due_ns;
        worker->check_due_ns = next_ns < worker->check_due_ns ? next_ns : worker->check_due_ns;
    }
}

void backend_check_deinit(struct proxy_worker *worker)
{
    for (uint32_t i = 0; i < worker->target_count; i++) {
        forget(&worker->targets[i].check);
    }
}

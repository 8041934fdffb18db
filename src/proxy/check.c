/* Active checks: each listed backend is connected to now and then, spread over the interval, and asked when the kind of
 * check has a question. */
#include "base/assert.h"
#include "proxy/worker.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

static void forget(struct proxy_check *check)
{
    check->asked = false;
    check->heard_size = 0;
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

/* The PROXY header of a check names nobody; a new socket has room for all of it. False at an error. */
static bool ask(struct proxy_worker *worker, struct proxy_target *target)
{
    const struct proxy_options *options = &worker->proxy->options;
    static const union proxy_peer nobody = {.any.sa_family = AF_UNSPEC};
    uint8_t said[PROXY_HEADER_WRITTEN_BYTES + PROXY_CHECK_SAID_BYTES];
    size_t size = options->send_header == 0 ? 0 : proxy_header_write(options->send_header, &nobody, &nobody, said);
    size += proxy_check_say(options->check, options->check_path, target->host, said + size);
    target->check.asked = true;
    return size == 0 || send(target->check.fd, said, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* STATUS_AGAIN: the answer is not there yet. */
static enum status listen_to(enum proxy_check_kind kind, struct proxy_check *check)
{
    if (proxy_check_judge(kind, slice_of(check->heard, 0)) == STATUS_OK) {
        return STATUS_OK; /* there is nothing to hear */
    }
    ssize_t size = recv(check->fd, check->heard + check->heard_size, sizeof(check->heard) - check->heard_size, 0);
    if (size <= 0) {
        return size < 0 && (errno == EAGAIN || errno == EINTR) ? STATUS_AGAIN : STATUS_CLOSED;
    }
    check->heard_size += (size_t)size;
    enum status status = proxy_check_judge(kind, slice_of(check->heard, check->heard_size));
    ASSERT(status != STATUS_AGAIN || check->heard_size < sizeof(check->heard));
    return status;
}

void backend_check_event(struct proxy_worker *worker, uint32_t handle, uint32_t events)
{
    struct proxy_target *target = &worker->targets[handle];
    if (target->check.fd < 0 || (!target->check.asked && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0)) {
        return;
    }
    enum status status = STATUS_OK;
    if (!target->check.asked) {
        status = proxy_has_failed(target->check.fd) || !ask(worker, target) ? STATUS_CLOSED : STATUS_OK;
    }
    while (status == STATUS_OK || status == STATUS_AGAIN) {
        size_t before = target->check.heard_size;
        status = listen_to(worker->proxy->options.check, &target->check);
        if (status == STATUS_AGAIN && target->check.heard_size == before) {
            return; /* for more */
        }
        if (status == STATUS_OK) {
            end(worker, handle, true);
            return;
        }
    }
    end(worker, handle, false);
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

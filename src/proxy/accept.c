/* New connections: as many as the limits of connections and of their rate allow. */
#include "proxy/worker.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { ACCEPTS_A_TURN = 64 };
static const int64_t ACCEPT_PAUSE_NS = 100000000;
static const double RATE_BURST_NS = 1e8; /* as many at once as a tenth of a second has */

/* The listener rests, else it would be told of again and again. Clients wait in the system's queue meanwhile. */
static void rest_accepting(struct proxy_worker *worker, int64_t until_ns)
{
    worker->accept_again_ns = until_ns;
    (void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, worker->listen_fd, NULL);
}

/* Whether the rate leaves room for one more; else the listener rests until it does. */
static bool within_rate(struct proxy_worker *worker)
{
    double per_ns = (double)worker->proxy->options.rate / worker->proxy->options.workers / 1e9;
    double most = per_ns * RATE_BURST_NS < 1 ? 1 : per_ns * RATE_BURST_NS;
    double tokens = worker->accept_tokens + per_ns * (double)(worker->now_ns - worker->accept_filled_ns);
    worker->accept_tokens = tokens > most ? most : tokens;
    worker->accept_filled_ns = worker->now_ns;
    if (worker->accept_tokens >= 1) {
        return true;
    }
    worker->counts.rate_rests++;
    rest_accepting(worker, worker->now_ns + (int64_t)((1 - worker->accept_tokens) / per_ns) + 1);
    return false;
}

/* False when there is nobody to accept, or the listener rests now. */
static bool accept_one(struct proxy_worker *worker)
{
    struct proxy *proxy = worker->proxy;
    union proxy_peer client = {.any.sa_family = AF_UNSPEC};
    socklen_t size = sizeof(client);
    int fd = accept4(worker->listen_fd, &client.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            worker->counts.accept_errors++;
            rest_accepting(worker, worker->now_ns + ACCEPT_PAUSE_NS);
            return false;
        }
        return errno != EAGAIN; /* else that client left before */
    }
    worker->accept_tokens--;
    if (atomic_fetch_add(&proxy->open, 1) >= proxy->options.connections) {
        atomic_fetch_sub(&proxy->open, 1);
        worker->counts.refused++;
        proxy_socket_close(fd, true);
        return true;
    }
    proxy_connection_begin(worker, fd, &client);
    return true;
}

void proxy_accept_some(struct proxy_worker *worker)
{
    bool limited = worker->proxy->options.rate > 0;
    for (int i = 0; i < ACCEPTS_A_TURN && (!limited || within_rate(worker)) && accept_one(worker); i++) {
    }
}

void proxy_accept_last(struct proxy_worker *worker)
{
    for (int i = 0; i < PROXY_BACKLOG && accept_one(worker); i++) {
    }
}

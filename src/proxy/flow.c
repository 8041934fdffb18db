/* Bytes of one direction. Small ones are read into the worker's scratch and written at once, so that an idle connection
 * holds nothing; what cannot be written is kept aside, and nothing more is read. Once reads stay large, a pipe takes
 * them from socket to socket inside the kernel (splice(2)). */
#include "base/assert.h"
#include "base/memory.h"
#include "proxy/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum {
    SHARE_BYTES = 512 * 1024, /* of a direction in a turn */
    LARGE_BYTES = 16 * 1024,
    LARGE_STREAK = 8,
    PIPE_BYTES = 256 * 1024,
    PIPES_MAXIMUM = 64, /* of a worker */
};

static bool again(void) { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

/* NULL when there are enough, or no more descriptors: bytes are copied then. */
static struct proxy_pipe *take_pipe(struct proxy_worker *worker)
{
    struct proxy_pipe *pipe = worker->pipes;
    if (pipe != NULL) {
        worker->pipes = pipe->next;
        return pipe;
    }
    int fds[2];
    if (worker->pipe_count >= PIPES_MAXIMUM || pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) {
        return NULL;
    }
    (void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* smaller when the system allows no more */
    pipe = memory_allocate(sizeof(*pipe));
    *pipe = (struct proxy_pipe){.read_fd = fds[0], .write_fd = fds[1]};
    worker->pipe_count++;
    return pipe;
}

static void free_pipe(struct proxy_worker *worker, struct proxy_pipe *pipe)
{
    (void)close(pipe->read_fd);
    (void)close(pipe->write_fd);
    free(pipe);
    worker->pipe_count--;
}

/* Back to the pool; one with bytes in it is of no use to others. */
static void drop_pipe(struct proxy_worker *worker, struct proxy_flow *flow)
{
    if (flow->pipe == NULL) {
        return;
    }
    if (flow->in_pipe > 0) {
        free_pipe(worker, flow->pipe);
    } else {
        flow->pipe->next = worker->pipes;
        worker->pipes = flow->pipe;
    }
    flow->pipe = NULL;
    flow->in_pipe = 0;
}

void proxy_flow_free_pipes(struct proxy_worker *worker)
{
    while (worker->pipes != NULL) {
        struct proxy_pipe *pipe = worker->pipes;
        worker->pipes = pipe->next;
        free_pipe(worker, pipe);
    }
}

void proxy_flow_deinit(struct proxy_worker *worker, struct proxy_flow *flow)
{
    drop_pipe(worker, flow);
    free(flow->held);
    flow->held = NULL;
}

/* False at an error. */
static bool write_held(struct proxy_flow *flow, struct proxy_side *to)
{
    ssize_t size = send(to->fd, flow->held + flow->held_from, flow->held_to - flow->held_from, MSG_NOSIGNAL);
    if (size < 0) {
        to->writable = errno == EINTR;
        return again();
    }
    flow->held_from += (uint32_t)size;
    if (flow->held_from == flow->held_to) {
        free(flow->held);
        flow->held = NULL;
    }
    return true;
}

static bool write_piped(struct proxy_flow *flow, struct proxy_side *to)
{
    ssize_t size = splice(flow->pipe->read_fd, NULL, to->fd, NULL, flow->in_pipe, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (size < 0) {
        to->writable = errno == EINTR;
        return again();
    }
    ASSERT(size <= flow->in_pipe);
    flow->in_pipe -= (uint32_t)size;
    return true;
}

/* Writes what the scratch holds, and keeps the rest aside. */
static bool write_scratch(struct proxy_worker *worker, struct proxy_flow *flow, struct proxy_side *to, size_t size)
{
    size_t written = 0;
    while (written < size && to->writable) {
        ssize_t n = send(to->fd, worker->scratch + written, size - written, MSG_NOSIGNAL);
        if (n < 0 && !again()) {
            return false;
        }
        to->writable = n >= 0 || errno == EINTR;
        written += n > 0 ? (size_t)n : 0;
    }
    if (written < size) {
        flow->held_from = 0;
        flow->held_to = (uint32_t)(size - written);
        flow->held = memory_allocate(flow->held_to);
        memcpy(flow->held, worker->scratch + written, flow->held_to);
    }
    return true;
}

static ssize_t read_some(struct proxy_worker *worker, struct proxy_flow *flow, struct proxy_side *from)
{
    if (flow->pipe == NULL && flow->streak >= LARGE_STREAK) {
        flow->pipe = take_pipe(worker);
    }
    if (flow->pipe == NULL) {
        return recv(from->fd, worker->scratch, sizeof(worker->scratch), 0);
    }
    ssize_t size = splice(from->fd, NULL, flow->pipe->write_fd, NULL, PIPE_BYTES, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    flow->in_pipe = size > 0 ? (uint32_t)size : 0;
    worker->counts.bytes_spliced += flow->in_pipe;
    return size;
}

/* Counts what was read and decides how the next bytes go. */
static void note_read(struct proxy_worker *worker, struct proxy_connection *connection, int from, size_t size)
{
    struct proxy_flow *flow = &connection->flows[from];
    flow->bytes += size;
    *(from == CLIENT ? &worker->counts.bytes_in : &worker->counts.bytes_out) += size;
    if (from == BACKEND && connection->latency_ns < 0) {
        connection->latency_ns = proxy_worker_clock_ns() - connection->begun_ns;
    }
    flow->streak = size < LARGE_BYTES ? 0 : flow->streak < LARGE_STREAK ? flow->streak + 1 : flow->streak;
}

/* A backend that ends before its client, without a byte, though it was asked something or has just been connected to:
 * so behaves what accepts for a service that is not there. It is passed on as it is, and counts as an error, else such
 * a backend, which never has anything in flight, would get everybody. */
static bool said_nothing(const struct proxy_worker *worker, const struct proxy_connection *connection)
{
    bool asked = connection->flows[CLIENT].bytes > 0;
    bool at_once = worker->now_ns - connection->begun_ns < worker->proxy->options.connect_timeout_ns;
    return connection->flows[BACKEND].bytes == 0 && !connection->flows[CLIENT].ended && (asked || at_once);
}

/* One read, and the write of it. */
static enum flow_result move_some(struct proxy_worker *worker, struct proxy_connection *connection, int from,
                                  int64_t *share)
{
    struct proxy_flow *flow = &connection->flows[from];
    struct proxy_side *source = &connection->sides[from];
    ssize_t size = read_some(worker, flow, source);
    if (size < 0) {
        source->readable = errno == EINTR;
        return again() ? FLOW_WAITS : FLOW_READ_ERROR;
    }
    if (size == 0) {
        flow->ended = true;
        connection->backend_failed =
            connection->backend_failed || (from == BACKEND && said_nothing(worker, connection));
        return FLOW_WAITS;
    }
    *share -= size;
    note_read(worker, connection, from, (size_t)size);
    if (flow->pipe != NULL) {
        return FLOW_WAITS;
    }
    if ((size_t)size < sizeof(worker->scratch) && !source->hung) {
        source->readable = false; /* that was all: more of it is a new edge */
    }
    return write_scratch(worker, flow, &connection->sides[!from], (size_t)size) ? FLOW_WAITS : FLOW_WRITE_ERROR;
}

enum flow_result proxy_flow_run(struct proxy_worker *worker, struct proxy_connection *connection, int from)
{
    struct proxy_flow *flow = &connection->flows[from];
    struct proxy_side *source = &connection->sides[from];
    struct proxy_side *target = &connection->sides[!from];
    int64_t share = SHARE_BYTES;
    while (!flow->done) {
        if (flow->held != NULL || flow->in_pipe > 0) {
            if (!target->writable) {
                return FLOW_WAITS;
            }
            if (!(flow->held != NULL ? write_held(flow, target) : write_piped(flow, target))) {
                return FLOW_WRITE_ERROR;
            }
        } else if (flow->ended) {
            /* When the other direction is done too, closing says it. When bytes are missing, it is no end, and a reset
             * says so. */
            if (!connection->broken && !connection->flows[!from].done) {
                (void)shutdown(target->fd, SHUT_WR); /* fails when that side is gone, which its own flow will see */
            }
            flow->done = true;
        } else if (!source->readable) {
            break;
        } else if (share <= 0) {
            return FLOW_MORE;
        } else {
            enum flow_result result = move_some(worker, connection, from, &share);
            if (result != FLOW_WAITS) {
                return result;
            }
        }
    }
    drop_pipe(worker, flow);
    return FLOW_WAITS;
}

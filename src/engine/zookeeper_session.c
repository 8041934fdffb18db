#include "engine/zookeeper_session.h"

#include "engine/engine.h"
#include "engine/machine_time.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    NS_PER_MS = 1000000,
    PATIENCE_MS = 2000, /* without a connection for so long: questions no longer wait for one */
    IMPATIENT_MS = 100,
    OPEN_LEAST_MS = 1000,
};

struct fired {
    struct list node;
    char path[];
};

/* ---- in the library's threads ---- */

static void tell(struct session *session)
{
    uint64_t one = 1;
    ssize_t size = write(session->event_fd, &one, sizeof(one));
    (void)size;
}

static void note_state(struct session *session, zhandle_t *handle, int state)
{
    bool was_connected = session->connected;
    session->connected = state == ZOO_CONNECTED_STATE;
    session->expired = session->expired || state == ZOO_EXPIRED_SESSION_STATE;
    session->refused = session->refused || state == ZOO_AUTH_FAILED_STATE;
    if (session->connected) {
        int64_t ms = zoo_recv_timeout(handle);
        session->ms = session->ever_connected && session->ms < ms ? session->ms : ms;
        session->ever_connected = true;
    } else if (was_connected) {
        session->lost_ms = machine_time_ms();
    }
    session->all_fired = true;
}

void session_watched(zhandle_t *handle, int type, int state, const char *path, void *context)
{
    struct session *session = context;
    (void)pthread_mutex_lock(&session->mutex);
    if (type == ZOO_SESSION_EVENT) {
        note_state(session, handle, state);
    } else {
        struct fired *fired = malloc(sizeof(*fired) + strlen(path) + 1);
        if (fired == NULL) {
            session->all_fired = true;
        } else {
            memcpy(fired->path, path, strlen(path) + 1);
            list_append(&session->fired, &fired->node);
        }
    }
    (void)pthread_cond_broadcast(&session->changed);
    (void)pthread_mutex_unlock(&session->mutex);
    tell(session);
}

static void say_nothing(const char *message) { (void)message; }

/* ---- opening ---- */

/* No thread of the library's runs afterwards. */
static void close_handle(struct session *session)
{
    if (session->handle == NULL) {
        return;
    }
    (void)zookeeper_close(session->handle);
    session->handle = NULL;
    session_forget_calls(session);
    session->connected = session->ever_connected = session->expired = session->beating = false;
    session->lost_ms = machine_time_ms();
    session->all_fired = true;
}

/* From the host's thread, which has all signals blocked: so have the library's. */
static bool open_handle(struct session *session)
{
    session->opened_ms = machine_time_ms();
    session->sure_ms = session->opened_ms;
    session->ms = session->asked_ms;
    memset(session->slots, 0, sizeof(session->slots));
    session->handle = zookeeper_init2(session->hosts, session_watched, session->asked_ms, NULL, session,
                                      ZOO_NO_LOG_CLIENTENV, say_nothing);
    if (session->handle == NULL) {
        return false;
    }
    return session->login == NULL ||
           zoo_add_auth(session->handle, "digest", session->login, (int)strlen(session->login), NULL, NULL) == ZOK;
}

static struct timespec time_of(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

bool session_wait_for_change(struct session *session, int64_t deadline_ns)
{
    struct timespec until = time_of(deadline_ns);
    return pthread_cond_timedwait(&session->changed, &session->mutex, &until) != ETIMEDOUT;
}

static int64_t open_ms(const struct session *session)
{
    return session->asked_ms / 4 > OPEN_LEAST_MS ? session->asked_ms / 4 : OPEN_LEAST_MS;
}

static bool wait_for_connection(struct session *session, int64_t deadline_ns)
{
    while (!session->connected && !session->expired && !session->refused) {
        if (!session_wait_for_change(session, deadline_ns)) {
            break;
        }
    }
    return session->connected;
}

/* Once it has been away for long, nobody waits for it for long. */
static int64_t shorten(struct session *session, int64_t deadline_ns)
{
    int64_t soon_ns = engine_clock_ns() + (int64_t)IMPATIENT_MS * NS_PER_MS;
    (void)pthread_mutex_lock(&session->mutex);
    session->lost_ms = session->handle == NULL ? machine_time_ms() : session->lost_ms;
    bool long_lost = !session->connected && machine_time_ms() - session->lost_ms > PATIENCE_MS;
    (void)pthread_mutex_unlock(&session->mutex);
    return long_lost && soon_ns < deadline_ns ? soon_ns : deadline_ns;
}

bool session_ready(struct session *session, int64_t deadline_ns)
{
    deadline_ns = shorten(session, deadline_ns);
    for (;;) {
        if (session->handle == NULL && !open_handle(session)) {
            return false;
        }
        (void)pthread_mutex_lock(&session->mutex);
        /* A session that began long after we said we begin one would seem old. */
        int64_t renew_ns = engine_clock_ns() + (session->opened_ms + open_ms(session) - machine_time_ms()) * NS_PER_MS;
        bool renews = !session->ever_connected && renew_ns < deadline_ns;
        bool connected = wait_for_connection(session, renews ? renew_ns : deadline_ns);
        bool goes_on = renews && !session->expired && !session->refused && !session->ever_connected;
        (void)pthread_mutex_unlock(&session->mutex);
        if (connected || !goes_on) {
            return connected;
        }
        int64_t lost_ms = session->lost_ms;
        close_handle(session);
        session->lost_ms = lost_ms;
    }
}

const char *session_problem(struct session *session)
{
    if (session->handle == NULL) {
        return errno == ENOENT || errno == EINVAL ? "its name cannot be resolved" : strerror(errno);
    }
    return session->refused
               ? "it refuses the user or the password"
               : "no server answers, or those that do have no majority: are they running, is it this port?";
}

bool session_was_lost(struct session *session)
{
    (void)pthread_mutex_lock(&session->mutex);
    bool lost = session->expired;
    (void)pthread_mutex_unlock(&session->mutex);
    if (lost) {
        close_handle(session);
    }
    return lost;
}

int64_t session_until_ms(struct session *session)
{
    (void)pthread_mutex_lock(&session->mutex);
    int64_t until_ms = session->sure_ms + session->ms;
    (void)pthread_mutex_unlock(&session->mutex);
    return until_ms;
}

bool session_is_connected(struct session *session)
{
    (void)pthread_mutex_lock(&session->mutex);
    bool connected = session->connected && session->handle != NULL && !session->expired;
    (void)pthread_mutex_unlock(&session->mutex);
    return connected;
}

int64_t session_time_ms(struct session *session)
{
    (void)pthread_mutex_lock(&session->mutex);
    int64_t ms = session->ms;
    (void)pthread_mutex_unlock(&session->mutex);
    return ms;
}

static bool watch(struct session *session, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    return fd >= 0 && epoll_ctl(session->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

bool session_init(struct session *session, const char *hosts, const char *login, int asked_ms)
{
    *session = (struct session){.asked_ms = asked_ms, .ms = asked_ms, .epoll_fd = -1, .event_fd = -1, .timer_fd = -1};
    list_init(&session->calls);
    list_init(&session->fired);
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&session->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_init(&session->mutex, NULL);
    session->lost_ms = machine_time_ms();
    session->hosts = strdup(hosts);
    session->login = login == NULL ? NULL : strdup(login);
    session->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    session->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    session->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    return session->hosts != NULL && (login == NULL) == (session->login == NULL) && session->epoll_fd >= 0 &&
           watch(session, session->event_fd) && watch(session, session->timer_fd);
}

void session_deinit(struct session *session)
{
    close_handle(session);
    bool all;
    for (char *path = session_next_fired(session, &all); path != NULL; path = session_next_fired(session, &all)) {
        free(path);
    }
    int fds[] = {session->epoll_fd, session->event_fd, session->timer_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    (void)pthread_cond_destroy(&session->changed);
    (void)pthread_mutex_destroy(&session->mutex);
    free(session->hosts);
    free(session->login);
}

/* ---- notices ---- */

void session_take_notices(struct session *session)
{
    uint64_t count;
    (void)eventfd_read(session->event_fd, &count);
    (void)eventfd_read(session->timer_fd, &count); /* which tells a number of eight bytes, too */
}

void session_set_timer(struct session *session, int64_t due_ms)
{
    struct itimerspec at = {.it_value = time_of((due_ms > 0 ? due_ms : 1) * NS_PER_MS)};
    (void)timerfd_settime(session->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

char *session_next_fired(struct session *session, bool *ret_all)
{
    char *path = NULL;
    (void)pthread_mutex_lock(&session->mutex);
    *ret_all = session->all_fired;
    session->all_fired = false;
    if (!list_empty(&session->fired)) {
        struct fired *fired = CONTAINER_OF(session->fired.next, struct fired, node);
        list_remove(&fired->node);
        path = strdup(fired->path);
        *ret_all = *ret_all || path == NULL;
        free(fired);
    }
    (void)pthread_mutex_unlock(&session->mutex);
    return path;
}

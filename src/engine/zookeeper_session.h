/* A session with ZooKeeper, and questions with answers by a deadline. All of it is for one thread, the host's; what the
 * client library's threads report (answers, watches, the connection's state) comes through a mutex and a descriptor.
 *
 * How long a session surely lives. A server that follows tells the leader, who alone ends sessions, every half tick
 * whom it has heard from. So an answer by itself proves little: that server may be cut off already. But a write that
 * was answered went through the leader, behind all that its server had told before: it proves that the leader knows
 * each question that was answered SETTLE before the write was sent. The session lives from that question on for its
 * whole time (the leader's clock, which begins later than ours). A new leader lets all sessions begin anew; a server
 * that we come to by a new connection asks the leader at once. So, with a tick of at most half the session's time:
 *
 *   question ──answer──── ≥ SETTLE, a leader's ping ────▶ write ──answer: lives until question + its time
 *
 * Questions are asked BEATS times in a session's time, which also keeps it. */
#pragma once

#include "base/buffer.h"
#include "base/list.h"
#include "base/status.h"

#include <pthread.h>

#define buffer zookeeper_buffer /* both have one */
#include <zookeeper/zookeeper.h>
#undef buffer

enum {
    SESSION_BEATS = 8,
    SESSION_SLOTS = 16,
    SESSION_SENT_NOT = 1, /* a code beside ZooKeeper's: surely not sent, the memory for it was refused */
};

struct session_slot {
    int64_t sent_ms, answered_ms;
};

struct session {
    zhandle_t *handle; /* NULL: none */
    char *hosts;
    char *login; /* user:password, or NULL */
    int asked_ms;
    int epoll_fd, event_fd, timer_fd;
    int64_t opened_ms; /* before the handle was made, so before there was a session */

    pthread_mutex_t mutex; /* what follows */
    pthread_cond_t changed;
    struct list calls;
    struct list fired; /* paths whose watches have fired */
    bool all_fired;
    bool connected, ever_connected, expired, refused;
    bool beating;
    int64_t ms;      /* the time that was negotiated */
    int64_t lost_ms; /* since when it is not connected */
    int64_t sure_ms; /* the newest question that the leader surely knows */
    struct session_slot slots[SESSION_SLOTS];
    unsigned newest;
};

struct session_answer {
    int code; /* ZOK or another of ZooKeeper's */
    int64_t sent_ms;
    struct Stat stat;
    struct buffer data; /* what a get read; the path that a create made */
    struct String_vector names;
};

/* One question that is under way. */
struct session_call;

/* False: memory or descriptors were refused; deinit is to be called in any case. */
MUST_USE bool session_init(struct session *session, const char *hosts, const char *login, int asked_ms);
void session_deinit(struct session *session);

/* Connected, by the deadline (CLOCK_MONOTONIC). Opens a session when there is none. False: `session_problem`. */
bool session_ready(struct session *session, int64_t deadline_ns);
const char *session_problem(struct session *session);

/* True once after a session has ended: all that it made is gone. */
bool session_was_lost(struct session *session);

/* It surely lives until then (machine_time_ms). */
int64_t session_until_ms(struct session *session);
bool session_is_connected(struct session *session);
int64_t session_time_ms(struct session *session);

/* Asks what keeps the session, when it is time. */
void session_beat(struct session *session);

/* Readable when a watch has fired, the state has changed, or the timer is due. */
void session_take_notices(struct session *session);
void session_set_timer(struct session *session, int64_t due_ms);

/* The next path whose watch has fired, to be freed; *ret_all: it may be any. NULL: none is left. */
char *session_next_fired(struct session *session, bool *ret_all);

/* ---- questions: ZooKeeper's code; the answer is to be released in any case ---- */

void session_answer_init(struct session_answer *answer);
void session_answer_release(struct session_answer *answer);

/* Whether a write with this code may have been executed. */
bool session_is_uncertain(int code);

int session_create(struct session *session, int64_t deadline_ns, const char *path, struct slice data, int mode,
                   struct session_answer *ret_answer);
int session_set(struct session *session, int64_t deadline_ns, const char *path, struct slice data, int version,
                struct session_answer *ret_answer);
int session_delete(struct session *session, int64_t deadline_ns, const char *path, int version);
/* What is read afterwards is no older than what was written anywhere before. */
int session_sync(struct session *session, int64_t deadline_ns, const char *path);

struct session_call *session_ask_children(struct session *session, const char *path);
struct session_call *session_ask_get(struct session *session, const char *path, bool watches);
int session_wait(struct session *session, struct session_call *call, int64_t deadline_ns,
                 struct session_answer *ret_answer);

/* ---- between zookeeper_session.c and zookeeper_ask.c ---- */

/* Waits with the mutex held. False: the deadline has come. */
bool session_wait_for_change(struct session *session, int64_t deadline_ns);
void session_watched(zhandle_t *handle, int type, int state, const char *path, void *context);
/* When no thread of the library's runs. */
void session_forget_calls(struct session *session);

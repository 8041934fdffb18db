#include "engine/machine_time.h"
#include "engine/zookeeper_session.h"

#include <stdlib.h>

struct session_call {
    struct list node;
    struct session *session;
    bool done, abandoned, beats, writes;
    struct session_answer answer;
};

/* What the leader hears of by its followers' reports: a half tick is at most a quarter of the session's time. */
static int64_t settle_ms(const struct session *session) { return session->ms * 5 / 16; }

/* ---- answers ---- */

void session_answer_init(struct session_answer *answer) { *answer = (struct session_answer){.code = ZOK}; }

void session_answer_release(struct session_answer *answer)
{
    buffer_deinit(&answer->data);
    for (int32_t i = 0; i < answer->names.count; i++) {
        free(answer->names.data[i]);
    }
    free(answer->names.data);
    session_answer_init(answer);
}

bool session_is_uncertain(int code)
{
    return code == ZCONNECTIONLOSS || code == ZOPERATIONTIMEOUT || code == ZCLOSING || code == ZSESSIONEXPIRED;
}

static bool was_answered(int code) { return !session_is_uncertain(code) && code != ZINVALIDSTATE && code != ZNOTHING; }

/* Some of the questions are kept, apart enough that they reach back for longer than SETTLE. */
static void note_answer(struct session *session, int64_t sent_ms)
{
    const struct session_slot *newest = &session->slots[session->newest];
    if (sent_ms - newest->sent_ms >= session->ms / (2 * SESSION_SLOTS)) {
        session->newest = (session->newest + 1) % SESSION_SLOTS;
        session->slots[session->newest] = (struct session_slot){sent_ms, machine_time_ms()};
    }
}

static void note_write(struct session *session, int64_t sent_ms)
{
    for (unsigned i = 0; i < SESSION_SLOTS; i++) {
        const struct session_slot *slot = &session->slots[i];
        if (slot->answered_ms <= sent_ms - settle_ms(session) && slot->sent_ms > session->sure_ms) {
            session->sure_ms = slot->sent_ms;
        }
    }
}

static void free_call(struct session_call *call)
{
    list_remove(&call->node);
    session_answer_release(&call->answer);
    free(call);
}

void session_forget_calls(struct session *session)
{
    while (!list_empty(&session->calls)) {
        free_call(CONTAINER_OF(session->calls.next, struct session_call, node));
    }
}

/* ---- in the library's threads ---- */

static struct session_call *begin_answer(const void *data, int code)
{
    struct session_call *call = (struct session_call *)data; /* ours; the library only hands it on */
    (void)pthread_mutex_lock(&call->session->mutex);
    call->answer.code = code;
    if (was_answered(code)) {
        note_answer(call->session, call->answer.sent_ms);
    }
    if (code == ZOK && call->writes) {
        note_write(call->session, call->answer.sent_ms);
    }
    return call;
}

static void end_answer(struct session_call *call)
{
    struct session *session = call->session;
    call->done = true;
    if (call->beats) {
        session->beating = false;
    }
    if (call->abandoned) {
        free_call(call);
    }
    (void)pthread_cond_broadcast(&session->changed);
    (void)pthread_mutex_unlock(&session->mutex);
}

static void answered(int code, const void *data) { end_answer(begin_answer(data, code)); }

static void keep_data(struct session_call *call, const void *data, size_t size)
{
    if (!buffer_try_reserve(&call->answer.data, size + 1)) {
        call->answer.code = ZSYSTEMERROR;
        return;
    }
    buffer_append(&call->answer.data, data, size);
    call->answer.data.data[size] = '\0';
}

static void answered_stat(int code, const struct Stat *stat, const void *data)
{
    struct session_call *call = begin_answer(data, code);
    if (code == ZOK && stat != NULL) {
        call->answer.stat = *stat;
    }
    end_answer(call);
}

static void answered_path(int code, const char *path, const struct Stat *stat, const void *data)
{
    struct session_call *call = begin_answer(data, code);
    if (code == ZOK && path != NULL) {
        keep_data(call, path, strlen(path));
    }
    if (code == ZOK && stat != NULL) {
        call->answer.stat = *stat;
    }
    end_answer(call);
}

static void answered_sync(int code, const char *path, const void *data)
{
    (void)path;
    answered(code, data);
}

static void answered_data(int code, const char *value, int size, const struct Stat *stat, const void *data)
{
    struct session_call *call = begin_answer(data, code);
    if (code == ZOK) {
        keep_data(call, value, size > 0 ? (size_t)size : 0);
        call->answer.stat = *stat;
    }
    end_answer(call);
}

static void answered_names(int code, const struct String_vector *names, const void *data)
{
    struct session_call *call = begin_answer(data, code);
    size_t count = code == ZOK && names != NULL ? (size_t)names->count : 0;
    call->answer.names.data = count == 0 ? NULL : calloc(count, sizeof(char *));
    for (size_t i = 0; i < count && call->answer.code == ZOK; i++) {
        char *name = call->answer.names.data == NULL ? NULL : strdup(names->data[i]);
        if (name == NULL) {
            call->answer.code = ZSYSTEMERROR;
        } else {
            call->answer.names.data[call->answer.names.count++] = name;
        }
    }
    end_answer(call);
}

/* ---- questions ---- */

static struct session_call *begin(struct session *session, bool writes)
{
    struct session_call *call = calloc(1, sizeof(*call));
    if (call == NULL) {
        return NULL;
    }
    call->session = session;
    call->writes = writes;
    (void)pthread_mutex_lock(&session->mutex);
    call->answer.sent_ms = machine_time_ms();
    list_append(&session->calls, &call->node);
    (void)pthread_mutex_unlock(&session->mutex);
    return call;
}

/* Was refused by the library before it was sent. */
static struct session_call *sent(struct session_call *call, int code)
{
    if (code != ZOK) {
        (void)pthread_mutex_lock(&call->session->mutex);
        call->answer.code = code;
        call->done = true;
        (void)pthread_mutex_unlock(&call->session->mutex);
    }
    return call;
}

int session_wait(struct session *session, struct session_call *call, int64_t deadline_ns,
                 struct session_answer *ret_answer)
{
    session_answer_init(ret_answer);
    if (call == NULL) {
        ret_answer->code = SESSION_SENT_NOT;
        return SESSION_SENT_NOT;
    }
    (void)pthread_mutex_lock(&session->mutex);
    while (!call->done && session_wait_for_change(session, deadline_ns)) {
    }
    if (call->done) {
        *ret_answer = call->answer;
        session_answer_init(&call->answer);
        free_call(call);
    } else {
        call->abandoned = true;
        ret_answer->code = ZOPERATIONTIMEOUT;
    }
    (void)pthread_mutex_unlock(&session->mutex);
    return ret_answer->code;
}

void session_beat(struct session *session)
{
    (void)pthread_mutex_lock(&session->mutex);
    bool due = session->connected && !session->beating &&
               machine_time_ms() - session->slots[session->newest].sent_ms >= session->ms / SESSION_BEATS;
    session->beating = session->beating || due;
    (void)pthread_mutex_unlock(&session->mutex);
    struct session_call *call = due ? begin(session, false) : NULL;
    if (call != NULL) {
        call->beats = true;
        call->abandoned = true; /* nobody waits for it */
    }
    if (due && (call == NULL || zoo_aexists(session->handle, "/", 0, answered_stat, call) != ZOK)) {
        (void)pthread_mutex_lock(&session->mutex);
        session->beating = false;
        if (call != NULL) {
            free_call(call);
        }
        (void)pthread_mutex_unlock(&session->mutex);
    }
}

int session_create(struct session *session, int64_t deadline_ns, const char *path, struct slice data, int mode,
                   struct session_answer *ret_answer)
{
    const struct ACL_vector *acl = session->login == NULL ? &ZOO_OPEN_ACL_UNSAFE : &ZOO_CREATOR_ALL_ACL;
    struct session_call *call = begin(session, true);
    if (call != NULL) {
        call = sent(call, zoo_acreate2(session->handle, path, (const char *)data.data, (int)data.size, acl, mode,
                                       answered_path, call));
    }
    return session_wait(session, call, deadline_ns, ret_answer);
}

int session_set(struct session *session, int64_t deadline_ns, const char *path, struct slice data, int version,
                struct session_answer *ret_answer)
{
    struct session_call *call = begin(session, true);
    if (call != NULL) {
        call = sent(call, zoo_aset(session->handle, path, (const char *)data.data, (int)data.size, version,
                                   answered_stat, call));
    }
    return session_wait(session, call, deadline_ns, ret_answer);
}

static int wait_for_code(struct session *session, struct session_call *call, int64_t deadline_ns)
{
    struct session_answer answer;
    int code = session_wait(session, call, deadline_ns, &answer);
    session_answer_release(&answer);
    return code;
}

int session_delete(struct session *session, int64_t deadline_ns, const char *path, int version)
{
    struct session_call *call = begin(session, true);
    if (call != NULL) {
        call = sent(call, zoo_adelete(session->handle, path, version, answered, call));
    }
    return wait_for_code(session, call, deadline_ns);
}

int session_sync(struct session *session, int64_t deadline_ns, const char *path)
{
    struct session_call *call = begin(session, false);
    if (call != NULL) {
        call = sent(call, zoo_async(session->handle, path, answered_sync, call));
    }
    return wait_for_code(session, call, deadline_ns);
}

struct session_call *session_ask_children(struct session *session, const char *path)
{
    struct session_call *call = begin(session, false);
    return call == NULL ? NULL : sent(call, zoo_aget_children(session->handle, path, 0, answered_names, call));
}

struct session_call *session_ask_get(struct session *session, const char *path, bool watches)
{
    struct session_call *call = begin(session, false);
    return call == NULL ? NULL
                        : sent(call, zoo_awget(session->handle, path, watches ? session_watched : NULL, session,
                                               answered_data, call));
}

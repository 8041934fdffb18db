#include "client/session.h"

#include "base/assert.h"
#include "base/number.h"
#include "client/keeper.h"

#include <stdio.h>
#include <stdlib.h>

static struct operation *renewal_of(struct lease *lease, int64_t timeout_ms);

static const struct lease_kind session_kind = {.renewal = renewal_of, .over = COHORT_NOSESSION};

const char *cohort_session_id(const struct cohort_session *session) { return session->id; }

int64_t cohort_session_valid_until(const struct cohort_session *session) { return lease_valid_until(&session->lease); }

void cohort_session_free(struct cohort_session *session)
{
    ASSERT(session == NULL || session->lease.keeper == NULL || handle_is_inherited(session->lease.cohort));
    free(session);
}

/* ---- open ---- */

/* One in the making; it is the operation's context. */
struct opening {
    struct cohort_session *session;      /* NULL once it was handed out */
    struct cohort_session **ret_session; /* of a blocking call */
    cohort_session_callback callback;
    void *data;
};

static void release_opening(void *context)
{
    struct opening *opening = context;
    cohort_session_free(opening->session);
    free(opening);
}

static bool take_open(struct operation *operation, bool may_go_on)
{
    struct opening *opening = operation->context;
    struct cohort_session *session = opening->session;
    if (operation->status != COHORT_OK) {
        return false;
    }
    (void)snprintf(session->id, sizeof(session->id), "%s", cohort_reply_text(operation->reply));
    lease_confirm(&session->lease, operation->sent_boottime_ns, session->lease.ttl_ms);
    if (opening->ret_session != NULL) {
        *opening->ret_session = session;
        opening->session = NULL;
    }
    return false;
}

static void call_back(struct operation *operation)
{
    struct opening *opening = operation->context;
    struct cohort_session *session = operation->status == COHORT_OK ? opening->session : NULL;
    if (session != NULL) {
        opening->session = NULL;
    }
    opening->callback(opening->data, operation->status, session, operation->reply);
}

/* NULL: memory was refused. */
static struct operation *open_operation(struct cohort *cohort, int64_t ttl_ms, struct opening **ret_opening)
{
    struct opening *opening = calloc(1, sizeof(*opening));
    struct cohort_session *session = opening == NULL ? NULL : calloc(1, sizeof(*session));
    if (session == NULL) {
        free(opening);
        return NULL;
    }
    session->lease = (struct lease){.kind = &session_kind, .cohort = cohort, .ttl_ms = ttl_ms};
    opening->session = session;
    char ttl[NUMBER_INT64_BYTES];
    struct cohort_bytes argv[] = {cohort_text("SESSION.OPEN"), cohort_text("PX"),
                                  cohort_bytes_of(ttl, number_format_int64(ttl, ttl_ms))};
    struct client_request request = {.argv = argv,
                                     .argc = 3,
                                     .flags = COHORT_AGAIN,
                                     .step = take_open,
                                     .context = opening,
                                     .release = release_opening};
    struct operation *operation = NULL;
    if (operation_create(cohort, &request, &operation) != STATUS_OK) {
        release_opening(opening);
        return NULL;
    }
    *ret_opening = opening;
    return operation;
}

static bool is_time(int64_t ttl_ms) { return ttl_ms >= LEASE_TTL_MINIMUM_MS && ttl_ms <= LEASE_TTL_MAXIMUM_MS; }

enum cohort_status cohort_session_open(struct cohort *cohort, int64_t ttl_ms, struct cohort_session **ret_session,
                                       struct cohort_reply **ret_reply)
{
    if (!is_time(ttl_ms)) {
        return client_refuse(COHORT_INVALID, ret_reply, "ttl_ms must be from 100 ms to 24 hours");
    }
    struct opening *opening;
    struct operation *operation = open_operation(cohort, ttl_ms, &opening);
    if (operation != NULL) {
        opening->ret_session = ret_session;
    }
    return client_run(cohort, operation, ret_reply);
}

enum cohort_status cohort_session_open_start(struct cohort *cohort, int64_t ttl_ms, cohort_session_callback callback,
                                             void *data)
{
    if (!is_time(ttl_ms) || callback == NULL) {
        return COHORT_INVALID;
    }
    struct opening *opening;
    struct operation *operation = open_operation(cohort, ttl_ms, &opening);
    if (operation != NULL) {
        opening->callback = callback;
        opening->data = data;
        operation->call_back = call_back;
    }
    return client_submit(cohort, operation, NULL, NULL);
}

/* ---- keepalive and close ---- */

/* NULL: memory was refused. */
static struct operation *make(struct cohort_session *session, const char *command, int64_t timeout_ms,
                              operation_step step)
{
    struct cohort_bytes argv[] = {cohort_text(command), cohort_text(session->id)};
    struct client_request request = {
        .argv = argv, .argc = 2, .flags = COHORT_AGAIN, .timeout_ms = timeout_ms, .step = step, .context = session};
    struct operation *operation = NULL;
    return operation_create(session->lease.cohort, &request, &operation) == STATUS_OK ? operation : NULL;
}

static bool take_keepalive(struct operation *operation, bool may_go_on)
{
    struct cohort_session *session = operation->context;
    if (operation->status == COHORT_OK && session->lease.is_over) {
        operation->status = COHORT_NOSESSION; /* its end was told: it stays so */
    } else if (operation->status == COHORT_OK) {
        lease_confirm(&session->lease, operation->sent_boottime_ns, cohort_reply_integer(operation->reply));
    } else if (operation->status == COHORT_NOSESSION) {
        lease_end(&session->lease);
    }
    return false;
}

static struct operation *keepalive_of(struct cohort_session *session, int64_t timeout_ms)
{
    return make(session, "SESSION.KEEPALIVE", timeout_ms, take_keepalive);
}

static struct operation *renewal_of(struct lease *lease, int64_t timeout_ms)
{
    return keepalive_of(CONTAINER_OF(lease, struct cohort_session, lease), timeout_ms);
}

enum cohort_status cohort_session_keepalive(struct cohort_session *session, struct cohort_reply **ret_reply)
{
    return client_run(session->lease.cohort, keepalive_of(session, 0), ret_reply);
}

enum cohort_status cohort_session_keepalive_start(struct cohort_session *session, cohort_callback callback, void *data)
{
    return client_submit(session->lease.cohort, keepalive_of(session, 0), callback, data);
}

/* 0 means that it had ended: an earlier attempt may have ended it. */
static bool take_close(struct operation *operation, bool may_go_on)
{
    if (operation->status == COHORT_OK && cohort_reply_integer(operation->reply) == 0 && !operation->was_lost) {
        operation->status = COHORT_NOSESSION;
    }
    return false;
}

static struct operation *close_of(struct cohort_session *session)
{
    lease_give_up(&session->lease);
    return make(session, "SESSION.CLOSE", 0, take_close);
}

enum cohort_status cohort_session_close(struct cohort_session *session, struct cohort_reply **ret_reply)
{
    return client_run(session->lease.cohort, close_of(session), ret_reply);
}

enum cohort_status cohort_session_close_start(struct cohort_session *session, cohort_callback callback, void *data)
{
    return client_submit(session->lease.cohort, close_of(session), callback, data);
}

/* ---- its keeper ---- */

static void tell(struct cohort_keeper *keeper)
{
    struct cohort_session *session = CONTAINER_OF(keeper->lease, struct cohort_session, lease);
    ((cohort_ended_callback)keeper->lost)(keeper->data, session, keeper->why);
}

enum cohort_status cohort_session_keeper_start(struct cohort_session *session, unsigned flags,
                                               cohort_ended_callback ended, void *data,
                                               struct cohort_keeper **ret_keeper)
{
    struct cohort_keeper *keeper = keeper_create(&session->lease, flags, data);
    if (keeper != NULL && ended != NULL) {
        keeper->tell = tell;
        keeper->lost = (void (*)(void))ended;
    }
    return keeper_start(keeper, ret_keeper);
}

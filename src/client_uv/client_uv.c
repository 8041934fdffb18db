#include <cohort/uv.h>
#include <stdlib.h>

struct cohort_uv {
    struct cohort *cohort;
    uv_poll_t poll;
    uv_timer_t timer;
    int open;      /* of the two handles */
    int detaching; /* callbacks of the loop do nothing any more */
    void (*detached)(void *data);
    void *data;
};

static void on_timer(uv_timer_t *timer);

static void process(struct cohort_uv *attached)
{
    if (attached->detaching) {
        return;
    }
    cohort_process(attached->cohort);
    if (attached->detaching) { /* by a callback; its memory is there until the handles are closed */
        return;
    }
    int timeout_ms = cohort_timeout(attached->cohort);
    if (timeout_ms >= 0) {
        (void)uv_timer_start(&attached->timer, on_timer, (uint64_t)timeout_ms, 0);
    } else {
        (void)uv_timer_stop(&attached->timer);
    }
}

static void on_timer(uv_timer_t *timer) { process(timer->data); }

static void on_readable(uv_poll_t *poll, int status, int events) { process(poll->data); }

static void on_closed(uv_handle_t *handle)
{
    struct cohort_uv *attached = handle->data;
    if (--attached->open > 0) {
        return;
    }
    void (*detached)(void *) = attached->detached;
    void *data = attached->data;
    free(attached);
    if (detached != NULL) {
        detached(data);
    }
}

void cohort_uv_detach(struct cohort_uv *attached, void (*detached)(void *data), void *data)
{
    if (attached == NULL || attached->detaching) {
        return;
    }
    attached->detaching = 1;
    attached->detached = detached;
    attached->data = data;
    uv_close((uv_handle_t *)&attached->poll, on_closed);
    uv_close((uv_handle_t *)&attached->timer, on_closed);
}

enum cohort_status cohort_uv_attach(struct cohort *cohort, uv_loop_t *loop, struct cohort_uv **ret_attached)
{
    struct cohort_uv *attached = calloc(1, sizeof(*attached));
    if (attached == NULL) {
        return COHORT_NOMEM;
    }
    attached->cohort = cohort;
    if (uv_poll_init(loop, &attached->poll, cohort_fd(cohort)) != 0) {
        free(attached);
        return COHORT_SYSTEM;
    }
    (void)uv_timer_init(loop, &attached->timer);
    attached->poll.data = attached;
    attached->timer.data = attached;
    attached->open = 2;
    if (uv_poll_start(&attached->poll, UV_READABLE, on_readable) != 0) {
        cohort_uv_detach(attached, NULL, NULL);
        return COHORT_SYSTEM;
    }
    (void)uv_timer_start(&attached->timer, on_timer, 0, 0); /* what was started before */
    *ret_attached = attached;
    return COHORT_OK;
}

/* A handle on a libuv loop (libcohort-uv; pkg-config cohort-uv).
 *
 * Callbacks come from the loop. The loop does not end while it is attached; use uv_unref on nothing of it: detach
 * instead. */
#ifndef COHORT_UV_H
#define COHORT_UV_H

#include <cohort/client.h>
#include <uv.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cohort_uv;

/* Attaches the handle to the loop, whose thread this is. COHORT_NOMEM, COHORT_SYSTEM. */
COHORT_API enum cohort_status cohort_uv_attach(struct cohort *cohort, uv_loop_t *loop, struct cohort_uv **ret_attached);

/* Takes it off again; `detached` (may be NULL) is called by the loop when all is gone, and only then may the handle be
 * closed. Also from a callback. */
COHORT_API void cohort_uv_detach(struct cohort_uv *attached, void (*detached)(void *data), void *data);

#ifdef __cplusplus
}
#endif

#endif

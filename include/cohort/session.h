/* Sessions: one heartbeat for any number of locks.
 *
 * Locks that are acquired with a session (struct cohort_lock_options) are held as long as it lives, and end with it; so
 * do keys that are set with `SET … SESSION id`. Like a lock, a session is believed to live until a time that is known
 * here, cohort_session_valid_until(), and a keeper renews it (cohort/lock.h). What has ended is over for ever.
 *
 * A session belongs to one thread at a time; its keeper, and cohort_session_valid_until, may run beside it. */
#ifndef COHORT_SESSION_H
#define COHORT_SESSION_H

#include <cohort/lock.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Opens a session that lives for `ttl_ms` (100 ms to 24 hours) after each heartbeat. One whose answer is lost ends by
 * itself. */
COHORT_API enum cohort_status cohort_session_open(struct cohort *cohort, int64_t ttl_ms,
                                                  struct cohort_session **ret_session, struct cohort_reply **ret_reply);

/* The session is the callback's, and NULL unless the status is COHORT_OK. */
typedef void (*cohort_session_callback)(void *data, enum cohort_status status, struct cohort_session *session,
                                        const struct cohort_reply *reply);
COHORT_API enum cohort_status cohort_session_open_start(struct cohort *cohort, int64_t ttl_ms,
                                                        cohort_session_callback callback, void *data);

/* For other commands that take one. Lives as long as the session. */
COHORT_API const char *cohort_session_id(const struct cohort_session *session);

/* Nanoseconds of CLOCK_BOOTTIME until which it may be believed to live; 0 when it is over. */
COHORT_API int64_t cohort_session_valid_until(const struct cohort_session *session);

/* A heartbeat: the time to live begins anew. COHORT_NOSESSION: it has ended. */
COHORT_API enum cohort_status cohort_session_keepalive(struct cohort_session *session, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_session_keepalive_start(struct cohort_session *session, cohort_callback callback,
                                                             void *data);

/* Ends it, with all its locks and keys. COHORT_NOSESSION: it had ended before. Any other failure: it ends with its time
 * to live. Its keeper is to be stopped before. */
COHORT_API enum cohort_status cohort_session_close(struct cohort_session *session, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_session_close_start(struct cohort_session *session, cohort_callback callback,
                                                         void *data);

/* Frees what the program has of it, and ends nothing. Its locks are freed before. NULL is fine. */
COHORT_API void cohort_session_free(struct cohort_session *session);

/* A keeper of a session, as cohort_keeper_start has them of locks: COHORT_NOSESSION is the server's word. */
typedef void (*cohort_ended_callback)(void *data, struct cohort_session *session, enum cohort_status why);
COHORT_API enum cohort_status cohort_session_keeper_start(struct cohort_session *session, unsigned flags,
                                                          cohort_ended_callback ended, void *data,
                                                          struct cohort_keeper **ret_keeper);

#ifdef __cplusplus
}
#endif

#endif

/* Locks with fencing tokens.
 *
 * A lock is held until a time that its holder knows: cohort_lock_valid_until(), on CLOCK_BOOTTIME, which goes on while
 * the machine sleeps. It is measured from before the request was sent that was answered, and is less than the server's
 * by an allowance of 2 ms + 0.2 % of the time to live: two clocks that each run wrong by up to 0.1 %. Work that must
 * not overlap with another holder's has to end by then, or must carry the token to what it changes (LOCK.GUARD,
 * FENCE.CHECK), which refuses older ones. After the time, and after a loss, it is not held any more, whoever says
 * otherwise.
 *
 * An acquire that waited in the queue is renewed once before it is told, so that its validity counts from the grant.
 *
 * A lock belongs to one thread at a time; its keeper, and cohort_lock_valid_until, may run beside it. */
#ifndef COHORT_LOCK_H
#define COHORT_LOCK_H

#include <cohort/client.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cohort_lock;
struct cohort_keeper;
struct cohort_session;

enum cohort_lock_mode {
    COHORT_LOCK_EXCLUSIVE,
    COHORT_LOCK_SHARED,
    COHORT_LOCK_PERMITS, /* a semaphore: `permits` of `limit` */
};

/* `ttl_ms` must be said; all else may be zero. */
struct cohort_lock_options {
    size_t size;
    int64_t ttl_ms;  /* 100 ms to 24 hours */
    int64_t wait_ms; /* how long to wait for it; 0: not at all */
    enum cohort_lock_mode mode;
    uint32_t permits; /* of COHORT_LOCK_PERMITS alone, as the next */
    uint32_t limit;
    struct cohort_bytes owner; /* data NULL: a random one, which no other has. The same owner may ask again for what it
                                * holds, and gets the same token. Not empty */
    struct cohort_bytes note;  /* for people, in LOCK.INFO */
    struct cohort_session *session; /* of the same handle: it is held as long as this lives (cohort/session.h), and
                                     * ttl_ms is not used */
};

/* Acquires the lock. COHORT_NOT_GRANTED: others held it all the time. COHORT_DEADLOCK. COHORT_LOCKLOST: it was granted
 * and over before it could be told. COHORT_UNCERTAIN: it may be held
 * by this owner until its time to live is over; ask again with the same owner. */
COHORT_API enum cohort_status cohort_lock_acquire(struct cohort *cohort, struct cohort_bytes key,
                                                  const struct cohort_lock_options *options,
                                                  struct cohort_lock **ret_lock, struct cohort_reply **ret_reply);

/* The lock is the callback's, and NULL unless the status is COHORT_OK. */
typedef void (*cohort_lock_callback)(void *data, enum cohort_status status, struct cohort_lock *lock,
                                     const struct cohort_reply *reply);
COHORT_API enum cohort_status cohort_lock_acquire_start(struct cohort *cohort, struct cohort_bytes key,
                                                        const struct cohort_lock_options *options,
                                                        cohort_lock_callback callback, void *data);

/* Grows with every grant of the lock, for ever. */
COHORT_API uint64_t cohort_lock_token(const struct cohort_lock *lock);

/* Nanoseconds of CLOCK_BOOTTIME until which it may be believed to be held; 0 when it is lost or released. Of a lock
 * with a session: until which that may be believed to live, also when an administrator has taken the lock away. */
COHORT_API int64_t cohort_lock_valid_until(const struct cohort_lock *lock);

/* The time to live begins anew; of a lock with a session, that of the session. COHORT_LOCKLOST: it is held no more. */
COHORT_API enum cohort_status cohort_lock_renew(struct cohort_lock *lock, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_lock_renew_start(struct cohort_lock *lock, cohort_callback callback, void *data);

/* Gives it back. From the call on it is not held. COHORT_LOCKLOST: it was no longer held before. Any other failure: it
 * ends with its time to live. Its keeper is to be stopped before. */
COHORT_API enum cohort_status cohort_lock_release(struct cohort_lock *lock, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_lock_release_start(struct cohort_lock *lock, cohort_callback callback, void *data);

/* Frees what the program has of it, and releases nothing. No keeper, renewal or release is under way. NULL is fine. */
COHORT_API void cohort_lock_free(struct cohort_lock *lock);

/* LOCK.INFO of any lock: a map of mode, limit, holders and waiters. */
COHORT_API enum cohort_status cohort_lock_info(struct cohort *cohort, struct cohort_bytes key,
                                               struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_lock_info_start(struct cohort *cohort, struct cohort_bytes key,
                                                     cohort_callback callback, void *data);

/* ---- keepers ----
 *
 * A keeper renews a lock whenever a third of its time to live is over, and tries again until it is no longer valid. It
 * reports the loss once: when the server says so (COHORT_LOCKLOST; also unasked, where it was acquired), or when the
 * validity is over without a renewal (any other status, at that moment and not later than a turn of the loop). Then it
 * renews no more. */

typedef void (*cohort_lost_callback)(void *data, struct cohort_lock *lock, enum cohort_status why);

enum {
    COHORT_KEEPER_ON_LOOP = 1 << 0, /* within cohort_process; else a thread of its own, with all signals blocked */
};

/* `lost` may be NULL. COHORT_INVALID: it has a keeper already, is not held, or ends with a session, which is to be kept
 * instead. COHORT_SYSTEM: no thread. */
COHORT_API enum cohort_status cohort_keeper_start(struct cohort_lock *lock, unsigned flags, cohort_lost_callback lost,
                                                  void *data, struct cohort_keeper **ret_keeper);

/* Stops and frees it. Once this has returned, no renewal leaves and `lost` is not called and not running; from within
 * `lost` itself, once that has returned. NULL is fine. */
COHORT_API void cohort_keeper_stop(struct cohort_keeper *keeper);

#ifdef __cplusplus
}
#endif

#endif

/* The inside of a lock (cohort/lock.h), and of an office (cohort/elect.h), which is one with other words. */
#pragma once

#include "base/number.h"
#include "client/lease.h"

#include <cohort/lock.h>

/* What it is called at the server. */
struct lock_words {
    const char *acquire; /* key owner PX ttl … */
    const char *renew;   /* key owner token PX ttl; or as acquire, when `asks_again` */
    const char *release; /* key owner token */
    const char *lost;    /* the push: this, key, owner, token */
    bool asks_again;     /* it is renewed by being acquired again, which gives [token, ms left] */
};

extern const struct lock_words client_lock_words;

struct cohort_lock {
    struct lease lease;
    const struct lock_words *words;
    struct cohort_session *session; /* that it ends with; NULL: it has a time of its own */
    uint64_t token;
    struct slice key; /* both stand behind the struct */
    struct slice owner;
    char token_text[24];
};

/* What is asked for, of both kinds. */
struct lock_wanted {
    const struct lock_words *words;
    struct cohort_lock_options options;
    struct cohort_bytes value; /* of an office; data NULL: none */
};

/* NULL: memory was refused. */
struct cohort_lock *client_lock_create(struct cohort *cohort, struct cohort_bytes key,
                                       const struct lock_wanted *wanted);

/* LOCK.RENEW key owner token PX ttl, or what stands for it. */
enum { LOCK_RENEW_WORDS = 6 };
size_t client_lock_renew_words(const struct cohort_lock *lock, char ttl[static NUMBER_INT64_BYTES],
                               struct cohort_bytes argv[static LOCK_RENEW_WORDS]);

/* A step: looks at the answer to such a renewal. */
bool client_lock_take_renewal(struct operation *operation, struct cohort_lock *lock, bool may_go_on);

/* lock_acquire.c */
enum cohort_status client_lock_acquire(struct cohort *cohort, struct cohort_bytes key, const struct lock_wanted *wanted,
                                       struct cohort_lock **ret_lock, struct cohort_reply **ret_reply);
enum cohort_status client_lock_acquire_start(struct cohort *cohort, struct cohort_bytes key,
                                             const struct lock_wanted *wanted, cohort_lock_callback callback,
                                             void *data);

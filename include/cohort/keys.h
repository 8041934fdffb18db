/* Strings and hashes.
 *
 * Keys, fields and values are any bytes. Each call blocks; its _start twin calls back (cohort/client.h). */
#ifndef COHORT_KEYS_H
#define COHORT_KEYS_H

#include <cohort/client.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The value at a key: the reply's bytes. COHORT_NOTFOUND. */
COHORT_API enum cohort_status cohort_get(struct cohort *cohort, struct cohort_bytes key,
                                         struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_get_start(struct cohort *cohort, struct cohort_bytes key, cohort_callback callback,
                                               void *data);

enum cohort_set_when {
    COHORT_SET_ALWAYS,
    COHORT_SET_ABSENT,  /* only when there is no such key (NX) */
    COHORT_SET_PRESENT, /* only when there is (XX) */
    COHORT_SET_EQUAL,   /* only when its value is `equal` (IFEQ) */
};

/* All zero is the default: set, and take off a time to live. */
struct cohort_set_options {
    size_t size;
    enum cohort_set_when when;
    struct cohort_bytes equal;
    int64_t ttl_ms;       /* time to live from now; 0: none */
    int64_t expire_at_ms; /* or until then, ms since 1970; 0: none */
    int keep_ttl;         /* or keep what it has */
};

/* COHORT_CONFLICT: the condition did not hold, nothing was changed. Never sent again once its outcome is unknown. */
COHORT_API enum cohort_status cohort_set(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes value,
                                         const struct cohort_set_options *options, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_set_start(struct cohort *cohort, struct cohort_bytes key,
                                               struct cohort_bytes value, const struct cohort_set_options *options,
                                               cohort_callback callback, void *data);

/* COHORT_NOTFOUND: there was no such key. */
COHORT_API enum cohort_status cohort_del(struct cohort *cohort, struct cohort_bytes key,
                                         struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_del_start(struct cohort *cohort, struct cohort_bytes key, cohort_callback callback,
                                               void *data);

/* Adds to the integer at a key, which counts as 0 when missing; the reply's integer is the new value. */
COHORT_API enum cohort_status cohort_incr(struct cohort *cohort, struct cohort_bytes key, int64_t by,
                                          int64_t *ret_value, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_incr_start(struct cohort *cohort, struct cohort_bytes key, int64_t by,
                                                cohort_callback callback, void *data);

/* ---- compare and set ---- */

/* The value (part 0 of the reply) and its version (part 1, and *ret_version). COHORT_NOTFOUND: *ret_version is 0. */
COHORT_API enum cohort_status cohort_getv(struct cohort *cohort, struct cohort_bytes key, int64_t *ret_version,
                                          struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_getv_start(struct cohort *cohort, struct cohort_bytes key,
                                                cohort_callback callback, void *data);

/* Sets the value if the key still has this version; 0: if there is no such key. The reply's integer, and *ret_version,
 * is the new version. COHORT_CONFLICT: read again, decide anew. */
COHORT_API enum cohort_status cohort_setv(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes value,
                                          int64_t version, int64_t *ret_version, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_setv_start(struct cohort *cohort, struct cohort_bytes key,
                                                struct cohort_bytes value, int64_t version, cohort_callback callback,
                                                void *data);

/* ---- hashes ---- */

/* COHORT_NOTFOUND: no such field. */
COHORT_API enum cohort_status cohort_hget(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes field,
                                          struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_hget_start(struct cohort *cohort, struct cohort_bytes key,
                                                struct cohort_bytes field, cohort_callback callback, void *data);

/* The reply's integer is 1 when the field is new. */
COHORT_API enum cohort_status cohort_hset(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes field,
                                          struct cohort_bytes value, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_hset_start(struct cohort *cohort, struct cohort_bytes key,
                                                struct cohort_bytes field, struct cohort_bytes value,
                                                cohort_callback callback, void *data);

/* COHORT_NOTFOUND: there was no such field. */
COHORT_API enum cohort_status cohort_hdel(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes field,
                                          struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_hdel_start(struct cohort *cohort, struct cohort_bytes key,
                                                struct cohort_bytes field, cohort_callback callback, void *data);

/* A map of all fields; of a missing key, an empty one. */
COHORT_API enum cohort_status cohort_hgetall(struct cohort *cohort, struct cohort_bytes key,
                                             struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_hgetall_start(struct cohort *cohort, struct cohort_bytes key,
                                                   cohort_callback callback, void *data);

/* As cohort_incr, of a field. */
COHORT_API enum cohort_status cohort_hincr(struct cohort *cohort, struct cohort_bytes key, struct cohort_bytes field,
                                           int64_t by, int64_t *ret_value, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_hincr_start(struct cohort *cohort, struct cohort_bytes key,
                                                 struct cohort_bytes field, int64_t by, cohort_callback callback,
                                                 void *data);

/* The hash slot of a key, 0 to 16,383, as Redis Cluster counts it: what CLUSTER KEYSLOT answers. */
COHORT_API uint32_t cohort_key_slot(struct cohort_bytes key);

#ifdef __cplusplus
}
#endif

#endif

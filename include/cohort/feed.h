/* Feeds: every change under a prefix, in order, exactly once.
 *
 *     while (cohort_feed_next(feed, -1, &count, NULL) == COHORT_OK) {
 *         for (size_t i = 0; i < count; i++) {
 *             apply(cohort_feed_change(feed, i));
 *         }
 *         keep(cohort_feed_position(feed));
 *     }
 *
 * A feed gives changes in the order in which they happened to each key, also through dead nodes and changes of leaders:
 * when its connection is lost, or its node is silent for too long, it goes on at another one, from where it was, and
 * the caller sees nothing of that.
 *
 * The position is behind what was given, and not behind anything else. Whoever keeps it together with what was made of
 * the changes, and begins from it next time, in whatever process, misses nothing and is given nothing twice. It moves
 * too when nothing happens under the prefix: then cohort_feed_next gives 0 changes, every ten seconds at least, so that
 * what is kept does not become too old.
 *
 * What is given is bounded: one batch, of one shard, in memory, and the next one behind it; the rest waits at the
 * server, which holds up nobody for it. Who is too far behind is told so (COHORT_COMPACTED).
 *
 * A feed has a connection of its own (connections_max). It belongs to one thread at a time; cohort_feed_stop may be
 * called from any. Several feeds of a handle may be used by several threads, beside all else. */
#ifndef COHORT_FEED_H
#define COHORT_FEED_H

#include <cohort/client.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cohort_feed;

enum cohort_feed_kind {
    COHORT_FEED_SET,     /* the key holds the string `value`, without expiry unless COHORT_FEED_EXPIRE follows */
    COHORT_FEED_HSET,    /* `field` of the hash is `value` */
    COHORT_FEED_HDEL,    /* `field` is gone; when it was the last one, COHORT_FEED_DEL follows */
    COHORT_FEED_DEL,     /* the key is gone */
    COHORT_FEED_EXPIRED, /* its time was over: it is gone */
    COHORT_FEED_EXPIRE,  /* it goes at `expires_ms`, if nothing changes that */
    COHORT_FEED_PERSIST, /* it no longer does */
    COHORT_FEED_FLUSH,   /* all keys in slots `first_slot` to `last_slot` are gone; `key` is empty */
    COHORT_FEED_RELOAD,  /* it has another value, which is not told: read it */
    COHORT_FEED_STALE,   /* so much has changed in these slots that it is not told: read their keys; `key` is empty */
};

/* What does not belong to the kind is empty, or 0. Bytes are as long there as the batch. */
struct cohort_feed_change {
    enum cohort_feed_kind kind;
    struct cohort_bytes key;
    uint64_t version; /* that of cohort_getv: a value that was read with a version has all changes up to it in it */
    struct cohort_bytes field;
    struct cohort_bytes value;
    int64_t expires_ms;  /* ms since 1970 */
    uint32_t first_slot; /* cohort_key_slot (cohort/keys.h) tells which keys are meant */
    uint32_t last_slot;
};

/* All zero is the default. */
struct cohort_feed_options {
    size_t size;
    struct cohort_bytes from; /* a position; data NULL: from now, so that what is changed after the opening is given */
    int64_t timeout_ms;       /* of the opening; 0: the handle's */
    int64_t silence_ms;       /* a node that tells nothing for so long is left for another; 0: 15,000. A node that can
                                 tell something does so every ten seconds */
};

/* Opens a feed of all keys that begin with the prefix, of at most 512 bytes; empty: of all keys.
 * COHORT_COMPACTED: what followed the position is forgotten (cohort_feed_oldest). COHORT_REFUSED: the position is of
 * another cluster, or none at all, …; the reply has the words. COHORT_BUSY: every node has as many feeds as it may.
 * COHORT_FULL: the handle has as many connections as it may. */
COHORT_API enum cohort_status cohort_feed_open(struct cohort *cohort, struct cohort_bytes prefix,
                                               const struct cohort_feed_options *options, struct cohort_feed **ret_feed,
                                               struct cohort_reply **ret_reply);

/* The feed is the callback's, and NULL unless the status is COHORT_OK. */
typedef void (*cohort_feed_opened_callback)(void *data, enum cohort_status status, struct cohort_feed *feed,
                                            const struct cohort_reply *reply);
COHORT_API enum cohort_status cohort_feed_open_start(struct cohort *cohort, struct cohort_bytes prefix,
                                                     const struct cohort_feed_options *options,
                                                     cohort_feed_opened_callback callback, void *data);

/* In the reply of COHORT_COMPACTED: the oldest position that can be asked for, to be copied; else empty. What was
 * before it is not told any more: ask for a feed from there, then read the keys, and leave out what is told with a
 * version that was read already. */
COHORT_API struct cohort_bytes cohort_feed_oldest(const struct cohort_reply *reply);

/* Waits for the next batch of changes, which takes the place of the one before; also of none, when only the position is
 * new. timeout_ms: 0: takes what is there; -1: as long as it takes.
 * COHORT_TIMEOUT: there is nothing yet. COHORT_UNREACHABLE: neither, and no node serves the feed just now, which the
 * library goes on trying to change. COHORT_CANCELLED: cohort_feed_stop. With these, the batch before stays, and so does
 * the position. All others end the feed, and are given from then on: COHORT_COMPACTED, COHORT_REFUSED, COHORT_DENIED,
 * COHORT_PROTOCOL (a change of a kind that this library does not know; or a push above reply_bytes_max: open a handle
 * with a larger one, and on it a feed from cohort_feed_position, which is what it was). ret_reply is NULL with
 * COHORT_OK. */
COHORT_API enum cohort_status cohort_feed_next(struct cohort_feed *feed, int64_t timeout_ms, size_t *ret_count,
                                               struct cohort_reply **ret_reply);

/* The same on the caller's loop: one call back for each start; it may start the next. */
typedef void (*cohort_feed_callback)(void *data, enum cohort_status status, struct cohort_feed *feed, size_t count,
                                     const struct cohort_reply *reply);
COHORT_API enum cohort_status cohort_feed_next_start(struct cohort_feed *feed, int64_t timeout_ms,
                                                     cohort_feed_callback callback, void *data);

/* A change of the batch, from 0; NULL beyond the last. It is there until the next batch is given, or the feed closed.
 */
COHORT_API const struct cohort_feed_change *cohort_feed_change(const struct cohort_feed *feed, size_t index);

/* Behind the batch; before the first, where the feed began. Some dozens of letters, digits, '-' and '_' (a cluster of
 * many shards has longer ones) that mean the same at every node. It is there as long as the batch. */
COHORT_API const char *cohort_feed_position(const struct cohort_feed *feed);

/* Ends a wait in another thread, and all later ones, with COHORT_CANCELLED. From any thread; not from a signal handler.
 */
COHORT_API void cohort_feed_stop(struct cohort_feed *feed);

/* Closes and frees it; never waits. Once this has returned, nothing of it is called back. Also from its own callback.
 * NULL is fine. */
COHORT_API void cohort_feed_close(struct cohort_feed *feed);

#ifdef __cplusplus
}
#endif

#endif

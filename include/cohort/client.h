/* A handle: one cohort, seen by one program.
 *
 * Two ways to use it, also both at once:
 *   blocking       cohort_get(cohort, …) from any number of threads; what they have under way shares the connections.
 *   on a loop      cohort_get_start(cohort, …, callback, data); wait until cohort_fd() is readable or cohort_timeout()
 * has passed, then cohort_process(), which calls the callbacks. <cohort/uv.h> does that for libuv.
 *
 * What holds
 * 1. A handle may be used by several threads at once. cohort_close is the exception: nothing else may be under way
 * then.
 * 2. Each operation has a deadline (`timeout_ms`) and ends by then, whatever the network does; only the system's
 * resolver, which is asked when a host is a name, is not bounded by it.
 * 3. Connections are made when they are needed, to every node of the URL and to those that the cluster tells of, and
 * made again after a pause that grows and is jittered. An operation goes to the leader of its key's shard when that is
 *    known, else to any node, which serves it all the same.
 * 4. An operation is sent again only when that is safe: it did not leave, the server refused it (-CLUSTERDOWN, -BUSY),
 * it changes nothing, or twice is as once. A write without an answer ends with COHORT_UNCERTAIN.
 * 5. There is no order between operations under way at the same time. Wait for the first, or use a batch.
 * 6. Queues are bounded: see struct cohort_options. What is beyond is refused with COHORT_FULL, at once.
 * 7. No global state, no output, no signals, no threads but that of a keeper that asks for one. Descriptors are closed
 * on exec.
 * 8. After fork a handle, and what came of it (locks, sessions, keepers, transactions, feeds), is the parent's alone,
 * and goes on there undisturbed. In the child every call on it is COHORT_INVALID and does nothing: no lock or session
 * is valid there (valid_until is 0), cohort_process calls nobody, cohort_timeout is −1; what stops, frees and closes
 * leaves the memory as it is. cohort_close closes the child's copies of the descriptors, so that connections end when
 * the parent does: call it, then open a handle of the child's own. (Not seen is vfork, whose child may only exec.) */
#ifndef COHORT_CLIENT_H
#define COHORT_CLIENT_H

#include <cohort/reply.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cohort;

enum {
    COHORT_ANY_NODE = 1 << 0,  /* options: stay with the URL's nodes; leaders are not looked for */
    COHORT_FAIL_FAST = 1 << 1, /* options: until one node was reached, what is asked ends COHORT_UNREACHABLE as soon as
                                * every node of the URL has refused a connection, or has a name that nobody knows; else
                                * they are tried again until the deadline */
};

/* All zero is the default. `size` is sizeof(struct cohort_options), or 0 for the fields of version 0.1. */
struct cohort_options {
    size_t size;
    unsigned flags;
    int64_t timeout_ms;         /* of each operation; 0: as the URL says (?timeout=), else 5,000 */
    const char *password;       /* copied; NULL: none */
    uint32_t operations_max;    /* under way at once; 0: 16,384 */
    uint32_t connections_max;   /* of their own, for transactions, feeds and waits for locks; 0: 64 */
    uint64_t request_bytes_max; /* of all operations under way; 0: 128 MiB */
    uint64_t reply_bytes_max;   /* of one reply or push; 0: 64 MiB. It takes up to 16 times its bytes as a tree */
};

/* Makes a handle for cohort://host:port[,host:port…][?timeout=5s]; NULL: cohort://127.0.0.1:6379. Other schemes are
 * engines (cohort/engine.h). Connects to nothing yet. COHORT_INVALID (ret_reply says what is wrong), COHORT_NOMEM,
 * COHORT_SYSTEM. */
COHORT_API enum cohort_status cohort_open(const char *url, const struct cohort_options *options,
                                          struct cohort **ret_cohort, struct cohort_reply **ret_reply);

/* Ends what is under way with COHORT_CANCELLED, calls the callbacks that remain, and frees the handle. What a callback
 * asks for meanwhile is COHORT_CANCELLED. Not from a callback. Keepers, transactions and feeds of the handle are ended
 * before. NULL is fine. */
COHORT_API void cohort_close(struct cohort *cohort);

/* ---- the caller's own loop ---- */

/* How operations end that were started with a callback: exactly once, within cohort_process or cohort_close. `reply`
 * may be NULL when memory was short, and is gone when the callback returns. A callback may use the handle, also to
 * wait. */
typedef void (*cohort_callback)(void *data, enum cohort_status status, const struct cohort_reply *reply);

/* Readable when cohort_process has something to do. The same for the life of the handle; only to be polled. */
COHORT_API int cohort_fd(const struct cohort *cohort);

/* After how many ms cohort_process must be called even so; −1: not before the descriptor is readable. Ask anew after
 * each cohort_process. */
COHORT_API int cohort_timeout(struct cohort *cohort);

/* Sends, receives, and calls the callbacks of what has ended. Never waits. Only one thread at a time. */
COHORT_API void cohort_process(struct cohort *cohort);

/* ---- any command ----
 *
 * Every blocking call has `struct cohort_reply **ret_reply` last. NULL: not wanted. Else it is the server's reply, or
 * an error whose text says what went wrong, and is to be freed in both cases (it may be NULL when memory was short).
 *
 * Every call that starts something gives COHORT_OK and calls back later, or another status and never calls back. What
 * is passed to it is copied. `callback` may be NULL. */

enum {
    COHORT_READ = 1 << 0,  /* the command changes nothing: send it again when it got no answer */
    COHORT_AGAIN = 1 << 1, /* executing it twice is as good as once: the same */
};

/* All zero is the default. */
struct cohort_call {
    size_t size;
    unsigned flags;          /* COHORT_READ, COHORT_AGAIN */
    int64_t timeout_ms;      /* 0: the handle's */
    struct cohort_bytes key; /* where the command should go; data NULL: its first argument */
};

/* Sends a command of 1 to 1,048,576 words. Commands that change the connection (MULTI, WATCH, SUBSCRIBE, SELECT, HELLO,
 * TXN.BEGIN, …) are COHORT_INVALID: it is shared. There are calls for what they do. */
COHORT_API enum cohort_status cohort_command(struct cohort *cohort, size_t argc, const struct cohort_bytes *argv,
                                             const struct cohort_call *call, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_command_start(struct cohort *cohort, size_t argc, const struct cohort_bytes *argv,
                                                   const struct cohort_call *call, cohort_callback callback,
                                                   void *data);

#ifdef __cplusplus
}
#endif

#endif

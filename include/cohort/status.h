/* What became of an operation.
 *
 * Three groups, and what each says about the command:
 *   done          COHORT_OK, COHORT_NOTFOUND, COHORT_CONFLICT, COHORT_NOT_GRANTED: the server has answered.
 *   refused       all others but the next: surely not executed, or of no effect.
 *   unknown       COHORT_UNCERTAIN alone: a write that may have been executed, once, and may be yet. Look before you
 *                 send it again. The library never does so by itself. */
#ifndef COHORT_STATUS_H
#define COHORT_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define COHORT_API __attribute__((visibility("default")))
#else
#define COHORT_API
#endif

enum cohort_status {
    COHORT_OK = 0,
    COHORT_NOTFOUND = -1,     /* no such key, field, transaction */
    COHORT_CONFLICT = -2,     /* a condition did not hold (another value or version, it is there already) */
    COHORT_NOT_GRANTED = -3,  /* the lock was not free within the wait */
    COHORT_UNCERTAIN = -4,    /* sent, and no answer: it may have been executed */
    COHORT_TIMEOUT = -5,      /* the time was over before it could be sent; or a read had no answer */
    COHORT_UNREACHABLE = -6,  /* the time was over and no node could be connected to */
    COHORT_CLUSTERDOWN = -7,  /* no majority of the shard answers */
    COHORT_BUSY = -8,         /* too much waits at the server */
    COHORT_FULL = -9,         /* a limit of this handle (operations, bytes, connections) */
    COHORT_NOMEM = -10,       /* this process was refused memory */
    COHORT_INVALID = -11,     /* the arguments, or a use that is not allowed */
    COHORT_DENIED = -12,      /* password wrong or missing, or no permission */
    COHORT_WRONGTYPE = -13,   /* the key holds another kind of value */
    COHORT_REFUSED = -14,     /* any other error of the server; the reply has its words */
    COHORT_PROTOCOL = -15,    /* what answers is no cohort, or sent more than the limit for a reply */
    COHORT_CANCELLED = -16,   /* the handle was closed, or the operation ended by its owner */
    COHORT_LOCKLOST = -17,    /* the lock is no longer held */
    COHORT_FENCED = -18,      /* the token is not the one that holds */
    COHORT_DEADLOCK = -19,    /* owners wait for each other in a circle */
    COHORT_TXNEXISTS = -20,   /* a transaction with that id runs or ran already */
    COHORT_TXNABORT = -21,    /* the transaction was rolled back; nothing of it is there */
    COHORT_STALE = -22,       /* the asked bound cannot be met */
    COHORT_COMPACTED = -23,   /* a feed was asked for what is no longer kept */
    COHORT_SYSTEM = -24,      /* the operating system refused a descriptor or a thread */
    COHORT_NOSESSION = -25,   /* the session has ended */
    COHORT_UNSUPPORTED = -26, /* the handle's engine cannot do that (cohort/engine.h) */
};

/* A short text for a person. Never NULL; static storage; also for a number that is none of the above. */
COHORT_API const char *cohort_status_text(enum cohort_status status);

/* Whether the command may have taken effect though no answer says so: true for COHORT_UNCERTAIN alone. */
static inline int cohort_status_is_unknown(enum cohort_status status) { return status == COHORT_UNCERTAIN; }

#ifdef __cplusplus
}
#endif

#endif

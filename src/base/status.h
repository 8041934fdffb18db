/* Status codes: the one list of ways in which an operation can fail.
 *
 * Functions return `enum status`; results come in ret_ parameters, which are
 * untouched on failure. errno and libuv's codes are translated at the edge
 * (src/env_uv), so nothing above it knows them. */
#pragma once

#define MUST_USE __attribute__((warn_unused_result))

enum status {
    STATUS_OK = 0,
    STATUS_AGAIN = -1,      /* nothing to do now; wait for the readiness callback */
    STATUS_NOMEM = -2,      /* memory refused */
    STATUS_IO = -3,         /* EIO and everything else a device says */
    STATUS_NOSPACE = -4,    /* the disk or the quota is full */
    STATUS_READONLY = -5,   /* read-only file system, or no permission to write */
    STATUS_NOTFOUND = -6,   /* no such file, key, group */
    STATUS_EXISTS = -7,     /* it is there already */
    STATUS_CORRUPT = -8,    /* bytes that cannot be what we wrote */
    STATUS_VERSION = -9,    /* written by a newer format than this binary knows */
    STATUS_INVALID = -10,   /* malformed input from outside */
    STATUS_TOO_LARGE = -11, /* a documented limit is exceeded */
    STATUS_FULL = -12,      /* a bounded queue or table is full */
    STATUS_CLOSED = -13,    /* the peer or the object is closed */
    STATUS_TIMEOUT = -14,   /* the time limit passed */
    STATUS_BUSY = -15,      /* in use by someone else (address, data folder) */
    STATUS_REFUSED = -16,   /* connection refused, host unreachable */
    STATUS_DENIED = -17,    /* no permission */
    STATUS_CANCELLED = -18, /* taken back before it ran */
    STATUS_UNSUPPORTED = -19,
    STATUS_NOT_LEADER = -20, /* another member of the group decides this; nothing was done */
    STATUS_NO_LEADER = -21,  /* nobody decides at present; nothing was done */
    STATUS_UNCERTAIN = -22,  /* it may have been done, or yet be done */
    STATUS_EXECUTED = -23,   /* it was done; what came of it is lost */
    STATUS_STALE = -24,      /* what is here is older than was asked for */
};

/* A short text for a person ("disk full"). Never NULL; static storage. */
const char *status_text(enum status status);

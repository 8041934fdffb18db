/* Replies of the server, and bytes.
 *
 * A reply is a tree; its parts belong to the root and live as long. Every function takes NULL, and a part of another
 * type, and gives an empty answer then: what a caller expects needs no check of its type first. */
#ifndef COHORT_REPLY_H
#define COHORT_REPLY_H

#include <cohort/status.h>

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A borrowed run of bytes, which may hold zeros. */
struct cohort_bytes {
    const void *data;
    size_t size;
};

static inline struct cohort_bytes cohort_bytes_of(const void *data, size_t size)
{
    struct cohort_bytes bytes = {data, size};
    return bytes;
}

static inline struct cohort_bytes cohort_text(const char *text) { return cohort_bytes_of(text, strlen(text)); }

enum cohort_reply_type {
    COHORT_REPLY_NIL,
    COHORT_REPLY_STRING,  /* a value, a status line, a big number's digits */
    COHORT_REPLY_INTEGER, /* booleans too: 0 or 1 */
    COHORT_REPLY_DOUBLE,
    COHORT_REPLY_ARRAY, /* sets and pushes too */
    COHORT_REPLY_MAP,   /* keys and values in turn: twice as many parts as pairs */
    COHORT_REPLY_ERROR, /* the server's words, or the library's where there was no answer */
};

struct cohort_reply;

/* NIL for NULL. */
COHORT_API enum cohort_reply_type cohort_reply_type(const struct cohort_reply *reply);

/* The bytes of a string or an error, followed by a NUL that is not counted; else "" with size 0. data is never NULL. */
COHORT_API struct cohort_bytes cohort_reply_bytes(const struct cohort_reply *reply);

/* The same as a C string; it ends at the first zero byte. Never NULL. */
COHORT_API const char *cohort_reply_text(const struct cohort_reply *reply);

/* The number of an integer, or of a string that is one; else 0. */
COHORT_API int64_t cohort_reply_integer(const struct cohort_reply *reply);
COHORT_API double cohort_reply_double(const struct cohort_reply *reply);

/* Parts of an array or a map; else 0. */
COHORT_API size_t cohort_reply_count(const struct cohort_reply *reply);

/* The part, from 0; NULL beyond the last. */
COHORT_API const struct cohort_reply *cohort_reply_at(const struct cohort_reply *reply, size_t index);

/* The value of a map's key (also of a flat array of pairs); NULL when it is not there. */
COHORT_API const struct cohort_reply *cohort_reply_get(const struct cohort_reply *reply, const char *key);

/* Only the root that a call gave; NULL is fine. */
COHORT_API void cohort_reply_free(struct cohort_reply *reply);

#ifdef __cplusplus
}
#endif

#endif

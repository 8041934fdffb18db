/* Replies as trees (cohort/reply.h): each is one block of memory, its nodes first, then the texts. */
#pragma once

#include "base/slice.h"
#include "base/status.h"

#include <cohort/reply.h>

struct cohort_reply {
    enum cohort_reply_type type;
    union {
        int64_t integer;
        double number;
        size_t size; /* bytes of the text, or the number of parts */
    };
    union {
        const char *text; /* of a string or an error; ends with a NUL */
        const struct cohort_reply *parts;
    };
};

/* Of one whole reply as RESP; attributes are left out. STATUS_NOMEM; STATUS_CORRUPT when it is none. */
MUST_USE enum status reply_create(struct slice resp, struct cohort_reply **ret_reply);

/* An error in the library's own words; NULL when memory is refused. */
__attribute__((format(printf, 1, 2))) struct cohort_reply *reply_error(const char *format, ...);

/* A reply that is one text, once more; NULL when memory is refused. */
struct cohort_reply *reply_copy_error(const struct cohort_reply *reply);

/* What the words of a reply mean: COHORT_OK for all but errors. */
enum cohort_status reply_status(const struct cohort_reply *reply);

static inline struct slice reply_slice(const struct cohort_reply *reply)
{
    struct cohort_bytes bytes = cohort_reply_bytes(reply);
    return slice_of(bytes.data, bytes.size);
}

/* What an endpoint says of itself, as bytes: in a registration, in the state, in a change, in a snapshot.
 *
 *   address (text) · weight · zone (text) · count of fields · so many times a name and a value (texts)
 *
 * as base/record.h has texts and numbers. The same words give the same bytes, so equal says are equal bytes. */
#pragma once

#include "base/buffer.h"

struct service_says {
    struct slice address, zone;
    uint32_t weight;
    uint64_t field_count;
    struct slice fields; /* the rest: names and values, by turns */
};

/* False: no node of ours has made it. What is taken borrows from `bytes`. */
bool service_says_take(struct slice bytes, struct service_says *ret_says);
/* The next name or value from the front of says->fields. False: there is none. */
bool service_says_next(struct slice *fields, struct slice *ret_text);

/* NULL, or what is wrong with `host:port`, as a reply's error. */
const char *service_address_fits(struct slice address);

/* Parses `service id host:port PX ttl_ms | SESSION sid [WEIGHT n] [ZONE z] [META field value …]`: the last one to the
 * end. Appends to `out` what the endpoint says. NULL, or what is wrong, as a reply's error. */
struct service_words {
    struct slice name, id, session; /* session empty: it has ttl_ms */
    int64_t ttl_ms;
};
const char *service_words_parse(const struct slice *argv, uint32_t argc, struct buffer *out,
                                struct service_words *ret_words);
const char *service_names_fit(struct slice name, struct slice id);

/* What stands in etcd: names of keys, values, and requests and answers in the JSON of its gateway. Pure.
 *
 *      PREFIX/NAME/LEASE        who holds or waits: the lowest create revision holds. LEASE is its first lease, in hex
 *      PREFIX/%past/NAME/SLOT   how holds ended, a few of the newest
 *      PREFIX/%tokens/NAME      the newest token that FENCE.CHECK has seen, in decimals
 *
 * In NAME, bytes that are not plain are %xx; so is a slash, so that no lock's keys are below another's. The empty name
 * is
 * %, and an election is @NAME. A value is "cohort" and words: owner=… note=… since_ms=… and ttl_ms=… when it holds;
 * other values are other programs'. */
#pragma once

#include "base/buffer.h"
#include "engine/lock_state.h"

#include <jansson.h>

enum {
    ETCD_KEY_BYTES = 512 + 64 + 3 * LOCK_STATE_KEY_BYTES, /* more than any key of ours */
    ETCD_VALUE_BYTES = 3 * (LOCK_STATE_OWNER_BYTES + LOCK_STATE_NOTE_BYTES) + 256,
    ETCD_REQUEST_BYTES = 64 * 1024, /* more than any request of ours */
};

#define ETCD_PAST "%past/"
#define ETCD_TOKENS "%tokens/"

struct etcd_value {
    bool is_ours;
    bool holds;
    struct slice owner, note; /* in `bytes` */
    int64_t since_ms, ttl_ms; /* wall clock */
    uint64_t token;           /* of a past */
    int64_t to_ms;
    enum lock_why why;
    uint8_t bytes[LOCK_STATE_OWNER_BYTES + LOCK_STATE_NOTE_BYTES];
};

struct etcd_kv {
    struct slice key, value;
    int64_t create, mod;
    uint64_t lease;
};

/* Of an answer; the bytes are its own. */
struct etcd_kvs {
    struct etcd_kv *at;
    size_t count;
    uint8_t *bytes;
};

/* ---- names and values ---- */

/* Appends PREFIX/<part>NAME. */
void etcd_append_key(struct buffer *out, const char *prefix, const char *part, struct slice key);
/* The lock of a NAME; false: it is none of Cohort's. */
bool etcd_read_name(struct slice name, uint8_t ret_key[static LOCK_STATE_KEY_BYTES], size_t *ret_size);

void etcd_append_value(struct buffer *out, const struct etcd_value *value);
void etcd_append_past(struct buffer *out, const struct etcd_value *past);
/* Whose it is when it is not ours: owner and note are made of the key and the value. */
void etcd_read_value(const struct etcd_kv *kv, struct etcd_value *ret_value);

/* ---- requests; room for them is the caller's to have reserved ---- */

void etcd_append_lease(struct buffer *out, uint64_t lease, int64_t ttl_s); /* 0: only the id */

/* {"compare":[…],"success":[…],"failure":[…]} */
enum etcd_target { ETCD_CREATE, ETCD_MOD };
void etcd_txn_begin(struct buffer *out);
void etcd_txn_if(struct buffer *out, struct slice key, bool below, enum etcd_target target, int64_t revision);
void etcd_txn_then(struct buffer *out);
void etcd_txn_else(struct buffer *out);
void etcd_txn_end(struct buffer *out);
void etcd_txn_put(struct buffer *out, struct slice key, struct slice value, uint64_t lease);
void etcd_txn_delete(struct buffer *out, struct slice key);

struct etcd_range {
    struct slice key;
    bool below;         /* all keys that begin with it */
    struct slice until; /* or those from it until this one */
    int64_t limit;
    int64_t most_create; /* 0: any */
    bool newest_first;   /* by create revision; otherwise the oldest first, where `below` */
    bool only_keys;      /* in their own order */
};
void etcd_append_range(struct buffer *out, const struct etcd_range *range);
void etcd_txn_range(struct buffer *out, const struct etcd_range *range);

void etcd_append_watch(struct buffer *out, struct slice key, int64_t revision);

/* ---- answers ---- */

/* A number that may be written as a string; 0 when it is not there. */
int64_t etcd_number(const json_t *object, const char *name);
int64_t etcd_header(const json_t *answer, const char *name);
bool etcd_succeeded(const json_t *answer);
/* What a range found; `response` is its place among a transaction's, −1 when the answer is a range's. False: memory was
 * refused. */
bool etcd_take_kvs(const json_t *answer, int response, struct etcd_kvs *ret_kvs);
/* One event's. */
bool etcd_take_kv(const json_t *kv, struct etcd_kvs *ret_kvs);
void etcd_free_kvs(struct etcd_kvs *kvs);

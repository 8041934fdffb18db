/* What `cohort bench` sends: one template of bytes for each kind of request, made once; a request is a copy of it with
 * the digits of its keys filled in. A transaction is one request of several commands, and has a reply for each.
 *
 *   MULTI form   MULTI, SET …, EXEC
 *   TXN form     TXN.BEGIN [PROTOCOL p], SET …, TXN.COMMIT
 *   MSET form    one MSET
 *
 * Its keys are random ones of different shards; of so many in a hundred transactions the first is key 0. */
#pragma once

#include "base/buffer.h"
#include "base/prng.h"
#include "script/script.h"

enum { BENCH_KEY_BYTES = 16, BENCH_TXN_KEYS_MAXIMUM = 64 };

enum bench_operation { BENCH_SET, BENCH_GET, BENCH_TXN, BENCH_EVAL, BENCH_LOCK, BENCH_OPERATIONS };

/* A compare-and-delete, as locks are released; of keys that SETs make. */
#define BENCH_SCRIPT "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end"
enum bench_script { BENCH_NO_SCRIPT, BENCH_BY_TEXT, BENCH_BY_NAME };

enum bench_form { BENCH_MULTI, BENCH_BEGIN, BENCH_MSET };

struct bench_txn {
    enum bench_form form;
    const char *protocol; /* of the TXN form, upper case; NULL: the server's default */
    uint32_t keys;        /* that it writes, each of another shard; 0: no transactions are asked for */
    uint32_t shard_count; /* of the server: at least `keys`, and so many shards have keys (bench_txn_shards) */
    uint32_t hot_percent;
};

/* Instead of the others (bench_lock.h). */
struct bench_lock {
    bool wanted;
    bool by_set; /* the SET form */
    int64_t ttl_ms, wait_ms;
};

struct bench_mix {
    uint32_t sets, gets;      /* of sets + gets requests, so many are SETs; without transactions */
    enum bench_script script; /* instead of GETs */
    char script_name[SCRIPT_SHA_BYTES + 1];
    struct bench_txn txn;
    struct bench_lock lock;
    uint64_t keys;
    size_t value_bytes;
    bool in_order; /* each key once, in order; SETs alone */
    uint64_t seed;
};

struct bench_template {
    struct buffer bytes;
    uint32_t replies;
    uint32_t key_count;
    size_t digits_at[BENCH_TXN_KEYS_MAXIMUM];
};

struct bench_requests {
    const struct bench_mix *mix;
    struct prng prng;
    struct bench_template templates[BENCH_OPERATIONS];
    uint64_t next_key, step; /* in_order: every step-th key */
};

/* For one of `count` threads, from 0; the mix is borrowed. */
void bench_requests_init(struct bench_requests *requests, const struct bench_mix *mix, uint32_t index, uint32_t count);
void bench_requests_deinit(struct bench_requests *requests);
/* Appends the next request. */
enum bench_operation bench_requests_append(struct bench_requests *requests, struct buffer *out);

/* In how many of the shards the first of so many keys are; looks at as many as it takes to find `wanted`, and not at
 * more than a few for each. */
uint32_t bench_txn_shards(uint64_t keys, uint32_t shard_count, uint32_t wanted);

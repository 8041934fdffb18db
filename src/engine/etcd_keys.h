/* The requests that locks are made of, and the keys that hold them. */
#pragma once

#include "engine/etcd_claims.h"

struct etcd_lease {
    uint64_t id;
    int64_t ms;       /* what the server gives */
    int64_t until_ns; /* counted from before it was asked for */
};

enum engine_code etcd_no_memory(struct etcd *etcd);
/* Others change a key all the time, or leases end before they are used. */
enum engine_code etcd_too_slow(struct etcd *etcd);

enum engine_code etcd_grant(struct etcd *etcd, int64_t ttl_ms, struct etcd_lease *ret_lease);

/* In the scratch; whoever begins one says what is compared, then what is done, else. */
struct buffer *etcd_begin_txn(struct etcd *etcd);
/* ENGINE_NOT: a lease is over. The answer is the caller's in any case, and may be NULL. */
enum engine_code etcd_call_txn(struct etcd *etcd, bool changes, json_t **ret_answer);

enum { ETCD_REVISION, ETCD_TERM, ETCD_MEMBER, ETCD_HEADERS };
/* Linearizable. What was found is to be freed in any case. */
enum engine_code etcd_call_range(struct etcd *etcd, const struct etcd_range *range, struct etcd_kvs *ret_kvs,
                                 int64_t ret_header[static ETCD_HEADERS]);

/* The claim holds by this lease, and is told of for so long, or as it was before if that is longer. */
void etcd_hold(struct etcd_claim *claim, const struct etcd_lease *lease, int64_t mod, int64_t ttl_ms);
int64_t etcd_left_ms(const struct etcd_claim *claim);
enum engine_code etcd_tell(struct etcd_claim *claim, struct lock_granted *ret_granted);

/* Attaches a claim's key to a new lease of that time. ENGINE_NOT: the key is gone. */
enum engine_code etcd_move(struct etcd_claim *claim, int64_t ttl_ms);

enum engine_code etcd_acquire(struct engine *engine, const struct lock_wanted *wanted,
                              struct lock_granted *ret_granted);

#include "engine/etcd_keys.h"

#define NS_PER_MS INT64_C(1000000)

enum { TRIES = 4 };

enum engine_code etcd_no_memory(struct etcd *etcd)
{
    return engine_problem(&etcd->engine, ENGINE_BUSY, "memory was refused");
}

enum engine_code etcd_too_slow(struct etcd *etcd)
{
    return engine_problem(&etcd->engine, ENGINE_BUSY,
                          "etcd is slower than this time to live: nothing is held; ask again, for longer");
}

/* ---- requests ---- */

enum engine_code etcd_grant(struct etcd *etcd, int64_t ttl_ms, struct etcd_lease *ret_lease)
{
    json_t *answer;
    struct buffer *body = &etcd->scratch->body;
    struct etcd_lease lease = {.id = etcd_new_id()};
    int64_t before_ns = engine_clock_ns();
    int64_t ttl_s = (ttl_ms + 999) / 1000;
    buffer_clear(body);
    etcd_append_lease(body, lease.id, ttl_s);
    enum engine_code code = etcd_call(etcd->http, &etcd->engine, "/v3/lease/grant", buffer_slice(body), false, &answer);
    if (code == ENGINE_OK) {
        lease.ms = 1000 * (answer == NULL ? ttl_s : etcd_number(answer, "TTL"));
        lease.until_ns = before_ns + lease.ms * NS_PER_MS;
        *ret_lease = lease;
    }
    json_decref(answer);
    return code;
}

enum engine_code etcd_call_txn(struct etcd *etcd, bool changes, json_t **ret_answer)
{
    struct buffer *body = &etcd->scratch->body;
    etcd_txn_end(body);
    return etcd_call(etcd->http, &etcd->engine, "/v3/kv/txn", buffer_slice(body), changes, ret_answer);
}

struct buffer *etcd_begin_txn(struct etcd *etcd)
{
    buffer_clear(&etcd->scratch->body);
    etcd_txn_begin(&etcd->scratch->body);
    return &etcd->scratch->body;
}

enum engine_code etcd_call_range(struct etcd *etcd, const struct etcd_range *range, struct etcd_kvs *ret_kvs,
                                 int64_t ret_header[static ETCD_HEADERS])
{
    json_t *answer;
    struct buffer *body = &etcd->scratch->body;
    *ret_kvs = (struct etcd_kvs){0};
    buffer_clear(body);
    etcd_append_range(body, range);
    enum engine_code code = etcd_call(etcd->http, &etcd->engine, "/v3/kv/range", buffer_slice(body), false, &answer);
    if (code == ENGINE_OK && !etcd_take_kvs(answer, -1, ret_kvs)) {
        code = etcd_no_memory(etcd);
    }
    ret_header[ETCD_REVISION] = etcd_header(answer, "revision");
    ret_header[ETCD_TERM] = etcd_header(answer, "raft_term");
    ret_header[ETCD_MEMBER] = etcd_header(answer, "member_id");
    json_decref(answer);
    return code;
}

/* ---- holding ---- */

void etcd_hold(struct etcd_claim *claim, const struct etcd_lease *lease, int64_t mod, int64_t ttl_ms)
{
    int64_t due_ns = engine_clock_ns() + ttl_ms * NS_PER_MS;
    due_ns = due_ns < lease->until_ns ? due_ns : lease->until_ns;
    etcd_unwatch(claim);
    claim->state = ETCD_HOLDS;
    claim->lease = lease->id;
    claim->lease_ms = lease->ms;
    claim->mod = mod;
    claim->due_ns = due_ns > claim->due_ns ? due_ns : claim->due_ns;
    etcd_http_wake(claim->etcd->http, claim->due_ns);
}

int64_t etcd_left_ms(const struct etcd_claim *claim)
{
    int64_t left_ns = claim->due_ns - engine_clock_ns();
    return left_ns > 0 ? left_ns / NS_PER_MS : 0;
}

enum engine_code etcd_tell(struct etcd_claim *claim, struct lock_granted *ret_granted)
{
    struct etcd *etcd = claim->etcd;
    *ret_granted = (struct lock_granted){.token = (uint64_t)claim->create, .ttl_ms = etcd_left_ms(claim)};
    if (ret_granted->ttl_ms <= 0) {
        etcd_end(claim);
        return etcd_too_slow(etcd);
    }
    return ENGINE_OK;
}

/* What became of a key that was to be put with this lease, if it was last written at `claim->mod`. ENGINE_OK: it is,
 * also by an earlier attempt that was not answered. ENGINE_WAITS: somebody else wrote it, and claim->mod has been
 * corrected. ENGINE_NOT: it is gone. */
static enum engine_code moved(struct etcd_claim *claim, const json_t *answer, const struct etcd_lease *lease,
                              int64_t *ret_mod)
{
    struct etcd_kvs kvs;
    if (etcd_succeeded(answer)) {
        *ret_mod = etcd_header(answer, "revision");
        return ENGINE_OK;
    }
    if (!etcd_take_kvs(answer, 0, &kvs)) {
        return etcd_no_memory(claim->etcd);
    }
    enum engine_code code = ENGINE_NOT;
    if (kvs.count == 1 && kvs.at[0].create == claim->create) {
        code = kvs.at[0].lease == lease->id ? ENGINE_OK : ENGINE_WAITS;
        *ret_mod = kvs.at[0].mod;
    }
    etcd_free_kvs(&kvs);
    return code;
}

enum engine_code etcd_move(struct etcd_claim *claim, int64_t ttl_ms)
{
    struct etcd *etcd = claim->etcd;
    uint64_t old = claim->lease;
    struct etcd_lease lease;
    int64_t told_ms = etcd_left_ms(claim) + 1; /* it is never told of less than it was */
    enum engine_code code = etcd_grant(etcd, ttl_ms > told_ms ? ttl_ms : told_ms, &lease);
    for (int tries = 0; code == ENGINE_OK; tries++) {
        json_t *answer;
        struct buffer *body = etcd_begin_txn(etcd);
        etcd_txn_if(body, claim->name, false, ETCD_MOD, claim->mod);
        etcd_txn_then(body);
        etcd_txn_put(body, claim->name, etcd_value_of(claim, true, ttl_ms), lease.id);
        etcd_txn_else(body);
        etcd_txn_range(body, &(struct etcd_range){.key = claim->name});
        code = etcd_call_txn(etcd, true, &answer);
        if (code == ENGINE_NOT) { /* the lease is over already */
            return etcd_too_slow(etcd);
        }
        int64_t mod = claim->mod;
        enum engine_code done = code == ENGINE_OK ? moved(claim, answer, &lease, &mod) : code;
        json_decref(answer);
        if (done == ENGINE_OK) {
            etcd_hold(claim, &lease, mod, ttl_ms);
            if (old != 0 && old != lease.id) {
                etcd_revoke(etcd, old); /* nothing is attached to it any more */
            }
            return ENGINE_OK;
        }
        claim->mod = mod;
        if (done != ENGINE_WAITS || tries == TRIES) {
            etcd_revoke(etcd, lease.id);
            return done == ENGINE_WAITS ? etcd_too_slow(etcd) : done;
        }
    }
    return code;
}

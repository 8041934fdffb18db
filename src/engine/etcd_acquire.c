/* Acquiring: first come, first served, by create revisions (etcd.c). */
#include "engine/etcd_keys.h"

#define NS_PER_MS INT64_C(1000000)

enum { AGAIN_MS = 250, TRIES = 4 };

/* ---- acquire: somebody who waits ---- */

static enum engine_code begin(struct etcd *etcd, const struct lock_wanted *wanted, struct lock_granted *ret_granted,
                              int tries);

static enum engine_code turn_away(struct etcd_claim *claim)
{
    json_t *answer;
    struct etcd *etcd = claim->etcd;
    struct buffer *body = etcd_begin_txn(etcd);
    etcd_txn_then(body);
    etcd_txn_delete(body, claim->name);
    etcd_txn_else(body);
    if (etcd_call_txn(etcd, true, &answer) == ENGINE_OK) {
        etcd_forget(claim);
    } else {
        etcd_end(claim);
    }
    json_decref(answer);
    return ENGINE_NOT;
}

/* It waits for the key that came before. */
static enum engine_code wait_for(struct etcd_claim *claim, const struct etcd_kv *before, int64_t revision,
                                 struct lock_granted *ret_granted)
{
    struct etcd *etcd = claim->etcd;
    buffer_clear(&claim->before);
    if (!buffer_try_reserve(&claim->before, before->key.size)) {
        return etcd_no_memory(etcd);
    }
    buffer_append_slice(&claim->before, before->key);
    claim->looked_ns = engine_clock_ns();
    etcd_watch_lock(claim, revision + 1);
    claim->dirty = claim->watch != NULL && claim->watch->revision > revision; /* it told before we knew of what */
    etcd->has_news = etcd->has_news || claim->dirty;
    ret_granted->again_ms = AGAIN_MS;
    return ENGINE_WAITS;
}

static bool must_look(const struct etcd_claim *claim)
{
    bool is_watched = claim->watch != NULL && !claim->watch->has_ended && claim->watch->stream != NULL;
    return claim->dirty || !is_watched || claim->etcd->waiting_lease == 0 ||
           engine_clock_ns() - claim->looked_ns > ETCD_LOOK_MS * NS_PER_MS;
}

static enum engine_code turn(struct etcd_claim *claim, const struct lock_wanted *wanted,
                             struct lock_granted *ret_granted, int tries)
{
    struct etcd *etcd = claim->etcd;
    enum engine_code code = etcd_move(claim, wanted->ttl_ms);
    if (code == ENGINE_NOT) {
        etcd_forget(claim);
        return begin(etcd, wanted, ret_granted, tries + 1);
    }
    return code == ENGINE_OK ? etcd_tell(claim, ret_granted) : code;
}

static enum engine_code ask_place(struct etcd_claim *claim, const struct lock_wanted *wanted,
                                  struct lock_granted *ret_granted, int tries)
{
    struct etcd *etcd = claim->etcd;
    struct etcd_kvs kvs;
    int64_t header[ETCD_HEADERS];
    claim->asked_ns = engine_clock_ns();
    etcd->busy = claim;
    if (wanted->wait_ms > 0 && !must_look(claim)) {
        ret_granted->again_ms = AGAIN_MS;
        return ENGINE_WAITS;
    }
    claim->dirty = true; /* until it is known what it waits for */
    struct etcd_range range = {.key = slice_of(claim->name.data, claim->below),
                               .below = true,
                               .limit = 2,
                               .most_create = claim->create,
                               .newest_first = true};
    enum engine_code code = etcd_call_range(etcd, &range, &kvs, header);
    if (code != ENGINE_OK) {
        return code;
    }
    if (kvs.count == 0 || kvs.at[0].create != claim->create) { /* its lease ended: a new place */
        etcd_forget(claim);
        code = begin(etcd, wanted, ret_granted, tries + 1);
    } else if (kvs.count == 1) {
        claim->mod = kvs.at[0].mod;
        code = turn(claim, wanted, ret_granted, tries);
    } else {
        code = wanted->wait_ms > 0 ? wait_for(claim, &kvs.at[1], header[ETCD_REVISION], ret_granted) : turn_away(claim);
    }
    etcd_free_kvs(&kvs);
    return code;
}

static enum engine_code waiting_lease(struct etcd *etcd)
{
    if (etcd->waiting_lease != 0) {
        return ENGINE_OK;
    }
    struct etcd_lease lease;
    enum engine_code code = etcd_grant(etcd, ETCD_WAITING_S * 1000, &lease);
    if (code == ENGINE_OK) {
        etcd->waiting_lease = lease.id;
        etcd->keep_ns = engine_clock_ns() + lease.ms * NS_PER_MS / 4;
        etcd_http_wake(etcd->http, etcd->keep_ns);
    }
    return code;
}

/* Puts a key behind all others. ENGINE_NOT: the lease of those that wait is over. */
static enum engine_code put_place(struct etcd_claim *claim)
{
    json_t *answer;
    struct etcd *etcd = claim->etcd;
    struct buffer *body = etcd_begin_txn(etcd);
    etcd_txn_if(body, claim->name, false, ETCD_CREATE, 0);
    etcd_txn_then(body);
    etcd_txn_put(body, claim->name, etcd_value_of(claim, false, 0), etcd->waiting_lease);
    etcd_txn_else(body);
    etcd_txn_range(body, &(struct etcd_range){.key = claim->name});
    enum engine_code code = etcd_call_txn(etcd, true, &answer);
    if (code == ENGINE_OK && etcd_succeeded(answer)) {
        claim->create = etcd_header(answer, "revision");
    } else if (code == ENGINE_OK) { /* an attempt before that was not answered */
        struct etcd_kvs kvs;
        bool taken = etcd_take_kvs(answer, 0, &kvs);
        claim->create = taken && kvs.count == 1 ? kvs.at[0].create : 0;
        code = claim->create == 0 ? etcd_no_memory(etcd) : ENGINE_OK;
        if (taken) {
            etcd_free_kvs(&kvs);
        }
    }
    json_decref(answer);
    return code;
}

static enum engine_code enqueue(struct etcd *etcd, const struct lock_wanted *wanted, struct slice name,
                                struct lock_granted *ret_granted, int tries)
{
    struct etcd_claim *claim = etcd_add(etcd, wanted, name);
    if (claim == NULL) {
        return ENGINE_BUSY;
    }
    enum engine_code code = ENGINE_NOT;
    for (int i = 0; i < 2 && code == ENGINE_NOT; i++) {
        etcd->waiting_lease = i == 0 ? etcd->waiting_lease : 0;
        code = waiting_lease(etcd);
        code = code == ENGINE_OK ? put_place(claim) : code;
    }
    if (code == ENGINE_OK) {
        return ask_place(claim, wanted, ret_granted, tries);
    }
    if (code == ENGINE_UNCERTAIN) {
        etcd_end(claim); /* asked again, it takes another place */
        return engine_problem(&etcd->engine, ENGINE_DOWN,
                              "etcd does not answer: nothing is held; is it running there, "
                              "with a majority?");
    }
    etcd_forget(claim);
    return code == ENGINE_NOT ? etcd_too_slow(etcd) : code;
}

/* ---- acquire: somebody new ---- */

static bool is_ending(struct etcd *etcd, struct slice name)
{
    for (size_t i = 0; i < ETCD_BUCKETS; i++) {
        LIST_FOR_EACH (at, &etcd->claims[i]) {
            const struct etcd_claim *claim = CONTAINER_OF(at, struct etcd_claim, node);
            if (claim->state == ETCD_ENDS && slice_equal(claim->name, name)) {
                return true;
            }
        }
    }
    return false;
}

/* Whether the first of a lock's keys is how this owner holds it. */
static bool holds_already(struct etcd *etcd, const struct etcd_kvs *kvs, struct slice owner)
{
    struct etcd_value value;
    if (kvs->count == 0) {
        return false;
    }
    etcd_read_value(&kvs->at[0], &value);
    return value.is_ours && value.holds && slice_equal(value.owner, owner) && !is_ending(etcd, kvs->at[0].key);
}

/* Another process of this owner put it, or an attempt that was not answered. */
static enum engine_code adopt(struct etcd *etcd, const struct lock_wanted *wanted, const struct etcd_kv *kv,
                              struct etcd_claim **ret_claim)
{
    struct etcd_value value;
    struct etcd_claim *claim = etcd_add(etcd, wanted, kv->key);
    if (claim == NULL) {
        return ENGINE_BUSY;
    }
    etcd_read_value(kv, &value);
    claim->since_ms = value.since_ms;
    claim->create = kv->create;
    claim->mod = kv->mod;
    claim->lease = kv->lease;
    enum engine_code code = etcd_move(claim, wanted->ttl_ms);
    if (code != ENGINE_OK) {
        etcd_forget(claim);
        return code;
    }
    *ret_claim = claim;
    return ENGINE_OK;
}

static enum engine_code others_are_there(struct etcd *etcd, const struct lock_wanted *wanted, struct slice name,
                                         const struct etcd_kvs *kvs, struct lock_granted *ret_granted, int tries)
{
    if (holds_already(etcd, kvs, wanted->owner)) {
        struct etcd_claim *claim;
        enum engine_code code = adopt(etcd, wanted, &kvs->at[0], &claim);
        if (code == ENGINE_NOT) {
            return tries < TRIES ? begin(etcd, wanted, ret_granted, tries + 1) : etcd_too_slow(etcd);
        }
        return code == ENGINE_OK ? etcd_tell(claim, ret_granted) : code;
    }
    if (wanted->wait_ms <= 0) {
        return ENGINE_NOT;
    }
    if (kvs->count > LOCK_STATE_WAITERS) {
        return engine_problem(&etcd->engine, ENGINE_REFUSED, "BUSY too many wait for this lock; try again later");
    }
    return enqueue(etcd, wanted, name, ret_granted, tries);
}

/* If nobody has a key there, it is held by ours. */
static enum engine_code begin(struct etcd *etcd, const struct lock_wanted *wanted, struct lock_granted *ret_granted,
                              int tries)
{
    if (tries >= TRIES) {
        return etcd_too_slow(etcd);
    }
    struct etcd_lease lease;
    enum engine_code code = etcd_grant(etcd, wanted->ttl_ms, &lease);
    if (code != ENGINE_OK) {
        return code;
    }
    struct etcd_claim *claim = etcd_add(etcd, wanted, etcd_name(etcd, wanted->key, lease.id));
    if (claim == NULL) {
        return ENGINE_BUSY;
    }
    json_t *answer;
    struct buffer *body = etcd_begin_txn(etcd);
    struct slice below = slice_of(claim->name.data, claim->below);
    etcd_txn_if(body, below, true, ETCD_CREATE, 0);
    etcd_txn_then(body);
    etcd_txn_put(body, claim->name, etcd_value_of(claim, true, wanted->ttl_ms), lease.id);
    etcd_txn_else(body);
    etcd_txn_range(body, &(struct etcd_range){.key = below, .below = true, .limit = LOCK_STATE_WAITERS + 1});
    code = etcd_call_txn(etcd, true, &answer);
    if (code == ENGINE_OK && etcd_succeeded(answer)) {
        claim->create = etcd_header(answer, "revision");
        etcd_hold(claim, &lease, claim->create, wanted->ttl_ms);
        json_decref(answer);
        return etcd_tell(claim, ret_granted);
    }
    struct etcd_kvs kvs = {0};
    code = code == ENGINE_NOT ? etcd_too_slow(etcd) : code; /* the lease was over before it was used */
    if (code == ENGINE_OK && !etcd_take_kvs(answer, 0, &kvs)) {
        code = etcd_no_memory(etcd);
    }
    json_decref(answer);
    etcd_forget(claim);
    if (code == ENGINE_OK) {
        struct slice name = etcd_name(etcd, wanted->key, lease.id);
        if (kvs.count == 0 || !slice_equal(kvs.at[0].key, name)) { /* else an attempt before was not answered */
            etcd_revoke(etcd, lease.id);
        }
        code = others_are_there(etcd, wanted, name, &kvs, ret_granted, tries);
    }
    etcd_free_kvs(&kvs);
    return code;
}

/* ---- acquire ---- */

/* Whether it is still so. ENGINE_NOT: it is not. */
static enum engine_code look_after(struct etcd_claim *claim)
{
    struct etcd_kvs kvs;
    int64_t header[ETCD_HEADERS];
    enum engine_code code = etcd_call_range(claim->etcd, &(struct etcd_range){.key = claim->name}, &kvs, header);
    if (code == ENGINE_OK && (kvs.count == 0 || kvs.at[0].create != claim->create || etcd_left_ms(claim) == 0)) {
        code = ENGINE_NOT;
    }
    etcd_free_kvs(&kvs);
    return code;
}

enum engine_code etcd_acquire(struct engine *engine, const struct lock_wanted *wanted, struct lock_granted *ret_granted)
{
    struct etcd *etcd = (struct etcd *)engine;
    struct etcd_claim *claim = etcd_find(etcd, wanted->key, wanted->owner);
    enum engine_code code = ENGINE_NOT;
    etcd->busy = claim;
    if (claim != NULL && claim->state == ETCD_WAITS) {
        code = ask_place(claim, wanted, ret_granted, 0);
        etcd_leave(etcd);
        return code;
    }
    if (claim != NULL) {
        code = look_after(claim);
        if (code == ENGINE_OK && wanted->extends) {
            code = etcd_move(claim, wanted->ttl_ms);
        }
        if (code == ENGINE_OK) {
            code = etcd_tell(claim, ret_granted);
        } else if (code == ENGINE_NOT) {
            etcd_end(claim);
        }
    }
    if (code == ENGINE_NOT) {
        code = begin(etcd, wanted, ret_granted, 0);
    }
    etcd_leave(etcd);
    return code;
}

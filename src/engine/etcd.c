/* Locks in etcd, by the recipe of its own clients: go.etcd.io/etcd/clientv3/concurrency (Mutex, Election), which
 * `etcdctl lock` and `etcdctl elect` are made of. So those and these exclude each other.
 *
 * Each who wants a lock puts PREFIX/NAME/LEASE, if nobody did, attached to a lease of its own; the key with the lowest
 * create revision holds the lock, and each other one waits for the deletion of the one before it. The token is the
 * create revision: the cluster's revision, which only grows (but see "restored" below).
 *
 * What differs from the recipe, and why:
 * - A place in the queue is attached to a short lease of the handle (etcd_claims.h), so that who is gone is soon out of
 * the way; when it is its turn the key is put again, attached to a lease of the lock's time to live. A put with a lease
 * that is over fails, so nobody is told of a lock whose lease ended while it waited: that is what etcd's lock service
 * did (https://jepsen.io/analyses/etcd-3.4.3, https://github.com/etcd-io/etcd/issues/11456).
 * - A lease's time is counted from before it was asked for, on this machine's CLOCK_MONOTONIC; etcd counts from when
 * its leader applied it, and a new leader counts anew, so its end is never earlier. Keeping a lease alive is answered
 * by whoever believes to be leader, without asking others; so it counts only when a linearizable read behind it, at the
 *   same member in the same Raft term, shows the key: then that leader still was one. Otherwise a new lease is granted.
 * - Leases have seconds and a minimum of etcd's (2 s by default). A hold that is over before its lease is deleted by
 * this handle; when the process is gone, it ends with its lease.
 *
 * On a crash. Of etcd's members: another one is asked, and every request is harmless when it was executed before,
 * without an answer: keys have names of their own, changes compare revisions. Asked again, the same owner finds its key
 * by the owner in its value. Of a majority: nothing is answered until it is back; leases then have their whole time
 * again. Of this process: holds end with their leases, places in queues after ETCD_WAITING_S.
 *
 * What breaks it. A cluster restored from a snapshot may have lower revisions, so that tokens go back; delete
 * PREFIX/%tokens/ then, or restore with revisions bumped (`etcdutl snapshot restore --bump-revision`). Releases before
 * 3.4.32 and 3.5.14 may go back by a revision when a member alone panics while it compacts
 * (https://github.com/etcd-io/etcd/pull/17865). Releases of etcd before 3.4.31 and 3.5.13 may end
 * leases too early when a leader hangs on its disk (https://github.com/etcd-io/etcd/issues/15247): tokens that a
 * resource checks are what helps. */
#include "engine/etcd.h"

#include "engine/etcd_keys.h"
#include "engine/etcd_look.h"
#include "engine/module.h"

#include <cohort/engine.h>
#include <stdio.h>
#include <stdlib.h>

#define NS_PER_MS INT64_C(1000000)

enum { CLOSE_MS = 500 };

static struct etcd *etcd_of(struct engine *engine) { return (struct etcd *)engine; }

/* ---- what others of this owner hold ---- */

/* The lock's first key, if this owner holds it by this token. ENGINE_NOT: it does not. */
static enum engine_code find_held(struct etcd *etcd, struct slice key, struct slice owner, uint64_t token,
                                  struct etcd_claim **ret_claim)
{
    struct etcd_kvs kvs;
    struct etcd_value value;
    int64_t header[ETCD_HEADERS];
    struct etcd_range range = {.key = etcd_below(etcd, key), .below = true, .limit = 1};
    enum engine_code code = etcd_call_range(etcd, &range, &kvs, header);
    if (code == ENGINE_OK) {
        code = ENGINE_NOT;
        if (kvs.count > 0) {
            etcd_read_value(&kvs.at[0], &value);
            bool is_it = value.is_ours && value.holds && slice_equal(value.owner, owner);
            code = is_it && (uint64_t)kvs.at[0].create == token ? ENGINE_OK : ENGINE_NOT;
        }
    }
    if (code == ENGINE_OK) {
        struct lock_wanted wanted = {.key = key, .owner = owner, .note = value.note};
        struct etcd_claim *claim = etcd_add(etcd, &wanted, kvs.at[0].key);
        code = claim == NULL ? ENGINE_BUSY : ENGINE_OK;
        if (claim != NULL) {
            claim->create = kvs.at[0].create;
            claim->mod = kvs.at[0].mod;
            claim->lease = kvs.at[0].lease;
            claim->since_ms = value.since_ms;
        }
        *ret_claim = claim;
    }
    etcd_free_kvs(&kvs);
    return code;
}

static struct etcd_claim *find_own(struct etcd *etcd, struct slice key, struct slice owner, uint64_t token)
{
    struct etcd_claim *claim = etcd_find(etcd, key, owner);
    bool is_it = claim != NULL && claim->state == ETCD_HOLDS && (uint64_t)claim->create == token;
    etcd->busy = is_it ? claim : NULL;
    return is_it ? claim : NULL;
}

/* ---- renew ---- */

/* Keeps the lease of a hold alive. ENGINE_WAITS: nothing is sure by that; a new lease is. */
static enum engine_code keep(struct etcd_claim *claim, int64_t ttl_ms)
{
    json_t *answer;
    struct etcd_kvs kvs;
    struct etcd *etcd = claim->etcd;
    struct buffer *body = &etcd->scratch->body;
    struct etcd_lease lease = {.id = claim->lease};
    int64_t before_ns = engine_clock_ns();
    buffer_clear(body);
    etcd_append_lease(body, claim->lease, 0);
    enum engine_code code =
        etcd_call(etcd->http, &etcd->engine, "/v3/lease/keepalive", buffer_slice(body), false, &answer);
    const json_t *result = json_object_get(answer, "result");
    int64_t term = etcd_header(result, "raft_term");
    int64_t member = etcd_header(result, "member_id");
    lease.ms = 1000 * etcd_number(result, "TTL");
    lease.until_ns = before_ns + lease.ms * NS_PER_MS;
    json_decref(answer);
    if (code != ENGINE_OK || lease.ms <= 0) {
        return code == ENGINE_OK ? ENGINE_NOT : code;
    }
    int64_t header[ETCD_HEADERS];
    code = etcd_call_range(etcd, &(struct etcd_range){.key = claim->name}, &kvs, header);
    if (code == ENGINE_OK) {
        bool is_there = kvs.count == 1 && kvs.at[0].create == claim->create;
        bool is_sure = is_there && kvs.at[0].mod == claim->mod && kvs.at[0].lease == claim->lease && term != 0 &&
                       header[ETCD_TERM] == term && header[ETCD_MEMBER] == member;
        code = is_sure ? ENGINE_OK : is_there ? ENGINE_WAITS : ENGINE_NOT;
    }
    if (code == ENGINE_OK) {
        etcd_hold(claim, &lease, claim->mod, ttl_ms);
    }
    etcd_free_kvs(&kvs);
    return code;
}

static enum engine_code renew_held(struct etcd_claim *claim, int64_t ttl_ms, int64_t *ret_left_ms)
{
    enum engine_code code = ENGINE_WAITS;
    bool is_new = claim->state != ETCD_HOLDS;
    if (!is_new && etcd_left_ms(claim) == 0) {
        etcd_end(claim);
        return ENGINE_NOT;
    }
    if (!is_new && ttl_ms <= claim->lease_ms) {
        code = keep(claim, ttl_ms);
    }
    if (code == ENGINE_WAITS) {
        code = etcd_move(claim, ttl_ms);
    }
    *ret_left_ms = etcd_left_ms(claim);
    if (code == ENGINE_NOT || (is_new && code != ENGINE_OK)) {
        etcd_forget(claim);
    } else if (code == ENGINE_OK && *ret_left_ms == 0) {
        return etcd_too_slow(claim->etcd);
    }
    return code;
}

static enum engine_code renew(struct engine *engine, struct slice key, struct slice owner, uint64_t token,
                              int64_t ttl_ms, int64_t *ret_left_ms)
{
    struct etcd *etcd = etcd_of(engine);
    struct etcd_claim *claim = find_own(etcd, key, owner, token);
    enum engine_code code = claim != NULL ? ENGINE_OK : find_held(etcd, key, owner, token, &claim);
    if (code == ENGINE_OK) {
        code = renew_held(claim, ttl_ms, ret_left_ms);
    }
    etcd_leave(etcd);
    return code;
}

/* ---- release ---- */

/* A lease for what is kept of ends, for an hour. Without one nothing is kept. */
static void past_lease(struct etcd *etcd)
{
    struct etcd_lease lease;
    int64_t now_ns = engine_clock_ns();
    if (etcd->past_lease != 0 && now_ns < etcd->past_until_ns) {
        return;
    }
    etcd->past_lease = 0;
    if (etcd_grant(etcd, INT64_C(1000) * ETCD_PAST_S, &lease) == ENGINE_OK) {
        etcd->past_lease = lease.id;
        etcd->past_until_ns = now_ns + INT64_C(500) * ETCD_PAST_S * NS_PER_MS;
    }
}

static enum engine_code release_held(struct etcd_claim *claim)
{
    struct etcd *etcd = claim->etcd;
    enum engine_code code = ENGINE_NOT;
    json_t *answer = NULL;
    for (int i = 0; i < 2 && code == ENGINE_NOT; i++) { /* again: the lease for the past was over */
        json_decref(answer);
        etcd->past_lease = i == 0 ? etcd->past_lease : 0;
        past_lease(etcd);
        struct buffer *body = etcd_begin_txn(etcd);
        etcd_txn_if(body, claim->name, false, ETCD_CREATE, claim->create);
        etcd_txn_then(body);
        etcd_txn_delete(body, claim->name);
        etcd_put_past(claim, LOCK_WHY_RELEASED);
        etcd_txn_else(body);
        code = etcd_call_txn(etcd, true, &answer);
    }
    bool released = code == ENGINE_OK && etcd_succeeded(answer);
    json_decref(answer);
    return code == ENGINE_OK && !released ? ENGINE_NOT : code;
}

static enum engine_code release(struct engine *engine, struct slice key, struct slice owner, uint64_t token)
{
    struct etcd *etcd = etcd_of(engine);
    struct etcd_claim *claim = find_own(etcd, key, owner, token);
    bool is_new = claim == NULL;
    enum engine_code code = is_new ? find_held(etcd, key, owner, token, &claim) : ENGINE_OK;
    if (code == ENGINE_OK) {
        code = release_held(claim);
        if (code == ENGINE_OK || code == ENGINE_NOT) {
            etcd_revoke(etcd, claim->lease);
        }
        if (is_new || code == ENGINE_OK || code == ENGINE_NOT) {
            etcd_forget(claim);
        }
    }
    etcd_leave(etcd);
    return code;
}

static enum engine_code leave(struct engine *engine, struct slice key, struct slice owner)
{
    struct etcd *etcd = etcd_of(engine);
    struct etcd_claim *claim = etcd_find(etcd, key, owner);
    if (claim != NULL && claim->state == ETCD_WAITS) {
        etcd_end(claim);
        etcd_http_drive(etcd->http, 0);
    }
    return ENGINE_OK;
}

/* ---- begin and end ---- */

static int fd_of(const struct engine *engine) { return etcd_http_fd(((const struct etcd *)engine)->http); }

static void heard(struct engine *engine)
{
    struct etcd *etcd = etcd_of(engine);
    etcd_http_drive(etcd->http, 0);
    etcd->has_news = false; /* all who wait are asked now */
}

static void deinit_scratch(struct etcd_scratch *scratch)
{
    buffer_deinit(&scratch->body);
    buffer_deinit(&scratch->value);
    buffer_deinit(&scratch->name);
}

static bool init_scratch(struct etcd_scratch *scratch)
{
    return buffer_try_reserve(&scratch->body, ETCD_REQUEST_BYTES) &&
           buffer_try_reserve(&scratch->value, ETCD_VALUE_BYTES) && buffer_try_reserve(&scratch->name, ETCD_KEY_BYTES);
}

static void free_engine(struct etcd *etcd)
{
    deinit_scratch(&etcd->own);
    deinit_scratch(&etcd->meanwhile);
    free(etcd);
}

/* Places are given up; what is held runs out by itself, unless it was released. */
static void close_engine(struct engine *engine)
{
    struct etcd *etcd = etcd_of(engine);
    int64_t until_ns = engine_clock_ns() + CLOSE_MS * NS_PER_MS;
    if (etcd->waiting_lease != 0) {
        etcd_revoke(etcd, etcd->waiting_lease);
    }
    while (etcd_http_is_busy(etcd->http) && engine_clock_ns() < until_ns) {
        etcd_http_drive(etcd->http, 10);
    }
    for (size_t i = 0; i < ETCD_BUCKETS; i++) {
        LIST_FOR_EACH_SAFE (at, after, &etcd->claims[i]) {
            etcd_forget(CONTAINER_OF(at, struct etcd_claim, node));
        }
    }
    etcd_http_destroy(etcd->http);
    free_engine(etcd);
}

static enum status open_http(const struct etcd_place *place, struct etcd *etcd,
                             char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    enum status status = STATUS_NOMEM;
    if (init_scratch(&etcd->own) && init_scratch(&etcd->meanwhile)) {
        status = etcd_http_create(place, etcd_tick, etcd, &etcd->http);
    }
    if (status != STATUS_OK) {
        (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "%s",
                       status == STATUS_NOMEM ? "memory was refused" : "too many files are open");
        free_engine(etcd);
    }
    return status;
}

static enum status open_engine(const struct engine_url *url, struct engine **ret_engine,
                               char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    struct etcd_place place;
    enum status status = etcd_place_parse(url, &place, ret_problem);
    if (status != STATUS_OK) {
        return status;
    }
    struct etcd *etcd = calloc(1, sizeof(*etcd));
    if (etcd == NULL) {
        (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "memory was refused");
        return STATUS_NOMEM;
    }
    etcd->engine.ops = &engine_etcd;
    etcd->scratch = &etcd->own;
    memcpy(etcd->prefix, place.prefix, sizeof(etcd->prefix));
    list_init(&etcd->watches);
    for (size_t i = 0; i < ETCD_BUCKETS; i++) {
        list_init(&etcd->claims[i]);
    }
    status = open_http(&place, etcd, ret_problem);
    explicit_bzero(&place, sizeof(place));
    if (status == STATUS_OK) {
        *ret_engine = &etcd->engine;
    }
    return status;
}

const struct engine_ops engine_etcd = {
    .scheme = "etcd",
    .can = COHORT_CAN_PROCESSES | COHORT_CAN_LOCK | COHORT_CAN_QUEUE | COHORT_CAN_FENCE | COHORT_CAN_ELECT |
           COHORT_CAN_LOOK | COHORT_CAN_SURVIVE,
    .open = open_engine,
    .close = close_engine,
    .fd = fd_of,
    .heard = heard,
    .acquire = etcd_acquire,
    .renew = renew,
    .release = release,
    .leave = leave,
    .look = etcd_look,
    .fence = etcd_fence,
    .list = etcd_list,
};

MODULE_OF(&engine_etcd);

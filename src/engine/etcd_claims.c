#include "engine/etcd_claims.h"

#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define NS_PER_MS INT64_C(1000000)

enum {
    PATIENCE_MS = 3000, /* so long a place is kept for who does not ask: longer than libcohort pauses */
    END_AGAIN_MS = 500,
    KEEP_MS = ETCD_WAITING_S * 1000 / 4,
    PAST_SLOTS = 16,
};

int64_t etcd_wall_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / NS_PER_MS;
}

uint64_t etcd_new_id(void)
{
    uint64_t id = 0;
    if (getrandom(&id, sizeof(id), GRND_NONBLOCK) != sizeof(id)) {
        id = (uint64_t)engine_clock_ns() * UINT64_C(0x9e3779b97f4a7c15);
    }
    id &= INT64_MAX; /* etcd's are positive */
    return id == 0 ? 1 : id;
}

/* ---- names and values ---- */

struct slice etcd_below(struct etcd *etcd, struct slice key)
{
    buffer_clear(&etcd->scratch->name);
    etcd_append_key(&etcd->scratch->name, etcd->prefix, "", key);
    buffer_append_byte(&etcd->scratch->name, '/');
    return buffer_slice(&etcd->scratch->name);
}

struct slice etcd_name(struct etcd *etcd, struct slice key, uint64_t lease)
{
    (void)etcd_below(etcd, key);
    buffer_append_format(&etcd->scratch->name, "%" PRIx64, lease);
    return buffer_slice(&etcd->scratch->name);
}

struct slice etcd_value_of(const struct etcd_claim *claim, bool holds, int64_t ttl_ms)
{
    struct buffer *out = &claim->etcd->scratch->value;
    struct etcd_value value = {
        .holds = holds, .owner = claim->owner, .note = claim->note, .since_ms = claim->since_ms, .ttl_ms = ttl_ms};
    buffer_clear(out);
    etcd_append_value(out, &value);
    return buffer_slice(out);
}

void etcd_put_past(const struct etcd_claim *claim, enum lock_why why)
{
    struct etcd *etcd = claim->etcd;
    if (etcd->past_lease == 0) {
        return;
    }
    struct etcd_value past = {.owner = claim->owner,
                              .note = slice_of("", 0),
                              .since_ms = claim->since_ms,
                              .to_ms = etcd_wall_ms(),
                              .token = (uint64_t)claim->create,
                              .why = why};
    buffer_clear(&etcd->scratch->value);
    etcd_append_past(&etcd->scratch->value, &past);
    buffer_clear(&etcd->scratch->name);
    etcd_append_key(&etcd->scratch->name, etcd->prefix, ETCD_PAST, claim->key);
    uint64_t slot = (past.token * UINT64_C(0x9e3779b97f4a7c15) >> 32) % PAST_SLOTS; /* tokens may all be even */
    buffer_append_format(&etcd->scratch->name, "/%" PRIx64, slot);
    etcd_txn_put(&etcd->scratch->body, buffer_slice(&etcd->scratch->name), buffer_slice(&etcd->scratch->value),
                 etcd->past_lease);
}

/* ---- the table ---- */

static struct list *bucket_of(struct etcd *etcd, struct slice key, struct slice owner)
{
    uint64_t hash = hash_bytes(1, key.data, key.size) ^ hash_bytes(2, owner.data, owner.size);
    return &etcd->claims[hash % ETCD_BUCKETS];
}

struct etcd_claim *etcd_find(struct etcd *etcd, struct slice key, struct slice owner)
{
    LIST_FOR_EACH (at, bucket_of(etcd, key, owner)) {
        struct etcd_claim *claim = CONTAINER_OF(at, struct etcd_claim, node);
        bool lives = claim->state == ETCD_WAITS || claim->state == ETCD_HOLDS;
        if (lives && slice_equal(claim->key, key) && slice_equal(claim->owner, owner)) {
            return claim;
        }
    }
    return NULL;
}

static struct slice copy_to(uint8_t **at, struct slice text)
{
    if (text.size > 0) {
        memcpy(*at, text.data, text.size);
    }
    struct slice copy = slice_of(*at, text.size);
    *at += text.size;
    return copy;
}

struct etcd_claim *etcd_add(struct etcd *etcd, const struct lock_wanted *wanted, struct slice name)
{
    size_t bytes = wanted->key.size + wanted->owner.size + wanted->note.size + name.size;
    struct etcd_claim *claim = etcd->claim_count < ETCD_CLAIMS ? calloc(1, sizeof(*claim) + bytes) : NULL;
    if (claim == NULL) {
        (void)engine_problem(&etcd->engine, ENGINE_BUSY, "%s",
                             etcd->claim_count < ETCD_CLAIMS ? "memory was refused"
                                                             : "one handle has at most 65536 locks: release some");
        return NULL;
    }
    uint8_t *at = (uint8_t *)(claim + 1);
    claim->etcd = etcd;
    claim->key = copy_to(&at, wanted->key);
    claim->owner = copy_to(&at, wanted->owner);
    claim->note = copy_to(&at, wanted->note);
    claim->name = copy_to(&at, name);
    const uint8_t *slash = memrchr(claim->name.data, '/', claim->name.size);
    claim->below = (size_t)(slash - claim->name.data) + 1;
    claim->since_ms = etcd_wall_ms();
    claim->asked_ns = engine_clock_ns();
    list_init(&claim->watch_node);
    list_append(bucket_of(etcd, claim->key, claim->owner), &claim->node);
    etcd->claim_count++;
    etcd->busy = claim;
    return claim;
}

void etcd_unwatch(struct etcd_claim *claim)
{
    struct etcd_watch *watch = claim->watch;
    list_remove(&claim->watch_node);
    claim->watch = NULL;
    if (watch != NULL && list_empty(&watch->claims)) {
        if (watch->stream != NULL) {
            etcd_stream_close(watch->stream);
        }
        list_remove(&watch->node);
        claim->etcd->watch_count--;
        buffer_deinit(&watch->key);
        free(watch);
    }
}

void etcd_forget(struct etcd_claim *claim)
{
    struct etcd *etcd = claim->etcd;
    etcd_unwatch(claim);
    list_remove(&claim->node);
    etcd->claim_count--;
    etcd->busy = etcd->busy == claim ? NULL : etcd->busy;
    buffer_deinit(&claim->before);
    free(claim);
}

/* ---- watches ---- */

static void take_event(struct etcd_watch *watch, const json_t *event)
{
    struct etcd_kvs kvs;
    if (!etcd_take_kv(json_object_get(event, "kv"), &kvs)) {
        return; /* looked at soon in any case */
    }
    watch->revision = kvs.at[0].mod > watch->revision ? kvs.at[0].mod : watch->revision;
    LIST_FOR_EACH (at, &watch->claims) {
        struct etcd_claim *claim = CONTAINER_OF(at, struct etcd_claim, watch_node);
        bool is_before = slice_equal(kvs.at[0].key, buffer_slice(&claim->before));
        if (is_before || slice_equal(kvs.at[0].key, claim->name)) {
            claim->dirty = true;
            claim->etcd->has_news = true;
        }
    }
    etcd_free_kvs(&kvs);
}

static void on_watch(void *data, json_t *answer)
{
    struct etcd_watch *watch = data;
    const json_t *result = json_object_get(answer, "result");
    if (result == NULL || json_is_true(json_object_get(result, "canceled"))) {
        watch->has_ended = true;
        return;
    }
    size_t i;
    json_t *event;
    json_array_foreach(json_object_get(result, "events"), i, event) { take_event(watch, event); }
}

static void close_ended(struct etcd_watch *watch)
{
    if (watch->has_ended && watch->stream != NULL) {
        etcd_stream_close(watch->stream);
        watch->stream = NULL;
    }
}

static void open_stream(struct etcd *etcd, struct etcd_watch *watch, int64_t revision)
{
    buffer_clear(&etcd->scratch->body);
    etcd_append_watch(&etcd->scratch->body, buffer_slice(&watch->key), revision);
    watch->has_ended = false;
    watch->stream = etcd_stream_open(etcd->http, "/v3/watch", buffer_slice(&etcd->scratch->body), on_watch, watch);
}

static struct etcd_watch *find_watch(struct etcd *etcd, struct slice below)
{
    LIST_FOR_EACH (at, &etcd->watches) {
        struct etcd_watch *watch = CONTAINER_OF(at, struct etcd_watch, node);
        if (slice_equal(buffer_slice(&watch->key), below)) {
            return watch;
        }
    }
    struct etcd_watch *watch = etcd->watch_count < ETCD_WATCHES ? calloc(1, sizeof(*watch)) : NULL;
    if (watch == NULL || !buffer_try_reserve(&watch->key, below.size)) {
        free(watch);
        return NULL; /* who waits looks often instead */
    }
    buffer_append_slice(&watch->key, below);
    list_init(&watch->claims);
    list_append(&etcd->watches, &watch->node);
    etcd->watch_count++;
    return watch;
}

void etcd_watch_lock(struct etcd_claim *claim, int64_t revision)
{
    struct etcd *etcd = claim->etcd;
    if (claim->watch == NULL) {
        claim->watch = find_watch(etcd, slice_of(claim->name.data, claim->below));
        if (claim->watch == NULL) {
            return;
        }
        list_append(&claim->watch->claims, &claim->watch_node);
    }
    close_ended(claim->watch);
    if (claim->watch->stream == NULL) {
        open_stream(etcd, claim->watch, revision);
    }
}

/* ---- ends ---- */

static void on_ended(void *data, json_t *answer)
{
    struct etcd_claim *claim = data;
    claim->is_sent = false;
    claim->state = answer != NULL ? ETCD_GONE : ETCD_ENDS;
    claim->again_ns = engine_clock_ns() + (answer != NULL ? 0 : END_AGAIN_MS * NS_PER_MS);
    etcd_http_wake(claim->etcd->http, claim->again_ns);
}

/* What was never told of is deleted whatever became of it; a hold, if nobody else extended it. */
static void send_end(struct etcd_claim *claim)
{
    struct etcd *etcd = claim->etcd;
    buffer_clear(&etcd->scratch->body);
    etcd_txn_begin(&etcd->scratch->body);
    if (claim->lease != 0) {
        etcd_txn_if(&etcd->scratch->body, claim->name, false, ETCD_MOD, claim->mod);
    }
    etcd_txn_then(&etcd->scratch->body);
    etcd_txn_delete(&etcd->scratch->body, claim->name);
    if (claim->lease != 0) {
        etcd_put_past(claim, LOCK_WHY_EXPIRED);
    }
    etcd_txn_else(&etcd->scratch->body);
    etcd_txn_end(&etcd->scratch->body);
    claim->is_sent = etcd_send(etcd->http, "/v3/kv/txn", buffer_slice(&etcd->scratch->body), on_ended, claim);
    claim->again_ns = engine_clock_ns() + END_AGAIN_MS * NS_PER_MS;
}

void etcd_end(struct etcd_claim *claim)
{
    etcd_unwatch(claim);
    claim->state = ETCD_ENDS;
    claim->again_ns = 0;
    claim->since_ns = engine_clock_ns();
    claim->etcd->busy = claim->etcd->busy == claim ? NULL : claim->etcd->busy;
    etcd_http_wake(claim->etcd->http, engine_clock_ns());
}

void etcd_revoke(struct etcd *etcd, uint64_t lease)
{
    buffer_clear(&etcd->scratch->body);
    etcd_append_lease(&etcd->scratch->body, lease, 0);
    (void)etcd_send(etcd->http, "/v3/lease/revoke", buffer_slice(&etcd->scratch->body), NULL,
                    NULL); /* else it runs out */
}

/* ---- what is due ---- */

static void on_kept(void *data, json_t *answer)
{
    struct etcd *etcd = data;
    const json_t *result = json_object_get(answer, "result");
    if (result != NULL && etcd_number(result, "ID") == (int64_t)etcd->waiting_lease &&
        etcd_number(result, "TTL") <= 0) {
        etcd->waiting_lease = 0; /* those that wait see that their places are gone */
    } else if (result == NULL) {
        etcd->keep_ns = engine_clock_ns() + KEEP_MS / 4 * NS_PER_MS;
    }
    etcd_http_wake(etcd->http, etcd->keep_ns);
}

static void keep_waiting(struct etcd *etcd, int64_t now_ns)
{
    etcd->keep_ns = now_ns + KEEP_MS * NS_PER_MS;
    buffer_clear(&etcd->scratch->body);
    etcd_append_lease(&etcd->scratch->body, etcd->waiting_lease, 0);
    (void)etcd_send(etcd->http, "/v3/lease/keepalive", buffer_slice(&etcd->scratch->body), on_kept, etcd);
}

/* Nobody answers: its lease ends it. */
static void give_up(struct etcd_claim *claim)
{
    claim->state = ETCD_GONE;
    if (claim->lease == 0) {
        claim->etcd->waiting_lease = 0; /* is kept alive no longer; who waits takes another place */
    }
}

/* Returns when it wants to be looked at again. */
static int64_t tend(struct etcd_claim *claim, int64_t now_ns)
{
    if (claim == claim->etcd->busy) {
        return now_ns + NS_PER_MS * END_AGAIN_MS;
    }
    switch (claim->state) {
    case ETCD_WAITS:
    case ETCD_HOLDS: {
        bool waits = claim->state == ETCD_WAITS;
        int64_t end_ns = waits ? claim->asked_ns + PATIENCE_MS * NS_PER_MS : claim->due_ns;
        if (now_ns >= end_ns) {
            etcd_end(claim);
            return now_ns;
        }
        return end_ns;
    }
    case ETCD_ENDS:
        if (!claim->is_sent && now_ns >= claim->since_ns + PATIENCE_MS * NS_PER_MS) {
            give_up(claim);
            return now_ns;
        }
        if (!claim->is_sent && now_ns >= claim->again_ns) {
            send_end(claim);
        }
        return claim->is_sent ? INT64_MAX : claim->again_ns;
    case ETCD_GONE: break;
    }
    if (claim->lease != 0) {
        etcd_revoke(claim->etcd, claim->lease);
    }
    etcd_forget(claim);
    return INT64_MAX;
}

void etcd_tick(void *data)
{
    struct etcd *etcd = data;
    struct etcd_scratch *before = etcd->scratch;
    int64_t now_ns = engine_clock_ns();
    int64_t next_ns = INT64_MAX;
    etcd->scratch = &etcd->meanwhile;
    bool any_waits = false;
    for (size_t i = 0; i < ETCD_BUCKETS; i++) {
        LIST_FOR_EACH_SAFE (at, after, &etcd->claims[i]) {
            struct etcd_claim *claim = CONTAINER_OF(at, struct etcd_claim, node);
            any_waits = any_waits || (claim->state != ETCD_GONE && claim->lease == 0);
            int64_t at_ns = tend(claim, now_ns);
            next_ns = at_ns < next_ns ? at_ns : next_ns;
        }
    }
    if (!any_waits && now_ns >= etcd->keep_ns) {
        etcd->waiting_lease = 0; /* runs out */
    }
    if (etcd->waiting_lease != 0) {
        if (now_ns >= etcd->keep_ns) {
            keep_waiting(etcd, now_ns);
        }
        next_ns = etcd->keep_ns < next_ns ? etcd->keep_ns : next_ns;
    }
    if (next_ns != INT64_MAX) {
        etcd_http_wake(etcd->http, next_ns > now_ns ? next_ns : now_ns);
    }
    etcd->scratch = before;
}

void etcd_leave(struct etcd *etcd)
{
    etcd->busy = NULL;
    if (etcd->has_news) {
        etcd_http_wake(etcd->http, engine_clock_ns());
    }
}

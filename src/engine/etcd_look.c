#include "engine/etcd_look.h"

#include "base/number.h"

#include <stdlib.h>

enum { PAGE = 1000, TRIES = 100 };

static struct etcd *etcd_of(struct engine *engine) { return (struct etcd *)engine; }

/* ---- info, history ---- */

/* How long a hold may still last; what etcd says is in seconds. */
static enum engine_code ask_left(struct etcd *etcd, uint64_t lease, int64_t *ret_ms)
{
    json_t *answer;
    struct buffer *body = &etcd->scratch->body;
    buffer_clear(body);
    etcd_append_lease(body, lease, 0);
    enum engine_code code =
        etcd_call(etcd->http, &etcd->engine, "/v3/lease/timetolive", buffer_slice(body), false, &answer);
    int64_t left_s = etcd_number(answer, "TTL");
    *ret_ms = left_s > 0 ? 1000 * left_s : 1;
    json_decref(answer);
    return code == ENGINE_NOT ? ENGINE_OK : code;
}

static enum engine_code add_holder(struct etcd *etcd, const struct etcd_kv *kv, const struct etcd_value *value,
                                   struct lock_claim *claim, struct lock_state *state, int64_t now_ms)
{
    int64_t left_ms = 1;
    enum engine_code code = kv->lease == 0 ? ENGINE_OK : ask_left(etcd, kv->lease, &left_ms);
    if (code != ENGINE_OK) {
        return code;
    }
    claim->token = (uint64_t)kv->create;
    claim->due_ms = now_ms + (value->is_ours && value->ttl_ms < left_ms ? value->ttl_ms : left_ms);
    state->token = claim->token;
    return lock_state_add(state, false, claim) ? ENGINE_OK : etcd_no_memory(etcd);
}

static enum engine_code add_claims(struct etcd *etcd, const struct etcd_kvs *kvs, struct lock_state *state,
                                   int64_t now_ms)
{
    enum engine_code code = ENGINE_OK;
    for (size_t i = 0; i < kvs->count && code == ENGINE_OK; i++) {
        struct etcd_value value;
        etcd_read_value(&kvs->at[i], &value);
        int64_t since_ms = value.is_ours && value.since_ms <= now_ms ? value.since_ms : now_ms;
        struct lock_claim claim = {.owner = value.owner,
                                   .note = value.note,
                                   .kind = LOCK_KIND_EXCLUSIVE,
                                   .permits = 1,
                                   .since_ms = since_ms,
                                   .due_ms = INT64_MAX,
                                   .asked_ms = now_ms};
        if (i == 0 && value.holds) {
            code = add_holder(etcd, &kvs->at[i], &value, &claim, state, now_ms);
        } else if (!lock_state_add(state, true, &claim)) {
            code = etcd_no_memory(etcd);
        }
    }
    return code;
}

static int newer_first(const void *a, const void *b)
{
    const struct lock_past *one = a;
    const struct lock_past *other = b;
    return (one->token < other->token) - (one->token > other->token);
}

static enum engine_code add_pasts(struct etcd *etcd, const struct etcd_kvs *kvs, struct lock_state *state)
{
    struct etcd_value values[LOCK_STATE_PAST];
    struct lock_past pasts[LOCK_STATE_PAST];
    size_t count = 0;
    for (size_t i = 0; i < kvs->count && count < LOCK_STATE_PAST; i++) {
        struct etcd_value *value = &values[count];
        etcd_read_value(&kvs->at[i], value);
        if (value->is_ours) {
            pasts[count++] = (struct lock_past){value->owner, value->token, value->since_ms, value->to_ms, value->why};
        }
    }
    qsort(pasts, count, sizeof(pasts[0]), newer_first);
    for (size_t i = 0; i < count; i++) {
        if (!lock_state_add_past(state, &pasts[i])) {
            return etcd_no_memory(etcd);
        }
    }
    return ENGINE_OK;
}

static void append_looks(struct etcd *etcd, struct slice key, struct buffer *body)
{
    struct etcd_range claims = {.key = etcd_below(etcd, key), .below = true, .limit = LOCK_STATE_WAITERS + 1};
    etcd_txn_then(body);
    etcd_txn_range(body, &claims);
    buffer_clear(&etcd->scratch->name);
    etcd_append_key(&etcd->scratch->name, etcd->prefix, ETCD_PAST, key);
    buffer_append_byte(&etcd->scratch->name, '/');
    struct etcd_range pasts = {
        .key = buffer_slice(&etcd->scratch->name), .below = true, .limit = LOCK_STATE_PAST, .newest_first = true};
    etcd_txn_range(body, &pasts);
    etcd_txn_else(body);
}

enum engine_code etcd_look(struct engine *engine, struct slice key, struct lock_state *ret_state, int64_t *ret_now_ms)
{
    json_t *answer;
    struct etcd *etcd = etcd_of(engine);
    struct etcd_kvs claims = {0};
    struct etcd_kvs pasts = {0};
    append_looks(etcd, key, etcd_begin_txn(etcd));
    enum engine_code code = etcd_call_txn(etcd, false, &answer);
    *ret_now_ms = etcd_wall_ms();
    if (code == ENGINE_OK && (!etcd_take_kvs(answer, 0, &claims) || !etcd_take_kvs(answer, 1, &pasts))) {
        code = etcd_no_memory(etcd);
    }
    json_decref(answer);
    code = code == ENGINE_OK ? add_claims(etcd, &claims, ret_state, *ret_now_ms) : code;
    code = code == ENGINE_OK ? add_pasts(etcd, &pasts, ret_state) : code;
    etcd_free_kvs(&claims);
    etcd_free_kvs(&pasts);
    etcd_leave(etcd);
    return code;
}

/* ---- fence ---- */

static enum engine_code seen_token(struct etcd *etcd, struct slice name, uint64_t *ret_token, int64_t *ret_mod)
{
    struct etcd_kvs kvs;
    int64_t header[ETCD_HEADERS];
    int64_t token = 0;
    enum engine_code code = etcd_call_range(etcd, &(struct etcd_range){.key = name}, &kvs, header);
    if (code == ENGINE_OK && kvs.count == 1 && (!number_parse_int64(kvs.at[0].value, &token) || token < 0)) {
        code = engine_problem(&etcd->engine, ENGINE_REFUSED,
                              "ERR the key %.*s is not Cohort's: delete it if nobody needs it", (int)name.size,
                              (const char *)name.data);
    }
    *ret_token = (uint64_t)token;
    *ret_mod = kvs.count == 1 ? kvs.at[0].mod : 0;
    etcd_free_kvs(&kvs);
    return code;
}

/* By comparing with what was read. ENGINE_WAITS: somebody else wrote meanwhile. */
static enum engine_code set_token(struct etcd *etcd, struct slice name, uint64_t token, int64_t mod)
{
    json_t *answer;
    char digits[24];
    struct slice text = slice_of(digits, number_format_uint64(digits, token));
    struct buffer *body = etcd_begin_txn(etcd);
    etcd_txn_if(body, name, false, ETCD_MOD, mod);
    etcd_txn_then(body);
    etcd_txn_put(body, name, text, 0);
    etcd_txn_else(body);
    enum engine_code code = etcd_call_txn(etcd, true, &answer);
    code = code == ENGINE_OK && !etcd_succeeded(answer) ? ENGINE_WAITS : code;
    json_decref(answer);
    return code;
}

enum engine_code etcd_fence(struct engine *engine, struct slice key, uint64_t token)
{
    struct etcd *etcd = etcd_of(engine);
    struct slice name;
    enum engine_code code = ENGINE_WAITS;
    buffer_clear(&etcd->scratch->name);
    etcd_append_key(&etcd->scratch->name, etcd->prefix, ETCD_TOKENS, key);
    name = buffer_slice(&etcd->scratch->name);
    for (int i = 0; i < TRIES && code == ENGINE_WAITS && engine_clock_ns() < engine->deadline_ns; i++) {
        uint64_t seen;
        int64_t mod;
        code = seen_token(etcd, name, &seen, &mod);
        if (code == ENGINE_OK && mod != 0 && token <= seen) {
            code = token == seen ? ENGINE_OK : ENGINE_NOT;
        } else if (code == ENGINE_OK && token > 0) {
            code = set_token(etcd, name, token, mod);
        }
    }
    etcd_leave(etcd);
    return code == ENGINE_WAITS
               ? engine_problem(engine, ENGINE_BUSY, "others check tokens of this lock all the time; ask again")
               : code;
}

/* ---- list ---- */

/* The NAME in a key; its bytes are the key's. */
static struct slice name_in(const struct etcd *etcd, struct slice key)
{
    size_t prefix = strlen(etcd->prefix) + 1;
    struct slice rest = key.size < prefix ? slice_of(key.data, 0) : slice_of(key.data + prefix, key.size - prefix);
    const uint8_t *slash = rest.size == 0 ? NULL : memchr(rest.data, '/', rest.size);
    return slice_of(rest.data, slash == NULL ? 0 : (size_t)(slash - rest.data));
}

/* Lists a page's locks, once each. `last` has the last key's name, then the last key. */
static void list_page(const struct etcd *etcd, const struct etcd_kvs *kvs, struct buffer *last, engine_listed listed,
                      void *data)
{
    for (size_t i = 0; i < kvs->count; i++) {
        uint8_t key[LOCK_STATE_KEY_BYTES];
        size_t size;
        struct slice name = name_in(etcd, kvs->at[i].key);
        bool is_new = !slice_equal(name, name_in(etcd, buffer_slice(last)));
        if (is_new && etcd_read_name(name, key, &size)) {
            listed(data, slice_of(key, size));
        }
        buffer_clear(last);
        if (buffer_try_reserve(last, kvs->at[i].key.size + 1)) {
            buffer_append_slice(last, kvs->at[i].key);
        }
    }
}

enum engine_code etcd_list(struct engine *engine, engine_listed listed, void *data)
{
    struct etcd *etcd = etcd_of(engine);
    struct buffer *name = &etcd->scratch->name;
    struct buffer from = {0};
    struct buffer last = {0};
    enum engine_code code = ENGINE_WAITS;
    buffer_clear(name);
    buffer_append_string(name, etcd->prefix);
    buffer_append_byte(name, '0'); /* behind the slash */
    if (!buffer_try_reserve(&from, name->size)) {
        return etcd_no_memory(etcd);
    }
    buffer_append(&from, name->data, name->size - 1);
    buffer_append_byte(&from, '/');
    while (code == ENGINE_WAITS) {
        struct etcd_kvs kvs;
        int64_t header[ETCD_HEADERS];
        struct etcd_range range = {
            .key = buffer_slice(&from), .until = buffer_slice(name), .limit = PAGE, .only_keys = true};
        code = etcd_call_range(etcd, &range, &kvs, header);
        if (code == ENGINE_OK) {
            list_page(etcd, &kvs, &last, listed, data);
            code = kvs.count == PAGE ? ENGINE_WAITS : ENGINE_OK;
        }
        etcd_free_kvs(&kvs);
        buffer_clear(&from);
        if (!buffer_try_reserve(&from, last.size + 1)) {
            code = etcd_no_memory(etcd);
            break;
        }
        buffer_append_slice(&from, buffer_slice(&last));
        buffer_append_byte(&from, 0); /* the next key */
    }
    buffer_deinit(&from);
    buffer_deinit(&last);
    etcd_leave(etcd);
    return code;
}

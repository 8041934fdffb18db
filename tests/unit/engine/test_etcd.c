/* What of etcd:// is pure: names, values, answers, URLs. */
#include "engine/etcd_place.h"
#include "engine/etcd_verdict.h"
#include "engine/etcd_words.h"

#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { ROUNDS = 2000 };

static struct prng prng;

static size_t random_bytes(uint8_t *at, size_t most)
{
    size_t size = (size_t)prng_below(&prng, most + 1);
    bool plain = prng_below(&prng, 2) == 0;
    for (size_t i = 0; i < size; i++) {
        at[i] = (uint8_t)(plain ? 'a' + prng_below(&prng, 26) : prng_below(&prng, 256));
    }
    return size;
}

static void test_names(void **state)
{
    (void)state;
    const struct {
        struct slice key;
        const char *name;
    } known[] = {
        {SLICE_LITERAL("a"), "p/a"},
        {SLICE_LITERAL(""), "p/%"},
        {SLICE_LITERAL("a/b"), "p/a%2fb"},
        {SLICE_LITERAL("\0a"), "p/@a"},
        {SLICE_LITERAL("@a"), "p/%40a"},
        {SLICE_LITERAL("%"), "p/%25"},
        {SLICE_LITERAL("a b\xff"), "p/a%20b%ff"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct buffer out = {0};
        etcd_append_key(&out, "p", "", known[i].key);
        assert_true(slice_equal(buffer_slice(&out), slice_from_string(known[i].name)));
        buffer_deinit(&out);
    }
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t key[LOCK_STATE_KEY_BYTES];
        uint8_t read[LOCK_STATE_KEY_BYTES];
        size_t size = random_bytes(key, i % 100 == 0 ? sizeof(key) : 12);
        size_t read_size;
        struct buffer out = {0};
        etcd_append_key(&out, "p", "", slice_of(key, size));
        assert_true(out.size < ETCD_KEY_BYTES);
        assert_null(memchr(out.data + 2, '/', out.size - 2));
        assert_true(etcd_read_name(slice_of(out.data + 2, out.size - 2), read, &read_size));
        assert_true(slice_equal(slice_of(key, size), slice_of(read, read_size)));
        buffer_deinit(&out);
    }
}

static void test_what_is_no_name(void **state)
{
    (void)state;
    uint8_t key[LOCK_STATE_KEY_BYTES];
    size_t size;
    char longer[LOCK_STATE_KEY_BYTES + 2];
    memset(longer, 'a', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    const char *none[] = {"", "%t", "%tokens", "%past", "%2", "a%", "%2F", "%zz", longer};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_false(etcd_read_name(slice_from_string(none[i]), key, &size));
    }
    longer[sizeof(longer) - 2] = '\0';
    assert_true(etcd_read_name(slice_from_string(longer), key, &size));
    longer[0] = '@';
    assert_true(etcd_read_name(slice_from_string(longer), key, &size));
}

static void test_values(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t owner[LOCK_STATE_OWNER_BYTES];
        uint8_t note[LOCK_STATE_NOTE_BYTES];
        struct etcd_value value = {.holds = i % 2 == 0, .since_ms = i, .ttl_ms = i % 2 == 0 ? 7 + i : 0};
        struct etcd_value read;
        struct buffer out = {0};
        value.owner = slice_of(owner, random_bytes(owner, sizeof(owner)));
        value.note = slice_of(note, random_bytes(note, sizeof(note)));
        etcd_append_value(&out, &value);
        assert_true(out.size < ETCD_VALUE_BYTES);
        struct etcd_kv kv = {.key = SLICE_LITERAL("p/a/1f"), .value = buffer_slice(&out)};
        etcd_read_value(&kv, &read);
        assert_true(read.is_ours && read.holds == value.holds);
        assert_true(slice_equal(read.owner, value.owner) && slice_equal(read.note, value.note));
        assert_true(read.since_ms == value.since_ms && read.ttl_ms == value.ttl_ms);
        if (out.size > 0) { /* damaged: whatever is read, it is no more than there is room for */
            out.data[prng_below(&prng, out.size)] = (uint8_t)prng_below(&prng, 256);
            etcd_read_value(&kv, &read);
            assert_true(read.owner.size <= LOCK_STATE_OWNER_BYTES && read.note.size <= LOCK_STATE_NOTE_BYTES);
        }
        buffer_deinit(&out);
    }
}

static void test_values_of_others(void **state)
{
    (void)state;
    struct etcd_value read;
    struct etcd_kv kv = {.key = SLICE_LITERAL("p/a/694d1f"), .value = SLICE_LITERAL("10.0.0.1")};
    etcd_read_value(&kv, &read);
    assert_true(!read.is_ours && read.holds);
    assert_true(slice_equal(read.owner, SLICE_LITERAL("etcd:694d1f")));
    assert_true(slice_equal(read.note, SLICE_LITERAL("10.0.0.1")));
    kv = (struct etcd_kv){.key = SLICE_LITERAL(""), .value = SLICE_LITERAL("")};
    etcd_read_value(&kv, &read);
    assert_true(!read.is_ours && slice_equal(read.owner, SLICE_LITERAL("etcd:")));
}

static void test_base64(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t key[64];
        uint8_t value[64];
        struct slice texts[2] = {{key, random_bytes(key, sizeof(key))}, {value, random_bytes(value, sizeof(value))}};
        struct buffer out = {0};
        buffer_append_string(&out, "[");
        etcd_txn_put(&out, texts[0], texts[1], 5);
        buffer_append_string(&out, "]");
        json_t *json = json_loadb((const char *)out.data, out.size, 0, NULL);
        assert_non_null(json);
        struct etcd_kvs kvs;
        assert_true(etcd_take_kv(json_object_get(json_array_get(json, 0), "request_put"), &kvs));
        assert_true(slice_equal(kvs.at[0].key, texts[0]) && slice_equal(kvs.at[0].value, texts[1]));
        assert_int_equal(kvs.at[0].lease, 5);
        etcd_free_kvs(&kvs);
        json_decref(json);
        buffer_deinit(&out);
    }
}

static enum etcd_verdict_kind judged(long status, const char *body)
{
    struct etcd_verdict verdict = etcd_judge(status, slice_from_string(body));
    json_decref(verdict.answer);
    return verdict.kind;
}

static void test_verdicts(void **state)
{
    (void)state;
    assert_int_equal(judged(200, "{}"), ETCD_FINE);
    assert_int_equal(judged(200, "[]"), ETCD_IS_OLD);
    assert_int_equal(judged(404, "Not Found"), ETCD_IS_OLD);
    assert_int_equal(judged(502, "Bad Gateway"), ETCD_SILENT);
    assert_int_equal(judged(200, "{\"error\":{\"grpc_code\":14,\"message\":\"x\"}}"), ETCD_SILENT);
    assert_int_equal(judged(503, "{\"error\":\"etcdserver: leader changed\",\"code\":14}"), ETCD_SILENT);
    assert_int_equal(judged(404, "{\"error\":\"etcdserver: requested lease not found\",\"code\":5}"), ETCD_NO_LEASE);
    assert_int_equal(judged(412, "{\"error\":\"etcdserver: lease already exists\",\"code\":9}"), ETCD_HAS_LEASE);
    assert_int_equal(judged(401, "{\"error\":\"etcdserver: invalid auth token\",\"code\":16}"), ETCD_WANTS_TOKEN);
    assert_int_equal(judged(403, "{\"error\":\"etcdserver: permission denied\",\"code\":7}"), ETCD_FORBIDDEN);
    assert_int_equal(judged(429, "{\"error\":\"etcdserver: mvcc: database space exceeded\",\"code\":8}"), ETCD_FULL);
    assert_int_equal(judged(429, "{\"error\":\"etcdserver: too many requests\",\"code\":8}"), ETCD_BUSY);
    assert_int_equal(judged(400, "{\"error\":\"etcdserver: duplicate key given\",\"code\":3}"), ETCD_REFUSING);
    assert_int_equal(judged(400, "{\"error\":7}"), ETCD_REFUSING);
}

static void test_what_may_have_been_done(void **state)
{
    (void)state;
    struct engine engine = {0};
    struct etcd_verdict verdict = {.kind = ETCD_SILENT, .words = "x"};
    assert_int_equal(etcd_code_of(&engine, &verdict, true, "h", 1), ENGINE_UNCERTAIN);
    assert_int_equal(etcd_code_of(&engine, &verdict, false, "h", 1), ENGINE_DOWN);
    verdict.kind = ETCD_BUSY;
    assert_int_equal(etcd_code_of(&engine, &verdict, true, "h", 2), ENGINE_UNCERTAIN);
    assert_int_equal(etcd_code_of(&engine, &verdict, false, "h", 2), ENGINE_BUSY);
    verdict.kind = ETCD_FINE; /* asked again, somebody knew */
    assert_int_equal(etcd_code_of(&engine, &verdict, true, "h", 2), ENGINE_OK);
}

static enum status parse(const char *text, struct etcd_place *ret_place)
{
    static struct engine_url url;
    const char *problem;
    char words[ENGINE_PROBLEM_BYTES];
    assert_int_equal(engine_url_parse(text, &url, &problem), STATUS_OK);
    return etcd_place_parse(&url, ret_place, words);
}

static void test_urls(void **state)
{
    (void)state;
    static struct etcd_place place;
    assert_int_equal(parse("etcd://me:a%3ab@h1,[::1]:9,[fe80::1]//my/app/?tls=yes&cacert=/x", &place), STATUS_OK);
    assert_int_equal(place.endpoint_count, 3);
    assert_string_equal(place.endpoints[0], "h1:2379");
    assert_string_equal(place.endpoints[1], "[::1]:9");
    assert_string_equal(place.endpoints[2], "[fe80::1]:2379");
    assert_string_equal(place.prefix, "/my/app");
    assert_string_equal(place.user, "me");
    assert_string_equal(place.password, "a:b");
    assert_true(place.tls);
    assert_int_equal(parse("etcd://h/?user=u%40x&password=%2f%40", &place), STATUS_OK);
    assert_string_equal(place.prefix, "cohort");
    assert_string_equal(place.user, "u@x");
    assert_string_equal(place.password, "/@");
    assert_int_equal(parse("etcd://h:", &place), STATUS_INVALID);
    assert_int_equal(parse("etcd://h:123456", &place), STATUS_INVALID);
    assert_int_equal(parse("etcd://h,", &place), STATUS_INVALID);
}

int main(void)
{
    prng_seed(&prng, 11);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_what_is_no_name),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_values_of_others),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_what_may_have_been_done),
        cmocka_unit_test(test_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

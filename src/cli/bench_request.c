#include "cli/bench_request.h"

#include "base/assert.h"
#include "base/memory.h"
#include "cluster/slot.h"
#include "wire/resp_command.h"

#include <stdlib.h>

enum { KEY_DIGITS = 12, LOOKS_FOR_EACH_SHARD = 64 };

#define KEY_PREFIX "key:"

/* ---- templates ---- */

/* The keys of the template are those of the command at these places. */
static void add_command(struct bench_template *template, const struct slice *argv, uint32_t argc, uint32_t first_key,
                        uint32_t key_step)
{
    size_t start = template->bytes.size;
    resp_command(&template->bytes, argv, argc);
    template->replies++;
    const uint8_t *at = template->bytes.data + start;
    for (uint32_t i = first_key; i != 0 && i < argc; i += key_step) {
        const uint8_t *end = template->bytes.data + template->bytes.size;
        at = memmem(at, (size_t)(end - at), argv[i].data, argv[i].size);
        ASSERT(at != NULL && template->key_count < BENCH_TXN_KEYS_MAXIMUM);
        at += strlen(KEY_PREFIX);
        template->digits_at[template->key_count++] = (size_t)(at - template->bytes.data);
    }
}

static void add_word(struct bench_template *template, const char *word)
{
    struct slice argv[] = {slice_from_string(word)};
    add_command(template, argv, 1, 0, 0);
}

static void add_set(struct bench_template *template, struct slice key, struct slice value)
{
    struct slice argv[] = {SLICE_LITERAL("SET"), key, value};
    add_command(template, argv, 3, 1, 2);
}

static void add_begin(struct bench_template *template, const char *protocol)
{
    struct slice argv[] = {SLICE_LITERAL("TXN.BEGIN"), SLICE_LITERAL("PROTOCOL"), slice_from_string(protocol)};
    add_command(template, argv, 3, 0, 0);
}

static void add_mset(struct bench_template *template, uint32_t keys, struct slice key, struct slice value)
{
    struct slice argv[1 + 2 * BENCH_TXN_KEYS_MAXIMUM] = {SLICE_LITERAL("MSET")};
    for (uint32_t i = 0; i < keys; i++) {
        argv[1 + 2 * i] = key;
        argv[2 + 2 * i] = value;
    }
    add_command(template, argv, 1 + 2 * keys, 1, 2);
}

static void make_txn(struct bench_template *template, const struct bench_txn *txn, struct slice key, struct slice value)
{
    if (txn->form == BENCH_MSET) {
        add_mset(template, txn->keys, key, value);
        return;
    }
    if (txn->form == BENCH_MULTI) {
        add_word(template, "MULTI");
    } else if (txn->protocol == NULL) {
        add_word(template, "TXN.BEGIN");
    } else {
        add_begin(template, txn->protocol);
    }
    for (uint32_t i = 0; i < txn->keys; i++) {
        add_set(template, key, value);
    }
    add_word(template, txn->form == BENCH_MULTI ? "EXEC" : "TXN.COMMIT");
}

static void add_script(struct bench_template *template, const struct bench_mix *mix, struct slice key,
                       struct slice value)
{
    bool named = mix->script == BENCH_BY_NAME;
    struct slice argv[] = {named ? SLICE_LITERAL("EVALSHA") : SLICE_LITERAL("EVAL"),
                           slice_from_string(named ? mix->script_name : BENCH_SCRIPT), SLICE_LITERAL("1"), key, value};
    add_command(template, argv, 5, 3, 5);
}

void bench_requests_init(struct bench_requests *requests, const struct bench_mix *mix, uint32_t index, uint32_t count)
{
    *requests = (struct bench_requests){.mix = mix, .next_key = index, .step = count};
    prng_seed(&requests->prng, mix->seed + index);
    uint8_t *value_bytes = memory_allocate(mix->value_bytes + 1);
    for (size_t i = 0; i < mix->value_bytes; i++) {
        value_bytes[i] = (uint8_t)('a' + prng_below(&requests->prng, 26));
    }
    struct slice value = slice_of(value_bytes, mix->value_bytes);
    struct slice key = SLICE_LITERAL(KEY_PREFIX "000000000000");
    struct slice get[] = {SLICE_LITERAL("GET"), key};
    add_set(&requests->templates[BENCH_SET], key, value);
    add_command(&requests->templates[BENCH_GET], get, 2, 1, 1);
    if (mix->script != BENCH_NO_SCRIPT) {
        add_script(&requests->templates[BENCH_EVAL], mix, key, value);
    }
    if (mix->txn.keys != 0) {
        make_txn(&requests->templates[BENCH_TXN], &mix->txn, key, value);
    }
    free(value_bytes);
}

void bench_requests_deinit(struct bench_requests *requests)
{
    for (size_t i = 0; i < BENCH_OPERATIONS; i++) {
        buffer_deinit(&requests->templates[i].bytes);
    }
}

/* ---- keys ---- */

static void put_digits(uint8_t *digits, uint64_t key)
{
    for (int i = KEY_DIGITS - 1; key > 0; i--) {
        digits[i] = (uint8_t)('0' + key % 10);
        key /= 10;
    }
}

static uint32_t shard_of_key(uint64_t key, uint32_t shard_count)
{
    uint8_t bytes[] = KEY_PREFIX "000000000000";
    put_digits(bytes + strlen(KEY_PREFIX), key);
    return slot_shard(key_slot(slice_of(bytes, BENCH_KEY_BYTES)), shard_count);
}

uint32_t bench_txn_shards(uint64_t keys, uint32_t shard_count, uint32_t wanted)
{
    bool seen[SLOT_MAXIMUM_SHARDS + 1] = {false};
    uint32_t count = 0;
    ASSERT(shard_count <= SLOT_MAXIMUM_SHARDS);
    for (uint64_t key = 0; key < keys && key < (uint64_t)LOOKS_FOR_EACH_SHARD * shard_count && count < wanted; key++) {
        uint32_t shard = shard_of_key(key, shard_count);
        count += seen[shard] ? 0 : 1;
        seen[shard] = true;
    }
    return count;
}

/* Random keys until each is of a shard of its own: there are enough shards with keys. */
static void choose_keys(struct bench_requests *requests, uint64_t *keys)
{
    const struct bench_mix *mix = requests->mix;
    uint32_t shards[BENCH_TXN_KEYS_MAXIMUM];
    bool hot = prng_chance(&requests->prng, mix->txn.hot_percent, 100) != 0;
    for (uint32_t count = 0; count < mix->txn.keys;) {
        uint64_t key = hot && count == 0 ? 0 : prng_below(&requests->prng, mix->keys);
        uint32_t shard = shard_of_key(key, mix->txn.shard_count);
        uint32_t at = 0;
        while (at < count && shards[at] != shard) {
            at++;
        }
        if (at == count) {
            keys[count] = key;
            shards[count++] = shard;
        }
    }
}

static enum bench_operation choose(struct bench_requests *requests, uint64_t *keys)
{
    const struct bench_mix *mix = requests->mix;
    if (mix->txn.keys != 0) {
        choose_keys(requests, keys);
        return BENCH_TXN;
    }
    bool is_set =
        mix->gets == 0 || (mix->sets > 0 && prng_chance(&requests->prng, mix->sets, mix->sets + mix->gets) != 0);
    if (mix->in_order) {
        keys[0] = requests->next_key;
        requests->next_key += requests->step;
    } else {
        keys[0] = prng_below(&requests->prng, mix->keys);
    }
    return is_set ? BENCH_SET : mix->script == BENCH_NO_SCRIPT ? BENCH_GET : BENCH_EVAL;
}

enum bench_operation bench_requests_append(struct bench_requests *requests, struct buffer *out)
{
    uint64_t keys[BENCH_TXN_KEYS_MAXIMUM];
    enum bench_operation operation = choose(requests, keys);
    const struct bench_template *template = &requests->templates[operation];
    ASSERT(template->key_count == (operation == BENCH_TXN ? requests->mix->txn.keys : 1));
    uint8_t *bytes = buffer_reserve(out, template->bytes.size);
    buffer_append_slice(out, buffer_slice(&template->bytes));
    for (uint32_t i = 0; i < template->key_count; i++) {
        put_digits(bytes + template->digits_at[i], keys[i]);
    }
    return operation;
}

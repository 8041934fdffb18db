#include "server/txn_seem.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

void txn_seem_init(struct txn_seem *seem, uint32_t shard_count)
{
    *seem = (struct txn_seem){shard_count, memory_allocate_zeroed(shard_count, sizeof(struct buffer))};
}

void txn_seem_deinit(struct txn_seem *seem)
{
    for (uint32_t i = 0; i < seem->shard_count; i++) {
        buffer_deinit(&seem->told[i]);
    }
    free(seem->told);
    *seem = (struct txn_seem){0};
}

void txn_seem_begin(struct txn_seem *seem, const struct txn_values *values)
{
    for (uint32_t i = 0; i < seem->shard_count; i++) {
        size_t count = txn_values_count(values, i + 1);
        buffer_clear(&seem->told[i]);
        for (size_t at = 0; at < count; at++) {
            struct overlay_key key;
            txn_values_at(values, i + 1, at, &key);
            buffer_append_byte(&seem->told[i], (uint8_t)key.shape);
        }
    }
}

void txn_seem_flushed(struct txn_seem *seem)
{
    for (uint32_t i = 0; i < seem->shard_count; i++) {
        if (seem->told[i].size > 0) {
            memset(seem->told[i].data, SHAPE_NONE, seem->told[i].size);
        }
    }
}

/* ---- the command ---- */

struct saying {
    struct slice *argv;
    uint32_t argc;
};

static struct saying saying_begin(size_t keys, bool flushed)
{
    struct saying saying = {memory_allocate((2 + 2 * keys) * sizeof(struct slice)), 0};
    saying.argv[saying.argc++] = SLICE_LITERAL("COHORT.TXN.SEEM");
    saying.argv[saying.argc++] = flushed ? SLICE_LITERAL("FLUSHED") : SLICE_LITERAL("BESIDES");
    return saying;
}

static void say_key(struct saying *saying, const struct overlay_key *key)
{
    static const char *const words[SHAPES] = {"NONE", "STRING", "HASH"};
    saying->argv[saying->argc++] = key->key;
    saying->argv[saying->argc++] = slice_from_string(words[key->shape]);
}

static void saying_end(struct saying *saying, bool said, struct buffer *out)
{
    if (said) {
        const struct command seem = {command_by_id(COMMAND_COHORT_TXN_SEEM), saying->argv, saying->argc, RESP2};
        command_encode(out, &seem);
    }
    free(saying->argv);
}

void txn_seem_say(struct txn_seem *seem, const struct txn_values *values, uint32_t shard, struct buffer *out)
{
    struct buffer *told = &seem->told[shard - 1];
    ASSERT(told->size == txn_values_count(values, shard)); /* nothing is read while commands run */
    struct saying saying = saying_begin(told->size, false);
    for (size_t at = 0; at < told->size; at++) {
        struct overlay_key key;
        txn_values_at(values, shard, at, &key);
        if (told->data[at] != (uint8_t)key.shape) {
            told->data[at] = (uint8_t)key.shape;
            say_key(&saying, &key);
        }
    }
    saying_end(&saying, saying.argc > 2, out);
}

void txn_seem_say_all(const struct txn_values *values, uint32_t shard, struct buffer *out)
{
    size_t count = txn_values_count(values, shard);
    struct saying saying = saying_begin(count, values->flushed);
    for (size_t at = 0; at < count; at++) {
        struct overlay_key key;
        txn_values_at(values, shard, at, &key);
        if (key.changed) {
            say_key(&saying, &key);
        }
    }
    saying_end(&saying, true, out);
}

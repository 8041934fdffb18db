#include "server/txn_values.h"

#include "base/assert.h"
#include "base/key_slot.h"
#include "base/memory.h"
#include "cluster/slot.h"
#include "machine/keys/dump.h"
#include "machine/txn/txn_limits.h"
#include "server/script_home.h"
#include "server/txn_answer.h"
#include "shard/shard.h"

#include <stdlib.h>

/* Any will do: what depends on it is in no particular order anyway. */
#define HASH_SEED UINT64_C(0x9e3779b97f4a7c15)

void txn_values_init(struct txn_values *values, uint32_t shard_count)
{
    *values = (struct txn_values){
        .scripts = script_home(),
        .shard_count = shard_count,
        .shards = memory_allocate_zeroed(shard_count, sizeof(*values->shards)),
    };
}

void txn_values_deinit(struct txn_values *values)
{
    for (uint32_t i = 0; i < values->shard_count; i++) {
        overlay_destroy(values->shards[i].overlay);
    }
    overlay_destroy(values->across);
    buffer_deinit(&values->events.messages);
    free(values->shards);
    *values = (struct txn_values){0};
}

/* After a change of the shard's overlay. */
static void recount(struct txn_values *values, struct values_shard *shard)
{
    values->memory_bytes -= shard->memory_bytes;
    shard->memory_bytes = overlay_memory_bytes(shard->overlay);
    values->memory_bytes += shard->memory_bytes;
}

struct values_size txn_values_size(const struct txn_values *values)
{
    struct values_size size = {0};
    for (uint32_t i = 0; i < values->shard_count; i++) {
        const struct overlay *overlay = values->shards[i].overlay;
        size_t keys = overlay == NULL ? 0 : overlay_count(overlay);
        for (size_t at = 0; at < keys; at++) {
            struct overlay_key key;
            overlay_at(overlay, at, &key);
            const struct entry *entry = key.changed && key.present ? overlay_look(overlay, key.key) : NULL;
            size.written_bytes += entry == NULL ? 0 : entry_memory_bytes(entry);
        }
        size.keys += keys;
    }
    return size;
}

const char *txn_values_too_much(const struct txn_values *values)
{
    if (values->bytes > TXN_READ_BYTES) {
        return TXN_READS_TOO_MUCH;
    }
    return txn_values_memory_bytes(values) <= TXN_VALUES_BYTES
               ? NULL
               : "ERR the transaction is larger than one may be (128 MiB of what it reads and writes); it was not "
                 "executed, send less in one";
}

void txn_values_clear(struct txn_values *values)
{
    for (uint32_t i = 0; i < values->shard_count; i++) {
        if (values->shards[i].overlay != NULL) {
            overlay_clear(values->shards[i].overlay);
            recount(values, &values->shards[i]);
        }
        values->shards[i].time_ms = 0;
        values->shards[i].wall_ms = 0;
    }
    values->bytes = 0;
    values->flushed = false;
    scripts_spent_forget(&values->spent);
    buffer_clear(&values->events.messages);
}

static struct values_shard *shard_of(const struct txn_values *values, struct slice key)
{
    return &values->shards[slot_shard(key_slot(key), values->shard_count) - 1];
}

bool txn_values_knows(const struct txn_values *values, struct slice key)
{
    const struct values_shard *shard = shard_of(values, key);
    return shard->overlay != NULL && overlay_has(shard->overlay, key);
}

bool txn_values_version(const struct txn_values *values, struct slice key, uint64_t *ret_version)
{
    const struct values_shard *shard = shard_of(values, key);
    return shard->overlay != NULL && overlay_version(shard->overlay, key, ret_version);
}

/* ---- what the shards tell ---- */

static void set_time(struct values_shard *shard, int64_t time_ms, int64_t wall_ms)
{
    shard->time_ms = time_ms > shard->time_ms ? time_ms : shard->time_ms; /* a new leader may tell an older one */
    shard->wall_ms = wall_ms > shard->wall_ms ? wall_ms : shard->wall_ms;
    overlay_set_time(shard->overlay, shard->time_ms, shard->wall_ms);
}

bool txn_values_take(struct txn_values *values, uint32_t number, const struct slice *keys, uint32_t count,
                     struct slice answer)
{
    struct values_shard *shard = &values->shards[number - 1];
    struct resp_token token;
    int64_t time_ms;
    int64_t wall_ms;
    if (!answer_token(&answer, &token) || token.type != RESP_ARRAY || token.count != 2 + 2 * (uint64_t)count ||
        !answer_integer(&answer, &time_ms) || !answer_integer(&answer, &wall_ms)) {
        return false;
    }
    if (shard->overlay == NULL) {
        shard->overlay = overlay_create(HASH_SEED);
    }
    set_time(shard, time_ms, wall_ms);
    for (uint32_t i = 0; i < count; i++) {
        int64_t version;
        if (!answer_integer(&answer, &version) || version < 0 || !answer_token(&answer, &token) ||
            (token.type != RESP_BULK && token.type != RESP_NULL)) {
            return false;
        }
        struct slice value = token.type == RESP_BULK ? token.text : slice_of(NULL, 0);
        if (!overlay_has(shard->overlay, keys[i])) {
            if (overlay_load(shard->overlay, keys[i], (uint64_t)version, value) != STATUS_OK) {
                return false;
            }
            if (values->flushed && value.size != 0 &&
                overlay_put(shard->overlay, keys[i], slice_of(NULL, 0)) != STATUS_OK) {
                return false;
            }
        }
        values->bytes += value.size;
    }
    recount(values, shard);
    return true;
}

/* ---- running ---- */

struct crossing {
    struct txn_values *values;
    const struct command *command;
    struct values_shard *first; /* the shard in whose time it runs */
    bool several;
    struct buffer value;
};

static void find_shards(void *owner, uint32_t position)
{
    struct crossing *crossing = owner;
    struct values_shard *shard = shard_of(crossing->values, crossing->command->argv[position]);
    crossing->several = crossing->several || (crossing->first != NULL && crossing->first != shard);
    crossing->first = crossing->first == NULL ? shard : crossing->first;
}

static void copy_in(void *owner, uint32_t position)
{
    struct crossing *crossing = owner;
    struct slice key = crossing->command->argv[position];
    const struct values_shard *shard = shard_of(crossing->values, key);
    if (overlay_has(crossing->values->across, key)) {
        return;
    }
    buffer_clear(&crossing->value);
    overlay_dump(shard->overlay, key, &crossing->value);
    entry_dump_shift(&crossing->value, crossing->first->time_ms - shard->time_ms);
    enum status status = overlay_load(crossing->values->across, key, 1, buffer_slice(&crossing->value));
    ASSERT(status == STATUS_OK);
}

static void copy_back(struct crossing *crossing)
{
    struct overlay *across = crossing->values->across;
    for (size_t i = 0; i < overlay_count(across); i++) {
        struct overlay_key key;
        overlay_at(across, i, &key);
        struct values_shard *shard = shard_of(crossing->values, key.key);
        if (!key.changed) {
            continue;
        }
        buffer_clear(&crossing->value);
        overlay_dump(across, key.key, &crossing->value);
        entry_dump_shift(&crossing->value, shard->time_ms - crossing->first->time_ms);
        enum status status = overlay_put(shard->overlay, key.key, buffer_slice(&crossing->value));
        ASSERT(status == STATUS_OK);
        recount(crossing->values, shard);
    }
}

static struct overlay *across_of(struct txn_values *values)
{
    if (values->across == NULL) {
        values->across = overlay_create(HASH_SEED);
    }
    return values->across;
}

static void run_over(struct txn_values *values, struct overlay *overlay, const struct command *command,
                     struct resp_writer *reply)
{
    overlay_use_scripts(overlay, values->scripts, &values->spent);
    overlay_listen(overlay, &values->events);
    overlay_run(overlay, command, reply);
    values->spent.reading.text_count = values->spent.writing.text_count = 0; /* the command may go */
}

/* The reply comes from an overlay of no keys. */
static void run_flush(struct txn_values *values, const struct command *command, struct resp_writer *reply)
{
    struct overlay *across = across_of(values);
    overlay_run(across, command, reply);
    values->flushed = values->flushed || overlay_flushed(across);
    overlay_clear(across);
    struct resp_writer silent = {NULL, command->protocol};
    for (uint32_t i = 0; i < values->shard_count; i++) {
        if (values->shards[i].overlay != NULL) {
            overlay_run(values->shards[i].overlay, command, &silent);
            recount(values, &values->shards[i]);
        }
    }
}

/* A script: in the time of any shard that has told it. */
static void run_without_keys(struct txn_values *values, const struct command *command, struct resp_writer *reply)
{
    ASSERT(command->spec->key_count != 0);
    struct overlay *across = across_of(values);
    for (uint32_t i = 0; i < values->shard_count; i++) {
        const struct values_shard *shard = &values->shards[i];
        if (shard->overlay != NULL) {
            overlay_set_time(across, shard->time_ms, shard->wall_ms);
            break;
        }
    }
    run_over(values, across, command, reply);
    overlay_clear(across);
}

void txn_values_run(struct txn_values *values, const struct command *command, struct resp_writer *reply)
{
    if (overlay_flushes(command)) {
        run_flush(values, command, reply);
        return;
    }
    struct crossing crossing = {.values = values, .command = command};
    (void)command_keys(command->spec, command->argv, command->argc, find_shards, &crossing);
    if (crossing.first == NULL) {
        run_without_keys(values, command, reply);
        return;
    }
    if (!crossing.several) {
        run_over(values, crossing.first->overlay, command, reply);
        recount(values, crossing.first);
        return;
    }
    overlay_set_time(across_of(values), crossing.first->time_ms, crossing.first->wall_ms);
    (void)command_keys(command->spec, command->argv, command->argc, copy_in, &crossing);
    run_over(values, values->across, command, reply);
    copy_back(&crossing);
    overlay_clear(values->across);
    buffer_deinit(&crossing.value);
}

bool txn_values_took_long(struct txn_values *values)
{
    uint64_t steps = values->spent.ever;
    values->spent.ever = 0;
    return steps >= SHARD_LONG_STEPS;
}

/* ---- what it comes to ---- */

size_t txn_values_count(const struct txn_values *values, uint32_t shard)
{
    const struct overlay *overlay = values->shards[shard - 1].overlay;
    return overlay == NULL ? 0 : overlay_count(overlay);
}

void txn_values_at(const struct txn_values *values, uint32_t shard, size_t at, struct overlay_key *ret_key)
{
    overlay_at(values->shards[shard - 1].overlay, at, ret_key);
}

void txn_values_dump(const struct txn_values *values, uint32_t shard, struct slice key, struct buffer *out)
{
    overlay_dump(values->shards[shard - 1].overlay, key, out);
}

#include "server/txn_plan.h"

#include "base/assert.h"
#include "base/key_slot.h"
#include "base/memory.h"
#include "base/number.h"
#include "cluster/slot.h"
#include "machine/txn/whole.h"
#include "server/txn_plan_internal.h"

#include <stdlib.h>

void txn_plan_init(struct txn_plan *plan, uint32_t shards, bool of_values)
{
    *plan = (struct txn_plan){.shards = shards, .readonly = !of_values, .of_values = of_values};
    if (of_values) {
        txn_values_init(&plan->values, shards);
        txn_seem_init(&plan->seem, shards);
    }
}

void txn_plan_deinit(struct txn_plan *plan)
{
    for (uint32_t i = 0; i < plan->command_count; i++) {
        free(plan->commands[i].order);
        buffer_deinit(&plan->commands[i].encoded);
        buffer_deinit(&plan->commands[i].reply);
    }
    for (uint32_t i = 0; i < plan->step_count; i++) {
        buffer_deinit(&plan->steps[i].encoded);
        buffer_deinit(&plan->steps[i].seems);
    }
    for (uint32_t i = 0; i < plan->watch_count; i++) {
        buffer_deinit(&plan->watches[i].key);
    }
    for (uint32_t i = 0; i < plan->part_count; i++) {
        buffer_deinit(&plan->parts[i].answer);
    }
    txn_values_deinit(&plan->values);
    txn_seem_deinit(&plan->seem);
    free(plan->order);
    free(plan->keys);
    free(plan->commands);
    free(plan->steps);
    free(plan->watches);
    free(plan->parts);
    *plan = (struct txn_plan){0};
}

/* Room for one more of an array that grows by doubling. */
static void *room(void *items, uint32_t count, size_t size)
{
    bool full = (count & (count - 1)) == 0; /* none, or a power of two */
    return full ? memory_resize(items, (count == 0 ? 1 : 2 * (size_t)count) * size) : items;
}

static uint32_t shard_of(const struct txn_plan *plan, struct slice key)
{
    return slot_shard(key_slot(key), plan->shards);
}

static enum plan_merge merge_of(const struct command_spec *spec)
{
    switch (spec->id) {
    case COMMAND_DEL:
    case COMMAND_UNLINK:
    case COMMAND_EXISTS:
    case COMMAND_TOUCH:
    case COMMAND_DBSIZE: return PLAN_SUM;
    case COMMAND_FLUSHALL:
    case COMMAND_FLUSHDB:
    case COMMAND_MSET: return PLAN_OK;
    case COMMAND_MGET: return PLAN_ARRAY;
    case COMMAND_KEYS: return PLAN_ARRAYS;
    case COMMAND_RANDOMKEY: return PLAN_RANDOM;
    case COMMAND_SCAN: return PLAN_SCAN;
    default: return PLAN_WHOLE;
    }
}

bool txn_plan_flushes(const struct command_spec *spec)
{
    return spec->id == COMMAND_FLUSHALL || spec->id == COMMAND_FLUSHDB;
}

bool txn_plan_looks(const struct command_spec *spec) { return whole_looks(spec); }

bool txn_plan_cuts(const struct command_spec *spec) { return merge_of(spec) != PLAN_WHOLE; }

static void add_step(struct txn_plan *plan, uint32_t shard, const struct command *command)
{
    plan->steps = room(plan->steps, plan->step_count, sizeof(*plan->steps));
    struct plan_step *step = &plan->steps[plan->step_count++];
    *step = (struct plan_step){.shard = shard};
    command_encode(&step->encoded, command);
}

/* ---- cutting ---- */

struct key_shard {
    uint32_t shard;
    uint32_t position;
};

static int compare_key_shards(const void *a, const void *b)
{
    const struct key_shard *x = a;
    const struct key_shard *y = b;
    int order = (x->shard > y->shard) - (x->shard < y->shard);
    return order != 0 ? order : (x->position > y->position) - (x->position < y->position);
}

/* A step of the keys from..to, which are of one shard. */
static void add_cut(struct txn_plan *plan, const struct command *command, const struct key_shard *keys, uint32_t count)
{
    uint32_t width = (uint32_t)command->spec->key_step;
    struct slice *argv = memory_allocate((1 + (size_t)count * width) * sizeof(*argv));
    uint32_t argc = 0;
    argv[argc++] = command->argv[0];
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < width; j++) {
            argv[argc++] = command->argv[keys[i].position + j];
        }
    }
    const struct command cut = {command->spec, argv, argc, command->protocol};
    add_step(plan, keys[0].shard, &cut);
    free(argv);
}

/* All arguments behind the name are keys, or pairs that begin with one. */
static void cut(struct txn_plan *plan, struct plan_command *planned, const struct command *command)
{
    uint32_t width = (uint32_t)command->spec->key_step;
    uint32_t count = (command->argc - 1) / width;
    struct key_shard *keys = memory_allocate(count * sizeof(*keys));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t position = 1 + i * width;
        keys[i] = (struct key_shard){shard_of(plan, command->argv[position]), position};
    }
    qsort(keys, count, sizeof(*keys), compare_key_shards);
    planned->order = memory_allocate(count * sizeof(*planned->order));
    planned->order_count = count;
    for (uint32_t from = 0, to; from < count; from = to) {
        for (to = from; to < count && keys[to].shard == keys[from].shard; to++) {
            planned->order[(keys[to].position - 1) / width] = planned->step_count;
        }
        add_cut(plan, command, keys + from, to - from);
        planned->step_count++;
    }
    free(keys);
}

/* MSET with a value missing is one whole step: its shard answers with the error. */
static bool can_be_cut(const struct command *command)
{
    uint32_t width = (uint32_t)command->spec->key_step;
    return merge_of(command->spec) != PLAN_WHOLE && (command->argc - 1) % width == 0;
}

static void add_everywhere(struct txn_plan *plan, const struct command *command)
{
    const struct slice name = SLICE_LITERAL("DBSIZE");
    const struct command size = {command_by_id(COMMAND_DBSIZE), &name, 1, RESP2};
    for (uint32_t shard = 1; shard <= plan->shards; shard++) {
        if (merge_of(command->spec) == PLAN_RANDOM) {
            add_step(plan, shard, &size);
        }
        add_step(plan, shard, command);
    }
}

/* In the shard that its cursor names; any shard tells what is wrong with it. */
static void add_scan(struct txn_plan *plan, struct plan_command *planned, const struct command *command)
{
    uint64_t cursor;
    char digits[NUMBER_INT64_BYTES];
    if (!number_parse_cursor(command->argv[1], &cursor)) {
        planned->merge = PLAN_WHOLE;
        add_step(plan, 1, command);
        return;
    }
    struct slice *argv = memory_allocate(command->argc * sizeof(*argv));
    memcpy(argv, command->argv, command->argc * sizeof(*argv));
    argv[1] = slice_of(digits, number_format_uint64(digits, cursor / plan->shards));
    const struct command inner = {command->spec, argv, command->argc, command->protocol};
    add_step(plan, (uint32_t)(cursor % plan->shards) + 1, &inner);
    free(argv);
}

static void count_key(void *owner, uint32_t position)
{
    struct txn_plan *plan = owner;
    (void)position;
    plan->said_keys++;
}

static void note_size(struct txn_plan *plan, const struct command *command)
{
    for (uint32_t i = 0; i < command->argc; i++) {
        plan->said_bytes += command->argv[i].size;
    }
    (void)command_keys(command->spec, command->argv, command->argc, count_key, plan);
}

bool txn_plan_too_large(const struct txn_plan *plan)
{
    struct values_size values = plan->of_values ? txn_values_size(&plan->values) : (struct values_size){0};
    uint64_t keys = plan->of_values ? plan->key_count : plan->said_keys; /* each key once, or nearly */
    return !plan->readonly && (keys > TXN_KEYS || values.keys > TXN_KEYS || plan->said_bytes > TXN_BYTES ||
                               values.written_bytes > TXN_BYTES);
}

bool txn_plan_is_wide(const struct txn_plan *plan) { return plan->part_count > PLAN_NARROW_PARTS; }

int64_t txn_plan_open_ms(const struct txn_plan *plan)
{
    return PLAN_OPEN_MS + (txn_plan_is_wide(plan) ? (int64_t)plan->part_count * PLAN_OPEN_PART_MS : 0);
}

void txn_plan_add(struct txn_plan *plan, const struct command *command)
{
    const struct command_spec *spec = command->spec;
    bool looks = txn_plan_looks(spec);
    ASSERT((spec->first_key != 0 || txn_plan_flushes(spec) || looks) && plan->parts == NULL);
    plan->commands = room(plan->commands, plan->command_count, sizeof(*plan->commands));
    struct plan_command *planned = &plan->commands[plan->command_count++];
    *planned = (struct plan_command){
        .merge = (uint8_t)merge_of(spec),
        .protocol = command->protocol,
        .looks = looks,
        .first_step = plan->step_count,
    };
    plan->looks = plan->looks || looks;
    plan->draws = plan->draws || planned->merge == PLAN_RANDOM;
    plan->readonly = plan->readonly && (spec->flags & COMMAND_READONLY) != 0;
    note_size(plan, command);
    if (plan->of_values) {
        command_encode(&planned->encoded, command);
    }
    if (planned->merge == PLAN_SCAN) {
        add_scan(plan, planned, command);
        planned->step_count = 1;
    } else if (spec->first_key == 0) {
        add_everywhere(plan, command);
        planned->step_count = plan->step_count - planned->first_step;
    } else if (plan->of_values) {
        /* the shards are told what comes of it */
    } else if (can_be_cut(command)) {
        cut(plan, planned, command);
    } else {
        planned->merge = PLAN_WHOLE;
        planned->step_count = 1;
        add_step(plan, shard_of(plan, command->argv[spec->first_key]), command);
    }
}

void txn_plan_seen(struct txn_plan *plan, uint32_t shard, uint64_t position, uint64_t count)
{
    char numbers[2][NUMBER_INT64_BYTES];
    const struct slice argv[] = {SLICE_LITERAL("COHORT.TXN.SEEN"),
                                 slice_of(numbers[0], number_format_uint64(numbers[0], position)),
                                 slice_of(numbers[1], number_format_uint64(numbers[1], count))};
    const struct command seen = {command_by_id(COMMAND_COHORT_TXN_SEEN), argv, 3, RESP2};
    ASSERT(plan->parts == NULL);
    add_step(plan, shard, &seen);
}

void txn_plan_watch(struct txn_plan *plan, struct slice key, uint64_t version)
{
    plan->watches = room(plan->watches, plan->watch_count, sizeof(*plan->watches));
    struct plan_watch *watch = &plan->watches[plan->watch_count++];
    *watch = (struct plan_watch){.shard = shard_of(plan, key), .version = version};
    buffer_append_slice(&watch->key, key);
    plan->readonly = false;
}

/* ---- the keys that a plan of values reads ---- */

struct key_search {
    struct txn_plan *plan;
    const struct slice *argv;
};

static void add_key(void *owner, uint32_t position)
{
    struct key_search *search = owner;
    struct txn_plan *plan = search->plan;
    struct slice key = search->argv[position];
    plan->keys = room(plan->keys, plan->key_count, sizeof(*plan->keys));
    plan->keys[plan->key_count++] = (struct plan_key){shard_of(plan, key), key};
}

static int compare_keys(const void *a, const void *b)
{
    const struct plan_key *x = a;
    const struct plan_key *y = b;
    int order = (x->shard > y->shard) - (x->shard < y->shard);
    return order != 0 ? order : slice_compare(x->key, y->key);
}

static bool find_command_keys(struct txn_plan *plan, uint32_t at, const struct command *command)
{
    struct key_search search = {plan, command->argv};
    (void)at;
    (void)command_keys(command->spec, command->argv, command->argc, add_key, &search);
    return true;
}

static void find_keys(struct txn_plan *plan)
{
    plan_each_command(plan, find_command_keys);
    qsort(plan->keys, plan->key_count, sizeof(*plan->keys), compare_keys);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < plan->key_count; i++) {
        if (kept == 0 || compare_keys(&plan->keys[kept - 1], &plan->keys[i]) != 0) {
            plan->keys[kept++] = plan->keys[i];
        }
    }
    plan->key_count = kept;
}

bool txn_plan_reads(const struct txn_plan *plan, struct slice key)
{
    return plan->of_values && txn_values_knows(&plan->values, key);
}

/* ---- parts ---- */

static int compare_parts(const void *a, const void *b)
{
    const struct plan_part *x = a;
    const struct plan_part *y = b;
    return (x->shard > y->shard) - (x->shard < y->shard);
}

uint32_t txn_plan_part(const struct txn_plan *plan, uint32_t shard)
{
    const struct plan_part wanted = {.shard = shard};
    const struct plan_part *found =
        plan->part_count == 0 ? NULL : bsearch(&wanted, plan->parts, plan->part_count, sizeof(wanted), compare_parts);
    return found == NULL ? plan->part_count : (uint32_t)(found - plan->parts);
}

void txn_plan_order(struct txn_plan *plan)
{
    if (plan->step_count == 0) {
        return;
    }
    plan->order = memory_resize(plan->order, plan->step_count * sizeof(*plan->order));
    for (uint32_t i = 0; i < plan->part_count; i++) {
        plan->parts[i].step_count = 0;
    }
    for (uint32_t i = 0; i < plan->step_count; i++) {
        plan->parts[txn_plan_part(plan, plan->steps[i].shard)].step_count++;
    }
    for (uint32_t i = 0, first = 0; i < plan->part_count; i++) {
        plan->parts[i].first_step = first;
        first += plan->parts[i].step_count;
        plan->parts[i].step_count = 0; /* and again, as they are put there */
    }
    for (uint32_t i = 0; i < plan->step_count; i++) {
        struct plan_part *part = &plan->parts[txn_plan_part(plan, plan->steps[i].shard)];
        plan->order[part->first_step + part->step_count++] = i;
    }
}

/* Of which shards there are parts, each once. */
static void find_parts(struct txn_plan *plan)
{
    bool *is_part = memory_allocate_zeroed(plan->shards + 1, sizeof(*is_part));
    for (uint32_t i = 0; i < plan->key_count; i++) {
        is_part[plan->keys[i].shard] = true;
    }
    for (uint32_t i = 0; i < plan->step_count; i++) {
        is_part[plan->steps[i].shard] = true;
    }
    for (uint32_t i = 0; i < plan->watch_count; i++) {
        is_part[plan->watches[i].shard] = true;
    }
    plan->parts = memory_allocate_zeroed(plan->shards, sizeof(*plan->parts));
    for (uint32_t shard = 1; shard <= plan->shards; shard++) {
        if (is_part[shard]) {
            plan->parts[plan->part_count++].shard = shard;
        }
    }
    free(is_part);
}

void txn_plan_seal(struct txn_plan *plan)
{
    if (plan->of_values) {
        find_keys(plan);
    }
    ASSERT(plan->parts == NULL);
    find_parts(plan);
    ASSERT(plan->part_count > 0);
    for (uint32_t i = 0; i < plan->key_count; i++) { /* they ascend by shard, too */
        struct plan_part *part = &plan->parts[txn_plan_part(plan, plan->keys[i].shard)];
        part->first_key = part->key_count == 0 ? i : part->first_key;
        part->key_count++;
    }
    txn_plan_order(plan);
}

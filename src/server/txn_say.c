#include "server/txn_say.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"

#include <stdlib.h>

void say_arguments_init(struct say_arguments *arguments)
{
    *arguments = (struct say_arguments){0};
    command_arguments_init(&arguments->arguments);
}

void say_arguments_deinit(struct say_arguments *arguments)
{
    command_arguments_deinit(&arguments->arguments);
    buffer_deinit(&arguments->text);
    buffer_deinit(&arguments->values);
}

static void put(struct say_arguments *arguments, struct slice text)
{
    arguments->arguments.items[arguments->argc++] = text;
}

/* Room was reserved, so the text does not move. */
static void put_number(struct say_arguments *arguments, uint64_t number)
{
    ASSERT(arguments->text.capacity - arguments->text.size >= NUMBER_INT64_BYTES);
    char *at = (char *)arguments->text.data + arguments->text.size;
    size_t size = number_format_uint64(at, number);
    arguments->text.size += size;
    put(arguments, slice_of(at, size));
}

static void begin(struct say_arguments *arguments, size_t slices, size_t numbers)
{
    arguments->argc = 0;
    command_arguments_reserve(&arguments->arguments, slices);
    buffer_clear(&arguments->text);
    if (numbers > 0) {
        (void)buffer_reserve(&arguments->text, numbers * NUMBER_INT64_BYTES);
    }
}

static struct command said(const struct say_arguments *arguments, uint16_t command)
{
    return (struct command){command_by_id(command), arguments->arguments.items, arguments->argc, RESP2};
}

/* As ranges: their text and their number grow with the gaps between them alone. Room for two numbers of each, and a
 * dash, was reserved. */
static void put_ranges(const struct txn_plan *plan, struct say_arguments *arguments)
{
    uint32_t ranges = 0;
    for (uint32_t i = 0; i < plan->part_count; i++) {
        ranges += i == 0 || plan->parts[i].shard != plan->parts[i - 1].shard + 1;
    }
    put_number(arguments, ranges);
    for (uint32_t i = 0, to; i < plan->part_count; i = to) {
        for (to = i + 1; to < plan->part_count && plan->parts[to].shard == plan->parts[to - 1].shard + 1; to++) {
        }
        put_number(arguments, plan->parts[i].shard);
        if (to > i + 1) {
            struct slice *range = &arguments->arguments.items[arguments->argc - 1];
            buffer_append_byte(&arguments->text, '-');
            put_number(arguments, plan->parts[to - 1].shard);
            arguments->argc--;
            range->size += 1 + arguments->arguments.items[arguments->argc].size;
        }
    }
}

static void put_parts(const struct txn_plan *plan, struct say_arguments *arguments)
{
    for (uint32_t i = 0; i < plan->part_count; i++) {
        put_number(arguments, plan->parts[i].shard);
    }
}

/* `seems`: what was run before them is known by now. */
static void put_steps(const struct txn_plan *plan, const struct plan_part *part, bool seems,
                      struct say_arguments *arguments)
{
    for (uint32_t i = 0; i < part->step_count; i++) {
        const struct plan_step *step = &plan->steps[plan->order[part->first_step + i]];
        if (seems && step->seems.size != 0) {
            put(arguments, buffer_slice(&step->seems));
        }
        put(arguments, buffer_slice(&step->encoded));
    }
}

static size_t known_keys(const struct txn_plan *plan, uint32_t shard)
{
    return plan->of_values ? txn_values_count(&plan->values, shard) : 0;
}

/* Versions that must be as they were: of what is watched, and of what was read. */
static void put_checks(const struct txn_plan *plan, uint32_t shard, struct say_arguments *arguments)
{
    uint32_t count = (uint32_t)known_keys(plan, shard);
    for (uint32_t i = 0; i < plan->watch_count; i++) {
        count += plan->watches[i].shard == shard;
    }
    put_number(arguments, count);
    for (size_t i = 0; i < known_keys(plan, shard); i++) {
        struct overlay_key key;
        txn_values_at(&plan->values, shard, i, &key);
        put(arguments, key.key);
        put_number(arguments, key.version);
    }
    for (uint32_t i = 0; i < plan->watch_count; i++) {
        if (plan->watches[i].shard == shard) {
            put(arguments, buffer_slice(&plan->watches[i].key));
            put_number(arguments, plan->watches[i].version);
        }
    }
}

/* What becomes of what was read. The values first, so that they do not move when slices of them are taken. */
static void put_writes(const struct txn_plan *plan, uint32_t shard, struct say_arguments *arguments)
{
    uint32_t count = 0;
    size_t keys = known_keys(plan, shard);
    size_t *ends = memory_allocate((keys + 1) * sizeof(*ends));
    struct overlay_key key;
    buffer_clear(&arguments->values);
    for (size_t i = 0; i < keys; i++) {
        txn_values_at(&plan->values, shard, i, &key);
        if (key.changed) {
            txn_values_dump(&plan->values, shard, key.key, &arguments->values);
            count++;
        }
        ends[i] = arguments->values.size;
    }
    put_number(arguments, count);
    for (size_t i = 0; i < keys; i++) {
        txn_values_at(&plan->values, shard, i, &key);
        size_t start = i == 0 ? 0 : ends[i - 1];
        if (key.changed) {
            put(arguments, key.key);
            bool empty = ends[i] == start; /* then there may be no bytes at all to point into */
            put(arguments, empty ? slice_of(NULL, 0) : slice_of(arguments->values.data + start, ends[i] - start));
        }
    }
    free(ends);
}

/* Of a plan of values: what is going to be read, and maybe written. Its steps, about all keys, follow. */
static void put_held(const struct txn_plan *plan, const struct plan_part *part, struct say_arguments *arguments)
{
    put_number(arguments, part->key_count);
    for (uint32_t i = 0; i < part->key_count; i++) {
        put(arguments, plan->keys[part->first_key + i].key);
        put(arguments, slice_of(NULL, 0));
    }
}

static struct slice mode_word(enum txn_prepare_mode mode)
{
    static const char *const words[] = {"NOW", "WAIT", "HOLD"};
    return slice_from_string(words[mode]);
}

/* The part of a shard that may be none. */
static struct plan_part part_of(const struct txn_plan *plan, uint32_t shard)
{
    uint32_t part = txn_plan_part(plan, shard);
    return part < plan->part_count ? plan->parts[part] : (struct plan_part){.shard = shard};
}

/* For what a shard is told of the plan; `numbers` more of them before that, as arguments. */
static void begin_work(struct say_arguments *arguments, const struct txn_plan *plan, const struct plan_part *part,
                       size_t numbers)
{
    size_t keys = known_keys(plan, part->shard);
    size_t slices = 16 + numbers + 2 * (size_t)plan->watch_count + 2 * (size_t)part->step_count + 4 * keys +
                    2 * (size_t)part->key_count;
    begin(arguments, slices, 10 + numbers + plan->watch_count + keys);
}

struct command txn_say_prepare(struct say_arguments *arguments, const struct say_attempt *attempt,
                               const struct txn_plan *plan, uint32_t at)
{
    const struct plan_part *part = &plan->parts[at];
    bool asks = attempt->protocol == TXN_3PC; /* each other; else home */
    begin_work(arguments, plan, part, asks ? 2 * (size_t)plan->part_count : 0);
    put(arguments, SLICE_LITERAL("COHORT.TXN.PREPARE"));
    put(arguments, attempt->id);
    put_number(arguments, attempt->home);
    put_number(arguments, attempt->epoch);
    put_number(arguments, (uint64_t)attempt->protocol);
    put(arguments, mode_word(attempt->mode));
    if (attempt->runner.node != 0) {
        put(arguments, SLICE_LITERAL("BY"));
        put_number(arguments, attempt->runner.node);
        put_number(arguments, attempt->runner.start);
    }
    if (asks) {
        put_ranges(plan, arguments);
    } else {
        put_number(arguments, 0);
    }
    put_checks(plan, part->shard, arguments);
    if (attempt->mode == PREPARE_HOLD) {
        put_held(plan, part, arguments);
    } else {
        put_writes(plan, part->shard, arguments);
    }
    put_steps(plan, part, attempt->mode != PREPARE_HOLD, arguments);
    return said(arguments, COMMAND_COHORT_TXN_PREPARE);
}

struct command txn_say_last(struct say_arguments *arguments, const struct say_attempt *attempt,
                            const struct txn_plan *plan, const uint64_t *votes)
{
    const struct plan_part own = part_of(plan, attempt->home);
    begin_work(arguments, plan, &own, 2 * (size_t)plan->part_count);
    put(arguments, SLICE_LITERAL("COHORT.TXN.LAST"));
    put(arguments, attempt->id);
    put_number(arguments, attempt->home);
    put_number(arguments, attempt->epoch);
    put_number(arguments, attempt->begun);
    put_number(arguments, plan->part_count);
    put_parts(plan, arguments);
    put_number(arguments, plan->part_count);
    for (uint32_t i = 0; i < plan->part_count; i++) {
        put_number(arguments, plan->parts[i].shard == attempt->home ? 0 : votes[i]);
    }
    put_checks(plan, attempt->home, arguments);
    put_writes(plan, attempt->home, arguments);
    put_steps(plan, &own, true, arguments);
    return said(arguments, COMMAND_COHORT_TXN_LAST);
}

struct command txn_say_drop(struct say_arguments *arguments, const struct say_attempt *attempt)
{
    begin(arguments, 4, 1);
    put(arguments, SLICE_LITERAL("COHORT.TXN.FINISH"));
    put(arguments, attempt->id);
    put_number(arguments, attempt->epoch);
    put(arguments, SLICE_LITERAL("ABORT"));
    return said(arguments, COMMAND_COHORT_TXN_FINISH);
}

struct command txn_say_read(struct say_arguments *arguments, const struct txn_plan *plan, uint32_t part)
{
    begin(arguments, 1 + 2 * (size_t)plan->parts[part].step_count, 0);
    put(arguments, SLICE_LITERAL("COHORT.TXN.READ"));
    put_steps(plan, &plan->parts[part], true, arguments);
    return said(arguments, COMMAND_COHORT_TXN_READ);
}

struct command txn_say_dump(struct say_arguments *arguments, const struct txn_plan *plan, uint32_t part)
{
    const struct plan_part *of = &plan->parts[part];
    begin(arguments, 1 + (size_t)of->key_count, 0);
    put(arguments, SLICE_LITERAL("COHORT.DUMP"));
    for (uint32_t i = 0; i < of->key_count; i++) {
        put(arguments, plan->keys[of->first_key + i].key);
    }
    return said(arguments, COMMAND_COHORT_DUMP);
}

struct command txn_say_open(struct say_arguments *arguments, const struct say_attempt *attempt,
                            const struct txn_plan *plan)
{
    begin(arguments, 7 + (size_t)plan->part_count, 4 + (size_t)plan->part_count);
    put(arguments, SLICE_LITERAL("COHORT.TXN.OPEN"));
    put(arguments, attempt->id);
    put_number(arguments, attempt->epoch);
    put_number(arguments, (uint64_t)attempt->protocol);
    put_number(arguments, (uint64_t)attempt->timeout_ms);
    put_parts(plan, arguments);
    if (attempt->kept_ms != 0) {
        put(arguments, SLICE_LITERAL("KEPT"));
        put_number(arguments, (uint64_t)attempt->kept_ms);
    }
    return said(arguments, COMMAND_COHORT_TXN_OPEN);
}

struct command txn_say_commit(struct say_arguments *arguments, const struct say_attempt *attempt,
                              const struct txn_plan *plan, const uint64_t *votes)
{
    begin(arguments, 4 + 2 * (size_t)plan->part_count, 1 + 2 * (size_t)plan->part_count);
    put(arguments, SLICE_LITERAL("COHORT.TXN.DECIDE"));
    put(arguments, attempt->id);
    put_number(arguments, attempt->epoch);
    put(arguments, SLICE_LITERAL("COMMIT"));
    for (uint32_t i = 0; i < plan->part_count; i++) {
        put_number(arguments, plan->parts[i].shard);
        put_number(arguments, votes[i]);
    }
    return said(arguments, COMMAND_COHORT_TXN_DECIDE);
}

struct command txn_say_abort(struct say_arguments *arguments, const struct say_attempt *attempt, const char *reason)
{
    begin(arguments, 5, 1);
    put(arguments, SLICE_LITERAL("COHORT.TXN.DECIDE"));
    put(arguments, attempt->id);
    put_number(arguments, attempt->epoch);
    put(arguments, SLICE_LITERAL("ABORT"));
    put(arguments, slice_from_string(reason));
    return said(arguments, COMMAND_COHORT_TXN_DECIDE);
}

struct command txn_say_resolve(struct say_arguments *arguments, const struct say_attempt *attempt, bool replies)
{
    begin(arguments, 3, 0);
    put(arguments, SLICE_LITERAL("COHORT.TXN.RESOLVE"));
    put(arguments, attempt->id);
    if (replies) {
        put(arguments, SLICE_LITERAL("REPLIES"));
    }
    return said(arguments, COMMAND_COHORT_TXN_RESOLVE);
}

struct command txn_say_move(struct say_arguments *arguments, const struct say_attempt *attempt, bool commit)
{
    begin(arguments, 3, 0);
    put(arguments, SLICE_LITERAL("COHORT.TXN.MOVE"));
    put(arguments, attempt->id);
    put(arguments, commit ? SLICE_LITERAL("PRECOMMIT") : SLICE_LITERAL("PREABORT"));
    return said(arguments, COMMAND_COHORT_TXN_MOVE);
}

struct command txn_say_ask(struct say_arguments *arguments, const struct say_attempt *attempt)
{
    begin(arguments, 4, 2);
    put(arguments, SLICE_LITERAL("COHORT.TXN.ASK"));
    put(arguments, attempt->id);
    put_number(arguments, attempt->home);
    put_number(arguments, attempt->epoch);
    return said(arguments, COMMAND_COHORT_TXN_ASK);
}

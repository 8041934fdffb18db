#include "machine/txn/whole.h"

#include "base/assert.h"
#include "machine/keys/scan_options.h"
#include "machine/machine_mutation.h"

/* How many buckets a walk takes in one step; how often a key is drawn anew that is the overlay's. */
enum { WALK_STEP = 4096, DRAWS = 64 };

struct whole {
    struct call *call;
    const struct overlay *overlay;
    const struct scan_options *options;
    size_t found;
};

bool whole_looks(const struct command_spec *spec)
{
    switch (spec->id) {
    case COMMAND_DBSIZE:
    case COMMAND_KEYS:
    case COMMAND_RANDOMKEY:
    case COMMAND_SCAN: return true;
    default: return false;
    }
}

/* ---- the two parts of what is there: the keyspace without the overlay's keys, and those ---- */

/* In the keyspace, which may count it although it is due. */
static bool is_counted(const struct whole *whole, struct slice key)
{
    static const struct keyspace_time before_all = {INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN};
    return !overlay_flushed(whole->overlay) && keyspace_find(whole->call->keyspace, &before_all, key, NULL) != NULL;
}

static uint64_t count_others(const struct whole *whole)
{
    uint64_t count = overlay_flushed(whole->overlay) ? 0 : keyspace_count(whole->call->keyspace);
    for (size_t i = 0; i < overlay_count(whole->overlay); i++) {
        struct overlay_key key;
        overlay_at(whole->overlay, i, &key);
        count -= is_counted(whole, key.key) ? 1 : 0;
    }
    return count;
}

static uint64_t count_own(const struct whole *whole)
{
    uint64_t count = 0;
    for (size_t i = 0; i < overlay_count(whole->overlay); i++) {
        struct overlay_key key;
        overlay_at(whole->overlay, i, &key);
        count += key.shape != SHAPE_NONE ? 1 : 0;
    }
    return count;
}

/* ---- walks ---- */

static bool wanted(const struct whole *whole, struct slice key, enum overlay_shape shape)
{
    const struct scan_options *options = whole->options;
    return (!options->has_type || slice_is_word(options->type, shape == SHAPE_STRING ? "string" : "hash")) &&
           scan_options_match(options, key);
}

static void put(struct whole *whole, struct slice key)
{
    resp_bulk(&whole->call->reply, key);
    whole->found++;
}

/* The key as the transaction has it. */
static void walk_key(void *owner, const struct entry *entry)
{
    struct whole *whole = owner;
    struct slice key = entry_key(entry);
    enum overlay_shape shape;
    bool own = overlay_shape(whole->overlay, key, &shape);
    if (!own) {
        shape = entry_type(entry) == ENTRY_STRING ? SHAPE_STRING : SHAPE_HASH;
    }
    if (shape != SHAPE_NONE && wanted(whole, key, shape) && (own || !call_meets_due(whole->call, entry))) {
        put(whole, key);
    }
}

/* Those that the transaction has made; a walk of the keyspace does not come by them, nor by what is due there. */
static void put_new(struct whole *whole)
{
    struct keyspace_time time = call_applied_time(whole->call);
    for (size_t i = 0; i < overlay_count(whole->overlay); i++) {
        struct overlay_key key;
        overlay_at(whole->overlay, i, &key);
        bool walked =
            !overlay_flushed(whole->overlay) && keyspace_find(whole->call->keyspace, &time, key.key, NULL) != NULL;
        if (key.shape != SHAPE_NONE && !walked && wanted(whole, key.key, key.shape)) {
            put(whole, key.key);
        }
    }
}

static uint64_t walk(struct whole *whole, uint64_t cursor, size_t count)
{
    struct keyspace_time time = call_applied_time(whole->call);
    return overlay_flushed(whole->overlay)
               ? 0
               : keyspace_scan(whole->call->keyspace, &time, cursor, count, walk_key, whole);
}

static void keys(struct whole *whole)
{
    const struct scan_options options = {.has_pattern = true, .pattern = whole->call->argv[1]};
    whole->options = &options;
    size_t begin = call_array_begin(whole->call);
    uint64_t cursor = 0;
    put_new(whole);
    do {
        cursor = walk(whole, cursor, WALK_STEP);
    } while (cursor != 0);
    call_array_end(whole->call, begin, whole->found);
    whole->options = NULL;
}

/* Who begins here meets what the transaction has made at once: its walk may end before the transaction does. */
static void scan(struct whole *whole)
{
    struct scan_options options;
    if (!scan_options_cursor(whole->call, whole->call->argv[1], &options) ||
        !scan_options_read(whole->call, 2, true, &options)) {
        return;
    }
    whole->options = &options;
    size_t begin = call_array_begin(whole->call);
    if (options.cursor == 0) {
        put_new(whole);
    }
    uint64_t cursor = walk(whole, options.cursor, options.count);
    scan_options_reply(whole->call, begin, cursor, whole->found);
    whole->options = NULL;
}

/* ---- a random one ---- */

static void put_own(struct whole *whole, uint64_t number)
{
    for (size_t i = 0; i < overlay_count(whole->overlay); i++) {
        struct overlay_key key;
        overlay_at(whole->overlay, i, &key);
        if (key.shape != SHAPE_NONE && number-- == 0) {
            resp_bulk(&whole->call->reply, key.key);
            return;
        }
    }
    UNREACHABLE();
}

static void take_first(void *owner, const struct entry *entry)
{
    struct whole *whole = owner;
    if (whole->found == 0 && !overlay_has(whole->overlay, entry_key(entry)) && !call_meets_due(whole->call, entry)) {
        resp_bulk(&whole->call->reply, entry_key(entry));
        whole->found++;
    }
}

/* Draws until it is none of the overlay's; when those are nearly all, takes the first other one. */
static bool put_other(struct whole *whole)
{
    struct keyspace_time time = call_applied_time(whole->call);
    for (int i = 0; i < DRAWS; i++) {
        const struct entry *entry = keyspace_random(whole->call->keyspace, &time, prng_next(whole->call->prng));
        if (entry != NULL && !overlay_has(whole->overlay, entry_key(entry)) && !call_meets_due(whole->call, entry)) {
            resp_bulk(&whole->call->reply, entry_key(entry));
            return true;
        }
    }
    uint64_t cursor = 0;
    do {
        cursor = keyspace_scan(whole->call->keyspace, &time, cursor, WALK_STEP, take_first, whole);
    } while (cursor != 0 && whole->found == 0);
    return whole->found != 0;
}

static void randomkey(struct whole *whole)
{
    uint64_t own = count_own(whole);
    uint64_t others = count_others(whole);
    uint64_t drawn = own + others == 0 ? 0 : prng_below(whole->call->prng, own + others);
    if (drawn >= own && others > 0 && put_other(whole)) {
        return;
    }
    if (own > 0) {
        put_own(whole, drawn % own);
    } else {
        resp_null(&whole->call->reply);
    }
}

static void run(struct whole *whole)
{
    struct call *call = whole->call;
    switch (call->spec->id) {
    case COMMAND_DBSIZE: resp_integer(&call->reply, (int64_t)(count_others(whole) + count_own(whole))); return;
    case COMMAND_KEYS: keys(whole); return;
    case COMMAND_SCAN: scan(whole); return;
    case COMMAND_RANDOMKEY: randomkey(whole); return;
    default: UNREACHABLE();
    }
}

void whole_run(struct call *call, const struct overlay *overlay, const struct command *command,
               struct resp_writer *reply)
{
    if (reply->out == NULL) {
        return; /* looking changes nothing */
    }
    struct call inner = *call;
    inner.spec = command->spec;
    inner.argv = command->argv;
    inner.argc = command->argc;
    inner.reply = resp_writer_to(reply->out, command->protocol);
    inner.reply_start = reply->out->size;
    struct whole whole = {&inner, overlay, NULL, 0};
    run(&whole);
    call->must_log = inner.must_log;
}

/* ---- what is said for them ---- */

static bool parse_shape(struct slice word, enum overlay_shape *ret_shape)
{
    static const char *const words[SHAPES] = {"NONE", "STRING", "HASH"};
    for (enum overlay_shape shape = SHAPE_NONE; shape < SHAPES; shape++) {
        if (slice_is_word(word, words[shape])) {
            *ret_shape = shape;
            return true;
        }
    }
    return false;
}

bool whole_seem(struct overlay *overlay, const struct command *command, bool loads)
{
    bool flushed = slice_is_word(command->argv[1], "FLUSHED");
    if (command->argc % 2 != 0 || (!flushed && !slice_is_word(command->argv[1], "BESIDES")) || (flushed && !loads)) {
        return false;
    }
    for (uint32_t i = 2; i < command->argc; i += 2) {
        struct slice key = command->argv[i];
        enum overlay_shape shape;
        if (!parse_shape(command->argv[i + 1], &shape)) {
            return false;
        }
        if (loads && !overlay_has(overlay, key) && overlay_load(overlay, key, 0, slice_of(NULL, 0)) != STATUS_OK) {
            return false;
        }
        if (!MACHINE_MUTATED(LOOKS_NOT_TOLD) && !overlay_seem(overlay, key, shape)) {
            return false;
        }
    }
    if (flushed) {
        overlay_seem_flushed(overlay);
    }
    return true;
}

struct whole_numbers whole_numbers(const struct call *call)
{
    return (struct whole_numbers){keyspace_last_position(call->keyspace), keyspace_count(call->keyspace)};
}

bool whole_seen(const struct command *command, struct whole_numbers *ret_seen)
{
    int64_t position;
    int64_t count;
    if (command->argc != 3 || !number_parse_int64(command->argv[1], &position) ||
        !number_parse_int64(command->argv[2], &count)) {
        return false;
    }
    *ret_seen = (struct whole_numbers){(uint64_t)position, (uint64_t)count};
    return true;
}

bool whole_is_as_seen(const struct call *call, const struct whole_numbers *seen)
{
    struct whole_numbers now = whole_numbers(call);
    if (MACHINE_MUTATED(LOOKS_NOT_COMPARED)) {
        return true;
    }
    int64_t due_ms;
    int64_t due_wall_ms;
    keyspace_next_due(call->keyspace, &due_ms, &due_wall_ms);
    return now.position == seen->position && now.count == seen->count && due_ms > call->time.applied_time_ms &&
           due_wall_ms > call->time.applied_wall_ms;
}

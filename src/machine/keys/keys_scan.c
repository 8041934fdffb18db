/* Walks over all keys: KEYS, SCAN, RANDOMKEY. Each meets keys it was not asked for by name, so each looks whether one
 * of them is due by the present time; the read then goes through the log. */
#include "command/machine_handlers.h"
#include "machine/keys/scan_options.h"

/* How many buckets KEYS takes in one step of its walk. */
enum { KEYS_STEP = 4096 };

struct key_walk {
    struct call *call;
    const struct scan_options *options;
    size_t found;
};

static void walk_key(void *owner, const struct entry *entry)
{
    struct key_walk *walk = owner;
    const struct scan_options *options = walk->options;
    if (options->has_type && !slice_is_word(options->type, entry_type(entry) == ENTRY_STRING ? "string" : "hash")) {
        return;
    }
    if (scan_options_match(options, entry_key(entry)) && !call_meets_due(walk->call, entry)) {
        resp_bulk(&walk->call->reply, entry_key(entry));
        walk->found++;
    }
}

void keys_keys(struct call *call)
{
    struct scan_options options = {.has_pattern = true, .pattern = call->argv[1]};
    struct key_walk walk = {call, &options, 0};
    size_t begin = call_array_begin(call);
    struct keyspace_time time = call_applied_time(call);
    uint64_t cursor = 0;
    do {
        cursor = keyspace_scan(call->keyspace, &time, cursor, KEYS_STEP, walk_key, &walk);
    } while (cursor != 0 && !call->must_log);
    call_array_end(call, begin, walk.found);
}

void keys_scan(struct call *call)
{
    struct scan_options options;
    if (!scan_options_cursor(call, call->argv[1], &options) || !scan_options_read(call, 2, true, &options)) {
        return;
    }
    struct key_walk walk = {call, &options, 0};
    size_t begin = call_array_begin(call);
    struct keyspace_time time = call_applied_time(call);
    uint64_t cursor = keyspace_scan(call->keyspace, &time, options.cursor, options.count, walk_key, &walk);
    scan_options_reply(call, begin, cursor, walk.found);
}

void keys_randomkey(struct call *call)
{
    struct keyspace_time time = call_applied_time(call);
    const struct entry *entry = keyspace_random(call->keyspace, &time, prng_next(call->prng));
    if (entry == NULL || call_meets_due(call, entry)) {
        resp_null(&call->reply);
        return;
    }
    resp_bulk(&call->reply, entry_key(entry));
}

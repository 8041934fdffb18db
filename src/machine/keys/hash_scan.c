/* HSCAN and HRANDFIELD: parts of a hash.
 *
 * HRANDFIELD with a positive count gives different fields. When it asks for a good part of the hash, one walk picks
 * each field with the probability that makes all choices equally likely (Knuth, TAOCP 2, 3.4.2, algorithm S); when it
 * asks for few of many, fields are drawn one by one and those drawn before are passed over. */
#include "base/memory.h"
#include "command/machine_handlers.h"
#include "machine/keys/scan_options.h"

#include <stdlib.h>

/* More fields with repetition than this are refused: they would keep everybody else waiting. */
enum { DRAWS_MAXIMUM = 1 << 20 };

struct field_walk {
    struct call *call;
    const struct scan_options *options;
    size_t found;
};

static void walk_field(void *owner, struct slice field, struct slice value)
{
    struct field_walk *walk = owner;
    if (scan_options_match(walk->options, field)) {
        resp_bulk(&walk->call->reply, field);
        resp_bulk(&walk->call->reply, value);
        walk->found += 2;
    }
}

void hash_hscan(struct call *call)
{
    struct scan_options options;
    if (!scan_options_cursor(call, call->argv[2], &options)) {
        return;
    }
    const struct entry *entry = call_find(call, call->argv[1]);
    if (entry == NULL) {
        scan_options_reply(call, call_array_begin(call), 0, 0);
        return;
    }
    if (!call_has_type(call, entry, ENTRY_HASH) || !scan_options_read(call, 3, false, &options)) {
        return;
    }
    struct field_walk walk = {call, &options, 0};
    size_t begin = call_array_begin(call);
    uint64_t cursor = entry_hash_scan(entry, options.cursor, options.count, walk_field, &walk);
    scan_options_reply(call, begin, cursor, walk.found);
}

struct pick {
    struct call *call;
    const struct entry *entry;
    bool with_values;
    size_t needed;    /* still to be given */
    size_t remaining; /* fields the walk has not met yet */
};

static void begin_picks(struct pick *pick, size_t count)
{
    bool flat = pick->with_values && pick->call->reply.protocol != RESP3;
    resp_array(&pick->call->reply, flat ? count * 2 : count);
}

static void give(struct pick *pick, struct slice field, struct slice value)
{
    struct resp_writer *reply = &pick->call->reply;
    if (pick->with_values && reply->protocol == RESP3) {
        resp_array(reply, 2);
    }
    resp_bulk(reply, field);
    if (pick->with_values) {
        resp_bulk(reply, value);
    }
}

/* Fields with repetition. */
static void give_drawn(struct pick *pick, uint64_t count)
{
    begin_picks(pick, count);
    for (uint64_t i = 0; i < count; i++) {
        struct slice field;
        struct slice value;
        entry_hash_random(pick->entry, prng_next(pick->call->prng), &field, &value);
        give(pick, field, value);
        if (!call_reply_fits(pick->call)) {
            return;
        }
    }
}

static bool select_field(void *owner, struct slice field, struct slice value)
{
    struct pick *pick = owner;
    if (prng_below(pick->call->prng, pick->remaining) < pick->needed) {
        give(pick, field, value);
        pick->needed--;
    }
    pick->remaining--;
    return pick->needed > 0;
}

/* Which fields were drawn: an open-addressed table of where they stand in memory. */
struct drawn_set {
    const void **places;
    size_t mask;
};

/* True when the field was not in the set. */
static bool drawn_set_add(struct drawn_set *set, struct slice field)
{
    uint64_t mixed = (uint64_t)(uintptr_t)field.data;
    for (size_t at = prng_splitmix(&mixed) & set->mask;; at = (at + 1) & set->mask) {
        if (set->places[at] == field.data) {
            return false;
        }
        if (set->places[at] == NULL) {
            set->places[at] = field.data;
            return true;
        }
    }
}

struct rest {
    struct pick *pick;
    struct drawn_set *set;
};

static bool give_undrawn(void *owner, struct slice field, struct slice value)
{
    struct rest *rest = owner;
    if (drawn_set_add(rest->set, field)) {
        give(rest->pick, field, value);
        rest->pick->needed--;
    }
    return rest->pick->needed > 0;
}

/* Draws until enough different fields came. Each draw is new with probability above 2/3; should luck fail the bound
 * all the same, a walk gives the rest. */
static void give_few(struct pick *pick)
{
    size_t capacity = 16;
    while (capacity < pick->needed * 2) {
        capacity *= 2;
    }
    struct drawn_set set = {memory_allocate_zeroed(capacity, sizeof(void *)), capacity - 1};
    for (size_t tries = 100 + pick->needed * 8; tries > 0 && pick->needed > 0; tries--) {
        struct slice field;
        struct slice value;
        entry_hash_random(pick->entry, prng_next(pick->call->prng), &field, &value);
        if (drawn_set_add(&set, field)) {
            give(pick, field, value);
            pick->needed--;
        }
    }
    if (pick->needed > 0) {
        entry_hash_each(pick->entry, give_undrawn, &(struct rest){pick, &set});
    }
    free(set.places);
}

static void give_distinct(struct pick *pick, uint64_t count)
{
    size_t size = entry_hash_size(pick->entry);
    pick->needed = count < size ? count : size;
    pick->remaining = size;
    begin_picks(pick, pick->needed);
    if (pick->needed > size / 3) {
        entry_hash_each(pick->entry, select_field, pick);
    } else {
        give_few(pick);
    }
}

/* Reads argv[2] and WITHVALUES; false after an error reply. */
static bool read_pick(struct call *call, struct pick *pick, int64_t *ret_count)
{
    if (!call_integer(call, call->argv[2], ret_count)) {
        return false;
    }
    if (*ret_count == INT64_MIN) {
        resp_error_format(&call->reply, "ERR value is out of range, value must between %lld and %lld",
                          -(long long)INT64_MAX, (long long)INT64_MAX);
        return false;
    }
    if (call->argc > 4 || (call->argc == 4 && !slice_is_word(call->argv[3], "withvalues"))) {
        call_syntax_error(call);
        return false;
    }
    pick->with_values = call->argc == 4;
    if (pick->with_values && (*ret_count > INT64_MAX / 2 || *ret_count < -INT64_MAX / 2)) {
        resp_error(&call->reply, "ERR value is out of range");
        return false;
    }
    if (*ret_count < -DRAWS_MAXIMUM) {
        resp_error_format(&call->reply, "ERR value is out of range, at most %d fields with repetition", DRAWS_MAXIMUM);
        return false;
    }
    return true;
}

void hash_hrandfield(struct call *call)
{
    struct pick pick = {.call = call};
    bool counted = call->argc > 2;
    int64_t count = 0;
    if (counted && !read_pick(call, &pick, &count)) {
        return;
    }
    pick.entry = call_find(call, call->argv[1]);
    if (pick.entry != NULL && !call_has_type(call, pick.entry, ENTRY_HASH)) {
        return;
    }
    if (!counted && pick.entry == NULL) {
        resp_null(&call->reply);
    } else if (!counted) {
        struct slice field;
        struct slice value;
        entry_hash_random(pick.entry, prng_next(call->prng), &field, &value);
        give(&pick, field, value);
    } else if (pick.entry == NULL || count == 0) {
        resp_array(&call->reply, 0);
    } else if (count < 0) {
        give_drawn(&pick, (uint64_t)-count);
    } else {
        give_distinct(&pick, (uint64_t)count);
    }
}

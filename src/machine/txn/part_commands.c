/* The internal commands at a participant, but PREPARE; README.md has their forms and replies. */
#include "base/assert.h"
#include "command/machine_handlers.h"
#include "machine/call.h"
#include "machine/dispatch.h"
#include "machine/keys/dump.h"
#include "machine/txn/footprint.h"
#include "machine/txn/txn.h"
#include "machine/txn/whole.h"

static void malformed(struct call *call) { resp_error(&call->reply, "ERR malformed command of a transaction"); }

static bool take_epoch(struct slice text, uint64_t *ret_epoch)
{
    int64_t epoch;
    if (!number_parse_int64(text, &epoch) || epoch < 0) {
        return false;
    }
    *ret_epoch = (uint64_t)epoch;
    return true;
}

static void tell(struct call *call, enum part_state state)
{
    resp_array(&call->reply, 1);
    resp_bulk_string(&call->reply, part_state_name(state));
}

/* The vote, too: home wants it named, whoever brings the outcome. */
static void tell_vote(struct call *call, const struct part *part)
{
    resp_array(&call->reply, 2);
    resp_bulk_string(&call->reply, part_state_name(part == NULL ? PART_NONE : (enum part_state)part->state));
    resp_integer(&call->reply, part == NULL ? 0 : (int64_t)part->vote);
}

static bool is_finished(const struct part *part)
{
    return part->state == PART_COMMITTED || part->state == PART_ABORTED;
}

static struct part *find(struct call *call, bool *ret_valid)
{
    struct txn_id id;
    *ret_valid = txn_id_parse(call->argv[1], &id);
    return *ret_valid ? parts_find(&call->txns->parts, call->argv[1]) : NULL;
}

void txn_finish(struct call *call)
{
    bool valid;
    uint64_t epoch;
    struct part *part = find(call, &valid);
    bool commit = slice_is_word(call->argv[3], "COMMIT");
    if (!valid || !take_epoch(call->argv[2], &epoch) || (!commit && !slice_is_word(call->argv[3], "ABORT"))) {
        malformed(call);
        return;
    }
    if (part == NULL) {
        tell(call, PART_NONE);
        return;
    }
    if (part->epoch != epoch || is_finished(part) || (part->state == PART_HELD && commit)) {
        tell(call, part->state); /* who has not voted cannot be committed */
        return;
    }
    part_finish(&call->txns->parts, part, commit, call->keyspace, &call->time, call->position);
    tell(call, commit ? PART_COMMITTED : PART_ABORTED);
}

void txn_move(struct call *call)
{
    bool valid;
    struct part *part = find(call, &valid);
    bool commit = slice_is_word(call->argv[2], "PRECOMMIT");
    if (!valid || (!commit && !slice_is_word(call->argv[2], "PREABORT"))) {
        malformed(call);
        return;
    }
    if (part != NULL) {
        (void)part_move(part, commit ? PART_PRECOMMIT : PART_PREABORT, call->time.applied_time_ms);
    }
    tell_vote(call, part);
}

void txn_ask(struct call *call)
{
    bool valid;
    uint64_t epoch;
    uint32_t home;
    struct parts *parts = &call->txns->parts;
    struct part *part = find(call, &valid);
    if (!valid || !txn_shard_parse(call->argv[2], &home) || !take_epoch(call->argv[3], &epoch)) {
        malformed(call);
        return;
    }
    if (part != NULL && part->state == PART_HELD && part->protocol == TXN_3PC) {
        part_finish(parts, part, false, call->keyspace, &call->time, call->position); /* it has not voted */
    }
    if (part != NULL) {
        tell_vote(call, part);
    } else if (parts->finished_count >= TXN_FINISHED) {
        resp_array(&call->reply, 1);
        resp_bulk_string(&call->reply, "FULL");
    } else {
        part = parts_refuse(parts, call->argv[1], home, epoch, call->position, call->time.applied_time_ms);
        tell_vote(call, part);
    }
}

void txn_forget(struct call *call)
{
    bool valid;
    struct part *part = find(call, &valid);
    if (!valid) {
        malformed(call);
        return;
    }
    if (part != NULL && is_finished(part)) {
        part_forget(&call->txns->parts, part);
        part = NULL;
    }
    tell(call, part == NULL ? PART_NONE : part->state);
}

/* They stand inside of others (whole.h). */
void txn_seem(struct call *call) { malformed(call); }
void txn_seen(struct call *call) { malformed(call); }

/* ---- looking ---- */

struct versions {
    struct call *call;
    size_t count;
};

static void put_version(void *owner, struct slice key, bool writes)
{
    struct versions *versions = owner;
    struct call *call = versions->call;
    (void)writes;
    (void)call_look(call, key);
    resp_integer(&call->reply, (int64_t)keyspace_version(call->keyspace, &call->time, key));
    versions->count++;
}

static void put_all_versions(struct versions *versions)
{
    const struct whole_numbers numbers = whole_numbers(versions->call);
    resp_integer(&versions->call->reply, (int64_t)numbers.position);
    resp_integer(&versions->call->reply, (int64_t)numbers.count);
    versions->count += 2;
}

/* Each is a command that only reads, keys or all of them; behind a SEEM, which comes first, all of them alone. */
static bool only_reads(struct call *call, bool *ret_seems)
{
    *ret_seems = false;
    for (uint32_t i = 1; i < call->argc; i++) {
        struct slice from = call->argv[i];
        struct command inner;
        if (command_decode(&from, call->queued, &inner) != STATUS_OK || from.size != 0) {
            return false;
        }
        bool seems = i == 1 && inner.spec->id == COMMAND_COHORT_TXN_SEEM;
        *ret_seems = *ret_seems || seems;
        if (!seems && ((!(overlay_takes(&inner) && !*ret_seems) && !whole_looks(inner.spec)) ||
                       (inner.spec->flags & COMMAND_READONLY) == 0)) {
            return false;
        }
    }
    return true;
}

/* As the transaction has it that said SEEM. */
static void look_besides(struct call *call)
{
    struct overlay *overlay = overlay_create(call->txns->hash_seed);
    for (uint32_t i = 1; i < call->argc; i++) {
        struct slice from = call->argv[i];
        struct command inner;
        ASSERT(command_decode(&from, call->queued, &inner) == STATUS_OK); /* only_reads has looked */
        if (i > 1) {
            whole_run(call, overlay, &inner, &call->reply);
        } else if (whole_seem(overlay, &inner, true)) {
            resp_status(&call->reply, "OK");
        } else {
            malformed(call);
        }
    }
    overlay_clear(overlay);
    overlay_destroy(overlay);
}

void txn_read(struct call *call)
{
    bool seems;
    if (!only_reads(call, &seems)) {
        malformed(call);
        return;
    }
    resp_array(&call->reply, 2);
    const struct command whole = {call->spec, call->argv, call->argc, (uint8_t)call->reply.protocol};
    struct versions versions = {call, 0};
    size_t begin = call_array_begin(call);
    if (footprint_visit(&whole, call->queued, put_version, &versions) == FOOTPRINT_ALL_READ) {
        put_all_versions(&versions);
    }
    call_array_end(call, begin, versions.count);
    resp_array(&call->reply, call->argc - 1);
    if (seems) {
        look_besides(call);
        return;
    }
    call->events = NULL; /* it is asked until two answers agree: what is missing would be told as often */
    for (uint32_t i = 1; i < call->argc; i++) {
        struct slice from = call->argv[i];
        struct command inner;
        if (command_decode(&from, call->queued, &inner) == STATUS_OK) {
            dispatch_within(call, &inner);
        }
    }
}

void txn_dump(struct call *call)
{
    struct buffer value;
    size_t bytes = 0;
    buffer_init(&value);
    resp_array(&call->reply, 2 + 2 * (call->argc - 1));
    resp_integer(&call->reply, call->time.present_time_ms);
    resp_integer(&call->reply, call->time.present_wall_ms);
    for (uint32_t i = 1; i < call->argc; i++) {
        const struct entry *entry = call_look(call, call->argv[i]);
        resp_integer(&call->reply, (int64_t)keyspace_version(call->keyspace, &call->time, call->argv[i]));
        if (entry == NULL || call->reply.out == NULL) {
            resp_null(&call->reply);
            continue;
        }
        bytes += entry_memory_bytes(entry);
        if (bytes > TXN_READ_BYTES) {
            call->reply.out->size = call->reply_start;
            resp_error(&call->reply, TXN_READS_TOO_MUCH);
            break;
        }
        buffer_clear(&value);
        entry_dump(entry, call->ties, &value);
        resp_bulk(&call->reply, buffer_slice(&value));
    }
    buffer_deinit(&value);
}

struct listing {
    struct call *call;
    uint32_t count;
};

static void put_part(struct call *call, const struct part *part)
{
    struct resp_writer *reply = &call->reply;
    resp_map(reply, 7);
    resp_bulk_string(reply, "id");
    resp_bulk(reply, part_id(part));
    resp_bulk_string(reply, "protocol");
    resp_bulk_string(reply, part->protocol == TXN_3PC ? "3PC" : "2PC");
    resp_bulk_string(reply, "state");
    resp_bulk_string(reply, part_state_name(part->state));
    resp_bulk_string(reply, "home");
    resp_integer(reply, part->home);
    resp_bulk_string(reply, "epoch");
    resp_integer(reply, (int64_t)part->epoch);
    resp_bulk_string(reply, "keys");
    resp_integer(reply, part->key_count);
    resp_bulk_string(reply, "age_ms");
    resp_integer(reply, call->time.present_time_ms - part->since_ms);
}

static void list_part(void *owner, void *item)
{
    struct listing *listing = owner;
    put_part(listing->call, item);
    listing->count++;
}

/* The shard's gate adds who waits. */
void txn_part(struct call *call)
{
    bool valid;
    const struct part *part = find(call, &valid);
    if (!valid) {
        malformed(call);
    } else if (part == NULL) {
        resp_null(&call->reply);
    } else {
        put_part(call, part);
    }
}

void txn_parts(struct call *call)
{
    uint64_t cursor;
    int64_t count;
    if (!number_parse_cursor(call->argv[1], &cursor) || !number_parse_int64(call->argv[2], &count) || count < 0 ||
        count > TXN_LIST_COUNT) {
        malformed(call);
        return;
    }
    size_t begin = call_array_begin(call);
    struct listing listing = {call, 0};
    do {
        cursor = table_walk(&call->txns->parts.table, cursor, list_part, &listing);
    } while (cursor != 0 && listing.count < count);
    call_cursor_end(call, begin, listing.count, cursor);
}

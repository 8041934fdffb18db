/* The internal commands at the home shard; README.md has their forms and replies. */
#include "machine/txn/home_commands.h"
#include "base/assert.h"
#include "command/machine_handlers.h"
#include "machine/call.h"
#include "machine/txn/txn.h"

static void malformed(struct call *call) { resp_error(&call->reply, "ERR malformed command of a transaction"); }

static bool take_id(struct call *call, struct slice *ret_id)
{
    struct txn_id id;
    *ret_id = call->argv[1];
    if (txn_id_parse(call->argv[1], &id)) {
        return true;
    }
    malformed(call);
    return false;
}

static bool take_number(struct slice text, int64_t most, int64_t *ret_value)
{
    return number_parse_int64(text, ret_value) && *ret_value >= 0 && *ret_value <= most;
}

static bool shards_valid(const struct slice *shards, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t shard;
        if (!txn_shard_parse(shards[i], &shard)) {
            return false;
        }
    }
    return count <= TXN_PARTICIPANTS;
}

/* KEPT and a time may stand behind the participants. */
static bool take_kept(struct home_open *open)
{
    uint32_t count = open->participant_count;
    open->kept_ms = TXN_ID_KEPT_MS;
    if (count < 2 || !slice_is_word(open->participants[count - 2], "KEPT")) {
        return true;
    }
    open->participant_count -= 2;
    return take_number(open->participants[count - 1], TXN_ID_KEPT_MAXIMUM_MS, &open->kept_ms) &&
           open->kept_ms >= TXN_ID_KEPT_MINIMUM_MS;
}

void txn_open(struct call *call)
{
    static const char *const words[] = {"OK", "EPOCH", "OLD", "EXISTS", "FULL"};
    struct home_open open = {
        .term = call->term,
        .position = call->position,
        .time_ms = call->time.applied_time_ms,
        .participants = call->argv + 5,
        .participant_count = call->argc - 5,
    };
    int64_t epoch;
    int64_t protocol;
    if (!take_id(call, &open.id)) {
        return;
    }
    if (!take_kept(&open) || !take_number(call->argv[2], INT64_MAX, &epoch) ||
        !take_number(call->argv[3], TXN_3PC, &protocol) || protocol < TXN_2PC ||
        !take_number(call->argv[4], TXN_TIMEOUT_MS, &open.timeout_ms) ||
        !shards_valid(open.participants, open.participant_count)) {
        malformed(call);
        return;
    }
    open.epoch = (uint64_t)epoch;
    open.protocol = (enum txn_protocol)protocol;
    enum home_outcome outcome = homes_open(&call->txns->homes, &open);
    resp_array(&call->reply, 3);
    resp_bulk_string(&call->reply, words[outcome]);
    resp_integer(&call->reply, (int64_t)call->term);
    resp_integer(&call->reply, (int64_t)call->position);
}

static void tell(struct call *call, const struct home *home)
{
    resp_array(&call->reply, 2);
    resp_bulk_string(&call->reply, home_told(home));
    resp_bulk_string(&call->reply, home->reason == NULL ? "" : home->reason);
}

void home_finish_own_part(struct call *call, struct home *home)
{
    struct parts *parts = &call->txns->parts;
    struct part *part = parts_find(parts, home_id(home));
    bool prepared = part != NULL && part->state != PART_COMMITTED && part->state != PART_ABORTED;
    if (!prepared || part->epoch != home->epoch || (part->state == PART_HELD && home->outcome == HOME_COMMIT)) {
        return;
    }
    uint32_t here = part->home;
    part_finish(parts, part, home->outcome == HOME_COMMIT, call->keyspace, &call->time, call->position);
    home_acknowledge(&call->txns->homes, home, here, call->position, call->time.applied_time_ms);
}

/* The record, made an abort when it is absent. NULL: the reply is written. */
static struct home *resolve(struct call *call, struct slice id)
{
    bool full = false;
    struct home *home = homes_resolve(&call->txns->homes, id, call->position, call->time.applied_time_ms, &full);
    if (home == NULL) {
        resp_array(&call->reply, 2);
        resp_bulk_string(&call->reply, full ? "FULL" : "OLD");
        resp_bulk_string(&call->reply, "");
    }
    return home;
}

void txn_decide(struct call *call)
{
    struct slice id;
    int64_t epoch;
    if (!take_id(call, &id)) {
        return;
    }
    bool commit = slice_is_word(call->argv[3], "COMMIT");
    if (!take_number(call->argv[2], INT64_MAX, &epoch) || (!commit && !slice_is_word(call->argv[3], "ABORT")) ||
        (commit ? call->argc % 2 != 0 : call->argc != 5)) {
        malformed(call);
        return;
    }
    struct homes *homes = &call->txns->homes;
    struct home *home = resolve(call, id);
    if (home == NULL) {
        return;
    }
    int64_t time_ms = call->time.applied_time_ms;
    bool decided =
        commit
            ? home_commit(homes, home, (uint64_t)epoch, call->argv + 4, (call->argc - 4) / 2, call->position, time_ms)
            : home->epoch == (uint64_t)epoch && home_abort(homes, home, call->argv[4], call->position, time_ms);
    tell(call, home); /* before it may be forgotten */
    if (decided && home->state != HOME_DONE) {
        home_finish_own_part(call, home);
    }
}

void txn_resolve(struct call *call)
{
    struct slice id;
    bool replies = call->argc == 3 && slice_is_word(call->argv[2], "REPLIES");
    if (call->argc > 2 && !replies) {
        malformed(call);
        return;
    }
    struct home *home = take_id(call, &id) ? resolve(call, id) : NULL;
    if (home != NULL) {
        /* Who asks has a PREPARE, and the OPEN that was sent with it is not here: as with one that is absent. */
        (void)(home->state == HOME_BEGUN &&
               home_abort(&call->txns->homes, home, slice_from_string("it was asked about before it was opened"),
                          call->position, call->time.applied_time_ms));
        resp_array(&call->reply, replies ? 4 : 3);
        resp_bulk_string(&call->reply, home_told(home));
        resp_integer(&call->reply, (int64_t)home->epoch);
        resp_integer(&call->reply, home->state == HOME_DONE ? 1 : 0);
        if (replies && home->replies.size != 0) {
            resp_bulk(&call->reply, buffer_slice(&home->replies));
        } else if (replies) {
            resp_null(&call->reply);
        }
    }
}

void txn_done(struct call *call)
{
    struct slice id;
    if (!take_id(call, &id)) {
        return;
    }
    if (!shards_valid(call->argv + 2, call->argc - 2)) {
        malformed(call);
        return;
    }
    struct homes *homes = &call->txns->homes;
    struct home *home = homes_find(homes, id);
    for (uint32_t i = 2; home != NULL && home->state != HOME_DONE && i < call->argc; i++) {
        uint32_t shard;
        ASSERT(txn_shard_parse(call->argv[i], &shard));
        home_acknowledge(homes, home, shard, call->position, call->time.applied_time_ms);
        home = homes_find(homes, id); /* it may be forgotten now */
    }
    resp_array(&call->reply, 1);
    resp_bulk_string(&call->reply, home == NULL ? "ABSENT" : home_state_name(home->state));
}

/* ---- looking ---- */

static void put_participants(struct call *call, const struct home *home)
{
    resp_array(&call->reply, home->participant_count);
    for (uint32_t i = 0; i < home->participant_count; i++) {
        const struct home_participant *participant = &home->participants[i];
        resp_array(&call->reply, 3);
        resp_integer(&call->reply, participant->shard);
        resp_integer(&call->reply, (int64_t)participant->vote);
        resp_integer(&call->reply, participant->done ? 1 : 0);
    }
}

/* How long ago; nil: not yet. */
static void put_since(struct call *call, bool was, int64_t time_ms)
{
    if (was) {
        resp_integer(&call->reply, call->time.present_time_ms - time_ms);
    } else {
        resp_null(&call->reply);
    }
}

static void put_map(struct call *call, const struct home *home, bool brief)
{
    struct resp_writer *reply = &call->reply;
    bool joined = !brief && home->branch_count != 0;
    resp_map(reply, brief ? 9 : joined ? 11 : 10);
    resp_bulk_string(reply, "id");
    resp_bulk(reply, home_id(home));
    resp_bulk_string(reply, "protocol");
    resp_bulk_string(reply, home->protocol == TXN_3PC ? "3PC" : "2PC");
    resp_bulk_string(reply, "state");
    resp_bulk_string(reply, home_state_name(home->state));
    resp_bulk_string(reply, "outcome");
    resp_bulk_string(reply, home->outcome == HOME_ABSENT ? "" : home_state_name(home->outcome));
    resp_bulk_string(reply, "reason");
    resp_bulk_string(reply, home->reason == NULL ? "" : home->reason);
    resp_bulk_string(reply, "epoch");
    resp_integer(reply, (int64_t)home->epoch);
    resp_bulk_string(reply, "age_ms");
    resp_integer(reply, call->time.present_time_ms - home->opened_ms);
    resp_bulk_string(reply, "decided_ms");
    put_since(call, home->outcome != HOME_ABSENT, home->decided_ms);
    resp_bulk_string(reply, "done_ms");
    put_since(call, home->state == HOME_DONE, home->done_ms);
    if (!brief) {
        resp_bulk_string(reply, "participants");
        put_participants(call, home);
    }
    if (joined) {
        resp_bulk_string(reply, "branches");
        home_put_branches(call, home);
    }
}

void txn_status(struct call *call)
{
    struct slice id;
    if (!take_id(call, &id)) {
        return;
    }
    bool brief = call->argc == 3 && slice_is_word(call->argv[2], "BRIEF");
    const struct home *home = homes_find(&call->txns->homes, id);
    if (call->argc > 2 && !brief) {
        malformed(call);
    } else if (home == NULL) {
        resp_null(&call->reply);
    } else {
        put_map(call, home, brief);
    }
}

struct listing {
    struct call *call;
    enum home_state state; /* HOME_ABSENT: any */
    int64_t older_ms;
    uint32_t count, seen;
};

static void list_home(void *owner, void *item)
{
    struct listing *listing = owner;
    const struct home *home = item;
    bool state = listing->state == HOME_ABSENT || listing->state == home->state;
    listing->seen++;
    if (state && listing->call->time.present_time_ms - home->opened_ms >= listing->older_ms) {
        put_map(listing->call, home, false);
        listing->count++;
    }
}

void txn_list(struct call *call)
{
    uint64_t cursor;
    int64_t count;
    struct listing listing = {.call = call};
    bool any = slice_is_word(call->argv[3], "ANY");
    if (!number_parse_cursor(call->argv[1], &cursor) || !take_number(call->argv[2], TXN_LIST_COUNT, &count) ||
        (!any && !home_state_parse(call->argv[3], &listing.state)) ||
        !take_number(call->argv[4], INT64_MAX, &listing.older_ms)) {
        malformed(call);
        return;
    }
    size_t begin = call_array_begin(call);
    do {
        cursor = table_walk(&call->txns->homes.table, cursor, list_home, &listing);
    } while (cursor != 0 && listing.count < count && listing.seen < TXN_LIST_SEEN);
    call_cursor_end(call, begin, listing.count, cursor);
}

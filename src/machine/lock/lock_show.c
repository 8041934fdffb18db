/* LOCK.INFO, LOCK.HISTORY, and a shard's part of LOCK.LIST. What is due by the applied time is not shown; what is due
 * by the present time only makes LOCK.INFO go through the log. */
#include "machine/call.h"

#include "base/glob.h"
#include "command/machine_handlers.h"
#include "machine/lock/elections.h"
#include "machine/lock/lock.h"
#include "machine/lock/lock_arguments.h"

static const char *mode_text(enum lock_mode mode)
{
    switch (mode) {
    case LOCK_EXCLUSIVE: return "exclusive";
    case LOCK_SHARED: return "shared";
    case LOCK_PERMITS_MODE:
    case LOCK_MODES: break;
    }
    return "permits";
}

static const char *end_text(enum lock_end end)
{
    switch (end) {
    case LOCK_RELEASED: return "released";
    case LOCK_EXPIRED: return "expired";
    case LOCK_SESSION: return "session";
    case LOCK_ADMIN: return "admin";
    case LOCK_CLIENT_GONE:
    case LOCK_ENDS: break;
    }
    return "client gone";
}

/* Claims of the list that are not over; a part that is reserved waits, and holds nothing. */
static size_t count_live(struct call *call, const struct list *claims, bool reserved)
{
    size_t count = 0;
    LIST_FOR_EACH (at, claims) {
        int64_t due_ms = claim_of(at)->due_ms;
        if (claim_is_reserved(claim_of(at)) != reserved) {
            continue;
        }
        count += due_ms > call->time.applied_time_ms ? 1 : 0;
        call->must_log |= due_ms > call->time.applied_time_ms && due_ms <= call->time.present_time_ms;
    }
    return count;
}

static void put_client(struct call *call, const struct lock_origin *origin)
{
    if (origin->node == 0) {
        resp_null(&call->reply);
        return;
    }
    char text[2 * NUMBER_INT64_BYTES];
    size_t size = number_format_uint64(text, origin->node);
    text[size++] = ':';
    size += number_format_uint64(text + size, origin->client);
    resp_bulk(&call->reply, slice_of(text, size));
}

static void put_pair(struct call *call, const char *name, int64_t value)
{
    resp_bulk_string(&call->reply, name);
    resp_integer(&call->reply, value);
}

static void put_text(struct call *call, const char *name, struct slice value)
{
    resp_bulk_string(&call->reply, name);
    resp_bulk(&call->reply, value);
}

/* What is due by this, and not ended by an entry yet, holds still. */
static int64_t left_ms(int64_t due_ms, int64_t now_ms) { return due_ms > now_ms ? due_ms - now_ms : 1; }

static void put_holders(struct call *call, const struct lock *lock)
{
    int64_t now_ms = call->time.present_time_ms + call->ahead_ms;
    resp_bulk_string(&call->reply, "holders");
    resp_array(&call->reply, lock == NULL ? 0 : count_live(call, &lock->holders, false));
    for (const struct list *at = lock == NULL ? NULL : lock->holders.next; at != NULL && at != &lock->holders;
         at = at->next) {
        const struct claim *claim = claim_of(at);
        if (claim->due_ms <= call->time.applied_time_ms || claim_is_reserved(claim)) {
            continue;
        }
        resp_map(&call->reply, 7);
        put_text(call, "owner", claim_owner(claim));
        put_pair(call, "token", (int64_t)claim->token);
        put_pair(call, "permits", claim->permits);
        put_pair(call, "held_ms", now_ms - claim->since_ms);
        put_pair(call, "ttl_ms", claim->tie != NULL ? -1 : left_ms(claim->due_ms, now_ms));
        put_text(call, "note", claim_note(claim));
        resp_bulk_string(&call->reply, "client");
        put_client(call, &claim->origin);
    }
}

static void put_waiting(struct call *call, const struct list *claims, bool reserved)
{
    int64_t now_ms = call->time.present_time_ms + call->ahead_ms;
    LIST_FOR_EACH (at, claims) {
        const struct claim *claim = claim_of(at);
        if (claim->due_ms <= call->time.applied_time_ms || claim_is_reserved(claim) != reserved) {
            continue;
        }
        resp_map(&call->reply, 4);
        put_text(call, "owner", claim_owner(claim));
        put_text(call, "mode", slice_from_string(reserved ? "reserved" : mode_text((enum lock_mode)claim->mode)));
        put_pair(call, "permits", claim->permits);
        put_pair(call, "waited_ms", now_ms - claim->since_ms);
    }
}

static void put_waiters(struct call *call, const struct lock *lock)
{
    resp_bulk_string(&call->reply, "waiters");
    if (lock == NULL) {
        resp_array(&call->reply, 0);
        return;
    }
    resp_array(&call->reply, count_live(call, &lock->holders, true) + count_live(call, &lock->waiters, false));
    put_waiting(call, &lock->holders, true);
    put_waiting(call, &lock->waiters, false);
}

static const char *state_text(struct call *call, const struct lock *lock)
{
    if (lock != NULL && count_live(call, &lock->holders, false) > 0) {
        return mode_text((enum lock_mode)claim_of(lock->holders.next)->mode);
    }
    return lock != NULL && count_live(call, &lock->holders, true) > 0 ? "reserved" : "free";
}

/* LOCK.INFO key */
void lock_info(struct call *call)
{
    const struct lock *lock = lock_find(call->locks, call->argv[1]);
    resp_map(&call->reply, 4);
    put_text(call, "mode", slice_from_string(state_text(call, lock)));
    put_pair(call, "limit", lock == NULL ? 0 : lock->limit);
    put_holders(call, lock);
    put_waiters(call, lock);
}

/* LOCK.HISTORY key [COUNT n]: the newest first. */
void lock_history(struct call *call)
{
    int64_t count = LOCK_HISTORY;
    if (call->argc == 6 && slice_is_word(call->argv[2], "COUNT") && slice_is_word(call->argv[4], "COUNT")) {
        resp_error(&call->reply, LOCK_TWICE("COUNT"));
        return;
    }
    if (call->argc != 2 && (call->argc != 4 || !slice_is_word(call->argv[2], "COUNT"))) {
        call_syntax_error(call);
        return;
    }
    if (call->argc == 4 && (!number_parse_int64(call->argv[3], &count) || count < 1)) {
        resp_error(&call->reply, "ERR COUNT is a positive integer");
        return;
    }
    const struct lock *lock = lock_find(call->locks, call->argv[1]);
    size_t past = lock == NULL ? 0 : lock->past_count;
    size_t shown = (uint64_t)count < past ? (size_t)count : past;
    resp_array(&call->reply, shown);
    const struct list *at = lock == NULL ? NULL : lock->past.prev;
    for (size_t i = 0; i < shown; i++, at = at->prev) {
        const struct claim *claim = claim_of(at);
        resp_map(&call->reply, 5);
        put_text(call, "owner", claim_owner(claim));
        put_pair(call, "token", (int64_t)claim->token);
        put_pair(call, "from", claim->since_ms);
        put_pair(call, "to", claim->due_ms);
        put_text(call, "why", slice_from_string(end_text((enum lock_end)claim->end)));
    }
}

/* ---- LOCK.LIST ---- */

enum { LIST_SEEN = 100000 }; /* no single look goes on for longer */

struct listing {
    struct call *call;
    struct slice pattern;
    size_t count, seen;
};

static void list_lock(void *owner, void *item)
{
    struct listing *listing = owner;
    const struct lock *lock = item;
    listing->seen++;
    if (claim_count(lock) > 0 && !lock_name_reserved(lock_key(lock)) &&
        glob_match(listing->pattern, lock_key(lock), false)) {
        resp_bulk(&listing->call->reply, lock_key(lock));
        listing->count++;
    }
}

/* COHORT.LOCK.LIST cursor count pattern */
void lock_list(struct call *call)
{
    uint64_t cursor;
    int64_t count;
    if (!number_parse_cursor(call->argv[1], &cursor) || !number_parse_int64(call->argv[2], &count) || count < 1 ||
        count > LOCK_LIST_COUNT) {
        resp_error(&call->reply, "ERR no node of ours can have said this");
        return;
    }
    struct listing listing = {.call = call, .pattern = call->argv[3]};
    size_t begin = call_array_begin(call);
    do {
        cursor = table_walk(&call->locks->table, cursor, list_lock, &listing);
    } while (cursor != 0 && listing.count < (size_t)count && listing.seen < LIST_SEEN);
    call_cursor_end(call, begin, listing.count, cursor);
}

/* The machine: time, dispatch, and what all kinds of state have in common.
 *
 * Its own record in snapshots: 'M' u8 · format version u8 · time_ms i64 · wall_ms i64 · position u64 (little-endian).
 * It comes first; the records of origins (origin.h), of transactions (txn/txn_snapshot.c), of the history
 * (feed/feed_log_snapshot.c), of ties and sessions (session/), of locks (lock/lock_snapshot.c), of barriers and latches
 * (meet/meet_snapshot.c), of services (service/service_snapshot.c) and of the keyspace follow.
 */
#include "machine/machine.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/varint.h"
#include "machine/dispatch.h"
#include "machine/feed/feed_log.h"
#include "machine/lock/locks.h"
#include "machine/meet/meets.h"
#include "machine/origin.h"
#include "machine/scripts.h"
#include "machine/service/services.h"
#include "machine/session/sessions.h"
#include "machine/session/ties.h"
#include "machine/txn/txn.h"

#include <stdlib.h>

enum { RECORD_MACHINE = 'M', RECORD_VERSION = 1, RECORD_BYTES = 2 + 3 * 8, MACHINE_WALKS = 5 };

struct machine {
    struct keyspace *keyspace;
    struct origins origins;
    struct txns txns;
    struct feed_log history;
    struct locks locks;
    struct sessions sessions;
    struct ties ties;
    struct meets meets;
    struct services services;
    int64_t time_ms, wall_ms;                   /* applied */
    uint64_t position;                          /* of the last apply */
    struct buffer snapshot_head;                /* records of the running snapshot that were made at its begin */
    struct snapshot_walk *walks[MACHINE_WALKS]; /* in the order of their records: locks tell which ties they have */
    /* What follows is no part of the state. */
    const struct machine_scripts *scripts;
    struct scripts_spent spent;
    struct machine_events *events; /* NULL: nobody listens */
    struct prng prng;
    struct command_arguments queued;
    struct command_arguments blocking; /* for commands inside the one that may meet a lock */
    uint64_t blocked;                  /* met one */
    uint64_t hits, misses;
};

struct machine *machine_create(const struct machine_options *options)
{
    struct machine *machine = memory_allocate_zeroed(1, sizeof(*machine));
    machine->keyspace = keyspace_create(options->hash_seed);
    machine->scripts = options->scripts;
    prng_seed(&machine->prng, options->hash_seed);
    command_arguments_init(&machine->queued);
    command_arguments_init(&machine->blocking);
    txns_init(&machine->txns, options->hash_seed);
    locks_init(&machine->locks, options->hash_seed);
    sessions_init(&machine->sessions, options->hash_seed);
    ties_init(&machine->ties, options->hash_seed);
    machine->locks.ties = &machine->ties;
    machine->txns.parts.ties = &machine->ties;
    meets_init(&machine->meets, options->hash_seed, &machine->locks);
    machine->walks[0] = &machine->ties.walk;
    machine->walks[1] = &machine->sessions.walk;
    machine->walks[2] = &machine->locks.walk;
    services_init(&machine->services, options->hash_seed, &machine->ties, &machine->locks.restores);
    machine->walks[3] = &machine->meets.walk;
    machine->walks[4] = &machine->services.walk;
    return machine;
}

void machine_destroy(struct machine *machine)
{
    if (machine != NULL) {
        keyspace_destroy(machine->keyspace);
        origins_deinit(&machine->origins);
        txns_deinit(&machine->txns);
        feed_log_deinit(&machine->history);
        locks_deinit(&machine->locks);
        sessions_deinit(&machine->sessions);
        ties_deinit(&machine->ties);
        meets_deinit(&machine->meets);
        services_deinit(&machine->services);
        command_arguments_deinit(&machine->blocking);
        buffer_deinit(&machine->snapshot_head);
        command_arguments_deinit(&machine->queued);
        free(machine);
    }
}

void machine_listen(struct machine *machine, struct machine_events *events)
{
    machine->events = events;
    keyspace_listen(machine->keyspace, events);
}

static struct keyspace_time applied_time(const struct machine *machine)
{
    return (struct keyspace_time){
        .applied_time_ms = machine->time_ms,
        .applied_wall_ms = machine->wall_ms,
        .present_time_ms = machine->time_ms,
        .present_wall_ms = machine->wall_ms,
    };
}

void machine_apply_clock(struct machine *machine, int64_t time_ms, int64_t wall_ms)
{
    ASSERT(time_ms >= machine->time_ms && wall_ms >= machine->wall_ms); /* invariant 1 */
    machine->time_ms = time_ms;
    machine->wall_ms = wall_ms;
}

/* Takes over the time and position of an entry. */
static void advance(struct machine *machine, const struct machine_context *context)
{
    ASSERT(context->position > machine->position); /* invariant 2 */
    machine->position = context->position;
    machine_apply_clock(machine, context->time_ms, context->wall_ms);
    if (__builtin_expect(machine->history.on, 0)) {
        feed_log_at(&machine->history, context->position, context->time_ms, context->wall_ms);
    }
}

static struct call begin_call(struct machine *machine, const struct command *command, struct resp_writer *reply)
{
    size_t start = reply->out == NULL ? 0 : reply->out->size;
    return (struct call){
        .keyspace = machine->keyspace,
        .origins = &machine->origins,
        .txns = &machine->txns,
        .history = &machine->history,
        .applied_position = machine->position,
        .locks = &machine->locks,
        .sessions = &machine->sessions,
        .ties = &machine->ties,
        .meets = &machine->meets,
        .services = &machine->services,
        .scripts = machine->scripts,
        .spent = &machine->spent,
        .events = machine->events,
        .time = applied_time(machine),
        .spec = command->spec,
        .argv = command->argv,
        .argc = command->argc,
        .reply = resp_writer_to(reply->out, command->protocol),
        .reply_start = start,
        .reply_base = start,
        .prng = &machine->prng,
        .queued = &machine->queued,
    };
}

bool machine_blocked(struct machine *machine, const struct command *command)
{
    return txns_block(&machine->txns, command, &machine->blocking);
}

/* The second line of defence: such a command was to be held back before it was logged. */
static bool meets_lock(struct machine *machine, const struct command *command)
{
    bool ordinary = !command->spec->internal && (command->spec->flags & COMMAND_READONLY) == 0;
    return ordinary && machine_blocked(machine, command);
}

void machine_apply(struct machine *machine, const struct machine_context *context, const struct command *command,
                   struct resp_writer *reply)
{
    advance(machine, context);
    if (reply->out == NULL && (command->spec->flags & COMMAND_READONLY) != 0) {
        return; /* a read that had to be logged: only its origin needs it */
    }
#ifdef COHORT_MUTATIONS
    locks_reset_leases(&machine->locks, context->term, machine->time_ms);
#endif
    struct call call = begin_call(machine, command, reply);
    call.position = context->position;
    call.term = context->term;
    if (meets_lock(machine, command)) {
        machine->blocked++;
        resp_error(&call.reply, "BUSY a transaction holds a key of this command; it was not executed, try again");
        return;
    }
    dispatch_find(command->spec)(&call);
    scripts_spent_forget(&machine->spent);
    machine->hits += call.hits;
    machine->misses += call.misses;
}

bool machine_apply_origin(struct machine *machine, const struct machine_context *context,
                          const struct machine_origin *origin, bool part)
{
    advance(machine, context);
    return origins_take(&machine->origins, origin, part, context->position);
}

static int64_t later(int64_t a, int64_t b) { return a > b ? a : b; }

bool machine_read(struct machine *machine, const struct machine_context *context, const struct command *command,
                  struct resp_writer *reply)
{
    ASSERT((command->spec->flags & COMMAND_WRITE) == 0);
    struct call call = begin_call(machine, command, reply);
    call.time.present_time_ms = later(context->time_ms, machine->time_ms);
    call.time.present_wall_ms = later(context->wall_ms, machine->wall_ms);
    call.ahead_ms = context->ahead_ms;
    call.ahead_wall_ms = context->ahead_wall_ms;
    size_t told = machine->events == NULL ? 0 : machine->events->messages.size;
    dispatch_find(command->spec)(&call);
    scripts_spent_forget(&machine->spent);
    if (call.must_log) {
        if (machine->events != NULL) {
            machine->events->messages.size = told;
        }
        if (reply->out != NULL) {
            reply->out->size = call.reply_start;
        }
        return false;
    }
    machine->hits += call.hits;
    machine->misses += call.misses;
    return true;
}

/* Of an aim, at a lock: the bit of a hash that no table is large enough to look at. Keys and locks have one seed. */
static const uint64_t AIM_LOCK = 1ULL << 63;

uint64_t machine_aim(const struct machine *machine, const struct command *command)
{
    int16_t first = command->spec->first_key;
    if (first <= 0 || (uint32_t)first >= command->argc) {
        return 0;
    }
    uint64_t hash = keyspace_hash(machine->keyspace, command->argv[first]);
    return (hash & ~AIM_LOCK) | (uint64_t)command->spec->locks << 63;
}

void machine_prefetch_bucket(const struct machine *machine, uint64_t aim)
{
    if ((aim & AIM_LOCK) != 0) {
        table_prefetch_bucket(&machine->locks.table, aim);
    } else {
        keyspace_prefetch_bucket(machine->keyspace, aim);
    }
}

void machine_prefetch_entry(const struct machine *machine, uint64_t aim)
{
    if ((aim & AIM_LOCK) != 0) {
        table_prefetch_item(&machine->locks.table, aim);
    } else {
        keyspace_prefetch_entry(machine->keyspace, aim);
    }
}

void machine_apply_time(struct machine *machine, const struct machine_context *context)
{
    advance(machine, context);
    struct keyspace_time time = applied_time(machine);
    (void)keyspace_expire(machine->keyspace, &time, MACHINE_EXPIRE_STEP, context->position);
    struct lock_now now = {context->position, machine->time_ms};
    (void)locks_expire(&machine->locks, &now, MACHINE_EXPIRE_STEP);
    (void)meets_expire(&machine->meets, &now, MACHINE_EXPIRE_STEP);
    (void)services_expire(&machine->services, &now, MACHINE_EXPIRE_STEP);
    (void)sessions_expire(&machine->sessions, machine->time_ms, MACHINE_EXPIRE_STEP);
    ties_expire(&machine->ties, machine->time_ms, MACHINE_EXPIRE_STEP);
}

/* Of all that is no key. */
static int64_t tidy_next_due(const struct machine *machine)
{
    int64_t lock_ms = locks_next_due(&machine->locks);
    int64_t session_ms = sessions_next_due(&machine->sessions);
    int64_t tie_ms = ties_next_due(&machine->ties);
    int64_t next_ms = lock_ms < session_ms ? lock_ms : session_ms;
    int64_t meet_ms = meets_next_due(&machine->meets);
    int64_t service_ms = services_next_due(&machine->services);
    next_ms = next_ms < meet_ms ? next_ms : meet_ms;
    next_ms = next_ms < service_ms ? next_ms : service_ms;
    return next_ms < tie_ms ? next_ms : tie_ms;
}

bool machine_has_due(const struct machine *machine, int64_t time_ms, int64_t wall_ms)
{
    int64_t due_time_ms;
    int64_t due_wall_ms;
    keyspace_next_due(machine->keyspace, &due_time_ms, &due_wall_ms);
    return due_time_ms <= time_ms || tidy_next_due(machine) <= time_ms || due_wall_ms <= wall_ms;
}

void machine_next_due(const struct machine *machine, int64_t *ret_time_ms, int64_t *ret_wall_ms)
{
    keyspace_next_due(machine->keyspace, ret_time_ms, ret_wall_ms);
    int64_t other_ms = tidy_next_due(machine);
    *ret_time_ms = other_ms < *ret_time_ms ? other_ms : *ret_time_ms;
}

uint64_t machine_key_version(const struct machine *machine, struct slice key)
{
    struct keyspace_time time = applied_time(machine);
    return keyspace_version(machine->keyspace, &time, key);
}

bool machine_work(struct machine *machine)
{
    bool more = machine->txns.overlay != NULL && overlay_work(machine->txns.overlay);
    return keyspace_work(machine->keyspace) || more;
}

const struct txns *machine_txns(const struct machine *machine) { return &machine->txns; }

const struct sessions *machine_sessions(const struct machine *machine) { return &machine->sessions; }
const uint64_t *machine_steps(const struct machine *machine) { return &machine->spent.ever; }

const struct locks *machine_locks(const struct machine *machine) { return &machine->locks; }

const struct meets *machine_meets(const struct machine *machine) { return &machine->meets; }

const struct services *machine_services(const struct machine *machine) { return &machine->services; }

void machine_tell_locks(struct machine *machine, bool tell)
{
    machine->locks.tell = tell;
    buffer_clear(&machine->locks.notices);
}

struct buffer *machine_lock_notices(struct machine *machine) { return &machine->locks.notices; }

void machine_stats(const struct machine *machine, struct machine_stats *ret_stats)
{
    *ret_stats = (struct machine_stats){
        .keys = keyspace_count(machine->keyspace),
        .keys_with_expiry = keyspace_count_with_expiry(machine->keyspace),
        .memory_bytes = keyspace_memory_bytes(machine->keyspace) + machine->txns.parts.bytes + machine->history.bytes +
                        machine->locks.memory_bytes + machine->sessions.memory_bytes + machine->ties.memory_bytes +
                        machine->meets.memory_bytes + machine->services.memory_bytes,
        .history_bytes = machine->history.bytes,
        .expired = keyspace_expired(machine->keyspace),
        .hits = machine->hits,
        .misses = machine->misses,
        .prepared = machine->txns.parts.prepared_count,
        .blocked = machine->blocked,
        .locks = locks_busy(&machine->locks),
        .lock_holders = machine->locks.holders,
        .lock_waiters = machine->locks.waiters,
        .locks_granted = machine->locks.granted,
        .locks_expired = machine->locks.expired,
        .locks_queued = machine->locks.queued,
        .sessions = machine->sessions.live,
        .sessions_ended = machine->sessions.ended_count,
        .session_ties = machine->ties.table.count,
        .session_locks = machine->locks.tied,
        .session_keys = keyspace_count_all_bonded(machine->keyspace),
        .sessions_opened = machine->sessions.opened,
        .sessions_closed = machine->sessions.closed,
        .sessions_expired = machine->sessions.expired,
        .session_beats = machine->sessions.beats,
        .session_beat_commands = machine->sessions.beat_commands,
        .meets = machine->meets.busy,
        .meet_waiters = meets_waiting(&machine->meets),
        .meets_passed = machine->meets.passed,
        .services = machine->services.busy,
        .endpoints = services_endpoints(&machine->services),
        .endpoints_registered = machine->services.registered,
        .endpoints_expired = machine->services.expired,
        .service_changes = machine->services.changed,
        .time_ms = machine->time_ms,
        .wall_ms = machine->wall_ms,
    };
}

/* ---- snapshots ---- */

void machine_snapshot_begin(struct machine *machine)
{
    struct buffer *head = &machine->snapshot_head;
    buffer_clear(head);
    uint8_t *at = buffer_reserve(head, 1 + RECORD_BYTES);
    at[0] = RECORD_BYTES;
    at[1] = RECORD_MACHINE;
    at[2] = RECORD_VERSION;
    put_u64(at + 3, (uint64_t)machine->time_ms);
    put_u64(at + 11, (uint64_t)machine->wall_ms);
    put_u64(at + 19, machine->position);
    head->size += 1 + RECORD_BYTES;
    origins_emit(&machine->origins, head);
    txns_emit(&machine->txns, head);
    feed_log_snapshot_begin(&machine->history, head);
    for (size_t i = 0; i < MACHINE_WALKS; i++) {
        snapshot_walk_begin(machine->walks[i]);
    }
    keyspace_snapshot_begin(machine->keyspace);
}

bool machine_snapshot_step(struct machine *machine, struct buffer *out, size_t budget_bytes)
{
    if (machine->snapshot_head.size != 0) {
        buffer_append_slice(out, buffer_slice(&machine->snapshot_head));
        buffer_deinit(&machine->snapshot_head);
    }
    if (feed_log_snapshot_step(&machine->history, out, budget_bytes)) {
        return true;
    }
    size_t before = out->size;
    for (size_t i = 0; i < MACHINE_WALKS; i++) {
        bool more = snapshot_walk_step(machine->walks[i], out, budget_bytes);
        if (more || out->size - before >= budget_bytes) {
            return true;
        }
    }
    return keyspace_snapshot_step(machine->keyspace, out, budget_bytes);
}

void machine_snapshot_end(struct machine *machine)
{
    buffer_deinit(&machine->snapshot_head);
    feed_log_snapshot_end(&machine->history);
    for (size_t i = 0; i < MACHINE_WALKS; i++) {
        snapshot_walk_end(machine->walks[i]);
    }
    keyspace_snapshot_end(machine->keyspace);
}

size_t machine_snapshot_pending_bytes(const struct machine *machine)
{
    size_t sum = keyspace_snapshot_pending_bytes(machine->keyspace);
    for (size_t i = 0; i < MACHINE_WALKS; i++) {
        sum += machine->walks[i]->pending.size;
    }
    return sum;
}

static enum status load_header(struct machine *machine, struct slice record)
{
    if (record.size < 2) {
        return STATUS_CORRUPT;
    }
    if (record.data[1] > RECORD_VERSION) {
        return STATUS_VERSION;
    }
    if (record.data[1] != RECORD_VERSION || record.size != RECORD_BYTES) {
        return STATUS_CORRUPT;
    }
    int64_t time_ms = (int64_t)get_u64(record.data + 2);
    int64_t wall_ms = (int64_t)get_u64(record.data + 10);
    if (time_ms < 0 || wall_ms < 0) {
        return STATUS_CORRUPT;
    }
    machine->time_ms = time_ms;
    machine->wall_ms = wall_ms;
    machine->position = get_u64(record.data + 18);
    return STATUS_OK;
}

enum status machine_load_record(struct machine *machine, struct slice record)
{
    if (record.size > 0 && record.data[0] == RECORD_MACHINE) {
        return load_header(machine, record);
    }
    if (record.size > 0 && record.data[0] == ORIGIN_RECORD) {
        return origins_load(&machine->origins, record);
    }
    if (feed_log_record(record)) {
        keyspace_record_to(machine->keyspace, &machine->history);
        return feed_log_load(&machine->history, record, machine->position);
    }
    if (txns_record(record)) {
        return txns_load(&machine->txns, record);
    }
    for (size_t i = 0; i < MACHINE_WALKS; i++) {
        if (snapshot_walk_has(machine->walks[i], record)) {
            return snapshot_walk_load(machine->walks[i], record);
        }
    }
    return keyspace_load_record(machine->keyspace, record);
}

uint64_t machine_count_in_slot(const struct machine *machine, uint16_t slot)
{
    return keyspace_count_in_slot(machine->keyspace, slot);
}

uint64_t machine_digest(const struct machine *machine)
{
    uint64_t parts[] = {keyspace_digest(machine->keyspace),
                        origins_digest(&machine->origins),
                        txns_digest(&machine->txns),
                        feed_log_digest(&machine->history),
                        snapshot_walk_digest(&machine->locks.walk),
                        snapshot_walk_digest(&machine->sessions.walk),
                        snapshot_walk_digest(&machine->ties.walk),
                        snapshot_walk_digest(&machine->meets.walk),
                        snapshot_walk_digest(&machine->services.walk),
                        (uint64_t)machine->time_ms,
                        (uint64_t)machine->wall_ms};
    return hash_bytes(0, parts, sizeof(parts));
}

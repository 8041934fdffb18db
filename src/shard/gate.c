#include "shard/gate.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "machine/txn/footprint.h"
#include "machine/txn/txn.h"
#include "shard/gate_held.h"
#include "shard/shard_state.h"

#include <stdlib.h>

#define NS_PER_MS INT64_C(1000000)

static const struct parts *parts_of(const struct shard *shard) { return &machine_txns(shard->machine)->parts; }

static void timer_fire(struct env_timer *timer)
{
    struct shard *shard = CONTAINER_OF(timer, struct shard, gate.timer);
    shard->gate.dirty = true;
    env_wake(shard->env);
}

void gate_init(struct shard *shard)
{
    list_init(&shard->gate.held);
    claims_init(&shard->gate.coming, 0);
    claims_init(&shard->gate.wanted, 0);
    command_arguments_init(&shard->gate_arguments);
    env_timer_init(&shard->gate.timer, timer_fire);
}

static uint16_t *filter_of(struct gate *gate, uint64_t who)
{
    return &gate->requesters[hash_bytes(0, &who, sizeof(who)) % GATE_FILTER];
}

/* Out of the list; the caller frees it. */
static void take_out(struct shard *shard, struct held *held)
{
    struct gate *gate = &shard->gate;
    list_remove(&held->node);
    gate->held_count--;
    shard_unweigh(shard, held->bytes.size + sizeof(*held));
    if (held->request.who != 0) {
        (*filter_of(gate, held->request.who))--;
    }
}

static void held_free(struct held *held)
{
    buffer_deinit(&held->bytes);
    free(held);
}

void gate_deinit(struct shard *shard)
{
    LIST_FOR_EACH_SAFE (at, after, &shard->gate.held) {
        struct held *held = CONTAINER_OF(at, struct held, node);
        take_out(shard, held);
        held_free(held);
    }
    env_timer_stop(shard->env, &shard->gate.timer);
    claims_deinit(&shard->gate.coming);
    claims_deinit(&shard->gate.wanted);
    command_arguments_deinit(&shard->gate_arguments);
}

bool gate_busy(const struct shard *shard)
{
    return parts_of(shard)->prepared_count != 0 || shard->gate.held_count != 0 || !claims_empty(&shard->gate.coming);
}

/* ---- what stands in the way ---- */

struct look {
    const struct shard *shard;
    bool passes;      /* a write: it goes behind what ends a part that holds its key alone */
    bool writes;      /* what is logged minds locks that are coming, too, and whoever is held before it */
    uint64_t barrier; /* locks of later votes do not count */
    bool blocked;
    bool behind; /* somebody who is held wants a key */
};

static void look_at_key(void *owner, struct slice key, bool writes)
{
    struct look *look = owner;
    const struct gate *gate = &look->shard->gate;
    const void *holder = NULL;
    bool locked = lock_table_blocks(&parts_of(look->shard)->locks, key, writes, &holder);
    locked = locked && !(look->passes && outcome_frees(look->shard, key));
    const struct part *part = holder;
    look->behind = look->behind || (look->writes && claims_block(&gate->wanted, key, writes));
    look->blocked = look->blocked || (locked && (part == NULL || part->vote <= look->barrier)) ||
                    (look->writes && claims_block(&gate->coming, key, writes));
}

/* The newest vote that is prepared: those are in order. */
static uint64_t newest_vote(const struct parts *parts)
{
    return list_empty(&parts->prepared) ? 0 : CONTAINER_OF(parts->prepared.prev, struct part, node)->vote;
}

/* Not those of transactions themselves: they bring the outcome. */
static bool minds_locks(const struct command_spec *spec)
{
    switch (spec->id) {
    case COMMAND_COHORT_DUMP:
    case COMMAND_COHORT_VERSIONS:
    case COMMAND_COHORT_TXN_READ:
    case COMMAND_COHORT_TXN_PREPARE:
    case COMMAND_COHORT_TXN_LAST: return true;
    default: return !spec->internal;
    }
}

/* Its versions are compared later: if what was prepared after it came is committed, they differ (invariant 2). */
static bool is_compared(const struct command_spec *spec)
{
    return spec->id == COMMAND_COHORT_TXN_READ || spec->id == COMMAND_COHORT_DUMP;
}

/* Who only looks at all keys takes no lock, so it waits for what was prepared when it came, and nobody for it. */
static void look_at_all(struct look *look, const struct command_spec *spec, bool writes, uint64_t barrier)
{
    const struct gate *gate = &look->shard->gate;
    const struct parts *parts = parts_of(look->shard);
    if (!writes && !txn_prepares(spec)) {
        look->blocked = look->blocked || (parts->prepared_count != 0 &&
                                          CONTAINER_OF(parts->prepared.next, struct part, node)->vote <= barrier);
        return;
    }
    look->behind = look->behind || claims_block_all(&gate->wanted, writes);
    look->blocked =
        look->blocked || lock_table_blocks_all(&parts->locks, writes, NULL) || claims_block_all(&gate->coming, writes);
}

static struct look look_at(struct shard *shard, const struct command *command, bool logged, uint64_t barrier,
                           enum footprint_reach *ret_reach)
{
    bool changes = logged && (command->spec->flags & COMMAND_READONLY) == 0;
    bool passes = shard->outcomes.count != 0 && (changes || SHARD_MUTATED(shard, READ_BEFORE_OUTCOME));
    struct look look = {.shard = shard,
                        .passes = passes,
                        .writes = logged,
                        .barrier = is_compared(command->spec) ? barrier : UINT64_MAX};
    enum footprint_reach reach = footprint_visit(command, &shard->gate_arguments, look_at_key, &look);
    if (reach != FOOTPRINT_KEYS) {
        look_at_all(&look, command->spec, reach == FOOTPRINT_ALL_WRITTEN, barrier);
    }
    *ret_reach = reach;
    return look;
}

bool gate_stops_read(struct shard *shard, const struct command *command)
{
    enum footprint_reach reach;
    return gate_busy(shard) && minds_locks(command->spec) && look_at(shard, command, false, UINT64_MAX, &reach).blocked;
}

/* ---- holding ---- */

static void arm(struct shard *shard)
{
    struct gate *gate = &shard->gate;
    if (gate->held_count == 0) {
        env_timer_stop(shard->env, &gate->timer);
    } else {
        env_timer_start(shard->env, &gate->timer, gate->late_ns);
    }
}

/* It has waited for too long then. */
static int64_t late_ns(const struct held *held)
{
    return held->since_ns + (held->prepares ? SHARD_HELD_PREPARE_MS : SHARD_HELD_MS) * NS_PER_MS;
}

/* What is held for a key is next for all of its keys, before what comes later. Not what is compared: it takes what is
 * there. */
static void want(struct shard *shard, const struct held *held, const struct command *command)
{
    if (held->wants && !held->refuses && !is_compared(command->spec)) {
        gate_claim(shard, &shard->gate.wanted, command);
    }
}

/* The caller has the rest of it from `sample`. */
static void hold(struct shard *shard, const struct command *command, const struct shard_request *request,
                 const struct held *sample)
{
    struct gate *gate = &shard->gate;
    struct held *held = memory_allocate(sizeof(*held));
    *held = *sample;
    held->request = *request;
    if (request->forwarded != NULL) {
        held->from = (struct machine_origin){request->forwarded->node, request->forwarded->start,
                                             request->forwarded->sequence, request->forwarded->settled_below};
        held->request.forwarded = NULL;
    }
    held->barrier = newest_vote(parts_of(shard));
    held->since_ns = env_monotonic_ns(shard->env);
    command_encode(&held->bytes, command);
    list_append(&gate->held, &held->node);
    gate->held_count++;
    gate->awake = true;
    gate->dirty = gate->dirty || held->refuses;
    shard_weigh(shard, held->bytes.size + sizeof(*held));
    if (request->who != 0) {
        (*filter_of(gate, request->who))++;
    }
    want(shard, held, command);
    if (gate->held_count == 1 || late_ns(held) < gate->late_ns) {
        gate->late_ns = late_ns(held);
        arm(shard);
    }
}

/* Waits for locks? One that does not votes no instead. */
static bool waits(const struct command *command)
{
    struct txn_prepare prepare;
    return txn_prepare_parse(command, &prepare) && (prepare.mode == PREPARE_WAIT || prepare.mode == PREPARE_HOLD);
}

/* Its part holds the locks already, for this PREPARE. */
static bool has_locks(const struct shard *shard, const struct command *command)
{
    const struct part *part = parts_find(parts_of(shard), command->argv[1]);
    return part != NULL && part->state == PART_HELD;
}

/* Whether it goes on: what has to wait, and does not say so, is left to the machine's vote, unless somebody is held who
 * came first. */
static bool goes_on(struct shard *shard, const struct command *command, const struct shard_request *request,
                    struct held *held)
{
    struct look look = look_at(shard, command, held->logged, UINT64_MAX, &held->reach);
    held->wants = look.blocked || look.behind;
    if (!held->prepares) {
        bool follows = request->who != 0 && *filter_of(&shard->gate, request->who) != 0;
        return !held->wants && !follows;
    }
    if (held->wants && has_locks(shard, command)) {
        return true;
    }
    held->refuses = look.behind && !waits(command);
    return !held->refuses && (!held->wants || !waits(command));
}

bool gate_holds(struct shard *shard, const struct command *command, const struct shard_request *request, bool logged,
                enum status *ret_status)
{
    struct held held = {.logged = logged, .prepares = txn_prepares(command->spec)};
    *ret_status = STATUS_OK;
    if ((!held.prepares && !gate_busy(shard)) || !minds_locks(command->spec)) {
        return false;
    }
    if (goes_on(shard, command, request, &held)) {
        if (held.prepares) {
            gate_claim(shard, &shard->gate.coming, command);
        }
        return false;
    }
    if (shard->gate.held_count >= SHARD_HELD || shard->pending_bytes >= shard->options.pending_bytes) {
        *ret_status = STATUS_FULL;
        return true;
    }
    hold(shard, command, request, &held);
    return true;
}

/* ---- letting go ---- */

static void pass(struct shard *shard, struct held *held, const struct command *command)
{
    const struct shard_request *request = &held->request;
    take_out(shard, held);
    bool marked = held->logged && held->from.node != 0;
    enum status status = STATUS_OK;
    if (marked) {
        status = batch_announce(shard, &held->from, true, 1, held->bytes.size);
    }
    if (status == STATUS_OK) {
        status = batch_add(shard, command, held->logged ? REQUEST_LOGGED : REQUEST_READ, request->origin, request->tag);
    }
    if (status == STATUS_NOT_LEADER) {
        shard->sink.returned(shard->owner, request->origin, request->tag, command);
    } else if (status != STATUS_OK) {
        shard->sink.refused(shard->owner, request->origin, request->tag, STATUS_BUSY);
    }
    held_free(held);
}

static void tell_busy(struct resp_writer *reply, struct slice holder)
{
    if (holder.size != 0) {
        resp_error_format(reply,
                          "BUSY the transaction %.*s has held a key of this command for too long; the command was not "
                          "executed, ask TXN.STATUS about it, or try again in a moment",
                          (int)holder.size, (const char *)holder.data);
    } else {
        resp_error(reply, "BUSY a transaction has held a key of this command, or of one that the same client sent "
                          "before it, for too long; the command was not executed, try again in a moment");
    }
}

/* Somebody was first, or for too long. */
static void refuse(struct shard *shard, struct held *held, const struct command *command)
{
    const struct shard_request *request = &held->request;
    take_out(shard, held);
    struct resp_writer *reply = shard->sink.begin(shard->owner, request->origin, request->tag);
    struct slice holder = gate_holder(shard, held, command);
    if (reply != NULL && held->prepares) {
        resp_array(reply, 3);
        resp_bulk_string(reply, "NO");
        resp_bulk_string(reply, "LOCKED");
        resp_bulk(reply, holder);
    } else if (reply != NULL) {
        tell_busy(reply, holder);
    }
    shard->sink.end(shard->owner, request->origin, request->tag, command);
    held_free(held);
}

/* Whether it may go on, given what stays before it in this round: `before` filters requesters. */
static bool may_pass(struct shard *shard, struct held *held, const struct command *command,
                     const uint64_t before[static GATE_FILTER / 64])
{
    enum footprint_reach reach;
    struct look look = look_at(shard, command, held->logged, held->barrier, &reach);
    uint64_t who = held->request.who;
    uint64_t at = hash_bytes(0, &who, sizeof(who)) % GATE_FILTER;
    bool follows = who != 0 && !held->prepares && (before[at / 64] >> at % 64 & 1) != 0;
    held->wants = look.blocked || look.behind;
    return !held->wants && !follows;
}

static void stay(struct shard *shard, const struct held *held, const struct command *command,
                 uint64_t before[static GATE_FILTER / 64])
{
    uint64_t who = held->request.who;
    uint64_t at = hash_bytes(0, &who, sizeof(who)) % GATE_FILTER;
    before[at / 64] |= who == 0 ? 0 : UINT64_C(1) << at % 64;
    shard->gate.late_ns = late_ns(held) < shard->gate.late_ns ? late_ns(held) : shard->gate.late_ns;
    want(shard, held, command);
}

void gate_turn(struct shard *shard)
{
    struct gate *gate = &shard->gate;
    gate->awake = gate->awake && gate_busy(shard);
    if (!gate->dirty || gate->held_count == 0 || !shard->leading) {
        gate->dirty = false;
        return;
    }
    gate->dirty = false;
    int64_t now_ns = env_monotonic_ns(shard->env);
    gate->late_ns = INT64_MAX; /* of those that stay */
    uint64_t before[GATE_FILTER / 64] = {0};
    claims_deinit(&gate->wanted);       /* made anew by those that stay */
    struct command_arguments arguments; /* the sink may submit more */
    command_arguments_init(&arguments);
    struct list *last = gate->held.prev;
    for (struct list *at = gate->held.next, *after = at->next;; at = after, after = at->next) {
        struct held *held = CONTAINER_OF(at, struct held, node);
        struct command command = held_command(held, &arguments);
        bool ends = at == last;
        if (held->refuses) {
            refuse(shard, held, &command);
        } else if (may_pass(shard, held, &command, before)) {
            if (held->prepares) {
                gate_claim(shard, &gate->coming, &command);
            }
            pass(shard, held, &command);
        } else if (late_ns(held) <= now_ns) {
            refuse(shard, held, &command);
        } else {
            stay(shard, held, &command, before);
        }
        if (ends) {
            break;
        }
    }
    command_arguments_deinit(&arguments);
    arm(shard);
}

void gate_return(struct shard *shard)
{
    struct gate *gate = &shard->gate;
    gate->generation++;
    claims_deinit(&gate->coming);
    claims_deinit(&gate->wanted);
    while (!list_empty(&gate->held)) {
        struct held *held = CONTAINER_OF(gate->held.next, struct held, node);
        struct command command = held_command(held, &shard->arguments);
        take_out(shard, held);
        shard->sink.returned(shard->owner, held->request.origin, held->request.tag, &command);
        held_free(held);
    }
    arm(shard);
}

void gate_forget(struct shard *shard, const void *origin)
{
    struct gate *gate = &shard->gate;
    LIST_FOR_EACH_SAFE (at, after, &gate->held) {
        struct held *held = CONTAINER_OF(at, struct held, node);
        if (held->request.origin == origin) {
            struct command command = held_command(held, &shard->arguments);
            take_out(shard, held);
            shard->sink.returned(shard->owner, held->request.origin, held->request.tag, &command);
            held_free(held);
            gate->dirty = true; /* what stood behind it may go on */
        }
    }
}

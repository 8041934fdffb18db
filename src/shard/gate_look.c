/* Who waits for whom at the gate: for people, who ask TXN.STATUS. It compares the keys of one transaction with those of
 * all that are prepared and all that is held, which is bounded as they are. */
#include "shard/gate.h"
#include "shard/gate_held.h"

#include "machine/txn/txn.h"
#include "shard/shard_state.h"

struct look {
    struct shard *shard;
    struct slice id;
    struct claims claims;    /* its keys, as it holds or wants them */
    const struct held *mine; /* its PREPARE, when that waits here */
    struct command_arguments arguments;
    struct buffer told;
    struct resp_writer writer;
    uint32_t count;
};

static void claim_key(void *owner, struct slice key, bool writes) { claims_add(owner, key, writes); }

static void claim_body(struct claims *claims, const struct part *part)
{
    struct slice rest = buffer_slice(&part->body);
    struct part_key key;
    while (part_next(&rest, &key)) {
        if (key.all) {
            claims_add_all(claims, key.exclusive);
        } else {
            claims_add(claims, key.key, key.exclusive);
        }
    }
}

static void claim_command(struct look *look, const struct command *command)
{
    enum footprint_reach reach = footprint_visit(command, &look->shard->gate_arguments, claim_key, &look->claims);
    if (reach != FOOTPRINT_KEYS) {
        claims_add_all(&look->claims, reach == FOOTPRINT_ALL_WRITTEN);
    }
}

/* Its keys: prepared, or wanted. */
static void find_mine(struct look *look)
{
    const struct part *part = parts_find(&machine_txns(look->shard->machine)->parts, look->id);
    if (part != NULL) {
        claim_body(&look->claims, part);
        return;
    }
    LIST_FOR_EACH (at, &look->shard->gate.held) {
        const struct held *held = CONTAINER_OF(at, struct held, node);
        struct command command = held_command(held, &look->arguments);
        if (held->prepares && slice_equal(command.argv[1], look->id)) {
            look->mine = held;
            claim_command(look, &command);
            return;
        }
    }
}

struct meeting {
    const struct claims *claims;
    bool meets;
};

static void meet_key(void *owner, struct slice key, bool writes)
{
    struct meeting *meeting = owner;
    meeting->meets = meeting->meets || claims_block(meeting->claims, key, writes);
}

static bool meets_held(struct look *look, const struct held *held, const struct command *command)
{
    struct meeting meeting = {&look->claims, held->reach != FOOTPRINT_KEYS &&
                                                 claims_block_all(&look->claims, held->reach == FOOTPRINT_ALL_WRITTEN)};
    (void)footprint_visit(command, &look->shard->gate_arguments, meet_key, &meeting);
    return meeting.meets;
}

static bool meets_part(const struct look *look, const struct part *part)
{
    struct meeting meeting = {&look->claims, false};
    struct slice rest = buffer_slice(&part->body);
    struct part_key key;
    while (!meeting.meets && part_next(&rest, &key)) {
        if (key.all) {
            meeting.meets = claims_block_all(&look->claims, key.exclusive);
        } else {
            meet_key(&meeting, key.key, key.exclusive);
        }
    }
    return meeting.meets;
}

static void begin(struct look *look)
{
    buffer_clear(&look->told);
    look->count = 0;
    look->writer = resp_writer_to(&look->told, RESP2);
}

static void end(const struct look *look, struct resp_writer *reply)
{
    resp_array(reply, look->count);
    resp_raw(reply, buffer_slice(&look->told));
}

static bool has_room(struct look *look) { return look->count < GATE_TOLD && ++look->count != 0; }

static void tell_held(struct look *look, const struct held *held, const struct command *command)
{
    int64_t waited_ms = (env_monotonic_ns(look->shard->env) - held->since_ns) / 1000000;
    resp_array(&look->writer, 3);
    resp_bulk_string(&look->writer, held->prepares ? "transaction" : "command");
    if (held->prepares) {
        resp_bulk(&look->writer, command->argv[1]);
    } else {
        resp_bulk_string(&look->writer, command->spec->shown);
    }
    resp_integer(&look->writer, waited_ms);
}

/* Whom it waits for: what is prepared, and PREPAREs that came before it. */
static void tell_holders(struct look *look, struct resp_writer *reply)
{
    begin(look);
    LIST_FOR_EACH (at, (struct list *)(uintptr_t)&machine_txns(look->shard->machine)->parts.prepared) {
        const struct part *part = CONTAINER_OF(at, struct part, node);
        if (look->mine != NULL && meets_part(look, part) && has_room(look)) {
            resp_bulk(&look->writer, part_id(part));
        }
    }
    LIST_FOR_EACH (at, &look->shard->gate.held) {
        const struct held *held = CONTAINER_OF(at, struct held, node);
        if (look->mine == NULL || held == look->mine) {
            break;
        }
        struct command command = held_command(held, &look->arguments);
        if (held->prepares && meets_held(look, held, &command) && has_room(look)) {
            resp_bulk(&look->writer, command.argv[1]);
        }
    }
    end(look, reply);
}

/* Who waits for it: of what came after it, when it waits itself. */
static void tell_waiters(struct look *look, struct resp_writer *reply)
{
    bool after = look->mine == NULL;
    begin(look);
    LIST_FOR_EACH (at, &look->shard->gate.held) {
        const struct held *held = CONTAINER_OF(at, struct held, node);
        struct command command = held_command(held, &look->arguments);
        if (after && meets_held(look, held, &command) && has_room(look)) {
            tell_held(look, held, &command);
        }
        after = after || held == look->mine;
    }
    end(look, reply);
}

/* ---- of what has waited for too long ---- */

struct holding {
    const struct lock_table *locks;
    const void *holder;
};

static void find_holder(void *owner, struct slice key, bool writes)
{
    struct holding *holding = owner;
    if (holding->holder == NULL) {
        (void)lock_table_blocks(holding->locks, key, writes, &holding->holder);
    }
}

static const struct part *part_that_holds(struct shard *shard, const struct held *held, const struct command *command)
{
    const struct parts *parts = &machine_txns(shard->machine)->parts;
    struct holding holding = {&parts->locks, NULL};
    (void)footprint_visit(command, &shard->gate_arguments, find_holder, &holding);
    if (holding.holder == NULL && held->reach != FOOTPRINT_KEYS && !list_empty(&parts->prepared)) {
        return CONTAINER_OF(parts->prepared.next, struct part, node);
    }
    return holding.holder;
}

struct slice gate_holder(struct shard *shard, const struct held *held, const struct command *command)
{
    const struct part *part = part_that_holds(shard, held, command);
    return part == NULL ? slice_of(NULL, 0) : part_id(part);
}

void gate_tell(struct shard *shard, struct slice id, struct resp_writer *reply)
{
    struct look look = {.shard = shard, .id = id};
    claims_init(&look.claims, 0);
    command_arguments_init(&look.arguments);
    find_mine(&look);
    tell_holders(&look, reply);
    tell_waiters(&look, reply);
    claims_deinit(&look.claims);
    command_arguments_deinit(&look.arguments);
    buffer_deinit(&look.told);
}

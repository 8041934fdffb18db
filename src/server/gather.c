#include "server/gather.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"
#include "server/consistency.h"
#include "server/gather_scan.h"
#include "server/member_ask.h"
#include "server/route_refuse.h"
#include "server/route_submit.h"
#include "server/server_state.h"
#include "server/txn_branch.h"
#include "server/txn_session.h"
#include "server/txn_status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum gather_kind {
    GATHER_NONE,
    GATHER_SUM,    /* integers */
    GATHER_ARRAY,  /* arrays, one behind the other */
    GATHER_RANDOM, /* each is asked for its size and for a key; large shards win more often */
    GATHER_SCAN,   /* one shard: its cursor becomes ours */
    GATHER_STATUS, /* TXN.STATUS: home, then those that take part */
    GATHER_CHANGE, /* of the members: the meta group, as often as member_ask.h says */
};

struct gather {
    enum gather_kind kind;
    uint32_t waiting;          /* parts to come, and one more while they are being asked for */
    uint32_t done;             /* parts that were executed */
    enum status failure;       /* of a part that failed; the worst of them */
    struct buffer error;       /* the first error that a shard replied */
    struct buffer body;        /* what the reply will hold: elements, a key */
    size_t part_start;         /* where in it the current part begins */
    size_t counted_bytes;      /* of the body, in connection.stash_bytes */
    uint64_t sum;              /* integers, elements, sizes so far; of SCAN the cursor */
    uint64_t *sizes;           /* RANDOMKEY: of each shard */
    struct txn_status *status; /* TXN.STATUS */
    bool changes;              /* home's record, but the same when it is said again */
    struct member_ask *change; /* of the members */
    uint64_t slot;             /* of these three, where their questions belong */
};

static enum gather_kind kind_of(const struct command_spec *spec)
{
    switch (spec->id) {
    case COMMAND_DBSIZE: return GATHER_SUM;
    case COMMAND_KEYS: return GATHER_ARRAY;
    case COMMAND_RANDOMKEY: return GATHER_RANDOM;
    case COMMAND_TXN_STATUS: return GATHER_STATUS;
    case COMMAND_TXN_DONE: return GATHER_SUM;      /* of one shard */
    case COMMAND_TXN_OUTCOME: return GATHER_ARRAY; /* the same */
    case COMMAND_TXN_LIST:
    case COMMAND_TXN_BRANCHES:
    case COMMAND_LOCK_LIST:
    case COMMAND_SCAN: return GATHER_SCAN;
    default: return member_ask_takes(spec) ? GATHER_CHANGE : GATHER_NONE;
    }
}

bool gather_takes(const struct command_spec *spec) { return kind_of(spec) != GATHER_NONE; }

/* ---- parts ---- */

struct buffer *gather_part(struct gather *gather)
{
    gather->part_start = gather->body.size;
    return &gather->body;
}

bool gather_asks_shards(const struct gather *gather) { return gather->kind != GATHER_CHANGE; }

bool gather_failed(struct gather *gather, enum status status)
{
    if (gather->kind == GATHER_STATUS && gather->done > 0) {
        /* it is told that this one is not known */
    } else if (gather->failure == STATUS_OK || status == STATUS_UNCERTAIN) {
        gather->failure = status;
    }
    return --gather->waiting == 0;
}

/* Takes the line that begins with this type; false when there is none, or no number stands in it. */
static bool take_number(struct slice *from, char type, uint64_t *ret_value)
{
    const uint8_t *end = from->size == 0 ? NULL : memchr(from->data + 1, '\n', from->size - 1);
    if (end == NULL || end - from->data < 3 || from->data[0] != type) {
        return false;
    }
    size_t digits = (size_t)(end - from->data) - 2;
    *ret_value = 0;
    for (size_t i = 1; i <= digits; i++) {
        uint8_t digit = (uint8_t)(from->data[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(*ret_value, 10U, ret_value) ||
            __builtin_add_overflow(*ret_value, digit, ret_value)) {
            return false;
        }
    }
    *from = slice_of(end + 1, from->size - digits - 3);
    return true;
}

/* A shard's key: it takes the place of the one that was chosen among the shards before, as often as its share of the
 * keys says (reservoir sampling with weights; M. T. Chao, Biometrika 1982). */
static void choose(struct connection *connection, struct gather *gather, uint32_t shard, struct slice key)
{
    uint64_t size = gather->sizes[shard - 1] == 0 ? 1 : gather->sizes[shard - 1];
    uint64_t random = 0;
    env_random(connection->server->env, (uint8_t *)&random, sizeof(random));
    gather->sum += size;
    if (random % gather->sum < size) {
        memmove(gather->body.data, key.data, key.size);
        gather->body.size = key.size;
    } else {
        gather->body.size = gather->part_start;
    }
}

static bool take_random(struct connection *connection, struct gather *gather, uint32_t shard, struct slice part)
{
    if (part.data[0] == '$' && part.data[1] != '-') {
        choose(connection, gather, shard, part);
        return true;
    }
    gather->body.size = gather->part_start;
    return part.data[0] == '$' || part.data[0] == '_' || take_number(&part, ':', &gather->sizes[shard - 1]);
}

static bool take_scan(struct connection *connection, struct gather *gather, uint32_t shard, struct slice part)
{
    uint64_t two = 0;
    uint64_t digits = 0;
    uint64_t cursor = 0;
    struct slice rest = part;
    if (!take_number(&rest, '*', &two) || !take_number(&rest, '$', &digits) || rest.size < digits + 2) {
        return false;
    }
    /* The number's line has no type in front: the line end before it stands in for one. */
    struct slice line = slice_of(rest.data - 1, rest.size + 1);
    if (!take_number(&line, '\n', &cursor)) {
        return false;
    }
    uint32_t shards = connection->server->shards;
    bool over = cursor == 0 && shard == shards;
    gather->sum = over ? 0 : cursor == 0 ? shard : cursor * shards + shard - 1;
    buffer_consume(&gather->body, part.size - line.size);
    return true;
}

struct asking {
    struct connection *connection;
    struct gather *gather;
    uint64_t slot;
    bool at_once; /* nothing is pending before it: what can be read from the state is */
};

static bool ask(const struct asking *asking, uint32_t shard, const struct command *command, bool at_once);

/* Those that somebody leads: the others would have the whole reply wait. */
static void ask_participants(struct connection *connection, struct gather *gather)
{
    const struct asking asking = {connection, gather, gather->slot, false};
    const struct slice argv[] = {SLICE_LITERAL("COHORT.TXN.PART"), txn_status_id(gather->status)};
    const struct command part = {command_by_id(COMMAND_COHORT_TXN_PART), argv, 2, RESP2};
    uint32_t shard;
    for (uint32_t i = 0; (shard = txn_status_asks(gather->status, i)) != 0; i++) {
        struct cluster_replica replica = {0};
        if (shard <= connection->server->shards) {
            cluster_replica(connection->server->cluster, shard, &replica);
        }
        if (replica.leader != 0) {
            (void)ask(&asking, shard, &part, false);
        }
    }
}

/* The next command for the meta group, if there is one. */
static void ask_members(struct connection *connection, struct gather *gather)
{
    const struct asking asking = {connection, gather, gather->slot, false};
    struct slice argv[MEMBER_ASK_ARGUMENTS];
    struct command command;
    if (member_ask_next(gather->change, argv, &command)) {
        (void)ask(&asking, 0, &command, false);
    }
}

static bool take_change(struct connection *connection, struct gather *gather, struct slice part)
{
    struct cluster_view view;
    bool opened = cluster_look(connection->server->cluster, &view);
    ASSERT(opened); /* or nothing would have been asked */
    bool taken = member_ask_take(gather->change, part, &view);
    gather->body.size = gather->part_start;
    if (taken) {
        ask_members(connection, gather);
    }
    return taken;
}

/* False when the part is not what a shard replies to this command. */
static bool take_part(struct connection *connection, struct gather *gather, uint32_t shard)
{
    size_t start = gather->part_start;
    struct slice part = slice_of(gather->body.data + start, gather->body.size - start);
    if (part.size < 3) {
        return false;
    }
    uint64_t number = 0;
    if (gather->kind == GATHER_STATUS && gather->done > 0) {
        bool taken = txn_status_take_part(gather->status, shard, part);
        gather->body.size = start;
        return taken;
    }
    if (part.data[0] == '-') {
        if (gather->error.size == 0) {
            buffer_append_slice(&gather->error, part);
        }
        gather->body.size = start;
        return true;
    }
    switch (gather->kind) {
    case GATHER_SUM: gather->body.size = start; break;
    case GATHER_ARRAY: break;
    case GATHER_CHANGE: return take_change(connection, gather, part);
    case GATHER_RANDOM: return take_random(connection, gather, shard, part);
    case GATHER_SCAN: return take_scan(connection, gather, shard, part);
    case GATHER_STATUS: {
        bool taken = txn_status_take_home(gather->status, part);
        gather->body.size = start;
        if (taken) {
            ask_participants(connection, gather);
        }
        return taken;
    }
    default: UNREACHABLE();
    }
    struct slice rest = part;
    if (!take_number(&rest, gather->kind == GATHER_SUM ? ':' : '*', &number)) {
        return false;
    }
    gather->sum += number;
    if (gather->kind == GATHER_ARRAY) { /* elements follow one another without the arrays' heads */
        memmove(gather->body.data + start, rest.data, rest.size);
        gather->body.size = start + rest.size;
    }
    return true;
}

bool gather_take(struct connection *connection, struct gather *gather, uint32_t shard)
{
    if (!take_part(connection, gather, shard)) {
        gather->body.size = gather->part_start;
        return gather_failed(gather, STATUS_UNCERTAIN);
    }
    gather->done += gather->error.size == 0;
    connection->stash_bytes += gather->body.size - gather->counted_bytes;
    gather->counted_bytes = gather->body.size;
    return --gather->waiting == 0;
}

/* ---- the reply ---- */

void gather_reply(const struct gather *gather, struct resp_writer *reply)
{
    if (gather->failure != STATUS_OK) {
        bool lost = gather->failure == STATUS_UNCERTAIN || gather->failure == STATUS_EXECUTED;
        resp_error(reply, lost && gather->changes ? "UNCERTAIN the node that executes this command was lost; send it "
                                                    "again: it is the same when it was executed already"
                                                  : route_refusal(gather->failure, gather->kind != GATHER_CHANGE));
        return;
    }
    if (gather->error.size != 0) {
        resp_raw(reply, buffer_slice(&gather->error));
        return;
    }
    switch (gather->kind) {
    case GATHER_SUM: resp_integer(reply, (int64_t)gather->sum); return;
    case GATHER_STATUS: txn_status_reply(gather->status, reply); return;
    case GATHER_CHANGE: member_ask_reply(gather->change, reply); return;
    case GATHER_RANDOM:
        if (gather->body.size == 0) {
            resp_null(reply);
            return;
        }
        break;
    case GATHER_SCAN: {
        char digits[NUMBER_INT64_BYTES];
        resp_array(reply, 2);
        resp_bulk(reply, slice_of(digits, number_format_uint64(digits, gather->sum)));
        break;
    }
    default: resp_array(reply, gather->sum); break;
    }
    resp_raw(reply, buffer_slice(&gather->body));
}

void gather_destroy(struct connection *connection, struct gather *gather)
{
    connection->stash_bytes -= gather->counted_bytes;
    buffer_deinit(&gather->body);
    buffer_deinit(&gather->error);
    free(gather->sizes);
    txn_status_destroy(gather->status);
    member_ask_destroy(gather->change);
    free(gather);
}

/* ---- asking ---- */

/* Asks one shard, or the meta group (0). True when it has answered at once: its next question may try that too. */
static bool ask(const struct asking *asking, uint32_t shard, const struct command *command, bool at_once)
{
    struct connection *connection = asking->connection;
    struct gather *gather = asking->gather;
    enum cluster_way way = CLUSTER_PLAIN;
    gather->waiting++;
    if (at_once) {
        struct resp_writer writer = resp_writer_to(gather_part(gather), command->protocol);
        if (route_read(connection, shard, command, &writer, &way)) {
            consistency_reach(connection, shard, cluster_told_index(connection->server->cluster));
            (void)gather_take(connection, gather, shard);
            return true;
        }
    }
    enum status status = cluster_submit(connection->server->cluster, shard, command, way, &connection->requester,
                                        slot_tag(asking->slot, shard == 0 ? 1 : shard));
    if (status == STATUS_OK) {
        connection->owed++;
    } else {
        (void)gather_failed(gather, status);
    }
    return way == CLUSTER_WEAK; /* it will be, by another worker */
}

static void ask_random(const struct asking *asking, const struct command *command)
{
    const struct slice name = SLICE_LITERAL("DBSIZE");
    const struct command size = {command_by_id(COMMAND_DBSIZE), &name, 1, command->protocol};
    uint32_t shards = asking->connection->server->shards;
    asking->gather->sizes = memory_allocate_zeroed(shards, sizeof(*asking->gather->sizes));
    for (uint32_t shard = 1; shard <= shards; shard++) {
        bool at_once = ask(asking, shard, &size, asking->at_once);
        (void)ask(asking, shard, command, at_once);
    }
}

static void ask_scan(const struct asking *asking, const struct command *command, uint64_t cursor)
{
    struct server *server = asking->connection->server;
    char digits[NUMBER_INT64_BYTES];
    size_t size = number_format_uint64(digits, cursor / server->shards);
    struct command_arguments *arguments = &server->arguments;
    command_arguments_reserve(arguments, command->argc);
    memcpy(arguments->items, command->argv, command->argc * sizeof(*command->argv));
    arguments->items[1] = slice_of(digits, size);
    struct command inner = *command;
    inner.argv = arguments->items;
    (void)ask(asking, (uint32_t)(cursor % server->shards) + 1, &inner, asking->at_once);
}

/* So does LOCK.LIST. */
static void ask_locks(const struct asking *asking, const struct command *command, const struct scan *scan)
{
    uint32_t shards = asking->connection->server->shards;
    char digits[NUMBER_INT64_BYTES];
    const struct slice argv[] = {
        SLICE_LITERAL("COHORT.LOCK.LIST"),
        slice_of(digits, number_format_uint64(digits, scan->cursor / shards)),
        scan->count,
        scan->pattern,
    };
    const struct command inner = {command_by_id(COMMAND_COHORT_LOCK_LIST), argv, 4, command->protocol};
    (void)ask(asking, (uint32_t)(scan->cursor % shards) + 1, &inner, asking->at_once);
}

/* TXN.LIST goes from shard to shard as SCAN does. */
static void ask_list(const struct asking *asking, const struct command *command, const struct scan *scan)
{
    uint32_t shards = asking->connection->server->shards;
    char digits[NUMBER_INT64_BYTES];
    const struct slice argv[] = {
        SLICE_LITERAL("COHORT.TXN.LIST"),
        slice_of(digits, number_format_uint64(digits, scan->cursor / shards)),
        scan->count,
        scan->state,
        scan->older,
    };
    const struct command inner = {command_by_id(COMMAND_COHORT_TXN_LIST), argv, 5, command->protocol};
    (void)ask(asking, (uint32_t)(scan->cursor % shards) + 1, &inner, asking->at_once);
}

/* TXN.BRANCHES, too. */
static void ask_branches(const struct asking *asking, const struct command *command, const struct scan *scan)
{
    struct server *server = asking->connection->server;
    char digits[NUMBER_INT64_BYTES];
    char cluster[BRANCH_CLUSTER_DIGITS + 1];
    txn_branch_cluster(server, cluster);
    const struct slice argv[] = {
        SLICE_LITERAL("COHORT.TXN.BRANCHES"),
        slice_of(digits, number_format_uint64(digits, scan->cursor / server->shards)),
        scan->count,
        scan->resource,
        slice_from_string(cluster),
    };
    const struct command inner = {command_by_id(COMMAND_COHORT_TXN_BRANCHES), argv, 5, command->protocol};
    (void)ask(asking, (uint32_t)(scan->cursor % server->shards) + 1, &inner, asking->at_once);
}

/* The id was looked at before. */
static void ask_home(const struct asking *asking, const struct command *command)
{
    const struct slice argv[] = {SLICE_LITERAL("COHORT.TXN.STATUS"), command->argv[1]};
    const struct command home = {command_by_id(COMMAND_COHORT_TXN_STATUS), argv, 2, RESP2};
    char cluster[BRANCH_CLUSTER_DIGITS + 1];
    txn_branch_cluster(asking->connection->server, cluster);
    asking->gather->status = txn_status_create(command->argv[1], cluster);
    asking->gather->slot = asking->slot;
    (void)ask(asking, txn_session_home(asking->connection->server, command->argv[1]), &home, false);
}

/* `question`: for home alone; or NULL. */
static void ask_all(const struct asking *asking, const struct command *command, const struct scan *scan,
                    const struct branch_question *question)
{
    if (asking->gather->kind == GATHER_CHANGE) {
        asking->gather->slot = asking->slot;
        ask_members(asking->connection, asking->gather);
        return;
    }
    if (command->spec->id == COMMAND_TXN_STATUS) {
        ask_home(asking, command);
        return;
    }
    if (command->spec->id == COMMAND_TXN_LIST) {
        ask_list(asking, command, scan);
        return;
    }
    if (command->spec->id == COMMAND_TXN_BRANCHES) {
        ask_branches(asking, command, scan);
        return;
    }
    if (question != NULL) {
        (void)ask(asking, question->home, &question->command, false);
        return;
    }
    if (command->spec->id == COMMAND_LOCK_LIST) {
        ask_locks(asking, command, scan);
        return;
    }
    if (asking->gather->kind == GATHER_SCAN) {
        ask_scan(asking, command, scan->cursor);
        return;
    }
    if (asking->gather->kind == GATHER_RANDOM) {
        ask_random(asking, command);
        return;
    }
    for (uint32_t shard = 1; shard <= asking->connection->server->shards; shard++) {
        (void)ask(asking, shard, command, asking->at_once);
    }
}

/* What the members are to become. NULL, and why. */
static struct member_ask *change_of(const struct connection *connection, const struct command *command,
                                    const char **ret_problem)
{
    struct cluster_view view;
    if (connection->server->options.founder_count == 0) {
        *ret_problem = "ERR this node is alone: it leads every shard, and nobody else can";
        return NULL;
    }
    if (!cluster_look(connection->server->cluster, &view)) {
        *ret_problem = "CLUSTERDOWN the cluster is not founded yet; start the other nodes";
        return NULL;
    }
    return member_ask_create(command, ret_problem);
}

void gather_start(struct connection *connection, const struct command *command)
{
    struct scan scan;
    struct branch_question question;
    const char *problem = gather_scan_options(command, &scan);
    bool changes = kind_of(command->spec) == GATHER_CHANGE;
    struct member_ask *change = changes ? change_of(connection, command, &problem) : NULL;
    bool branch = command->spec->id == COMMAND_TXN_OUTCOME || command->spec->id == COMMAND_TXN_DONE;
    problem = branch && problem == NULL ? txn_branch_question(connection, command, &question) : problem;
    if (problem != NULL) {
        struct resp_writer *reply = reply_begin(connection);
        resp_error(reply, problem);
        reply_end(connection);
        return;
    }
    bool reads = (command->spec->flags & COMMAND_READONLY) != 0;
    bool quiet = connection_quiet(connection);
    uint64_t strong_end = connection->strong_end;
    struct gather *gather = memory_allocate_zeroed(1, sizeof(*gather));
    gather->kind = kind_of(command->spec);
    gather->changes = branch;
    gather->waiting = 1;
    gather->change = change;
    uint64_t number = slot_open(connection, command->spec);
    struct slot *slot = slot_at(connection, number);
    slot->kind = SLOT_GATHER;
    connection->strong_end =
        reads && quiet && connection->level == CONSISTENCY_EVENTUAL ? strong_end : connection->strong_end;
    slot->gather = gather;
    struct asking asking = {connection, gather, number, reads && quiet};
    if (!(reads && slot->silent)) { /* else nobody reads it, and reading changes nothing */
        ask_all(&asking, command, &scan, branch ? &question : NULL);
    }
    if (--gather->waiting == 0) {
        slot_finish(connection, number);
        if (!connection->closed) {
            route_measure(connection, command);
        }
    }
}

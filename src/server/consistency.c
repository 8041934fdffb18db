#include "server/consistency.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/number.h"
#include "cluster/cluster_mutation.h"
#include "server/figures.h"
#include "server/local.h"
#include "server/position.h"
#include "server/route_refuse.h"
#include "server/route_submit.h"

#include <stdlib.h>
#include <strings.h>

/* ---- what was seen ---- */

__attribute__((noinline)) void consistency_make_room(struct connection *connection)
{
    connection->reached = memory_allocate_zeroed(connection->server->shards, sizeof(*connection->reached));
}

void consistency_told(struct connection *connection, uint32_t shard, uint64_t index)
{
    consistency_reach(connection, shard, 0);
    if (__builtin_expect(connection->reached[shard - 1] == CONSISTENCY_SOMEWHERE, 0)) {
        connection->reached[shard - 1] = index; /* the read was strong: it saw all that was acknowledged before */
    } else {
        consistency_reach(connection, shard, index);
    }
}

void consistency_lose(struct connection *connection, uint32_t shard)
{
    uint32_t first = shard == 0 ? 1 : shard;
    uint32_t last = shard == 0 ? connection->server->shards : shard;
    for (uint32_t i = first; i <= last; i++) {
        consistency_reach(connection, i, CONSISTENCY_SOMEWHERE);
    }
}

void consistency_deinit(struct connection *connection)
{
    free(connection->reached);
    connection->reached = NULL;
}

void consistency_reset(struct connection *connection)
{
    connection->level = CONSISTENCY_STRONG;
    consistency_deinit(connection);
}

/* ---- reading ---- */

bool consistency_takes(const struct connection *connection, const struct command_spec *spec)
{
    return (connection->level == CONSISTENCY_SESSION || connection->level == CONSISTENCY_BOUNDED) &&
           (spec->flags & (COMMAND_READONLY | COMMAND_NO_MULTI)) == COMMAND_READONLY &&
           spec->place == COMMAND_AT_MACHINE && spec->first_key != 0 && spec->key_count == 0 && !spec->internal;
}

static struct cluster_bound bound_of(struct connection *connection, uint32_t shard)
{
    consistency_reach(connection, shard, 0);
    bool session = connection->level == CONSISTENCY_SESSION;
    return (struct cluster_bound){.index = session ? connection->reached[shard - 1] : 0,
                                  .age_ms = session ? CLUSTER_ANY_AGE : connection->bound_ms};
}

/* The replica here has it; false: it is to be submitted. */
static bool read_now(struct connection *connection, uint32_t shard, const struct command *command,
                     const struct cluster_bound *bound)
{
    struct cluster *cluster = connection->server->cluster;
    bool behind = connection_pending(connection); /* then the reply has a slot */
    struct resp_writer *reply = reply_begin(connection);
    if (reply->out == NULL) { /* nobody reads it, and reading changes nothing */
        if (behind) {
            reply_end(connection);
        }
        return true;
    }
    if (!cluster_read_within(cluster, shard, command, bound, connection->id, reply)) {
        if (behind) {
            slot_withdraw(connection);
        }
        return false;
    }
    consistency_reach(connection, shard, cluster_told_index(cluster));
    reply_end(connection);
    route_measure(connection, command);
    return true;
}

/* It waits for the replica here, or at another worker. */
static void submit(struct connection *connection, uint32_t shard, const struct command *command,
                   const struct cluster_bound *bound)
{
    uint64_t strong_end = connection->strong_end;
    uint64_t number = slot_open(connection, command_called(command));
    enum status status = cluster_submit_within(connection->server->cluster, shard, command, bound,
                                               &connection->requester, slot_tag(number, shard));
    connection->strong_end = strong_end;
    if (status != STATUS_OK) {
        slot_withdraw(connection);
        route_refuse(connection, status);
        return;
    }
    connection->level_end = connection->slot_tail;
    connection->owed++;
    connection->server->figures.reads_waited++;
}

void consistency_read(struct connection *connection, uint32_t shard, const struct command *command)
{
    struct cluster_bound bound = bound_of(connection, shard);
    bool quiet = !connection_pending(connection) || connection->strong_end <= connection->slot_head;
    if (!quiet || bound.index == CONSISTENCY_SOMEWHERE) {
        route_submit(connection, shard, command, command_called(command)); /* strong, at its place */
    } else if (!read_now(connection, shard, command, &bound)) {
        submit(connection, shard, command, &bound);
    }
}

static const char behind_session[] =
    "STALE this node does not have yet what this connection has read or written, and no leader of the shard has "
    "answered in time; try again, ask another node, or read what is there (COHORT.CONSISTENCY EVENTUAL)";
static const char behind_bound[] =
    "STALE no leader of the shard has confirmed in time that what this node has is within the bound; try again, ask "
    "another node, or read what is there (COHORT.CONSISTENCY EVENTUAL)";
static const char beyond[] =
    "STALE this connection has a position that this cluster does not have (any more): it was put back to an earlier "
    "time; begin anew with RESET and COHORT.CONSISTENCY SESSION";

const char *consistency_refusal(const struct connection *connection, const struct command_spec *spec,
                                enum status status)
{
    if (!consistency_takes(connection, spec)) {
        return NULL;
    }
    switch (status) {
    case STATUS_INVALID: return beyond;
    case STATUS_STALE:
    case STATUS_NO_LEADER:
    case STATUS_NOT_LEADER:
    case STATUS_UNCERTAIN:
    case STATUS_EXECUTED: return connection->level == CONSISTENCY_SESSION ? behind_session : behind_bound;
    default: return NULL;
    }
}

/* ---- commands ---- */

/* A name for the logs of this cluster; false: it has none yet, and the client is told. */
static bool whose(const struct local_call *call, uint64_t *ret_whose)
{
    struct cluster_view view;
    if (!cluster_look(call->server->cluster, &view)) {
        resp_error(call->reply, "CLUSTERDOWN the cluster is not founded yet; start the other nodes");
        return false;
    }
    *ret_whose = hash_bytes(0, &view.members->cluster, sizeof(view.members->cluster));
    return true;
}

static bool take_position(struct local_call *call, struct slice text)
{
    uint64_t name = 0;
    if (!whose(call, &name)) {
        return false;
    }
    consistency_reach(call->connection, 1, 0);
    if (CLUSTER_MUTATED(POSITION_FORGOTTEN)) {
        return true;
    }
    switch (position_take(text, name, call->server->shards, call->connection->reached)) {
    case POSITION_OK: return true;
    case POSITION_NEWER:
        resp_error(call->reply, "ERR this position is of a newer version; bring all nodes to one version");
        return false;
    case POSITION_FOREIGN:
        resp_error(call->reply, "ERR this position is of another cluster, or of this one before it was founded anew; "
                                "begin without one: COHORT.CONSISTENCY SESSION");
        return false;
    default:
        resp_error(call->reply, "ERR this is no position as COHORT.POSITION tells it; give it letter by letter, or "
                                "begin without one: COHORT.CONSISTENCY SESSION");
        return false;
    }
}

static bool is_word(struct slice word, const char *name)
{
    return word.size == strlen(name) && strncasecmp((const char *)word.data, name, word.size) == 0;
}

void local_consistency(struct local_call *call)
{
    struct connection *connection = call->connection;
    struct slice word = call->argv[1];
    int64_t bound_ms = 0;
    if (is_word(word, "STRONG") && call->argc == 2) {
        connection->level = CONSISTENCY_STRONG;
    } else if (is_word(word, "EVENTUAL") && call->argc == 2) {
        connection->level = CONSISTENCY_EVENTUAL;
    } else if (is_word(word, "SESSION") && call->argc <= 3) {
        if (call->argc == 3 && !take_position(call, call->argv[2])) {
            return;
        }
        connection->level = CONSISTENCY_SESSION;
    } else if (is_word(word, "BOUNDED") && call->argc == 3) {
        if (!number_parse_int64(call->argv[2], &bound_ms) || bound_ms < 0 || bound_ms > CONSISTENCY_BOUND_MS) {
            resp_error(call->reply, "ERR the bound is milliseconds: 0 to 86400000 (a day)");
            return;
        }
        connection->level = CONSISTENCY_BOUNDED;
        connection->bound_ms = bound_ms;
    } else {
        resp_error(call->reply,
                   "ERR syntax error: COHORT.CONSISTENCY STRONG | SESSION [position] | BOUNDED milliseconds "
                   "| EVENTUAL");
        return;
    }
    resp_status(call->reply, "OK");
}

void local_position(struct local_call *call)
{
    struct connection *connection = call->connection;
    uint64_t name = 0;
    if (!whose(call, &name)) {
        return;
    }
    consistency_reach(connection, 1, 0);
    for (uint32_t i = 0; i < call->server->shards; i++) {
        if (connection->reached[i] == CONSISTENCY_SOMEWHERE) {
            resp_error(call->reply, "STALE this connection has a write whose place is not known, as its reply was lost "
                                    "or it was committed by an id; read its keys, then ask again");
            return;
        }
    }
    struct buffer text;
    buffer_init(&text);
    position_put(&text, name, connection->reached, call->server->shards);
    resp_bulk(call->reply, buffer_slice(&text));
    buffer_deinit(&text);
}

void local_readonly(struct local_call *call)
{
    call->connection->level = CONSISTENCY_EVENTUAL;
    resp_status(call->reply, "OK");
}

/* It ends READONLY; what COHORT.CONSISTENCY said is its own affair. */
void local_readwrite(struct local_call *call)
{
    struct connection *connection = call->connection;
    connection->level = connection->level == CONSISTENCY_EVENTUAL ? CONSISTENCY_STRONG : connection->level;
    resp_status(call->reply, "OK");
}

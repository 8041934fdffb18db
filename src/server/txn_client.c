#include "server/txn_client.h"

#include "base/assert.h"
#include "base/memory.h"
#include "server/consistency.h"
#include "server/exec_plan.h"
#include "server/figures.h"
#include "server/pubsub.h"
#include "server/route_refuse.h"
#include "server/server_state.h"
#include "server/txn_driver.h"

#include <stdlib.h>

struct client_txn {
    struct txn_driver driver; /* first: see txn_driver_host */
    struct list node;         /* of server.txns */
    struct server *server;
    struct connection *connection; /* NULL: nobody waits */
    uint64_t slot;
    const struct command_spec *spec;
    bool exec;
    struct exec_plan *exec_plan; /* owned, until it is the slot's */
    int64_t began_ns;
    struct slow_words words;
    struct env_timer timer;
};

static struct client_txn *of(struct txn_driver *driver) { return (struct client_txn *)driver; }

/* ---- the driver's host ---- */

static enum status host_submit(struct txn_driver *driver, uint32_t shard, const struct command *command, uint64_t tag)
{
    return cluster_submit(of(driver)->server->cluster, shard, command, CLUSTER_PLAIN, &driver->round.requester, tag);
}

static uint64_t host_term(struct txn_driver *driver, uint32_t shard)
{
    struct cluster_replica replica;
    cluster_replica(of(driver)->server->cluster, shard, &replica);
    return replica.term;
}

static bool host_leads(struct txn_driver *driver, uint32_t shard)
{
    return cluster_leads(of(driver)->server->cluster, shard);
}

static size_t host_new_id(struct txn_driver *driver, uint32_t home, char id[static TXN_ID_BYTES])
{
    struct server *server = of(driver)->server;
    server->txn_attempts += driver->attempt > 0 ? 1 : 0;
    server->txn_attempts_most =
        driver->attempt < server->txn_attempts_most ? server->txn_attempts_most : driver->attempt + 1;
    const struct txn_id made = {
        .made = true,
        .runs = true,
        .home = home,
        .position = server->txn_positions[home - 1],
        .node = server->options.node_id,
        .start = server->node_file.lineage.start,
        .sequence = ++server->txn_sequence * SERVER_WORKERS_MAXIMUM + server->worker,
    };
    return txn_id_make(id, &made);
}

static void host_told_position(struct txn_driver *driver, uint32_t home, uint64_t position)
{
    uint64_t *known = &of(driver)->server->txn_positions[home - 1];
    *known = position > *known ? position : *known;
}

static int64_t host_now_ns(struct txn_driver *driver) { return server_now_ns(of(driver)->server); }

static void host_wake_at(struct txn_driver *driver, int64_t at_ns)
{
    env_timer_start(of(driver)->server->env, &of(driver)->timer, at_ns);
}

static uint64_t host_random(struct txn_driver *driver)
{
    uint64_t random = 0;
    env_random(of(driver)->server->env, (uint8_t *)&random, sizeof(random));
    return random;
}

static void write_reply(struct client_txn *txn, enum txn_end end, struct resp_writer *reply)
{
    const struct txn_plan *plan = &txn->driver.plan;
    switch (end) {
    case TXN_END_DONE:
        if (txn->exec) {
            resp_array(reply, plan->command_count);
        }
        for (uint32_t i = 0; i < plan->command_count; i++) {
            struct resp_writer inner = resp_writer_to(reply->out, plan->commands[i].protocol);
            txn_plan_reply(plan, i, &inner);
        }
        return;
    case TXN_END_CHANGED: resp_null_array(reply); return;
    case TXN_END_REFUSED: resp_error(reply, txn->driver.why); return;
    case TXN_END_LOST:
        resp_error(reply, route_refusal(STATUS_EXECUTED, false));
        figures_failed(txn->server, txn->spec->id, STATUS_EXECUTED);
        return;
    case TXN_END_UNKNOWN:
        resp_error(reply, "UNCERTAIN the shard that decides about the transaction does not answer; it may have been "
                          "executed, look before you send it again");
        figures_failed(txn->server, txn->spec->id, STATUS_UNCERTAIN);
        return;
    }
    UNREACHABLE();
}

/* From its beginning to its reply: it cannot be told what of that was work. */
static void measure(struct client_txn *txn, const struct connection *connection)
{
    int64_t duration_ns = server_now_ns(txn->server) - txn->began_ns;
    figures_part(txn->server, txn->spec->id, duration_ns, true);
    figures_slow_kept(txn->server, &txn->words, duration_ns, connection->peer,
                      connection->name == NULL ? "" : connection->name);
}

static void host_ended(struct txn_driver *driver, enum txn_end end)
{
    struct client_txn *txn = of(driver);
    struct connection *connection = txn->connection;
    env_timer_stop(txn->server->env, &txn->timer);
    if (end == TXN_END_DONE) {
        pubsub_publish_all(txn->server, buffer_slice(&driver->plan.values.events.messages));
    }
    if (connection == NULL) {
        return;
    }
    txn->connection = NULL;
    connection->txn = NULL;
    if (end == TXN_END_LOST) {
        consistency_lose(connection, 0);
    }
    struct slot *slot = slot_at(connection, txn->slot);
    if (txn->exec && txn->exec_plan != NULL) {
        slot->kind = SLOT_EXEC;
        slot->exec = txn->exec_plan;
        txn->exec_plan = NULL;
    }
    struct resp_writer reply = resp_writer_to(&slot->stash, slot->protocol);
    write_reply(txn, end, &reply);
    if (slot->silent && slot->kind == SLOT_PLAIN) {
        buffer_clear(&slot->stash);
    }
    connection->reply_start = 0;
    txn->server->took_long = txn_values_took_long(&driver->plan.values);
    slot_finish(connection, txn->slot);
    measure(txn, connection);
}

static void client_txn_free(struct client_txn *txn)
{
    list_remove(&txn->node);
    env_timer_stop(txn->server->env, &txn->timer);
    exec_plan_destroy(txn->exec_plan);
    slow_words_deinit(&txn->words);
    txn_driver_deinit(&txn->driver);
    free(txn);
}

static void host_settled(struct txn_driver *driver) { client_txn_free(of(driver)); }

/* Of a participant that is the entry of its vote, or a later one: the replica that has it has the locks until it has
 * the outcome (cluster/level_reads.h). */
static void host_told(struct txn_driver *driver, uint32_t shard)
{
    struct connection *connection = of(driver)->connection;
    if (connection != NULL && shard != 0) {
        consistency_told(connection, shard, cluster_told_index(of(driver)->server->cluster));
    }
}

static const struct txn_driver_host host = {
    .submit = host_submit,
    .term = host_term,
    .leads = host_leads,
    .new_id = host_new_id,
    .told_position = host_told_position,
    .now_ns = host_now_ns,
    .wake_at = host_wake_at,
    .random = host_random,
    .ended = host_ended,
    .settled = host_settled,
    .told = host_told,
};

static void fire(struct env_timer *timer) { txn_driver_wake(&CONTAINER_OF(timer, struct client_txn, timer)->driver); }

/* ---- beginning ---- */

static void start(struct connection *connection, const struct command *command, struct txn_plan *plan, bool exec,
                  struct exec_plan *exec_plan)
{
    struct server *server = connection->server;
    ASSERT(!connection_pending(connection) && connection->txn == NULL);
    txn_plan_seal(plan);
    if (txn_plan_too_large(plan)) {
        resp_error(reply_begin(connection), TXN_TOO_LARGE);
        reply_end(connection);
        txn_plan_deinit(plan);
        exec_plan_destroy(exec_plan);
        return;
    }
    struct client_txn *txn = memory_allocate_zeroed(1, sizeof(*txn));
    int64_t now_ns = server_now_ns(server);
    if (plan->draws) {
        env_random(server->env, (uint8_t *)&plan->random, sizeof(plan->random));
    }
    txn_driver_init(&txn->driver, &host, plan, server->config.txn_protocol == 1 ? TXN_3PC : TXN_2PC,
                    now_ns + server->config.command_timeout_ms / 2 * INT64_C(1000000));
    txn->server = server;
    txn->connection = connection;
    txn->slot = slot_open(connection, command_called(command));
    txn->spec = command_called(command);
    txn->exec = exec;
    txn->exec_plan = exec_plan;
    txn->began_ns = now_ns;
    figures_keep(server, command, &txn->words);
    env_timer_init(&txn->timer, fire);
    list_append(&server->txns, &txn->node);
    connection->txn = txn;
    txn_driver_start(&txn->driver);
}

void txn_client_command(struct connection *connection, const struct command *command, struct txn_plan *plan)
{
    start(connection, command, plan, false, NULL);
}

void txn_client_exec(struct connection *connection, struct txn_plan *plan, struct exec_plan *exec_plan)
{
    const struct slice word = SLICE_LITERAL("EXEC");
    const struct command exec = {command_by_id(COMMAND_EXEC), &word, 1, RESP2};
    start(connection, &exec, plan, true, exec_plan);
}

/* ---- ends ---- */

void txn_client_leave(struct connection *connection)
{
    if (connection->txn != NULL) {
        connection->txn->connection = NULL;
        connection->txn = NULL;
    }
}

void txn_clients_look_after(struct server *server, int64_t before_ns)
{
    LIST_FOR_EACH_SAFE (at, after, &server->txns) {
        struct client_txn *txn = CONTAINER_OF(at, struct client_txn, node);
        if (txn->began_ns < before_ns) {
            txn_driver_give_up(&txn->driver);
        }
    }
}

/* A driver that has ended is owed what the cluster still waits for itself. */
bool txn_clients_idle(const struct server *server)
{
    LIST_FOR_EACH (at, (struct list *)(uintptr_t)&server->txns) {
        if (CONTAINER_OF(at, struct client_txn, node)->driver.state != DRIVER_ENDED) {
            return false;
        }
    }
    return true;
}

void txn_clients_destroy(struct server *server)
{
    while (!list_empty(&server->txns)) {
        client_txn_free(CONTAINER_OF(server->txns.next, struct client_txn, node));
    }
}

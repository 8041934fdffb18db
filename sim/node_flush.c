/* FLUSHALL of clients: what it does to single keys goes to the history, and looks at all keys are looked at here. */
#include "node_world.h"

#include "base/assert.h"

/* For each single key: it is gone. That all of them go at once is seen by twins and accounts. */
void node_flush_note(struct node_client *client)
{
    static const char kinds[] = {'r', 'q', 'c'};
    struct node_txn *txn = &client->txn;
    struct node_world *world = client->world;
    char key[NODE_KEY_BYTES];
    for (uint32_t i = 0; i < sizeof(kinds) * (uint32_t)world->profile.groups; i++) {
        int shard = 1 + (int)(i / sizeof(kinds));
        uint32_t operation;
        ASSERT(world->shards[shard].generation == 0);
        node_key_of(client, shard, kinds[i % sizeof(kinds)], 0, key);
        struct history_call call = {
            .kind = HISTORY_CLEAR, .process = (uint32_t)client->number, .key = slice_from_string(key)};
        ASSERT(history_invoke(&world->history, &call, (uint64_t)sim_now_ns(world->sim), &operation) == STATUS_OK);
        txn->cleared = i == 0 ? operation : txn->cleared;
        txn->cleared_count++;
    }
}

void node_flush_end(struct node_client *client, bool done)
{
    struct node_txn *txn = &client->txn;
    struct node_world *world = client->world;
    const struct history_result nothing = {.shape = HISTORY_RESULT_NONE};
    for (uint32_t i = txn->cleared; i < txn->cleared + txn->cleared_count; i++) {
        if (!done) {
            history_fail(&world->history, i);
        } else if (history_complete(&world->history, i, &nothing, (uint64_t)sim_now_ns(world->sim)) != STATUS_OK) {
            node_unexpected(client, "a flush with another reply");
        }
    }
    node_reach(world, NODE_MARK_FLUSHED, done && txn->cleared_count > 0);
}

/* ---- looks at all keys ---- */

static bool names(const struct node_client *client, int shard, char kind)
{
    char key[NODE_KEY_BYTES];
    node_key_of(client, shard, kind, 0, key);
    for (size_t i = 1; i < client->element; i++) {
        if (slice_is_word(client->reply.elements[i].text, key)) {
            return true;
        }
    }
    return false;
}

static void check_pairs(struct node_client *client)
{
    int groups = client->world->profile.groups;
    for (int shard = 1; shard <= groups; shard++) {
        if (names(client, shard, 'm') != names(client, shard % groups + 1, 'n')) {
            node_fail(client->world, "client %d: node %d lists one of two twins", client->number + 1, client->node + 1);
        }
    }
}

static void check_count(struct node_client *client)
{
    const struct node_result *count = &client->txn.results[1];
    if (count->type != RESP_INTEGER || count->integer != 0) {
        node_fail(client->world, "client %d: node %d counts %lld keys right behind a FLUSHALL", client->number + 1,
                  client->node + 1, (long long)count->integer);
    }
}

void node_flush_check(struct node_client *client)
{
    if (client->txn.kind == NODE_TXN_PAIRS) {
        check_pairs(client);
    } else if (client->txn.kind == NODE_TXN_FLUSH && client->txn.steps > 1) {
        check_count(client);
    }
}

/* Who knows its id may roll a transaction back while its own client goes on with it, or says COMMIT: one of them has
 * its way, and everybody is told the same. */
#include "node_world.h"

#include <stdio.h>

struct outcome {
    char id[NODE_TXN_ID_BYTES];
    bool committed;
};

void node_txn_note_outcome(struct node_client *client, const char *id, bool committed)
{
    struct node_world *world = client->world;
    const struct outcome *known = (const struct outcome *)(const void *)world->txn_outcomes.data;
    size_t count = world->txn_outcomes.size / sizeof(*known);
    struct outcome outcome = {.committed = committed};
    if (id[0] == '\0') {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(known[i].id, id) == 0) {
            if (known[i].committed != committed) {
                node_fail(
                    world,
                    "client %d: node %d says that the transaction %.40s is %s, and another was told that it is %s",
                    client->number + 1, client->node + 1, id, committed ? "committed" : "rolled back",
                    committed ? "rolled back" : "committed");
            }
            return;
        }
    }
    (void)snprintf(outcome.id, sizeof(outcome.id), "%s", id);
    buffer_append(&world->txn_outcomes, &outcome, sizeof(outcome));
}

bool node_txn_roll_back_other(struct node_client *client)
{
    struct node_world *world = client->world;
    int clients = world->profile.clients;
    int first = (int)node_draw(world, SIM_DRAW_CLIENT, (uint64_t)clients);
    for (int i = 0; i < clients; i++) {
        const struct node_client *other = &world->clients[(first + i) % clients];
        if (other != client && other->txn.kind != NODE_TXN_NOTHING && other->txn.id[0] != '\0') {
            memcpy(client->other_id, other->txn.id, sizeof(client->other_id));
            node_request(client, "TXN.ROLLBACK %s", client->other_id);
            (void)node_expect(client, NODE_ASK_ROLL_BACK_OTHER);
            return true;
        }
    }
    return false;
}

bool node_txn_other_answered(struct node_client *client)
{
    static const char committed[] = "ERR the transaction is committed already";
    struct slice text = client->reply.text;
    bool error = client->reply.type == RESP_ERROR;
    if (error && !slice_starts_with(text, slice_from_string(committed))) {
        return false;
    }
    node_reach(client->world, NODE_MARK_TXN_ROLLED_BACK, !error);
    node_txn_note_outcome(client, client->other_id, error);
    return true;
}

/* Ids that clients choose for their transactions: each begins once, whatever restarts in between. */
#include "node_world.h"

#include <stdio.h>

enum { REPEAT_ONE_IN = 4 };

void node_txn_choose_id(struct node_client *client, char ret_id[static NODE_TXN_ID_BYTES])
{
    struct node_world *world = client->world;
    size_t begun = world->txn_ids.size / NODE_TXN_ID_BYTES;
    client->txn.named = true;
    client->txn.repeated = begun > 0 && node_draw(world, SIM_DRAW_CLIENT, REPEAT_ONE_IN) == 0;
    if (client->txn.repeated) {
        size_t at = (size_t)node_draw(world, SIM_DRAW_CLIENT, begun);
        memcpy(ret_id, world->txn_ids.data + at * NODE_TXN_ID_BYTES, NODE_TXN_ID_BYTES);
    } else {
        (void)snprintf(ret_id, NODE_TXN_ID_BYTES, "id-%s", client->txn.value); /* no other value is like it */
    }
}

void node_txn_has_begun(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    if (txn->repeated) {
        node_fail(client->world, "client %d: node %d begins a transaction under the id %.40s, which ran before",
                  client->number + 1, client->node + 1, txn->id);
    } else if (txn->named) {
        buffer_append(&client->world->txn_ids, txn->id, NODE_TXN_ID_BYTES);
    }
}

void node_txn_check_refusal(struct node_client *client, enum node_ask ask)
{
    static const char exists[] = "TXNEXISTS ";
    struct slice text = client->reply.text;
    if (text.size < sizeof(exists) || memcmp(text.data, exists, sizeof(exists) - 1) != 0) {
        return;
    }
    node_reach(client->world, NODE_MARK_TXN_EXISTS, 1);
    if (ask != NODE_ASK_TXN_BEGIN || !client->txn.repeated) {
        node_unexpected(client, "that an id exists which nobody has used");
    }
}

/* Transactions that move a token between two keys, of different shards when there are several, and look at all keys in
 * between (NODE_TXN_MOVE):
 *
 *   [DBSIZE] COPY x y · DEL x · INCR y · DBSIZE · KEYS
 *
 * The token is at x, at y, or was never made; then it is at y. Its value counts these transactions, so each sees
 * another, and those that are acknowledged are in an order that time must agree with. So in every look at all keys each
 * token is in one place, and two looks of one transaction differ by what it has made itself.
 *
 * And transactions of TXN.* that make a key of their shard when a look finds none in any shard, and else remove it
 * (NODE_TXN_CLAIM): so there is never more than one, as long as nobody commits upon a look that is true no more. */
#include "node_txn.h"

#include "base/assert.h"

enum { STEP_SIZE, STEP_COPY, STEP_DEL, STEP_INCR, STEP_SIZE_AGAIN, STEP_KEYS, STEPS };

/* All tokens fit into a reply, also when one were in two places. */
bool node_move_fits(const struct node_world *world) { return STEPS + 2 * world->profile.groups <= NODE_ELEMENTS; }

static void name_place(const struct node_client *client, int token, int place, char ret_key[static NODE_KEY_BYTES])
{
    int other = token % client->world->profile.groups + 1;
    node_key_of(client, place == 0 ? token : other, place == 0 ? 'j' : 'k', 0, ret_key);
}

void node_move_make(struct node_client *client, int shard, bool in_multi)
{
    struct node_txn *txn = &client->txn;
    struct node_world *world = client->world;
    int to = (int)node_draw(world, SIM_DRAW_CLIENT, 2);
    txn->token = shard;
    txn->place = to;
    name_place(client, shard, 1 - to, txn->keys[0]);
    name_place(client, shard, to, txn->keys[1]);
    /* What is said command by command ends when others write behind the first look: it looks in the end alone. */
    txn->skipped = in_multi ? 0 : STEP_COPY;
    txn->steps = STEPS - txn->skipped;
    for (int token = 1; token <= world->profile.groups; token++) {
        txn->known |= world->shards[token].token_count > 0 ? 1U << token : 0;
    }
    txn->token_count = world->shards[shard].token_count;
}

void node_move_say(struct node_client *client, int step)
{
    const struct node_txn *txn = &client->txn;
    switch (step + txn->skipped) {
    case STEP_SIZE:
    case STEP_SIZE_AGAIN: node_request(client, "DBSIZE"); return;
    case STEP_COPY: node_request(client, "COPY %s %s", txn->keys[0], txn->keys[1]); return;
    case STEP_DEL: node_request(client, "DEL %s", txn->keys[0]); return;
    case STEP_INCR: node_request(client, "INCR %s", txn->keys[1]); return;
    case STEP_KEYS: node_request(client, "KEYS *[jk]0"); return;
    default: UNREACHABLE();
    }
}

void node_claim_make(struct node_client *client, int shard)
{
    struct node_txn *txn = &client->txn;
    txn->steps = 2;
    node_key_of(client, shard, 'o', 0, txn->keys[0]);
}

void node_claim_say(struct node_client *client, int step)
{
    const struct node_txn *txn = &client->txn;
    if (step == 0) {
        node_request(client, "KEYS *}o0");
    } else if (txn->found[0] == 0) {
        node_request(client, "SET %s %s", txn->keys[0], txn->value);
    } else {
        node_request(client, "DEL %s", txn->keys[0]);
    }
}

void node_claim_check(struct node_client *client)
{
    unsigned found = client->txn.found[0];
    node_reach(client->world, NODE_MARK_LOOKED, 1);
    if ((found & (found - 1)) != 0) {
        node_fail(client->world, "client %d: node %d shows two keys, each made where there was none",
                  client->number + 1, client->node + 1);
    }
}

static bool names(const struct node_client *client, const char *key)
{
    for (size_t i = 0; i < client->element; i++) {
        if (client->reply.elements[i].type == RESP_BULK && slice_is_word(client->reply.elements[i].text, key)) {
            return true;
        }
    }
    return false;
}

void node_move_take_keys(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    for (int token = 1; token <= client->world->profile.groups; token++) {
        for (int place = 0; place < 2; place++) {
            char key[NODE_KEY_BYTES];
            if (txn->kind == NODE_TXN_CLAIM) {
                node_key_of(client, token, 'o', 0, key);
            } else {
                name_place(client, token, place, key);
            }
            txn->found[place] |= names(client, key) ? 1U << token : 0;
        }
    }
}

static void fail(struct node_client *client, int token, const char *what)
{
    node_fail(client->world, "client %d: node %d shows token %d %s", client->number + 1, client->node + 1, token, what);
}

static int64_t number_at(const struct node_txn *txn, int step)
{
    const struct node_result *result = &txn->results[step - txn->skipped];
    return result->type == RESP_INTEGER ? result->integer : -1;
}

/* Its own token: what it has done to it, by the order of all who have moved it. */
static void check_own(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    struct node_shard *shard = &client->world->shards[txn->token];
    bool flushes = client->world->profile.flush;
    int64_t count = number_at(txn, STEP_INCR);
    bool moved = number_at(txn, STEP_COPY) == 1;
    bool grew = count == 1;
    if (number_at(txn, STEP_DEL) != (moved ? 1 : 0) || count < 1 || (grew && moved)) {
        fail(client, txn->token, "in two places, or half moved");
    } else if (!flushes && count <= txn->token_count) {
        fail(client, txn->token, "as it was before somebody was told that it had moved");
    } else if (!flushes && count == shard->token_count + 1 && shard->token_count > 0 &&
               moved != (shard->token_place != txn->place)) {
        fail(client, txn->token, "where it was not");
    } else if (txn->skipped == 0 && number_at(txn, STEP_SIZE_AGAIN) != number_at(txn, STEP_SIZE) + (grew ? 1 : 0)) {
        fail(client, txn->token, "and another number of keys than there can be");
    } else if ((txn->found[txn->place] & 1U << txn->token) == 0) {
        fail(client, txn->token, "not where it has just been moved");
    }
    if (count > shard->token_count) {
        shard->token_count = count;
        shard->token_place = txn->place;
    }
}

void node_move_check(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    node_reach(client->world, NODE_MARK_LOOKED, txn->id[0] != '\0');
    for (int token = 1; token <= client->world->profile.groups; token++) {
        unsigned bit = 1U << token;
        if ((txn->found[0] & txn->found[1] & bit) != 0) {
            fail(client, token, "in two places");
        } else if (!client->world->profile.flush && (txn->known & bit) != 0 &&
                   ((txn->found[0] | txn->found[1]) & bit) == 0) {
            fail(client, token, "nowhere");
        }
    }
    check_own(client);
}

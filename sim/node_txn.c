/* Transactions of several keys, in whichever shards: said at once (MULTI … EXEC, MSET, MGET) or command by command
 * (TXN.*), with both protocols. What becomes of them goes to the history, as one operation each, and is looked at here:
 * twins are equal, and the accounts of the bank sum up to 0, in every look. */
#include "node_txn.h"

#include "base/assert.h"
#include "base/number.h"

#include <stdio.h>

enum { TRIES = 4, AMOUNT_MAXIMUM = 100, LASTING_MS = 60000 };

static uint64_t draw(struct node_client *client, uint64_t bound)
{
    return node_draw(client->world, SIM_DRAW_CLIENT, bound);
}

/* ---- what it does ---- */

/* Of numbers that are checked here, and not by the history. */
bool node_txn_of_bank(const struct node_txn *txn) { return txn->kind >= NODE_TXN_TRANSFER; }

/* Two in each shard, or one when there are many. */
static int account_count(const struct node_world *world)
{
    int groups = world->profile.groups;
    return 2 * groups <= NODE_STEPS / 2 ? 2 * groups : groups;
}

static void name_account(struct node_client *client, int account, char ret_key[static NODE_KEY_BYTES])
{
    int groups = client->world->profile.groups;
    node_key_of(client, account % groups + 1, 'b', (uint32_t)(account / groups), ret_key);
}

static void name_twins(struct node_client *client, int shard, uint32_t generation, bool texts)
{
    int other = shard % client->world->profile.groups + 1;
    node_key_of(client, shard, texts ? 'u' : 'm', generation, client->txn.keys[0]);
    node_key_of(client, other, texts ? 'v' : 'n', generation, client->txn.keys[1]);
}

void node_txn_clear(struct node_txn *txn)
{
    struct buffer texts = txn->texts;
    *txn = (struct node_txn){.texts = texts};
    buffer_clear(&txn->texts);
}

static void make(struct node_client *client, enum node_txn_kind kind, int shard, bool texts)
{
    struct node_txn *txn = &client->txn;
    struct node_shard *at = &client->world->shards[shard];
    char value[NODE_VALUE_BYTES];
    int accounts = account_count(client->world);
    node_txn_clear(txn);
    txn->kind = kind;
    node_new_value(client, false, value);
    (void)snprintf(txn->value, sizeof(txn->value), "%.15s", value);
    switch (kind) {
    case NODE_TXN_APPEND:
        node_count_word(client, shard); /* before the name: one generation for both */
        name_twins(client, shard, at->generation, true);
        txn->steps = 4;
        break;
    case NODE_TXN_SET:
        txn->registers = true;
        name_twins(client, shard, at->generation, false);
        txn->steps = 2;
        break;
    case NODE_TXN_READ:
        txn->registers = !texts;
        name_twins(client, shard, at->generation, texts);
        txn->steps = 2;
        break;
    case NODE_TXN_CROSS: {
        int other = shard % client->world->profile.groups + 1;
        node_count_word(client, shard);
        node_key_of(client, shard, 's', at->generation, txn->keys[texts ? 0 : 1]);
        node_key_of(client, other, 'w', at->generation, txn->keys[texts ? 1 : 0]);
        txn->steps = 2;
        break;
    }
    case NODE_TXN_TRANSFER: {
        int from = (int)draw(client, (uint64_t)accounts);
        int to = (from + 1 + (int)draw(client, (uint64_t)accounts - 1)) % accounts;
        txn->amount = 1 + (int64_t)draw(client, AMOUNT_MAXIMUM);
        txn->steps = 2;
        name_account(client, from, txn->keys[0]);
        name_account(client, to, txn->keys[1]);
        break;
    }
    case NODE_TXN_SUM:
        for (txn->steps = 0; txn->steps < accounts; txn->steps++) {
            name_account(client, txn->steps, txn->keys[txn->steps]);
        }
        break;
    case NODE_TXN_FLUSH:
        txn->steps = 1;
        txn->flush = 1;
        break;
    case NODE_TXN_PAIRS: txn->steps = 1; break;
    case NODE_TXN_MOVE: node_move_make(client, shard, texts); break;
    case NODE_TXN_CLAIM: node_claim_make(client, shard); break;
    case NODE_TXN_NOTHING: UNREACHABLE();
    }
}

/* Before or behind everything else: twins stay equal, and the sum of all accounts 0. */
static void add_flush(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    if (txn->flush == 0 && txn->steps < NODE_STEPS && draw(client, 4) == 0) {
        txn->steps++;
        txn->flush = draw(client, 2) == 0 ? 1 : txn->steps;
    }
}

/* One that looks at all keys, now and then. */
static bool make_a_look(struct node_client *client, int shard, bool in_multi)
{
    if (!node_move_fits(client->world) || draw(client, in_multi ? 8 : client->world->profile.flush ? 2 : 4) != 0) {
        return false;
    }
    bool claims = !in_multi && draw(client, 2) == 0;
    make(client, claims ? NODE_TXN_CLAIM : NODE_TXN_MOVE, shard, in_multi);
    return true;
}

/* Where FLUSHALL is said; texts that grow, whose order a flush would hide, are not. */
static void make_beside_flushes(struct node_client *client, int shard, bool in_multi)
{
    static const enum node_txn_kind kinds[] = {NODE_TXN_SET, NODE_TXN_READ,     NODE_TXN_TRANSFER,
                                               NODE_TXN_SUM, NODE_TXN_SET,      NODE_TXN_READ,
                                               NODE_TXN_SUM, NODE_TXN_TRANSFER, NODE_TXN_FLUSH};
    bool all_fit = 1 + 2 * client->world->profile.groups <= NODE_ELEMENTS;
    bool pairs = in_multi && all_fit && draw(client, 8) == 0;
    if (!pairs && make_a_look(client, shard, in_multi)) {
        return;
    }
    make(client, pairs ? NODE_TXN_PAIRS : kinds[draw(client, sizeof(kinds) / sizeof(kinds[0]))], shard, false);
    if (!pairs) {
        add_flush(client);
    }
}

static void make_some(struct node_client *client, int shard, bool in_multi)
{
    if (client->world->profile.flush) {
        make_beside_flushes(client, shard, in_multi);
        return;
    }
    if (make_a_look(client, shard, in_multi)) {
        return;
    }
    static const enum node_txn_kind kinds[] = {NODE_TXN_APPEND, NODE_TXN_APPEND,   NODE_TXN_SET,
                                               NODE_TXN_READ,   NODE_TXN_TRANSFER, NODE_TXN_TRANSFER,
                                               NODE_TXN_SUM,    NODE_TXN_CROSS,    NODE_TXN_CROSS};
    make(client, kinds[draw(client, sizeof(kinds) / sizeof(kinds[0]))], shard, draw(client, 2) == 0);
}

static void say_step(struct node_client *client, int step)
{
    struct node_txn *txn = &client->txn;
    if (step + 1 == txn->flush) {
        node_request(client, step % 2 == 0 ? "FLUSHALL" : "FLUSHDB");
        return;
    }
    if (txn->kind == NODE_TXN_MOVE) {
        node_move_say(client, step);
        return;
    }
    if (txn->kind == NODE_TXN_CLAIM) {
        node_claim_say(client, step);
        return;
    }
    step -= txn->flush == 1 ? 1 : 0;
    const char *key = txn->keys[node_txn_of_bank(txn) ? step : step % 2];
    switch (txn->kind) {
    case NODE_TXN_APPEND:
        if (step >= 2) {
            node_request(client, "APPEND %s %s", key, txn->value);
            return;
        }
        break;
    case NODE_TXN_CROSS:
        if (step == 1) {
            node_request(client, "APPEND %s %s", key, txn->value);
            return;
        }
        break;
    case NODE_TXN_SET: node_request(client, "SET %s %s", key, txn->value); return;
    case NODE_TXN_FLUSH: node_request(client, "DBSIZE"); return;
    case NODE_TXN_PAIRS: node_request(client, "KEYS *[mn]0"); return;
    case NODE_TXN_TRANSFER:
        node_request(client, "INCRBY %s %lld", key, (long long)(step == 0 ? -txn->amount : txn->amount));
        return;
    default: break;
    }
    node_request(client, "GET %s", key);
}

/* ---- said at once ---- */

/* COPY of nothing from shard to shard changes nothing, but cannot be cut. */
static void ask_copy(struct node_client *client)
{
    char from[NODE_KEY_BYTES];
    char to[NODE_KEY_BYTES];
    node_key_of(client, client->world->profile.groups, 'z', 0, from);
    node_key_of(client, 1, 'z', 0, to);
    client->txn.of_values = true;
    node_request(client, "COPY %s %s", from, to);
    (void)node_expect(client, NODE_ASK_PREPARE);
}

static void ask_exec(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    bool lists = txn->kind == NODE_TXN_PAIRS || txn->kind == NODE_TXN_MOVE; /* in the end, and nothing behind it */
    txn->steps += txn->kind == NODE_TXN_FLUSH ? 1 : 0;
    node_ask_prepare(client, "MULTI");
    for (int i = 0; i < txn->steps; i++) {
        say_step(client, i);
        (void)node_expect(client, NODE_ASK_PREPARE);
    }
    if (draw(client, 3) == 0 && !lists) {
        ask_copy(client);
    }
    node_request(client, "EXEC");
    (void)node_expect(client, NODE_ASK_TXN_EXEC);
    node_txn_note(client);
}

static void ask_mget(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    char text[NODE_STEPS * (NODE_KEY_BYTES + 1) + 8] = "MGET";
    size_t size = strlen(text);
    for (int i = 0; i < txn->steps; i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, " %s", txn->keys[i]);
    }
    node_request(client, "%s", text);
    (void)node_expect(client, NODE_ASK_TXN_EXEC);
    node_txn_note(client);
}

void node_txn_ask(struct node_client *client, int shard)
{
    struct node_txn *txn = &client->txn;
    make_some(client, shard, true);
    bool together = draw(client, 2) == 0 && (txn->flush == 0 || txn->kind == NODE_TXN_FLUSH);
    if (together && txn->kind == NODE_TXN_FLUSH) {
        node_request(client, "FLUSHALL");
        (void)node_expect(client, NODE_ASK_TXN_DONE);
        node_txn_note(client);
    } else if (together && (txn->kind == NODE_TXN_READ || txn->kind == NODE_TXN_SUM)) {
        ask_mget(client);
    } else if (together && txn->kind == NODE_TXN_SET) {
        node_request(client, "MSET %s %s %s %s", txn->keys[0], txn->value, txn->keys[1], txn->value);
        (void)node_expect(client, NODE_ASK_TXN_DONE);
        node_txn_note(client);
    } else if (together && txn->kind == NODE_TXN_APPEND) {
        txn->watched = true; /* the look comes first; what it decides upon is said then */
        node_request(client, "WATCH %s", txn->keys[0]);
        (void)node_expect(client, NODE_ASK_WATCH);
        say_step(client, 0);
        (void)node_expect(client, NODE_ASK_TXN_STEP);
    } else {
        ask_exec(client);
    }
}

void node_txn_ask_finally(struct node_client *client, int shard, uint32_t generation)
{
    /* One reply each, so each is a transaction of its own. */
    make(client, generation % 2 == 0 ? NODE_TXN_READ : NODE_TXN_SUM, shard, client->number % 2 == 0);
    if (client->txn.kind == NODE_TXN_READ) {
        name_twins(client, shard, generation, client->number % 2 == 0);
    }
    ask_mget(client);
}

/* ---- command by command ---- */

void node_txn_begin(struct node_client *client, int shard)
{
    make_some(client, shard, false);
    const char *protocol = draw(client, 2) == 0 ? "2PC" : "3PC";
    int timeout_ms = 500 + (int)draw(client, 4500);
    client->txn.lasting = timeout_ms % 4 == 0;
    char id[NODE_TXN_ID_BYTES] = "";
    if (timeout_ms % 3 == 0) {
        node_txn_choose_id(client, id);
    }
    node_request(client, "TXN.BEGIN%s%s PROTOCOL %s TIMEOUT %d", id[0] == '\0' ? "" : " ID ", id, protocol,
                 client->txn.lasting ? LASTING_MS : timeout_ms);
    (void)node_expect(client, NODE_ASK_TXN_BEGIN);
    client->txn.piped = draw(client, 4) == 0;
    if (client->txn.piped) {
        say_step(client, 0);
        (void)node_expect(client, NODE_ASK_TXN_STEP);
    }
}

void node_txn_end(struct node_client *client, const char *word, enum node_ask ask, bool by_id)
{
    struct node_txn *txn = &client->txn;
    node_txn_note(client);
    txn->decided = txn->decided || ask == NODE_ASK_TXN_COMMIT;
    node_request(client, by_id ? "TXN.%s %s" : "TXN.%s", word, txn->id);
    (void)node_expect(client, ask);
}

/* All that is to be done in it was done. */
static void end_active(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    uint64_t what = draw(client, 10);
    if (what == 0) {
        node_txn_end(client, "ROLLBACK", NODE_ASK_TXN_ROLLBACK, false);
    } else if (what < 5 && !txn->lasting) {
        node_txn_end(client, "PREPARE", NODE_ASK_TXN_PREPARE, false);
    } else {
        node_txn_end(client, "COMMIT", NODE_ASK_TXN_COMMIT, false);
    }
}

/* Another connection commits what is prepared, or asks what became of it. */
static void go_after(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    if (txn->tries++ >= TRIES) {
        if (txn->decided) {
            node_txn_unknown(client);
        } else {
            node_txn_aborted(client); /* nobody has ever said COMMIT */
        }
        node_ask_prepare(client, "PING");
    } else if (txn->decided) {
        node_request(client, "TXN.STATUS %s", txn->id);
        (void)node_expect(client, NODE_ASK_TXN_STATUS);
    } else {
        node_txn_end(client, "COMMIT", NODE_ASK_TXN_COMMIT, true);
    }
}

bool node_txn_go_on(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    if (txn->kind == NODE_TXN_NOTHING || client->weak) {
        return false;
    }
    if (txn->watched) {
        ask_exec(client);
    } else if (txn->stage == NODE_TXN_AFTER) {
        go_after(client);
    } else if (txn->stage == NODE_TXN_PREPARED) {
        bool back = draw(client, 8) == 0;
        node_txn_end(client, back ? "ROLLBACK" : "COMMIT", back ? NODE_ASK_TXN_ROLLBACK : NODE_ASK_TXN_COMMIT, false);
    } else if (txn->step < txn->steps) {
        say_step(client, txn->step);
        (void)node_expect(client, NODE_ASK_TXN_STEP);
    } else {
        end_active(client);
    }
    return true;
}

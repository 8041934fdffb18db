/* Transactions of several keys, in whichever shards: said at once (MULTI … EXEC, MSET, MGET) or command by command
 * (TXN.*), with both protocols. What becomes of them goes to the history, as one operation each, and is looked at here:
 * twins are equal, and the accounts of the bank sum up to 0, in every look. */
#include "node_world.h"

#include "base/assert.h"
#include "base/number.h"

#include <stdio.h>

enum { TRIES = 4, AMOUNT_MAXIMUM = 100, LASTING_MS = 60000 };

static uint64_t draw(struct node_client *client, uint64_t bound)
{
    return node_draw(client->world, SIM_DRAW_CLIENT, bound);
}

/* ---- what it does ---- */

static bool of_bank(const struct node_txn *txn) { return txn->kind >= NODE_TXN_TRANSFER; }

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

static void clear(struct node_txn *txn)
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
    clear(txn);
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

/* Where FLUSHALL is said; texts that grow, whose order a flush would hide, are not. */
static void make_beside_flushes(struct node_client *client, int shard, bool in_multi)
{
    static const enum node_txn_kind kinds[] = {NODE_TXN_SET, NODE_TXN_READ,     NODE_TXN_TRANSFER,
                                               NODE_TXN_SUM, NODE_TXN_SET,      NODE_TXN_READ,
                                               NODE_TXN_SUM, NODE_TXN_TRANSFER, NODE_TXN_FLUSH};
    bool all_fit = 1 + 2 * client->world->profile.groups <= NODE_ELEMENTS;
    bool pairs = in_multi && all_fit && draw(client, 8) == 0;
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
    step -= txn->flush == 1 ? 1 : 0;
    const char *key = txn->keys[of_bank(txn) ? step : step % 2];
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

/* ---- in the history ---- */

static bool in_history(const struct node_txn *txn) { return txn->noted || txn->cleared_count > 0; }

static void note(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    struct node_world *world = client->world;
    struct history_call calls[NODE_STEPS];
    if (txn->flush != 0 && txn->cleared_count == 0) {
        node_flush_note(client);
    }
    if (of_bank(txn) || txn->registers || txn->noted) {
        return; /* orders of blind writes are not always decidable: registers are only compared */
    }
    for (int i = 0; i < txn->steps; i++) {
        bool reads = txn->kind == NODE_TXN_READ || (txn->kind == NODE_TXN_APPEND && i < 2) ||
                     (txn->kind == NODE_TXN_CROSS && i == 0);
        calls[i] = (struct history_call){.kind = reads                       ? HISTORY_GET
                                                 : txn->kind == NODE_TXN_SET ? HISTORY_SET
                                                                             : HISTORY_APPEND,
                                         .process = (uint32_t)client->number,
                                         .key = slice_from_string(txn->keys[i % 2]),
                                         .value = slice_from_string(txn->value)};
    }
    ASSERT(history_invoke_transaction(&world->history, calls, (uint32_t)txn->steps, (uint64_t)sim_now_ns(world->sim),
                                      &txn->first) == STATUS_OK);
    txn->noted = true;
}

static struct slice text_of(const struct node_txn *txn, const struct node_result *result)
{
    return slice_of(txn->texts.data + result->offset, result->size);
}

static struct history_result result_of(const struct node_txn *txn, const struct node_result *result)
{
    return (struct history_result){.shape = result->type == RESP_INTEGER ? HISTORY_RESULT_NUMBER
                                            : result->type == RESP_NULL  ? HISTORY_RESULT_NULL
                                            : result->type == RESP_BULK  ? HISTORY_RESULT_TEXT
                                                                         : HISTORY_RESULT_NONE,
                                   .text = text_of(txn, result),
                                   .number = result->integer};
}

static void keep(struct node_client *client, int step, enum resp_type type, int64_t integer, struct slice text)
{
    struct node_txn *txn = &client->txn;
    ASSERT(step < txn->steps);
    txn->results[step] =
        (struct node_result){.type = type, .integer = integer, .offset = txn->texts.size, .size = text.size};
    buffer_append_slice(&txn->texts, text);
}

static bool equal(const struct node_txn *txn, int one, int other)
{
    const struct node_result *a = &txn->results[one];
    const struct node_result *b = &txn->results[other];
    return a->type == b->type && a->integer == b->integer && slice_equal(text_of(txn, a), text_of(txn, b));
}

static void check_sum(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    int64_t sum = 0;
    for (int i = 0; i < txn->steps; i++) {
        int64_t balance = 0;
        if (txn->results[i].type == RESP_BULK && !number_parse_int64(text_of(txn, &txn->results[i]), &balance)) {
            node_unexpected(client, "an account that is no number");
        }
        sum += balance;
    }
    if (sum != 0) {
        node_fail(client->world, "client %d: node %d shows a sum of all accounts of %lld", client->number + 1,
                  client->node + 1, (long long)sum);
    }
}

/* It is committed, and its replies are known. */
static void committed(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    struct node_world *world = client->world;
    node_reach(world, NODE_MARK_CROSSED, 1);
    node_txn_note_outcome(client, txn->id, true);
    node_flush_end(client, true);
    world->result->acknowledged += (uint64_t)txn->steps;
    world->plan.acknowledged = world->plan.acknowledged || txn->kind == NODE_TXN_APPEND;
    if (txn->kind == NODE_TXN_SUM) {
        check_sum(client);
    }
    node_flush_check(client);
    if (!of_bank(txn)) {
        struct history_result results[NODE_STEPS];
        for (int i = 0; i < txn->steps; i++) {
            results[i] = result_of(txn, &txn->results[i]);
        }
        int twin = txn->flush == 1 ? 1 : 0;
        if (txn->kind != NODE_TXN_CROSS && (!equal(txn, twin, twin + 1) || (txn->steps == 4 && !equal(txn, 2, 3)))) {
            node_fail(world, "client %d: node %d shows twins that differ", client->number + 1, client->node + 1);
        }
        if (txn->noted && history_complete_transaction(&world->history, txn->first, results,
                                                       (uint64_t)sim_now_ns(world->sim)) != STATUS_OK) {
            node_unexpected(client, "a transaction with other replies");
        }
    }
    clear(txn);
}

static void aborted(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    client->world->result->returned += (uint64_t)txn->steps;
    node_flush_end(client, false);
    if (txn->noted) {
        history_fail_transaction(&client->world->history, txn->first);
    }
    clear(txn);
}

/* Nobody will ever know; what it read counts if it was committed. */
static void unknown(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    client->world->result->uncertain += (uint64_t)txn->steps;
    for (int i = 0; i < txn->step && txn->noted && txn->id[0] != '\0'; i++) {
        struct history_result result = result_of(txn, &txn->results[i]);
        if (history_found(&client->world->history, txn->first + (uint32_t)i, &result) != STATUS_OK) {
            node_unexpected(client, "a transaction with other replies");
        }
    }
    clear(txn);
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
    bool looks = txn->kind == NODE_TXN_FLUSH || txn->kind == NODE_TXN_PAIRS; /* with which COPY does not go */
    txn->steps += txn->kind == NODE_TXN_FLUSH ? 1 : 0;
    node_ask_prepare(client, "MULTI");
    for (int i = 0; i < txn->steps; i++) {
        say_step(client, i);
        (void)node_expect(client, NODE_ASK_PREPARE);
    }
    if (draw(client, 3) == 0 && !looks) {
        ask_copy(client);
    }
    node_request(client, "EXEC");
    (void)node_expect(client, NODE_ASK_TXN_EXEC);
    note(client);
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
    note(client);
}

void node_txn_ask(struct node_client *client, int shard)
{
    struct node_txn *txn = &client->txn;
    make_some(client, shard, true);
    bool together = draw(client, 2) == 0 && (txn->flush == 0 || txn->kind == NODE_TXN_FLUSH);
    if (together && txn->kind == NODE_TXN_FLUSH) {
        node_request(client, "FLUSHALL");
        (void)node_expect(client, NODE_ASK_TXN_DONE);
        note(client);
    } else if (together && (txn->kind == NODE_TXN_READ || txn->kind == NODE_TXN_SUM)) {
        ask_mget(client);
    } else if (together && txn->kind == NODE_TXN_SET) {
        node_request(client, "MSET %s %s %s %s", txn->keys[0], txn->value, txn->keys[1], txn->value);
        (void)node_expect(client, NODE_ASK_TXN_DONE);
        note(client);
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

static void end(struct node_client *client, const char *word, enum node_ask ask, bool by_id)
{
    struct node_txn *txn = &client->txn;
    note(client);
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
        end(client, "ROLLBACK", NODE_ASK_TXN_ROLLBACK, false);
    } else if (what < 5 && !txn->lasting) {
        end(client, "PREPARE", NODE_ASK_TXN_PREPARE, false);
    } else {
        end(client, "COMMIT", NODE_ASK_TXN_COMMIT, false);
    }
}

/* Another connection commits what is prepared, or asks what became of it. */
static void go_after(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    if (txn->tries++ >= TRIES) {
        if (txn->decided) {
            unknown(client);
        } else {
            aborted(client); /* nobody has ever said COMMIT */
        }
        node_ask_prepare(client, "PING");
    } else if (txn->decided) {
        node_request(client, "TXN.STATUS %s", txn->id);
        (void)node_expect(client, NODE_ASK_TXN_STATUS);
    } else {
        end(client, "COMMIT", NODE_ASK_TXN_COMMIT, true);
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
        end(client, back ? "ROLLBACK" : "COMMIT", back ? NODE_ASK_TXN_ROLLBACK : NODE_ASK_TXN_COMMIT, false);
    } else if (txn->step < txn->steps) {
        say_step(client, txn->step);
        (void)node_expect(client, NODE_ASK_TXN_STEP);
    } else {
        end_active(client);
    }
    return true;
}

/* ---- replies ---- */

static void take_all(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    const struct node_reply *reply = &client->reply;
    if (reply->type == RESP_NULL && txn->watched) {
        node_reach(client->world, NODE_MARK_EXEC_ABORTED, 1);
        aborted(client);
        return;
    }
    if (reply->type != RESP_ARRAY || reply->count != (size_t)txn->steps + (txn->of_values ? 1 : 0)) {
        node_unexpected(client, "a transaction with something else");
        return;
    }
    struct node_result seen = txn->results[0];
    for (int i = 0; i < txn->steps; i++) {
        const struct node_element *element = &reply->elements[i];
        keep(client, i, element->type, element->integer, element->text);
    }
    if (txn->watched &&
        (seen.type != txn->results[0].type || !slice_equal(text_of(txn, &seen), text_of(txn, &txn->results[0])))) {
        node_fail(client->world, "client %d: node %d executes although a watched key changed", client->number + 1,
                  client->node + 1);
    }
    committed(client);
}

/* What home says of it. */
static void take_status(struct node_client *client)
{
    const struct node_reply *reply = &client->reply;
    struct slice outcome = slice_of(NULL, 0);
    if (reply->type == RESP_NULL) {
        node_unexpected(client, "that a transaction is not known which it had begun");
        return;
    }
    for (size_t i = 0; i + 1 < client->element; i += 2) {
        if (slice_is_word(reply->elements[i].text, "outcome")) {
            outcome = reply->elements[i + 1].text;
        }
    }
    if (slice_is_word(outcome, "COMMIT")) {
        node_reach(client->world, NODE_MARK_TXN_STATUS, 1);
        committed(client);
    } else if (slice_is_word(outcome, "ABORT")) {
        node_txn_note_outcome(client, client->txn.id, false);
        aborted(client);
    }
}

static void take_end(struct node_client *client, enum node_ask ask)
{
    struct node_txn *txn = &client->txn;
    struct slice text = client->reply.text;
    if (ask == NODE_ASK_TXN_PREPARE && slice_is_word(text, "PREPARED")) {
        txn->stage = NODE_TXN_PREPARED;
    } else if (ask == NODE_ASK_TXN_COMMIT && slice_is_word(text, "OK")) {
        node_reach(client->world, NODE_MARK_TXN_ANY, txn->stage == NODE_TXN_AFTER);
        committed(client);
    } else if (ask == NODE_ASK_TXN_ROLLBACK && slice_is_word(text, "OK")) {
        node_txn_note_outcome(client, txn->id, false);
        aborted(client);
    } else {
        node_unexpected(client, "the end of a transaction with something else");
    }
}

static bool mentions(struct slice text, const char *words)
{
    return text.size > 0 && memmem(text.data, text.size, words, strlen(words)) != NULL;
}

static void take_error(struct node_client *client, enum node_ask ask, bool uncertain)
{
    struct node_txn *txn = &client->txn;
    struct slice text = client->reply.text;
    client->watching = client->watching || (txn->watched && ask != NODE_ASK_TXN_EXEC);
    node_reach(client->world, NODE_MARK_TXN_CONFLICT,
               mentions(text, "holds one of its keys") || mentions(text, "was written by others"));
    if (ask == NODE_ASK_TXN_BEGIN && txn->piped) {
        txn->id[0] = '\0'; /* its step must be refused, too */
    } else if (ask == NODE_ASK_TXN_ROLLBACK) {
        aborted(client); /* nobody has said COMMIT */
    } else if (ask == NODE_ASK_TXN_STATUS || (ask == NODE_ASK_TXN_COMMIT && uncertain)) {
        txn->stage = NODE_TXN_AFTER;
    } else if ((ask == NODE_ASK_TXN_STEP && !txn->watched) || ask == NODE_ASK_TXN_BEGIN ||
               (ask == NODE_ASK_TXN_PREPARE && !mentions(text, "TXNABORT"))) {
        txn->step = 0; /* until it is rolled back, everything else is refused */
        end(client, "ROLLBACK", NODE_ASK_TXN_ROLLBACK, false);
    } else if (uncertain && in_history(txn) && ask != NODE_ASK_TXN_PREPARE) {
        unknown(client);
    } else {
        if (ask == NODE_ASK_TXN_COMMIT) {
            node_txn_note_outcome(client, txn->id, false);
        }
        aborted(client);
    }
}

void node_txn_answered(struct node_client *client, const struct node_pending *pending, bool error, bool uncertain)
{
    struct node_txn *txn = &client->txn;
    const struct node_reply *reply = &client->reply;
    if (txn->kind == NODE_TXN_NOTHING) {
        return; /* its WATCH was refused */
    }
    if (error) {
        node_txn_check_refusal(client, pending->ask);
        take_error(client, pending->ask, uncertain);
        return;
    }
    switch (pending->ask) {
    case NODE_ASK_TXN_EXEC: take_all(client); break;
    case NODE_ASK_TXN_DONE:
        for (int i = 0; i < txn->steps; i++) {
            keep(client, i, reply->type, 0, reply->text);
        }
        committed(client);
        break;
    case NODE_ASK_TXN_BEGIN:
        if (reply->type != RESP_BULK || reply->text.size >= sizeof(txn->id)) {
            node_unexpected(client, "no id");
            return;
        }
        memcpy(txn->id, reply->text.data, reply->text.size);
        node_txn_has_begun(client);
        break;
    case NODE_ASK_TXN_STEP:
        if (!txn->watched && txn->id[0] == '\0') {
            node_unexpected(client, "a step of a transaction that was not begun");
            return;
        }
        keep(client, txn->step++, reply->type, reply->integer, reply->text);
        break;
    case NODE_ASK_TXN_STATUS: take_status(client); break;
    default: take_end(client, pending->ask); break;
    }
}

void node_txn_disconnected(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    if (txn->kind == NODE_TXN_NOTHING) {
        return;
    }
    bool may_ask = txn->id[0] != '\0' && (txn->decided || txn->stage != NODE_TXN_SAYING);
    if (client->final_shard == 0 && may_ask) {
        txn->stage = NODE_TXN_AFTER;
    } else if (in_history(txn) && (txn->decided || txn->id[0] == '\0')) {
        unknown(client);
    } else {
        aborted(client); /* nobody has said COMMIT */
    }
}

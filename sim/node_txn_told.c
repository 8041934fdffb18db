/* What transactions of clients came to: replies, the history, and what is looked at here (node_txn.c). */
#include "node_txn.h"

#include "base/assert.h"
#include "base/number.h"

/* ---- in the history ---- */

static bool in_history(const struct node_txn *txn) { return txn->noted || txn->cleared_count > 0; }

void node_txn_note(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    struct node_world *world = client->world;
    struct history_call calls[NODE_STEPS];
    if (txn->flush != 0 && txn->cleared_count == 0) {
        node_flush_note(client);
    }
    if (node_txn_of_bank(txn) || txn->registers || txn->noted) {
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
void node_txn_committed(struct node_client *client)
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
    } else if (txn->kind == NODE_TXN_MOVE) {
        node_move_check(client);
    } else if (txn->kind == NODE_TXN_CLAIM) {
        node_claim_check(client);
    }
    node_flush_check(client);
    if (!node_txn_of_bank(txn)) {
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
    node_txn_clear(txn);
}

void node_txn_aborted(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    client->world->result->returned += (uint64_t)txn->steps;
    node_flush_end(client, false);
    if (txn->noted) {
        history_fail_transaction(&client->world->history, txn->first);
    }
    node_txn_clear(txn);
}

/* Nobody will ever know; what it read counts if it was committed. */
void node_txn_unknown(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    client->world->result->uncertain += (uint64_t)txn->steps;
    for (int i = 0; i < txn->step && txn->noted && txn->id[0] != '\0'; i++) {
        struct history_result result = result_of(txn, &txn->results[i]);
        if (history_found(&client->world->history, txn->first + (uint32_t)i, &result) != STATUS_OK) {
            node_unexpected(client, "a transaction with other replies");
        }
    }
    node_txn_clear(txn);
}

/* ---- replies ---- */

static void take_all(struct node_client *client)
{
    struct node_txn *txn = &client->txn;
    const struct node_reply *reply = &client->reply;
    if (reply->type == RESP_NULL && txn->watched) {
        node_reach(client->world, NODE_MARK_EXEC_ABORTED, 1);
        node_txn_aborted(client);
        return;
    }
    if (reply->type != RESP_ARRAY || reply->count != (size_t)txn->steps + (txn->of_values ? 1 : 0)) {
        node_unexpected(client, "a transaction with something else");
        return;
    }
    if (txn->kind == NODE_TXN_MOVE) {
        node_move_take_keys(client);
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
    node_txn_committed(client);
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
        node_txn_committed(client);
    } else if (slice_is_word(outcome, "ABORT")) {
        node_txn_note_outcome(client, client->txn.id, false);
        node_txn_aborted(client);
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
        node_txn_committed(client);
    } else if (ask == NODE_ASK_TXN_ROLLBACK && slice_is_word(text, "OK")) {
        node_txn_note_outcome(client, txn->id, false);
        node_txn_aborted(client);
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
        node_txn_aborted(client); /* nobody has said COMMIT */
    } else if (ask == NODE_ASK_TXN_STATUS || (ask == NODE_ASK_TXN_COMMIT && uncertain)) {
        txn->stage = NODE_TXN_AFTER;
    } else if ((ask == NODE_ASK_TXN_STEP && !txn->watched) || ask == NODE_ASK_TXN_BEGIN ||
               (ask == NODE_ASK_TXN_PREPARE && !mentions(text, "TXNABORT"))) {
        txn->step = 0; /* until it is rolled back, everything else is refused */
        node_txn_end(client, "ROLLBACK", NODE_ASK_TXN_ROLLBACK, false);
    } else if (uncertain && in_history(txn) && ask != NODE_ASK_TXN_PREPARE) {
        node_txn_unknown(client);
    } else {
        if (ask == NODE_ASK_TXN_COMMIT) {
            node_txn_note_outcome(client, txn->id, false);
        }
        node_txn_aborted(client);
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
        node_txn_committed(client);
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
        if ((txn->kind == NODE_TXN_MOVE || txn->kind == NODE_TXN_CLAIM) && reply->type == RESP_ARRAY) {
            node_move_take_keys(client);
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
        node_txn_unknown(client);
    } else {
        node_txn_aborted(client); /* nobody has said COMMIT */
    }
}

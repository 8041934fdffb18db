/* What clients are told, and whether that can be. */
#include "node_world.h"

#include "base/assert.h"
#include "base/number.h"
#include "check/check.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK_BYTES ((size_t)256 << 20)

struct node_weak_read *node_weak_read(struct node_world *world, uint32_t number)
{
    return (struct node_weak_read *)(void *)world->weak_reads.data + number;
}

struct node_expiring *node_expiring(struct node_world *world, uint32_t number)
{
    return (struct node_expiring *)(void *)world->expiring.data + number;
}

/* ---- errors ---- */

static bool begins(struct slice text, const char *word)
{
    size_t size = strlen(word);
    return text.size >= size && memcmp(text.data, word, size) == 0;
}

void node_unexpected(struct node_client *client, const char *what)
{
    struct slice text = client->reply.text;
    node_fail(client->world, "client %d: node %d answers %s: %.*s", client->number + 1, client->node + 1, what,
              (int)(text.size < 120 ? text.size : 120), (const char *)text.data);
}

/* True when nobody knows whether it was done; false: it definitely was not. */
static bool is_uncertain(struct node_client *client)
{
    static const char *const refusals[] = {"CLUSTERDOWN ", "BUSY ",     "MISCONF ",
                                           "EXECABORT ",   "TXNABORT ", "TXNEXISTS "};
    struct node_world *world = client->world;
    struct slice text = client->reply.text;
    if (client->final_shard > 0) {
        node_unexpected(client, "with everything healed");
    }
    if (begins(text, "UNCERTAIN ")) {
        node_reach(world, NODE_MARK_UNCERTAIN, 1);
        return true;
    }
    if (begins(text, "ERR the script was stopped after its budget")) {
        return false;
    }
    if (begins(text, "NOSESSION ") && world->profile.sessions) { /* to what was to be queued */
        return false;
    }
    if (begins(text, "NOSCRIPT ") && world->profile.scripts) {
        node_reach(world, NODE_MARK_SCRIPT_UNKNOWN, 1);
        return false;
    }
    node_reach(world, NODE_MARK_DISK_FULL, begins(text, "MISCONF the disk is full"));
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        if (begins(text, refusals[i])) {
            return false;
        }
    }
    node_unexpected(client, "an error that nothing explains");
    return true;
}

/* ---- operations of the history ---- */

static void complete(struct node_client *client, uint32_t number, const struct history_result *result)
{
    struct node_world *world = client->world;
    world->result->acknowledged++;
    world->plan.acknowledged = world->plan.acknowledged || world->history.operations[number].kind == HISTORY_APPEND;
    if (history_complete(&world->history, number, result, (uint64_t)sim_now_ns(world->sim)) != STATUS_OK) {
        node_unexpected(client, "what does not fit the command");
    }
}

/* A reply, or an element of one, as the result of an operation. */
static void complete_from(struct node_client *client, uint32_t number, enum resp_type type, int64_t integer,
                          struct slice text)
{
    const struct history_kind_facts *facts =
        history_kind_facts((enum history_kind)client->world->history.operations[number].kind);
    struct history_result result = {.shape = facts->shape};
    bool fits = true;
    if (facts->shape == HISTORY_RESULT_TEXT) {
        fits = type == RESP_BULK || type == RESP_NULL;
        result.shape = type == RESP_NULL ? HISTORY_RESULT_NULL : HISTORY_RESULT_TEXT;
        result.text = text;
    } else if (facts->shape == HISTORY_RESULT_NUMBER && facts->has_expected) {
        fits = type == RESP_STATUS || type == RESP_NULL; /* SET … IFEQ */
        result.number = type == RESP_STATUS;
    } else if (facts->shape == HISTORY_RESULT_NUMBER) {
        fits = type == RESP_INTEGER;
        result.number = integer;
    } else {
        fits = type == RESP_STATUS;
    }
    if (fits) {
        complete(client, number, &result);
    } else {
        node_unexpected(client, "another type than the command's");
    }
}

static void refuse(struct node_client *client, const struct node_pending *pending, bool uncertain)
{
    struct node_world *world = client->world;
    world->result->uncertain += uncertain ? pending->operation_count : 0;
    world->result->returned += uncertain ? 0 : pending->operation_count;
    for (uint32_t i = 0; i < pending->operation_count && !uncertain; i++) {
        history_fail(&world->history, pending->operations[i]);
    }
}

/* Done, or not because the key has changed: an operation with a condition. */
static void complete_condition(struct node_client *client, const struct node_pending *pending, bool done)
{
    struct history_result result = {.shape = HISTORY_RESULT_NUMBER, .number = done};
    complete(client, pending->operations[0], &result);
}

static void keep_seen(struct node_client *client, enum resp_type type, struct slice text)
{
    client->seen_there = type != RESP_NULL;
    buffer_clear(&client->seen);
    buffer_append_slice(&client->seen, text);
}

static void take_version(struct node_client *client, const struct node_pending *pending)
{
    const struct node_reply *reply = &client->reply;
    const struct node_element *element = reply->elements;
    if (reply->type == RESP_NULL) {
        keep_seen(client, RESP_NULL, slice_of(NULL, 0));
        complete_from(client, pending->operations[0], RESP_NULL, 0, slice_of(NULL, 0));
    } else if (reply->type == RESP_ARRAY && reply->count == 2 && element[1].type == RESP_INTEGER) {
        keep_seen(client, element[0].type, element[0].text);
        client->seen_version = element[1].integer;
        complete_from(client, pending->operations[0], element[0].type, 0, element[0].text);
    } else {
        node_unexpected(client, "no version");
    }
}

static void take_exec(struct node_client *client, const struct node_pending *pending)
{
    const struct node_reply *reply = &client->reply;
    const struct node_element *element = reply->elements;
    if (reply->type != RESP_ARRAY || reply->count != pending->operation_count) {
        node_unexpected(client, "an EXEC with something else");
        return;
    }
    for (uint32_t i = 0; i < pending->operation_count; i++) {
        complete_from(client, pending->operations[i], element[i].type, element[i].integer, element[i].text);
    }
    if (element[0].type != element[1].type || element[0].integer != element[1].integer ||
        !slice_equal(element[0].text, element[1].text)) {
        node_fail(client->world, "client %d: node %d shows a transaction half done", client->number + 1,
                  client->node + 1);
    }
}

static void take_crossing(struct node_client *client, const struct node_pending *pending)
{
    const struct node_reply *reply = &client->reply;
    struct history *history = &client->world->history;
    struct history_result results[2];
    if (reply->type != RESP_ARRAY || reply->count != 2) {
        node_unexpected(client, "a transaction over two shards with something else");
        return;
    }
    for (int i = 0; i < 2; i++) {
        const struct node_element *element = &reply->elements[i];
        results[i] = (struct history_result){
            .shape = element->type == RESP_INTEGER ? HISTORY_RESULT_NUMBER
                     : element->type == RESP_NULL  ? HISTORY_RESULT_NULL
                                                   : HISTORY_RESULT_TEXT,
            .text = element->text,
            .number = element->integer,
        };
    }
    client->world->result->acknowledged += 2;
    client->world->plan.acknowledged = client->world->plan.acknowledged || results[0].shape == HISTORY_RESULT_NUMBER;
    node_reach(client->world, NODE_MARK_CROSSED, 1);
    if (history_complete_transaction(history, pending->operations[0], results,
                                     (uint64_t)sim_now_ns(client->world->sim)) != STATUS_OK) {
        node_unexpected(client, "a transaction over two shards with other replies");
    }
}

static void take_watched(struct node_client *client, const struct node_pending *pending)
{
    const struct node_reply *reply = &client->reply;
    if (reply->type == RESP_NULL) {
        /* Perhaps it changed between WATCH and the look, so the value may be as seen: nothing to learn. */
        node_reach(client->world, NODE_MARK_EXEC_ABORTED, 1);
        refuse(client, pending, false);
        return;
    }
    if (reply->type != RESP_ARRAY || reply->count != 1 || reply->elements[0].type != RESP_STATUS) {
        node_unexpected(client, "an EXEC with something else");
        return;
    }
    complete_condition(client, pending, true);
}

/* ---- others ---- */

static void take_weak(struct node_client *client, const struct node_pending *pending)
{
    struct node_world *world = client->world;
    struct node_weak_read *read = node_weak_read(world, pending->subject);
    const struct node_reply *reply = &client->reply;
    if (reply->type != RESP_BULK && reply->type != RESP_NULL) {
        node_unexpected(client, "no text");
        return;
    }
    read->ended_ns = sim_now_ns(world->sim);
    read->there = reply->type == RESP_BULK;
    read->offset = world->weak_texts.size;
    read->size = reply->text.size;
    buffer_append_slice(&world->weak_texts, reply->text);
}

static void take_expiring(struct node_client *client, const struct node_pending *pending)
{
    struct node_world *world = client->world;
    struct node_expiring *key = node_expiring(world, pending->subject);
    bool there = client->reply.type == RESP_BULK;
    int64_t now_ns = sim_now_ns(world->sim);
    if (!key->acknowledged) {
        return;
    }
    /* Clocks are off by a hundredth at most. */
    int64_t least_ns = (key->ttl_ms * 97 / 100 - 10) * MS;
    if (!there && pending->asked_ns > key->acknowledged_ns && now_ns < key->asked_ns + least_ns) {
        node_fail(world, "%s with %lld ms to live is gone after %lld ms", key->key, (long long)key->ttl_ms,
                  (long long)((now_ns - key->asked_ns) / MS));
    }
    if (there && key->gone_ns != 0 && key->gone_ns < pending->asked_ns) {
        node_fail(world, "%s was gone and is there again", key->key);
    }
    if (there && client->final_shard > 0) {
        node_fail(world, "%s is there long after its time", key->key);
    }
    if (!there && key->gone_ns == 0 && pending->asked_ns > key->acknowledged_ns) {
        key->gone_ns = now_ns;
        node_reach(world, NODE_MARK_EXPIRED, 1);
    }
}

static void take_value(struct node_client *client, const struct node_pending *pending)
{
    const struct node_reply *reply = &client->reply;
    switch (pending->ask) {
    case NODE_ASK_PREPARE:
    case NODE_ASK_WATCH:
        if (reply->type != RESP_STATUS) {
            node_unexpected(client, "neither OK nor QUEUED");
        }
        break;
    case NODE_ASK_LOOK: keep_seen(client, reply->type, reply->text); /* fallthrough */
    case NODE_ASK_OPERATION:
        complete_from(client, pending->operations[0], reply->type, reply->integer, reply->text);
        break;
    case NODE_ASK_VERSION: take_version(client, pending); break;
    case NODE_ASK_SET_VERSION:
        node_reach(client->world, NODE_MARK_VERSION_CHANGED, reply->type == RESP_NULL);
        complete_condition(client, pending, reply->type == RESP_INTEGER);
        break;
    case NODE_ASK_EXEC: take_exec(client, pending); break;
    case NODE_ASK_EXEC_WATCHED: take_watched(client, pending); break;
    case NODE_ASK_CROSSING: take_crossing(client, pending); break;
    case NODE_ASK_ALL:
        if (reply->type != RESP_INTEGER) {
            node_unexpected(client, "no number");
        }
        break;
    case NODE_ASK_WEAK: take_weak(client, pending); break;
    case NODE_ASK_SET_EXPIRING: {
        struct node_expiring *key = node_expiring(client->world, pending->subject);
        key->acknowledged = true;
        key->acknowledged_ns = sim_now_ns(client->world->sim);
        break;
    }
    case NODE_ASK_READ_EXPIRING: take_expiring(client, pending); break;
    case NODE_ASK_SCRIPTS: node_scripts_answered(client); break;
    case NODE_ASK_ROLL_BACK_OTHER: (void)node_txn_other_answered(client); break;
    default: node_txn_answered(client, pending, false, false); break;
    }
}

void node_client_answered(struct node_client *client, const struct node_pending *pending)
{
    if (client->reply.type != RESP_ERROR && node_lock_takes(pending->ask)) {
        node_lock_answered(client, pending->ask);
        return;
    }
    if (node_lock_takes(pending->ask) && node_lock_refused(client, pending->ask)) {
        return;
    }
    if (node_session_takes(pending->ask) && client->reply.type != RESP_ERROR) {
        node_session_answered(client, pending->ask);
        return;
    }
    if (node_session_takes(pending->ask) && node_session_refused(client, pending->ask)) {
        return;
    }
    if (node_office_takes(pending->ask)) {
        if (client->reply.type != RESP_ERROR) {
            node_office_answered(client, pending->ask);
            return;
        }
        node_office_unanswered(client);
    }
    if (node_meet_takes(pending->ask)) {
        if (client->reply.type != RESP_ERROR) {
            node_meet_answered(client, pending);
            return;
        }
        node_meet_unanswered(client, pending->ask);
    }
    if (client->reply.type != RESP_ERROR) {
        take_value(client, pending);
        return;
    }
    if (pending->ask == NODE_ASK_TXN_ROLLBACK && begins(client->reply.text, "ERR no transaction is open")) {
        node_txn_answered(client, pending, true, false); /* it had ended with the error that was told before */
        return;
    }
    if (pending->ask == NODE_ASK_ROLL_BACK_OTHER && node_txn_other_answered(client)) {
        return;
    }
    bool uncertain = is_uncertain(client);
    if (pending->ask >= NODE_ASK_TXN_EXEC || (pending->ask == NODE_ASK_WATCH && client->txn.watched)) {
        node_txn_answered(client, pending, true, uncertain);
        return;
    }
    refuse(client, pending, uncertain);
    if (pending->ask == NODE_ASK_WATCH || pending->ask == NODE_ASK_LOOK || pending->ask == NODE_ASK_VERSION) {
        client->watching = client->watching || client->next == NODE_ASK_EXEC_WATCHED;
        client->next = NODE_ASK_PREPARE; /* there is no second half */
    }
}

void node_client_unanswered(struct node_client *client, const struct node_pending *pending)
{
    refuse(client, pending, true);
    if (node_lock_takes(pending->ask)) {
        node_lock_unanswered(client, pending->ask);
    }
    if (node_session_takes(pending->ask)) {
        node_session_unanswered(client, pending->ask);
    }
    if (node_office_takes(pending->ask)) {
        node_office_unanswered(client);
    }
    if (node_meet_takes(pending->ask)) {
        node_meet_unanswered(client, pending->ask);
    }
    if (client->final_shard > 0) {
        node_fail(client->world, "with everything healed node %d does not answer", client->node + 1);
    }
}

/* ---- the account ---- */

/* The text of a key as the last look at it gave it. */
static struct slice final_text(const struct history *history, struct slice key)
{
    for (uint32_t i = history->count; i-- > 0;) {
        const struct history_operation *operation = &history->operations[i];
        if (operation->kind == HISTORY_GET && operation->outcome == HISTORY_OK &&
            operation->shape == HISTORY_RESULT_TEXT && slice_equal(history_text(history, operation->key), key)) {
            return history_text(history, operation->result_text);
        }
    }
    return slice_of(NULL, 0);
}

static bool was_written(const struct history *history, struct slice key, struct slice text, uint64_t before)
{
    for (uint32_t i = 0; i < history->count; i++) {
        const struct history_operation *operation = &history->operations[i];
        if (operation->outcome != HISTORY_FAILED && operation->start <= before && operation->value != TEXTS_NONE &&
            slice_equal(history_text(history, operation->value), text) &&
            slice_equal(history_text(history, operation->key), key)) {
            return true;
        }
    }
    return false;
}

static void check_weak_reads(struct node_world *world)
{
    uint32_t count = (uint32_t)(world->weak_reads.size / sizeof(struct node_weak_read));
    for (uint32_t i = 0; i < count; i++) {
        const struct node_weak_read *read = node_weak_read(world, i);
        if (read->ended_ns == 0 || !read->there) {
            continue; /* what was not yet, or no more, there */
        }
        struct slice key = slice_from_string(read->key);
        struct slice text = slice_of(world->weak_texts.data + read->offset, read->size);
        struct slice last = read->appended ? final_text(&world->history, key) : text;
        bool good = read->appended ? slice_starts_with(last, text)
                                   : was_written(&world->history, key, text, (uint64_t)read->ended_ns);
        if (!good) {
            node_fail(world, "a weak read of %s saw what never was there: %.*s", read->key,
                      (int)(text.size < 100 ? text.size : 100), (const char *)text.data);
        }
    }
}

static void fail_with(struct node_world *world, struct buffer *text)
{
    node_fail(world, "%.*s", (int)text->size, (const char *)text->data);
    buffer_deinit(text);
}

static void describe_failure(struct node_world *world, const struct check *check)
{
    struct buffer text;
    buffer_init(&text);
    if (check->holds.problem != HOLD_FINE) {
        holds_write(&check->history->holds, &check->history->texts, &check->holds, &text);
        fail_with(world, &text);
        return;
    }
    for (uint32_t i = 0; i < check->group_count; i++) {
        if (check->groups[i].verdict == CHECK_NOT_LINEARIZABLE) {
            check_write_group(check, &check->groups[i], &text);
            fail_with(world, &text);
            return;
        }
    }
    for (uint32_t i = 0; i < check->key_count; i++) {
        const struct check_key *key = &check->keys[i];
        if (key->verdict != CHECK_NOT_LINEARIZABLE) {
            continue;
        }
        struct check_explanation explanation;
        check_explain(check, key, &explanation);
        struct slice name = history_text(&world->history, key->key);
        struct slice field = history_text(&world->history, key->field);
        const char *what = anomaly_name(explanation.anomaly.kind);
        const char *found = explanation.anomalies != NULL && explanation.anomalies->kept > 0
                                ? anomaly_name(explanation.anomalies->items[0].kind)
                                : what;
        node_fail(world, "%.*s%s%.*s is not linearizable from %.6f s on: %s; found: %s", (int)name.size,
                  (const char *)name.data, field.size == 0 ? "" : ".", (int)field.size, (const char *)field.data,
                  (double)key->reached / 1e9, what, found);
        check_explanation_deinit(&explanation);
        return;
    }
}

void node_check_history(struct node_world *world)
{
    struct check check;
    check_weak_reads(world);
    ASSERT(check_run(&check, &world->history, CHECK_BYTES) == STATUS_OK);
    if (check.verdict == CHECK_NOT_LINEARIZABLE) {
        describe_failure(world, &check);
    }
    world->result->undecided += check.verdict == CHECK_GAVE_UP;
    check_deinit(&check);
}

/* What clients ask: requests as bytes, what is expected of their replies, and the calls in the history. */
#include "node_world.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    PIPELINE = 6,
    GENERATION_WORDS = 120,
    LONG_VALUE_BYTES = 3000,
    WORD_BYTES = 8,
    FINAL_EXPIRING = 8,
};

static uint64_t draw(struct node_client *client, uint64_t bound)
{
    return node_draw(client->world, SIM_DRAW_CLIENT, bound);
}

/* ---- requests ---- */

/* Arguments as one text, separated by single spaces; none is empty or has a space. */
void node_request(struct node_client *client, const char *format, ...)
{
    char text[2 * NODE_VALUE_BYTES + 128];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    ASSERT(size > 0 && (size_t)size < sizeof(text));
    int count = 1;
    for (const char *at = text; *at != '\0'; at++) {
        count += *at == ' ';
    }
    buffer_append_format(&client->out, "*%d\r\n", count);
    for (const char *at = text; count > 0; count--) {
        size_t length = strcspn(at, " ");
        buffer_append_format(&client->out, "$%zu\r\n", length);
        buffer_append(&client->out, at, length);
        buffer_append_string(&client->out, "\r\n");
        at += length + 1;
    }
}

struct node_pending *node_expect(struct node_client *client, enum node_ask ask)
{
    ASSERT(client->pending_count < NODE_PENDING);
    size_t at = (client->pending_at + client->pending_count++) % NODE_PENDING;
    client->pending[at] = (struct node_pending){.ask = ask, .asked_ns = sim_now_ns(client->world->sim)};
    return &client->pending[at];
}

/* A text that nobody used before; of one length, unless it is a long one. */
void node_new_value(struct node_client *client, bool may_be_long, char ret_value[static NODE_VALUE_BYTES])
{
    size_t size =
        (size_t)snprintf(ret_value, NODE_VALUE_BYTES, "%0*llu", WORD_BYTES, (unsigned long long)++client->world->words);
    if (may_be_long && draw(client, 16) == 0) {
        size_t most = draw(client, 20) == 0 ? NODE_VALUE_BYTES : LONG_VALUE_BYTES;
        size_t extra = (size_t)draw(client, most - WORD_BYTES - 1);
        memset(ret_value + size, '.', extra);
        ret_value[size + extra] = '\0';
    }
}

void node_key_of(const struct node_client *client, int shard, char kind, uint32_t generation,
                 char ret_key[static NODE_KEY_BYTES])
{
    (void)snprintf(ret_key, NODE_KEY_BYTES, "{%s}%c%u", client->world->shards[shard].tag, kind, generation);
}

static void note_call(struct node_client *client, struct node_pending *pending, enum history_kind kind, const char *key,
                      const char *field, const char *value, const char *expected, int64_t by)
{
    struct node_world *world = client->world;
    struct history_call call = {.kind = kind,
                                .process = (uint32_t)client->number,
                                .key = slice_from_string(key),
                                .field = slice_from_string(field),
                                .value = slice_from_string(value),
                                .expected = slice_from_string(expected),
                                .by = by};
    ASSERT(history_invoke(&world->history, &call, (uint64_t)sim_now_ns(world->sim),
                          &pending->operations[pending->operation_count++]) == STATUS_OK);
}

static void ask_get(struct node_client *client, const char *key)
{
    node_request(client, "GET %s", key);
    note_call(client, node_expect(client, NODE_ASK_OPERATION), HISTORY_GET, key, "", "", "", 0);
}

static void ask_register(struct node_client *client, const char *key)
{
    char value[NODE_VALUE_BYTES];
    node_new_value(client, true, value);
    uint64_t what = draw(client, 20);
    if (what < 8) {
        ask_get(client, key);
        return;
    }
    struct node_pending *pending = node_expect(client, NODE_ASK_OPERATION);
    if (what < 14) {
        node_request(client, "SET %s %s", key, value);
        note_call(client, pending, HISTORY_SET, key, "", value, "", 0);
    } else if (what < 16) {
        node_request(client, "SETNX %s %s", key, value);
        note_call(client, pending, HISTORY_SETNX, key, "", value, "", 0);
    } else if (what < 18) {
        node_request(client, "GETSET %s %s", key, value);
        note_call(client, pending, HISTORY_GETSET, key, "", value, "", 0);
    } else if (what < 19) {
        node_request(client, "GETDEL %s", key);
        note_call(client, pending, HISTORY_GETDEL, key, "", "", "", 0);
    } else {
        node_request(client, "DEL %s", key);
        note_call(client, pending, HISTORY_DEL, key, "", "", "", 0);
    }
}

static void ask_hash(struct node_client *client, const char *key)
{
    char value[NODE_VALUE_BYTES];
    node_new_value(client, true, value);
    uint64_t what = draw(client, 12);
    const char *field = draw(client, 2) == 0 ? "f0" : "f1";
    struct node_pending *pending = node_expect(client, NODE_ASK_OPERATION);
    if (what < 3) {
        node_request(client, "HGET %s %s", key, field);
        note_call(client, pending, HISTORY_HGET, key, field, "", "", 0);
    } else if (what < 6) {
        node_request(client, "HSET %s %s %s", key, field, value);
        note_call(client, pending, HISTORY_HSET, key, field, value, "", 0);
    } else if (what < 7) {
        node_request(client, "HSETNX %s %s %s", key, field, value);
        note_call(client, pending, HISTORY_HSETNX, key, field, value, "", 0);
    } else if (what < 8) {
        node_request(client, "HDEL %s %s", key, field);
        note_call(client, pending, HISTORY_HDEL, key, field, "", "", 0);
    } else if (what < 10) {
        node_request(client, "HINCRBY %s n 1", key);
        note_call(client, pending, HISTORY_HINCRBY, key, "n", "", "", 1);
    } else {
        node_request(client, "HGET %s n", key);
        note_call(client, pending, HISTORY_HGET, key, "n", "", "", 0);
    }
}

void node_count_word(struct node_client *client, int shard)
{
    struct node_shard *at = &client->world->shards[shard];
    if (++at->appended >= GENERATION_WORDS) {
        at->appended = 0;
        at->generation++;
    }
}

static void ask_append(struct node_client *client, const char *key)
{
    char value[NODE_VALUE_BYTES];
    node_new_value(client, false, value);
    node_request(client, "APPEND %s %s", key, value);
    note_call(client, node_expect(client, NODE_ASK_OPERATION), HISTORY_APPEND, key, "", value, "", 0);
}

/* INCRBY key 3 */
static void ask_count(struct node_client *client, const char *key)
{
    if (!node_scripts_count(client, key)) {
        node_request(client, "INCRBY %s 3", key);
    }
    note_call(client, node_expect(client, NODE_ASK_OPERATION), HISTORY_INCR, key, "", "", "", 3);
}

static void ask_single(struct node_client *client, int shard)
{
    char key[NODE_KEY_BYTES];
    uint32_t generation = client->world->shards[shard].generation;
    uint64_t what = draw(client, 8);
    if (client->world->profile.flush && (what == 2 || what > 4)) {
        what = what % 2; /* of strings that a flush may end, no hashes and no texts */
    }
    switch (what) {
    case 0:
    case 1:
        node_key_of(client, shard, draw(client, 2) == 0 ? 'r' : 'q', generation, key);
        ask_register(client, key);
        break;
    case 2:
        node_key_of(client, shard, 'h', generation, key);
        ask_hash(client, key);
        break;
    case 3:
        node_key_of(client, shard, 'c', generation, key);
        ask_count(client, key);
        break;
    case 4:
        node_key_of(client, shard, 'c', generation, key);
        ask_get(client, key);
        break;
    case 5:
    case 6:
        node_key_of(client, shard, 'a', generation, key);
        ask_append(client, key);
        node_count_word(client, shard);
        break;
    default:
        node_key_of(client, shard, 'a', generation, key);
        ask_get(client, key);
        break;
    }
}

/* ---- several keys at once ---- */

void node_ask_prepare(struct node_client *client, const char *text)
{
    node_request(client, "%s", text);
    (void)node_expect(client, NODE_ASK_PREPARE);
}

static void ask_pair(struct node_client *client, int shard, uint32_t generation, bool read)
{
    char keys[2][NODE_KEY_BYTES];
    char value[NODE_VALUE_BYTES];
    node_new_value(client, false, value);
    node_ask_prepare(client, "MULTI");
    for (int i = 0; i < 2; i++) {
        node_key_of(client, shard, i == 0 ? 'x' : 'y', generation, keys[i]);
        if (read) {
            node_request(client, "GET %s", keys[i]);
        } else {
            node_request(client, "APPEND %s %s", keys[i], value);
        }
        (void)node_expect(client, NODE_ASK_PREPARE);
    }
    node_request(client, "EXEC");
    struct node_pending *pending = node_expect(client, NODE_ASK_EXEC);
    for (int i = 0; i < 2; i++) {
        note_call(client, pending, read ? HISTORY_GET : HISTORY_APPEND, keys[i], "", read ? "" : value, "", 0);
    }
    if (!read) {
        node_count_word(client, shard);
    }
}

/* The first half of a transaction: a look, on which the second depends. */
static void ask_look(struct node_client *client, int shard)
{
    static const enum node_ask halves[] = {NODE_ASK_OPERATION, NODE_ASK_EXEC_WATCHED, NODE_ASK_SET_VERSION};
    char key[NODE_KEY_BYTES];
    client->next = halves[draw(client, 3)];
    client->next_shard = shard;
    node_key_of(client, shard, 'r', client->world->shards[shard].generation, key);
    (void)snprintf(client->next_key, sizeof(client->next_key), "%s", key);
    if (client->next == NODE_ASK_EXEC_WATCHED) {
        node_request(client, "WATCH %s", key);
        (void)node_expect(client, NODE_ASK_WATCH);
    }
    bool version = client->next == NODE_ASK_SET_VERSION;
    node_request(client, version ? "COHORT.GETV %s" : "GET %s", key);
    note_call(client, node_expect(client, version ? NODE_ASK_VERSION : NODE_ASK_LOOK), HISTORY_GET, key, "", "", "", 0);
}

/* The second half: changes the key if it still is as it was seen. */
static void ask_next(struct node_client *client)
{
    char value[NODE_VALUE_BYTES];
    const char *key = client->next_key;
    node_new_value(client, true, value);
    buffer_append_byte(&client->seen, '\0');
    const char *seen = (const char *)client->seen.data;
    enum node_ask ask = client->next;
    client->next = NODE_ASK_PREPARE;
    if (ask == NODE_ASK_EXEC_WATCHED) {
        node_ask_prepare(client, "MULTI");
        node_request(client, "SET %s %s", key, value);
        (void)node_expect(client, NODE_ASK_PREPARE);
        node_request(client, "EXEC");
    } else if (ask == NODE_ASK_SET_VERSION) {
        node_request(client, "COHORT.SETV %s %s %lld", key, value,
                     (long long)(client->seen_there ? client->seen_version : 0));
    } else if (client->seen_there) {
        node_request(client, "SET %s %s IFEQ %s", key, value, seen);
    } else {
        node_request(client, "SETNX %s %s", key, value);
    }
    note_call(client, node_expect(client, ask), client->seen_there ? HISTORY_IFEQ : HISTORY_SETNX, key, "", value,
              client->seen_there ? seen : "", 0);
    client->seen.size--;
}

/* A transaction over two shards: their texts are appended to, or read, both at one moment. */
static void ask_crossing(struct node_client *client, int shard)
{
    int groups = client->world->profile.groups;
    bool reads = draw(client, 2) == 0;
    char keys[2][NODE_KEY_BYTES];
    char value[NODE_VALUE_BYTES];
    struct history_call calls[2];
    node_new_value(client, false, value);
    for (int i = 0; i < 2; i++) {
        int at = (shard - 1 + i) % groups + 1;
        node_key_of(client, at, 'a', client->world->shards[at].generation, keys[i]);
        calls[i] = (struct history_call){.kind = reads ? HISTORY_GET : HISTORY_APPEND,
                                         .process = (uint32_t)client->number,
                                         .key = slice_from_string(keys[i]),
                                         .value = slice_from_string(value)};
    }
    if (reads) {
        node_request(client, "MGET %s %s", keys[0], keys[1]);
    } else {
        node_ask_prepare(client, "MULTI");
        for (int i = 0; i < 2; i++) {
            node_request(client, "APPEND %s %s", keys[i], value);
            (void)node_expect(client, NODE_ASK_PREPARE);
        }
        node_request(client, "EXEC");
    }
    struct node_pending *pending = node_expect(client, NODE_ASK_CROSSING);
    ASSERT(history_invoke_transaction(&client->world->history, calls, 2, (uint64_t)sim_now_ns(client->world->sim),
                                      &pending->operations[0]) == STATUS_OK);
    pending->operations[1] = pending->operations[0] + 1;
    pending->operation_count = 2;
}

/* Of all shards: a sum of looks at different times. */
static void ask_all(struct node_client *client)
{
    node_request(client, "DBSIZE");
    (void)node_expect(client, NODE_ASK_ALL);
}

/* ---- weak reads and keys that expire ---- */

static void ask_weakly(struct node_client *client, int shard)
{
    struct node_world *world = client->world;
    static const char kinds[] = {'r', 'a', 'x', 'q'};
    char kind = kinds[draw(client, sizeof(kinds))];
    struct node_weak_read read = {.appended = kind == 'a' || kind == 'x'};
    node_key_of(client, shard, kind, world->shards[shard].generation, read.key);
    node_request(client, "GET %s", read.key);
    node_expect(client, NODE_ASK_WEAK)->subject = (uint32_t)(world->weak_reads.size / sizeof(read));
    buffer_append(&world->weak_reads, &read, sizeof(read));
}

static void ask_whether_expired(struct node_client *client, uint32_t number)
{
    node_request(client, "GET %s", node_expiring(client->world, number)->key);
    node_expect(client, NODE_ASK_READ_EXPIRING)->subject = number;
}

static void ask_expiring(struct node_client *client, int shard)
{
    struct node_world *world = client->world;
    uint32_t count = (uint32_t)(world->expiring.size / sizeof(struct node_expiring));
    uint32_t back = 1 + (uint32_t)draw(client, 60);
    if (back <= count && draw(client, 3) != 0) {
        ask_whether_expired(client, count - back);
        return;
    }
    struct node_expiring expiring = {.asked_ns = sim_now_ns(world->sim), .ttl_ms = 100 + (int64_t)draw(client, 2900)};
    node_key_of(client, shard, 'e', count, expiring.key);
    buffer_append(&world->expiring, &expiring, sizeof(expiring));
    node_request(client, "SET %s v PX %lld", expiring.key, (long long)expiring.ttl_ms);
    node_expect(client, NODE_ASK_SET_EXPIRING)->subject = count;
}

/* ---- what to ask ---- */

void node_ask_finally(struct node_client *client)
{
    static const char kinds[] = {'r', 'q', 'a', 'c'};
    static const char *const fields[] = {"f0", "f1", "n"};
    char key[NODE_KEY_BYTES];
    int shard = client->final_shard;
    uint32_t generation = client->final_generation;
    for (size_t i = 0; i < sizeof(kinds); i++) {
        node_key_of(client, shard, kinds[i], generation, key);
        ask_get(client, key);
    }
    node_key_of(client, shard, 'h', generation, key);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        node_request(client, "HGET %s %s", key, fields[i]);
        note_call(client, node_expect(client, NODE_ASK_OPERATION), HISTORY_HGET, key, fields[i], "", "", 0);
    }
    ask_pair(client, shard, generation, true);
    node_key_of(client, shard, 'a', generation, key);
    ask_append(client, key);
    ask_get(client, key);
    node_key_of(client, shard, 's', generation, key); /* without a look the order of appends may stay open */
    ask_get(client, key);
    node_key_of(client, shard % client->world->profile.groups + 1, 'w', generation, key);
    ask_get(client, key);
    node_txn_ask_finally(client, shard, generation);
    if (client->world->profile.locks && generation == 0) {
        node_lock_ask_finally(client, shard);
    }
    if (client->world->profile.sessions && generation == 0) {
        node_session_ask_finally(client, shard);
    }
    if (client->world->profile.meets && generation == 0) {
        node_office_ask_finally(client, shard);
        node_meet_ask_finally(client, shard);
    }
    if (client->final_generation++ < client->world->shards[shard].generation) {
        return;
    }
    client->final_generation = 0;
    client->final_shard++;
    uint32_t count = (uint32_t)(client->world->expiring.size / sizeof(struct node_expiring));
    for (uint32_t i = count < FINAL_EXPIRING ? 0 : count - FINAL_EXPIRING; i < count; i++) {
        ask_whether_expired(client, i);
    }
}

static void ask_singles(struct node_client *client, int shard)
{
    for (uint64_t i = draw(client, PIPELINE); i < PIPELINE; i++) {
        int groups = client->world->profile.groups;
        ask_single(client, draw(client, 4) == 0 ? 1 + (int)draw(client, (uint64_t)groups) : shard);
    }
}

/* Where FLUSHALL is said: what knows that keys may go at any time. */
static void ask_beside_flushes(struct node_client *client, int shard)
{
    switch (draw(client, 10)) {
    case 0:
        if (node_txn_roll_back_other(client)) {
            break;
        } /* fallthrough */
    case 1:
    case 2: node_txn_ask(client, shard); break;
    case 3:
    case 4: node_txn_begin(client, shard); break;
    case 5: ask_look(client, shard); break;
    case 6: ask_all(client); break;
    default: ask_singles(client, shard); break;
    }
}

void node_ask_something(struct node_client *client)
{
    struct node_world *world = client->world;
    int shard = 1 + (int)draw(client, (uint64_t)world->profile.groups);
    if (client->next != NODE_ASK_PREPARE) {
        ask_next(client);
        return;
    }
    if (node_txn_go_on(client)) {
        return;
    }
    if (client->watching) {
        client->watching = false;
        node_ask_prepare(client, "UNWATCH");
    }
    if (node_plan_wish(client) == NODE_PLAN_READS && !client->weak) {
        char key[NODE_KEY_BYTES];
        shard = world->plan.shard;
        node_key_of(client, shard, 'a', world->shards[shard].generation, key);
        ask_get(client, key);
        return;
    }
    if (client->weak) {
        for (uint64_t i = draw(client, 3); i < 3; i++) {
            ask_weakly(client, shard);
        }
        return;
    }
    if (world->profile.locks && draw(client, 2) == 0 && node_lock_ask(client, shard)) {
        return;
    }
    if (world->profile.sessions && draw(client, 2) == 0 && node_session_ask(client, shard)) {
        return;
    }
    if (world->profile.meets && draw(client, 2) == 0 &&
        (draw(client, 2) == 0 ? node_office_ask(client, shard) : node_meet_ask(client, shard))) {
        return;
    }
    if (world->profile.flush) {
        ask_beside_flushes(client, shard);
        return;
    }
    switch (draw(client, 16)) {
    case 12:
        if (node_txn_roll_back_other(client)) {
            break;
        } /* fallthrough */
    case 11: node_txn_ask(client, shard); break;
    case 13:
    case 14:
    case 15: node_txn_begin(client, shard); break;
    case 10:
        if (world->profile.groups > 1 && draw(client, 2) == 0) {
            ask_crossing(client, shard);
        } else {
            ask_all(client);
        }
        break;
    case 0: ask_pair(client, shard, world->shards[shard].generation, false); break;
    case 1: ask_pair(client, shard, world->shards[shard].generation, true); break;
    case 2: ask_look(client, shard); break;
    case 3:
    case 4: ask_expiring(client, shard); break;
    default: ask_singles(client, shard); break;
    }
}

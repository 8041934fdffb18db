/* One follower: the connection, and what comes over it. */
#include "node_feeds.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/key_slot.h"
#include "cluster/slot.h"
#include "server/feed_position.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    READ_BYTES = 4096,
    TOKENS_MAXIMUM = 1 << 16,
    POSITION_BYTES = 1024,
    SILENT_MS = 1500,
    PATIENT_MS = 11000,
    LARGE_BYTES = 16000
};

struct token {
    enum resp_type type;
    uint32_t depth;
    uint64_t count;
    int64_t integer;
    size_t offset, size;
};

struct node_follower {
    struct node_world *world;
    int number;
    struct env *env;
    struct env_timer timer;
    struct env_stream *stream;
    int node, settled; /* settled: the node that it stays at; −1: none yet */
    char prefix[8];
    char position[POSITION_BYTES]; /* empty: none */
    struct feed_mark marks[SIM_GROUPS];
    struct resp_reader reader;
    struct buffer in, out, text, tokens; /* of the reply so far */
    bool following, lazy;
    bool owed;               /* the reply to a large change */
    struct buffer chains;    /* of struct node_chain */
    struct buffer forgotten; /* of arrays of SIM_GROUPS marks */
};

static uint64_t draw(struct node_follower *follower, uint64_t bound)
{
    return node_draw(follower->world, SIM_DRAW_CLIENT, bound);
}

static void rest(struct node_follower *follower, int64_t duration_ms)
{
    env_timer_start(follower->env, &follower->timer, env_monotonic_ns(follower->env) + duration_ms * MS);
}

/* ---- chains ---- */

static struct node_chain *last_chain(struct node_follower *follower)
{
    return (struct node_chain *)(void *)(follower->chains.data + follower->chains.size) - 1;
}

size_t node_follower_chains(const struct node_follower *follower)
{
    return follower->chains.size / sizeof(struct node_chain);
}

const struct node_chain *node_follower_chain(const struct node_follower *follower, size_t number)
{
    return (const struct node_chain *)(const void *)follower->chains.data + number;
}

struct slice node_follower_prefix(const struct node_follower *follower) { return slice_from_string(follower->prefix); }

const struct buffer *node_follower_forgotten(const struct node_follower *follower) { return &follower->forgotten; }

static void begin_chain(struct node_follower *follower)
{
    struct node_chain chain = {0};
    memcpy(chain.begin, follower->marks, sizeof(chain.begin));
    memcpy(chain.end, follower->marks, sizeof(chain.end));
    buffer_append(&follower->chains, &chain, sizeof(chain));
}

uint64_t node_told_hash(const struct node_told_words *words)
{
    uint64_t hash = hash_bytes(words->count, &words->version, sizeof(words->version));
    for (size_t i = 0; i < words->count; i++) {
        hash = hash_bytes(hash ^ words->words[i].size, words->words[i].data, words->words[i].size);
    }
    return hash;
}

/* ---- what is told ---- */

static void unexpected(struct node_follower *follower, const char *what, struct slice text)
{
    node_fail(follower->world, "follower %d: node %d %s: %.*s", follower->number + 1, follower->node + 1, what,
              (int)(text.size < 120 ? text.size : 120), (const char *)text.data);
}

static struct slice text_of(const struct node_follower *follower, const struct token *token)
{
    return slice_of(follower->text.data + token->offset, token->size);
}

/* Invariant 1. */
static bool take_position(struct node_follower *follower, struct slice text)
{
    struct node_world *world = follower->world;
    struct feed_mark marks[SIM_GROUPS] = {{0}};
    uint64_t whose;
    if (text.size >= POSITION_BYTES ||
        feed_position_take(text, (uint32_t)world->profile.groups, &whose, marks) != FEED_POSITION_OK) {
        unexpected(follower, "tells a position that is none", text);
        return false;
    }
    for (int i = 0; i < world->profile.groups; i++) {
        if (feed_mark_compare(marks[i], follower->marks[i]) < 0) {
            node_fail(world, "follower %d: node %d goes back in shard %d, from %llu.%u to %llu.%u",
                      follower->number + 1, follower->node + 1, i + 1, (unsigned long long)follower->marks[i].position,
                      follower->marks[i].sub, (unsigned long long)marks[i].position, marks[i].sub);
            return false;
        }
    }
    memcpy(follower->marks, marks, sizeof(marks));
    memcpy(follower->position, text.data, text.size);
    follower->position[text.size] = '\0';
    return true;
}

/* Of one change: its words, from a token on. */
static void take_change(struct node_follower *follower, const struct token *tokens, size_t count)
{
    struct node_chain *chain = last_chain(follower);
    struct node_told_words words = {0};
    char digits[5][32];
    if (count < 3 || count > 5 || tokens[2].type != RESP_INTEGER) {
        node_fail(follower->world, "follower %d: a change of %zu words", follower->number + 1, count);
        return;
    }
    words.version = tokens[2].integer;
    for (size_t i = 0; i < count; i++) {
        if (i != 2 && tokens[i].type == RESP_INTEGER) {
            int size = snprintf(digits[i], sizeof(digits[i]), "%lld", (long long)tokens[i].integer);
            words.words[words.count++] = slice_of(digits[i], (size_t)size);
        } else if (i != 2) {
            words.words[words.count++] = text_of(follower, &tokens[i]);
        }
    }
    struct slice key = words.words[1];
    bool is_set = slice_is_word(words.words[0], "set");
    bool of_all = slice_is_word(words.words[0], "flush") || slice_is_word(words.words[0], "stale");
    uint16_t slot = of_all && count == 5 ? (uint16_t)tokens[3].integer : key_slot(key);
    uint32_t shards = (uint32_t)follower->world->profile.groups;
    struct node_told told = {
        .hash = node_told_hash(&words),
        .shard = slot_shard(slot % KEY_SLOTS, shards),
        .of_all = of_all,
        .key_offset = chain->texts.size,
        .key_size = key.size,
        .has_value = is_set,
        .version = words.version,
    };
    buffer_append_slice(&chain->texts, key);
    if (is_set) {
        told.value_offset = chain->texts.size;
        told.value_size = words.words[2].size;
        buffer_append_slice(&chain->texts, words.words[2]);
    }
    buffer_append(&chain->told, &told, sizeof(told));
    node_reach(follower->world, NODE_MARK_FEED_TOLD, 1);
}

/* [feed, prefix, position, [change …]] */
static void take_push(struct node_follower *follower, const struct token *tokens, size_t count)
{
    struct slice word = count < 4 ? (struct slice){0} : text_of(follower, &tokens[1]);
    if (!follower->following) {
        unexpected(follower, "pushes before it was asked to", word);
        return;
    }
    if (slice_is_word(word, "unfeed") && tokens[3].type == RESP_ERROR) {
        struct slice why = text_of(follower, &tokens[3]);
        if (!slice_starts_with(why, SLICE_LITERAL("COMPACTED "))) {
            unexpected(follower, "ends a feed", why);
        }
        node_reach(follower->world, NODE_MARK_FEED_CUT, 1);
        follower->following = false;
        return;
    }
    if (count < 5 || !slice_is_word(word, "feed") || tokens[4].type != RESP_ARRAY ||
        !slice_equal(text_of(follower, &tokens[2]), node_follower_prefix(follower))) {
        unexpected(follower, "pushes what is none of a feed", word);
        return;
    }
    for (size_t i = 5; i < count; i += 1 + (size_t)tokens[i].count) {
        if (tokens[i].type != RESP_ARRAY || tokens[i].depth != 2 || i + 1 + tokens[i].count > count) {
            unexpected(follower, "pushes no changes", word);
            return;
        }
        take_change(follower, &tokens[i + 1], (size_t)tokens[i].count);
    }
    if (take_position(follower, text_of(follower, &tokens[3]))) {
        memcpy(last_chain(follower)->end, follower->marks, sizeof(follower->marks));
    }
}

/* -COMPACTED oldest … */
static void take_refusal(struct node_follower *follower, struct slice text)
{
    static const char *const passing[] = {"CLUSTERDOWN ", "BUSY ", "UNCERTAIN ", "MISCONF "};
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        if (slice_starts_with(text, slice_from_string(passing[i]))) {
            return;
        }
    }
    struct slice code = SLICE_LITERAL("COMPACTED ");
    if (!slice_starts_with(text, code) || follower->position[0] == '\0') {
        unexpected(follower, "refuses a feed", text);
        return;
    }
    buffer_append(&follower->forgotten, follower->marks, sizeof(follower->marks));
    node_reach(follower->world, NODE_MARK_FEED_COMPACTED, 1);
    struct slice oldest = slice_of(text.data + code.size, text.size - code.size);
    const uint8_t *end = memchr(oldest.data, ' ', oldest.size);
    oldest.size = end == NULL ? oldest.size : (size_t)(end - oldest.data);
    if (draw(follower, 3) == 0) {
        follower->position[0] = '\0'; /* from now on */
        memset(follower->marks, 0, sizeof(follower->marks));
    } else if (take_position(follower, oldest)) {
        begin_chain(follower);
    }
}

/* To COHORT.FEED: [OK, position]. */
static void take_reply(struct node_follower *follower, const struct token *tokens, size_t count)
{
    if (tokens[0].type == RESP_MAP) {
        return; /* HELLO's */
    }
    if (tokens[0].type == RESP_ERROR) {
        take_refusal(follower, text_of(follower, &tokens[0]));
        return;
    }
    struct slice position = count == 3 ? text_of(follower, &tokens[2]) : (struct slice){0};
    bool anew = follower->position[0] == '\0';
    if (count != 3 || (!anew && !slice_equal(position, slice_from_string(follower->position)))) {
        unexpected(follower, "begins a feed elsewhere than it was asked to", position);
        return;
    }
    if (take_position(follower, position) && anew) {
        begin_chain(follower);
    }
    node_reach(follower->world, NODE_MARK_FEED_RESUMED, !anew);
    follower->following = true;
}

/* ---- the connection ---- */

static void disconnect(struct node_follower *follower)
{
    if (follower->stream != NULL) {
        env_stream_close(follower->env, follower->stream);
        follower->stream = NULL;
    }
    buffer_clear(&follower->in);
    buffer_clear(&follower->out);
    buffer_clear(&follower->text);
    buffer_clear(&follower->tokens);
    resp_reader_init(&follower->reader);
    follower->following = false;
    follower->lazy = false;
    follower->owed = false;
}

static void whole(struct node_follower *follower, enum resp_type root)
{
    const struct token *tokens = (const struct token *)(const void *)follower->tokens.data;
    size_t count = follower->tokens.size / sizeof(*tokens);
    if (root == RESP_PUSH) {
        take_push(follower, tokens, count);
    } else if (follower->owed) {
        follower->owed = false; /* whatever became of it */
    } else {
        bool hello = tokens[0].type == RESP_MAP;
        take_reply(follower, tokens, count);
        if (!hello && !follower->following) { /* refused: again, there or elsewhere */
            rest(follower, 20 + (int64_t)draw(follower, 200));
        }
    }
    buffer_clear(&follower->tokens);
    buffer_clear(&follower->text);
}

static void take_input(struct node_follower *follower)
{
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_token next;
    enum resp_reply_result result = RESP_REPLY_READY;
    while (result == RESP_REPLY_READY && !follower->world->result->failed) {
        result = resp_reader_next(&follower->reader, &limits, follower->in.data, follower->in.size, &next);
        if (result == RESP_REPLY_INVALID) {
            unexpected(follower, "sends garbage", slice_from_string(follower->reader.problem));
        } else if (result == RESP_REPLY_READY) {
            struct token token = {next.type, next.depth, next.count, next.integer, follower->text.size, next.text.size};
            buffer_append_slice(&follower->text, next.text);
            buffer_append(&follower->tokens, &token, sizeof(token));
        }
        buffer_consume(&follower->in, follower->reader.consumed);
        if (result == RESP_REPLY_READY && next.last) {
            whole(follower, next.root);
        }
    }
}

static void flush(struct node_follower *follower)
{
    while (follower->out.size > 0) {
        struct iovec part = {follower->out.data, follower->out.size};
        size_t taken = 0;
        if (env_stream_write(follower->env, follower->stream, &part, 1, &taken) != STATUS_OK) {
            break;
        }
        buffer_consume(&follower->out, taken);
    }
    env_stream_want_write(follower->env, follower->stream, follower->out.size > 0);
}

static void put_request(struct node_follower *follower, const char *const *words, int count)
{
    buffer_append_format(&follower->out, "*%d\r\n", count);
    for (int i = 0; i < count; i++) {
        buffer_append_format(&follower->out, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
    }
}

static void readable(void *owner)
{
    struct node_follower *follower = owner;
    size_t size = 0;
    uint8_t *at = buffer_reserve(&follower->in, READ_BYTES);
    enum status status = env_stream_read(follower->env, follower->stream, at, READ_BYTES, &size);
    if (status == STATUS_AGAIN) {
        return;
    }
    if (status != STATUS_OK) {
        disconnect(follower);
        rest(follower, (int64_t)draw(follower, 200));
        return;
    }
    follower->in.size += size;
    bool was_following = follower->following;
    take_input(follower);
    if (follower->following) {
        bool settled = follower->settled >= 0;
        if (!settled && draw(follower, 40) == 0) {
            disconnect(follower);
            rest(follower, (int64_t)draw(follower, draw(follower, 3) == 0 ? 4000 : 100));
        } else if (!settled && draw(follower, 60) == 0) { /* it reads nothing for a while */
            follower->lazy = true;
            env_stream_want_read(follower->env, follower->stream, false);
            rest(follower, 100 + (int64_t)draw(follower, 3000));
        } else {
            rest(follower, settled ? PATIENT_MS : SILENT_MS + (int64_t)draw(follower, PATIENT_MS));
            bool able = follower->number == 0 && follower->world->feed_history_bytes <= LARGE_BYTES;
            if (!settled && able && !follower->owed && draw(follower, 20) == 0) {
                node_put_large_change(follower->world, &follower->out);
                follower->owed = true;
                flush(follower);
            }
        }
    } else if (was_following) {
        disconnect(follower);
        rest(follower, 1);
    }
}

static void writable(void *owner)
{
    struct node_follower *follower = owner;
    if (follower->out.size > 0) {
        flush(follower);
    }
}

static const struct env_stream_events stream_events = {readable, writable};

static void ask(struct node_follower *follower)
{
    const char *const words[] = {"COHORT.FEED", "PREFIX", follower->prefix, "FROM", follower->position};
    put_request(follower, words, follower->position[0] == '\0' ? 3 : 5);
    rest(follower, SILENT_MS + (int64_t)draw(follower, PATIENT_MS));
}

static void connect_to(struct node_follower *follower, int node)
{
    static const char *const hello[] = {"HELLO", "3"};
    const char *host = sim_node_address(follower->world->sim, node);
    follower->node = node;
    if (env_connect(follower->env, host, NODE_PORT, &follower->stream) != STATUS_OK) {
        follower->stream = NULL;
        rest(follower, 300);
        return;
    }
    env_stream_attach(follower->env, follower->stream, &stream_events, follower);
    put_request(follower, hello, 2);
    ask(follower);
    env_stream_want_write(follower->env, follower->stream, true);
}

/* Time to connect, to read on, or to give a silent node up. */
static void fire(struct env_timer *timer)
{
    struct node_follower *follower = CONTAINER_OF(timer, struct node_follower, timer);
    if (follower->lazy) {
        follower->lazy = false;
        env_stream_want_read(follower->env, follower->stream, true);
        rest(follower, SILENT_MS);
        return;
    }
    disconnect(follower);
    int node =
        follower->settled >= 0 ? follower->settled : (int)draw(follower, (uint64_t)follower->world->profile.members);
    connect_to(follower, node);
}

struct node_follower *node_follower_create(struct node_feeds *feeds, struct node_world *world, int number)
{
    (void)feeds;
    struct node_follower *follower = calloc(1, sizeof(*follower));
    ASSERT(follower != NULL);
    follower->world = world;
    follower->number = number;
    follower->settled = -1;
    if (number > 0) { /* keys begin with the tags of their shards */
        (void)snprintf(follower->prefix, sizeof(follower->prefix), "{%.3s", world->shards[1].tag);
    }
    follower->env = sim_node_start(world->sim, NODE_FOLLOWER_MACHINE + number);
    env_timer_init(&follower->timer, fire);
    resp_reader_init(&follower->reader);
    rest(follower, (int64_t)draw(follower, 600));
    return follower;
}

void node_follower_settle(struct node_follower *follower, int node)
{
    follower->settled = node;
    disconnect(follower);
    rest(follower, 1);
}

void node_follower_destroy(struct node_follower *follower)
{
    if (follower == NULL) {
        return;
    }
    env_timer_stop(follower->env, &follower->timer);
    disconnect(follower);
    for (size_t i = 0; i < node_follower_chains(follower); i++) {
        struct node_chain *chain = (struct node_chain *)(void *)follower->chains.data + i;
        buffer_deinit(&chain->told);
        buffer_deinit(&chain->texts);
    }
    buffer_deinit(&follower->chains);
    buffer_deinit(&follower->forgotten);
    buffer_deinit(&follower->in);
    buffer_deinit(&follower->out);
    buffer_deinit(&follower->text);
    buffer_deinit(&follower->tokens);
    free(follower);
}

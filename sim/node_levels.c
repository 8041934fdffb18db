/* Readers: clients that count (INCR, single and two keys of two shards in one MULTI), and read what is counted at some
 * level of COHORT.CONSISTENCY, by one connection at a time, at any node, under all faults. A key's value is its
 * version. What is checked:
 *  1. at every level: nobody reads what was not asked for;
 *  2. at SESSION: of each key nothing older than what this connection has read or written before, and, when it began
 *     with a position, than what the connections before it had when they were told that (sessions: read your writes,
 *     monotonic reads);
 *  3. at BOUNDED: nothing older than what anybody was told so long before it was asked for, in true time, plus what
 *     clocks are off;
 *  4. at STRONG: the same with no time at all;
 *  5. no position is refused;
 * and in the end, when nothing is broken, that every node takes the last position and shows what it covers. */
#include "node_world.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    READERS = NODE_READERS,
    KEYS = 2, /* in each shard */
    PENDING = 16,
    READ_BYTES = 4096,
    PATIENCE_MS = 12000,
    FINAL_MS = 20000,
    DRIFT_PERCENT = 2, /* what clocks are off, and more */
    TEXT_BYTES = 512,
};

enum level { STRONG, SESSION, BOUNDED, EVENTUAL };

enum ask { ASK_NOTHING, ASK_GET, ASK_COUNT, ASK_COUNT_TWO, ASK_POSITION };

struct pending {
    enum ask ask;
    int keys[2];
    int64_t sent_ns;
};

/* Of a key: what was asked for, and what was told, when. */
struct told {
    int64_t at_ns, value;
};

struct count {
    int64_t asked;
    struct buffer told; /* of struct told; both grow */
};

struct reader {
    struct node_levels *levels;
    int number;
    struct env *env;
    struct env_timer timer;
    struct env_stream *stream; /* NULL: not connected */
    int node;
    enum level level;
    int64_t bound_ms, asked_ns;
    struct resp_reader parser;
    struct buffer in, out;
    struct pending pending[PENDING];
    size_t first, waiting;
    int64_t elements[4]; /* of an array */
    int element;
    int64_t *seen;    /* by key: of this connection */
    int64_t *carried; /* the same, when the position was told */
    char position[TEXT_BYTES];
    int finals; /* in the end: keys that are to be answered yet */
    bool failed;
};

struct node_levels {
    struct node_world *world;
    int keys;
    struct count *counts;
    struct reader readers[READERS];
};

static uint64_t draw(struct reader *reader, uint64_t bound)
{
    return node_draw(reader->levels->world, SIM_DRAW_CLIENT, bound);
}

static void rest(struct reader *reader, int64_t duration_ms)
{
    env_timer_start(reader->env, &reader->timer, env_monotonic_ns(reader->env) + duration_ms * MS);
}

static void disconnect(struct reader *reader)
{
    if (reader->stream != NULL) {
        env_stream_close(reader->env, reader->stream);
        reader->stream = NULL;
    }
    buffer_clear(&reader->in);
    buffer_clear(&reader->out);
    resp_reader_init(&reader->parser);
    reader->waiting = 0;
}

static void flush(struct reader *reader)
{
    while (reader->out.size > 0) {
        struct iovec part = {reader->out.data, reader->out.size};
        size_t taken = 0;
        if (env_stream_write(reader->env, reader->stream, &part, 1, &taken) != STATUS_OK) {
            break;
        }
        buffer_consume(&reader->out, taken);
    }
    env_stream_want_write(reader->env, reader->stream, reader->out.size > 0);
}

/* ---- what is known ---- */

/* The largest value that anybody was told until then. */
static int64_t told_before(const struct count *count, int64_t at_ns)
{
    const struct told *told = (const struct told *)(const void *)count->told.data;
    size_t low = 0;
    size_t high = count->told.size / sizeof(*told);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (told[middle].at_ns <= at_ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? 0 : told[low - 1].value;
}

static void note_told(struct reader *reader, int key, int64_t value)
{
    struct count *count = &reader->levels->counts[key];
    struct told told = {sim_now_ns(reader->levels->world->sim), value};
    if (value > told_before(count, INT64_MAX)) {
        buffer_append(&count->told, &told, sizeof(told));
    }
}

static int64_t must_show(struct reader *reader, int key, int64_t sent_ns)
{
    const struct count *count = &reader->levels->counts[key];
    int64_t floor = reader->level == SESSION ? reader->seen[key] : 0;
    if (reader->level == BOUNDED || reader->level == STRONG) {
        int64_t age_ns = reader->level == STRONG ? 0 : reader->bound_ms * MS / 100 * (100 + DRIFT_PERCENT);
        int64_t told = told_before(count, sent_ns - age_ns);
        floor = told > floor ? told : floor;
    }
    return floor;
}

static void check(struct reader *reader, int key, int64_t value, int64_t sent_ns)
{
    static const char *const names[] = {"strong", "session", "bounded", "eventual"};
    struct node_world *world = reader->levels->world;
    int64_t floor = must_show(reader, key, sent_ns);
    if (value < floor || value > reader->levels->counts[key].asked) {
        node_fail(world, "reader %d at node %d: a %s read of count %d shows %lld, not %lld to %lld (bound %lld ms)",
                  reader->number + 1, reader->node + 1, names[reader->level], key, (long long)value, (long long)floor,
                  (long long)reader->levels->counts[key].asked, (long long)reader->bound_ms);
    }
    reader->seen[key] = value > reader->seen[key] ? value : reader->seen[key];
}

/* ---- answers ---- */

static bool may_fail(struct slice text)
{
    static const char *const begins[] = {"STALE ", "CLUSTERDOWN ", "UNCERTAIN ", "BUSY ", "MISCONF ", "TXNABORT "};
    bool may = false;
    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
        may = may || slice_starts_with(text, slice_from_string(begins[i]));
    }
    return may && !slice_starts_with(text, SLICE_LITERAL("STALE this connection has a position"));
}

static void take_error(struct reader *reader, struct slice text)
{
    node_reach(reader->levels->world, NODE_MARK_STALE, slice_starts_with(text, SLICE_LITERAL("STALE ")));
    if (!may_fail(text)) {
        node_fail(reader->levels->world, "reader %d at node %d: %.*s", reader->number + 1, reader->node + 1,
                  (int)text.size, (const char *)text.data);
    }
    reader->failed = true;
}

static void take_count(struct reader *reader, int key, int64_t value, int64_t sent_ns)
{
    check(reader, key, value, sent_ns);
    note_told(reader, key, value);
}

static void take_reply(struct reader *reader, const struct resp_token *token)
{
    if (reader->waiting == 0) {
        node_fail(reader->levels->world, "reader %d: an answer to nothing", reader->number + 1);
        return;
    }
    const struct pending pending = reader->pending[reader->first];
    reader->first = (reader->first + 1) % PENDING;
    reader->waiting--;
    if (token->type == RESP_ERROR) {
        take_error(reader, token->text);
        return;
    }
    int64_t value = 0;
    switch (pending.ask) {
    case ASK_NOTHING: return;
    case ASK_GET:
        value =
            token->type == RESP_BULK && token->text.size < 20 ? strtoll((const char *)token->text.data, NULL, 10) : 0;
        check(reader, pending.keys[0], value, pending.sent_ns);
        note_told(reader, pending.keys[0], value);
        node_reach(reader->levels->world, NODE_MARK_SESSION_CARRIED,
                   reader->level == SESSION && reader->carried[pending.keys[0]] != 0);
        reader->finals -= reader->finals > 0;
        return;
    case ASK_COUNT: take_count(reader, pending.keys[0], token->integer, pending.sent_ns); return;
    case ASK_COUNT_TWO:
        for (int i = 0; i < 2 && reader->element == 2; i++) {
            take_count(reader, pending.keys[i], reader->elements[i], pending.sent_ns);
        }
        return;
    case ASK_POSITION:
        ASSERT(token->text.size < TEXT_BYTES);
        memcpy(reader->position, token->text.data, token->text.size);
        reader->position[token->text.size] = '\0';
        memcpy(reader->carried, reader->seen, (size_t)reader->levels->keys * sizeof(*reader->seen));
        return;
    }
}

static void take_token(struct reader *reader, const struct resp_token *token)
{
    if (token->depth == 0) {
        reader->element = 0;
    } else if (token->type == RESP_INTEGER && reader->element < 4) {
        reader->elements[reader->element++] = token->integer;
    }
    if (token->last) {
        take_reply(reader, token);
    }
}

static void readable(void *owner)
{
    struct reader *reader = owner;
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    size_t size = 0;
    uint8_t *at = buffer_reserve(&reader->in, READ_BYTES);
    enum status status = env_stream_read(reader->env, reader->stream, at, READ_BYTES, &size);
    if (status == STATUS_AGAIN) {
        return;
    }
    if (status != STATUS_OK) {
        disconnect(reader);
        return;
    }
    reader->in.size += size;
    enum resp_reply_result result = RESP_REPLY_READY;
    while (result == RESP_REPLY_READY) {
        struct resp_token token;
        result = resp_reader_next(&reader->parser, &limits, reader->in.data, reader->in.size, &token);
        if (result == RESP_REPLY_INVALID) {
            node_fail(reader->levels->world, "reader %d: garbage: %s", reader->number + 1, reader->parser.problem);
        } else if (result == RESP_REPLY_READY) {
            take_token(reader, &token);
        }
        buffer_consume(&reader->in, reader->parser.consumed);
    }
}

static void writable(void *owner) { flush(owner); }

static const struct env_stream_events stream_events = {readable, writable};

/* ---- questions ---- */

static struct pending *expect(struct reader *reader, enum ask ask)
{
    ASSERT(reader->waiting < PENDING);
    struct pending *pending = &reader->pending[(reader->first + reader->waiting++) % PENDING];
    *pending = (struct pending){.ask = ask, .sent_ns = sim_now_ns(reader->levels->world->sim)};
    return pending;
}

static void put_key(struct reader *reader, const char *command, int key)
{
    const char *tag = reader->levels->world->shards[1 + key / KEYS].tag;
    buffer_append_format(&reader->out, "%s {%s}level:%d\r\n", command, tag, key % KEYS);
}

static void ask_get(struct reader *reader, int key)
{
    expect(reader, ASK_GET)->keys[0] = key;
    put_key(reader, "GET", key);
}

static void ask_count(struct reader *reader, int key)
{
    expect(reader, ASK_COUNT)->keys[0] = key;
    reader->levels->counts[key].asked++;
    put_key(reader, "INCR", key);
}

/* Two keys, often of two shards, in one transaction. */
static void ask_two(struct reader *reader, int key, int other)
{
    const int keys[] = {key, other};
    (void)expect(reader, ASK_NOTHING);
    buffer_append_string(&reader->out, "MULTI\r\n");
    for (int i = 0; i < 2; i++) {
        (void)expect(reader, ASK_NOTHING);
        reader->levels->counts[keys[i]].asked++;
        put_key(reader, "INCR", keys[i]);
    }
    memcpy(expect(reader, ASK_COUNT_TWO)->keys, keys, sizeof(keys));
    buffer_append_string(&reader->out, "EXEC\r\n");
}

static void ask_position(struct reader *reader)
{
    (void)expect(reader, ASK_POSITION);
    buffer_append_string(&reader->out, "COHORT.POSITION\r\n");
}

static void ask_some(struct reader *reader, bool reads_only)
{
    int keys = reader->levels->keys;
    for (int i = (int)draw(reader, 4); i >= 0; i--) {
        int key = (int)draw(reader, (uint64_t)keys);
        switch (reads_only ? 2 : draw(reader, 6)) {
        case 0: ask_count(reader, key); break;
        case 1:
            if (reader->waiting + 6 < PENDING) {
                ask_two(reader, key, (key + 1 + (int)draw(reader, (uint64_t)keys - 1)) % keys);
            }
            break;
        default: ask_get(reader, key); break;
        }
        if (reader->waiting + 6 >= PENDING) {
            break;
        }
    }
    if (draw(reader, 3) == 0) {
        ask_position(reader);
    }
    reader->asked_ns = sim_now_ns(reader->levels->world->sim);
    flush(reader);
}

static void say_level(struct reader *reader)
{
    static const char *const words[] = {"STRONG", "SESSION", "BOUNDED", "EVENTUAL"};
    size_t size = (size_t)reader->levels->keys * sizeof(*reader->seen);
    bool carries = reader->level == SESSION && reader->position[0] != '\0';
    (void)expect(reader, ASK_NOTHING);
    buffer_append_format(&reader->out, "COHORT.CONSISTENCY %s", words[reader->level]);
    if (carries) {
        buffer_append_format(&reader->out, " %s", reader->position);
    } else if (reader->level == BOUNDED) {
        buffer_append_format(&reader->out, " %lld", (long long)reader->bound_ms);
    }
    buffer_append_string(&reader->out, "\r\n");
    memset(reader->seen, 0, size);
    if (carries) {
        memcpy(reader->seen, reader->carried, size);
    }
}

static void connect_to(struct reader *reader, int node, enum level level)
{
    struct node_world *world = reader->levels->world;
    disconnect(reader);
    reader->node = node;
    reader->level = level;
    reader->bound_ms = INT64_C(1) << draw(reader, 12);
    reader->failed = false;
    if (env_connect(reader->env, sim_node_address(world->sim, node), NODE_PORT, &reader->stream) != STATUS_OK) {
        reader->stream = NULL;
        return;
    }
    env_stream_attach(reader->env, reader->stream, &stream_events, reader);
    reader->asked_ns = sim_now_ns(world->sim);
    say_level(reader);
    env_stream_want_write(reader->env, reader->stream, true);
}

static void fire(struct env_timer *timer)
{
    static const enum level levels[] = {SESSION, SESSION, SESSION, BOUNDED, BOUNDED, BOUNDED, STRONG, EVENTUAL};
    struct reader *reader = CONTAINER_OF(timer, struct reader, timer);
    struct node_world *world = reader->levels->world;
    if (world->clients_stopped) {
        return;
    }
    bool waits = reader->waiting > 0 && sim_now_ns(world->sim) - reader->asked_ns < PATIENCE_MS * MS;
    if (reader->stream != NULL && !waits && (reader->waiting > 0 || reader->failed || draw(reader, 8) == 0)) {
        disconnect(reader); /* another node next time */
    }
    if (reader->stream == NULL) {
        bool stays = world->plan.kind != 0 && draw(reader, 2) == 0; /* with who believes to lead */
        int node = stays ? world->plan.first : (int)draw(reader, (uint64_t)world->profile.members);
        connect_to(reader, node, levels[draw(reader, sizeof(levels) / sizeof(levels[0]))]);
    } else if (!waits) {
        enum node_plan_wish wish = node_plan_wish_at(world, reader->node, true);
        if (wish != NODE_PLAN_NOTHING) {
            ask_some(reader, wish == NODE_PLAN_READS);
        }
    }
    rest(reader, 1 + (int64_t)draw(reader, 60));
}

/* ---- life ---- */

struct node_levels *node_levels_create(struct node_world *world)
{
    if (world->profile.levels == 0) {
        return NULL;
    }
    struct node_levels *levels = calloc(1, sizeof(*levels));
    ASSERT(levels != NULL);
    levels->world = world;
    levels->keys = world->profile.groups * KEYS;
    levels->counts = calloc((size_t)levels->keys, sizeof(*levels->counts));
    for (int i = 0; i < READERS; i++) {
        struct reader *reader = &levels->readers[i];
        reader->levels = levels;
        reader->number = i;
        reader->seen = calloc((size_t)levels->keys, sizeof(*reader->seen));
        reader->carried = calloc((size_t)levels->keys, sizeof(*reader->carried));
        reader->env = sim_node_start(world->sim, NODE_READER_MACHINE + i);
        env_timer_init(&reader->timer, fire);
        resp_reader_init(&reader->parser);
        rest(reader, (int64_t)draw(reader, 500));
    }
    return levels;
}

/* One reader at one node; again, as long as anything fails. */
static void finish_at(struct reader *reader, int node)
{
    struct node_world *world = reader->levels->world;
    int64_t limit_ns = sim_now_ns(world->sim) + FINAL_MS * MS;
    reader->failed = true;
    reader->finals = 0;
    while (!world->result->failed && (reader->failed || reader->finals > 0)) {
        if (sim_now_ns(world->sim) > limit_ns) {
            node_fail(world, "%d s after everything healed node %d does not show what reader %d has seen",
                      FINAL_MS / 1000, node + 1, reader->number + 1);
        }
        if (reader->failed || reader->stream == NULL || reader->waiting == 0) {
            connect_to(reader, node, SESSION);
            reader->finals = reader->levels->keys < PENDING ? reader->levels->keys : PENDING - 1;
            for (int key = 0; key < reader->finals; key++) {
                ask_get(reader, key);
            }
        }
        node_world_run_for(world, 200 * MS);
    }
    disconnect(reader);
}

void node_levels_finish(struct node_levels *levels)
{
    for (int i = 0; levels != NULL && i < READERS; i++) {
        for (int node = 0; node < levels->world->profile.members; node++) {
            if (!levels->world->nodes[node].left_out && !levels->world->nodes[node].wiped) {
                finish_at(&levels->readers[i], node);
            }
        }
    }
}

void node_levels_destroy(struct node_levels *levels)
{
    if (levels == NULL) {
        return;
    }
    for (int i = 0; i < READERS; i++) {
        struct reader *reader = &levels->readers[i];
        env_timer_stop(reader->env, &reader->timer);
        disconnect(reader);
        buffer_deinit(&reader->in);
        buffer_deinit(&reader->out);
        free(reader->seen);
        free(reader->carried);
    }
    for (int key = 0; key < levels->keys; key++) {
        buffer_deinit(&levels->counts[key].told);
    }
    free(levels->counts);
    free(levels);
}

/* Talkers: clients that subscribe to one channel and publish to it, each by one connection at a time (RESP3), at any
 * node. A publisher is a connection: it numbers what it says. What is checked of each subscriber, while its connection
 * lasts:
 *  1. of each publisher the numbers grow, so none comes twice, and none that was not said;
 *  2. what scripts publish comes at most once;
 * and in the end, when nothing is broken, that everybody hears everybody, all of it. */
#include "node_feeds.h"
#include "node_world.h"

#include "base/assert.h"

#include <stdio.h>

enum { READ_BYTES = 16384, WORDS = 3, LAST_WORDS = 3, FINAL_MS = 20000, CONNECT_MS = 300 };

static uint64_t draw(struct node_talker *talker, uint64_t bound)
{
    return node_draw(talker->world, SIM_DRAW_CLIENT, bound);
}

static void rest(struct node_talker *talker, int64_t duration_ms)
{
    env_timer_start(talker->env, &talker->timer, env_monotonic_ns(talker->env) + duration_ms * MS);
}

static void disconnect(struct node_talker *talker)
{
    if (talker->stream != NULL) {
        env_stream_close(talker->env, talker->stream);
        talker->stream = NULL;
    }
    buffer_clear(&talker->in);
    buffer_clear(&talker->out);
    resp_reader_init(&talker->reader);
    talker->subscribed = false;
}

static void flush(struct node_talker *talker)
{
    while (talker->out.size > 0) {
        struct iovec part = {talker->out.data, talker->out.size};
        size_t taken = 0;
        if (env_stream_write(talker->env, talker->stream, &part, 1, &taken) != STATUS_OK) {
            break;
        }
        buffer_consume(&talker->out, taken);
    }
    env_stream_want_write(talker->env, talker->stream, talker->out.size > 0);
}

/* ---- what it hears ---- */

static void hear_number(struct node_talker *talker, int by, int epoch, int number)
{
    const struct node_talker *publisher = &talker->world->talkers[by];
    struct node_heard *heard = &talker->heard[by];
    if (epoch < heard->epoch) {
        return; /* of an earlier connection, at another node: nobody promises its order with the later one */
    }
    if (epoch > heard->epoch) {
        *heard = (struct node_heard){.epoch = epoch};
    }
    if (number <= heard->last) {
        node_fail(talker->world, "talker %d hears %d of talker %d after %d", talker->number + 1, number, by + 1,
                  heard->last);
    } else if (epoch > publisher->epoch || (epoch == publisher->epoch && number > publisher->said)) {
        node_fail(talker->world, "talker %d hears %d of talker %d, who did not say it", talker->number + 1, number,
                  by + 1);
    }
    heard->last = number;
    heard->count++;
}

static void hear_script(struct node_talker *talker, int by, int number)
{
    uint32_t word = (uint32_t)by << 24 | (uint32_t)number;
    for (size_t at = 0; at < talker->scripts.size; at += sizeof(word)) {
        if (memcmp(talker->scripts.data + at, &word, sizeof(word)) == 0) {
            node_fail(talker->world, "talker %d hears what a script of talker %d said twice: %d", talker->number + 1,
                      by + 1, number);
        }
    }
    buffer_append(&talker->scripts, &word, sizeof(word));
}

static void take_push(struct node_talker *talker)
{
    if (slice_is_word(buffer_slice(&talker->words[0]), "subscribe")) {
        talker->subscribed = slice_is_word(buffer_slice(&talker->words[1]), "script"); /* the last of them */
        return;
    }
    int by = -1;
    int epoch = 0;
    int number = 0;
    buffer_append_byte(&talker->words[2], '\0');
    if (sscanf((const char *)talker->words[2].data, "%d.%d.%d", &by, &epoch, &number) != 3 || by < 0 ||
        by >= NODE_TALKERS) {
        node_fail(talker->world, "talker %d hears what nobody says: %s", talker->number + 1, talker->words[2].data);
    } else if (slice_is_word(buffer_slice(&talker->words[1]), "script")) {
        hear_script(talker, by, number);
    } else {
        hear_number(talker, by, epoch, number);
    }
}

static void take_token(struct node_talker *talker, const struct resp_token *token)
{
    if (token->depth == 0) {
        talker->word = 0;
    } else if (token->root == RESP_PUSH && token->depth == 1 && talker->word < WORDS) {
        struct buffer *word = &talker->words[talker->word++];
        buffer_clear(word);
        buffer_append_slice(word, token->text);
    }
    if (token->last && token->root == RESP_PUSH) {
        take_push(talker);
    }
}

static void readable(void *owner)
{
    struct node_talker *talker = owner;
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    size_t size = 0;
    uint8_t *at = buffer_reserve(&talker->in, READ_BYTES);
    enum status status = env_stream_read(talker->env, talker->stream, at, READ_BYTES, &size);
    if (status == STATUS_AGAIN) {
        return;
    }
    if (status != STATUS_OK) {
        disconnect(talker);
        return;
    }
    talker->in.size += size;
    enum resp_reply_result result = RESP_REPLY_READY;
    while (result == RESP_REPLY_READY) {
        struct resp_token token;
        result = resp_reader_next(&talker->reader, &limits, talker->in.data, talker->in.size, &token);
        if (result == RESP_REPLY_INVALID) {
            node_fail(talker->world, "talker %d: garbage: %s", talker->number + 1, talker->reader.problem);
        } else if (result == RESP_REPLY_READY) {
            take_token(talker, &token);
        }
        buffer_consume(&talker->in, talker->reader.consumed);
    }
}

static void writable(void *owner) { flush(owner); }

static const struct env_stream_events stream_events = {readable, writable};

/* ---- what it says ---- */

static void connect_to(struct node_talker *talker, int node)
{
    struct node_world *world = talker->world;
    if (env_connect(talker->env, sim_node_address(world->sim, node), NODE_PORT, &talker->stream) != STATUS_OK) {
        talker->stream = NULL;
        return;
    }
    talker->epoch++;
    talker->said = 0;
    memset(talker->heard, 0, sizeof(talker->heard));
    buffer_clear(&talker->scripts);
    env_stream_attach(talker->env, talker->stream, &stream_events, talker);
    buffer_append_string(&talker->out, "HELLO 3\r\nSUBSCRIBE talk script\r\n");
    env_stream_want_write(talker->env, talker->stream, true);
}

static void say(struct node_talker *talker, bool by_script)
{
    if (by_script) {
        buffer_append_format(&talker->out, "EVAL \"return redis.call('publish', 'script', ARGV[1])\" 0 %d.0.%d\r\n",
                             talker->number, ++talker->scripted);
    } else {
        buffer_append_format(&talker->out, "PUBLISH talk %d.%d.%d\r\n", talker->number, talker->epoch, ++talker->said);
    }
    flush(talker);
}

static void fire(struct env_timer *timer)
{
    struct node_talker *talker = CONTAINER_OF(timer, struct node_talker, timer);
    struct node_world *world = talker->world;
    if (world->clients_stopped) {
        return;
    }
    if (talker->stream != NULL && draw(talker, 60) == 0) {
        disconnect(talker); /* another node next time */
    }
    if (talker->stream == NULL) {
        connect_to(talker, (int)draw(talker, (uint64_t)world->profile.members));
    } else if (talker->subscribed) {
        say(talker, draw(talker, 4) == 0);
    }
    rest(talker, 1 + (int64_t)draw(talker, 120));
}

/* ---- life ---- */

void node_talkers_start(struct node_world *world)
{
    for (int i = 0; i < NODE_TALKERS && world->profile.messages != 0; i++) {
        struct node_talker *talker = &world->talkers[i];
        talker->world = world;
        talker->number = i;
        talker->env = sim_node_start(world->sim, NODE_FOLLOWER_MACHINE + NODE_FOLLOWERS + i);
        env_timer_init(&talker->timer, fire);
        resp_reader_init(&talker->reader);
        rest(talker, (int64_t)draw(talker, 300));
    }
}

static bool all_subscribed(const struct node_world *world)
{
    bool all = true;
    for (int i = 0; i < NODE_TALKERS; i++) {
        all = all && world->talkers[i].subscribed;
    }
    return all;
}

static bool all_heard(const struct node_world *world)
{
    bool all = true;
    for (int to = 0; to < NODE_TALKERS; to++) {
        for (int by = 0; by < NODE_TALKERS; by++) {
            const struct node_heard *heard = &world->talkers[to].heard[by];
            all = all && heard->epoch == world->talkers[by].epoch && heard->count == LAST_WORDS;
        }
    }
    return all;
}

static void wait_until(struct node_world *world, bool (*so)(const struct node_world *world), const char *otherwise)
{
    int64_t limit_ns = sim_now_ns(world->sim) + FINAL_MS * MS;
    while (!world->result->failed && !so(world)) {
        if (sim_now_ns(world->sim) > limit_ns) {
            node_fail(world, "%d s after everything healed %s", FINAL_MS / 1000, otherwise);
        }
        node_world_run_for(world, CONNECT_MS * MS);
    }
}

void node_talkers_finish(struct node_world *world)
{
    if (world->profile.messages == 0) {
        return;
    }
    int node = 0;
    for (int i = 0; i < NODE_TALKERS; i++, node++) {
        struct node_talker *talker = &world->talkers[i];
        while (world->nodes[node % world->profile.members].left_out ||
               world->nodes[node % world->profile.members].wiped) {
            node++;
        }
        disconnect(talker);
        connect_to(talker, node % world->profile.members);
    }
    wait_until(world, all_subscribed, "not all are subscribed");
    for (int i = 0; i < NODE_TALKERS * LAST_WORDS && !world->result->failed; i++) {
        say(&world->talkers[i % NODE_TALKERS], false);
    }
    wait_until(world, all_heard, "messages are lost");
}

void node_talkers_deinit(struct node_world *world)
{
    for (int i = 0; i < NODE_TALKERS; i++) {
        struct node_talker *talker = &world->talkers[i];
        if (talker->env != NULL) {
            env_timer_stop(talker->env, &talker->timer);
            disconnect(talker);
        }
        buffer_deinit(&talker->in);
        buffer_deinit(&talker->out);
        buffer_deinit(&talker->scripts);
        for (int word = 0; word < WORDS; word++) {
            buffer_deinit(&talker->words[word]);
        }
    }
}

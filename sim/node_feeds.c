/* The histories of all shards, as the machines have them, and the account of what followers were told. */
#include "node_feeds.h"

#include "base/assert.h"
#include "base/number.h"
#include "cluster/cluster.h"
#include "cluster/slot.h"
#include "server/feed_answer.h"

#include <stdio.h>
#include <stdlib.h>

enum { CATCH_UP_MS = 60000, STEP_MS = 100, LOOK_BYTES = 1 << 20 };

/* Records from one mark to another that no look has seen: they were forgotten before. */
struct gap {
    struct feed_mark from, to;
};

struct history_of_shard {
    struct feed_mark last;
    uint64_t applied;      /* all up to this entry was looked at */
    struct buffer records; /* whole ones, as machines give them */
    struct buffer gaps;
};

struct node_feeds {
    struct node_world *world;
    struct history_of_shard shards[SIM_GROUPS + 1];
    struct node_follower *followers[NODE_FOLLOWERS];
};

struct node_feeds *node_feeds_create(struct node_world *world)
{
    if (world->profile.feeds == 0) {
        return NULL;
    }
    struct node_feeds *feeds = calloc(1, sizeof(*feeds));
    ASSERT(feeds != NULL);
    feeds->world = world;
    for (int i = 0; i < NODE_FOLLOWERS; i++) {
        feeds->followers[i] = node_follower_create(feeds, world, i);
    }
    return feeds;
}

void node_feeds_destroy(struct node_feeds *feeds)
{
    if (feeds == NULL) {
        return;
    }
    for (int i = 0; i < NODE_FOLLOWERS; i++) {
        node_follower_destroy(feeds->followers[i]);
    }
    for (int i = 0; i <= SIM_GROUPS; i++) {
        buffer_deinit(&feeds->shards[i].records);
        buffer_deinit(&feeds->shards[i].gaps);
    }
    free(feeds);
}

/* ---- histories ---- */

/* Reads of a node's own state; false: it has none of the shard. */
static bool ask_node(const struct node *node, int shard, const struct command *command, struct buffer *out)
{
    /* Looking changes nothing, but counts as a read: that is why it is no const. */
    struct cluster *cluster = (struct cluster *)(uintptr_t)server_cluster_of(node->server, (uint32_t)shard);
    struct resp_writer writer = resp_writer_to(out, RESP2);
    return cluster != NULL && cluster_read_here(cluster, (uint32_t)shard, command, &writer);
}

static bool read_history(const struct node *node, int shard, struct feed_mark mark, struct buffer *reply,
                         struct feed_answer *ret_answer)
{
    char digits[3][NUMBER_INT64_BYTES];
    const uint64_t numbers[] = {mark.position, mark.sub, LOOK_BYTES};
    struct slice argv[4] = {SLICE_LITERAL("COHORT.FEED.READ")};
    for (int i = 0; i < 3; i++) {
        argv[i + 1] = slice_of(digits[i], number_format_uint64(digits[i], numbers[i]));
    }
    const struct command command = {command_by_id(COMMAND_COHORT_FEED_READ), argv, 4, RESP2};
    buffer_clear(reply);
    if (!ask_node(node, shard, &command, reply)) {
        return false;
    }
    *ret_answer = feed_answer_take(buffer_slice(reply));
    return true;
}

/* Invariant 5; a history that begins anew, when nobody wanted it for a while, begins at the head of an apply. */
static void check_kept(struct node_feeds *feeds, const struct node *node, int shard, uint64_t applied,
                       const struct gap *gap, size_t kept_bytes)
{
    const struct node_world *world = feeds->world;
    bool next = applied == feeds->shards[shard].applied + 1;
    if (next && gap->from.position != 0 && gap->to.sub != 0 &&
        kept_bytes < (FEED_BURST - 1) * (size_t)world->feed_history_bytes) {
        node_fail(feeds->world,
                  "shard %d: node %d has forgotten changes of entry %llu already, from %llu.%u to %llu.%u, and kept "
                  "%zu bytes",
                  shard, node->number + 1, (unsigned long long)applied, (unsigned long long)gap->from.position,
                  gap->from.sub, (unsigned long long)gap->to.position, gap->to.sub, kept_bytes);
    }
}

void node_feeds_look(struct node_feeds *feeds, struct node *node, int shard, uint64_t applied)
{
    if (feeds == NULL || shard == 0) {
        return;
    }
    struct history_of_shard *history = &feeds->shards[shard];
    struct buffer reply = {0};
    struct feed_answer answer;
    struct gap gap = {0};
    size_t before = history->records.size;
    bool more = true;
    while (more && read_history(node, shard, history->last, &reply, &answer)) {
        bool moves = feed_mark_compare(answer.mark, history->last) > 0;
        more = moves && (answer.more || answer.look == FEED_ANSWER_GONE);
        if (answer.look == FEED_ANSWER_GONE && moves) {
            gap = (struct gap){history->last, answer.mark};
            buffer_append(&history->gaps, &gap, sizeof(gap));
            history->last = answer.mark;
        } else if (answer.look == FEED_ANSWER_HERE) {
            buffer_append_slice(&history->records, answer.records);
            history->last = answer.mark;
        } else if (answer.look == FEED_ANSWER_UNKNOWN) {
            node_fail(feeds->world, "shard %d: node %d has another history than others", shard, node->number + 1);
            more = false;
        }
    }
    check_kept(feeds, node, shard, applied, &gap, history->records.size - before);
    history->applied = applied > history->applied ? applied : history->applied;
    buffer_deinit(&reply);
}

struct digits {
    char bytes[2][NUMBER_INT64_BYTES];
};

static struct slice put_digits(struct digits *digits, int i, int64_t number)
{
    return slice_of(digits->bytes[i], number_format_int64(digits->bytes[i], number));
}

/* The words that a push has for a record of a shard. */
static struct node_told_words words_of(const struct node_world *world, int shard, const struct feed_change *change,
                                       struct digits *digits)
{
    static const char *const kinds[FEED_KINDS] = {"set",    "hset",    "hdel",  "del",    "expired",
                                                  "expire", "persist", "flush", "reload", "stale"};
    struct node_told_words words = {.version = (int64_t)change->mark.position, .count = 2};
    words.words[0] = slice_from_string(kinds[change->kind]);
    words.words[1] = change->key;
    if (change->kind == FEED_HSET || change->kind == FEED_HDEL) {
        words.words[words.count++] = change->field;
    }
    if (change->kind == FEED_SET || change->kind == FEED_HSET) {
        words.words[words.count++] = change->value;
    }
    if (change->kind == FEED_EXPIRE) {
        words.words[words.count++] = put_digits(digits, 0, change->due_ms);
    }
    if (feed_kind_is_of_all(change->kind)) {
        struct slot_range slots = slot_range((uint32_t)shard, (uint32_t)world->profile.groups);
        words.words[words.count++] = put_digits(digits, 0, slots.first);
        words.words[words.count++] = put_digits(digits, 1, slots.last);
    }
    return words;
}

/* ---- the account ---- */

static bool touches_gap(const struct history_of_shard *history, struct feed_mark begin, struct feed_mark end)
{
    const struct gap *gaps = (const struct gap *)(const void *)history->gaps.data;
    for (size_t i = 0; i < history->gaps.size / sizeof(*gaps); i++) {
        if (feed_mark_compare(gaps[i].from, end) < 0 && feed_mark_compare(gaps[i].to, begin) > 0) {
            return true;
        }
    }
    return false;
}

/* The next thing told of this shard, from *at on; NULL. */
static const struct node_told *next_told(const struct node_chain *chain, uint32_t shard, size_t *at)
{
    const struct node_told *told = (const struct node_told *)(const void *)chain->told.data;
    size_t count = chain->told.size / sizeof(*told);
    while (*at < count && told[*at].shard != shard) {
        ++*at;
    }
    return *at < count ? &told[(*at)++] : NULL;
}

static void describe(char *out, size_t size, const struct node_chain *chain, const struct node_told *told)
{
    if (told == NULL) {
        (void)snprintf(out, size, "nothing");
    } else {
        (void)snprintf(out, size, "%.*s at %llu", (int)(told->key_size < 24 ? told->key_size : 24),
                       (const char *)chain->texts.data + told->key_offset, (unsigned long long)told->version);
    }
}

/* Invariant 2. */
static void check_shard(struct node_feeds *feeds, int number, const struct node_chain *chain, int shard)
{
    struct node_world *world = feeds->world;
    const struct history_of_shard *history = &feeds->shards[shard];
    struct slice prefix = node_follower_prefix(feeds->followers[number]);
    struct feed_mark begin = chain->begin[shard - 1];
    struct feed_mark end = chain->end[shard - 1];
    struct slice rest = buffer_slice(&history->records);
    struct feed_change change;
    size_t at = 0;
    if (touches_gap(history, begin, end)) {
        return;
    }
    node_reach(world, NODE_MARK_FEED_CHECKED, 1);
    while (rest.size > 0 && feed_take(&rest, &change)) {
        struct digits digits;
        if (feed_mark_compare(change.mark, begin) <= 0 || feed_mark_compare(change.mark, end) > 0 ||
            !(feed_kind_is_of_all(change.kind) || slice_starts_with(change.key, prefix))) {
            continue;
        }
        struct node_told_words words = words_of(world, shard, &change, &digits);
        const struct node_told *told = next_told(chain, (uint32_t)shard, &at);
        if (told == NULL || told->hash != node_told_hash(&words)) {
            char text[80];
            describe(text, sizeof(text), chain, told);
            node_fail(world, "follower %d, shard %d: told %s instead of %.*s at %llu.%u (of %llu.%u to %llu.%u)",
                      number + 1, shard, text, (int)(change.key.size < 24 ? change.key.size : 24),
                      (const char *)change.key.data, (unsigned long long)change.mark.position, change.mark.sub,
                      (unsigned long long)begin.position, begin.sub, (unsigned long long)end.position, end.sub);
            return;
        }
    }
    const struct node_told *told = next_told(chain, (uint32_t)shard, &at);
    if (told != NULL) {
        char text[80];
        describe(text, sizeof(text), chain, told);
        node_fail(world, "follower %d, shard %d: told %s, which is not in the history", number + 1, shard, text);
    }
}

static struct slice key_of(const struct node_chain *chain, const struct node_told *told)
{
    return slice_of(chain->texts.data + told->key_offset, told->key_size);
}

static struct slice value_of(const struct node_chain *chain, const struct node_told *told)
{
    return slice_of(chain->texts.data + told->value_offset, told->value_size);
}

/* "{tag}a…": clients append words of their own to it, and do nothing else. */
static bool is_text(struct slice key)
{
    const uint8_t *end = memchr(key.data, '}', key.size);
    return end != NULL && end + 1 < key.data + key.size && end[1] == 'a';
}

static const struct node_told *told_before(const struct node_chain *chain, const struct node_told *one)
{
    const struct node_told *first = (const struct node_told *)(const void *)chain->told.data;
    for (const struct node_told *told = one; told-- > first;) {
        if (told->of_all && told->shard == one->shard) {
            return NULL;
        }
        if (slice_equal(key_of(chain, told), key_of(chain, one))) {
            return told;
        }
    }
    return NULL;
}

/* Invariant 3. */
static void check_texts(struct node_feeds *feeds, int number, const struct node_chain *chain)
{
    const struct node_told *told = (const struct node_told *)(const void *)chain->told.data;
    for (size_t i = 0; i < chain->told.size / sizeof(*told); i++) {
        const struct node_told *before =
            told[i].has_value && is_text(key_of(chain, &told[i])) ? told_before(chain, &told[i]) : NULL;
        if (before == NULL || !before->has_value) {
            continue;
        }
        struct slice now = value_of(chain, &told[i]);
        struct slice then = value_of(chain, before);
        if (now.size <= then.size || !slice_starts_with(now, then) || told[i].version <= before->version) {
            struct slice key = key_of(chain, &told[i]);
            node_fail(feeds->world, "follower %d: the text %.*s does not grow: %zu bytes at %llu, %zu at %llu",
                      number + 1, (int)key.size, (const char *)key.data, then.size, (unsigned long long)before->version,
                      now.size, (unsigned long long)told[i].version);
            return;
        }
    }
}

/* Invariant 4. */
static void check_forgotten(struct node_feeds *feeds, int number)
{
    struct node_world *world = feeds->world;
    const struct buffer *forgotten = node_follower_forgotten(feeds->followers[number]);
    struct buffer reply = {0};
    for (size_t at = 0; at < forgotten->size; at += SIM_GROUPS * sizeof(struct feed_mark)) {
        struct feed_mark marks[SIM_GROUPS];
        bool gone = false;
        memcpy(marks, forgotten->data + at, sizeof(marks));
        for (int shard = 1; shard <= world->profile.groups; shard++) {
            for (int i = 0; i < world->profile.members; i++) {
                struct feed_answer answer = {.look = FEED_ANSWER_BAD};
                gone = gone || (node_alive(&world->nodes[i]) &&
                                read_history(&world->nodes[i], shard, marks[shard - 1], &reply, &answer) &&
                                answer.look == FEED_ANSWER_GONE);
            }
        }
        if (!gone) {
            node_fail(world, "follower %d was told that a position is forgotten, and it is not", number + 1);
        }
    }
    buffer_deinit(&reply);
}

/* ---- the end ---- */

static struct node *some_leader(struct node_world *world, int shard)
{
    struct node *leader = NULL;
    for (int i = 0; i < world->profile.members && leader == NULL; i++) {
        struct node_sight sight = {0};
        if (node_alive(&world->nodes[i])) {
            node_look(&world->nodes[i], shard, &sight);
        }
        leader = sight.leading ? &world->nodes[i] : NULL;
    }
    return leader;
}

/* Every follower is at the end of what the leaders have. */
static bool caught_up(struct node_feeds *feeds)
{
    struct node_world *world = feeds->world;
    struct buffer reply = {0};
    bool all = true;
    for (int number = 0; number < NODE_FOLLOWERS && all; number++) {
        struct node_follower *follower = feeds->followers[number];
        size_t chains = node_follower_chains(follower);
        const struct node_chain *chain = chains == 0 ? NULL : node_follower_chain(follower, chains - 1);
        all = chain != NULL;
        for (int shard = 1; shard <= world->profile.groups && all; shard++) {
            struct node *leader = some_leader(world, shard);
            struct feed_answer answer = {.look = FEED_ANSWER_BAD};
            all = leader != NULL && read_history(leader, shard, chain->end[shard - 1], &reply, &answer) &&
                  answer.look == FEED_ANSWER_HERE && answer.records.size == 0;
        }
    }
    buffer_deinit(&reply);
    return all;
}

static void read_value(const struct node *node, int shard, struct slice key, struct buffer *out)
{
    const struct slice argv[] = {SLICE_LITERAL("GET"), key};
    const struct command get = {command_by_id(COMMAND_GET), argv, 2, RESP2};
    buffer_clear(out);
    if (!ask_node(node, shard, &get, out)) {
        buffer_append_string(out, "-");
    }
}

/* Invariant 6, of those that were told of last by their value. */
static void check_values(struct node_feeds *feeds, int number, const struct node_chain *chain)
{
    struct node_world *world = feeds->world;
    const struct node_told *told = (const struct node_told *)(const void *)chain->told.data;
    size_t count = chain->told.size / sizeof(*told);
    struct buffer value = {0};
    struct buffer expected = {0};
    struct buffer keys = {0}; /* of struct slice: seen already */
    bool emptied[SIM_GROUPS + 1] = {false};
    for (size_t i = count; i-- > 0 && keys.size < 200 * sizeof(struct slice);) {
        struct slice key = key_of(chain, &told[i]);
        emptied[told[i].shard] = emptied[told[i].shard] || told[i].of_all;
        bool seen = emptied[told[i].shard];
        for (size_t k = 0; k < keys.size / sizeof(key) && !seen; k++) {
            seen = slice_equal(((const struct slice *)(const void *)keys.data)[k], key);
        }
        struct node *leader = seen ? NULL : some_leader(world, (int)told[i].shard);
        buffer_append(&keys, &key, seen ? 0 : sizeof(key));
        if (leader == NULL || !told[i].has_value) {
            continue;
        }
        read_value(leader, (int)told[i].shard, key, &value);
        buffer_clear(&expected);
        struct resp_writer writer = resp_writer_to(&expected, RESP2);
        resp_bulk(&writer, value_of(chain, &told[i]));
        if (!slice_equal(buffer_slice(&value), buffer_slice(&expected))) {
            node_fail(world, "follower %d: %.*s is not what it was told last, at %llu", number + 1, (int)key.size,
                      (const char *)key.data, (unsigned long long)told[i].version);
        }
    }
    buffer_deinit(&value);
    buffer_deinit(&expected);
    buffer_deinit(&keys);
}

static void settle(struct node_feeds *feeds)
{
    struct node_world *world = feeds->world;
    int node = 0;
    for (int i = 0; i < NODE_FOLLOWERS; i++, node++) {
        while (world->nodes[node % world->profile.members].left_out ||
               world->nodes[node % world->profile.members].wiped) {
            node++;
        }
        node_follower_settle(feeds->followers[i], node % world->profile.members);
    }
}

void node_feeds_finish(struct node_feeds *feeds)
{
    if (feeds == NULL) {
        return;
    }
    struct node_world *world = feeds->world;
    settle(feeds);
    int64_t limit_ns = sim_now_ns(world->sim) + CATCH_UP_MS * MS;
    while (!world->result->failed && !caught_up(feeds)) {
        node_world_run_for(world, STEP_MS * MS);
        if (sim_now_ns(world->sim) > limit_ns) {
            node_fail(world, "%d s after everything healed a follower is not told everything", CATCH_UP_MS / 1000);
        }
    }
    for (int number = 0; number < NODE_FOLLOWERS && !world->result->failed; number++) {
        size_t chains = node_follower_chains(feeds->followers[number]);
        for (size_t i = 0; i < chains && !world->result->failed; i++) {
            const struct node_chain *chain = node_follower_chain(feeds->followers[number], i);
            for (int shard = 1; shard <= world->profile.groups && !world->result->failed; shard++) {
                check_shard(feeds, number, chain, shard);
            }
            check_texts(feeds, number, chain);
        }
        if (!world->result->failed && chains > 0) {
            check_values(feeds, number, node_follower_chain(feeds->followers[number], chains - 1));
            check_forgotten(feeds, number);
        }
    }
}

/* Where a new leader's time begins. One member of a group of three is real; the others are played by hand: first one
 * leads, then the other, then both vote for ours. */
#include "raft/raft_codec.h"
#include "shard/shard.h"
#include "shard/shard_entry.h"
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS INT64_C(1000000)

enum { GROUP = 1, OURS = 2 };

struct played {
    struct sim *sim;
    struct env *env;
    struct store *store;
    struct shard *shard;
    struct buffer sent; /* what ours said and nobody answered yet: size u32, message; … */
    bool answering;
    uint64_t acknowledged; /* by member 1, of our entries */
    int64_t told_ms;       /* the latest time in a heartbeat of ours */
};

static void shard_send(void *owner, uint32_t group, uint64_t to, struct slice head, struct slice tail)
{
    struct played *played = owner;
    uint32_t size = (uint32_t)(head.size + tail.size);
    assert_int_equal(group, GROUP);
    if (played->answering && to == 1) {
        buffer_append(&played->sent, &size, sizeof(size));
        buffer_append_slice(&played->sent, head);
        buffer_append_slice(&played->sent, tail);
    }
}

static struct resp_writer *shard_begin(void *owner, void *origin, uint64_t tag)
{
    (void)owner;
    (void)origin;
    (void)tag;
    return NULL;
}

static void shard_end(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    (void)owner;
    (void)origin;
    (void)tag;
    (void)command;
}

static void failed(void *owner, enum status status, const char *what)
{
    (void)owner;
    fail_msg("%s: %s", what, status_text(status));
}

static void turn(void *owner)
{
    struct played *played = owner;
    if (store_turn(played->store)) {
        env_wake(played->env);
    }
}

static void say(struct played *played, const struct raft_message *message)
{
    struct buffer bytes = {0};
    raft_message_encode(message, &bytes);
    assert_int_equal(shard_receive(played->shard, buffer_slice(&bytes), false), STATUS_OK);
    buffer_deinit(&bytes);
    env_wake(played->env);
}

/* Member 1's answer: yes to everything. */
static bool answer_of(const struct raft_message *asked, uint64_t *acknowledged, struct raft_message *ret_answer)
{
    *ret_answer = (struct raft_message){.from = 1, .to = OURS, .term = asked->term};
    switch (asked->type) {
    case RAFT_PRE_VOTE:
        ret_answer->type = RAFT_PRE_VOTE_REPLY;
        ret_answer->pre_vote_reply.next_term = asked->pre_vote.next_term;
        ret_answer->pre_vote_reply.granted = true;
        return true;
    case RAFT_VOTE:
        ret_answer->type = RAFT_VOTE_REPLY;
        ret_answer->vote_reply.granted = true;
        return true;
    case RAFT_APPEND:
        ret_answer->type = RAFT_APPEND_REPLY;
        ret_answer->append_reply.index = asked->append.prev_index + asked->append.count;
        *acknowledged = ret_answer->append_reply.index;
        return true;
    case RAFT_HEARTBEAT:
        ret_answer->type = RAFT_HEARTBEAT_REPLY;
        ret_answer->heartbeat_reply.sequence = asked->heartbeat.sequence;
        ret_answer->heartbeat_reply.sent_ms = asked->heartbeat.sent_ms;
        ret_answer->heartbeat_reply.matched = *acknowledged;
        ret_answer->heartbeat_reply.durable = *acknowledged;
        return true;
    default: return false;
    }
}

static void run_for(struct played *played, int64_t duration_ns)
{
    static struct raft_entry entries[RAFT_MAXIMUM_APPEND_ENTRIES];
    for (int64_t end_ns = sim_now_ns(played->sim) + duration_ns; sim_now_ns(played->sim) < end_ns;) {
        sim_run_for(played->sim, MS);
        while (played->sent.size > 0) {
            uint32_t size = 0;
            struct raft_message asked, answer;
            memcpy(&size, played->sent.data, sizeof(size));
            struct slice bytes = slice_of(played->sent.data + sizeof(size), size);
            assert_int_equal(raft_message_decode(bytes, entries, &asked), STATUS_OK);
            if (asked.type == RAFT_HEARTBEAT && asked.heartbeat.time.time_ms > played->told_ms) {
                played->told_ms = asked.heartbeat.time.time_ms;
            }
            bool answered = answer_of(&asked, &played->acknowledged, &answer);
            buffer_consume(&played->sent, sizeof(size) + size);
            if (answered) {
                say(played, &answer);
            }
        }
    }
}

static struct played *play(void)
{
    static const uint64_t voters[] = {1, 2, 3};
    static const struct shard_sink sink = {.begin = shard_begin, .end = shard_end, .send = shard_send};
    static const struct store_events events = {failed};
    struct played *played = calloc(1, sizeof(*played));
    assert_non_null(played);
    char message[512];
    played->sim = sim_create(1);
    played->env = sim_node_start(played->sim, 0);
    struct store_options store_options = {"/", 1 << 20, {{{7}}, 0}};
    struct shard_options options = {
        .group = GROUP, .member = OURS, .voters = voters, .voter_count = 3, .directory = "/"};
    assert_int_equal(store_open(played->env, &store_options, &events, played, &played->store, message, sizeof(message)),
                     STATUS_OK);
    assert_int_equal(shard_open(played->store, &options, &sink, played, &played->shard, message, sizeof(message)),
                     STATUS_OK);
    env_set_turn_hook(played->env, turn, played);
    return played;
}

static void play_end(struct played *played)
{
    shard_close(played->shard);
    store_close(played->store);
    buffer_deinit(&played->sent);
    sim_destroy(played->sim);
    free(played);
}

static void append_in(struct played *played, uint64_t from, uint64_t term, uint64_t prev_index, uint64_t prev_term,
                      uint8_t kind, int64_t time_ms, int64_t wall_ms)
{
    uint8_t payload[ENTRY_HEADER_BYTES + 8] = {0};
    entry_header_put(payload, &(struct entry_header){.time_ms = time_ms, .wall_ms = wall_ms});
    struct raft_entry entries[2] = {
        {.index = prev_index + 1, .term = term, .kind = RAFT_ENTRY_NOOP, .version = ENTRY_VERSION},
        {.index = prev_index + 2, .term = term, .kind = kind, .version = ENTRY_VERSION}};
    entries[1].payload = slice_of(payload, kind == ENTRY_GENESIS ? sizeof(payload) : ENTRY_HEADER_BYTES);
    struct raft_message message = {.type = RAFT_APPEND, .from = from, .to = OURS, .term = term};
    message.append.prev_index = prev_index;
    message.append.prev_term = prev_term;
    message.append.entries = entries;
    message.append.count = 2;
    message.append.commit = prev_index + 2;
    say(played, &message);
    run_for(played, 20 * MS);
}

/* Member 1 leads in term 1, 3 in term 2. */
static void append(struct played *played, uint64_t from, uint64_t prev_index, uint64_t prev_term, uint8_t kind,
                   int64_t time_ms)
{
    append_in(played, from, from == 1 ? 1 : 2, prev_index, prev_term, kind, time_ms, time_ms);
}

static void beat(struct played *played, uint64_t from, uint64_t commit, int64_t time_ms)
{
    struct raft_message message = {.type = RAFT_HEARTBEAT, .from = from, .to = OURS, .term = from == 1 ? 1 : 2};
    message.heartbeat.sequence = 1;
    message.heartbeat.commit = commit;
    message.heartbeat.time = (struct raft_time){time_ms, time_ms};
    say(played, &message);
    run_for(played, 20 * MS);
}

/* The shard's time that an entry of our leadership carries. */
static int64_t time_led(struct played *played)
{
    played->answering = true;
    run_for(played, 1500 * MS);
    assert_true(shard_leading(played->shard));
    const struct slice argv[] = {SLICE_LITERAL("SET"), SLICE_LITERAL("k"), SLICE_LITERAL("v")};
    struct command command = {.argv = argv, .argc = 3, .protocol = RESP2};
    struct shard_stats stats;
    assert_int_equal(command_lookup(argv, 3, &command.spec), COMMAND_FOUND);
    assert_int_equal(shard_submit(played->shard, &command, NULL, 1), STATUS_OK);
    env_wake(played->env);
    run_for(played, 100 * MS);
    shard_stats(played->shard, &stats);
    assert_int_equal(stats.machine.keys, 1);
    return stats.machine.time_ms;
}

static void test_time_goes_on_from_the_last_heartbeat(void **state)
{
    (void)state;
    struct played *played = play();
    append(played, 1, 0, 0, ENTRY_GENESIS, 10);
    beat(played, 1, 2, 5000);
    int64_t time_ms = time_led(played);
    assert_in_range(time_ms, 5000, 7000);
    play_end(played);
}

/* Member 3 was away while member 1 led: its time is behind. What it promises by that, nobody may cut short. */
static void test_time_heard_from_an_earlier_leader_is_void(void **state)
{
    (void)state;
    struct played *played = play();
    append(played, 1, 0, 0, ENTRY_GENESIS, 10);
    beat(played, 1, 2, 5000);
    append(played, 3, 2, 1, ENTRY_TIME, 100);
    int64_t time_ms = time_led(played);
    assert_in_range(time_ms, 100, 1900);
    play_end(played);
}

/* What it told as a leader before means nothing when it is elected again: another led in between. */
static void test_a_leader_elected_again_tells_no_old_time(void **state)
{
    (void)state;
    struct played *played = play();
    append(played, 1, 0, 0, ENTRY_GENESIS, 10);
    (void)time_led(played);
    run_for(played, 5000 * MS);
    assert_true(played->told_ms > 5000);
    struct shard_stats stats;
    uint64_t leader = 0;
    uint64_t term = 0;
    shard_stats(played->shard, &stats);
    shard_leader(played->shard, &leader, &term);
    append_in(played, 3, term + 1, stats.last_index, term, ENTRY_TIME, stats.machine.time_ms + 10,
              stats.machine.wall_ms + 10);
    assert_false(shard_leading(played->shard));
    played->told_ms = 0;
    for (int i = 0; i < 2000 && !shard_leading(played->shard); i++) {
        run_for(played, MS);
    }
    assert_true(shard_leading(played->shard));
    assert_in_range(played->told_ms, 0, stats.machine.time_ms + 1500);
    play_end(played);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time_goes_on_from_the_last_heartbeat),
        cmocka_unit_test(test_time_heard_from_an_earlier_leader_is_void),
        cmocka_unit_test(test_a_leader_elected_again_tells_no_old_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What is told of the time of sessions, keys and locks by a leader that asks the others first: what remains by its
 * clock at that moment, not since the last entry, which may be older than the client's question. */
#include "group_fixture.h"

#include "base/number.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TTL_MS = 3000, OF_OPEN = 1, OF_LOOK = 2, OF_WRITE = 3, OF_TELL = 4 };

struct world {
    struct group group; /* the first */
    char number[NUMBER_INT64_BYTES];
    int64_t left_ms;
    bool opened, looked;
};

static void sink_end(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    struct group_member *member = owner;
    struct world *world = (struct world *)member->group;
    (void)origin;
    (void)command;
    buffer_append(&member->reply, "", 1);
    const char *text = (const char *)member->reply.data;
    if (tag == OF_WRITE) {
        return;
    }
    if (tag == OF_TELL) { /* PTTL's, or the ttl_ms of the only holder */
        const char *at = text[0] == ':' ? text : strstr(strstr(text, "ttl_ms"), ":");
        world->left_ms = strtoll(at + 1, NULL, 10);
        world->looked = true;
        return;
    }
    if (tag == OF_LOOK) {
        assert_int_equal(text[0], ':');
        world->left_ms = strtoll(text + 1, NULL, 10);
        world->looked = true;
        return;
    }
    const char *dash = strchr(text, '-');
    assert_true(text[0] == '$' && dash != NULL);
    (void)number_format_uint64(world->number, strtoull(dash + 1, NULL, 16));
    world->opened = true;
}

static void failed(void *owner, void *origin, uint64_t tag, enum status status)
{
    (void)owner;
    (void)origin;
    fail_msg("%d: %s", (int)tag, status_text(status));
}

static void submit(struct world *world, uint16_t id, const struct slice *argv, uint32_t argc, uint64_t tag)
{
    struct group_member *leader = group_leader(&world->group);
    const struct command command = {command_by_id(id), argv, argc, RESP2};
    assert_non_null(leader);
    assert_int_equal(shard_submit(leader->shard, &command, NULL, tag), STATUS_OK);
    env_wake(leader->env);
    group_run_for(&world->group, 100 * MS, false);
}

static int64_t look(struct world *world)
{
    const struct slice argv[] = {SLICE_LITERAL("COHORT.SESSION.LOOK"), slice_from_string(world->number)};
    world->looked = false;
    submit(world, COMMAND_COHORT_SESSION_LOOK, argv, 2, OF_LOOK);
    assert_true(world->looked);
    return world->left_ms;
}

static void test_what_remains_is_told_by_the_clock(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    const struct shard_sink sink = {.begin = group_begin, .end = sink_end, .refused = failed};
    const struct slice argv[] = {SLICE_LITERAL("COHORT.SESSION.OPEN"), SLICE_LITERAL("1"), SLICE_LITERAL("3000")};
    (void)state;
    world->group.sink = sink;
    group_start(&world->group, 1);
    group_run_for(&world->group, 3000 * MS, false);
    submit(world, COMMAND_COHORT_SESSION_OPEN, argv, 3, OF_OPEN);
    assert_true(world->opened);
    int64_t opened_ns = sim_now_ns(world->group.sim); /* at the latest */
    int64_t last_ms = TTL_MS;
    for (int i = 0; i < 40 && last_ms > 0; i++) {
        int64_t asked_ms = (sim_now_ns(world->group.sim) - opened_ns) / MS;
        int64_t left_ms = look(world);
        assert_true(left_ms >= -1 && left_ms < last_ms && left_ms <= TTL_MS - asked_ms);
        last_ms = left_ms;
    }
    group_run_for(&world->group, 1000 * MS, false);
    assert_int_equal(look(world), 0);
    (void)group_end(&world->group);
    free(world);
}

static int64_t tell(struct world *world, uint16_t id, const char *word)
{
    const struct slice argv[] = {slice_from_string(word), SLICE_LITERAL("it")};
    world->looked = false;
    submit(world, id, argv, 2, OF_TELL);
    assert_true(world->looked);
    return world->left_ms;
}

/* No entry comes for a second: what remains grows less all the same. */
static void test_what_remains_of_keys_and_locks(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    const struct shard_sink sink = {.begin = group_begin, .end = sink_end, .refused = failed};
    const struct slice set[] = {SLICE_LITERAL("SET"), SLICE_LITERAL("it"), SLICE_LITERAL("v"), SLICE_LITERAL("PX"),
                                SLICE_LITERAL("3000")};
    const struct slice acquire[] = {SLICE_LITERAL("LOCK.ACQUIRE"), SLICE_LITERAL("it"), SLICE_LITERAL("a"),
                                    SLICE_LITERAL("PX"), SLICE_LITERAL("3000")};
    (void)state;
    world->group.sink = sink;
    group_start(&world->group, 1);
    group_run_for(&world->group, 3000 * MS, false);
    submit(world, COMMAND_SET, set, 5, OF_WRITE);
    submit(world, COMMAND_LOCK_ACQUIRE, acquire, 5, OF_WRITE);
    int64_t written_ns = sim_now_ns(world->group.sim); /* at the latest */
    int64_t key_ms = TTL_MS;
    int64_t lock_ms = TTL_MS;
    for (int i = 0; i < 12; i++) {
        int64_t asked_ms = (sim_now_ns(world->group.sim) - written_ns) / MS;
        int64_t key_left_ms = tell(world, COMMAND_PTTL, "PTTL");
        int64_t lock_left_ms = tell(world, COMMAND_LOCK_INFO, "LOCK.INFO");
        assert_true(key_left_ms >= 0 && key_left_ms < key_ms && key_left_ms <= TTL_MS - asked_ms);
        assert_true(lock_left_ms >= 0 && lock_left_ms < lock_ms && lock_left_ms <= TTL_MS - asked_ms);
        key_ms = key_left_ms;
        lock_ms = lock_left_ms;
    }
    (void)group_end(&world->group);
    free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_remains_is_told_by_the_clock),
                                       cmocka_unit_test(test_what_remains_of_keys_and_locks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

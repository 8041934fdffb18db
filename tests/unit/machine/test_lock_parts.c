/* Parts of LOCK.MACQUIREs, by the rules of src/machine/lock/lock_parts.h: reserved, granted, settled, kept in
 * snapshots.
 *
 * usage: test_lock_parts [back-blind|back-half]: with this known bug, where it can be switched on: it must be seen */
#include "base/buffer.h"
#include "base/prng.h"
#include "base/varint.h"
#include "machine/lock/lock_limits.h"
#include "machine/lock/lock_notice.h"
#include "machine/lock/lock_parts.h"
#include "machine/machine_mutation.h"
#include "machine/session/ties.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    struct locks locks;
    struct lock_now now;
};

static struct slice text(const char *words) { return slice_from_string(words); }

static void begin(struct world *world)
{
    *world = (struct world){.now = {1000, 0}};
    locks_init(&world->locks, 1);
    world->locks.tell = true;
}

static void pass(struct world *world, int64_t ms)
{
    world->now.time_ms += ms;
    world->now.position += 3;
    (void)locks_expire(&world->locks, &world->now, 1000);
}

static struct lock_origin origin(uint64_t number) { return (struct lock_origin){1, 1, 7, number}; }

/* A part of request `number`; home: "" when it is here. */
static enum lock_outcome reserve(struct world *world, const char *key, const char *owner, uint64_t number,
                                 const char *home, int64_t wait_ms)
{
    const struct lock_part_ask ask = {text(home), wait_ms + LOCK_PART_KEEP_MS};
    const struct lock_request request = {
        .key = text(key),
        .owner = text(owner),
        .mode = LOCK_EXCLUSIVE,
        .permits = 1,
        .ttl_ms = 500,
        .wait_ms = wait_ms,
        .origin = origin(number),
        .part = &ask,
    };
    struct lock_answer answer = {0};
    world->now.position += 3;
    return locks_acquire(&world->locks, &request, &world->now, &answer);
}

static enum lock_outcome acquire(struct world *world, const char *key, const char *owner, int64_t wait_ms,
                                 uint64_t *ret_token)
{
    const struct lock_request request = {
        .key = text(key),
        .owner = text(owner),
        .mode = LOCK_EXCLUSIVE,
        .permits = 1,
        .ttl_ms = 500,
        .wait_ms = wait_ms,
        .origin = origin(900),
    };
    struct lock_answer answer = {0};
    world->now.position += 3;
    enum lock_outcome outcome = locks_acquire(&world->locks, &request, &world->now, &answer);
    *ret_token = answer.token;
    return outcome;
}

static bool grant(struct world *world, const char *const *keys, uint32_t count, const char *owner, uint64_t number,
                  struct lock_answer *ret_answers)
{
    struct slice names[LOCK_PARTS];
    struct lock_origin from = origin(number);
    for (uint32_t i = 0; i < count; i++) {
        names[i] = text(keys[i]);
    }
    world->now.position += 3;
    return locks_grant_parts(&world->locks, names, count, text(owner), &from, &world->now, ret_answers);
}

static bool settle(struct world *world, const char *key, const char *owner, uint64_t number)
{
    struct lock_origin from = origin(number);
    return locks_settle(&world->locks, text(key), text(owner), &from, &world->now);
}

static void take_back(struct world *world, const char *key, const char *owner, uint64_t number)
{
    struct lock_origin from = origin(number);
    locks_take_back(&world->locks, text(key), text(owner), &from, &world->now);
}

/* 'f'ree, 'r'eserved or 'h'eld, and by whom. */
static const char *shown(const struct world *world, const char *key)
{
    static char out[64];
    struct lock_exclusive look;
    locks_look(&world->locks, text(key), &look);
    (void)snprintf(out, sizeof(out), "%c %.*s",
                   look.owner.size == 0 ? 'f'
                   : look.reserved      ? 'r'
                                        : 'h',
                   (int)look.owner.size, (const char *)look.owner.data);
    return out;
}

static enum lock_notice_kind next_notice(struct world *world)
{
    struct slice rest = buffer_slice(&world->locks.notices);
    struct lock_notice notice = {.kind = LOCK_NOTICES};
    size_t before = rest.size;
    if (lock_notice_take(&rest, &notice)) {
        buffer_consume(&world->locks.notices, before - rest.size);
    }
    return notice.kind;
}

static void end(struct world *world)
{
    assert_null(locks_problem(&world->locks));
    locks_deinit(&world->locks);
}

/* The same state, made of the records of a snapshot. */
static void load_beside(struct world *from, struct locks *ret_locks, struct ties *ties)
{
    struct buffer out;
    buffer_init(&out);
    locks_init(ret_locks, 2);
    ret_locks->ties = ties;
    snapshot_walk_begin(&from->locks.walk);
    while (snapshot_walk_step(&from->locks.walk, &out, 64)) {
    }
    snapshot_walk_end(&from->locks.walk);
    struct slice rest = buffer_slice(&out);
    while (rest.size > 0) {
        uint64_t size;
        assert_true(varint_take(&rest, &size) && size <= rest.size);
        assert_true(snapshot_walk_has(&ret_locks->walk, slice_of(rest.data, size)));
        assert_int_equal(snapshot_walk_load(&ret_locks->walk, slice_of(rest.data, size)), STATUS_OK);
        rest = slice_of(rest.data + size, rest.size - size);
    }
    buffer_deinit(&out);
}

static void load(struct world *from, struct locks *ret_locks) { load_beside(from, ret_locks, NULL); }

static uint64_t digest(const struct locks *locks) { return snapshot_walk_digest(&locks->walk); }

/* ---- the rules ---- */

static void test_reserved_holds_nothing(void **state)
{
    struct world world;
    struct lock_answer answers[2];
    static const char *const keys[] = {"a", "b"};
    uint64_t token;
    (void)state;
    begin(&world);
    assert_int_equal(reserve(&world, "a", "o", 64, "", 0), LOCK_RESERVED);
    assert_int_equal(reserve(&world, "a", "o", 64, "", 0), LOCK_RESERVED); /* said again */
    assert_string_equal(shown(&world, "a"), "r o");
    assert_false(grant(&world, keys, 2, "o", 64, answers)); /* one is not there: none is granted */
    assert_string_equal(shown(&world, "a"), "r o");
    assert_int_equal(reserve(&world, "b", "o", 64, "", 0), LOCK_RESERVED);
    assert_int_equal(acquire(&world, "b", "other", 0, &token), LOCK_HELD_BY_OTHERS);
    assert_int_equal(acquire(&world, "b", "o", 0, &token), LOCK_IS_PART);
    assert_int_equal(reserve(&world, "b", "o", 128, "", 0), LOCK_OTHER_REQUEST);
    pass(&world, 300);
    assert_true(grant(&world, keys, 2, "o", 64, answers));
    assert_int_equal(answers[0].ttl_ms, 500); /* it starts now */
    assert_true(answers[1].token > answers[0].token);
    assert_string_equal(shown(&world, "b"), "h o");
    uint64_t first = answers[0].token;
    pass(&world, 100);
    assert_true(grant(&world, keys, 2, "o", 64, answers)); /* said again: the same */
    assert_int_equal(answers[0].token, first);
    assert_int_equal(answers[0].ttl_ms, 400);
    assert_int_equal(reserve(&world, "a", "o", 128, "", 0), LOCK_GRANTED); /* asked again by its owner */
    assert_true(locks_held(&world.locks, text("a"), first, world.now.time_ms));
    pass(&world, 401);
    assert_string_equal(shown(&world, "a"), "f ");
    assert_false(grant(&world, keys, 2, "o", 64, answers));
    end(&world);
}

static void test_parts_wait_their_turn(void **state)
{
    struct world world;
    struct lock_answer answers[1];
    static const char *const keys[] = {"a"};
    uint64_t token, later;
    (void)state;
    begin(&world);
    assert_int_equal(acquire(&world, "a", "x", 0, &token), LOCK_GRANTED);
    assert_int_equal(reserve(&world, "a", "o", 64, "", 0), LOCK_HELD_BY_OTHERS);
    assert_int_equal(reserve(&world, "a", "o", 64, "", 2000), LOCK_QUEUED);
    assert_int_equal(reserve(&world, "a", "o", 64, "", 2000), LOCK_QUEUED);
    assert_int_equal(acquire(&world, "a", "y", 9000, &later), LOCK_QUEUED);
    assert_true(locks_release(&world.locks, text("a"), text("x"), token, text(""), &world.now));
    assert_string_equal(shown(&world, "a"), "r o");
    assert_int_equal(next_notice(&world), LOCK_NOTICE_RESERVED);
    assert_true(grant(&world, keys, 1, "o", 64, answers));
    take_back(&world, "a", "o", 64);
    assert_string_equal(shown(&world, "a"), "h y");
    assert_int_equal(next_notice(&world), LOCK_NOTICE_GRANTED);
    /* a wait that ends */
    assert_int_equal(reserve(&world, "a", "o", 128, "", 100), LOCK_QUEUED);
    pass(&world, 100);
    assert_int_equal(next_notice(&world), LOCK_NOTICE_ENDED);
    end(&world);
}

static void test_who_ends_alone(void **state)
{
    struct world world;
    (void)state;
    begin(&world);
    assert_int_equal(reserve(&world, "a", "o", 64, "", 0), LOCK_RESERVED);     /* at home */
    assert_int_equal(reserve(&world, "b", "o", 64, "home", 0), LOCK_RESERVED); /* elsewhere */
    pass(&world, LOCK_PART_KEEP_MS);
    assert_string_equal(shown(&world, "a"), "f ");
    assert_string_equal(shown(&world, "b"), "r o");
    pass(&world, LOCK_TIME_MS);
    assert_string_equal(shown(&world, "b"), "r o");
    const struct lock_part *part = locks_next_reserved(&world.locks, NULL);
    struct slice key, owner;
    struct lock_origin from;
    lock_part_names(part, &key, &owner, &from);
    assert_true(slice_equal(key, text("b")) && slice_equal(lock_part_home(part), text("home")));
    assert_int_equal(part->deadline_ms, LOCK_PART_KEEP_MS);
    assert_null(locks_next_reserved(&world.locks, part));
    take_back(&world, "b", "o", 63); /* another request */
    assert_string_equal(shown(&world, "b"), "r o");
    take_back(&world, "b", "o", 64);
    assert_string_equal(shown(&world, "b"), "f ");
    assert_null(locks_next_reserved(&world.locks, NULL));
    end(&world);
}

static void test_home_decides_once(void **state)
{
    struct world world;
    struct lock_answer answers[1];
    static const char *const keys[] = {"a"};
    (void)state;
    begin(&world);
    assert_int_equal(reserve(&world, "a", "o", 640, "", 0), LOCK_RESERVED);
    assert_false(settle(&world, "a", "o", 640)); /* not granted, and never will be */
    assert_string_equal(shown(&world, "a"), "f ");
    assert_false(grant(&world, keys, 1, "o", 640, answers));
    assert_int_equal(reserve(&world, "a", "o", 640, "", 0), LOCK_NUMBER_REFUSED);
    assert_int_equal(reserve(&world, "a", "o", 576, "", 0), LOCK_NUMBER_REFUSED); /* of the same worker, earlier */
    assert_int_equal(reserve(&world, "a", "o", 577, "", 0), LOCK_RESERVED);       /* another worker's */
    take_back(&world, "a", "o", 577);
    assert_int_equal(reserve(&world, "a", "o", 704, "", 0), LOCK_RESERVED); /* later */
    assert_true(grant(&world, keys, 1, "o", 704, answers));
    assert_true(settle(&world, "a", "o", 704));
    assert_true(settle(&world, "a", "o", 704));
    assert_string_equal(shown(&world, "a"), "h o");
    assert_false(settle(&world, "never", "o", 768)); /* asked before anything came: what comes later is refused */
    assert_int_equal(reserve(&world, "never", "o", 768, "", 0), LOCK_NUMBER_REFUSED);
    end(&world);
}

static bool take_back_all(struct world *world, const char *const *keys, uint32_t count, uint64_t number)
{
    struct slice names[LOCK_PARTS];
    struct lock_origin from = origin(number);
    for (uint32_t i = 0; i < count; i++) {
        names[i] = text(keys[i]);
    }
    return locks_take_back_parts(&world->locks, names, count, text("o"), &from, &world->now);
}

/* The owner has asked again from elsewhere: what it was told of stays, and the outcome is what it was. */
static void test_told_to_another_request(void **state)
{
    struct world world;
    struct lock_answer answers[2];
    static const char *const keys[] = {"a", "b"};
    uint64_t token;
    (void)state;
    begin(&world);
    assert_int_equal(reserve(&world, "a", "o", 64, "", 0), LOCK_RESERVED);
    assert_true(grant(&world, keys, 1, "o", 64, answers));
    assert_int_equal(acquire(&world, "a", "o", 0, &token), LOCK_GRANTED);
    assert_true(settle(&world, "a", "o", 64)); /* it was granted, whoever was told */
    assert_true(grant(&world, keys, 1, "o", 64, answers));
    assert_int_equal(answers[0].token, token);
    assert_false(take_back_all(&world, keys, 1, 64));
    assert_string_equal(shown(&world, "a"), "h o");
    /* of two parts that one which somebody was told of */
    assert_int_equal(reserve(&world, "b", "o", 64, "", 0), LOCK_RESERVED);
    assert_true(grant(&world, keys, 2, "o", 64, answers));
    assert_true(take_back_all(&world, keys, 2, 64));
    assert_string_equal(shown(&world, "a"), "h o");
    assert_string_equal(shown(&world, "b"), "f ");
    end(&world);
}

/* A later LOCK.MACQUIRE of the owner finds them held: they are its own when it is granted them, not before. */
static void test_granted_to_a_later_request_too(void **state)
{
    struct world world;
    struct lock_answer answers[2];
    static const char *const keys[] = {"a", "b"};
    (void)state;
    begin(&world);
    for (uint64_t number = 64; number <= 192; number += 128) {
        assert_int_equal(reserve(&world, "a", "o", number, "", 0), LOCK_RESERVED);
        assert_int_equal(reserve(&world, "b", "o", number, "", 0), LOCK_RESERVED);
        assert_true(grant(&world, keys, 2, "o", number, answers));
        assert_int_equal(reserve(&world, "a", "o", number + 64, "", 0), LOCK_GRANTED);
        uint64_t first = answers[0].token;
        if (number == 64) {
            assert_true(take_back_all(&world, keys, 2, number));
            assert_string_equal(shown(&world, "a"), "f ");
            assert_false(grant(&world, keys, 2, "o", number + 64, answers));
            continue;
        }
        assert_true(grant(&world, keys, 2, "o", number + 64, answers));
        assert_int_equal(answers[0].token, first);
        assert_false(take_back_all(&world, keys, 2, number));
        assert_true(take_back_all(&world, keys, 2, number + 64)); /* none is of this one */
        assert_string_equal(shown(&world, "b"), "h o");
    }
    end(&world);
}

/* What is reserved ends with its session, as what is held and waited for does; and its owner's node hears of it. */
static void test_ends_with_a_session(void **state)
{
    struct world world;
    struct ties ties;
    struct locks loaded;
    struct lock_answer answers[1];
    static const char *const keys[] = {"a"};
    const struct lock_part_ask elsewhere = {text("home"), LOCK_PART_KEEP_MS};
    uint64_t token;
    (void)state;
    begin(&world);
    ties_init(&ties, 3);
    world.locks.ties = &ties;
    struct tie *tie = ties_ask(&ties, (struct session_id){1, 9}, 0);
    assert_true(ties_confirm(&ties, (struct session_id){1, 9}, tie->ordinal));
    const struct lock_part_ask here = {text(""), LOCK_PART_KEEP_MS};
    struct lock_request request = {.owner = text("o"),
                                   .mode = LOCK_EXCLUSIVE,
                                   .permits = 1,
                                   .ttl_ms = 800,
                                   .wait_ms = 900,
                                   .origin = origin(64),
                                   .tie = tie,
                                   .part = &here};
    request.key = text("a");
    assert_int_equal(locks_acquire(&world.locks, &request, &world.now, answers), LOCK_RESERVED);
    assert_true(grant(&world, keys, 1, "o", 64, answers));
    assert_int_equal(answers[0].ttl_ms, 800);
    assert_int_equal(locks_acquire(&world.locks, &request, &world.now, answers), LOCK_GRANTED); /* asked again */
    request.tie = NULL;
    assert_int_equal(locks_acquire(&world.locks, &request, &world.now, answers), LOCK_IS_HELD_OTHERWISE);
    request.tie = tie;
    request.part = &elsewhere;
    request.key = text("b");
    assert_int_equal(locks_acquire(&world.locks, &request, &world.now, answers), LOCK_RESERVED);
    assert_int_equal(acquire(&world, "c", "x", 0, &token), LOCK_GRANTED);
    request.key = text("c");
    assert_int_equal(locks_acquire(&world.locks, &request, &world.now, answers), LOCK_QUEUED);
    assert_int_equal(tie->claim_count, 3);
    struct ties loaded_ties;
    ties_init(&loaded_ties, 4);
    load_beside(&world, &loaded, &loaded_ties);
    assert_true(digest(&loaded) == digest(&world.locks));
    locks_deinit(&loaded);
    ties_deinit(&loaded_ties);
    pass(&world, 300);
    buffer_clear(&world.locks.notices);
    tie_end(&ties, tie);
    assert_int_equal(locks_end_tied(&world.locks, tie, 10, &world.now), 3);
    assert_string_equal(shown(&world, "a"), "f ");
    assert_string_equal(shown(&world, "b"), "f ");
    assert_int_equal(next_notice(&world), LOCK_NOTICE_LOST);
    assert_int_equal(next_notice(&world), LOCK_NOTICE_OVER);
    assert_int_equal(next_notice(&world), LOCK_NOTICE_OVER);
    assert_false(settle(&world, "a", "o", 64));
    end(&world);
    ties_deinit(&ties);
}

/* More workers than are remembered: the ones that were refused longest ago are forgotten. */
static void test_refusals_are_bounded(void **state)
{
    struct world world;
    (void)state;
    begin(&world);
    for (uint64_t node = 1; node <= LOCK_REFUSED_WORKERS + 10; node++) {
        struct lock_origin from = {node, 1, 7, 64};
        assert_false(locks_settle(&world.locks, text("a"), text("o"), &from, &world.now));
    }
    assert_int_equal(world.locks.refused_count, LOCK_REFUSED_WORKERS);
    assert_int_equal(world.locks.refused[0].node, 11);
    end(&world);
}

/* ---- snapshots ---- */

static void test_kept_in_snapshots(void **state)
{
    struct world world;
    struct locks loaded;
    struct lock_answer answers[2];
    static const char *const keys[] = {"a", "b"};
    uint64_t token;
    (void)state;
    begin(&world);
    assert_int_equal(acquire(&world, "c", "x", 0, &token), LOCK_GRANTED);
    assert_int_equal(reserve(&world, "a", "o", 64, "", 0), LOCK_RESERVED);
    assert_int_equal(reserve(&world, "b", "o", 64, "home", 0), LOCK_RESERVED);
    assert_int_equal(reserve(&world, "c", "o", 64, "home", 100), LOCK_QUEUED);
    assert_false(settle(&world, "d", "o", 65));
    load(&world, &loaded);
    assert_null(locks_problem(&loaded));
    assert_true(digest(&loaded) == digest(&world.locks));
    assert_int_equal(loaded.memory_bytes, world.locks.memory_bytes);
    locks_deinit(&loaded);
    struct world second = {.now = world.now};
    load(&world, &second.locks);
    assert_true(grant(&second, keys, 2, "o", 64, answers));
    assert_int_equal(reserve(&second, "a", "o", 63, "", 0), LOCK_GRANTED);
    assert_null(locks_problem(&second.locks));
    locks_deinit(&second.locks);
    end(&world);
}

/* At random: a state made anew from snapshots stays equal to one that was not. */
static void test_random(void **state)
{
    (void)state;
    for (uint64_t run = 0; run < 60; run++) {
        struct world worlds[2];
        struct prng prng;
        prng_seed(&prng, run);
        begin(&worlds[0]);
        begin(&worlds[1]);
        for (int step = 0; step < 300; step++) {
            char key[4] = {'k', (char)('0' + prng_below(&prng, 5)), 0, 0};
            char owner[4] = {'o', (char)('0' + prng_below(&prng, 4)), 0, 0};
            uint64_t number = 64 * (1 + prng_below(&prng, 40)) + prng_below(&prng, 2);
            const char *home = prng_below(&prng, 2) == 0 ? "" : "home";
            int64_t wait_ms = prng_below(&prng, 2) == 0 ? 0 : (int64_t)prng_below(&prng, 400);
            int64_t ms = (int64_t)prng_below(&prng, 300);
            uint64_t what = prng_below(&prng, 7);
            for (int i = 0; i < 2; i++) {
                struct world *world = &worlds[i];
                const char *const keys[] = {key};
                struct lock_answer answer;
                uint64_t token;
                switch (what) {
                case 0:
                case 1: (void)reserve(world, key, owner, number, home, wait_ms); break;
                case 2: (void)grant(world, keys, 1, owner, number, &answer); break;
                case 3: take_back(world, key, owner, number); break;
                case 4: (void)acquire(world, key, owner, wait_ms, &token); break;
                case 5: pass(world, ms); break;
                default: (void)settle(world, key, owner, number); break;
                }
                assert_null(locks_problem(&world->locks));
            }
            if (prng_below(&prng, 30) == 0) {
                struct world *made = calloc(1, sizeof(*made));
                load(&worlds[1], &made->locks);
                assert_true(digest(&made->locks) == digest(&worlds[0].locks));
                locks_deinit(&made->locks);
                free(made);
            }
        }
        assert_true(digest(&worlds[1].locks) == digest(&worlds[0].locks));
        locks_deinit(&worlds[0].locks);
        end(&worlds[1]);
    }
}

/* Records that nobody wrote are refused, and what was there stays sound. */
static void test_malformed_records(void **state)
{
    struct world world;
    struct prng prng;
    (void)state;
    begin(&world);
    prng_seed(&prng, 3);
    assert_int_equal(reserve(&world, "a", "o", 64, "", 0), LOCK_RESERVED);
    for (int run = 0; run < 20000; run++) {
        uint8_t record[12];
        for (size_t i = 0; i < sizeof(record); i++) {
            record[i] = (uint8_t)prng_below(&prng, 4);
        }
        record[0] = prng_below(&prng, 2) == 0 ? 'Q' : 'q';
        record[1] = 1;
        if (snapshot_walk_load(&world.locks.walk, slice_of(record, 2 + prng_below(&prng, 11))) == STATUS_OK) {
            free(world.locks.refused);
            world.locks.refused = NULL;
            world.locks.refused_count = 0;
        }
        assert_null(locks_problem(&world.locks));
    }
    end(&world);
}

#ifdef COHORT_MUTATIONS
static int run_mutated(const char *name)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_told_to_another_request)};
    machine_mutate(strcmp(name, "back-blind") == 0 ? MACHINE_MUTATION_BACK_BLIND : MACHINE_MUTATION_BACK_HALF);
    int failed = cmocka_run_group_tests_name(name, tests, NULL, NULL);
    (void)fflush(NULL);
    _exit(failed == 1 ? 0
                      : 1); /* it failed in its middle, and so left memory behind, which a sanitizer would tell of */
}
#endif

int main(int argc, char **argv)
{
#ifdef COHORT_MUTATIONS
    if (argc > 1) {
        return run_mutated(argv[1]);
    }
#endif
    (void)argc;
    (void)argv;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reserved_holds_nothing),  cmocka_unit_test(test_parts_wait_their_turn),
        cmocka_unit_test(test_who_ends_alone),          cmocka_unit_test(test_home_decides_once),
        cmocka_unit_test(test_told_to_another_request), cmocka_unit_test(test_granted_to_a_later_request_too),
        cmocka_unit_test(test_ends_with_a_session),     cmocka_unit_test(test_refusals_are_bounded),
        cmocka_unit_test(test_kept_in_snapshots),       cmocka_unit_test(test_random),
        cmocka_unit_test(test_malformed_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

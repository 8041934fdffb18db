/* Owners that wait for each other: circles and knots by hand, and random crowds against a plain model. */
#include "lock_crowd.h"

#include "base/prng.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { RUNS = 10000 };

/* ---- by hand ---- */

static struct told look(const struct crowd *crowd) { return crowd_look(crowd, crowd); }

#define X LOCK_EXCLUSIVE, 1
#define S LOCK_SHARED, 1
#define P(n) LOCK_PERMITS_MODE, n

static void test_circle_of_three(void **state)
{
    struct crowd crowd = {.clock = 0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        crowd_ask(&crowd, i, i, X);
    }
    crowd_ask(&crowd, 1, 2, X);
    crowd_ask(&crowd, 2, 0, X);
    assert_int_equal(look(&crowd).count, 0);
    crowd_ask(&crowd, 0, 1, X); /* closes it, and is the youngest */
    crowd_ask(&crowd, 5, 1, X); /* behind it: left alone */
    struct told told = look(&crowd);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.numbers[0], 6 * 64);
    assert_string_equal(told.text,
                        "DEADLOCK o0 waits for lock l1 held by o1, o1 waits for lock l2 held by o2, o2 waits for "
                        "lock l0 held by o0; this wait has ended: release what its owner holds, then try again");
}

static void test_a_semaphore_is_a_knot(void **state)
{
    struct crowd crowd = {.clock = 0, .limits = {[0] = 2}};
    (void)state;
    crowd_ask(&crowd, 0, 0, P(1));
    crowd_ask(&crowd, 1, 0, P(1));
    crowd_ask(&crowd, 2, 1, X);
    crowd_ask(&crowd, 2, 0, P(1));
    crowd_ask(&crowd, 0, 1, X); /* a circle of 0 and 2; but 1 can go on, and makes room */
    assert_int_equal(look(&crowd).count, 0);
    crowd_ask(&crowd, 1, 1, X);
    struct told told = look(&crowd);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.numbers[0], 6 * 64);
}

static void test_large_requests_of_a_semaphore(void **state)
{
    struct crowd crowd = {.clock = 0, .limits = {[0] = 3, [1] = 3}};
    (void)state;
    crowd_ask(&crowd, 0, 0, P(2));
    crowd_ask(&crowd, 1, 1, P(2));
    crowd_ask(&crowd, 0, 1, P(1)); /* fits */
    crowd_ask(&crowd, 1, 0, P(2));
    crowd_ask(&crowd, 2, 0, P(1)); /* behind a large one, that can be granted one day */
    assert_int_equal(look(&crowd).count, 0);
    crowd_ask(&crowd, 0, 2, X);
    crowd_ask(&crowd, 3, 2, X);
    crowd_ask(&crowd, 3, 1, P(3));
    assert_int_equal(look(&crowd).count, 0);
}

static void test_shared_locks(void **state)
{
    struct crowd crowd = {.clock = 0};
    (void)state;
    crowd_ask(&crowd, 0, 0, S);
    crowd_ask(&crowd, 1, 0, S);
    crowd_ask(&crowd, 2, 1, X);
    crowd_ask(&crowd, 2, 0, X);
    assert_int_equal(look(&crowd).count, 0);
    crowd_ask(&crowd, 1, 1, S); /* one of two who share is enough */
    struct told told = look(&crowd);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.numbers[0], 5 * 64);
    assert_non_null(strstr(told.text, "o1 waits for lock l1 held by o2, o2 waits for lock l0 held by o1;"));
}

/* Who waits behind another waits for it, too. */
static void test_behind_in_the_queue(void **state)
{
    struct crowd crowd = {.clock = 0};
    (void)state;
    crowd_ask(&crowd, 0, 0, S);
    crowd_ask(&crowd, 1, 1, X);
    crowd_ask(&crowd, 2, 0, X); /* behind 0, who is well */
    crowd_ask(&crowd, 1, 0, S); /* would fit beside 0 */
    crowd_ask(&crowd, 2, 1, X);
    struct told told = look(&crowd);
    assert_int_equal(told.count, 1);
    assert_non_null(strstr(told.text, "o1 waits for lock l0 behind o2"));
}

/* Asked at a node whose clock is ahead: it has nothing, others of the circle only stand behind it. */
static void test_a_place_in_the_queue_is_no_reason(void **state)
{
    struct crowd crowd = {.clock = 0};
    (void)state;
    crowd_ask(&crowd, 0, 0, X);
    crowd_ask(&crowd, 1, 1, X);
    crowd_ask(&crowd, 2, 0, X);
    crowd.claims[0][1].number = 1000 * 64;
    crowd_ask(&crowd, 1, 0, X);
    crowd_ask(&crowd, 0, 1, X);
    struct told told = look(&crowd);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.numbers[0], 5 * 64);
    crowd.claims[0][2].number = 900 * 64; /* of those who are left the clocks count */
    assert_int_equal(look(&crowd).numbers[0], 900 * 64);
}

/* Seen twice, but not by the same claims. */
static void test_other_claims_do_not_count(void **state)
{
    struct crowd before = {.clock = 0};
    (void)state;
    crowd_ask(&before, 0, 0, X);
    crowd_ask(&before, 1, 1, X);
    crowd_ask(&before, 0, 1, X);
    crowd_ask(&before, 1, 0, X);
    struct crowd now = before;
    crowd_end(&now, 0, 1);
    crowd_ask(&now, 1, 0, X); /* asked anew: maybe 0 was free in between */
    assert_int_equal(look(&before).count, 1);
    assert_int_equal(look(&now).count, 1);
    assert_int_equal(crowd_look(&before, &now).count, 0);
    now = before;
    crowd_end(&now, 1, 1);    /* 0 has what it waited for, … */
    crowd_ask(&now, 1, 1, X); /* … and 1 waits for it */
    assert_int_equal(crowd_look(&before, &now).count, 0);
    assert_int_equal(crowd_look(&(struct crowd){.clock = 0}, &before).count, 0);
}

/* What the owner has of this lock is granted. */
static void grant(struct crowd *crowd, int owner, int lock)
{
    crowd->claims[lock][crowd_find(crowd, lock, owner)].part = false;
}

/* Owner 0 has left a request that waited for lock 0, at a node that is cut off and cannot give back lock 1. It asks
 * elsewhere, and waits for owner 1, whose request waits for lock 1. */
static void test_parts_alone(void **state)
{
    struct crowd crowd = {.clock = 0};
    (void)state;
    crowd_ask_part(&crowd, 0, 1, 64);
    crowd_ask_part(&crowd, 1, 0, 65);
    crowd_ask_part(&crowd, 0, 0, 66);
    crowd_ask_part(&crowd, 1, 1, 65);
    assert_int_equal(look(&crowd).count, 0);
    struct crowd before = crowd;
    grant(&crowd, 0, 1);
    assert_int_equal(crowd_look(&before, &crowd).count, 0);
    assert_int_equal(look(&crowd).count, 1);
}

/* … which still waits, but for lock 2: it is kept by that, and by nothing that owner 1 could do. */
static void test_parts_of_two_requests(void **state)
{
    struct crowd crowd = {.clock = 0};
    (void)state;
    crowd_ask(&crowd, 2, 2, X);
    crowd_ask_part(&crowd, 0, 1, 164);
    crowd_ask_part(&crowd, 0, 2, 164);
    crowd_ask_part(&crowd, 1, 0, 165);
    crowd_ask_part(&crowd, 0, 0, 166);
    crowd_ask_part(&crowd, 1, 1, 165);
    assert_int_equal(look(&crowd).count, 0);
}

/* A request keeps what stands before the lock that it waits for, and gives back what stands behind it. */
static void test_a_part_and_a_lock(void **state)
{
    struct crowd crowd = {.clock = 0};
    (void)state;
    crowd_ask(&crowd, 0, 1, X);
    crowd_ask_part(&crowd, 1, 0, 65);
    crowd_ask_part(&crowd, 1, 1, 65);
    crowd_ask(&crowd, 0, 0, X);
    struct told told = look(&crowd);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.numbers[0], 4 * 64);
    assert_non_null(strstr(told.text, "o0 waits for lock l0 held by o1, o1 waits for lock l1 held by o0;"));
    crowd = (struct crowd){.clock = 0};
    crowd_ask(&crowd, 0, 0, X);
    crowd_ask_part(&crowd, 1, 1, 65);
    crowd_ask_part(&crowd, 1, 0, 65);
    crowd_ask(&crowd, 0, 1, X);
    assert_int_equal(look(&crowd).count, 0);
}

static void test_long_names_and_circles(void **state)
{
    struct buffer answer;
    static const struct lock_knot_events events = {crowd_note_victim};
    struct told told = {.count = 0};
    char name[200];
    (void)state;
    buffer_init(&answer);
    memset(name, 'n', sizeof(name));
    enum { LENGTH = 300 };
    for (int i = 0; i < LENGTH; i++) {
        const struct lock_queue queue = {slice_of(name, 150), 0, 1, 1};
        lock_queue_put(&answer, &queue);
        for (int waits = 0; waits < 2; waits++) {
            char owner[16];
            int size = snprintf(owner, sizeof(owner), "\r\n%d", waits == 1 ? i : (i + 1) % LENGTH);
            const struct lock_queue_claim claim = {
                slice_of(owner, (size_t)size), (uint64_t)(2 * i + waits + 1), {1, 1, 0, (uint64_t)i * 64}, X};
            lock_queue_claim_put(&answer, &claim);
        }
    }
    const struct lock_sight sight = {1, buffer_slice(&answer), buffer_slice(&answer)};
    assert_int_equal(lock_knots(&sight, 1, &events, &told), 1);
    assert_int_equal(told.numbers[0], (LENGTH - 1) * 64);
    assert_null(strchr(told.text, '\r'));
    assert_non_null(strstr(told.text, "\\x0d\\x0a299 waits for lock nnnn"));
    assert_non_null(strstr(told.text, "nnn... held by \\x0d\\x0a0, "));
    assert_non_null(strstr(told.text, ", and 292 more; this wait has ended"));
    buffer_deinit(&answer);
}

/* Whatever bytes come, it ends. */
static void test_nonsense(void **state)
{
    static const struct lock_knot_events events = {crowd_note_victim};
    struct prng prng;
    (void)state;
    prng_seed(&prng, 7);
    for (int run = 0; run < 2000; run++) {
        uint8_t bytes[64];
        struct told told = {.count = 0};
        for (size_t i = 0; i < sizeof(bytes); i++) {
            bytes[i] = (uint8_t)prng_below(&prng, 4);
        }
        const struct lock_sight sight = {1, slice_of(bytes, sizeof(bytes)), slice_of(bytes, sizeof(bytes))};
        (void)lock_knots(&sight, 1, &events, &told);
    }
}

/* ---- at random ---- */

static void step(struct crowd *crowd, struct prng *prng)
{
    int owner = (int)prng_below(prng, CROWD_OWNERS);
    int lock = (int)prng_below(prng, CROWD_LOCKS);
    if (prng_below(prng, 6) == 0) {
        crowd_end(crowd, lock, owner);
    } else if (crowd->limits[lock] > 0) {
        crowd_ask(crowd, owner, lock, LOCK_PERMITS_MODE, 1 + (uint32_t)prng_below(prng, crowd->limits[lock]));
    } else {
        crowd_ask(crowd, owner, lock, prng_below(prng, 2) == 0 ? LOCK_SHARED : LOCK_EXCLUSIVE, 1);
    }
}

/* The lock at a place in the order of requests for several: by shard, then by name. */
static int lock_at(int place) { return place % CROWD_LOCKS; }

static bool is_place(int place) { return lock_at(place) % CROWD_SHARDS == place / CROWD_LOCKS; }

/* From this place on, until one is not to be had. What stands behind that is left over now and then. */
static void ask_parts(struct crowd *crowd, struct prng *prng, int owner, uint64_t number, int place)
{
    bool waits = false;
    for (; place < CROWD_SHARDS * CROWD_LOCKS; place++) {
        int lock = lock_at(place);
        bool wanted = is_place(place) && prng_below(prng, 3) == 0 && crowd_find(crowd, lock, owner) < 0;
        if (wanted && (!waits || (crowd->counts[lock] == 0 && prng_below(prng, 3) == 0))) {
            crowd_ask_part(crowd, owner, lock, number);
            waits = waits || crowd->claims[lock][crowd_find(crowd, lock, owner)].waits;
        }
    }
}

static bool waits_of(const struct crowd *crowd, int owner, uint64_t number)
{
    bool waits = false;
    for (int lock = 0; lock < CROWD_LOCKS; lock++) {
        int at = crowd_find(crowd, lock, owner);
        const struct crowd_claim *claim = &crowd->claims[lock][at < 0 ? 0 : at];
        waits = waits || (at >= 0 && claim->waits && claim->number == number);
    }
    return waits;
}

/* A request of the owner that has parts and waits for none: its number, and its last place. 0: there is none. */
static uint64_t ready_request(const struct crowd *crowd, int owner, int *ret_place)
{
    uint64_t number = 0;
    for (int place = 0; place < CROWD_SHARDS * CROWD_LOCKS; place++) {
        int at = is_place(place) ? crowd_find(crowd, lock_at(place), owner) : -1;
        const struct crowd_claim *claim = &crowd->claims[lock_at(place)][at < 0 ? 0 : at];
        if (at >= 0 && claim->part && !waits_of(crowd, owner, claim->number)) {
            number = claim->number;
            *ret_place = place;
        }
    }
    return number;
}

/* A request for several begins, goes on, or (`grants`) is granted. */
static void step_parts(struct crowd *crowd, struct prng *prng, bool grants)
{
    int owner = (int)prng_below(prng, CROWD_OWNERS);
    int place = 0;
    uint64_t number = prng_below(prng, 2) == 0 ? ready_request(crowd, owner, &place) : 0;
    if (number == 0) {
        ask_parts(crowd, prng, owner, (crowd->clock + 1) * 64, (int)prng_below(prng, CROWD_SHARDS * CROWD_LOCKS));
    } else if (!grants || prng_below(prng, 2) == 0) {
        ask_parts(crowd, prng, owner, number, place + 1);
    } else {
        for (int lock = 0; lock < CROWD_LOCKS; lock++) {
            int at = crowd_find(crowd, lock, owner);
            if (at >= 0 && crowd->claims[lock][at].number == number) {
                crowd->claims[lock][at].part = false;
            }
        }
    }
}

/* What is in both. */
static struct crowd common(const struct crowd *before, const struct crowd *now)
{
    struct crowd both = *now;
    for (int lock = 0; lock < CROWD_LOCKS; lock++) {
        for (int i = both.counts[lock] - 1; i >= 0; i--) {
            const struct crowd_claim *claim = &both.claims[lock][i];
            int at = crowd_find(before, lock, claim->owner);
            const struct crowd_claim *was = &before->claims[lock][at < 0 ? 0 : at];
            if (at < 0 || was->order != claim->order || was->waits != claim->waits || was->part != claim->part) {
                crowd_remove(&both, lock, i);
            }
        }
    }
    return both;
}

static void steps(struct crowd *crowd, struct prng *prng, uint64_t count, bool parts)
{
    for (uint64_t i = 0; i < count; i++) {
        if (parts && prng_below(prng, 2) == 0) {
            step_parts(crowd, prng, true);
        } else {
            step(crowd, prng);
        }
    }
}

static void run_random(bool parts)
{
    size_t victims = 0, quiet = 0;
    for (uint64_t run = 0; run < RUNS; run++) {
        struct crowd crowd = {.clock = 0};
        struct prng prng;
        prng_seed(&prng, run);
        for (int lock = 0; lock < CROWD_LOCKS; lock++) {
            crowd.limits[lock] = prng_below(&prng, 3) == 0 ? 1 + (uint32_t)prng_below(&prng, 4) : 0;
        }
        steps(&crowd, &prng, prng_below(&prng, 24), parts);
        struct crowd before = crowd;
        steps(&crowd, &prng, prng_below(&prng, 4), parts);
        struct crowd both = common(&before, &crowd);
        struct told expected = crowd_victims(&both);
        struct told told = crowd_look(&before, &crowd);
        assert_int_equal(told.count, expected.count);
        assert_memory_equal(told.numbers, expected.numbers, told.count * sizeof(told.numbers[0]));
        victims += told.count;
        quiet += told.count == 0 ? 1 : 0;
    }
    assert_true(victims > RUNS / 20);
    assert_true(quiet > RUNS / 20);
}

static void test_random(void **state)
{
    (void)state;
    run_random(false);
}

static void test_random_with_parts(void **state)
{
    (void)state;
    run_random(true);
}

/* Who asks for several and was granted nothing is told of no circle, however many requests its owner has left. */
static void test_random_parts_alone(void **state)
{
    (void)state;
    for (uint64_t run = 0; run < RUNS; run++) {
        struct crowd crowd = {.clock = 0};
        struct prng prng;
        prng_seed(&prng, run);
        for (uint64_t i = prng_below(&prng, 32); i > 0; i--) {
            step_parts(&crowd, &prng, false);
            if (prng_below(&prng, 4) == 0) {
                crowd_end(&crowd, (int)prng_below(&prng, CROWD_LOCKS), (int)prng_below(&prng, CROWD_OWNERS));
            }
        }
        assert_int_equal(look(&crowd).count, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_circle_of_three),
        cmocka_unit_test(test_a_semaphore_is_a_knot),
        cmocka_unit_test(test_large_requests_of_a_semaphore),
        cmocka_unit_test(test_shared_locks),
        cmocka_unit_test(test_behind_in_the_queue),
        cmocka_unit_test(test_a_place_in_the_queue_is_no_reason),
        cmocka_unit_test(test_other_claims_do_not_count),
        cmocka_unit_test(test_parts_alone),
        cmocka_unit_test(test_parts_of_two_requests),
        cmocka_unit_test(test_a_part_and_a_lock),
        cmocka_unit_test(test_long_names_and_circles),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_random_with_parts),
        cmocka_unit_test(test_random_parts_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

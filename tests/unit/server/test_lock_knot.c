/* Owners that wait for each other: circles and knots by hand, and random crowds against a plain model. */
#include "base/prng.h"
#include "server/lock_knot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { OWNERS = 9, LOCKS = 8, SHARDS = 3, QUEUE = 2 * OWNERS, RUNS = 10000 };

struct model_claim {
    int owner;
    bool waits;
    enum lock_mode mode;
    uint32_t permits;
    uint64_t order, number;
};

/* Lock i is in shard 1 + i % SHARDS. */
struct crowd {
    struct model_claim claims[LOCKS][QUEUE]; /* those that hold, then those that wait */
    int counts[LOCKS];
    uint32_t limits[LOCKS]; /* of semaphores; 0: a lock */
    uint64_t clock;
};

static const char *owner_name(int owner)
{
    static char text[8];
    (void)snprintf(text, sizeof(text), "o%d", owner);
    return text;
}

/* ---- what shards would tell ---- */

static void put_lock(const struct crowd *crowd, int lock, struct buffer *out)
{
    char key[8];
    (void)snprintf(key, sizeof(key), "l%d", lock);
    struct lock_queue queue = {slice_from_string(key), crowd->limits[lock], 0, 0};
    for (int i = 0; i < crowd->counts[lock]; i++) {
        bool waits = crowd->claims[lock][i].waits;
        queue.waiters += waits ? 1 : 0;
        queue.holders += waits ? 0 : 1;
    }
    if (queue.waiters == 0) {
        return;
    }
    lock_queue_put(out, &queue);
    for (int i = 0; i < crowd->counts[lock]; i++) {
        const struct model_claim *one = &crowd->claims[lock][i];
        const struct lock_queue_claim claim = {
            .owner = slice_from_string(owner_name(one->owner)),
            .order = one->order,
            .origin = {1, 1, 0, one->number},
            .mode = one->mode,
            .permits = one->permits,
        };
        lock_queue_claim_put(out, &claim);
    }
}

struct told {
    uint64_t numbers[OWNERS * LOCKS];
    size_t count;
    char text[1024];
};

static void note_victim(void *owner, const struct lock_origin *waiter, const char *text)
{
    struct told *told = owner;
    assert_true(told->count < OWNERS * LOCKS);
    told->numbers[told->count++] = waiter->number;
    (void)snprintf(told->text, sizeof(told->text), "%s", text);
}

static struct told look_twice(const struct crowd *before, const struct crowd *now)
{
    static const struct lock_knot_events events = {note_victim};
    struct buffer answers[2][SHARDS] = {0};
    struct lock_sight sights[SHARDS];
    struct told told = {.count = 0};
    for (int lock = 0; lock < LOCKS; lock++) {
        put_lock(before, lock, &answers[0][lock % SHARDS]);
        put_lock(now, lock, &answers[1][lock % SHARDS]);
    }
    for (uint32_t i = 0; i < SHARDS; i++) {
        sights[i] = (struct lock_sight){i + 1, buffer_slice(&answers[0][i]), buffer_slice(&answers[1][i])};
    }
    size_t found = lock_knots(sights, SHARDS, &events, &told);
    assert_int_equal(found, told.count);
    for (int i = 0; i < SHARDS; i++) {
        buffer_deinit(&answers[0][i]);
        buffer_deinit(&answers[1][i]);
    }
    return told;
}

/* ---- a plain model of locks ---- */

static bool model_fits(const struct crowd *crowd, int lock, const struct model_claim *claim)
{
    uint32_t permits = claim->permits;
    for (int i = 0; i < crowd->counts[lock] && !crowd->claims[lock][i].waits; i++) {
        const struct model_claim *held = &crowd->claims[lock][i];
        if (claim->mode == LOCK_EXCLUSIVE || held->mode != claim->mode) {
            return false;
        }
        permits += held->permits;
    }
    return claim->mode != LOCK_PERMITS_MODE || permits <= crowd->limits[lock];
}

static void model_grant(struct crowd *crowd, int lock)
{
    for (int i = 0; i < crowd->counts[lock]; i++) {
        struct model_claim *claim = &crowd->claims[lock][i];
        if (claim->waits && !model_fits(crowd, lock, claim)) {
            return;
        }
        claim->waits = false;
    }
}

static void model_remove(struct crowd *crowd, int lock, int at)
{
    struct model_claim *claims = crowd->claims[lock];
    crowd->counts[lock]--;
    memmove(claims + at, claims + at + 1, (size_t)(crowd->counts[lock] - at) * sizeof(*claims));
}

static int model_find(const struct crowd *crowd, int lock, int owner)
{
    for (int i = 0; i < crowd->counts[lock]; i++) {
        if (crowd->claims[lock][i].owner == owner) {
            return i;
        }
    }
    return -1;
}

static void model_ask(struct crowd *crowd, int owner, int lock, enum lock_mode mode, uint32_t permits)
{
    struct model_claim claim = {owner, true, mode, permits, ++crowd->clock, crowd->clock * 64};
    if (model_find(crowd, lock, owner) < 0) {
        crowd->claims[lock][crowd->counts[lock]++] = claim;
        model_grant(crowd, lock);
    }
}

/* Its claim ends, and who fits then is granted. */
static void model_end(struct crowd *crowd, int lock, int owner)
{
    int at = model_find(crowd, lock, owner);
    if (at >= 0) {
        model_remove(crowd, lock, at);
        model_grant(crowd, lock);
    }
}

static bool model_waits(const struct crowd *crowd, int owner)
{
    bool waits = false;
    for (int lock = 0; lock < LOCKS; lock++) {
        int at = model_find(crowd, lock, owner);
        waits = waits || (at >= 0 && crowd->claims[lock][at].waits);
    }
    return waits;
}

/* Whoever waits for nothing releases what it has, until nothing happens any more: who is there then is lost. */
static void model_run(struct crowd *crowd)
{
    for (int lock = 0; lock < LOCKS; lock++) {
        model_grant(crowd, lock);
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (int owner = 0; owner < OWNERS; owner++) {
            for (int lock = 0; lock < LOCKS && !model_waits(crowd, owner); lock++) {
                changed = changed || model_find(crowd, lock, owner) >= 0;
                model_end(crowd, lock, owner);
            }
        }
    }
}

/* Who waits directly for whom, of those who are lost, made complete (Warshall). */
static void model_reach(const struct crowd *lost, bool reach[OWNERS][OWNERS])
{
    memset(reach, 0, sizeof(bool[OWNERS][OWNERS]));
    for (int lock = 0; lock < LOCKS; lock++) {
        for (int i = 0; i < lost->counts[lock]; i++) {
            const struct model_claim *claim = &lost->claims[lock][i];
            for (int j = 0; j < i && claim->waits; j++) {
                const struct model_claim *other = &lost->claims[lock][j];
                bool together = claim->mode == LOCK_SHARED && other->mode == LOCK_SHARED;
                reach[claim->owner][other->owner] = reach[claim->owner][other->owner] || !together;
            }
        }
    }
    for (int k = 0; k < OWNERS; k++) {
        for (int i = 0; i < OWNERS; i++) {
            for (int j = 0; j < OWNERS; j++) {
                reach[i][j] = reach[i][j] || (reach[i][k] && reach[k][j]);
            }
        }
    }
}

/* The youngest wait of the owners that this one reaches, when all of them reach it. */
static uint64_t model_victim(const struct crowd *lost, bool reach[OWNERS][OWNERS], int owner)
{
    uint64_t youngest = 0;
    for (int other = 0; other < OWNERS; other++) {
        if (reach[owner][other] && !reach[other][owner]) {
            return 0;
        }
        for (int lock = 0; lock < LOCKS && reach[owner][other]; lock++) {
            int at = model_find(lost, lock, other);
            if (at >= 0 && lost->claims[lock][at].waits && lost->claims[lock][at].number > youngest) {
                youngest = lost->claims[lock][at].number;
            }
        }
    }
    return youngest;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static struct told model_victims(const struct crowd *crowd)
{
    struct crowd lost = *crowd;
    bool reach[OWNERS][OWNERS];
    struct told told = {.count = 0};
    model_run(&lost);
    model_reach(&lost, reach);
    for (int owner = 0; owner < OWNERS; owner++) {
        uint64_t victim = model_waits(&lost, owner) ? model_victim(&lost, reach, owner) : 0;
        bool known = victim == 0;
        for (size_t i = 0; i < told.count; i++) {
            known = known || told.numbers[i] == victim;
        }
        if (!known) {
            told.numbers[told.count++] = victim;
        }
    }
    qsort(told.numbers, told.count, sizeof(told.numbers[0]), compare);
    return told;
}

/* ---- by hand ---- */

static struct told look(const struct crowd *crowd) { return look_twice(crowd, crowd); }

#define X LOCK_EXCLUSIVE, 1
#define S LOCK_SHARED, 1
#define P(n) LOCK_PERMITS_MODE, n

static void test_circle_of_three(void **state)
{
    struct crowd crowd = {.clock = 0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        model_ask(&crowd, i, i, X);
    }
    model_ask(&crowd, 1, 2, X);
    model_ask(&crowd, 2, 0, X);
    assert_int_equal(look(&crowd).count, 0);
    model_ask(&crowd, 0, 1, X); /* closes it, and is the youngest */
    model_ask(&crowd, 5, 1, X); /* behind it: left alone */
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
    model_ask(&crowd, 0, 0, P(1));
    model_ask(&crowd, 1, 0, P(1));
    model_ask(&crowd, 2, 1, X);
    model_ask(&crowd, 2, 0, P(1));
    model_ask(&crowd, 0, 1, X); /* a circle of 0 and 2; but 1 can go on, and makes room */
    assert_int_equal(look(&crowd).count, 0);
    model_ask(&crowd, 1, 1, X);
    struct told told = look(&crowd);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.numbers[0], 6 * 64);
}

static void test_large_requests_of_a_semaphore(void **state)
{
    struct crowd crowd = {.clock = 0, .limits = {[0] = 3, [1] = 3}};
    (void)state;
    model_ask(&crowd, 0, 0, P(2));
    model_ask(&crowd, 1, 1, P(2));
    model_ask(&crowd, 0, 1, P(1)); /* fits */
    model_ask(&crowd, 1, 0, P(2));
    model_ask(&crowd, 2, 0, P(1)); /* behind a large one, that can be granted one day */
    assert_int_equal(look(&crowd).count, 0);
    model_ask(&crowd, 0, 2, X);
    model_ask(&crowd, 3, 2, X);
    model_ask(&crowd, 3, 1, P(3));
    assert_int_equal(look(&crowd).count, 0);
}

static void test_shared_locks(void **state)
{
    struct crowd crowd = {.clock = 0};
    (void)state;
    model_ask(&crowd, 0, 0, S);
    model_ask(&crowd, 1, 0, S);
    model_ask(&crowd, 2, 1, X);
    model_ask(&crowd, 2, 0, X);
    assert_int_equal(look(&crowd).count, 0);
    model_ask(&crowd, 1, 1, S); /* one of two who share is enough */
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
    model_ask(&crowd, 0, 0, S);
    model_ask(&crowd, 1, 1, X);
    model_ask(&crowd, 2, 0, X); /* behind 0, who is well */
    model_ask(&crowd, 1, 0, S); /* would fit beside 0 */
    model_ask(&crowd, 2, 1, X);
    struct told told = look(&crowd);
    assert_int_equal(told.count, 1);
    assert_non_null(strstr(told.text, "o1 waits for lock l0 behind o2"));
}

/* Asked at a node whose clock is ahead: it has nothing, others of the circle only stand behind it. */
static void test_a_place_in_the_queue_is_no_reason(void **state)
{
    struct crowd crowd = {.clock = 0};
    (void)state;
    model_ask(&crowd, 0, 0, X);
    model_ask(&crowd, 1, 1, X);
    model_ask(&crowd, 2, 0, X);
    crowd.claims[0][1].number = 1000 * 64;
    model_ask(&crowd, 1, 0, X);
    model_ask(&crowd, 0, 1, X);
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
    model_ask(&before, 0, 0, X);
    model_ask(&before, 1, 1, X);
    model_ask(&before, 0, 1, X);
    model_ask(&before, 1, 0, X);
    struct crowd now = before;
    model_end(&now, 0, 1);
    model_ask(&now, 1, 0, X); /* asked anew: maybe 0 was free in between */
    assert_int_equal(look(&before).count, 1);
    assert_int_equal(look(&now).count, 1);
    assert_int_equal(look_twice(&before, &now).count, 0);
    now = before;
    model_end(&now, 1, 1);    /* 0 has what it waited for, … */
    model_ask(&now, 1, 1, X); /* … and 1 waits for it */
    assert_int_equal(look_twice(&before, &now).count, 0);
    assert_int_equal(look_twice(&(struct crowd){.clock = 0}, &before).count, 0);
}

static void test_long_names_and_circles(void **state)
{
    struct buffer answer;
    static const struct lock_knot_events events = {note_victim};
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
    static const struct lock_knot_events events = {note_victim};
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
    int owner = (int)prng_below(prng, OWNERS);
    int lock = (int)prng_below(prng, LOCKS);
    if (prng_below(prng, 6) == 0) {
        model_end(crowd, lock, owner);
    } else if (crowd->limits[lock] > 0) {
        model_ask(crowd, owner, lock, LOCK_PERMITS_MODE, 1 + (uint32_t)prng_below(prng, crowd->limits[lock]));
    } else {
        model_ask(crowd, owner, lock, prng_below(prng, 2) == 0 ? LOCK_SHARED : LOCK_EXCLUSIVE, 1);
    }
}

/* What is in both. */
static struct crowd common(const struct crowd *before, const struct crowd *now)
{
    struct crowd both = *now;
    for (int lock = 0; lock < LOCKS; lock++) {
        for (int i = both.counts[lock] - 1; i >= 0; i--) {
            const struct model_claim *claim = &both.claims[lock][i];
            int at = model_find(before, lock, claim->owner);
            const struct model_claim *was = &before->claims[lock][at < 0 ? 0 : at];
            if (at < 0 || was->order != claim->order || was->waits != claim->waits) {
                model_remove(&both, lock, i);
            }
        }
    }
    return both;
}

static void test_random(void **state)
{
    size_t victims = 0, quiet = 0;
    (void)state;
    for (uint64_t run = 0; run < RUNS; run++) {
        struct crowd crowd = {.clock = 0};
        struct prng prng;
        prng_seed(&prng, run);
        for (int lock = 0; lock < LOCKS; lock++) {
            crowd.limits[lock] = prng_below(&prng, 3) == 0 ? 1 + (uint32_t)prng_below(&prng, 4) : 0;
        }
        for (uint64_t i = prng_below(&prng, 24); i > 0; i--) {
            step(&crowd, &prng);
        }
        struct crowd before = crowd;
        for (uint64_t i = prng_below(&prng, 4); i > 0; i--) {
            step(&crowd, &prng);
        }
        struct crowd both = common(&before, &crowd);
        struct told expected = model_victims(&both);
        struct told told = look_twice(&before, &crowd);
        qsort(told.numbers, told.count, sizeof(told.numbers[0]), compare);
        assert_int_equal(told.count, expected.count);
        assert_memory_equal(told.numbers, expected.numbers, told.count * sizeof(told.numbers[0]));
        victims += told.count;
        quiet += told.count == 0 ? 1 : 0;
    }
    assert_true(victims > RUNS / 20);
    assert_true(quiet > RUNS / 20);
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
        cmocka_unit_test(test_long_names_and_circles),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

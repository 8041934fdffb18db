#include "lock_crowd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

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
        const struct crowd_claim *one = &crowd->claims[lock][i];
        const struct lock_queue_claim claim = {
            .owner = slice_from_string(owner_name(one->owner)),
            .order = one->order,
            .origin = {1, 1, 0, one->number},
            .mode = one->mode,
            .permits = one->permits,
            .part = one->part,
        };
        lock_queue_claim_put(out, &claim);
    }
}

void crowd_note_victim(void *owner, const struct lock_origin *waiter, const char *text)
{
    struct told *told = owner;
    assert_true(told->count < CROWD_OWNERS * CROWD_LOCKS);
    told->numbers[told->count++] = waiter->number;
    (void)snprintf(told->text, sizeof(told->text), "%s", text);
}

struct told crowd_look(const struct crowd *before, const struct crowd *now)
{
    static const struct lock_knot_events events = {crowd_note_victim};
    struct buffer answers[2][CROWD_SHARDS] = {0};
    struct lock_sight sights[CROWD_SHARDS];
    struct told told = {.count = 0};
    for (int lock = 0; lock < CROWD_LOCKS; lock++) {
        put_lock(before, lock, &answers[0][lock % CROWD_SHARDS]);
        put_lock(now, lock, &answers[1][lock % CROWD_SHARDS]);
    }
    for (uint32_t i = 0; i < CROWD_SHARDS; i++) {
        sights[i] = (struct lock_sight){i + 1, buffer_slice(&answers[0][i]), buffer_slice(&answers[1][i])};
    }
    size_t found = lock_knots(sights, CROWD_SHARDS, &events, &told);
    assert_int_equal(found, told.count);
    for (int i = 0; i < CROWD_SHARDS; i++) {
        buffer_deinit(&answers[0][i]);
        buffer_deinit(&answers[1][i]);
    }
    qsort(told.numbers, told.count, sizeof(told.numbers[0]), compare);
    return told;
}

/* ---- a plain model of locks ---- */

static bool fits(const struct crowd *crowd, int lock, const struct crowd_claim *claim)
{
    uint32_t permits = claim->permits;
    for (int i = 0; i < crowd->counts[lock] && !crowd->claims[lock][i].waits; i++) {
        const struct crowd_claim *held = &crowd->claims[lock][i];
        if (claim->mode == LOCK_EXCLUSIVE || held->mode != claim->mode) {
            return false;
        }
        permits += held->permits;
    }
    return claim->mode != LOCK_PERMITS_MODE || permits <= crowd->limits[lock];
}

static void grant(struct crowd *crowd, int lock)
{
    for (int i = 0; i < crowd->counts[lock]; i++) {
        struct crowd_claim *claim = &crowd->claims[lock][i];
        if (claim->waits && !fits(crowd, lock, claim)) {
            return;
        }
        claim->waits = false;
    }
}

void crowd_remove(struct crowd *crowd, int lock, int at)
{
    struct crowd_claim *claims = crowd->claims[lock];
    crowd->counts[lock]--;
    memmove(claims + at, claims + at + 1, (size_t)(crowd->counts[lock] - at) * sizeof(*claims));
}

int crowd_find(const struct crowd *crowd, int lock, int owner)
{
    for (int i = 0; i < crowd->counts[lock]; i++) {
        if (crowd->claims[lock][i].owner == owner) {
            return i;
        }
    }
    return -1;
}

static void ask(struct crowd *crowd, int lock, const struct crowd_claim *claim)
{
    if (crowd_find(crowd, lock, claim->owner) < 0) {
        crowd->claims[lock][crowd->counts[lock]++] = *claim;
        grant(crowd, lock);
    }
}

void crowd_ask(struct crowd *crowd, int owner, int lock, enum lock_mode mode, uint32_t permits)
{
    crowd->clock++;
    ask(crowd, lock, &(struct crowd_claim){owner, true, false, mode, permits, crowd->clock, crowd->clock * 64});
}

void crowd_ask_part(struct crowd *crowd, int owner, int lock, uint64_t number)
{
    crowd->clock++;
    ask(crowd, lock, &(struct crowd_claim){owner, true, true, LOCK_EXCLUSIVE, 1, crowd->clock, number});
}

void crowd_end(struct crowd *crowd, int lock, int owner)
{
    int at = crowd_find(crowd, lock, owner);
    if (at >= 0) {
        crowd_remove(crowd, lock, at);
        grant(crowd, lock);
    }
}

static bool owner_waits(const struct crowd *crowd, int owner)
{
    bool waits = false;
    for (int lock = 0; lock < CROWD_LOCKS; lock++) {
        int at = crowd_find(crowd, lock, owner);
        waits = waits || (at >= 0 && crowd->claims[lock][at].waits);
    }
    return waits;
}

/* Locks in the order in which requests for several wait. */
static int place_of(int lock) { return lock % CROWD_SHARDS * CROWD_LOCKS + lock; }

/* The request of this part waits for one that stands behind it. */
static bool is_kept(const struct crowd *crowd, int lock, const struct crowd_claim *part)
{
    bool kept = false;
    for (int other = 0; other < CROWD_LOCKS; other++) {
        for (int i = 0; i < crowd->counts[other]; i++) {
            const struct crowd_claim *claim = &crowd->claims[other][i];
            kept = kept || (claim->waits && claim->number == part->number && place_of(other) > place_of(lock));
        }
    }
    return kept;
}

/* Parts that are reserved, and given back or granted whatever the others do. */
static void let_parts_go(struct crowd *crowd)
{
    struct crowd before = *crowd;
    for (int lock = 0; lock < CROWD_LOCKS; lock++) {
        for (int i = before.counts[lock] - 1; i >= 0; i--) {
            const struct crowd_claim *claim = &before.claims[lock][i];
            if (claim->part && !claim->waits && !is_kept(&before, lock, claim)) {
                crowd_remove(crowd, lock, i);
            }
        }
    }
}

/* Whoever waits for nothing releases what it has, until nothing happens any more: who is there then is lost. */
static void run(struct crowd *crowd)
{
    let_parts_go(crowd);
    for (int lock = 0; lock < CROWD_LOCKS; lock++) {
        grant(crowd, lock);
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (int owner = 0; owner < CROWD_OWNERS; owner++) {
            for (int lock = 0; lock < CROWD_LOCKS && !owner_waits(crowd, owner); lock++) {
                changed = changed || crowd_find(crowd, lock, owner) >= 0;
                crowd_end(crowd, lock, owner);
            }
        }
    }
}

/* Who waits directly for whom, of those who are lost, made complete (Warshall). */
static void find_reach(const struct crowd *lost, bool reach[CROWD_OWNERS][CROWD_OWNERS])
{
    memset(reach, 0, sizeof(bool[CROWD_OWNERS][CROWD_OWNERS]));
    for (int lock = 0; lock < CROWD_LOCKS; lock++) {
        for (int i = 0; i < lost->counts[lock]; i++) {
            const struct crowd_claim *claim = &lost->claims[lock][i];
            for (int j = 0; j < i && claim->waits; j++) {
                const struct crowd_claim *other = &lost->claims[lock][j];
                bool together = claim->mode == LOCK_SHARED && other->mode == LOCK_SHARED;
                reach[claim->owner][other->owner] = reach[claim->owner][other->owner] || !together;
            }
        }
    }
    for (int k = 0; k < CROWD_OWNERS; k++) {
        for (int i = 0; i < CROWD_OWNERS; i++) {
            for (int j = 0; j < CROWD_OWNERS; j++) {
                reach[i][j] = reach[i][j] || (reach[i][k] && reach[k][j]);
            }
        }
    }
}

/* Nobody who is lost with this owner stands behind it. */
static bool is_last(const struct crowd *lost, bool reach[CROWD_OWNERS][CROWD_OWNERS], int owner, int lock, int at)
{
    bool last = true;
    for (int i = at + 1; i < lost->counts[lock]; i++) {
        last = last && !(lost->claims[lock][i].waits && reach[owner][lost->claims[lock][i].owner]);
    }
    return last;
}

/* Of those who are lost with this owner one has what another waits for, and not as a part alone. */
static bool is_granted_some(const struct crowd *lost, bool reach[CROWD_OWNERS][CROWD_OWNERS], int owner)
{
    bool some = false;
    for (int lock = 0; lock < CROWD_LOCKS; lock++) {
        for (int i = 0; i < lost->counts[lock]; i++) {
            for (int j = i + 1; j < lost->counts[lock]; j++) {
                const struct crowd_claim *has = &lost->claims[lock][i];
                const struct crowd_claim *waits = &lost->claims[lock][j];
                bool both = reach[owner][has->owner] && reach[owner][waits->owner];
                bool together = has->mode == LOCK_SHARED && waits->mode == LOCK_SHARED;
                some = some || (both && !together && waits->waits && !has->waits && !has->part);
            }
        }
    }
    return some;
}

/* The youngest wait of the owners that this one reaches, when all of them reach it. */
static uint64_t victim_of(const struct crowd *lost, bool reach[CROWD_OWNERS][CROWD_OWNERS], int owner)
{
    uint64_t youngest = 0;
    for (int other = 0; other < CROWD_OWNERS; other++) {
        if (reach[owner][other] && !reach[other][owner]) {
            return 0;
        }
        for (int lock = 0; lock < CROWD_LOCKS && reach[owner][other]; lock++) {
            int at = crowd_find(lost, lock, other);
            if (at >= 0 && lost->claims[lock][at].waits && lost->claims[lock][at].number > youngest &&
                is_last(lost, reach, owner, lock, at)) {
                youngest = lost->claims[lock][at].number;
            }
        }
    }
    return is_granted_some(lost, reach, owner) ? youngest : 0;
}

struct told crowd_victims(const struct crowd *crowd)
{
    struct crowd lost = *crowd;
    bool reach[CROWD_OWNERS][CROWD_OWNERS];
    struct told told = {.count = 0};
    run(&lost);
    find_reach(&lost, reach);
    for (int owner = 0; owner < CROWD_OWNERS; owner++) {
        uint64_t victim = owner_waits(&lost, owner) ? victim_of(&lost, reach, owner) : 0;
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

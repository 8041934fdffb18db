/* Random commands about a few locks, against a plain model; on three replicas, one of them made anew from snapshots all
 * the time, one without replies: their states stay equal. */
#include "base/prng.h"
#include "harness.h"
#include "machine/lock/lock_arguments.h"
#include "machine/lock/lock_notice.h"
#include "machine/lock/locks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* So few that each command ends all that is due. */
enum { LOCKS = 3, OWNERS = 5, STEPS = 6000, SEEDS = 12, REPLICAS = 3 };

struct model_claim {
    bool lives, holds;
    int mode, permits;
    int64_t due, ttl;
    uint64_t order, token, number;
    bool heard, told; /* somebody hears its news; several requests were told of the grant */
};

struct model {
    struct model_claim claims[LOCKS][OWNERS];
    int limit[LOCKS];
    uint64_t fence[LOCKS];
    uint64_t last_order, last_token, position;
    int64_t now;
    char notices[8192];
};

static void note(struct model *m, const char *what, const struct model_claim *c, uint64_t token)
{
    size_t used = strlen(m->notices);
    int number = (int)c->number;
    if (c->heard) {
        (void)snprintf(m->notices + used, sizeof(m->notices) - used, "%s %d %d\n", what, number, (int)token);
    }
}

static int holders(const struct model *m, int lock, int *ret_mode, int *ret_permits)
{
    int count = 0;
    *ret_permits = 0;
    for (int i = 0; i < OWNERS; i++) {
        const struct model_claim *c = &m->claims[lock][i];
        if (c->lives && c->holds) {
            count++;
            *ret_mode = c->mode;
            *ret_permits += c->permits;
        }
    }
    return count;
}

static bool fits(const struct model *m, int lock, int mode, int permits)
{
    int held = 0;
    int sum = 0;
    return holders(m, lock, &held, &sum) == 0 ||
           (held == mode && mode != LOCK_EXCLUSIVE && (mode == LOCK_SHARED || sum + permits <= m->limit[lock]));
}

static struct model_claim *first_waiter(struct model *m, int lock)
{
    struct model_claim *first = NULL;
    for (int i = 0; i < OWNERS; i++) {
        struct model_claim *c = &m->claims[lock][i];
        if (c->lives && !c->holds && (first == NULL || c->order < first->order)) {
            first = c;
        }
    }
    return first;
}

static void hold(struct model *m, struct model_claim *c)
{
    c->holds = true;
    c->due = m->now + c->ttl;
    m->last_token = m->position > m->last_token ? m->position : m->last_token + 1;
    c->token = m->last_token;
}

static void grant(struct model *m, int lock)
{
    struct model_claim *c;
    while ((c = first_waiter(m, lock)) != NULL) {
        if (c->due <= m->now) {
            note(m, "ended", c, 0);
            c->lives = false;
        } else if (fits(m, lock, c->mode, c->permits)) {
            hold(m, c);
            note(m, "granted", c, c->token);
        } else {
            break;
        }
    }
    bool permits = false;
    for (int i = 0; i < OWNERS; i++) {
        permits = permits || (m->claims[lock][i].lives && m->claims[lock][i].mode == LOCK_PERMITS_MODE);
    }
    m->limit[lock] = permits ? m->limit[lock] : 0;
}

static void expire(struct model *m)
{
    for (;;) {
        struct model_claim *due = NULL;
        int at = 0;
        for (int lock = 0; lock < LOCKS; lock++) {
            for (int i = 0; i < OWNERS; i++) {
                struct model_claim *c = &m->claims[lock][i];
                if (c->lives && c->due <= m->now &&
                    (due == NULL || c->due < due->due || (c->due == due->due && c->order < due->order))) {
                    due = c;
                    at = lock;
                }
            }
        }
        if (due == NULL) {
            return;
        }
        note(m, due->holds ? "lost" : "ended", due, due->holds ? due->token : 0);
        due->lives = false;
        grant(m, at);
    }
}

static void granted(const struct model *m, const struct model_claim *c, char *out)
{
    (void)sprintf(out, "*2 :%d :%d", (int)c->token, (int)(c->due - m->now));
}

static void model_acquire(struct model *m, int lock, int owner, int mode, int permits, int limit, int64_t ttl,
                          int64_t wait, uint64_t number, char *out)
{
    struct model_claim *c = &m->claims[lock][owner];
    expire(m);
    (void)strcpy(out, "*-1");
    if (c->lives) {
        if (c->mode != mode || c->permits != permits || (mode == LOCK_PERMITS_MODE && m->limit[lock] != limit)) {
            (void)strcpy(out, "-ERR");
        } else if (c->holds) {
            c->told = c->number != 0; /* no two of those that can wait have the same origin */
            granted(m, c, out);
        } else if (wait > 0) {
            note(m, "taken", c, 0);
            c->number = number;
            c->heard = true;
            c->due = m->now + wait;
            (void)strcpy(out, "+QUEUED");
        }
        return;
    }
    if (mode == LOCK_PERMITS_MODE && m->limit[lock] != 0 && m->limit[lock] != limit) {
        (void)strcpy(out, "-ERR");
        return;
    }
    bool free = first_waiter(m, lock) == NULL && fits(m, lock, mode, permits);
    if (!free && wait == 0) {
        return;
    }
    *c = (struct model_claim){true, false,  mode,        permits, m->now + wait, ttl, ++m->last_order,
                              0,    number, number != 0, false};
    m->limit[lock] = mode == LOCK_PERMITS_MODE ? limit : m->limit[lock];
    if (free) {
        hold(m, c);
        granted(m, c, out);
    } else {
        (void)strcpy(out, "+QUEUED");
    }
}

static struct model_claim *held(struct model *m, int lock, int owner, uint64_t token)
{
    struct model_claim *c = &m->claims[lock][owner];
    expire(m);
    return c->lives && c->holds && c->token == token ? c : NULL;
}

/* ---- beside it, the machines ---- */

static void put_origin(char *text, uint64_t number)
{
    uint8_t origin[LOCK_ORIGIN_BYTES];
    lock_origin_put(origin, &(struct lock_origin){number == 0 ? 0 : 1 + number % 3, 1, 1, number});
    text += sprintf(text, "\"");
    for (size_t i = 0; i < sizeof(origin); i++) {
        text += sprintf(text, "\\x%02x", origin[i]);
    }
    (void)sprintf(text, "\"");
}

static void read_notices(struct harness *h, char *out)
{
    static const char *const kinds[] = {"granted", "ended", "lost", "taken"};
    struct slice rest = buffer_slice(machine_lock_notices(h->machine));
    struct lock_notice notice;
    out[0] = '\0';
    while (rest.size > 0) {
        assert_true(lock_notice_take(&rest, &notice));
        out += sprintf(out, "%s %d %d\n", kinds[notice.kind], (int)notice.to.number, (int)notice.token);
    }
    buffer_clear(machine_lock_notices(h->machine));
}

/* One random step: what it says, and what the model says to it. */
static void step(struct model *m, struct prng *prng, char *command, char *expected)
{
    int lock = (int)prng_below(prng, LOCKS);
    int owner = (int)prng_below(prng, OWNERS);
    struct model_claim *c = &m->claims[lock][owner];
    uint64_t token = prng_chance(prng, 1, 8) ? 1 + prng_below(prng, m->position) : c->token == 0 ? 1 : c->token;
    uint64_t number = prng_chance(prng, 1, 3) ? 0 : m->position;
    char origin[200];
    put_origin(origin, number);
    switch (prng_below(prng, 9)) {
    case 0:
    case 1:
    case 2: {
        static const char *const modes[] = {"MODE EXCLUSIVE", "MODE SHARED"};
        int mode = (int)prng_below(prng, 3);
        int limit = prng_chance(prng, 1, 10) ? 4 : 3;
        int permits = mode == LOCK_PERMITS_MODE ? 1 + (int)prng_below(prng, 3) : 1;
        int64_t ttl = 1 + (int64_t)prng_below(prng, 60);
        int64_t wait = number == 0 ? 0 : (int64_t)prng_below(prng, 60);
        char how[64];
        (void)snprintf(how, sizeof(how), "PERMITS %d LIMIT %d", permits, limit);
        (void)sprintf(command, "COHORT.LOCK.ACQUIRE %s l%d o%d PX %d WAIT %d %s", origin, lock, owner, (int)ttl,
                      (int)wait, mode == LOCK_PERMITS_MODE ? how : modes[mode]);
        model_acquire(m, lock, owner, mode, permits, limit, ttl, wait, number, expected);
        return;
    }
    case 3: {
        (void)sprintf(command, "LOCK.RENEW l%d o%d %d PX 40", lock, owner, (int)token);
        c = held(m, lock, owner, token);
        (void)strcpy(expected, "-LOCKLOST");
        if (c != NULL) {
            c->due = c->due > m->now + 40 ? c->due : m->now + 40;
            (void)sprintf(expected, ":%d", (int)(c->due - m->now));
        }
        return;
    }
    case 4:
    case 5: {
        (void)sprintf(command, "LOCK.RELEASE l%d o%d %d", lock, owner, (int)token);
        c = held(m, lock, owner, token);
        (void)strcpy(expected, c != NULL ? ":1" : ":0");
        if (c != NULL) {
            c->lives = false;
            grant(m, lock);
        }
        return;
    }
    case 6: {
        (void)sprintf(command, "LOCK.RELEASE l%d o%d %d FORCE", lock, owner, (int)token);
        c = held(m, lock, owner, token);
        (void)strcpy(expected, c != NULL ? ":1" : ":0");
        if (c != NULL) {
            note(m, "lost", c, token);
            m->fence[lock] = m->fence[lock] > token ? m->fence[lock] : token + 1;
            c->lives = false;
            grant(m, lock);
        }
        return;
    }
    case 7: {
        put_origin(origin, c->number == 0 || prng_chance(prng, 1, 4) ? number : c->number);
        uint64_t said = origin[0] == 0 ? 0 : c->number;
        char mine[200];
        put_origin(mine, c->number);
        (void)sprintf(command, "COHORT.LOCK.LEAVE %s l%d o%d", origin, lock, owner);
        (void)strcpy(expected, "+OK");
        expire(m);
        if (c->lives && !c->told && strcmp(origin, mine) == 0 && said == c->number) {
            c->lives = false;
            grant(m, lock);
        }
        return;
    }
    default: {
        (void)sprintf(command, "FENCE.CHECK l%d %d", lock, (int)token);
        if (token > m->last_token) {
            (void)strcpy(expected, "-ERR");
            return;
        }
        expire(m);
        bool good = token >= m->fence[lock];
        for (int i = 0; i < OWNERS; i++) {
            const struct model_claim *other = &m->claims[lock][i];
            good = good || (other->lives && other->holds && other->token == token);
        }
        m->fence[lock] = token > m->fence[lock] ? token : m->fence[lock];
        (void)strcpy(expected, good ? ":1" : ":0");
        return;
    }
    }
}

static void copy_sometimes(struct harness *h, struct prng *prng)
{
    if (prng_chance(prng, 1, 20)) {
        struct machine *copy = harness_copy(h->machine, 1 + prng_below(prng, 500));
        machine_destroy(h->machine);
        h->machine = copy;
        machine_tell_locks(h->machine, true);
    }
}

static void run(uint64_t seed)
{
    struct harness h[REPLICAS];
    struct prng prng;
    struct prng other;
    struct model m = {.now = 1000, .position = 3};
    char command[512];
    char expected[64];
    char notices[8192];
    prng_seed(&prng, seed);
    prng_seed(&other, seed + 1000);
    for (int i = 0; i < REPLICAS; i++) {
        harness_init(&h[i]);
        machine_tell_locks(h[i].machine, i < 2);
    }
    h[2].discard = true;
    for (int i = 0; i < STEPS; i++) {
        int64_t pass = prng_chance(&prng, 1, 3) ? (int64_t)prng_below(&prng, 20) : 0;
        m.notices[0] = '\0';
        m.now += pass;
        m.position = h[0].position + 3;
        step(&m, &prng, command, expected);
        for (int r = 0; r < REPLICAS; r++) {
            harness_pass(&h[r], pass);
            const char *reply = harness_apply(&h[r], command);
            bool same = strncmp(reply, expected, strlen(expected)) == 0;
            if (!h[r].discard && (!same || (expected[0] != '-' && strcmp(reply, expected) != 0))) {
                fail_msg("seed %d step %d: %s: %s, expected %s", (int)seed, i, command, reply, expected);
            }
            if (r < 2) {
                read_notices(&h[r], notices);
                assert_string_equal(notices, m.notices);
            }
        }
        copy_sometimes(&h[1], &other);
        assert_true(i % 10 != 0 || machine_digest(h[0].machine) == machine_digest(h[1].machine));
        assert_true(i % 10 != 0 || machine_digest(h[0].machine) == machine_digest(h[2].machine));
    }
    for (int i = 0; i < REPLICAS; i++) {
        harness_deinit(&h[i]);
    }
}

static void as_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_the_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

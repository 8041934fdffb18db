/* A lock's state, alone: rules one by one, then random requests of many owners, after each of which the invariants of
 * lock_state.h hold and its bytes give the same state again. */
#include "base/prng.h"
#include "engine/lock_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct lock_state state;
static char problem[LOCK_STATE_PROBLEM_BYTES];
static struct lock_granted granted;

static int setup(void **unused)
{
    lock_state_init(&state);
    return 0;
}

static int teardown(void **unused)
{
    lock_state_deinit(&state);
    return 0;
}

static struct lock_wanted wants(const char *owner, int64_t wait_ms)
{
    return (struct lock_wanted){
        .owner = slice_from_string(owner), .note = SLICE_LITERAL(""), .permits = 1, .ttl_ms = 1000, .wait_ms = wait_ms};
}

static enum lock_answer ask(struct lock_wanted wanted, int64_t now_ms)
{
    (void)lock_state_expire(&state, now_ms);
    return lock_state_acquire(&state, &wanted, now_ms, &granted, problem);
}

static struct lock_wanted shared(const char *owner, int64_t wait_ms)
{
    struct lock_wanted wanted = wants(owner, wait_ms);
    wanted.kind = LOCK_KIND_SHARED;
    return wanted;
}

static struct lock_wanted permits(const char *owner, uint32_t count, uint32_t limit, int64_t wait_ms)
{
    struct lock_wanted wanted = wants(owner, wait_ms);
    wanted.kind = LOCK_KIND_PERMITS;
    wanted.permits = count;
    wanted.limit = limit;
    return wanted;
}

static void test_excludes(void **unused)
{
    assert_int_equal(ask(wants("a", 0), 10), LOCK_ANSWER_GRANTED);
    assert_int_equal(granted.token, 1);
    assert_int_equal(granted.ttl_ms, 1000);
    assert_int_equal(ask(wants("a", 0), 20), LOCK_ANSWER_GRANTED);
    assert_int_equal(granted.token, 1);
    assert_int_equal(granted.ttl_ms, 990); /* nothing changed */
    assert_true(granted.unchanged);
    assert_int_equal(ask(wants("b", 0), 30), LOCK_ANSWER_NOT);
    assert_false(lock_state_release(&state, SLICE_LITERAL("b"), 1, 30));
    assert_false(lock_state_release(&state, SLICE_LITERAL("a"), 2, 30));
    assert_true(lock_state_release(&state, SLICE_LITERAL("a"), 1, 30));
    assert_int_equal(ask(wants("b", 0), 30), LOCK_ANSWER_GRANTED);
    assert_int_equal(granted.token, 2);
    assert_int_equal(state.past_count, 1);
    assert_int_equal(state.past[0].to_ms, 30);
    assert_int_equal(state.past[0].why, LOCK_WHY_RELEASED);
}

static void test_lease(void **unused)
{
    int64_t left_ms;
    assert_int_equal(ask(wants("a", 0), 0), LOCK_ANSWER_GRANTED);
    assert_true(lock_state_renew(&state, SLICE_LITERAL("a"), 1, 2000, 500, &left_ms));
    assert_int_equal(left_ms, 2000);
    assert_true(lock_state_renew(&state, SLICE_LITERAL("a"), 1, 10, 600, &left_ms));
    assert_int_equal(left_ms, 1900); /* never shorter */
    assert_int_equal(ask(wants("b", 0), 2499), LOCK_ANSWER_NOT);
    assert_int_equal(ask(wants("b", 0), 2500), LOCK_ANSWER_NOT); /* it may believe in a part of that millisecond */
    assert_int_equal(ask(wants("b", 0), 2501), LOCK_ANSWER_GRANTED);
    assert_false(lock_state_renew(&state, SLICE_LITERAL("a"), 1, 10, 2501, &left_ms));
    assert_int_equal(state.past[0].why, LOCK_WHY_EXPIRED);
    assert_int_equal(state.past[0].to_ms, 2500);
}

static void test_campaign_extends(void **unused)
{
    struct lock_wanted wanted = wants("a", 0);
    wanted.extends = true;
    assert_int_equal(ask(wanted, 0), LOCK_ANSWER_GRANTED);
    assert_int_equal(ask(wanted, 400), LOCK_ANSWER_GRANTED);
    assert_int_equal(granted.ttl_ms, 1000);
    assert_false(granted.unchanged);
}

static void test_queue(void **unused)
{
    assert_int_equal(ask(wants("a", 0), 0), LOCK_ANSWER_GRANTED);
    assert_int_equal(ask(wants("b", 5000), 1), LOCK_ANSWER_WAITS);
    assert_int_equal(granted.again_ms, 999);
    assert_int_equal(ask(wants("c", 5000), 2), LOCK_ANSWER_WAITS);
    assert_int_equal(ask(wants("b", 4990), 3), LOCK_ANSWER_WAITS);
    assert_true(granted.unchanged);
    assert_int_equal(ask(wants("d", 0), 3), LOCK_ANSWER_NOT);
    assert_true(lock_state_release(&state, SLICE_LITERAL("a"), 1, 4));
    assert_int_equal(ask(wants("d", 0), 4), LOCK_ANSWER_NOT); /* others came before */
    assert_int_equal(ask(wants("c", 4000), 5), LOCK_ANSWER_WAITS);
    assert_int_equal(ask(wants("b", 4000), 6), LOCK_ANSWER_GRANTED);
    assert_true(lock_state_release(&state, SLICE_LITERAL("b"), granted.token, 7));
    assert_true(lock_state_leave(&state, SLICE_LITERAL("c")));
    assert_false(lock_state_leave(&state, SLICE_LITERAL("c")));
    assert_int_equal(ask(wants("d", 0), 8), LOCK_ANSWER_GRANTED);
}

static void test_who_does_not_ask_is_gone(void **unused)
{
    assert_int_equal(ask(wants("a", 0), 0), LOCK_ANSWER_GRANTED);
    assert_int_equal(ask(wants("b", 60000), 0), LOCK_ANSWER_WAITS);
    assert_int_equal(ask(wants("c", 60000), 0), LOCK_ANSWER_WAITS);
    assert_int_equal(ask(wants("c", 59000), 1000), LOCK_ANSWER_WAITS); /* a's lease is over, b is before it */
    assert_int_equal(ask(wants("c", 58000), LOCK_STATE_PATIENCE_MS - 1), LOCK_ANSWER_WAITS);
    assert_int_equal(ask(wants("c", 58000), LOCK_STATE_PATIENCE_MS), LOCK_ANSWER_GRANTED);
}

static void test_shared(void **unused)
{
    assert_int_equal(ask(shared("a", 0), 0), LOCK_ANSWER_GRANTED);
    assert_int_equal(ask(shared("b", 0), 0), LOCK_ANSWER_GRANTED);
    assert_int_equal(ask(wants("b", 0), 0), LOCK_ANSWER_REFUSED);
    assert_int_equal(ask(wants("x", 900), 0), LOCK_ANSWER_WAITS);
    assert_int_equal(ask(shared("c", 0), 0), LOCK_ANSWER_NOT);
    assert_int_equal(ask(shared("x", 900), 0), LOCK_ANSWER_REFUSED);
    assert_int_equal(ask(permits("p", 1, 2, 0), 0), LOCK_ANSWER_NOT);
}

static void test_permits(void **unused)
{
    assert_int_equal(ask(permits("a", 2, 3, 0), 0), LOCK_ANSWER_GRANTED);
    assert_int_equal(ask(permits("b", 2, 3, 900), 0), LOCK_ANSWER_WAITS);
    assert_int_equal(ask(permits("c", 1, 3, 0), 0), LOCK_ANSWER_NOT); /* the large one is not starved */
    assert_int_equal(ask(permits("c", 1, 4, 0), 0), LOCK_ANSWER_REFUSED);
    assert_int_equal(ask(permits("a", 1, 3, 0), 0), LOCK_ANSWER_REFUSED);
}

static void test_limits(void **unused)
{
    char name[16];
    for (int i = 0; i < LOCK_STATE_HOLDERS; i++) {
        (void)snprintf(name, sizeof(name), "s%d", i);
        assert_int_equal(ask(shared(name, 0), 0), LOCK_ANSWER_GRANTED);
    }
    assert_int_equal(ask(shared("one more", 0), 0), LOCK_ANSWER_REFUSED);
    assert_int_equal(strncmp(problem, "BUSY ", 5), 0);
    for (int i = 0; i < LOCK_STATE_WAITERS; i++) {
        (void)snprintf(name, sizeof(name), "x%d", i);
        assert_int_equal(ask(wants(name, 900), 0), LOCK_ANSWER_WAITS);
    }
    assert_int_equal(ask(wants("one more", 900), 0), LOCK_ANSWER_REFUSED);
    assert_int_equal(strncmp(problem, "BUSY ", 5), 0);
}

static void test_fence(void **unused)
{
    bool changed;
    assert_true(lock_state_fence(&state, 5, &changed));
    assert_true(changed);
    assert_true(lock_state_fence(&state, 5, &changed));
    assert_false(changed);
    assert_false(lock_state_fence(&state, 4, &changed));
}

static void test_all_who_hold_pass(void **unused)
{
    bool changed;
    assert_int_equal(ask(shared("a", 0), 0), LOCK_ANSWER_GRANTED);
    assert_int_equal(ask(shared("b", 0), 0), LOCK_ANSWER_GRANTED);
    assert_true(lock_state_fence(&state, 2, &changed));
    assert_true(changed);
    assert_true(lock_state_fence(&state, 1, &changed));
    assert_false(changed);
    assert_true(lock_state_release(&state, SLICE_LITERAL("a"), 1, 0));
    assert_false(lock_state_fence(&state, 1, &changed));
}

static void test_another_boot(void **unused)
{
    assert_int_equal(ask(wants("a", 0), 0), LOCK_ANSWER_GRANTED);
    assert_int_equal(ask(wants("b", 900), 0), LOCK_ANSWER_WAITS);
    lock_state_end_all(&state, 5);
    assert_int_equal(state.holder_count + state.waiter_count, 0);
    assert_int_equal(ask(wants("c", 0), 6), LOCK_ANSWER_GRANTED);
    assert_int_equal(granted.token, 2);
}

/* ---- random ---- */

static void check_invariants(uint64_t last_token, int64_t now_ms)
{
    uint64_t sum = 0;
    assert_true(state.token >= last_token);
    for (uint32_t i = 0; i < state.holder_count; i++) {
        const struct lock_claim *holder = &state.holders[i];
        assert_int_equal(holder->kind, state.holders[0].kind);
        assert_true(holder->kind != LOCK_KIND_EXCLUSIVE || state.holder_count == 1);
        assert_true(holder->token <= state.token && holder->due_ms >= now_ms);
        sum += holder->permits;
    }
    assert_true(state.holder_count == 0 || state.holders[0].kind != LOCK_KIND_PERMITS || sum <= state.limit);
}

static bool same_claims(const struct lock_claim *a, const struct lock_claim *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!slice_equal(a[i].owner, b[i].owner) || !slice_equal(a[i].note, b[i].note) || a[i].kind != b[i].kind ||
            a[i].permits != b[i].permits || a[i].token != b[i].token || a[i].since_ms != b[i].since_ms ||
            a[i].due_ms != b[i].due_ms || a[i].asked_ms != b[i].asked_ms) {
            return false;
        }
    }
    return true;
}

static void check_bytes(void)
{
    struct buffer bytes;
    struct lock_state again;
    buffer_init(&bytes);
    lock_state_init(&again);
    assert_true(lock_state_write(&state, &bytes));
    assert_int_equal(lock_state_read(&again, buffer_slice(&bytes)), STATUS_OK);
    assert_true(again.token == state.token && again.fence == state.fence && again.limit == state.limit);
    assert_true(again.holder_count == state.holder_count && again.waiter_count == state.waiter_count);
    assert_true(same_claims(again.holders, state.holders, state.holder_count));
    assert_true(same_claims(again.waiters, state.waiters, state.waiter_count));
    assert_int_equal(again.past_count, state.past_count);
    lock_state_deinit(&again);
    for (size_t size = 0; size < bytes.size; size++) { /* cut anywhere, it is nothing */
        assert_int_not_equal(lock_state_read(&again, slice_of(bytes.data, size)), STATUS_OK);
        lock_state_deinit(&again);
    }
    buffer_deinit(&bytes);
}

static struct lock_wanted random_wanted(struct prng *prng, const char *owner)
{
    int64_t wait_ms = prng_below(prng, 2) == 0 ? 0 : (int64_t)prng_below(prng, 3000);
    switch (prng_below(prng, 3)) {
    case 0: return wants(owner, wait_ms);
    case 1: return shared(owner, wait_ms);
    default: return permits(owner, 1 + (uint32_t)prng_below(prng, 3), 3, wait_ms);
    }
}

static void test_random(void **unused)
{
    static const char *const owners[] = {"a", "b", "c", "d", "e", "f"};
    struct prng prng;
    prng_seed(&prng, 7);
    int64_t now_ms = 0;
    uint64_t last_token = 0;
    for (int i = 0; i < 50000; i++) {
        const char *owner = owners[prng_below(&prng, 6)];
        now_ms += (int64_t)prng_below(&prng, 200);
        (void)lock_state_expire(&state, now_ms);
        switch (prng_below(&prng, 8)) {
        case 0: (void)lock_state_leave(&state, slice_from_string(owner)); break;
        case 1:
        case 2:
            if (state.holder_count > 0) {
                const struct lock_claim holder = state.holders[prng_below(&prng, state.holder_count)];
                assert_true(lock_state_release(&state, holder.owner, holder.token, now_ms));
            }
            break;
        default: {
            struct slice first = state.waiter_count > 0 ? state.waiters[0].owner : slice_of("", 0);
            bool waited = state.waiter_count > 0;
            uint32_t held = state.holder_count;
            enum lock_answer answer = ask(random_wanted(&prng, owner), now_ms);
            if (answer == LOCK_ANSWER_GRANTED && state.holder_count > held) {
                assert_true(granted.token > last_token);
                assert_true(!waited || slice_equal(first, slice_from_string(owner))); /* nobody was passed by */
            }
        }
        }
        check_invariants(last_token, now_ms);
        last_token = state.token;
        if (i % 500 == 0) {
            check_bytes();
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_excludes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(test_campaign_extends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_does_not_ask_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shared, setup, teardown),
        cmocka_unit_test_setup_teardown(test_permits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_who_hold_pass, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_boot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

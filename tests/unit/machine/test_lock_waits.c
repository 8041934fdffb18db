/* What COHORT.LOCK.WAITS tells of the locks of a shard (src/machine/lock/lock_waits.h). */
#include "base/buffer.h"
#include "machine/lock/lock_parts.h"
#include "machine/lock/lock_waits.h"
#include "machine/session/ties.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { WAIT_MS = 100 };

static enum lock_outcome ask(struct locks *locks, const char *key, const char *owner, bool part)
{
    const struct lock_part_ask of_several = {slice_from_string("a"), WAIT_MS + LOCK_PART_KEEP_MS};
    const struct lock_request request = {
        .key = slice_from_string(key),
        .owner = slice_from_string(owner),
        .mode = part ? LOCK_EXCLUSIVE : LOCK_PERMITS_MODE,
        .permits = part ? 1 : 3,
        .limit = part ? 0 : 4,
        .ttl_ms = 500,
        .wait_ms = WAIT_MS,
        .origin = {2, 9, 7, 5},
        .part = part ? &of_several : NULL,
    };
    struct lock_answer answer;
    return locks_acquire(locks, &request, &(struct lock_now){locks->last_order + 1, 0}, &answer);
}

static void check_next(struct slice *from, const char *owner, enum lock_mode mode, bool part)
{
    struct lock_queue_claim claim;
    assert_true(lock_queue_claim_take(from, &claim));
    assert_true(slice_equal(claim.owner, slice_from_string(owner)));
    assert_int_equal(claim.mode, mode);
    assert_int_equal(claim.part, part);
    assert_int_equal(claim.origin.node, 2);
    assert_int_equal(claim.origin.start, 9);
    assert_int_equal(claim.origin.number, 5);
}

static struct slice look(struct locks *locks, struct buffer *out, int64_t time_ms, uint32_t waiters)
{
    struct lock_queue queue;
    buffer_clear(out);
    locks_put_waits(locks, time_ms, out);
    struct slice from = buffer_slice(out);
    assert_true(lock_queue_take(&from, &queue));
    assert_true(slice_equal(queue.key, slice_from_string("k")));
    assert_int_equal(queue.holders, 1);
    assert_int_equal(queue.waiters, waiters);
    return from;
}

static void test_parts_are_told_until_they_are_granted(void **state)
{
    struct locks locks;
    struct buffer out;
    (void)state;
    locks_init(&locks, 1);
    buffer_init(&out);
    assert_int_equal(ask(&locks, "free", "x", true), LOCK_RESERVED); /* nobody waits for it */
    assert_int_equal(ask(&locks, "k", "x", true), LOCK_RESERVED);
    assert_int_equal(ask(&locks, "k", "y", true), LOCK_QUEUED);
    assert_int_equal(ask(&locks, "k", "z", false), LOCK_QUEUED);
    struct slice from = look(&locks, &out, 0, 2);
    check_next(&from, "x", LOCK_EXCLUSIVE, true);
    check_next(&from, "y", LOCK_EXCLUSIVE, true);
    check_next(&from, "z", LOCK_PERMITS_MODE, false);
    assert_int_equal(from.size, 0);

    struct lock_answer answer;
    const struct slice key = slice_from_string("k");
    const struct lock_origin origin = {2, 9, 7, 5};
    assert_true(
        locks_grant_parts(&locks, &key, 1, slice_from_string("x"), &origin, &(struct lock_now){90, 0}, &answer));
    from = look(&locks, &out, 0, 2);
    check_next(&from, "x", LOCK_EXCLUSIVE, false);
    check_next(&from, "y", LOCK_EXCLUSIVE, true);
    buffer_clear(&out);
    locks_put_waits(&locks, WAIT_MS, &out); /* those waits are over */
    assert_int_equal(out.size, 0);
    buffer_deinit(&out);
    locks_deinit(&locks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts_are_told_until_they_are_granted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

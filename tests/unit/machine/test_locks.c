/* Locks, by the rules of src/machine/lock/locks.h. Positions, and so tokens, grow by 3 with each command. */
#include "base/number.h"
#include "harness.h"
#include "machine/lock/lock_arguments.h"
#include "machine/lock/lock_limits.h"
#include "machine/lock/lock_notice.h"

#include <stdio.h>
#include <string.h>

/* A request that can wait: of the n-th client of a node. */
static const char *from(struct harness *h, uint64_t node, uint64_t start, uint64_t number, const char *rest)
{
    static char text[1024];
    uint8_t origin[LOCK_ORIGIN_BYTES];
    lock_origin_put(origin, &(struct lock_origin){node, start, 7, number});
    bool asks = strncmp(rest, "ASK ", 4) == 0;
    bool leaves = strncmp(rest, "LEAVE ", 6) == 0;
    size_t size = (size_t)snprintf(text, sizeof(text), "COHORT.LOCK.%s \"",
                                   asks     ? "ASK"
                                   : leaves ? "LEAVE"
                                            : "ACQUIRE");
    for (size_t i = 0; i < sizeof(origin); i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "\\x%02x", origin[i]);
    }
    (void)snprintf(text + size, sizeof(text) - size, "\" %s", asks || leaves ? strchr(rest, ' ') + 1 : rest);
    return harness_apply(h, text);
}

#define ASKED(h, number, rest, expected) assert_string_equal(from(h, 1, 1, number, rest), expected)

static void pass_to_time_entry(struct harness *h, int64_t ms)
{
    harness_pass(h, ms);
    h->position += 3;
    struct machine_context context = {h->position, h->time_ms, h->wall_ms, h->term};
    machine_apply_time(h->machine, &context);
}

/* The next notice: its kind, number and token; kind LOCK_NOTICES when there is none. */
static struct lock_notice next_notice(struct harness *h)
{
    struct buffer *notices = machine_lock_notices(h->machine);
    struct slice rest = buffer_slice(notices);
    struct lock_notice notice = {.kind = LOCK_NOTICES};
    size_t before = rest.size;
    if (lock_notice_take(&rest, &notice)) {
        static uint8_t kept[LOCK_KEY_BYTES + LOCK_OWNER_BYTES];
        memcpy(kept, notice.key.data, notice.key.size + notice.owner.size);
        notice.key.data = kept;
        notice.owner.data = kept + notice.key.size;
        buffer_consume(notices, before - rest.size);
    }
    return notice;
}

static void check_notice(struct harness *h, enum lock_notice_kind kind, uint64_t number, uint64_t token)
{
    struct lock_notice notice = next_notice(h);
    assert_int_equal(notice.kind, kind);
    assert_int_equal(notice.to.number, number);
    assert_int_equal(notice.token, token);
}

static void no_notice(struct harness *h) { assert_int_equal(next_notice(h).kind, LOCK_NOTICES); }

static void one_holds(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LOCK.ACQUIRE l a PX 1000", "*2 :3 :1000");
    CHECK(h, "LOCK.ACQUIRE l b PX 1000", "*-1");
    CHECK(h, "LOCK.ACQUIRE l b PX 1000 MODE SHARED", "*-1");
    CHECK(h, "LOCK.RELEASE l b 3", ":0");
    CHECK(h, "LOCK.RELEASE l a 4", ":0");
    CHECK(h, "LOCK.RELEASE l a 3", ":1");
    CHECK(h, "LOCK.RELEASE l a 3", ":0");
    CHECK(h, "LOCK.ACQUIRE l b PX 1000", "*2 :24 :1000");
    CHECK(h, "LOCK.ACQUIRE other a PX 5", "*2 :27 :5");
}

/* Rule 4: asking again changes nothing. */
static void asking_again_is_safe(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LOCK.ACQUIRE l a PX 1000", "*2 :3 :1000");
    harness_pass(h, 300);
    CHECK(h, "LOCK.ACQUIRE l a PX 5000", "*2 :3 :700");
    CHECK(h, "LOCK.ACQUIRE l a PX 5000 MODE SHARED",
          "-ERR this owner holds the lock with MODE EXCLUSIVE and PX, and now asks with MODE SHARED and PX; "
          "ask as before, or LOCK.RELEASE it, then acquire it anew");
    CHECK(h, "LOCK.RELEASE l a 3", ":1");
    CHECK(h, "LOCK.ACQUIRE l a PX 5000 MODE SHARED", "*2 :15 :5000");
    CHECK(h, "LOCK.ACQUIRE l a PX 5000 MODE EXCLUSIVE",
          "-ERR this owner holds the lock with MODE SHARED and PX, and now asks with MODE EXCLUSIVE and PX; "
          "ask as before, or LOCK.RELEASE it, then acquire it anew");
    CHECK(h, "LOCK.ACQUIRE s a PX 5000 PERMITS 2 LIMIT 4", "*2 :21 :5000");
    CHECK(h, "LOCK.ACQUIRE s a PX 5000 PERMITS 3 LIMIT 4",
          "-ERR this owner holds the lock with PERMITS 2 LIMIT 4 and PX, and now asks with PERMITS 3 LIMIT 4 and PX; "
          "ask as before, or LOCK.RELEASE it, then acquire it anew");
}

/* Rule 2, in both ways in which a lease can end: by a time entry, and under another command's feet. */
static void leases_end_by_time(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LOCK.ACQUIRE l a PX 1000", "*2 :3 :1000");
    pass_to_time_entry(h, 999);
    CHECK(h, "LOCK.ACQUIRE l b PX 1000", "*-1");
    harness_pass(h, 1);
    CHECK(h, "LOCK.RENEW l a 3 PX 500",
          "-LOCKLOST this owner does not hold the lock by this token any more; acquire it anew");
    CHECK(h, "LOCK.ACQUIRE l b PX 1000", "*2 :15 :1000");
    pass_to_time_entry(h, 1000);
    struct machine_stats stats;
    machine_stats(h->machine, &stats);
    assert_int_equal(stats.locks, 0);
    assert_int_equal(stats.locks_expired, 2);
    CHECK(h, "LOCK.RELEASE l b 15", ":0");
}

static void renewing(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LOCK.ACQUIRE l a PX 1000", "*2 :3 :1000");
    harness_pass(h, 900);
    CHECK(h, "LOCK.RENEW l a 3 PX 1000", ":1000");
    CHECK(h, "LOCK.RENEW l a 4 PX 1000",
          "-LOCKLOST this owner does not hold the lock by this token any more; acquire it anew");
    CHECK(h, "LOCK.RENEW l a 3 PX 1", ":1000"); /* it may be one that was late */
    CHECK(h, "LOCK.RENEW l a 3 EX 1", "-ERR syntax error");
    CHECK(h, "LOCK.RENEW l a 3 PX 0", "-ERR PX is the time to live in ms, from 1 to 31536000000 (a year)");
    pass_to_time_entry(h, 999);
    CHECK(h, "LOCK.ACQUIRE l a PX 1", "*2 :3 :1");
    pass_to_time_entry(h, 1);
    CHECK(h, "LOCK.ACQUIRE l b PX 1", "*2 :30 :1");
}

static void many_share(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LOCK.ACQUIRE l a PX 1000 MODE SHARED", "*2 :3 :1000");
    CHECK(h, "LOCK.ACQUIRE l b PX 1000 MODE SHARED", "*2 :6 :1000");
    CHECK(h, "LOCK.ACQUIRE l c PX 1000", "*-1");
    CHECK(h, "LOCK.RELEASE l a 3", ":1");
    CHECK(h, "LOCK.ACQUIRE l c PX 1000", "*-1");
    CHECK(h, "LOCK.RELEASE l b 6", ":1");
    CHECK(h, "LOCK.ACQUIRE l c PX 1000", "*2 :21 :1000");
}

static void permits_are_weighed(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LOCK.ACQUIRE s a PX 1000 PERMITS 3 LIMIT 5", "*2 :3 :1000");
    CHECK(h, "LOCK.ACQUIRE s b PX 1000 PERMITS 3 LIMIT 5", "*-1");
    CHECK(h, "LOCK.ACQUIRE s b PX 1000 PERMITS 2 LIMIT 5", "*2 :9 :1000");
    CHECK(h, "LOCK.ACQUIRE s c PX 1000 PERMITS 1 LIMIT 6",
          "-ERR the LIMIT of this semaphore is 5 now; it can be another when nobody holds it or waits for it");
    CHECK(h, "LOCK.ACQUIRE s c PX 1000 PERMITS 7 LIMIT 6", "-ERR more PERMITS than LIMIT are never there");
    CHECK(h, "LOCK.ACQUIRE s c PX 1000 PERMITS 1", "-ERR a semaphore is asked for by PERMITS n LIMIT m, without MODE");
    CHECK(h, "LOCK.RELEASE s a 3", ":1");
    CHECK(h, "LOCK.RELEASE s b 9", ":1");
    CHECK(h, "LOCK.ACQUIRE s c PX 1000 PERMITS 6 LIMIT 6", "*2 :27 :1000");
}

static void logical_acquires_are_counted(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LOCK.ACQUIRE l a PX 1000 REENTRANT one", "*2 :3 :1000");
    CHECK(h, "LOCK.ACQUIRE l a PX 2000 REENTRANT one", "*2 :3 :1000");
    CHECK(h, "LOCK.ACQUIRE l a PX 2000 REENTRANT two", "*2 :3 :2000");
    CHECK(h, "LOCK.ACQUIRE l a PX 100 REENTRANT three", "*2 :3 :2000");
    CHECK(h, "LOCK.RELEASE l a 3 REENTRANT one", ":1");
    CHECK(h, "LOCK.RELEASE l a 3 REENTRANT one", ":0");
    CHECK(h, "LOCK.RELEASE l a 3", ":1");
    CHECK(h, "LOCK.ACQUIRE l b PX 10", "*-1");
    CHECK(h, "LOCK.RELEASE l a 3 REENTRANT two", ":1");
    CHECK(h, "LOCK.ACQUIRE l b PX 10", "*2 :30 :10");
    CHECK(h, "LOCK.ACQUIRE l b PX 10 REENTRANT more", "*2 :30 :10"); /* the first one counts, too */
    CHECK(h, "LOCK.RELEASE l b 30", ":1");
    CHECK(h, "LOCK.RELEASE l b 30", ":1");
    CHECK(h, "LOCK.RELEASE l b 30", ":0");
}

/* Rule 3 and rule 5. */
static void first_come_first_served(void **state)
{
    struct harness *h = *state;
    machine_tell_locks(h->machine, true);
    CHECK(h, "LOCK.ACQUIRE l a PX 1000", "*2 :3 :1000");
    ASKED(h, 1, "l s1 PX 1000 MODE SHARED WAIT 5000", "+QUEUED");
    ASKED(h, 2, "l s2 PX 1000 MODE SHARED WAIT 5000", "+QUEUED");
    ASKED(h, 3, "l x PX 700 WAIT 5000", "+QUEUED");
    ASKED(h, 4, "l s3 PX 1000 MODE SHARED WAIT 5000", "+QUEUED");
    CHECK(h, "LOCK.ACQUIRE l b PX 1000", "*-1");
    no_notice(h);
    CHECK(h, "LOCK.RELEASE l a 3", ":1"); /* at 21 */
    check_notice(h, LOCK_NOTICE_GRANTED, 1, 21);
    check_notice(h, LOCK_NOTICE_GRANTED, 2, 22);
    no_notice(h);
    CHECK(h, "LOCK.ACQUIRE l b PX 1000 MODE SHARED", "*-1"); /* behind the exclusive one */
    CHECK(h, "LOCK.RELEASE l s1 21", ":1");
    no_notice(h);
    CHECK(h, "LOCK.RELEASE l s2 22", ":1"); /* at 30 */
    check_notice(h, LOCK_NOTICE_GRANTED, 3, 30);
    no_notice(h);
    ASKED(h, 3, "ASK l x", "*2 :30 :700");
    ASKED(h, 4, "ASK l s3", "+QUEUED");
    ASKED(h, 5, "ASK l s3", "*-1");
    pass_to_time_entry(h, 700); /* 42 */
    check_notice(h, LOCK_NOTICE_LOST, 3, 30);
    check_notice(h, LOCK_NOTICE_GRANTED, 4, 42);
    no_notice(h);
}

static void waits_end_at_their_deadline(void **state)
{
    struct harness *h = *state;
    machine_tell_locks(h->machine, true);
    CHECK(h, "LOCK.ACQUIRE l a PX 1000", "*2 :3 :1000");
    ASKED(h, 1, "l b PX 1000 WAIT 100", "+QUEUED");
    ASKED(h, 2, "l c PX 1000 WAIT 1000", "+QUEUED");
    ASKED(h, 3, "l d PX 1000 WAIT 1001", "+QUEUED");
    pass_to_time_entry(h, 99);
    no_notice(h);
    pass_to_time_entry(h, 1);
    check_notice(h, LOCK_NOTICE_ENDED, 1, 0);
    no_notice(h);
    pass_to_time_entry(h, 900); /* the lease and a wait end at once: nobody is granted behind his deadline */
    check_notice(h, LOCK_NOTICE_ENDED, 2, 0);
    check_notice(h, LOCK_NOTICE_GRANTED, 3, h->position);
    no_notice(h);
}

/* An exclusive request that gives up lets those behind it go on. */
static void a_wait_that_ends_lets_others_in(void **state)
{
    struct harness *h = *state;
    machine_tell_locks(h->machine, true);
    CHECK(h, "LOCK.ACQUIRE l a PX 9000 MODE SHARED", "*2 :3 :9000");
    ASKED(h, 1, "l b PX 1000 WAIT 100", "+QUEUED");
    ASKED(h, 2, "l c PX 1000 MODE SHARED WAIT 1000", "+QUEUED");
    pass_to_time_entry(h, 100);
    check_notice(h, LOCK_NOTICE_ENDED, 1, 0);
    check_notice(h, LOCK_NOTICE_GRANTED, 2, h->position);
    ASKED(h, 3, "l d PX 1000 WAIT 500", "+QUEUED");
    ASKED(h, 4, "l e PX 1000 MODE SHARED WAIT 500", "+QUEUED");
    ASKED(h, 3, "LEAVE l d", "+OK");
    check_notice(h, LOCK_NOTICE_GRANTED, 4, h->position);
    no_notice(h);
}

static void large_permits_are_not_starved(void **state)
{
    struct harness *h = *state;
    machine_tell_locks(h->machine, true);
    CHECK(h, "LOCK.ACQUIRE s a PX 9000 PERMITS 2 LIMIT 3", "*2 :3 :9000");
    ASKED(h, 1, "s b PX 9000 PERMITS 3 LIMIT 3 WAIT 5000", "+QUEUED");
    CHECK(h, "LOCK.ACQUIRE s c PX 9000 PERMITS 1 LIMIT 3", "*-1");
    CHECK(h, "LOCK.ACQUIRE s d PX 9000 PERMITS 1 LIMIT 4",
          "-ERR the LIMIT of this semaphore is 3 now; it can be another when nobody holds it or waits for it");
    CHECK(h, "LOCK.RELEASE s a 3", ":1");
    check_notice(h, LOCK_NOTICE_GRANTED, 1, 15);
    CHECK(h, "LOCK.ACQUIRE s d PX 9000 PERMITS 1 LIMIT 4",
          "-ERR the LIMIT of this semaphore is 3 now; it can be another when nobody holds it or waits for it");
}

/* The same owner asks anew: it keeps its place, and the earlier request is told so. */
static void a_place_is_kept(void **state)
{
    struct harness *h = *state;
    machine_tell_locks(h->machine, true);
    CHECK(h, "LOCK.ACQUIRE l a PX 1000", "*2 :3 :1000");
    ASKED(h, 1, "l b PX 1000 WAIT 200", "+QUEUED");
    ASKED(h, 2, "l c PX 1000 WAIT 5000", "+QUEUED");
    ASKED(h, 1, "l b PX 1000 WAIT 200", "+QUEUED"); /* the very same request */
    no_notice(h);
    assert_string_equal(from(h, 2, 1, 1, "l b PX 1000 WAIT 5000"), "+QUEUED");
    check_notice(h, LOCK_NOTICE_TAKEN, 1, 0);
    ASKED(h, 1, "LEAVE l b", "+OK"); /* it is not that one's any more */
    CHECK(h, "LOCK.RELEASE l a 3", ":1");
    struct lock_notice notice = next_notice(h);
    assert_int_equal(notice.kind, LOCK_NOTICE_GRANTED);
    assert_int_equal(notice.to.node, 2);
    CHECK(h, "LOCK.ACQUIRE l b PX 1000 ", "*2 :21 :1000");
}

/* A grant that raced with the end of its client goes on to the next one at once. */
static void a_grant_nobody_takes_goes_on(void **state)
{
    struct harness *h = *state;
    machine_tell_locks(h->machine, true);
    CHECK(h, "LOCK.ACQUIRE l a PX 1000", "*2 :3 :1000");
    ASKED(h, 1, "l b PX 60000 WAIT 200", "+QUEUED");
    ASKED(h, 2, "l c PX 60000 WAIT 200", "+QUEUED");
    CHECK(h, "LOCK.RELEASE l a 3", ":1");
    check_notice(h, LOCK_NOTICE_GRANTED, 1, 12);
    ASKED(h, 1, "LEAVE l b", "+OK");
    check_notice(h, LOCK_NOTICE_GRANTED, 2, 15);
    ASKED(h, 1, "LEAVE l b", "+OK");
    ASKED(h, 2, "ASK l c", "*2 :15 :60000");
}

/* Its client is gone, but the owner has asked again elsewhere, as locks.md says, and was told that it holds. */
static void a_grant_told_elsewhere_stays(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LOCK.ACQUIRE l a PX 1000", "*2 :3 :1000");
    ASKED(h, 1, "l b PX 60000 WAIT 200", "+QUEUED");
    CHECK(h, "LOCK.RELEASE l a 3", ":1");
    assert_string_equal(from(h, 2, 1, 5, "l b PX 60000 WAIT 200"), "*2 :9 :60000");
    ASKED(h, 1, "LEAVE l b", "+OK");
    assert_string_equal(from(h, 2, 1, 5, "LEAVE l b"), "+OK"); /* nor does the other's end: the first may know, too */
    CHECK(h, "LOCK.ACQUIRE l c PX 1000", "*-1");
    CHECK(h, "LOCK.RELEASE l b 9", ":1");
    CHECK(h, "LOCK.ACQUIRE l c PX 1000", "*2 :27 :1000");
}

/* The earlier of two requests that wait is told that it ended: its id counts for nothing, that of the later one does.
 */
static void a_place_is_taken_with_its_id(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LOCK.ACQUIRE l a PX 1000", "*2 :3 :1000");
    ASKED(h, 1, "l b PX 60000 WAIT 900 REENTRANT one", "+QUEUED");
    ASKED(h, 2, "l b PX 60000 WAIT 900 REENTRANT two", "+QUEUED");
    CHECK(h, "LOCK.RELEASE l a 3", ":1");
    CHECK(h, "LOCK.ACQUIRE l b PX 60000 REENTRANT one", "*2 :12 :60000");
    CHECK(h, "LOCK.RELEASE l b 12 REENTRANT two", ":1");
    CHECK(h, "LOCK.ACQUIRE l c PX 1000", "*-1");
    CHECK(h, "LOCK.RELEASE l b 12 REENTRANT one", ":1");
    ASKED(h, 3, "l d PX 60000 WAIT 900", "*2 :27 :60000");
    ASKED(h, 4, "l e PX 60000 WAIT 900 REENTRANT one", "+QUEUED");
    ASKED(h, 5, "l e PX 60000 WAIT 900", "+QUEUED");
    CHECK(h, "LOCK.RELEASE l d 27", ":1");
    CHECK(h, "LOCK.RELEASE l e 36", ":1");
    CHECK(h, "LOCK.ACQUIRE l c PX 1000", "*2 :42 :1000");
}

/* All that waited at a node's earlier starts goes, in one step, whatever stands between. */
static void nodes_are_reaped(void **state)
{
    struct harness *h = *state;
    machine_tell_locks(h->machine, true);
    CHECK(h, "LOCK.ACQUIRE l a PX 1000", "*2 :3 :1000");
    CHECK(h, "LOCK.ACQUIRE m a PX 1000 MODE SHARED", "*2 :6 :1000");
    assert_string_equal(from(h, 4, 1, 1, "l b PX 1000 WAIT 500"), "+QUEUED");
    assert_string_equal(from(h, 4, 1, 2, "l c PX 1000 WAIT 500"), "+QUEUED");
    assert_string_equal(from(h, 5, 1, 3, "l d PX 1000 WAIT 500"), "+QUEUED");
    assert_string_equal(from(h, 4, 2, 4, "l e PX 1000 WAIT 500"), "+QUEUED");
    assert_string_equal(from(h, 4, 1, 5, "m f PX 1000 WAIT 500"), "+QUEUED");
    assert_string_equal(from(h, 5, 1, 6, "m g PX 1000 MODE SHARED WAIT 500"), "+QUEUED");
    CHECK(h, "COHORT.LOCK.REAP 4 1", ":0");
    CHECK(h, "COHORT.LOCK.REAP 4 2", ":3");
    check_notice(h, LOCK_NOTICE_GRANTED, 6, h->position);
    CHECK(h, "LOCK.RELEASE l a 3", ":1");
    check_notice(h, LOCK_NOTICE_GRANTED, 3, h->position);
    CHECK(h, "COHORT.LOCK.REAP 9 2", ":0");
    no_notice(h);
}

/* By force: whoever acquired it is told, all its acquires go at once, and its token is good for nothing from then on.
 */
static void taken_away(void **state)
{
    struct harness *h = *state;
    machine_tell_locks(h->machine, true);
    assert_string_equal(from(h, 1, 1, 1, "l a PX 1000 REENTRANT x"), "*2 :3 :1000");
    ASKED(h, 2, "l a PX 1000 REENTRANT y", "*2 :3 :1000");
    ASKED(h, 3, "l b PX 1000 WAIT 500", "+QUEUED");
    CHECK(h, "FENCE.CHECK l 3", ":1");
    CHECK(h, "LOCK.RELEASE l a 4 FORCE", ":0");
    CHECK(h, "LOCK.RELEASE l b 3 FORCE", ":0");
    CHECK(h, "LOCK.RELEASE l a 3 FORCE REENTRANT x", "-ERR syntax error");
    CHECK(h, "LOCK.RELEASE l a 3 REENTRANT x FORCE", "-ERR syntax error");
    no_notice(h);
    CHECK(h, "LOCK.RELEASE l a 3 FORCE", ":1");
    check_notice(h, LOCK_NOTICE_LOST, 1, 3);
    check_notice(h, LOCK_NOTICE_GRANTED, 3, 27);
    no_notice(h);
    CHECK(h, "LOCK.RELEASE l a 3 FORCE", ":0");
    CHECK(h, "LOCK.RENEW l a 3 PX 1000",
          "-LOCKLOST this owner does not hold the lock by this token any more; acquire it anew");
    CHECK(h, "LOCK.GUARD l 3 SET k v",
          "-FENCED this token does not hold the lock any more; the command was not executed");
    CHECK(h, "FENCE.CHECK l 3", ":0"); /* though nobody has come with 27 yet */
    CHECK(h, "FENCE.CHECK l 27", ":1");
    CHECK(h, "LOCK.HISTORY l", "*1 *10 $5 owner $1 a $5 token :3 $4 from :1000 $2 to :1000 $3 why $5 admin");
    CHECK(h, "LOCK.ACQUIRE s c PX 1000 MODE SHARED", "*2 :48 :1000");
    CHECK(h, "LOCK.ACQUIRE s d PX 1000 MODE SHARED", "*2 :51 :1000");
    CHECK(h, "LOCK.RELEASE s d 51 FORCE", ":1");
    CHECK(h, "FENCE.CHECK s 51", ":0");
    CHECK(h, "FENCE.CHECK s 48", ":1"); /* it holds */
    CHECK(h, "LOCK.ACQUIRE s d PX 1000 MODE SHARED", "*2 :63 :1000");
    CHECK(h, "FENCE.CHECK s 63", ":1");
    CHECK(h, "ELECT.CAMPAIGN e a PX 1000", "*2 :69 :1000");
    CHECK(h, "ELECT.RESIGN e a 69 FORCE now", "-ERR syntax error");
    CHECK(h, "ELECT.RESIGN e a 69 BY", "-ERR syntax error");
    CHECK(h, "ELECT.RESIGN e a 69 force", ":1");
    CHECK(h, "ELECT.RESIGN e a 69 FORCE", ":0");
    CHECK(h, "ELECT.LEADER e", "*-1");
}

static void guarded(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LOCK.ACQUIRE l a PX 1000", "*2 :3 :1000");
    CHECK(h, "LOCK.GUARD l 3 SET k v", "+OK");
    CHECK(h, "LOCK.GUARD l 3 GET k", "$1 v");
    CHECK(h, "LOCK.GUARD l 3 HGET k f", "-WRONGTYPE Operation against a key holding the wrong kind of value");
    const char *fenced = "-FENCED this token does not hold the lock any more; the command was not executed";
    CHECK(h, "LOCK.GUARD l 4 SET k w", fenced);
    CHECK(h, "LOCK.GUARD m 3 SET k w", fenced);
    harness_pass(h, 1000);
    CHECK(h, "LOCK.GUARD l 3 SET k w", fenced);
    CHECK(h, "GET k", "$1 v");
    CHECK(h, "LOCK.GUARD l 0 SET k w", "-ERR a token is the positive integer that LOCK.ACQUIRE gave");
}

static void fences(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LOCK.ACQUIRE l a PX 1000", "*2 :3 :1000");
    CHECK(h, "FENCE.CHECK l 3", ":1");
    CHECK(h, "LOCK.RELEASE l a 3", ":1");
    CHECK(h, "FENCE.CHECK l 3", ":1");
    CHECK(h, "LOCK.ACQUIRE l b PX 1000", "*2 :15 :1000");
    CHECK(h, "FENCE.CHECK l 3", ":1"); /* nobody has shown a newer one yet */
    CHECK(h, "FENCE.CHECK l 15", ":1");
    CHECK(h, "FENCE.CHECK l 3", ":0");
    CHECK(h, "FENCE.CHECK l 100",
          "-ERR no lock of this shard was granted by such a token yet; is it of another lock, or cluster?");
    CHECK(h, "LOCK.ACQUIRE s a PX 1000 MODE SHARED", "*2 :30 :1000");
    CHECK(h, "LOCK.ACQUIRE s b PX 1000 MODE SHARED", "*2 :33 :1000");
    CHECK(h, "FENCE.CHECK s 33", ":1");
    CHECK(h, "FENCE.CHECK s 30", ":1"); /* it holds */
    CHECK(h, "LOCK.RELEASE s a 30", ":1");
    CHECK(h, "FENCE.CHECK s 30", ":0");
    CHECK(h, "FENCE.CHECK s 33", ":1");
}

static void shown(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LOCK.INFO l", "*8 $4 mode $4 free $5 limit :0 $7 holders *0 $7 waiters *0");
    CHECK(h, "LOCK.ACQUIRE l a PX 1000 NOTE \"why not\"", "*2 :6 :1000");
    ASKED(h, 1, "l b PX 1000 WAIT 500 MODE SHARED", "+QUEUED");
    harness_pass(h, 20);
    CHECK(h, "LOCK.INFO l",
          "*8 $4 mode $9 exclusive $5 limit :0 $7 holders *1 *14 $5 owner $1 a $5 token :6 $7 permits :1 $7 held_ms "
          ":20 $6 ttl_ms :980 $4 note $7 why not $6 client $-1 $7 waiters *1 *8 $5 owner $1 b $4 mode $6 shared $7 "
          "permits :1 $9 waited_ms :20");
    harness_pass(h, 500);
    assert_null(harness_read(h, "LOCK.INFO l")); /* the wait is over, though not by the log yet */
    CHECK(h, "LOCK.HISTORY l", "*0");
    CHECK(h, "LOCK.RELEASE l a 6", ":1");
    CHECK(h, "LOCK.ACQUIRE l c PX 10", "*2 :21 :10");
    pass_to_time_entry(h, 11);
    CHECK(h, "LOCK.HISTORY l COUNT 5",
          "*2 *10 $5 owner $1 c $5 token :21 $4 from :1520 $2 to :1531 $3 why $7 expired *10 $5 owner $1 a $5 token :6 "
          "$4 from :1000 $2 to :1520 $3 why $8 released");
    CHECK(h, "LOCK.HISTORY l COUNT 1", "*1 *10 $5 owner $1 c $5 token :21 $4 from :1520 $2 to :1531 $3 why $7 expired");
    CHECK(h, "LOCK.HISTORY nothing", "*0");
    CHECK(h, "LOCK.ACQUIRE m a PX 1000", "*2 :36 :1000");
    CHECK(h, "COHORT.LOCK.LIST 0 10 *", "*2 $1 0 *1 $1 m"); /* l is idle */
    CHECK(h, "COHORT.LOCK.LIST 0 10 x*", "*2 $1 0 *0");
}

/* Locks are no keys. */
static void beside_the_keys(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LOCK.ACQUIRE l a PX 1000", "*2 :3 :1000");
    CHECK(h, "SET l v", "+OK");
    CHECK(h, "DEL l", ":1");
    CHECK(h, "KEYS *", "*0");
    CHECK(h, "FLUSHALL", "+OK");
    CHECK(h, "LOCK.ACQUIRE l a PX 1000", "*2 :3 :1000");
    struct machine_stats stats;
    machine_stats(h->machine, &stats);
    assert_int_equal(stats.keys, 0);
    assert_int_equal(stats.locks, 1);
    assert_true(stats.memory_bytes > 0);
    CHECK(h, "LOCK.RELEASE l a 3", ":1");
}

/* A prepared transaction's locks are on keys, and say nothing about those of LOCK.*; what GUARD carries meets them. */
static void beside_transactions(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LOCK.ACQUIRE k a PX 1000", "*2 :3 :1000");
    (void)harness_nested(h, "COHORT.TXN.PREPARE t 1 0 2 NOW 2 1 2 0 0", "SET k v", NULL);
    CHECK(h, "LOCK.RENEW k a 3 PX 1000", ":1000");
    CHECK(h, "LOCK.GUARD k 3 SET k w",
          "-BUSY a transaction holds a key of this command; it was not executed, try again");
    CHECK(h, "LOCK.GUARD k 3 SET other w", "+OK");
    CHECK(h, "LOCK.RELEASE k a 3", ":1");
}

static void malformed(void **state)
{
    struct harness *h = *state;
    char text[2048];
    char name[1100];
    memset(name, 'x', sizeof(name));
    const char *px = "-ERR PX is the time to live in ms, from 1 to 31536000000 (a year)";
    CHECK(h, "LOCK.ACQUIRE l a PX x", px);
    CHECK(h, "LOCK.ACQUIRE l a PX 0", px);
    CHECK(h, "LOCK.ACQUIRE l a PX 31536000001", px);
    CHECK(h, "LOCK.ACQUIRE l a WAIT 10", px);
    CHECK(h, "LOCK.ACQUIRE l a PX 10 WAIT -1", "-ERR WAIT is a time in ms, from 0 to 31536000000 (a year)");
    CHECK(h, "LOCK.ACQUIRE l a PX 10 WAIT", "-ERR syntax error");
    CHECK(h, "LOCK.ACQUIRE l a PX 10 PX 10", "-ERR syntax error: PX is given twice");
    CHECK(h, "LOCK.ACQUIRE l a PX 10 WHAT 10", "-ERR syntax error");
    CHECK(h, "LOCK.ACQUIRE l a PX 10 MODE BOTH", "-ERR MODE is EXCLUSIVE or SHARED");
    CHECK(h, "LOCK.ACQUIRE l a SESSION 7", "-ERR SESSION is followed by the id that SESSION.OPEN gave");
    CHECK(h, "LOCK.ACQUIRE l a SESSION 1-7 PX 10",
          "-ERR a lock has a time to live of its own (PX), or ends with a SESSION, not both");
    CHECK(h, "LOCK.ACQUIRE l a PX 10 PERMITS 0 LIMIT 5", "-ERR PERMITS and LIMIT are integers from 1 to 1073741824");
    CHECK(h, "LOCK.ACQUIRE l a PX 10 REENTRANT \"\"", "-ERR the id behind REENTRANT has 1 to 128 bytes");
    (void)snprintf(text, sizeof(text), "LOCK.ACQUIRE %.1025s a PX 10", name);
    CHECK(h, text, "-ERR the name of a lock has 1024 bytes at most");
    (void)snprintf(text, sizeof(text), "LOCK.ACQUIRE l %.257s PX 10", name);
    CHECK(h, text, "-ERR the name of an owner has 1 to 256 bytes");
    CHECK(h, "LOCK.ACQUIRE l \"\" PX 10", "-ERR the name of an owner has 1 to 256 bytes");
    (void)snprintf(text, sizeof(text), "LOCK.ACQUIRE l a PX 10 NOTE %.513s", name);
    CHECK(h, text, "-ERR a NOTE has 512 bytes at most");
    (void)snprintf(text, sizeof(text), "LOCK.ACQUIRE l a PX 10 REENTRANT %.129s", name);
    CHECK(h, text, "-ERR the id behind REENTRANT has 1 to 128 bytes");
    (void)snprintf(text, sizeof(text), "FENCE.CHECK %.1025s 1", name);
    CHECK(h, text, "-ERR the name of a lock has 1024 bytes at most");
    CHECK(h, "LOCK.RELEASE l a x", "-ERR a token is the positive integer that LOCK.ACQUIRE gave");
    CHECK(h, "LOCK.HISTORY l COUNT 0", "-ERR COUNT is a positive integer");
    (void)snprintf(text, sizeof(text), "LOCK.RENEW %.1024s %.256s 1 PX 10", name, name);
    CHECK(h, text, "-LOCKLOST this owner does not hold the lock by this token any more; acquire it anew");
    struct machine_stats stats;
    machine_stats(h->machine, &stats);
    assert_int_equal(stats.memory_bytes, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(one_holds),
        CASE(asking_again_is_safe),
        CASE(leases_end_by_time),
        CASE(renewing),
        CASE(many_share),
        CASE(permits_are_weighed),
        CASE(logical_acquires_are_counted),
        CASE(first_come_first_served),
        CASE(waits_end_at_their_deadline),
        CASE(a_wait_that_ends_lets_others_in),
        CASE(large_permits_are_not_starved),
        CASE(a_place_is_kept),
        CASE(a_grant_nobody_takes_goes_on),
        CASE(a_grant_told_elsewhere_stays),
        CASE(a_place_is_taken_with_its_id),
        CASE(nodes_are_reaped),
        CASE(taken_away),
        CASE(guarded),
        CASE(fences),
        CASE(shown),
        CASE(beside_the_keys),
        CASE(beside_transactions),
        CASE(malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

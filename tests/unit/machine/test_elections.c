/* Elections: an exclusive lock in a namespace of its own. Positions, and so tokens, grow by 3 with each command. */
#include "harness.h"
#include "machine/lock/elections.h"
#include "machine/lock/lock_arguments.h"
#include "machine/lock/lock_notice.h"

#include <stdio.h>
#include <string.h>

/* What a node says for its n-th request: COHORT.<word> origin rest. */
static const char *from(struct harness *h, uint64_t number, const char *word, const char *rest)
{
    static char text[1024];
    uint8_t origin[LOCK_ORIGIN_BYTES];
    lock_origin_put(origin, &(struct lock_origin){1, 1, 7, number});
    size_t size = (size_t)snprintf(text, sizeof(text), "COHORT.%s \"", word);
    for (size_t i = 0; i < sizeof(origin); i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "\\x%02x", origin[i]);
    }
    (void)snprintf(text + size, sizeof(text) - size, "\" %s", rest);
    return harness_apply(h, text);
}

#define CAMPAIGN(h, number, rest, expected) assert_string_equal(from(h, number, "ELECT.CAMPAIGN", rest), expected)

static void pass_to_time_entry(struct harness *h, int64_t ms)
{
    harness_pass(h, ms);
    h->position += 3;
    struct machine_context context = {h->position, h->time_ms, h->wall_ms, h->term};
    machine_apply_time(h->machine, &context);
}

static void check_notice(struct harness *h, enum lock_notice_kind kind, uint64_t number, const char *election)
{
    struct buffer *notices = machine_lock_notices(h->machine);
    struct slice rest = buffer_slice(notices);
    struct lock_notice notice;
    struct slice name;
    assert_true(lock_notice_take(&rest, &notice));
    assert_int_equal(notice.kind, kind);
    assert_int_equal(notice.to.number, number);
    assert_true(election_of(notice.key, &name) && slice_equal(name, slice_from_string(election)));
    buffer_consume(notices, notices->size - rest.size);
}

static void one_leads(void **state)
{
    struct harness *h = *state;
    CHECK(h, "ELECT.LEADER e", "*-1");
    CHECK(h, "ELECT.CAMPAIGN e a PX 1000 VALUE here", "*2 :6 :1000");
    CHECK(h, "ELECT.LEADER e", "*8 $9 candidate $1 a $5 token :6 $6 ttl_ms :1000 $5 value $4 here");
    CHECK(h, "ELECT.CAMPAIGN e b PX 1000", "*-1");
    CHECK(h, "ELECT.RESIGN e b 6", ":0");
    CHECK(h, "ELECT.RESIGN e a 7", ":0");
    CHECK(h, "ELECT.RESIGN e a 6", ":1");
    CHECK(h, "ELECT.RESIGN e a 6", ":0");
    CHECK(h, "ELECT.LEADER e", "*-1");
    CHECK(h, "ELECT.CAMPAIGN e b PX 1000", "*2 :30 :1000");
    CHECK(h, "ELECT.LEADER e", "*8 $9 candidate $1 b $5 token :30 $6 ttl_ms :1000 $5 value $0 ");
}

/* Campaigning again never shortens a term: it may be a request that was late. */
static void the_leader_goes_on(void **state)
{
    struct harness *h = *state;
    CHECK(h, "ELECT.CAMPAIGN e a PX 1000", "*2 :3 :1000");
    harness_pass(h, 600);
    CHECK(h, "ELECT.CAMPAIGN e a PX 300", "*2 :3 :400");
    CHECK(h, "ELECT.CAMPAIGN e a PX 1000 VALUE late", "*2 :3 :1000");
    pass_to_time_entry(h, 999);
    CHECK(h, "ELECT.LEADER e", "*8 $9 candidate $1 a $5 token :3 $6 ttl_ms :1 $5 value $0 ");
    harness_pass(h, 1);
    assert_null(harness_read(h, "ELECT.LEADER e"));
    CHECK(h, "ELECT.CAMPAIGN e a PX 1000", "*2 :18 :1000"); /* another term, by another token */
    pass_to_time_entry(h, 1000);
    CHECK(h, "ELECT.LEADER e", "*-1");
}

static void candidates_wait(void **state)
{
    struct harness *h = *state;
    machine_tell_locks(h->machine, true);
    CAMPAIGN(h, 1, "e a PX 1000 WAIT 5000", "*2 :3 :1000");
    CAMPAIGN(h, 2, "e b PX 500 WAIT 5000", "+QUEUED");
    CAMPAIGN(h, 3, "e c PX 700 WAIT 5000 VALUE c:1", "+QUEUED");
    assert_string_equal(from(h, 3, "LOCK.ASK", "\"\\x00Ee\" c"), "+QUEUED");
    CHECK(h, "ELECT.RESIGN e a 3", ":1");
    check_notice(h, LOCK_NOTICE_GRANTED, 2, "e");
    pass_to_time_entry(h, 500);
    check_notice(h, LOCK_NOTICE_LOST, 2, "e");
    check_notice(h, LOCK_NOTICE_GRANTED, 3, "e");
    assert_string_equal(from(h, 3, "LOCK.ASK", "\"\\x00Ee\" c"), "*2 :18 :700");
    CAMPAIGN(h, 4, "e d PX 500 WAIT 50", "+QUEUED");
    assert_string_equal(from(h, 3, "LOCK.LEAVE", "\"\\x00Ee\" c"), "+OK");
    check_notice(h, LOCK_NOTICE_GRANTED, 4, "e");
    struct machine *copy = harness_copy(h->machine, 16);
    assert_int_equal(machine_digest(copy), machine_digest(h->machine));
    machine_destroy(copy);
}

static void beside_the_locks(void **state)
{
    struct harness *h = *state;
    CHECK(h, "ELECT.CAMPAIGN e a PX 1000", "*2 :3 :1000");
    CHECK(h, "LOCK.ACQUIRE e b PX 1000", "*2 :6 :1000");
    CHECK(h, "LOCK.ACQUIRE \"\\x00Ee\" a PX 1000", "-ERR no name of a lock begins with a zero byte; take another one");
    CHECK(h, "FENCE.CHECK \"\\x00Ee\" 3", "-ERR no name of a lock begins with a zero byte; take another one");
    CHECK(h, "COHORT.LOCK.LIST 0 100 *", "*2 $1 0 *1 $1 e");
    CHECK(h, "ELECT.RESIGN e b 6", ":0");
    CHECK(h, "LOCK.RELEASE e b 6", ":1");
    CHECK(h, "ELECT.RESIGN e a 3", ":1");
}

static void malformed(void **state)
{
    struct harness *h = *state;
    static char text[3000];
    char name[600];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    CHECK(h, "ELECT.CAMPAIGN e a WAIT 10",
          "-ERR the term of office is given as PX ttl_ms; renew it by campaigning again");
    CHECK(h, "ELECT.CAMPAIGN e a PX 0", "-ERR PX is the term of office in ms, from 1 to 31536000000 (a year)");
    CHECK(h, "ELECT.CAMPAIGN e a PX 10 WAIT -1", "-ERR WAIT is a time in ms, from 0 to 31536000000 (a year)");
    CHECK(h, "ELECT.CAMPAIGN e a PX 10 PX 10", "-ERR syntax error: PX is given twice");
    CHECK(h, "ELECT.CAMPAIGN e a PX 10 VALUE", "-ERR syntax error");
    CHECK(h, "ELECT.CAMPAIGN e a PX 10 MODE SHARED", "-ERR syntax error");
    CHECK(h, "ELECT.RESIGN e a x", "-ERR a token is the positive integer that ELECT.CAMPAIGN gave");
    (void)snprintf(text, sizeof(text), "ELECT.CAMPAIGN %.513s a PX 10", name);
    CHECK(h, text, "-ERR the name of an election has 512 bytes at most");
    (void)snprintf(text, sizeof(text), "ELECT.RESIGN %.513s a 1", name);
    CHECK(h, text, "-ERR the name of an election has 512 bytes at most");
    (void)snprintf(text, sizeof(text), "ELECT.LEADER %.513s", name);
    CHECK(h, text, "*-1");
    (void)snprintf(text, sizeof(text), "ELECT.CAMPAIGN e %.257s PX 10", name);
    CHECK(h, text, "-ERR the name of a candidate has 1 to 256 bytes");
    CHECK(h, "ELECT.CAMPAIGN e \"\" PX 10", "-ERR the name of a candidate has 1 to 256 bytes");
    CHECK(h, "ELECT.RESIGN e \"\" 1", ":0");
    (void)snprintf(text, sizeof(text), "ELECT.CAMPAIGN e a PX 10 VALUE %.513s", name);
    CHECK(h, text, "-ERR a VALUE has 512 bytes at most");
    struct machine_stats stats;
    machine_stats(h->machine, &stats);
    assert_int_equal(stats.memory_bytes, 0);
    (void)snprintf(text, sizeof(text), "ELECT.CAMPAIGN %.512s %.256s PX 10 VALUE %.512s", name, name, name);
    CHECK(h, text, "*2 :45 :10");
}

/* One more candidate than may wait. */
static void many_candidates(void **state)
{
    struct harness *h = *state;
    char text[64];
    CHECK(h, "ELECT.CAMPAIGN e leader PX 1000", "*2 :3 :1000");
    for (int i = 0; i <= LOCK_WAITERS; i++) {
        (void)snprintf(text, sizeof(text), "e c%d PX 1000 WAIT 1000", i);
        CAMPAIGN(h, (uint64_t)i + 1, text,
                 i < LOCK_WAITERS ? "+QUEUED"
                                  : "-BUSY 4096 candidates wait in this election, which is the most; try again later");
    }
}

/* Beyond maxmemory: who leads leads on, and nobody else comes to lead or waits. */
static void leads_on_without_memory(void **state)
{
    static const char refused[] = "-OOM command not allowed when used memory > 'maxmemory'; only who leads leads on.";
    struct harness *h = *state;
    assert_string_equal(from(h, 1, "ELECT.RENEW", "e a PX 100"), refused);
    CAMPAIGN(h, 2, "e a PX 100", "*2 :6 :100");
    harness_pass(h, 60);
    assert_string_equal(from(h, 3, "ELECT.RENEW", "e a PX 100 WAIT 100 VALUE v"), "*2 :6 :100");
    assert_string_equal(from(h, 4, "ELECT.RENEW", "e b PX 100 WAIT 100"), refused);
    harness_pass(h, 100);
    assert_string_equal(from(h, 5, "ELECT.RENEW", "e a PX 100"), refused); /* its term is over */
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(one_leads), CASE(the_leader_goes_on), CASE(candidates_wait),         CASE(beside_the_locks),
        CASE(malformed), CASE(many_candidates),    CASE(leads_on_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What no honest network shows: forged and contradictory messages, damaged disks; and the edges of the host's calls. */
#include "raft/raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct raft_options make_options(uint64_t id)
{
    return (struct raft_options){
        .id = id,
        .seed = id,
        .election_timeout_ms = 100,
        .heartbeat_ms = 20,
        .commit_notice_ms = 5,
        .append_bytes = 1000,
        .inflight_messages = 8,
        .inflight_bytes = 10000,
        .snapshot_chunk_bytes = 1000,
        .uncommitted_entries = 1000,
        .entry_version = 3,
    };
}

static void make_boot(size_t voters, struct raft_boot *boot)
{
    const uint64_t ids[] = {1, 2, 3, 4, 5};
    *boot = (struct raft_boot){0};
    assert_int_equal(raft_configuration_make(ids, voters, NULL, 0, &boot->configuration), STATUS_OK);
}

static struct raft *start(size_t voters)
{
    struct raft_boot boot;
    make_boot(voters, &boot);
    struct raft_options options = make_options(1);
    struct raft *raft;
    assert_int_equal(raft_create(&options, &boot, &raft), STATUS_OK);
    assert_int_equal(raft_start(raft, 1000), STATUS_OK);
    return raft;
}

/* Takes all readies and syncs them at once; what is sent is dropped. Sums up what was news. */
static void turn(struct raft *raft, struct raft_ready *news)
{
    struct raft_ready ready;
    struct raft_message message;
    while (raft_take_ready(raft, &ready)) {
        if (news != NULL && (ready.role_changed || ready.commit_changed || ready.leader_time_heard)) {
            *news = ready;
        }
        if (ready.commit_changed) {
            raft_applied(raft, ready.commit);
        }
        if (ready.number != 0) {
            raft_stored(raft, ready.number);
        }
    }
    while (raft_take_message(raft, &message)) {
        static struct raft_entry entries[RAFT_MAXIMUM_APPEND_ENTRIES];
        if (message.type != RAFT_APPEND) {
            continue;
        }
        message.append.entries = entries;
        message.append.count = message.append.available;
        for (uint32_t i = 0; i < message.append.count; i++) {
            entries[i] = (struct raft_entry){.index = message.append.prev_index + 1 + i};
            assert_int_equal(raft_term_at(raft, entries[i].index, &entries[i].term), STATUS_OK);
        }
        raft_append_filled(raft, &message);
    }
}

static struct raft_status status_of(const struct raft *raft)
{
    struct raft_status status;
    raft_status(raft, &status);
    return status;
}

/* Ticks, every millisecond from then on, until it asks for votes; when that was. */
static uint64_t asks_ms(struct raft *raft, uint64_t now_ms)
{
    struct raft_ready ready;
    struct raft_message message;
    for (bool asked = false; !asked;) {
        raft_tick(raft, ++now_ms);
        (void)raft_take_ready(raft, &ready);
        while (raft_take_message(raft, &message)) {
            asked = asked || message.type == RAFT_PRE_VOTE;
        }
    }
    return now_ms;
}

static void lead_alone(struct raft *raft)
{
    raft_tick(raft, 1001);
    turn(raft, NULL);
    assert_int_equal(status_of(raft).role, RAFT_LEADER);
}

/* An append of entries with these terms after (prev, prev_term), by leader 2. */
static enum status append(struct raft *raft, uint64_t term, uint64_t prev, uint64_t prev_term, uint64_t commit,
                          size_t count, const uint64_t *terms)
{
    struct raft_entry entries[8];
    for (size_t i = 0; i < count; i++) {
        entries[i] = (struct raft_entry){.index = prev + 1 + i, .term = terms[i], .kind = RAFT_ENTRY_HOST};
    }
    struct raft_message message = {.type = RAFT_APPEND,
                                   .from = 2,
                                   .to = 1,
                                   .term = term,
                                   .append = {.prev_index = prev,
                                              .prev_term = prev_term,
                                              .commit = commit,
                                              .entries = entries,
                                              .count = (uint32_t)count}};
    enum status status = raft_step(raft, &message);
    turn(raft, NULL);
    return status;
}

/* RedisRaft: conflict with a committed entry. */
static void test_conflict_with_a_committed_entry_is_refused(void **state)
{
    struct raft *raft = start(3);
    assert_int_equal(append(raft, 1, 0, 0, 2, 3, (uint64_t[]){1, 1, 1}), STATUS_OK);
    assert_int_equal(status_of(raft).commit, 2);
    /* Term 2 replaces 3, which is not committed … */
    assert_int_equal(append(raft, 2, 2, 1, 2, 1, (uint64_t[]){2}), STATUS_OK);
    assert_int_equal(status_of(raft).last, 3);
    assert_int_equal(status_of(raft).last_term, 2);
    /* … but neither 2, which is, nor its own entry 3. */
    assert_int_equal(append(raft, 3, 1, 1, 2, 1, (uint64_t[]){3}), STATUS_CORRUPT);
    assert_int_equal(append(raft, 3, 0, 0, 2, 2, (uint64_t[]){1, 2}), STATUS_CORRUPT);
    assert_int_equal(append(raft, 3, 2, 3, 2, 0, NULL), STATUS_CORRUPT);
    assert_int_equal(append(raft, 3, 3, 2, 2, 1, (uint64_t[]){3}), STATUS_OK);
    assert_int_equal(append(raft, 3, 2, 1, 2, 1, (uint64_t[]){3}), STATUS_CORRUPT);
    assert_int_equal(status_of(raft).last, 4);
    assert_int_equal(status_of(raft).commit, 2);
    raft_destroy(raft);
}

static enum status heartbeat(struct raft *raft, uint64_t term, uint64_t sequence, uint64_t commit)
{
    struct raft_message message = {.type = RAFT_HEARTBEAT,
                                   .from = 2,
                                   .to = 1,
                                   .term = term,
                                   .heartbeat = {.sequence = sequence, .commit = commit}};
    enum status status = raft_step(raft, &message);
    turn(raft, NULL);
    return status;
}

/* A folder from a backup: the leader that it comes back to counts on more than it has. */
static void test_a_log_that_lost_what_it_acknowledged(void **state)
{
    (void)state;
    struct raft *raft = start(3);
    assert_int_equal(append(raft, 1, 0, 0, 2, 3, (uint64_t[]){1, 1, 1}), STATUS_OK);
    assert_int_equal(heartbeat(raft, 1, 2, 3), STATUS_OK);
    assert_int_equal(heartbeat(raft, 1, 1, 2), STATUS_OK); /* an older one, later */
    assert_int_equal(status_of(raft).lost, 0);
    assert_int_equal(heartbeat(raft, 1, 3, 4), STATUS_CORRUPT);
    assert_int_equal(status_of(raft).lost, 4);
    assert_int_equal(status_of(raft).last, 3);
    raft_destroy(raft);

    raft = start(3); /* nothing is left */
    assert_int_equal(heartbeat(raft, 1, 1, 0), STATUS_OK);
    assert_int_equal(heartbeat(raft, 1, 2, 1), STATUS_CORRUPT);
    assert_int_equal(status_of(raft).lost, 1);
    raft_destroy(raft);
}

/* A later leader's log is shorter: what was replaced counts no more. */
static void test_a_shorter_log_of_a_later_leader_is_no_loss(void **state)
{
    (void)state;
    struct raft *raft = start(3);
    assert_int_equal(append(raft, 1, 0, 0, 1, 4, (uint64_t[]){1, 1, 1, 1}), STATUS_OK);
    assert_int_equal(heartbeat(raft, 2, 1, 0), STATUS_OK);
    assert_int_equal(append(raft, 2, 1, 1, 1, 1, (uint64_t[]){2}), STATUS_OK);
    assert_int_equal(status_of(raft).last, 2);
    assert_int_equal(heartbeat(raft, 2, 2, 2), STATUS_OK);
    assert_int_equal(heartbeat(raft, 1, 9, 4), STATUS_OK); /* of the leader before */
    assert_int_equal(status_of(raft).lost, 0);
    raft_destroy(raft);
}

static void test_two_leaders_in_a_term_are_refused(void **state)
{
    struct raft *raft = start(3);
    assert_int_equal(append(raft, 1, 0, 0, 0, 1, (uint64_t[]){1}), STATUS_OK);
    struct raft_message message = {.type = RAFT_HEARTBEAT, .from = 3, .to = 1, .term = 1, .heartbeat = {.sequence = 1}};
    assert_int_equal(raft_step(raft, &message), STATUS_CORRUPT);
    assert_int_equal(status_of(raft).leader, 2);
    raft_destroy(raft);

    raft = start(1);
    lead_alone(raft);
    message.term = status_of(raft).term;
    assert_int_equal(raft_step(raft, &message), STATUS_CORRUPT);
    assert_int_equal(status_of(raft).role, RAFT_LEADER);
    raft_destroy(raft);
}

static void test_messages_that_are_not_for_us(void **state)
{
    struct raft *raft = start(3);
    struct raft_message message = {.type = RAFT_TIMEOUT_NOW, .from = 2, .to = 3, .term = 1};
    assert_int_equal(raft_step(raft, &message), STATUS_INVALID);
    message.to = 1;
    message.from = 1;
    assert_int_equal(raft_step(raft, &message), STATUS_INVALID);
    message.from = 2;
    message.type = (enum raft_message_type)99;
    assert_int_equal(raft_step(raft, &message), STATUS_INVALID);
    assert_int_equal(status_of(raft).term, 0);
    raft_destroy(raft);
}

/* Answers about entries and heartbeats that were never sent. */
static void test_forged_answers(void **state)
{
    struct raft *raft = start(3);
    (void)asks_ms(raft, 1000);
    turn(raft, NULL);
    struct raft_message message = {.type = RAFT_PRE_VOTE_REPLY,
                                   .from = 2,
                                   .to = 1,
                                   .term = 0,
                                   .pre_vote_reply = {.next_term = 1, .granted = true}};
    assert_int_equal(raft_step(raft, &message), STATUS_OK);
    message =
        (struct raft_message){.type = RAFT_VOTE_REPLY, .from = 2, .to = 1, .term = 1, .vote_reply = {.granted = true}};
    assert_int_equal(raft_step(raft, &message), STATUS_OK); /* before it was asked: not counted yet */
    assert_int_equal(status_of(raft).role, RAFT_CANDIDATE);
    turn(raft, NULL);
    assert_int_equal(status_of(raft).role, RAFT_LEADER);

    message =
        (struct raft_message){.type = RAFT_APPEND_REPLY, .from = 2, .to = 1, .term = 1, .append_reply = {.index = 2}};
    assert_int_equal(raft_step(raft, &message), STATUS_INVALID);
    message.append_reply.rejected = true;
    assert_int_equal(raft_step(raft, &message), STATUS_INVALID);
    message = (struct raft_message){.type = RAFT_HEARTBEAT_REPLY,
                                    .from = 2,
                                    .to = 1,
                                    .term = 1,
                                    .heartbeat_reply = {.sequence = 1000, .sent_ms = 1200}};
    assert_int_equal(raft_step(raft, &message), STATUS_INVALID);
    message.heartbeat_reply.sequence = 1;
    message.heartbeat_reply.sent_ms = 1201;
    assert_int_equal(raft_step(raft, &message), STATUS_INVALID);
    assert_int_equal(status_of(raft).commit, 0);
    raft_destroy(raft);
}

static void test_a_configuration_of_a_newer_version_is_not_taken(void **state)
{
    struct raft *raft = start(3);
    const uint8_t newer[] = {RAFT_CONFIGURATION_VERSION + 1};
    struct raft_entry entry = {
        .index = 1, .term = 1, .kind = RAFT_ENTRY_CONFIGURATION, .payload = slice_of(newer, sizeof newer)};
    struct raft_message message = {
        .type = RAFT_APPEND, .from = 2, .to = 1, .term = 1, .append = {.entries = &entry, .count = 1}};
    assert_int_equal(raft_step(raft, &message), STATUS_VERSION);
    assert_int_equal(status_of(raft).last, 0);
    raft_destroy(raft);
}

static void test_time_and_version_are_carried(void **state)
{
    struct raft *raft = start(3);
    struct raft_message message = {.type = RAFT_HEARTBEAT,
                                   .from = 2,
                                   .to = 1,
                                   .term = 1,
                                   .heartbeat = {.sequence = 1, .time = {.time_ms = 77, .wall_ms = -5}}};
    assert_int_equal(raft_step(raft, &message), STATUS_OK);
    struct raft_ready news = {0};
    turn(raft, &news);
    assert_true(news.leader_time_heard);
    assert_int_equal(news.leader_time.time_ms, 77);
    assert_int_equal(news.leader_time.wall_ms, -5);
    raft_destroy(raft);

    raft = start(1);
    raft_tick(raft, 1001);
    struct raft_ready ready;
    assert_true(raft_take_ready(raft, &ready) && ready.store_hard_state);
    raft_stored(raft, ready.number);
    assert_true(raft_take_ready(raft, &ready) && ready.entry_count == 1);
    assert_int_equal(ready.entries[0].kind, RAFT_ENTRY_NOOP);
    assert_int_equal(ready.entries[0].version, 3);
    raft_destroy(raft);
}

static void test_heartbeats_of_all_groups_fall_together(void **state)
{
    struct raft *raft = start(1);
    raft_tick(raft, 1007);
    turn(raft, NULL);
    raft_tick(raft, 1033);
    turn(raft, NULL);
    assert_int_equal(raft_deadline(raft), 1040);
    raft_destroy(raft);
}

/* More readies under way than are told apart: told together with the next, never before. */
static void test_many_stores_under_way(void **state)
{
    enum { STORES = 200 };
    struct raft *raft = start(1);
    lead_alone(raft);
    uint64_t numbers[STORES];
    for (int i = 0; i < STORES; i++) {
        struct raft_entry entry = {.kind = RAFT_ENTRY_HOST};
        assert_int_equal(raft_propose(raft, &entry, 1), STATUS_OK);
        struct raft_ready ready;
        assert_true(raft_take_ready(raft, &ready));
        numbers[i] = ready.number;
        assert_int_equal(ready.entries[0].index, entry.index);
    }
    for (int i = 0; i < STORES; i++) {
        raft_stored(raft, numbers[i]);
        assert_true(status_of(raft).durable <= 2 + (uint64_t)i);
        turn(raft, NULL);
    }
    assert_int_equal(status_of(raft).durable, 1 + STORES);
    assert_int_equal(status_of(raft).commit, 1 + STORES);
    raft_destroy(raft);
}

/* A log that saw very many leaders asks for a snapshot, after which their terms are forgotten. */
static void test_many_terms_ask_for_a_snapshot(void **state)
{
    struct raft_boot boot;
    make_boot(1, &boot);
    boot.hard_state = (struct raft_hard_state){.term = 5000, .vote = 1, .commit = 5000};
    struct raft_options options = make_options(1);
    struct raft *raft;
    assert_int_equal(raft_create(&options, &boot, &raft), STATUS_OK);
    for (uint64_t i = 1; i <= 5000; i++) {
        struct raft_entry entry = {.index = i, .term = i};
        assert_int_equal(raft_boot_entry(raft, &entry), STATUS_OK);
    }
    assert_int_equal(raft_start(raft, 0), STATUS_OK);
    struct raft_ready ready;
    assert_true(raft_take_ready(raft, &ready) && ready.commit == 5000);
    raft_applied(raft, 5000);
    assert_true(raft_take_ready(raft, &ready) && ready.snapshot_wanted);
    raft_snapshot_available(raft, &(struct raft_snapshot_ident){.index = 5000, .term = 5000, .id = 1, .size_bytes = 1});
    assert_int_equal(raft_compact_wish(raft), 5000);
    raft_compact(raft, 4990);
    assert_true(raft_take_ready(raft, &ready) && ready.store_trim && !ready.trim_all);
    assert_int_equal(ready.trim_index, 4990);
    assert_int_equal(ready.trim_term, 4990);
    assert_false(ready.snapshot_wanted);
    raft_stored(raft, ready.number);
    uint64_t term;
    assert_int_equal(raft_term_at(raft, 4989, &term), STATUS_NOTFOUND);
    assert_int_equal(raft_term_at(raft, 4990, &term), STATUS_OK);
    raft_destroy(raft);
}

static enum status boot_with(const struct raft_boot *boot, const struct raft_entry *entries, size_t count)
{
    struct raft_options options = make_options(1);
    struct raft *raft = NULL;
    enum status status = raft_create(&options, boot, &raft);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        status = raft_boot_entry(raft, &entries[i]);
    }
    status = status == STATUS_OK ? raft_start(raft, 0) : status;
    raft_destroy(raft);
    return status;
}

static void test_disks_that_cannot_be_ours(void **state)
{
    struct raft_boot boot;
    make_boot(3, &boot);
    boot.hard_state.term = 4;
    const struct raft_entry good[] = {{.index = 1, .term = 1}, {.index = 2, .term = 4}};
    const struct raft_entry gap[] = {{.index = 1, .term = 1}, {.index = 3, .term = 4}};
    const struct raft_entry back[] = {{.index = 1, .term = 2}, {.index = 2, .term = 1}};
    const struct raft_entry future[] = {{.index = 1, .term = 5}};
    const struct raft_entry bad_configuration[] = {
        {.index = 1, .term = 1, .kind = RAFT_ENTRY_CONFIGURATION, .payload = {(const uint8_t *)"x", 1}}};
    assert_int_equal(boot_with(&boot, good, 2), STATUS_OK);
    assert_int_equal(boot_with(&boot, gap, 2), STATUS_CORRUPT);
    assert_int_equal(boot_with(&boot, back, 2), STATUS_CORRUPT);
    assert_int_equal(boot_with(&boot, future, 1), STATUS_CORRUPT);
    assert_int_equal(boot_with(&boot, bad_configuration, 1), STATUS_VERSION);
    boot.hard_state.commit = 3;
    assert_int_equal(boot_with(&boot, good, 2), STATUS_CORRUPT);
    boot.hard_state.commit = 2;
    assert_int_equal(boot_with(&boot, good, 2), STATUS_OK);
    /* RedisRaft: a log that begins after the snapshot's end. */
    boot.trimmed_index = 7;
    boot.trimmed_term = 3;
    boot.snapshot_index = 6;
    boot.snapshot_term = 3;
    assert_int_equal(boot_with(&boot, NULL, 0), STATUS_CORRUPT);
    boot.snapshot_index = 7;
    assert_int_equal(boot_with(&boot, NULL, 0), STATUS_OK);
    boot.snapshot_term = 2;
    assert_int_equal(boot_with(&boot, NULL, 0), STATUS_CORRUPT);
}

/* RedisRaft: id reuse. A member that was told nothing of its group, as after the loss of its disk, begins no election;
 * and it comes back under a new id only (DESIGN.md, section 3). */
static void test_an_empty_member_only_listens(void **state)
{
    struct raft_options options = make_options(1);
    struct raft_boot boot = {0};
    struct raft *raft;
    assert_int_equal(raft_create(&options, &boot, &raft), STATUS_OK);
    assert_int_equal(raft_start(raft, 0), STATUS_OK);
    for (uint64_t now = 0; now < 2000; now += 10) {
        raft_tick(raft, now);
        turn(raft, NULL);
    }
    assert_int_equal(status_of(raft).term, 0);
    struct raft_message message = {.type = RAFT_TIMEOUT_NOW, .from = 2, .to = 1, .term = 1};
    assert_int_equal(raft_step(raft, &message), STATUS_OK);
    turn(raft, NULL);
    assert_int_equal(status_of(raft).role, RAFT_FOLLOWER);
    raft_destroy(raft);
}

static void test_options_out_of_range(void **state)
{
    struct raft_boot boot;
    make_boot(3, &boot);
    struct raft *raft = NULL;
    struct raft_options options = make_options(0);
    assert_int_equal(raft_create(&options, &boot, &raft), STATUS_INVALID);
    options = make_options(1);
    options.heartbeat_ms = 51;
    assert_int_equal(raft_create(&options, &boot, &raft), STATUS_INVALID);
    options = make_options(1);
    options.inflight_messages = RAFT_MAXIMUM_INFLIGHT + 1;
    assert_int_equal(raft_create(&options, &boot, &raft), STATUS_INVALID);
    options = make_options(1);
    options.clock_drift_ppm = 500001;
    assert_int_equal(raft_create(&options, &boot, &raft), STATUS_INVALID);
    assert_null(raft);
}

/* A disk slower than the election timeout: a new term would only give it more to write. */
static void test_who_should_lead_asks_first(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        uint64_t asked_ms[2];
        for (int eager = 0; eager < 2; eager++) {
            struct raft_boot boot;
            make_boot(3, &boot);
            struct raft_options options = make_options(1);
            options.seed = seed;
            options.eager = eager != 0;
            struct raft *raft;
            assert_int_equal(raft_create(&options, &boot, &raft), STATUS_OK);
            assert_int_equal(raft_start(raft, 1000), STATUS_OK);
            asked_ms[eager] = asks_ms(raft, 1000);
            struct raft_status status;
            raft_status(raft, &status);
            assert_int_equal(status.term, 0); /* it only asks: a pre-vote changes nothing */
            assert_true(asks_ms(raft, asked_ms[eager]) >=
                        asked_ms[eager] + options.election_timeout_ms); /* then as all do */
            raft_destroy(raft);
        }
        assert_in_range(asked_ms[0], 1100, 1200);
        assert_int_equal(asked_ms[1], 1025);
    }
}

static void test_a_slow_disk_does_not_raise_terms(void **state)
{
    struct raft *raft = start(1);
    raft_tick(raft, 1001);
    struct raft_ready ready;
    assert_true(raft_take_ready(raft, &ready) && ready.store_hard_state);
    for (uint64_t now = 1001; now < 3000; now += 50) {
        struct raft_ready none;
        raft_tick(raft, now);
        assert_false(raft_take_ready(raft, &none));
    }
    assert_int_equal(status_of(raft).term, 1);
    raft_stored(raft, ready.number);
    assert_int_equal(status_of(raft).role, RAFT_LEADER);
    raft_destroy(raft);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conflict_with_a_committed_entry_is_refused),
        cmocka_unit_test(test_a_log_that_lost_what_it_acknowledged),
        cmocka_unit_test(test_a_shorter_log_of_a_later_leader_is_no_loss),
        cmocka_unit_test(test_two_leaders_in_a_term_are_refused),
        cmocka_unit_test(test_messages_that_are_not_for_us),
        cmocka_unit_test(test_forged_answers),
        cmocka_unit_test(test_a_configuration_of_a_newer_version_is_not_taken),
        cmocka_unit_test(test_time_and_version_are_carried),
        cmocka_unit_test(test_heartbeats_of_all_groups_fall_together),
        cmocka_unit_test(test_many_stores_under_way),
        cmocka_unit_test(test_many_terms_ask_for_a_snapshot),
        cmocka_unit_test(test_disks_that_cannot_be_ours),
        cmocka_unit_test(test_an_empty_member_only_listens),
        cmocka_unit_test(test_options_out_of_range),
        cmocka_unit_test(test_who_should_lead_asks_first),
        cmocka_unit_test(test_a_slow_disk_does_not_raise_terms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

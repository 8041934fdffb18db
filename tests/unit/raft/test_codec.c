#include "raft/raft_codec.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { SAMPLES = 12 };

static const struct raft_entry sample_entries[] = {
    {.index = 8, .term = 3, .kind = RAFT_ENTRY_HOST, .version = 2, .payload = {(const uint8_t *)"hello", 5}},
    {.index = 9, .term = 3, .kind = RAFT_ENTRY_HOST + 4, .version = 0, .payload = {(const uint8_t *)"", 0}},
    {.index = 10, .term = 6, .kind = RAFT_ENTRY_NOOP, .version = 255, .payload = {(const uint8_t *)"\0\377", 2}},
};

static void make_samples(struct raft_message *m)
{
    const struct raft_snapshot_ident ident = {.index = 90, .term = 5, .id = UINT64_MAX, .size_bytes = 1000};
    m[0] = (struct raft_message){.type = RAFT_PRE_VOTE, .pre_vote = {.next_term = 8, .last_index = 70, .last_term = 6}};
    m[1] = (struct raft_message){.type = RAFT_PRE_VOTE_REPLY, .pre_vote_reply = {.next_term = 8, .granted = true}};
    m[2] = (struct raft_message){.type = RAFT_VOTE, .vote = {.last_index = 70, .last_term = 6, .transfer = true}};
    m[3] = (struct raft_message){.type = RAFT_VOTE_REPLY, .vote_reply = {.granted = false}};
    m[4] = (struct raft_message){
        .type = RAFT_APPEND,
        .append = {.prev_index = 7, .prev_term = 2, .commit = 6, .entries = sample_entries, .count = 3}};
    m[5] = (struct raft_message){.type = RAFT_APPEND_REPLY, .append_reply = {.index = 10}};
    m[6] = (struct raft_message){.type = RAFT_APPEND_REPLY,
                                 .append_reply = {.index = 10, .rejected = true, .hint_index = 4, .hint_term = 2}};
    m[7] = (struct raft_message){
        .type = RAFT_HEARTBEAT,
        .heartbeat = {.sequence = 5, .sent_ms = 123456789, .commit = 9, .time = {-1, 1700000000000}}};
    m[8] =
        (struct raft_message){.type = RAFT_HEARTBEAT_REPLY,
                              .heartbeat_reply = {.sequence = 5, .sent_ms = 123456789, .matched = 100, .durable = 90}};
    m[9] = (struct raft_message){.type = RAFT_SNAPSHOT,
                                 .snapshot = {.ident = ident, .offset = 996, .data = {(const uint8_t *)"data", 4}}};
    m[10] = (struct raft_message){.type = RAFT_SNAPSHOT_REPLY, .snapshot_reply = {.ident = ident, .offset = 1000}};
    m[11] = (struct raft_message){.type = RAFT_TIMEOUT_NOW};
    for (int i = 0; i < SAMPLES; i++) {
        m[i].from = 1;
        m[i].to = UINT64_MAX;
        m[i].term = 7;
    }
}

static enum status decode(struct slice bytes, struct raft_message *ret_message)
{
    static struct raft_entry entries[RAFT_MAXIMUM_APPEND_ENTRIES];
    return raft_message_decode(bytes, entries, ret_message);
}

static void test_bytes_and_back(void **state)
{
    struct raft_message samples[SAMPLES];
    make_samples(samples);
    for (int i = 0; i < SAMPLES; i++) {
        struct buffer out, again;
        buffer_init(&out);
        buffer_init(&again);
        raft_message_encode(&samples[i], &out);
        struct raft_message back;
        assert_int_equal(decode(buffer_slice(&out), &back), STATUS_OK);
        raft_message_encode(&back, &again);
        assert_true(slice_equal(buffer_slice(&out), buffer_slice(&again)));
        assert_int_equal(back.type, samples[i].type);
        assert_int_equal(back.to, UINT64_MAX);
        for (size_t size = 0; size < out.size; size++) { /* each prefix is refused */
            assert_int_equal(decode(slice_of(out.data, size), &back), STATUS_INVALID);
        }
        buffer_append_byte(&out, 0);
        assert_int_equal(decode(buffer_slice(&out), &back), STATUS_INVALID);
        buffer_deinit(&out);
        buffer_deinit(&again);
    }
}

static void test_entries_keep_kind_and_version(void **state)
{
    struct raft_message samples[SAMPLES], back;
    make_samples(samples);
    struct buffer out;
    buffer_init(&out);
    raft_message_encode(&samples[4], &out);
    assert_true(out.size <= RAFT_MESSAGE_HEADER_BYTES + 3 * RAFT_ENTRY_HEADER_BYTES + 7);
    assert_int_equal(decode(buffer_slice(&out), &back), STATUS_OK);
    assert_int_equal(back.append.count, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(back.append.entries[i].index, sample_entries[i].index);
        assert_int_equal(back.append.entries[i].term, sample_entries[i].term);
        assert_int_equal(back.append.entries[i].kind, sample_entries[i].kind);
        assert_int_equal(back.append.entries[i].version, sample_entries[i].version);
        assert_true(slice_equal(back.append.entries[i].payload, sample_entries[i].payload));
    }
    buffer_deinit(&out);
}

static void test_a_header_stays_within_its_bound(void **state)
{
    const struct raft_snapshot_ident ident = {UINT64_MAX / 4 - 1, UINT64_MAX / 4 - 1, UINT64_MAX, UINT64_MAX / 4 - 1};
    struct raft_message m = {.type = RAFT_SNAPSHOT,
                             .from = UINT64_MAX,
                             .to = UINT64_MAX - 1,
                             .term = UINT64_MAX / 4 - 1,
                             .snapshot = {.ident = ident, .offset = UINT64_MAX / 4 - 1}};
    struct buffer out;
    buffer_init(&out);
    raft_message_encode(&m, &out);
    assert_true(out.size <= RAFT_MESSAGE_HEADER_BYTES);
    buffer_deinit(&out);
}

/* What decodes as numbers but makes no sense. */
static void test_senseless_messages(void **state)
{
    struct raft_message samples[SAMPLES];
    make_samples(samples);
    for (int i = 0; i < SAMPLES; i++) {
        assert_true(raft_message_valid(&samples[i]));
        struct raft_message m = samples[i];
        m.from = 0;
        assert_false(raft_message_valid(&m));
        m.from = m.to;
        assert_false(raft_message_valid(&m));
        m = samples[i];
        m.term = UINT64_MAX;
        assert_false(raft_message_valid(&m));
    }
    struct raft_message m = samples[0];
    m.pre_vote.next_term = 7;
    assert_false(raft_message_valid(&m));
    m = samples[2];
    m.vote.last_term = 7; /* the term was raised for this election */
    assert_false(raft_message_valid(&m));
    struct raft_entry entries[3];
    memcpy(entries, sample_entries, sizeof entries);
    m = samples[4];
    m.append.entries = entries;
    entries[2].index = 11;
    assert_false(raft_message_valid(&m));
    entries[2] = sample_entries[2];
    entries[1].term = 1;
    assert_false(raft_message_valid(&m));
    entries[1] = sample_entries[1];
    m.term = 5; /* an entry of term 6 from a leader of term 5 */
    assert_false(raft_message_valid(&m));
    m = samples[8];
    m.heartbeat_reply.durable = 101;
    assert_false(raft_message_valid(&m));
    m = samples[9];
    m.snapshot.offset = 997; /* one byte more than the file has */
    assert_false(raft_message_valid(&m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_and_back),
        cmocka_unit_test(test_entries_keep_kind_and_version),
        cmocka_unit_test(test_a_header_stays_within_its_bound),
        cmocka_unit_test(test_senseless_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

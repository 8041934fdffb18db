#include "base/varint.h"
#include "cluster/transport_hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct transport_hello sample = {
    .version_lowest = 2,
    .version_highest = 5,
    .purpose = 1,
    .cluster = {{1, 2, 3}},
    .from = 7,
    .to = 0x0102030405060708,
    .incarnation = {{9, 8, 7, [15] = 6}},
    .run = 11,
    .attempt = 12,
    .lineage = {.start = 9, .joined = 5, .count = 2, .between = {6, 8}},
};

static struct frame only_frame(const struct buffer *bytes)
{
    struct frame frame;
    size_t missing;
    assert_int_equal(frame_decode(buffer_slice(bytes), TRANSPORT_HANDSHAKE_FRAME_BYTES, &frame, &missing), STATUS_OK);
    assert_int_equal(frame.size, bytes->size);
    return frame;
}

/* Read before a version is agreed on, so its places are for ever. */
static void test_hello_bytes(void **state)
{
    struct buffer out = {0};
    transport_hello_encode(&sample, &out);
    struct frame frame = only_frame(&out);
    const uint8_t *at = frame.payload.data;
    assert_int_equal(frame.type, 1);
    assert_int_equal(frame.payload.size, 112);
    assert_int_equal(get_u16(at), 2);
    assert_int_equal(get_u16(at + 2), 5);
    assert_int_equal(get_u32(at + 4), 1);
    assert_memory_equal(at + 8, sample.cluster.bytes, 16);
    assert_int_equal(get_u64(at + 24), 7);
    assert_memory_equal(at + 32, sample.incarnation.bytes, 16);
    assert_int_equal(get_u64(at + 48), 0x0102030405060708);
    assert_int_equal(get_u64(at + 56), 11);
    assert_int_equal(get_u64(at + 64), 12);
    const uint64_t lineage[] = {9, 5, 2, 6, 8};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(get_u64(at + 72 + 8 * i), lineage[i]);
    }
    buffer_deinit(&out);
}

/* What a later version adds behind is passed over. */
static void test_hello_again(void **state)
{
    struct buffer out = {0};
    transport_hello_encode(&sample, &out);
    buffer_append_string(&out, "more");
    struct transport_hello hello;
    struct slice payload = slice_of(out.data + FRAME_HEADER_BYTES, out.size - FRAME_HEADER_BYTES);
    assert_int_equal(transport_hello_decode(payload, &hello), STATUS_OK);
    assert_memory_equal(&hello.incarnation, &sample.incarnation, 16);
    assert_memory_equal(&hello.cluster, &sample.cluster, 16);
    assert_true(hello.version_lowest == 2 && hello.version_highest == 5 && hello.purpose == 1 && hello.from == 7 &&
                hello.to == sample.to && hello.run == 11 && hello.attempt == 12);
    assert_memory_equal(&hello.lineage, &sample.lineage, sizeof(hello.lineage));
    for (size_t size = 0; size < TRANSPORT_HELLO_BYTES + 16; size++) {
        assert_int_equal(transport_hello_decode(slice_of(payload.data, size), &hello), STATUS_INVALID);
    }
    buffer_deinit(&out);
}

static void refuse_hello(const struct transport_hello *senseless)
{
    struct buffer out = {0};
    struct transport_hello hello;
    transport_hello_encode(senseless, &out);
    assert_int_equal(transport_hello_decode(only_frame(&out).payload, &hello), STATUS_INVALID);
    buffer_deinit(&out);
}

static void test_senseless_hellos(void **state)
{
    struct transport_hello hello = sample;
    hello.version_lowest = 0;
    refuse_hello(&hello);
    hello.version_lowest = 6;
    refuse_hello(&hello);
    hello = sample;
    hello.from = 0;
    refuse_hello(&hello);
    hello = sample;
    hello.incarnation = (struct id128){0};
    refuse_hello(&hello);
    hello = sample;
    hello.lineage.start = 8;
    refuse_hello(&hello);
    hello.lineage = (struct lineage){0};
    refuse_hello(&hello);
}

static uint16_t common(uint16_t lowest, uint16_t highest, uint16_t other_lowest, uint16_t other_highest)
{
    struct transport_hello one = {.version_lowest = lowest, .version_highest = highest};
    struct transport_hello other = {.version_lowest = other_lowest, .version_highest = other_highest};
    uint16_t version = transport_common_version(&one, &other);
    assert_int_equal(transport_common_version(&other, &one), version);
    return version;
}

static void test_common_version(void **state)
{
    assert_int_equal(common(1, 1, 1, 1), 1);
    assert_int_equal(common(1, 3, 2, 7), 3);
    assert_int_equal(common(1, 9, 4, 5), 5);
    assert_int_equal(common(1, 2, 3, 4), 0);
}

static void test_refusal(void **state)
{
    struct buffer out = {0};
    struct transport_refusal refusal = {.reason = TRANSPORT_CLUSTER, .version_lowest = 3, .version_highest = 4}, again;
    transport_refusal_encode(&refusal, &out);
    struct frame frame = only_frame(&out);
    assert_int_equal(frame.type, 3);
    assert_int_equal(frame.payload.data[0], 5);
    assert_int_equal(transport_refusal_decode(frame.payload, &again), STATUS_OK);
    assert_true(again.reason == TRANSPORT_CLUSTER && again.version_lowest == 3 && again.version_highest == 4);
    assert_int_equal(transport_refusal_decode(slice_of(frame.payload.data, 5), &again), STATUS_INVALID);
    buffer_deinit(&out);
}

/* The numbers travel: they never change. */
static void test_reasons(void **state)
{
    static const char *const expected[] = {"unknown", "garbage",  "damaged",  "version",   "purpose",
                                           "cluster", "stranger", "receiver", "direction", "incarnation",
                                           "stale",   "slow",     "crowded",  "copy",      "unknown"};
    for (int i = 0; i < 15; i++) {
        assert_string_equal(transport_reason_name((enum transport_reason)i), expected[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello_bytes),      cmocka_unit_test(test_hello_again),
        cmocka_unit_test(test_senseless_hellos), cmocka_unit_test(test_common_version),
        cmocka_unit_test(test_refusal),          cmocka_unit_test(test_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/key_slot.h"
#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct sample {
    struct slice key;
    uint16_t slot;
};
#define KEY(literal) SLICE_LITERAL(literal)

/* Slots as CLUSTER KEYSLOT of Redis 7.0.15 gives them; tests/system/test_cluster_commands.py asks both servers. */
static void test_known_slots(void **state)
{
    const struct sample samples[] = {
        {KEY(""), 0},
        {KEY("a"), 15495},
        {KEY("foo"), 12182},
        {KEY("bar"), 5061},
        {KEY("lock:orders"), 9244},
        {KEY("123456789"), 12739}, /* its CRC-16/XMODEM is 0x31c3 */
        /* no tag in these */
        {KEY("foo{}{bar}"), 8363},
        {KEY("foo{bar"), 15278},
        {KEY("foo}bar{"), 11073},
        {KEY("{"), 4092},
        {KEY("}"), 12090},
        {KEY("{}"), 15257},
        {KEY("{}x"), 10595},
        {KEY("a}b{c"), 13587},
        {KEY("\0\xff{}"), 13562},
    };
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        assert_int_equal(key_slot(samples[i].key), samples[i].slot);
    }
}

/* The second key of each pair is what of the first is hashed. */
static void test_hash_tags(void **state)
{
    const struct slice pairs[][2] = {
        {KEY("{bar}"), KEY("bar")},          {KEY("foo{bar}x"), KEY("bar")}, {KEY("foo{bar}{zap}"), KEY("bar")},
        {KEY("foo{{bar}}zap"), KEY("{bar")}, {KEY("}{bar}"), KEY("bar")},    {KEY("{\0}"), KEY("\0")},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        assert_int_equal(key_slot(pairs[i][0]), key_slot(pairs[i][1]));
    }
}

/* Bit by bit, as the polynomial is defined. */
static uint16_t slow_crc16(struct slice bytes)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        crc ^= (uint32_t)bytes.data[i] << 8;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 0x8000) != 0 ? crc << 1 ^ 0x11021 : crc << 1;
        }
    }
    return (uint16_t)crc;
}

static void test_random_bytes(void **state)
{
    struct prng prng;
    prng_seed(&prng, 16);
    uint8_t bytes[100];
    for (int i = 0; i < 20000; i++) {
        size_t size = prng_below(&prng, sizeof(bytes));
        for (size_t at = 0; at < size; at++) {
            bytes[at] = (uint8_t)prng_next(&prng);
            bytes[at] = bytes[at] == '{' ? '(' : bytes[at];
        }
        assert_int_equal(key_slot(slice_of(bytes, size)), slow_crc16(slice_of(bytes, size)) % KEY_SLOTS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_slots),
        cmocka_unit_test(test_hash_tags),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

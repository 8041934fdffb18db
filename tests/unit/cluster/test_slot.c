#include "cluster/slot.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void check_map(uint32_t shards)
{
    uint32_t next = 0;
    for (uint32_t shard = 1; shard <= shards; shard++) {
        struct slot_range range = slot_range(shard, shards);
        assert_int_equal(range.first, next); /* no gap, no overlap */
        assert_true(range.last >= range.first);
        uint32_t size = range.last - range.first + 1U;
        assert_in_range(size, KEY_SLOTS / shards, (KEY_SLOTS + shards - 1) / shards);
        assert_int_equal(slot_shard(range.first, shards), shard);
        assert_int_equal(slot_shard(range.last, shards), shard);
        next = range.last + 1U;
    }
    assert_int_equal(next, KEY_SLOTS);
}

static void test_every_number_of_shards(void **state)
{
    for (uint32_t shards = 1; shards <= SLOT_MAXIMUM_SHARDS; shards++) {
        check_map(shards);
    }
}

static void test_every_slot(void **state)
{
    static const uint32_t counts[] = {1, 2, 3, 7, 8, 64, 1000, 1024};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        for (uint32_t slot = 0; slot < KEY_SLOTS; slot++) {
            struct slot_range range = slot_range(slot_shard((uint16_t)slot, counts[i]), counts[i]);
            assert_in_range(slot, range.first, range.last);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_number_of_shards),
        cmocka_unit_test(test_every_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

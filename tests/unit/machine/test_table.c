/* No call of the hash table pays for the number of items: what each one moves is counted, not timed. */
#include "machine/keys/table.h"

#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ITEMS = 300000, LONGEST_CHAIN = 6 /* lines of seven items */, SAMPLES = 16 };

struct item {
    struct table_item head;
    uint32_t number;
};

static uint64_t hash_of(const struct table *table, const struct item *item)
{
    return table_hash(table, slice_of((const uint8_t *)&item->number, sizeof(item->number)));
}

static size_t chain_lines(const struct table *table, uint64_t bucket)
{
    size_t lines = 0;
    const struct table_bucket *at = &table->segments[bucket / TABLE_SEGMENT_BUCKETS][bucket % TABLE_SEGMENT_BUCKETS];
    for (; at != NULL; at = at->next) {
        lines++;
    }
    return lines;
}

/* One call changed the number of buckets by one at most, and what it split or joined is short: the last bucket and the
 * one it came from, and some others, which will be split some day. */
static void assert_little_moved(const struct table *table, uint64_t buckets_before, struct prng *prng)
{
    assert_in_range(table->buckets + 1, buckets_before, buckets_before + 2);
    uint64_t last = table->buckets - 1;
    assert_in_range(chain_lines(table, last), 1, LONGEST_CHAIN);
    assert_in_range(chain_lines(table, last & (table->mask >> 1)), 1, LONGEST_CHAIN);
    assert_in_range(chain_lines(table, prng_below(prng, table->buckets)), 1, LONGEST_CHAIN);
}

static void test_each_call_moves_one_bucket(void **state)
{
    struct table table;
    struct prng prng;
    prng_seed(&prng, 1);
    table_init(&table, 7, offsetof(struct item, number));
    struct item *items = calloc(ITEMS, sizeof(*items));
    assert_non_null(items);
    for (uint32_t i = 0; i < ITEMS; i++) {
        uint64_t before = table.buckets == 0 ? 1 : table.buckets;
        items[i] = (struct item){{sizeof(uint32_t)}, i};
        table_insert(&table, hash_of(&table, &items[i]), &items[i]);
        assert_little_moved(&table, before, &prng);
    }
    assert_in_range(table.buckets, ITEMS / (TABLE_GROW_LOAD + 1), ITEMS / TABLE_SHRINK_LOAD);
    for (uint32_t i = 0; i < ITEMS; i++) {
        uint64_t before = table.buckets;
        table_remove(&table, hash_of(&table, &items[i]), &items[i]);
        assert_little_moved(&table, before, &prng);
        for (uint32_t s = 0; s < SAMPLES && i + 1 < ITEMS && i % 1000 == 0; s++) {
            struct item *kept = &items[i + 1 + prng_below(&prng, ITEMS - i - 1)];
            struct slice key = slice_of((const uint8_t *)&kept->number, sizeof(kept->number));
            assert_ptr_equal(table_find(&table, hash_of(&table, kept), key), kept);
        }
    }
    assert_int_equal(table.count, 0);
    assert_true(table.buckets < 100); /* it has given back what it took */
    while (table_release(&table, 1000, NULL, NULL)) {
    }
    free(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_call_moves_one_bucket)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

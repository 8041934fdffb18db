/* Which prefixes a key begins with: against a look at each of them. */
#include "base/prng.h"
#include "server/feed_prefixes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { WORDS = 400, LONGEST = 12 };

struct word {
    uint8_t bytes[LONGEST];
    size_t size;
    struct feed_prefix *prefix; /* NULL: not there */
    int matched;
};

static struct slice bytes_of(const struct word *word) { return slice_of(word->bytes, word->size); }

static void match(void *owner, struct feed_prefix *prefix)
{
    size_t *last_size = owner;
    struct word *word = prefix->owner;
    assert_true(*last_size == SIZE_MAX || prefix->size > *last_size); /* the shortest first */
    *last_size = prefix->size;
    word->matched++;
}

static void count(void *owner, struct feed_prefix *prefix)
{
    (void)prefix;
    ++*(size_t *)owner;
}

static void random_word(struct prng *prng, struct word *word)
{
    word->size = prng_below(prng, LONGEST + 1);
    for (size_t i = 0; i < word->size; i++) {
        word->bytes[i] = (uint8_t)('a' + prng_below(prng, 2));
    }
}

static void test_against_a_list(void **state)
{
    (void)state;
    struct prng prng;
    struct feed_prefixes prefixes;
    static struct word words[WORDS];
    size_t there = 0;
    prng_seed(&prng, 4);
    feed_prefixes_init(&prefixes, prng_next(&prng));
    for (int step = 0; step < 20000; step++) {
        struct word *word = &words[prng_below(&prng, WORDS)];
        if (word->prefix != NULL) {
            feed_prefixes_remove(&prefixes, word->prefix);
            word->prefix = NULL;
            there--;
        } else {
            random_word(&prng, word);
            if (feed_prefixes_find(&prefixes, bytes_of(word)) == NULL) {
                word->prefix = feed_prefixes_add(&prefixes, bytes_of(word), word);
                there++;
            }
        }
        struct word key;
        size_t last_size = SIZE_MAX;
        random_word(&prng, &key);
        feed_prefixes_match(&prefixes, bytes_of(&key), match, &last_size);
        for (int i = 0; i < WORDS; i++) {
            bool expected = words[i].prefix != NULL && slice_starts_with(bytes_of(&key), bytes_of(&words[i]));
            assert_int_equal(words[i].matched, expected);
            words[i].matched = 0;
        }
        size_t counted = 0;
        feed_prefixes_each(&prefixes, count, &counted);
        assert_int_equal(counted, there);
    }
    for (int i = 0; i < WORDS; i++) {
        if (words[i].prefix != NULL) {
            feed_prefixes_remove(&prefixes, words[i].prefix);
        }
    }
    feed_prefixes_deinit(&prefixes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_a_list)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

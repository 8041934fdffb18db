/* Texts by name: found in any case, forgotten at their limits and by epochs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "server/script_texts.h"

static int setup(void **state)
{
    *state = script_texts_create();
    return 0;
}

static int teardown(void **state)
{
    script_texts_destroy(*state);
    return 0;
}

static bool knows(struct script_texts *texts, const char *text)
{
    char sha[SCRIPT_SHA_BYTES];
    struct slice found = {0};
    script_sha(slice_from_string(text), sha);
    bool known = script_texts_find(texts, slice_of(sha, sizeof(sha)), &found);
    assert_true(!known || slice_equal(found, slice_from_string(text)));
    return known;
}

static bool keep(struct script_texts *texts, const char *text)
{
    char sha[SCRIPT_SHA_BYTES], expected[SCRIPT_SHA_BYTES];
    bool kept = script_texts_keep(texts, slice_from_string(text), sha);
    script_sha(slice_from_string(text), expected);
    assert_memory_equal(sha, expected, sizeof(sha));
    return kept;
}

static void by_name(void **state)
{
    struct script_texts *texts = *state;
    struct slice found;
    assert_true(keep(texts, "return 1") && keep(texts, ""));
    assert_false(keep(texts, "return 1") || keep(texts, ""));
    assert_true(knows(texts, "return 1") && knows(texts, ""));
    assert_false(knows(texts, "return 2"));
    assert_true(script_texts_find(texts, SLICE_LITERAL("E0E1F9FABFC9D4800C877A703B823AC0578FF8DB"), &found));
    assert_false(script_texts_find(texts, SLICE_LITERAL("e0e1f9fabfc9d4800c877a703b823ac0578ff8d"), &found));
    assert_false(script_texts_find(texts, SLICE_LITERAL(""), &found));
}

static void as_many(void **state)
{
    struct script_texts *texts = *state;
    char text[32];
    for (int i = 0; i < SCRIPTS_COUNT + 10; i++) {
        (void)snprintf(text, sizeof(text), "return %d", i);
        assert_true(keep(texts, text));
        assert_true(knows(texts, "return 0")); /* it is asked for, so it stays */
    }
    assert_false(knows(texts, "return 1"));
    assert_false(knows(texts, "return 10"));
    assert_true(knows(texts, "return 11"));
    assert_true(knows(texts, text));
}

static void as_large(void **state)
{
    struct script_texts *texts = *state;
    enum { FIT = SCRIPTS_BYTES / SCRIPT_SOURCE_BYTES };
    char *text = memory_allocate(SCRIPT_SOURCE_BYTES + 2);
    for (int i = 0; i <= FIT; i++) {
        memset(text, 'a' + i % 26, SCRIPT_SOURCE_BYTES);
        text[0] = (char)('A' + i / 26);
        text[SCRIPT_SOURCE_BYTES] = '\0';
        assert_true(keep(texts, text));
    }
    assert_true(knows(texts, text));
    memset(text, 'a', SCRIPT_SOURCE_BYTES);
    text[0] = 'A';
    assert_false(knows(texts, text));
    text[SCRIPT_SOURCE_BYTES] = 'x'; /* larger than any script */
    text[SCRIPT_SOURCE_BYTES + 1] = '\0';
    assert_false(keep(texts, text) || knows(texts, text));
    free(text);
}

static void epochs(void **state)
{
    struct script_texts *texts = *state;
    uint64_t first = script_texts_epoch(texts);
    (void)keep(texts, "old");
    script_texts_enter(texts, first, true); /* the same: nothing */
    assert_true(knows(texts, "old") && script_texts_welcome(texts, first));
    script_texts_enter(texts, first + 4, false); /* of others, without a flush that this one missed */
    assert_true(knows(texts, "old") && script_texts_welcome(texts, first));
    script_texts_enter(texts, first + 5, true);
    assert_false(knows(texts, "old") || script_texts_welcome(texts, first + 4));
    assert_true(script_texts_welcome(texts, first + 5) && script_texts_welcome(texts, first + 9));
    (void)keep(texts, "new");
    script_texts_enter(texts, first + 2, true); /* late news */
    assert_true(knows(texts, "new"));
    assert_int_equal(script_texts_epoch(texts), first + 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(as_many, setup, teardown),
        cmocka_unit_test_setup_teardown(as_large, setup, teardown),
        cmocka_unit_test_setup_teardown(epochs, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "server/notify.h"
#include "server/output_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_letters(void **state)
{
    static const struct {
        const char *given, *told;
    } texts[] = {
        {"", ""},         {"KEA", "AKE"}, {"KE", "KE"},   {"g$lshzxetdKEm", "AKEm"},
        {"KEAn", "AnKE"}, {"E$", "$E"},   {"xgKA", "AK"}, {"mnA", "Anm"},
        {"Kxt", "xtK"},   {"d", "d"},     {"Kn", "nK"},   {"KEng", "gnKE"},
        {"KKK", "K"},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int64_t flags = -1;
        int64_t again = -2;
        char text[NOTIFY_TEXT_BYTES];
        assert_true(notify_parse(slice_from_string(texts[i].given), &flags));
        notify_format(flags, text);
        assert_string_equal(text, texts[i].told);
        assert_true(notify_parse(slice_from_string(text), &again)); /* a file is read as it was written */
        assert_int_equal(flags, again);
    }
    int64_t flags = 7;
    assert_false(notify_parse(SLICE_LITERAL("Kq"), &flags));
    assert_int_equal(flags, 7);
    (void)state;
}

static void test_classes(void **state)
{
    int64_t flags = 0;
    assert_true(notify_parse(SLICE_LITERAL("KA"), &flags));
    assert_int_equal(notify_classes(flags), EVENT_CLASSES & ~(uint32_t)(EVENT_NEW | EVENT_MISSED));
    assert_true(notify_parse(SLICE_LITERAL("A"), &flags));
    assert_int_equal(notify_classes(flags), 0); /* in neither form: nobody could hear of it */
    assert_true(notify_parse(SLICE_LITERAL("Ex"), &flags));
    assert_int_equal(notify_classes(flags), EVENT_EXPIRED);
    (void)state;
}

static void test_output_limits(void **state)
{
    struct output_limits limits = OUTPUT_LIMITS_STANDARD;
    char text[OUTPUT_LIMITS_TEXT_BYTES];
    assert_null(output_limits_parse(SLICE_LITERAL("64mb"), &limits));
    assert_null(output_limits_parse(SLICE_LITERAL("pubsub 2mb  1mb 5 slave 0 0 0"), &limits));
    output_limits_format(&limits, text);
    assert_string_equal(text, "normal 67108864 0 0 pubsub 2097152 1048576 5");
    assert_null(output_limits_parse(slice_from_string(text), &limits));
    static const char *const wrong[] = {
        "",    "pubsub 1mb 1mb", "nobody 1mb 1mb 0",        "pubsub x 1mb 0", "pubsub 1mb 1mb -1", "pubsub 0 0 0",
        "ten", "1mb 2mb",        "pubsub 1mb 1mb 0 normal",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_non_null(output_limits_parse(slice_from_string(wrong[i]), &limits));
    }
    output_limits_format(&limits, text);
    assert_string_equal(text, "normal 67108864 0 0 pubsub 2097152 1048576 5");
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_letters),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_output_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

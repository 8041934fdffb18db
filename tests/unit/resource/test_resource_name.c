#include "resource/resource_name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define CLUSTER "0123456789abcdef0123456789abcdef"

static struct resource_name name_of(const char *txid, const char *label)
{
    struct resource_name name = {.cluster = CLUSTER, .restores = 3, .position = 0x1f};
    strncpy(name.txid, txid, sizeof(name.txid) - 1);
    strncpy(name.label, label, sizeof(name.label) - 1);
    return name;
}

static void there_and_back(const char *txid, const char *expected)
{
    char text[BRANCH_NAME_BYTES];
    struct resource_name name = name_of(txid, "bank");
    struct resource_name parsed;
    assert_true(resource_name_format(&name, text));
    assert_string_equal(text, expected);
    assert_true(resource_name_parse(slice_from_string(text), &parsed));
    assert_string_equal(parsed.txid, txid);
    assert_string_equal(parsed.label, "bank");
    assert_string_equal(parsed.cluster, CLUSTER);
    assert_int_equal(parsed.restores, 3);
    assert_int_equal(parsed.position, 0x1f);
}

static void test_there_and_back(void **unused)
{
    there_and_back("order-17", "cohort:" CLUSTER ":3.1f:order-17:bank");
    there_and_back("a:b'c%\xff", "cohort:" CLUSTER ":3.1f:a%3Ab%27c%25%FF:bank");
    there_and_back("a~b", "cohort:" CLUSTER ":3.1f:a~b:bank");
    there_and_back(":", "cohort:" CLUSTER ":3.1f:%3A:bank");
}

static void test_what_cannot_be_a_name(void **unused)
{
    char text[BRANCH_NAME_BYTES];
    char colons[BRANCH_TXID_BYTES] = {0};
    struct resource_name name = name_of("", "bank");
    assert_false(resource_name_format(&name, text));
    name = name_of("x", "");
    assert_false(resource_name_format(&name, text));
    name = name_of("x", "a:b");
    assert_false(resource_name_format(&name, text));
    memset(colons, ':', sizeof(colons) - 1); /* three bytes each */
    name = name_of(colons, "bank");
    assert_false(resource_name_format(&name, text));
    name = name_of("x", "bank");
    name.cluster[0] = 'G';
    assert_false(resource_name_format(&name, text));
}

/* Whatever is not written as we write it is somebody else's, and never touched. */
static void test_foreign(void **unused)
{
    static const char *const foreign[] = {
        "",
        "x",
        "cohort",
        "cohort:",
        "cohort:mine",
        "Cohort:" CLUSTER ":3.1f:x:bank",
        "cohort:" CLUSTER,
        "cohort:" CLUSTER ":3.1f",
        "cohort:" CLUSTER ":3:x:bank",
        "cohort:" CLUSTER ":3.:x:bank",
        "cohort:" CLUSTER ":3.1F:x:bank",
        "cohort:" CLUSTER ":3.01:x:bank",
        "cohort:" CLUSTER ":3.1g:x:bank",
        "cohort:" CLUSTER ":3.-1:x:bank",
        "cohort:" CLUSTER ":3.11111111111111111:x:bank",
        "cohort:00000000000000000000000000000000:3.1f:x:bank",
        "cohort:" CLUSTER ":3.1f:x",
        "cohort:" CLUSTER ":3.1f:x:",
        "cohort:" CLUSTER ":3.1f::bank",
        "cohort:" CLUSTER "::x:bank",
        "cohort:" CLUSTER ":03.1:x:bank",
        "cohort:" CLUSTER ":-3.1:x:bank",
        "cohort:" CLUSTER ":+3.1:x:bank",
        "cohort:" CLUSTER ":3.1f:x:bank:more",
        "cohort:" CLUSTER ":3.1f:x:ba nk",
        "cohort:" CLUSTER ":3.1f:x y:bank",
        "cohort:" CLUSTER ":3.1f:%3a:bank", /* lower case */
        "cohort:" CLUSTER ":3.1f:%41:bank", /* needs none */
        "cohort:" CLUSTER ":3.1f:%00:bank",
        "cohort:" CLUSTER ":3.1f:%:bank",
        "cohort:" CLUSTER ":3.1f:%2:bank",
        "cohort:0123456789ABCDEF0123456789abcdef:3.1:x:bank",
        "cohort:0123456789abcdef:3.1:x:bank",
        "cohort:" CLUSTER ":99999999999999999999.1:x:bank",
        "cohort:" CLUSTER ":3.1f:x:12345678901234567890123456789012",
    };
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        struct resource_name name;
        assert_false(resource_name_parse(slice_from_string(foreign[i]), &name));
    }
    struct resource_name name;
    assert_false(resource_name_parse(slice_of("cohort:" CLUSTER ":3.1f:x\0:bank", 50), &name));
}

static void test_long_names(void **unused)
{
    char text[BRANCH_NAME_BYTES];
    char long_id[BRANCH_TXID_BYTES] = {0};
    memset(long_id, 'x', sizeof(long_id) - 1);
    struct resource_name name = name_of(long_id, "bank");
    struct resource_name parsed;
    assert_true(resource_name_format(&name, text));
    assert_true(resource_name_parse(slice_from_string(text), &parsed));
    char longer[BRANCH_NAME_BYTES + 1];
    (void)memset(longer, 'x', sizeof(longer));
    memcpy(longer, text, strlen("cohort:" CLUSTER ":3.1f:"));
    assert_false(resource_name_parse(slice_of(longer, sizeof(longer)), &parsed));
}

/* Of the same id, and yet others: after a restore, and when a client says an id again. */
static void test_epochs_are_told_apart(void **unused)
{
    struct resource_name name = name_of("x", "bank");
    struct resource_name parsed;
    char text[BRANCH_NAME_BYTES];
    name.restores = 4;
    name.position = UINT64_MAX;
    assert_true(resource_name_format(&name, text));
    assert_string_equal(text, "cohort:" CLUSTER ":4.ffffffffffffffff:x:bank");
    assert_true(resource_name_parse(slice_from_string(text), &parsed));
    assert_true(parsed.restores == 4 && parsed.position == UINT64_MAX);
    name.position = 0;
    assert_true(resource_name_format(&name, text));
    assert_true(resource_name_parse(slice_from_string(text), &parsed));
    assert_true(parsed.restores == 4 && parsed.position == 0);
}

static void test_xa(void **unused)
{
    const char *text = "cohort:" CLUSTER ":3.1f:order-17:bank";
    size_t split = resource_name_xa_split(slice_from_string(text));
    assert_string_equal(text + split, "order-17:bank");
    assert_int_equal(split, strlen("cohort:" CLUSTER ":3.1f:"));
    char longer[BRANCH_NAME_BYTES] = "cohort:" CLUSTER ":3.1f:";
    memset(longer + strlen(longer), 'x', 60);
    strcat(longer, ":abc"); /* 64 bytes behind the third colon */
    assert_int_not_equal(resource_name_xa_split(slice_from_string(longer)), 0);
    strcat(longer, "d");
    assert_int_equal(resource_name_xa_split(slice_from_string(longer)), 0);
    assert_int_equal(resource_name_xa_split(slice_from_string("a:b")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_what_cannot_be_a_name),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_epochs_are_told_apart),
        cmocka_unit_test(test_xa),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

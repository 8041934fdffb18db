#include "engine/local_place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_types(void **state)
{
    (void)state;
    assert_string_equal(local_place_remote(0x6969), "NFS");
    assert_string_equal(local_place_remote((int32_t)0xFF534D42), "CIFS"); /* as it is where f_type has 32 bits */
    assert_string_equal(local_place_remote(0xFF534D42), "CIFS");
    assert_string_equal(local_place_remote(0x01021997), "9P");
    assert_null(local_place_remote(0xEF53));     /* ext4 */
    assert_null(local_place_remote(0x01021994)); /* tmpfs */
    assert_null(local_place_remote(0x9123683E)); /* btrfs */
    assert_null(local_place_remote(0x794C7630)); /* overlay */
    assert_null(local_place_remote(0));
}

static void test_folders(void **state)
{
    (void)state;
    assert_null(local_place_problem("/dev"));
    assert_null(local_place_problem("/no such folder"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

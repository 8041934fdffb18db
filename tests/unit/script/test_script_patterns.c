/* Lua's patterns, matched by our own matcher, beside Lua's (pattern_replies.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "script_world.h"

static const struct {
    const char *source, *reply;
} replies[] = {
#include "pattern_replies.h"
};

static void as_lua_matches(void **state)
{
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        expect_reply(*state, replies[i].source, replies[i].reply);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(as_lua_matches, script_world_setup, script_world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Values, errors and their texts, side by side with what redis-server answered (redis_replies.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "script_world.h"

static const struct {
    const char *source, *resp2, *resp3;
} replies[] = {
#include "redis_replies.h"
};

static void in_protocol(struct script_world *world, int protocol)
{
    world->protocol = protocol;
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        const char *other = replies[i].resp3 == NULL ? replies[i].resp2 : replies[i].resp3;
        expect_reply(world, replies[i].source, protocol == RESP2 ? replies[i].resp2 : other);
    }
}

static void in_resp2(void **state) { in_protocol(*state, RESP2); }
static void in_resp3(void **state) { in_protocol(*state, RESP3); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(in_resp2, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(in_resp3, script_world_setup, script_world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

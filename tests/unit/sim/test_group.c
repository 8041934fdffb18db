/* Replicated groups in the simulator: the same seed twice, pictures, profiles, and seeds that once found a bug. */
#include "hunt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_same_seed_same_trace(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct sim_profile profile;
        struct sim_result one, other;
        assert_int_equal(sim_profile_draw(seed, "groups,all", &profile), STATUS_OK);
        sim_run(seed, &profile, NULL, NULL, &one);
        sim_run(seed, &profile, NULL, NULL, &other);
        assert_true(one.trace == other.trace);
        sim_run(seed + 1000, &profile, NULL, NULL, &other);
        assert_true(one.trace != other.trace);
    }
}

static void test_a_picture_changes_nothing(void **state)
{
    (void)state;
    struct sim_profile profile;
    struct sim_result one, other;
    assert_int_equal(sim_profile_draw(5, "groups,all", &profile), STATUS_OK);
    struct diagram *diagram = diagram_create(profile.members, 0, profile.groups, 0, INT64_MAX);
    struct sim_record record = {.diagram = diagram};
    struct buffer html = {0};
    sim_run(5, &profile, NULL, &record, &one);
    diagram_write(diagram, "five <5>", &html);
    sim_run(5, &profile, NULL, NULL, &other);
    assert_true(one.trace == other.trace);
    assert_non_null(memmem(html.data, html.size, "five &lt;5>", 11));
    assert_non_null(memmem(html.data, html.size, "leads group 1", 13));
    buffer_deinit(&html);
    diagram_destroy(diagram);
}

static void test_profile_text(void **state)
{
    (void)state;
    struct sim_profile one, other;
    char text[SIM_PROFILE_TEXT_BYTES];
    for (uint64_t seed = 0; seed < 50; seed++) {
        assert_int_equal(sim_profile_draw(seed, "random", &one), STATUS_OK);
        sim_profile_text(&one, text);
        assert_int_equal(sim_profile_draw(seed + 1, text, &other), STATUS_OK);
        assert_memory_equal(&one, &other, sizeof(one));
    }
    assert_int_equal(sim_profile_draw(1, "members=4096", &one), STATUS_INVALID);
    assert_int_equal(sim_profile_draw(1, "weather", &one), STATUS_INVALID);
}

/* A member that leads, loses its leadership with entries on the way, and leads again with its own new entries in their
 * places: the requests in the old ones were never answered. */
static void test_requests_of_a_member_elected_again(void **state)
{
    (void)state;
    struct sim_profile profile;
    struct sim_result result;
    assert_int_equal(sim_profile_draw(92, "groups,network,disk,members=3,groups=3,clients=3,faults=37", &profile),
                     STATUS_OK);
    sim_run(92, &profile, NULL, NULL, &result);
    if (result.failed) {
        fail_msg("%s", result.failure);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profile_text),
        cmocka_unit_test(test_requests_of_a_member_elected_again),
        cmocka_unit_test(test_same_seed_same_trace),
        cmocka_unit_test(test_a_picture_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Subscriptions against a model: a table of who has what. */
#include "server/channels.h"

#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

enum { LISTENERS = 20, NAMES = 50, STEPS = 30000 };

struct model {
    bool has[CHANNEL_KINDS][NAMES][LISTENERS];
    uint64_t elsewhere[CHANNEL_KINDS][NAMES];
};

static struct slice name_of(uint32_t number, char text[static 16])
{
    return slice_of(text, number == 0 ? 0 : (size_t)snprintf(text, 16, "name%u", number));
}

static uint64_t here(const struct model *model, int kind, int name)
{
    uint64_t count = 0;
    for (int i = 0; i < LISTENERS; i++) {
        count += model->has[kind][name][i];
    }
    return count;
}

static void check(const struct channels *channels, const struct model *model)
{
    char text[16];
    size_t all = 0;
    for (int kind = 0; kind < CHANNEL_KINDS; kind++) {
        size_t names = 0;
        for (uint32_t name = 0; name < NAMES; name++) {
            const struct channel *channel = channels_find(channels, (enum channel_kind)kind, name_of(name, text));
            uint64_t count = here(model, kind, (int)name);
            all += count;
            names += count + model->elsewhere[kind][name] != 0;
            assert_int_equal(channel == NULL, count + model->elsewhere[kind][name] == 0);
            if (channel != NULL) {
                assert_int_equal(channel->here, count);
                assert_int_equal(channel->elsewhere, model->elsewhere[kind][name]);
            }
        }
        assert_int_equal(channels_count(channels, (enum channel_kind)kind), names);
    }
    assert_int_equal(channels->here, all);
}

static void test_as_the_model(void **state)
{
    struct channels channels;
    struct listener listeners[LISTENERS];
    struct model model = {0};
    struct prng prng;
    char text[16];
    channels_init(&channels, 7);
    prng_seed(&prng, 1);
    for (int i = 0; i < LISTENERS; i++) {
        listener_init(&listeners[i], NULL);
    }
    for (int step = 0; step < STEPS; step++) {
        int kind = (int)prng_below(&prng, CHANNEL_KINDS);
        uint32_t name = (uint32_t)prng_below(&prng, NAMES);
        int who = (int)prng_below(&prng, LISTENERS);
        bool *has = &model.has[kind][name][who];
        uint64_t *elsewhere = &model.elsewhere[kind][name];
        struct slice named = name_of(name, text);
        assert_int_equal(channels_has(&channels, (enum channel_kind)kind, named, &listeners[who]), *has);
        switch (prng_below(&prng, 5)) {
        case 0:
        case 1:
            assert_int_equal(channels_subscribe(&channels, (enum channel_kind)kind, named, &listeners[who]), !*has);
            *has = true;
            break;
        case 2:
        case 3:
            assert_int_equal(channels_unsubscribe(&channels, (enum channel_kind)kind, named, &listeners[who]), *has);
            *has = false;
            break;
        default:
            if (*elsewhere == 0 || prng_below(&prng, 2) == 0) {
                channels_elsewhere(&channels, (enum channel_kind)kind, named, true);
                (*elsewhere)++;
            } else {
                channels_elsewhere(&channels, (enum channel_kind)kind, named, false);
                (*elsewhere)--;
            }
        }
        if (step % 100 == 0) {
            check(&channels, &model);
        }
    }
    check(&channels, &model);
    for (int i = 0; i < LISTENERS; i++) {
        for (int kind = 0; kind < CHANNEL_KINDS; kind++) {
            for (uint32_t name = 0; name < NAMES; name++) {
                (void)channels_unsubscribe(&channels, (enum channel_kind)kind, name_of(name, text), &listeners[i]);
            }
        }
        assert_int_equal(listener_count(&listeners[i]), 0);
        assert_int_equal(listeners[i].bytes, 0);
    }
    channels_deinit(&channels);
    (void)state;
}

/* A listener's are told in the order in which it made them, a channel's listeners too. */
static void test_order(void **state)
{
    struct channels channels;
    struct listener one;
    struct listener other;
    channels_init(&channels, 7);
    listener_init(&one, &one);
    listener_init(&other, &other);
    assert_true(channels_subscribe(&channels, CHANNEL_NAMED, SLICE_LITERAL("b"), &one));
    assert_true(channels_subscribe(&channels, CHANNEL_NAMED, SLICE_LITERAL("a"), &one));
    assert_true(channels_subscribe(&channels, CHANNEL_NAMED, SLICE_LITERAL("b"), &other));
    const struct subscription *first =
        CONTAINER_OF(one.subscriptions[CHANNEL_NAMED].next, struct subscription, by_listener);
    assert_true(slice_equal(channel_name(first->channel), SLICE_LITERAL("b")));
    const struct channel *channel = channels_find(&channels, CHANNEL_NAMED, SLICE_LITERAL("b"));
    assert_ptr_equal(CONTAINER_OF(channel->subscriptions.prev, struct subscription, by_channel)->listener->owner,
                     &other);
    assert_true(channels_unsubscribe(&channels, CHANNEL_NAMED, SLICE_LITERAL("b"), &one));
    assert_true(channels_unsubscribe(&channels, CHANNEL_NAMED, SLICE_LITERAL("b"), &other));
    assert_true(channels_unsubscribe(&channels, CHANNEL_NAMED, SLICE_LITERAL("a"), &one));
    channels_deinit(&channels);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_the_model),
        cmocka_unit_test(test_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Where servers are (redis_url.h), and what several of them said (redlock_tally.h). */
#include "engine/redis_url.h"
#include "engine/redlock_tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct engine_url parsed;
static struct redis_url url;

static bool takes(const char *text)
{
    const char *problem;
    char words[ENGINE_PROBLEM_BYTES];
    assert_int_equal(engine_url_parse(text, &parsed, &problem), STATUS_OK);
    return redis_url_take(&parsed, &url, words) == STATUS_OK;
}

static void is_place(size_t which, const char *host, const char *port)
{
    assert_true(which < url.count);
    assert_string_equal(url.places[which].host, host);
    assert_string_equal(url.places[which].port, port);
}

static void test_places(void **unused)
{
    (void)unused;
    assert_true(takes("redis://host"));
    is_place(0, "host", "6379");
    assert_true(takes("redis://[fe80::1]:7/3"));
    is_place(0, "fe80::1", "7");
    assert_int_equal(url.login.db, 3);
    assert_true(takes("redlock://a,b:1,[::1],c:65535/"));
    assert_int_equal(url.count, 4);
    is_place(1, "b", "1");
    is_place(2, "::1", "6379");
    is_place(3, "c", "65535");
}

/* All that is before the last @, whatever stands in it. */
static void test_logins(void **unused)
{
    (void)unused;
    assert_true(takes("redis://me:a:b@c/d,e@host/1"));
    assert_string_equal(url.login.user, "me");
    assert_string_equal(url.login.password, "a:b@c/d,e");
    is_place(0, "host", "6379");
    assert_true(takes("redis://:%3F%25@host?user=you"));
    assert_string_equal(url.login.password, "?%");
    assert_string_equal(url.login.user, "you");
}

static void test_refused(void **unused)
{
    (void)unused;
    static const char *const bad[] = {
        "redis://",         "redis://a:0",       "redis://a:65536",    "redis://a:01",  "redis://a: 1",
        "redis://[::1",     "redis://[]:1",      "redis://a/b",        "redis://a/1/2", "redis://a@b",
        "redis://u:@b",     "redlock://a,a",     "redlock://a,a:6379", "redlock://,a",  "redis://a?db=",
        "redis://a?tls=on", "redis://a?user=me",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (takes(bad[i])) {
            fail_msg("%s", bad[i]);
        }
    }
}

/* ---- tallies ---- */

enum { SERVERS = 5 };

struct said {
    redisReply reply, text, number;
    redisReply *parts[2];
    struct redis_answer answer;
};

static struct said said[SERVERS];
static struct redis_answer answers[SERVERS];

/* NULL: no answer. */
static void say(size_t which, const char *value, int64_t left_ms)
{
    struct said *one = &said[which];
    *one = (struct said){.text = {.type = REDIS_REPLY_STRING}, .number = {.type = REDIS_REPLY_INTEGER}};
    one->number.integer = left_ms;
    one->parts[0] = &one->text;
    one->parts[1] = &one->number;
    one->reply = (redisReply){.type = REDIS_REPLY_ARRAY, .elements = 2, .element = one->parts};
    answers[which] = (struct redis_answer){.outcome = value == NULL ? REDIS_LOST : REDIS_ANSWERED};
    if (value != NULL) {
        one->text.str = (char *)(uintptr_t)value;
        one->text.len = strlen(value);
        answers[which].reply = &one->reply;
    }
}

static void test_values(void **unused)
{
    (void)unused;
    say(0, "old", 500);
    say(1, "new", 900);
    say(2, NULL, 0);
    say(3, "new", 1000);
    say(4, "", 70);
    struct redlock_tally tally = redlock_count_values(answers, SERVERS);
    assert_int_equal(tally.answered, 4);
    assert_int_equal(tally.yes, 2);
    assert_true(slice_equal(tally.value, SLICE_LITERAL("new")));
    assert_int_equal(tally.lefts_ms[0], 1000); /* the longest first */
    assert_int_equal(tally.lefts_ms[1], 900);
    assert_int_equal(tally.others_ms, 70);
    for (size_t i = 0; i < SERVERS; i++) {
        say(i, "", -1); /* others', for ever */
    }
    tally = redlock_count_values(answers, SERVERS);
    assert_int_equal(tally.answered, SERVERS);
    assert_int_equal(tally.yes, 0);
    assert_int_equal(tally.others_ms, 0);
}

/* Errors, and replies of another form, are no answers. */
static void test_what_is_no_answer(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < SERVERS; i++) {
        say(i, "me", 100);
    }
    said[0].reply.type = REDIS_REPLY_ERROR;
    said[1].reply.elements = 1;
    said[2].text.type = REDIS_REPLY_NIL;
    said[3].number.type = REDIS_REPLY_STRING;
    struct redlock_tally tally = redlock_count_values(answers, SERVERS);
    assert_int_equal(tally.answered, 1);
    assert_int_equal(tally.yes, 1);
    for (size_t i = 0; i < SERVERS; i++) {
        said[i].reply = (redisReply){.type = REDIS_REPLY_INTEGER, .integer = i < 2 ? 0 : (long long)i};
    }
    tally = redlock_count_yes(answers, SERVERS);
    assert_int_equal(tally.answered, SERVERS);
    assert_int_equal(tally.yes, 3);
    assert_int_equal(tally.lefts_ms[0], 4);
    assert_int_equal(tally.lefts_ms[2], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_logins),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_what_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

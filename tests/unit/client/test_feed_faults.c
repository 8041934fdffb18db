/* Feeds against servers that fail: cut at every byte, silent, garbage, refusals, positions that are too old. */
#include "scripted_feed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

/* Two nodes; `one` is the URL's only one unless a test says otherwise. */
struct fixture {
    struct scripted_feed one, other;
    struct cohort *cohort;
    struct cohort_feed *feed;
};

static void open_handle(struct fixture *f, bool both, int64_t timeout_ms)
{
    char url[128];
    (void)snprintf(url, sizeof(url), both ? "127.0.0.1:%d,127.0.0.1:%d" : "127.0.0.1:%d", f->one.server.port,
                   f->other.server.port);
    const struct cohort_options options = {.timeout_ms = timeout_ms};
    assert_int_equal(cohort_open(url, &options, &f->cohort, NULL), COHORT_OK);
}

static void setup(struct fixture *f, int last, bool both)
{
    scripted_feed_start(&f->one);
    scripted_feed_start(&f->other);
    atomic_store(&f->one.last, last);
    atomic_store(&f->other.last, last);
    open_handle(f, both, 60000);
    f->feed = NULL;
}

static void teardown(struct fixture *f)
{
    cohort_feed_close(f->feed);
    cohort_close(f->cohort);
    scripted_feed_stop(&f->one);
    scripted_feed_stop(&f->other);
}

static void open_feed(struct fixture *f, const struct cohort_feed_options *options)
{
    const struct cohort_feed_options patient = {.silence_ms = 3600000}; /* the machine may stand still */
    enum cohort_status status =
        cohort_feed_open(f->cohort, cohort_text("k"), options == NULL ? &patient : options, &f->feed, NULL);
    assert_int_equal(status, COHORT_OK);
}

/* The answer and its pushes cut at every byte, also before the position is known: each push is given once. */
static void test_cut_at_every_byte(void **state)
{
    enum { PUSHES = 4, BYTES_AT_LEAST = 250 };
    struct fixture f;
    setup(&f, PUSHES, false);
    long cut = 0;
    bool was_cut = true;
    for (; was_cut; cut++) {
        atomic_store(&f.one.server.cut_after, cut);
        open_feed(&f, NULL);
        scripted_feed_expect(f.feed, 1, PUSHES);
        cohort_feed_close(f.feed);
        f.feed = NULL;
        was_cut = atomic_exchange(&f.one.server.cut_after, -1) == -1; /* else there was nothing left to cut */
    }
    assert_true(cut > BYTES_AT_LEAST);
    teardown(&f);
}

static void test_a_byte_at_a_time(void **state)
{
    struct fixture f;
    setup(&f, 20, false);
    f.one.server.piece = 1;
    open_feed(&f, NULL);
    scripted_feed_expect(f.feed, 1, 20);
    teardown(&f);
}

/* A node that tells nothing more is left for another, again and again; also while nothing is to be told. */
static void test_silence(void **state)
{
    struct fixture f;
    setup(&f, 2, true);
    const struct cohort_feed_options options = {.silence_ms = 100};
    open_feed(&f, &options);
    scripted_feed_expect(f.feed, 1, 2);
    while (atomic_load(&f.one.asked) < 2 || atomic_load(&f.other.asked) < 2) {
        assert_int_not_equal(cohort_feed_next(f.feed, 50, NULL, NULL), COHORT_OK);
    }
    atomic_store(&f.one.last, 5);
    atomic_store(&f.other.last, 5);
    scripted_feed_expect(f.feed, 3, 5);
    teardown(&f);
}

/* One that does not even answer: the question goes elsewhere after a third of its time. */
static void test_no_answer(void **state)
{
    struct fixture f;
    setup(&f, 3, true);
    cohort_close(f.cohort);
    open_handle(&f, true, 900);
    atomic_store(&f.one.silent, true);
    for (int i = 0; i < 3; i++) {
        open_feed(&f, NULL);
        scripted_feed_expect(f.feed, 1, 3);
        cohort_feed_close(f.feed);
    }
    atomic_store(&f.other.silent, true);
    struct cohort_feed *none;
    enum cohort_status status = cohort_feed_open(f.cohort, cohort_text("k"), NULL, &none, NULL);
    assert_true(status == COHORT_TIMEOUT || status == COHORT_UNREACHABLE);
    f.feed = NULL;
    teardown(&f);
}

static void test_nobody_there_for_a_while(void **state)
{
    struct fixture f;
    setup(&f, 2, false);
    open_feed(&f, NULL);
    scripted_feed_expect(f.feed, 1, 1);
    scripted_stop(&f.one.server);
    scripted_feed_expect(f.feed, 2, 2); /* it had come already */
    struct cohort_reply *reply = NULL;
    enum cohort_status status;
    do {
        cohort_reply_free(reply);
        status = cohort_feed_next(f.feed, 20, NULL, &reply);
    } while (status == COHORT_TIMEOUT); /* the end of the connection has not come yet */
    assert_int_equal(status, COHORT_UNREACHABLE);
    assert_non_null(strstr(cohort_reply_text(reply), "no node serves the feed just now: 127.0.0.1:"));
    cohort_reply_free(reply);
    assert_string_equal(cohort_feed_position(f.feed), "p2");
    atomic_store(&f.one.last, 4);
    scripted_start_again(&f.one.server);
    scripted_feed_expect(f.feed, 3, 4);
    assert_int_equal(atomic_load(&f.one.from), 2);
    teardown(&f);
}

/* ---- what is no push of a feed ---- */

static void test_garbage(void **state)
{
    static const char *const garbage[] = {
        "nonsense\r\n",
        "+more than was asked\r\n",
        ">1\r\n$4\r\nfeed\r\n",
        ">4\r\n$4\r\nfeed\r\n$1\r\nq\r\n$2\r\np9\r\n*0\r\n",       /* of another prefix */
        ">4\r\n$4\r\nfeed\r\n$1\r\nk\r\n$0\r\n\r\n*0\r\n",         /* no position */
        ">4\r\n$4\r\nfeed\r\n$1\r\nk\r\n$2\r\np9\r\n:1\r\n",       /* no changes */
        ">4\r\n$4\r\nfeed\r\n$1\r\nk\r\n$2\r\np9\r\n*1\r\n:1\r\n", /* what is none */
        ">4\r\n$4\r\nfeed\r\n$1\r\nk\r\n$2\r\np9\r\n*1\r\n*2\r\n+del\r\n$1\r\nk\r\n",
        ">4\r\n$4\r\nfeed\r\n$1\r\nk\r\n$2\r\np9\r\n*1\r\n*3\r\n+del\r\n$1\r\nk\r\n:-1\r\n",
        ">4\r\n$4\r\nfeed\r\n$1\r\nk\r\n$2\r\np9\r\n*1\r\n*3\r\n+set\r\n$1\r\nk\r\n:1\r\n", /* no value */
        ">4\r\n$4\r\nfeed\r\n$1\r\nk\r\n$2\r\np9\r\n*1\r\n*4\r\n+del\r\n$1\r\nk\r\n:1\r\n:1\r\n",
        ">4\r\n$4\r\nfeed\r\n$1\r\nk\r\n$2\r\np9\r\n*1\r\n*5\r\n+flush\r\n$0\r\n\r\n:1\r\n:9\r\n:8\r\n",
        ">4\r\n$4\r\nfeed\r\n$1\r\nk\r\n$2\r\np9\r\n*1\r\n*5\r\n+stale\r\n$0\r\n\r\n:1\r\n:0\r\n:16384\r\n",
    };
    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        struct fixture f;
        setup(&f, 3, false);
        atomic_store(&f.one.tail, garbage[i]);
        open_feed(&f, NULL);
        scripted_feed_expect(f.feed, 1, 3);
        assert_int_equal(atomic_load(&f.one.asked), 1);
        for (int wait = 0; atomic_load(&f.one.asked) < 2 && wait < 6000; wait++) {
            enum cohort_status status = cohort_feed_next(f.feed, 10, NULL, NULL);
            assert_true(status == COHORT_TIMEOUT || status == COHORT_UNREACHABLE);
        }
        assert_int_equal(atomic_load(&f.one.from), 3);
        atomic_store(&f.one.at_most, 0);
        teardown(&f);
    }
}

/* A node that always sends garbage is asked again with pauses, and the caller is told what is wrong. */
static void test_garbage_again_and_again(void **state)
{
    struct fixture f;
    setup(&f, 0, false);
    atomic_store(&f.one.tail, "nonsense\r\n");
    atomic_store(&f.one.tail_each, true);
    open_feed(&f, NULL);
    struct cohort_reply *reply = NULL;
    do {
        cohort_reply_free(reply);
        (void)cohort_feed_next(f.feed, 20, NULL, &reply);
    } while (strstr(cohort_reply_text(reply), "it sends what is no reply") == NULL);
    cohort_reply_free(reply);
    assert_true(atomic_load(&f.one.asked) < 100);
    atomic_store(&f.one.tail, NULL);
    atomic_store(&f.one.last, 1);
    scripted_feed_expect(f.feed, 1, 1);
    teardown(&f);
}

/* It could not be left out: the feed ends in front of it. */
static void test_kind_that_is_not_known(void **state)
{
    struct fixture f;
    setup(&f, 2, false);
    atomic_store(&f.one.tail, ">4\r\n$4\r\nfeed\r\n$1\r\nk\r\n$2\r\np9\r\n*1\r\n*3\r\n+swap\r\n$1\r\nk\r\n:3\r\n");
    open_feed(&f, NULL);
    scripted_feed_expect(f.feed, 1, 2);
    for (int i = 0; i < 2; i++) {
        struct cohort_reply *reply;
        assert_int_equal(cohort_feed_next(f.feed, -1, NULL, &reply), COHORT_PROTOCOL);
        assert_non_null(strstr(cohort_reply_text(reply), "changes of the kind 'swap'"));
        cohort_reply_free(reply);
    }
    assert_string_equal(cohort_feed_position(f.feed), "p2");
    teardown(&f);
}

/* Its next push is `tail`, or has a value of `value_bytes`: not to be had with a limit of 100,000. */
static void end_before_a_large_push(const char *tail, size_t value_bytes)
{
    struct fixture f;
    setup(&f, 2, true);
    cohort_close(f.cohort);
    char url[64];
    (void)snprintf(url, sizeof(url), "127.0.0.1:%d", f.one.server.port);
    const struct cohort_options small = {.reply_bytes_max = 100000};
    assert_int_equal(cohort_open(url, &small, &f.cohort, NULL), COHORT_OK);
    atomic_store(&f.one.tail, tail);
    atomic_store(&f.one.at_most, value_bytes == 0 ? 0 : 2); /* the next is asked for when its size is known */
    open_feed(&f, NULL);
    scripted_feed_expect(f.feed, 1, 2);
    atomic_store(&f.one.value_bytes, value_bytes);
    atomic_store(&f.one.at_most, 0);
    atomic_store(&f.one.last, 4);
    int asked = 0;
    for (int i = 0; i < 3; i++) {
        struct cohort_reply *reply;
        assert_int_equal(cohort_feed_next(f.feed, 60000, NULL, &reply), COHORT_PROTOCOL);
        assert_non_null(
            strstr(cohort_reply_text(reply), "larger than reply_bytes_max, which is 100000 bytes: raise it"));
        cohort_reply_free(reply);
        assert_true(i == 0 || atomic_load(&f.one.asked) == asked); /* it is not asked for again */
        asked = atomic_load(&f.one.asked);
    }
    assert_string_equal(cohort_feed_position(f.feed), "p2");
    char position[] = "p2";
    cohort_feed_close(f.feed);
    cohort_close(f.cohort);
    open_handle(&f, false, 60000);
    const struct cohort_feed_options options = {.from = cohort_text(position), .silence_ms = 3600000};
    open_feed(&f, &options);
    scripted_feed_expect(f.feed, 3, 4);
    teardown(&f);
}

static void test_a_push_with_a_value_above_the_limit(void **state) { end_before_a_large_push(NULL, 100001); }

static void test_a_push_above_the_limit(void **state)
{
    struct buffer push = {0};
    buffer_append_string(&push, ">4\r\n$4\r\nfeed\r\n$1\r\nk\r\n$2\r\np3\r\n*3\r\n");
    for (int i = 0; i < 3; i++) {
        buffer_append_string(&push, "*4\r\n$3\r\nset\r\n$2\r\nk3\r\n:3\r\n$40000\r\n");
        memset(buffer_reserve(&push, 40000), '.', 40000);
        push.size += 40000;
        buffer_append_string(&push, "\r\n");
    }
    buffer_append_byte(&push, '\0');
    end_before_a_large_push((const char *)push.data, 0);
    buffer_deinit(&push);
}

/* What answers is no cohort. */
static void test_answers_that_are_none(void **state)
{
    static const struct {
        const char *answer;
        enum cohort_status status;
    } cases[] = {
        {"-ERR unknown command 'COHORT.FEED'\r\n", COHORT_REFUSED},
        {"+OK\r\n", COHORT_PROTOCOL},
        {"*2\r\n+OK\r\n$0\r\n\r\n", COHORT_PROTOCOL},
        {"_\r\n", COHORT_PROTOCOL},
    };
    struct fixture f;
    setup(&f, 0, false);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        atomic_store(&f.one.refusal, cases[i].answer);
        atomic_store(&f.one.refuse, 1);
        struct cohort_feed *none;
        assert_int_equal(cohort_feed_open(f.cohort, cohort_text("k"), NULL, &none, NULL), cases[i].status);
    }
    teardown(&f);
}

/* ---- refusals ---- */

static const char compacted[] = "-COMPACTED p77 is the oldest position left; changes before it are forgotten\r\n";

static void test_compacted(void **state)
{
    struct fixture f;
    setup(&f, 0, false);
    atomic_store(&f.one.refusal, compacted);
    atomic_store(&f.one.refuse, 1);
    const struct cohort_feed_options options = {.from = cohort_text("p1")};
    struct cohort_reply *reply;
    assert_int_equal(cohort_feed_open(f.cohort, cohort_text("k"), &options, &f.feed, &reply), COHORT_COMPACTED);
    struct cohort_bytes oldest = cohort_feed_oldest(reply);
    assert_int_equal(oldest.size, 3);
    assert_memory_equal(oldest.data, "p77", 3);
    const struct cohort_feed_options again = {.from = oldest};
    open_feed(&f, &again);
    cohort_reply_free(reply);
    assert_int_equal(atomic_load(&f.one.from), 77);
    assert_int_equal(cohort_feed_oldest(NULL).size, 0);
    teardown(&f);
}

/* The server ends the feed: asked again, it says from where on it can go on. All that came before is given first. */
static void test_unfeed(void **state)
{
    struct fixture f;
    setup(&f, 3, false);
    atomic_store(&f.one.tail, ">3\r\n$6\r\nunfeed\r\n$1\r\nk\r\n-COMPACTED p3 is where this feed was\r\n");
    open_feed(&f, NULL);
    atomic_store(&f.one.refusal, compacted);
    atomic_store(&f.one.refuse, -1);
    scripted_feed_expect(f.feed, 1, 3);
    for (int i = 0; i < 2; i++) {
        struct cohort_reply *reply;
        assert_int_equal(cohort_feed_next(f.feed, -1, NULL, &reply), COHORT_COMPACTED);
        assert_int_equal(cohort_feed_oldest(reply).size, 3);
        cohort_reply_free(reply);
    }
    assert_string_equal(cohort_feed_position(f.feed), "p3");
    assert_int_equal(atomic_load(&f.one.asked), 2);
    teardown(&f);
}

/* It ends the feed for a reason that is over: nobody hears of it. */
static void test_unfeed_and_on(void **state)
{
    struct fixture f;
    setup(&f, 6, false);
    atomic_store(&f.one.at_most, 3);
    atomic_store(&f.one.tail, ">3\r\n$6\r\nunfeed\r\n$1\r\nk\r\n-ERR no reason\r\n");
    open_feed(&f, NULL);
    scripted_feed_expect(f.feed, 1, 6);
    teardown(&f);
}

static void test_refusals_for_good(void **state)
{
    struct fixture f;
    setup(&f, 0, true);
    static const char words[] = "-ERR the position is of another cluster; read the keys\r\n";
    atomic_store(&f.one.refusal, words);
    atomic_store(&f.other.refusal, words);
    atomic_store(&f.one.refuse, -1);
    atomic_store(&f.other.refuse, -1);
    struct cohort_reply *reply;
    struct cohort_feed *none;
    const struct cohort_feed_options options = {.from = cohort_text("p1")};
    assert_int_equal(cohort_feed_open(f.cohort, cohort_text("k"), &options, &none, &reply), COHORT_REFUSED);
    assert_string_equal(cohort_reply_text(reply), "ERR the position is of another cluster; read the keys");
    cohort_reply_free(reply);
    assert_int_equal(atomic_load(&f.one.asked) + atomic_load(&f.other.asked), 1);
    teardown(&f);
}

/* Refusals of one node: another is asked, when it opens and when it goes on. */
static void test_refusals_of_a_node(void **state)
{
    static const char *const words[] = {
        "-CLUSTERDOWN no majority of this shard's nodes answers\r\n",
        "-BUSY too many commands wait for this shard\r\n",
        "-UNCERTAIN the node that executes this command was lost\r\n",
        "-ERR this node has as many feeds as feed-max allows; end some, ask another node, or raise it\r\n",
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct fixture f;
        setup(&f, 6, true);
        atomic_store(&f.one.refusal, words[i]);
        atomic_store(&f.one.refuse, -1);
        atomic_store(&f.other.at_most, 1);
        open_feed(&f, NULL);
        scripted_feed_expect(f.feed, 1, 6);
        assert_true(atomic_load(&f.one.asked) > 0);
        teardown(&f);
    }
}

static void test_refused_by_all_nodes(void **state)
{
    struct fixture f;
    setup(&f, 0, true);
    static const char words[] = "-ERR this node has as many feeds as feed-max allows; end some\r\n";
    atomic_store(&f.one.refusal, words);
    atomic_store(&f.other.refusal, words);
    atomic_store(&f.one.refuse, -1);
    atomic_store(&f.other.refuse, -1);
    struct cohort_reply *reply = NULL;
    struct cohort_feed *none;
    enum cohort_status status = COHORT_OK;
    bool by_both = false;
    for (int timeout_ms = 500; !by_both && timeout_ms < 100000; timeout_ms *= 2) { /* too little on a busy machine */
        cohort_reply_free(reply);
        reply = NULL;
        const struct cohort_feed_options options = {.timeout_ms = timeout_ms};
        status = cohort_feed_open(f.cohort, cohort_text("k"), &options, &none, &reply);
        assert_int_not_equal(status, COHORT_OK);
        by_both = status == COHORT_BUSY && atomic_load(&f.one.asked) > 0 && atomic_load(&f.other.asked) > 0;
    }
    assert_true(by_both);
    assert_string_equal(cohort_reply_text(reply), "ERR this node has as many feeds as feed-max allows; end some");
    cohort_reply_free(reply);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_a_byte_at_a_time),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_nobody_there_for_a_while),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_garbage_again_and_again),
        cmocka_unit_test(test_kind_that_is_not_known),
        cmocka_unit_test(test_a_push_with_a_value_above_the_limit),
        cmocka_unit_test(test_a_push_above_the_limit),
        cmocka_unit_test(test_answers_that_are_none),
        cmocka_unit_test(test_compacted),
        cmocka_unit_test(test_unfeed),
        cmocka_unit_test(test_unfeed_and_on),
        cmocka_unit_test(test_refusals_for_good),
        cmocka_unit_test(test_refusals_of_a_node),
        cmocka_unit_test(test_refused_by_all_nodes),
    };
    return cmocka_run_group_tests_name("client_feed_faults", tests, NULL, NULL);
}

#include "scripted_feed.h"

#include "base/assert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

/* As k17, and as long as is asked for at least. */
static void put_text(struct buffer *out, char letter, int number, size_t bytes)
{
    char text[32];
    size_t size = (size_t)snprintf(text, sizeof(text), "%c%d", letter, number);
    size_t whole = bytes > size ? bytes : size;
    buffer_append_format(out, "$%zu\r\n%s", whole, text);
    memset(buffer_reserve(out, whole - size), '.', whole - size);
    out->size += whole - size;
    buffer_append_string(out, "\r\n");
}

static void put_push(const struct scripted_feed *feed, int number, struct buffer *out)
{
    buffer_append_string(out, ">4\r\n$4\r\nfeed\r\n$1\r\nk\r\n");
    put_text(out, 'p', number, 0);
    buffer_append_string(out, "*1\r\n*4\r\n$3\r\nset\r\n");
    put_text(out, 'k', number, 0);
    buffer_append_format(out, ":%d\r\n", number);
    put_text(out, 'v', number, atomic_load(&feed->value_bytes));
}

static void reset_on_close(struct scripted_server *server, int connection)
{
    struct linger at_once = {.l_onoff = 1};
    ASSERT(setsockopt(server->connections[connection].fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) == 0);
}

static bool refuses(struct scripted_feed *feed, struct buffer *out)
{
    int left = atomic_load(&feed->refuse);
    if (left == 0) {
        return false;
    }
    atomic_store(&feed->refuse, left > 0 ? left - 1 : left);
    buffer_append_string(out, atomic_load(&feed->refusal));
    return true;
}

static enum scripted_verdict tell(struct scripted_server *server, int connection, const struct cohort_reply *request,
                                  struct buffer *out)
{
    struct scripted_feed *feed = server->data;
    if (!scripted_is(request, "COHORT.FEED")) {
        buffer_append_string(out, "+PONG\r\n");
        return SCRIPTED_ANSWER;
    }
    bool is_placed = cohort_reply_count(request) == 5;
    int from = is_placed ? atoi(scripted_word(request, 4) + 1) : atomic_load(&feed->first);
    int at_most = atomic_load(&feed->at_most);
    int last = atomic_load(&feed->last);
    atomic_store(&feed->from, is_placed ? from : -1);
    atomic_fetch_add(&feed->asked, 1);
    if (atomic_load(&feed->silent)) {
        return SCRIPTED_STOP;
    }
    if (refuses(feed, out)) {
        return SCRIPTED_ANSWER;
    }
    last = at_most != 0 && from + at_most < last ? from + at_most : last;
    buffer_append_string(out, "*2\r\n+OK\r\n");
    put_text(out, 'p', from, 0);
    for (int number = from + 1; number <= last; number++) {
        put_push(feed, number, out);
    }
    const char *tail = atomic_load(&feed->tail);
    if (tail != NULL) {
        buffer_append_string(out, tail);
        atomic_store(&feed->tail, atomic_load(&feed->tail_each) ? tail : NULL);
    }
    if (at_most != 0 && atomic_load(&feed->reset)) {
        reset_on_close(server, connection);
    }
    return at_most != 0 ? SCRIPTED_CLOSE : SCRIPTED_ANSWER;
}

void scripted_feed_start(struct scripted_feed *feed)
{
    memset(feed, 0, sizeof(*feed));
    feed->server.answer = tell;
    feed->server.data = feed;
    scripted_start(&feed->server);
}

void scripted_feed_stop(struct scripted_feed *feed) { scripted_stop(&feed->server); }

static void expect(const struct cohort_feed_change *change, int number)
{
    char text[32];
    int size = snprintf(text, sizeof(text), "k%d", number);
    assert_non_null(change);
    assert_int_equal(change->kind, COHORT_FEED_SET);
    assert_int_equal(change->version, number);
    assert_int_equal(change->key.size, size);
    assert_memory_equal(change->key.data, text, (size_t)size);
    size = snprintf(text, sizeof(text), "v%d", number);
    assert_memory_equal(change->value.data, text, (size_t)size);
}

void scripted_feed_expect(struct cohort_feed *feed, int from, int to)
{
    for (int number = from; number <= to; number++) {
        size_t count = 0;
        do {
            assert_int_equal(cohort_feed_next(feed, 60000, &count, NULL), COHORT_OK);
        } while (count == 0);
        char position[32];
        (void)snprintf(position, sizeof(position), "p%d", number);
        assert_int_equal(count, 1);
        expect(cohort_feed_change(feed, 0), number);
        assert_null(cohort_feed_change(feed, 1));
        assert_string_equal(cohort_feed_position(feed), position);
    }
}

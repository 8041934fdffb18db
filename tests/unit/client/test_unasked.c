/* Replies that nobody asked for: who has no room for a connection says so before it is asked anything, and closes. The
 * other end is a pair of sockets in which all stands already, so what comes first is certain. */
#include "client/handle.h"

#include <cohort/cohort.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define HELLO "%1\r\n+proto\r\n:3\r\n"

enum { TIMEOUT_MS = 50, PEERS = 256 };

struct play {
    const char *said; /* on each connection */
    bool stays;       /* else it is closed behind that */
    int peers[PEERS];
    int count;
};

static enum status connect_pair(void *context, int *ret_fd)
{
    struct play *play = context;
    int fds[2];
    assert_true(play->count < PEERS);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    size_t size = strlen(play->said);
    assert_int_equal(write(fds[1], play->said, size), (ssize_t)size);
    *ret_fd = fds[0];
    if (play->stays) {
        play->peers[play->count++] = fds[1];
    } else {
        close(fds[1]);
    }
    return STATUS_OK;
}

/* A call that is answered nothing ends in these words. */
static void expect(const char *said, bool stays, const char *words)
{
    struct play play = {.said = said, .stays = stays};
    struct client_connector connector = {.context = &play, .connect = connect_pair};
    struct client_url *url = calloc(1, sizeof(*url));
    assert_non_null(url);
    url->timeout_ms = TIMEOUT_MS;
    url->endpoint_count = 1;
    (void)snprintf(url->endpoints[0].host, sizeof(url->endpoints[0].host), "peer");
    struct cohort *cohort;
    struct cohort_options options;
    client_take_options(&options, sizeof(options), NULL);
    options.flags |= COHORT_ANY_NODE;
    assert_int_equal(client_open(url, &options, &connector, &cohort), COHORT_OK);
    struct cohort_reply *reply;
    enum cohort_status status = cohort_get(cohort, cohort_text("key"), &reply);
    assert_true(status == COHORT_UNREACHABLE || status == COHORT_TIMEOUT);
    if (strstr(cohort_reply_text(reply), words) == NULL) {
        fail_msg("'%s' is not in '%s'", words, cohort_reply_text(reply));
    }
    cohort_reply_free(reply);
    cohort_close(cohort);
    free(url);
    for (int i = 0; i < play.count; i++) {
        close(play.peers[i]);
    }
}

static void test_before_it_is_asked(void **state)
{
    expect("-ERR max number of clients reached\r\n", false, "peer:0: ERR max number of clients reached");
}

static void test_what_is_no_error(void **state) { expect("+welcome\r\n", false, "it answers what was not asked"); }

static void test_a_long_error(void **state)
{
    char said[1024];
    char words[45];
    (void)snprintf(said, sizeof(said), "-ERR %0900d\r\n", 0);
    (void)snprintf(words, sizeof(words), "ERR %040d", 0);
    expect(said, false, words);
}

/* The second of two answers to HELLO, on a connection that stays open. */
static void test_behind_an_answer(void **state)
{
    expect(HELLO "-ERR idle for too long\r\n", true, "peer:0: ERR idle for too long");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_before_it_is_asked),
        cmocka_unit_test(test_what_is_no_error),
        cmocka_unit_test(test_a_long_error),
        cmocka_unit_test(test_behind_an_answer),
    };
    return cmocka_run_group_tests_name("client_unasked", tests, NULL, NULL);
}

#include "cli/serve_cluster.h"

#include "cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct serve_cluster cluster;
static struct server_options options;
static char message[SERVE_CLUSTER_MESSAGE_BYTES];

static int take(struct serve_cluster given, bool protected_mode)
{
    cluster = given;
    options = (struct server_options){0};
    return serve_cluster_take(&cluster, protected_mode, &options, message);
}

#define THREE "1=127.0.0.1:7001,2=127.0.0.1:7002@9002,3=[::1]:7003"
#define FAR "1=192.0.2.1:7001,2=192.0.2.2:7001"

static void test_alone(void **state)
{
    assert_int_equal(take((struct serve_cluster){0}, true), CLI_CONTINUE);
    assert_int_equal(options.node_id, 1);
    assert_string_equal(options.host, "127.0.0.1");
    assert_int_equal(options.port, 6379);
    assert_int_equal(options.founder_count, 0);
    assert_int_equal(options.shards, 1);
    assert_int_equal(options.replicas, 1);
    assert_null(options.peer_host);
    assert_false(options.lease_reads);
    assert_int_equal(take((struct serve_cluster){.id = 7, .shards = 3, .listen = "[::1]:0", .reads = "lease"}, true),
                     CLI_CONTINUE);
    assert_int_equal(options.node_id, 7);
    assert_int_equal(options.shards, 3);
    assert_string_equal(options.host, "::1");
    assert_int_equal(options.port, 0);
    assert_true(options.lease_reads);
}

static void test_with_peers(void **state)
{
    assert_int_equal(take((struct serve_cluster){.id = 2, .peers = THREE}, true), CLI_CONTINUE);
    assert_int_equal(options.node_id, 2);
    assert_int_equal(options.founder_count, 3);
    assert_int_equal(options.founders[2].client.port, 7003);
    assert_string_equal(options.host, "127.0.0.1");
    assert_int_equal(options.port, 7002);
    assert_string_equal(options.peer_host, "127.0.0.1");
    assert_int_equal(options.peer_port, 9002);
    assert_int_equal(options.shards, 8);
    assert_int_equal(options.replicas, 3);
    assert_int_equal(take((struct serve_cluster){.id = 3,
                                                 .peers = THREE,
                                                 .shards = 1024,
                                                 .replicas = 7,
                                                 .listen = "0.0.0.0:1",
                                                 .peer_listen = "127.0.0.9:2",
                                                 .reads = "majority"},
                          true),
                     CLI_CONTINUE);
    assert_string_equal(options.host, "0.0.0.0");
    assert_int_equal(options.port, 1);
    assert_string_equal(options.peer_host, "127.0.0.9");
    assert_int_equal(options.peer_port, 2);
    assert_int_equal(options.shards, 1024);
    assert_int_equal(options.replicas, 7);
    assert_false(options.lease_reads);
}

static void test_other_machines(void **state)
{
    assert_int_equal(take((struct serve_cluster){.id = 1, .peers = FAR, .peer_listen = "[::]:17001"}, false),
                     CLI_CONTINUE);
    assert_string_equal(options.peer_host, "::");
    assert_int_equal(take((struct serve_cluster){.id = 1, .peers = FAR}, true), EX_CONFIG);
    assert_non_null(strstr(message, "node 1 is at 192.0.2.1, not on this machine"));
    assert_non_null(strstr(message, "--protected-mode no"));
    assert_int_equal(take((struct serve_cluster){.id = 1, .peers = THREE, .peer_listen = "0.0.0.0:1"}, true),
                     EX_CONFIG);
    assert_non_null(strstr(message, "--peer-listen 0.0.0.0:1 can be reached from other machines"));
}

static void test_refused(void **state)
{
    const struct {
        struct serve_cluster given;
        const char *said;
    } cases[] = {
        {{.replicas = 3}, "--replicas means nothing without --peers"},
        {{.peer_listen = "127.0.0.1:1"}, "--peer-listen means nothing without --peers"},
        {{.listen = "6379"}, "--listen 6379: HOST:PORT is needed"},
        {{.reads = "fast"}, "--reads fast: majority or lease is needed"},
        {{.id = 1, .peers = THREE, .reads = ""}, "majority or lease is needed"},
        {{.peers = THREE}, "--id N is needed with --peers"},
        {{.id = 4, .peers = THREE}, "--id 4: --peers does not name it"},
        {{.id = 1, .peers = "1=x:1"}, "--peers: '1=x:1': the host must be a numeric address"},
        {{.id = 1, .peers = THREE, .listen = "127.0.0.1:0"}, "with --peers the port must not be 0"},
        {{.id = 1, .peers = THREE, .listen = "here"}, "--listen here: HOST:PORT is needed"},
        {{.id = 1, .peers = THREE, .peer_listen = "here"}, "--peer-listen here: a numeric address and a port"},
        {{.id = 1, .peers = THREE, .peer_listen = "127.0.0.1:0"}, "a numeric address and a port"},
        {{.id = 1, .peers = THREE, .peer_listen = "localhost:1"}, "a numeric address and a port"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(take(cases[i].given, true), EX_USAGE);
        if (strstr(message, cases[i].said) == NULL) {
            fail_msg("case %zu: %s", i, message);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_with_peers),
        cmocka_unit_test(test_other_machines),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

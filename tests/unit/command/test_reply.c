#include "command/command_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "wire/resp_reply.h"

enum { WORDS = 12 };

/* The reply to the words of text; the caller frees it with buffer_deinit. It ends with NUL. */
static void ask(const char *text, int protocol, struct buffer *reply)
{
    struct slice argv[WORDS];
    uint32_t argc = 0;
    while (*text != 0) {
        size_t size = strcspn(text, " ");
        assert_true(argc < WORDS);
        argv[argc++] = slice_of(text, size);
        text += size + (text[size] == ' ');
    }
    struct command command = {.argv = argv, .argc = argc, .protocol = (uint8_t)protocol};
    assert_int_equal(command_lookup(argv, argc, &command.spec), COMMAND_FOUND);
    buffer_init(reply);
    struct resp_writer writer = resp_writer_to(reply, protocol);
    command_reply(&command, &writer);
    buffer_append_byte(reply, 0);
}

static void check(const char *text, int protocol, const char *expected)
{
    struct buffer reply;
    ask(text, protocol, &reply);
    assert_string_equal((const char *)reply.data, expected);
    buffer_deinit(&reply);
}

static void test_info(void **state)
{
    check("COMMAND INFO Object|Encoding nosuch get|x", RESP2,
          "*3\r\n*10\r\n$15\r\nobject|encoding\r\n:3\r\n*1\r\n+readonly\r\n:2\r\n:2\r\n:1\r\n"
          "*3\r\n+@keyspace\r\n+@read\r\n+@slow\r\n*1\r\n$23\r\nnondeterministic_output\r\n"
          "*1\r\n*6\r\n$5\r\nflags\r\n*1\r\n+RO\r\n$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n"
          "$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:2\r\n$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n"
          "$4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n"
          "*0\r\n$-1\r\n$-1\r\n");
    check(
        "COMMAND INFO exec x", RESP3,
        "*2\r\n*10\r\n$4\r\nexec\r\n:1\r\n~4\r\n+noscript\r\n+loading\r\n+stale\r\n+skip_slowlog\r\n:0\r\n:0\r\n:0\r\n"
        "~2\r\n+@slow\r\n+@transaction\r\n~0\r\n~0\r\n~0\r\n_\r\n");
}

static void test_docs(void **state)
{
    check("COMMAND DOCS nosuch", RESP2, "*0\r\n");
    check("COMMAND DOCS get nosuch", RESP3,
          "%1\r\n$3\r\nget\r\n%5\r\n$7\r\nsummary\r\n$20\r\nThe string at a key.\r\n$5\r\nsince\r\n$5\r\n1.0.0\r\n"
          "$5\r\ngroup\r\n$6\r\nstring\r\n$10\r\ncomplexity\r\n$4\r\nO(1)\r\n"
          "$9\r\narguments\r\n*1\r\n%3\r\n$4\r\nname\r\n$3\r\nkey\r\n$4\r\ntype\r\n$3\r\nkey\r\n"
          "$14\r\nkey_spec_index\r\n:0\r\n");
}

static void test_list(void **state)
{
    check("COMMAND LIST FILTERBY PATTERN OBJ*h*", RESP2, "*1\r\n$11\r\nobject|help\r\n");
    check("COMMAND LIST FILTERBY ACLCAT TRANSaction", RESP3,
          "*15\r\n$5\r\nmulti\r\n$4\r\nexec\r\n$7\r\ndiscard\r\n$5\r\nwatch\r\n$7\r\nunwatch\r\n"
          "$9\r\ntxn.begin\r\n$11\r\ntxn.prepare\r\n$10\r\ntxn.commit\r\n$12\r\ntxn.rollback\r\n$10\r\n"
          "txn.status\r\n$8\r\ntxn.list\r\n$8\r\ntxn.join\r\n$11\r\ntxn.outcome\r\n$8\r\ntxn.done\r\n"
          "$12\r\ntxn.branches\r\n");
    check("COMMAND LIST FILTERBY MODULE x", RESP2, "*0\r\n");
    check("COMMAND LIST FILTERBY FOO x", RESP2, "-ERR syntax error\r\n");
    check("COMMAND LIST FILTERBY PATTERN", RESP2, "-ERR syntax error\r\n");
}

static void test_keys(void **state)
{
    check("COMMAND GETKEYS mset a b c d", RESP2, "*2\r\n$1\r\na\r\n$1\r\nc\r\n");
    check("COMMAND GETKEYS object encoding x", RESP2, "*1\r\n$1\r\nx\r\n");
    check("COMMAND GETKEYS nosuch x", RESP2, "-ERR Invalid command specified\r\n");
    check("COMMAND GETKEYS object nosuch x", RESP2, "-ERR Invalid command specified\r\n");
    check("COMMAND GETKEYS ping x y", RESP2, "-ERR The command has no key arguments\r\n");
    check("COMMAND GETKEYS get a b", RESP2, "-ERR Invalid number of arguments specified for command\r\n");
    check("COMMAND GETKEYSANDFLAGS set a b", RESP3, "*1\r\n*2\r\n$1\r\na\r\n~2\r\n+OW\r\n+update\r\n");
    check("COMMAND GETKEYSANDFLAGS set a b ex 1 Get", RESP2,
          "*1\r\n*2\r\n$1\r\na\r\n*3\r\n+RW\r\n+access\r\n+update\r\n");
    check("COMMAND GETKEYSANDFLAGS copy a b", RESP2,
          "*2\r\n*2\r\n$1\r\na\r\n*2\r\n+RO\r\n+access\r\n*2\r\n$1\r\nb\r\n*2\r\n+OW\r\n+update\r\n");
}

/* Every reply is exactly one well-formed value, in both protocols. */
static void test_replies_are_whole(void **state)
{
    const char *const commands[] = {"COMMAND",     "COMMAND INFO", "COMMAND DOCS", "COMMAND LIST", "COMMAND COUNT",
                                    "OBJECT HELP", "CLIENT HELP",  "CONFIG HELP",  "COMMAND HELP", "SLOWLOG HELP"};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        for (int protocol = RESP2; protocol <= RESP3; protocol++) {
            struct buffer reply;
            ask(commands[i], protocol, &reply);
            struct resp_reader reader;
            resp_reader_init(&reader);
            enum resp_type root;
            size_t size = reply.size - 1;
            assert_int_equal(resp_reader_skip(&reader, &RESP_REPLY_DEFAULT_LIMITS, reply.data, size, &root),
                             RESP_REPLY_READY);
            assert_int_equal(reader.consumed, size);
            buffer_deinit(&reply);
        }
    }
    check("SLOWLOG HELP", RESP3,
          "*9\r\n+SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n"
          "+GET [count]\r\n+    The latest entries of the slow log.\r\n"
          "+LEN\r\n+    How many entries the slow log holds.\r\n"
          "+RESET\r\n+    Empties the slow log.\r\n+HELP\r\n+    Lists the subcommands.\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_docs),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_replies_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

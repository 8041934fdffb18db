#include "command/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"
#include "base/varint.h"
#include "wire/resp_writer.h"

enum { ARGUMENTS = 40 };

static struct command command_of(uint16_t id, const struct slice *argv, uint32_t argc, uint8_t protocol)
{
    return (struct command){.spec = command_by_id(id), .argv = argv, .argc = argc, .protocol = protocol};
}

static void assert_same(const struct command *a, const struct command *b)
{
    assert_ptr_equal(a->spec, b->spec);
    assert_int_equal(a->argc, b->argc);
    assert_int_equal(a->protocol, b->protocol);
    assert_int_equal(a->by_name, b->by_name);
    for (uint32_t i = 0; i < a->argc; i++) {
        assert_true(slice_equal(a->argv[i], b->argv[i]));
    }
}

/* Decodes bytes from memory of exactly their size, so that a sanitizer sees any step past the end. */
static enum status decode_copy(const uint8_t *data, size_t size, struct command_arguments *arguments,
                               struct command *ret_command, uint8_t **ret_copy, size_t *ret_left)
{
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    assert_non_null(copy);
    if (size != 0) {
        memcpy(copy, data, size);
    }
    struct slice from = slice_of(copy, size);
    enum status status = command_decode(&from, arguments, ret_command);
    *ret_left = from.size;
    *ret_copy = copy;
    return status;
}

/* What was decoded encodes to the bytes it came from: nothing else is accepted. */
static void assert_canonical(const uint8_t *data, size_t size, const struct command *command, size_t left)
{
    struct buffer again;
    buffer_init(&again);
    command_encode(&again, command);
    assert_int_equal(again.size, size - left);
    assert_memory_equal(again.data, data, again.size);
    buffer_deinit(&again);
}

static void check_round_trip(const struct command *command)
{
    struct buffer out;
    buffer_init(&out);
    buffer_append_string(&out, "before");
    command_encode(&out, command);
    command_encode(&out, command);
    struct slice from = slice_of(out.data + 6, out.size - 6);
    struct command_arguments arguments;
    command_arguments_init(&arguments);
    for (int i = 0; i < 2; i++) {
        struct command decoded;
        assert_int_equal(command_decode(&from, &arguments, &decoded), STATUS_OK);
        assert_same(command, &decoded);
    }
    assert_int_equal(from.size, 0);
    command_arguments_deinit(&arguments);
    buffer_deinit(&out);
}

/* Every truncation is refused; every flip of a bit is refused or gives another command that encodes to those bytes. */
static void check_damage(const struct command *command)
{
    struct buffer out;
    buffer_init(&out);
    command_encode(&out, command);
    struct command_arguments arguments;
    command_arguments_init(&arguments);
    struct command decoded;
    uint8_t *copy;
    size_t left;
    for (size_t size = 0; size < out.size; size++) {
        assert_int_equal(decode_copy(out.data, size, &arguments, &decoded, &copy, &left), STATUS_CORRUPT);
        assert_int_equal(left, size);
        free(copy);
    }
    for (size_t bit = 0; bit < out.size * 8; bit++) {
        out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        enum status status = decode_copy(out.data, out.size, &arguments, &decoded, &copy, &left);
        assert_true(status == STATUS_OK || status == STATUS_CORRUPT || status == STATUS_VERSION);
        if (status == STATUS_OK) {
            assert_canonical(out.data, out.size, &decoded, left);
        }
        free(copy);
        out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    command_arguments_deinit(&arguments);
    buffer_deinit(&out);
}

static void test_round_trip_of_every_command(void **state)
{
    uint8_t bytes[8 * ARGUMENTS];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)i;
    }
    for (uint16_t id = 1; id < COMMAND_MAXIMUM; id++) {
        const struct command_spec *spec = command_by_id(id);
        if (spec == NULL || spec->place != COMMAND_AT_MACHINE || id == COMMAND_EXEC) {
            continue;
        }
        uint32_t argc = (uint32_t)abs(spec->arity);
        struct slice argv[ARGUMENTS];
        char name[64];
        strcpy(name, spec->shown);
        char *space = strchr(name, ' ');
        argv[0] = slice_of(name, space == NULL ? strlen(name) : (size_t)(space - name));
        if (space != NULL) {
            argv[1] = slice_from_string(space + 1);
        }
        for (uint32_t i = spec->words; i < ARGUMENTS; i++) {
            argv[i] = slice_of(bytes + i, i % 3 == 0 ? 0 : i * 7);
        }
        struct command command = command_of(id, argv, argc, RESP2);
        check_round_trip(&command);
        check_damage(&command);
        command.protocol = RESP3;
        check_round_trip(&command);
        if (spec->arity < 0) {
            command.argc = ARGUMENTS;
            check_round_trip(&command);
        }
        if (id == COMMAND_EVAL || id == COMMAND_EVAL_RO) {
            assert_ptr_equal(command_called(&command), spec);
            command.by_name = true;
            check_round_trip(&command);
            assert_int_equal(command_called(&command)->id, id == COMMAND_EVAL ? COMMAND_EVALSHA : COMMAND_EVALSHA_RO);
        }
    }
}

static void test_random_commands(void **state)
{
    struct prng prng;
    prng_seed(&prng, 1);
    static uint8_t bytes[70000];
    for (int round = 0; round < 200; round++) {
        struct slice argv[ARGUMENTS] = {SLICE_LITERAL("MGET")};
        uint32_t argc = 2 + (uint32_t)prng_below(&prng, ARGUMENTS - 2);
        for (uint32_t i = 1; i < argc; i++) {
            size_t limit = prng_chance(&prng, 1, 20) ? sizeof(bytes) : 200;
            argv[i] = slice_of(bytes, prng_below(&prng, limit));
        }
        struct command command = command_of(COMMAND_MGET, argv, argc, RESP3);
        check_round_trip(&command);
    }
}

/* EXEC with `watches` watched keys and `queued` commands, into argv; bytes holds the queued ones. */
static struct command exec_of(struct slice argv[ARGUMENTS], struct buffer *bytes)
{
    const struct slice set[] = {SLICE_LITERAL("SET"), SLICE_LITERAL("a"), SLICE_LITERAL("1")};
    const struct slice encoding[] = {SLICE_LITERAL("OBJECT"), SLICE_LITERAL("ENCODING"), SLICE_LITERAL("a")};
    struct command inner = command_of(COMMAND_SET, set, 3, RESP3);
    command_encode(bytes, &inner);
    size_t first = bytes->size;
    inner = command_of(COMMAND_OBJECT_ENCODING, encoding, 3, RESP3);
    command_encode(bytes, &inner);
    argv[0] = SLICE_LITERAL("EXEC");
    argv[1] = SLICE_LITERAL("2");
    argv[2] = SLICE_LITERAL("a");
    argv[3] = SLICE_LITERAL("0");
    argv[4] = SLICE_LITERAL("");
    argv[5] = SLICE_LITERAL("9223372036854775807");
    argv[6] = slice_of(bytes->data, first);
    argv[7] = slice_of(bytes->data + first, bytes->size - first);
    return command_of(COMMAND_EXEC, argv, 8, RESP3);
}

static void test_exec(void **state)
{
    struct buffer bytes;
    buffer_init(&bytes);
    struct slice argv[ARGUMENTS];
    struct command command = exec_of(argv, &bytes);
    check_round_trip(&command);
    check_damage(&command);
    struct command_exec exec;
    assert_true(command_exec_parts(&command, &exec));
    assert_int_equal(exec.watch_count, 2);
    assert_ptr_equal(exec.watches, argv + 2);
    assert_int_equal(exec.queued_count, 2);
    assert_ptr_equal(exec.queued, argv + 6);
    command.argc = 6; /* nothing queued */
    check_round_trip(&command);
    command.argc = 5; /* a version is missing */
    assert_false(command_exec_parts(&command, &exec));
    command.argc = 1;
    assert_false(command_exec_parts(&command, &exec));
    buffer_deinit(&bytes);
}

static void assert_exec_refused(const struct slice *argv, uint32_t argc)
{
    struct buffer out;
    buffer_init(&out);
    struct command command = command_of(COMMAND_EXEC, argv, argc, RESP2);
    command_encode(&out, &command);
    struct command_arguments arguments;
    command_arguments_init(&arguments);
    struct slice from = buffer_slice(&out);
    assert_int_equal(command_decode(&from, &arguments, &command), STATUS_CORRUPT);
    command_arguments_deinit(&arguments);
    buffer_deinit(&out);
}

static void test_exec_refuses(void **state)
{
    struct buffer bytes;
    buffer_init(&bytes);
    struct slice argv[ARGUMENTS];
    (void)exec_of(argv, &bytes);
    const char *const counts[] = {"", "-1", "02", "4", "9999999999", "99999999999999999999", "x"};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        argv[1] = slice_from_string(counts[i]);
        assert_exec_refused(argv, 8);
    }
    argv[1] = SLICE_LITERAL("2");
    argv[3] = SLICE_LITERAL("-1");
    assert_exec_refused(argv, 8);
    argv[3] = SLICE_LITERAL("1");
    argv[6] = slice_of(bytes.data, bytes.size); /* two commands in one argument */
    assert_exec_refused(argv, 8);
    struct slice none[] = {SLICE_LITERAL("EXEC"), SLICE_LITERAL("0")};
    struct command nested = command_of(COMMAND_EXEC, none, 2, RESP2);
    buffer_clear(&bytes);
    command_encode(&bytes, &nested);
    argv[6] = argv[7] = buffer_slice(&bytes); /* a transaction in a transaction */
    assert_exec_refused(argv, 8);
    buffer_deinit(&bytes);
}

/* What nodes say to each other: by id from the log and from nodes, never in a transaction; what stands at the log comes
 * from there alone. */
static void test_internal_commands(void **state)
{
    struct slice argv[] = {SLICE_LITERAL("X"), SLICE_LITERAL("1"), SLICE_LITERAL("2"),
                           SLICE_LITERAL("3"), SLICE_LITERAL("4"), SLICE_LITERAL("5")};
    const struct command commands[] = {
        command_of(COMMAND_COHORT_ORIGIN, argv, 6, RESP2),
        command_of(COMMAND_COHORT_OUTCOME, argv, 6, RESP2),
        command_of(COMMAND_COHORT_VERSIONS, argv, 6, RESP2),
    };
    struct command_arguments arguments;
    command_arguments_init(&arguments);
    for (size_t i = 0; i < 3; i++) {
        struct buffer bytes;
        buffer_init(&bytes);
        command_encode(&bytes, &commands[i]);
        struct command decoded;
        struct slice from = buffer_slice(&bytes);
        enum status expected = commands[i].spec->place == COMMAND_AT_LOG ? STATUS_CORRUPT : STATUS_OK;
        assert_int_equal(expected == STATUS_CORRUPT, i == 0);
        assert_int_equal(command_decode(&from, &arguments, &decoded), expected);
        assert_int_equal(from.size, i == 0 ? bytes.size : 0);
        from = buffer_slice(&bytes);
        assert_int_equal(command_decode_logged(&from, &arguments, &decoded), STATUS_OK);
        assert_ptr_equal(decoded.spec, commands[i].spec);
        assert_int_equal(from.size, 0);
        struct slice exec[] = {SLICE_LITERAL("EXEC"), SLICE_LITERAL("0"), buffer_slice(&bytes)};
        assert_exec_refused(exec, 3);
        buffer_deinit(&bytes);
    }
    command_arguments_deinit(&arguments);
}

static void check_bytes(const void *data, size_t size, enum status expected)
{
    struct command_arguments arguments;
    command_arguments_init(&arguments);
    struct command command;
    uint8_t *copy;
    size_t left;
    assert_int_equal(decode_copy(data, size, &arguments, &command, &copy, &left), expected);
    assert_int_equal(left, size);
    free(copy);
    command_arguments_deinit(&arguments);
}

static void test_refuses(void **state)
{
    uint8_t get[] = {0, 0, 0, 1, 1, 'a'};
    put_u16(get, COMMAND_NONE);
    check_bytes(get, sizeof(get), STATUS_CORRUPT);
    put_u16(get, COMMAND_MAXIMUM);
    check_bytes(get, sizeof(get), STATUS_VERSION);
    put_u16(get, COMMAND_ECHO); /* a command of the server */
    check_bytes(get, sizeof(get), STATUS_CORRUPT);
    put_u16(get, COMMAND_OBJECT); /* a container */
    check_bytes(get, sizeof(get), STATUS_CORRUPT);
    put_u16(get, COMMAND_SET); /* wrong arity */
    check_bytes(get, sizeof(get), STATUS_CORRUPT);
    put_u16(get, COMMAND_GET);
    get[2] = 2; /* the flag of scripts */
    check_bytes(get, sizeof(get), STATUS_CORRUPT);
    get[2] = 4; /* an unknown flag */
    check_bytes(get, sizeof(get), STATUS_CORRUPT);
    /* Counts and sizes beyond what is there take no memory. */
    uint8_t many[] = {0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 'a'};
    put_u16(many, COMMAND_MGET);
    check_bytes(many, sizeof(many), STATUS_CORRUPT);
    uint8_t large[] = {0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
    put_u16(large, COMMAND_GET);
    check_bytes(large, sizeof(large), STATUS_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip_of_every_command),
        cmocka_unit_test(test_random_commands),
        cmocka_unit_test(test_exec),
        cmocka_unit_test(test_exec_refuses),
        cmocka_unit_test(test_internal_commands),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "command/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "command/command_docs.h"
#include "command/command_table.h"

enum { WORDS = 12 };

/* Splits text at spaces into slices that point into it. */
static uint32_t split(const char *text, struct slice *argv)
{
    uint32_t argc = 0;
    while (*text != 0) {
        size_t size = strcspn(text, " ");
        assert_true(argc < WORDS);
        argv[argc++] = slice_of(text, size);
        text += size + (text[size] == ' ');
    }
    return argc;
}

static enum command_lookup look(const char *text, const struct command_spec **ret_spec)
{
    struct slice argv[WORDS];
    uint32_t argc = split(text, argv);
    return command_lookup(argv, argc, ret_spec);
}

static void test_finds_every_command(void **state)
{
    size_t count;
    const struct command_spec *table = command_table(&count);
    assert_true(count > 80);
    for (size_t i = 0; i < count; i++) {
        const struct command_spec *found = NULL;
        struct slice name = slice_from_string(table[i].name);
        (void)command_lookup(&name, 1, &found);
        assert_ptr_equal(found, &table[i]);
        name = slice_from_string(table[i].shown);
        found = NULL;
        (void)command_lookup(&name, 1, &found);
        assert_ptr_equal(found, &table[i]);
        assert_ptr_equal(command_by_id(table[i].id), &table[i]);
        assert_true(i == 0 || strcmp(table[i - 1].name, table[i].name) < 0);
        for (uint16_t k = 0; k < table[i].subcommand_count; k++) {
            const struct command_spec *sub = &table[i].subcommands[k];
            found = NULL;
            (void)look(sub->shown, &found);
            assert_ptr_equal(found, sub);
            assert_ptr_equal(command_by_id(sub->id), sub);
        }
    }
}

static void test_unknown_names(void **state)
{
    const char *const names[] = {"GE",
                                 "GETT",
                                 "G\x05T",
                                 "\x07"
                                 "et",
                                 "get ",
                                 "cohort\x0egetv",
                                 "COHORT\rGETV",
                                 "@et",
                                 "object|encoding",
                                 "cohort.origin",
                                 "COHORT.OUTCOME",
                                 "cohort.versions",
                                 "aaaaaaaaaaaaaaaaaaaaaaaa",
                                 "aaaaaaaaaaaaaaaaaaaaaaaaa",
                                 "\xc7\xc5\xd4"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct command_spec *spec = NULL;
        struct slice name = slice_from_string(names[i]);
        assert_int_equal(command_lookup(&name, 1, &spec), COMMAND_UNKNOWN);
        assert_null(spec);
    }
    const struct command_spec *spec = NULL;
    struct slice name = SLICE_LITERAL("");
    assert_int_equal(command_lookup(&name, 1, &spec), COMMAND_UNKNOWN);
    name = SLICE_LITERAL("get\0");
    assert_int_equal(command_lookup(&name, 1, &spec), COMMAND_UNKNOWN);
    name = slice_of("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
    assert_int_equal(command_lookup(&name, 1, &spec), COMMAND_UNKNOWN);
}

static void test_arity_and_subcommands(void **state)
{
    const struct command_spec *spec;
    assert_int_equal(look("gEt a", &spec), COMMAND_FOUND);
    assert_int_equal(look("GET", &spec), COMMAND_WRONG_ARITY);
    assert_string_equal(spec->name, "get");
    assert_int_equal(look("GET a b", &spec), COMMAND_WRONG_ARITY);
    assert_int_equal(look("MSET a", &spec), COMMAND_WRONG_ARITY);
    assert_int_equal(look("MSET a b c d e", &spec), COMMAND_FOUND);
    assert_int_equal(look("OBJECT", &spec), COMMAND_WRONG_ARITY);
    assert_string_equal(spec->name, "object");
    assert_int_equal(look("object Encoding k", &spec), COMMAND_FOUND);
    assert_int_equal(spec->id, COMMAND_OBJECT_ENCODING);
    assert_int_equal(look("object encoding", &spec), COMMAND_WRONG_ARITY);
    assert_string_equal(spec->name, "object|encoding");
    assert_int_equal(look("object nosuch k", &spec), COMMAND_UNKNOWN_SUBCOMMAND);
    assert_string_equal(spec->name, "object");
    assert_int_equal(look("command", &spec), COMMAND_FOUND);
    assert_int_equal(spec->id, COMMAND_COMMAND);
    assert_null(command_by_id(COMMAND_NONE));
    assert_null(command_by_id(COMMAND_MAXIMUM));
    assert_null(command_by_id(UINT16_MAX));
}

struct positions {
    uint32_t count;
    uint32_t at[WORDS];
};

static void take_position(void *owner, uint32_t position)
{
    struct positions *positions = owner;
    positions->at[positions->count++] = position;
}

static void check_keys(const char *text, bool expected, const char *positions_expected)
{
    struct slice argv[WORDS];
    uint32_t argc = split(text, argv);
    const struct command_spec *spec;
    (void)command_lookup(argv, argc, &spec);
    struct positions positions = {0};
    assert_int_equal(command_keys(spec, argv, argc, take_position, &positions), expected);
    char found[64] = "";
    for (uint32_t i = 0; i < positions.count; i++) {
        size_t used = strlen(found);
        (void)snprintf(found + used, sizeof(found) - used, "%u ", positions.at[i]);
    }
    assert_string_equal(found, positions_expected);
}

static void test_keys(void **state)
{
    check_keys("GET a", true, "1 ");
    check_keys("SET a b GET", true, "1 ");
    check_keys("DEL a b c", true, "1 2 3 ");
    check_keys("MSET a 1 b 2", true, "1 3 ");
    check_keys("MSET a 1 b", true, "1 3 ");
    check_keys("RENAME a b", true, "1 2 ");
    check_keys("COPY a b REPLACE", true, "1 2 ");
    check_keys("OBJECT ENCODING a", true, "2 ");
    check_keys("WATCH a b", true, "1 2 ");
    check_keys("HSET a f v", true, "1 ");
    check_keys("EVAL text 2 a b c", true, "3 4 ");
    check_keys("EVAL_RO text 0 a", true, "");
    check_keys("EVALSHA sha 1 a", true, "3 ");
    check_keys("EVAL text 2 a", false, "");
    check_keys("EVAL text -1 a", false, "");
    check_keys("EVAL text x a", false, "");
    check_keys("EVAL text 99999999999999999999 a", false, "");
    check_keys("OBJECT HELP", false, "");
    check_keys("PING", false, "");
    check_keys("EXEC", false, "");
    check_keys("GET", false, "");
    check_keys("RENAME a", false, "");
}

/* What else reads the table relies on these. */
static void test_table_is_sound(void **state)
{
    for (uint16_t id = 1; id < COMMAND_MAXIMUM; id++) {
        const struct command_spec *spec = command_by_id(id);
        if (spec == NULL) {
            continue;
        }
        assert_int_equal(spec->id, id);
        assert_ptr_equal(spec->docs, &command_docs_by_id[id]);
        assert_non_null(spec->docs->summary);
        assert_false((spec->flags & COMMAND_WRITE) && (spec->flags & COMMAND_READONLY));
        assert_true(spec->place != COMMAND_AT_LOG || spec->internal);
        struct slice name = slice_from_string(spec->name);
        assert_true((command_table_find(name) == spec) == !spec->internal);
        assert_true((spec->first_key == 0) == (spec->docs->key_count == 0));
        assert_true(spec->first_key == 0 || spec->key_step > 0);
        for (uint8_t i = 0; i < spec->words; i++) {
            assert_true(command_table_words[id][i].size > 0);
        }
        if (spec->place == COMMAND_AT_MACHINE && id != COMMAND_EXEC) {
            assert_true(spec->flags & (COMMAND_WRITE | COMMAND_READONLY));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_every_command),   cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_arity_and_subcommands), cmocka_unit_test(test_keys),
        cmocka_unit_test(test_table_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

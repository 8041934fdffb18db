#include "command/command_reply.h"

#include "base/assert.h"
#include "base/glob.h"
#include "base/number.h"
#include "command/command_docs.h"
#include "command/command_table.h"

#include <stdio.h>

/* ---- small pieces ---- */

/* Three texts of the table as one simple string. */
static void put_line(struct resp_writer *reply, const char *first, const char *second, const char *third)
{
    char line[1024];
    int size = snprintf(line, sizeof(line), "%s%s%s", first, second, third);
    ASSERT(size >= 0 && (size_t)size < sizeof(line));
    resp_status(reply, line);
}

static size_t count_words(const char *const *words)
{
    size_t count = 0;
    while (words != NULL && words[count] != NULL) {
        count++;
    }
    return count;
}

/* A set of simple strings, each after `prefix`. */
static void put_words(struct resp_writer *reply, const char *const *words, const char *prefix)
{
    size_t count = count_words(words);
    resp_set(reply, count);
    for (size_t i = 0; i < count; i++) {
        put_line(reply, prefix, words[i], "");
    }
}

static void put_field(struct resp_writer *reply, const char *name, const char *value)
{
    if (value != NULL) {
        resp_bulk_string(reply, name);
        resp_bulk_string(reply, value);
    }
}

/* Calls for each spec: every top-level command, or those that arguments from `first` on name. A name that is unknown
 * gives NULL. */
static void each_named(const struct command *command, uint32_t first,
                       void (*each)(struct resp_writer *reply, const struct command_spec *spec),
                       struct resp_writer *reply)
{
    if (command->argc <= first) {
        for (size_t i = 0; i < command_table_count; i++) {
            each(reply, &command_table_top[i]);
        }
    }
    for (uint32_t i = first; i < command->argc; i++) {
        each(reply, command_table_find(command->argv[i]));
    }
}

/* ---- COMMAND INFO ---- */

static void put_number(struct resp_writer *reply, const char *name, int value)
{
    resp_bulk_string(reply, name);
    resp_integer(reply, value);
}

static void put_key_spec(struct resp_writer *reply, const struct command_key_spec *key)
{
    resp_map(reply, key->notes == NULL ? 3 : 4);
    put_field(reply, "notes", key->notes);
    resp_bulk_string(reply, "flags");
    put_words(reply, key->flags, "");
    resp_bulk_string(reply, "begin_search");
    resp_map(reply, 2);
    put_field(reply, "type", "index");
    resp_bulk_string(reply, "spec");
    resp_map(reply, 1);
    put_number(reply, "index", key->count != 0 ? key->count : key->first);
    resp_bulk_string(reply, "find_keys");
    resp_map(reply, 2);
    put_field(reply, "type", key->count != 0 ? "keynum" : "range");
    resp_bulk_string(reply, "spec");
    resp_map(reply, 3);
    put_number(reply, key->count != 0 ? "keynumidx" : "lastkey", key->count != 0 ? 0 : key->last);
    put_number(reply, key->count != 0 ? "firstkey" : "keystep", key->count != 0 ? key->first - key->count : key->step);
    put_number(reply, key->count != 0 ? "keystep" : "limit", key->count != 0 ? key->step : key->limit);
}

static void put_info(struct resp_writer *reply, const struct command_spec *spec)
{
    if (spec == NULL) {
        resp_null(reply);
        return;
    }
    const struct command_docs *docs = spec->docs;
    resp_array(reply, 10);
    resp_bulk_string(reply, spec->name);
    resp_integer(reply, spec->arity);
    put_words(reply, docs->flags, "");
    bool fixed = spec->key_count == 0; /* old clients know of no others */
    resp_integer(reply, fixed ? spec->first_key : 0);
    resp_integer(reply, fixed ? spec->last_key : 0);
    resp_integer(reply, fixed ? spec->key_step : 0);
    put_words(reply, docs->categories, "@");
    size_t hints = count_words(docs->hints);
    resp_set(reply, hints);
    for (size_t i = 0; i < hints; i++) {
        resp_bulk_string(reply, docs->hints[i]);
    }
    resp_set(reply, docs->key_count);
    for (size_t i = 0; i < docs->key_count; i++) {
        put_key_spec(reply, &docs->keys[i]);
    }
    if (spec->subcommand_count == 0) {
        resp_set(reply, 0); /* as Redis: an empty set, but an array when there are any */
        return;
    }
    resp_array(reply, spec->subcommand_count);
    for (uint16_t i = 0; i < spec->subcommand_count; i++) {
        put_info(reply, &spec->subcommands[i]);
    }
}

static void reply_info(const struct command *command, uint32_t first, struct resp_writer *reply)
{
    resp_array(reply, command->argc > first ? command->argc - first : command_table_count);
    each_named(command, first, put_info, reply);
}

/* ---- COMMAND DOCS ---- */

static void put_arguments(struct resp_writer *reply, const struct command_argument *arguments, size_t count)
{
    resp_bulk_string(reply, "arguments");
    resp_array(reply, count);
    for (size_t i = 0; i < count; i++) {
        const struct command_argument *argument = &arguments[i];
        resp_map(reply, 2 + (size_t)(argument->key >= 0) + (argument->token != NULL) + (argument->since != NULL) +
                            (argument->deprecated != NULL) + (argument->flags != NULL) +
                            (argument->argument_count != 0));
        put_field(reply, "name", argument->name);
        put_field(reply, "type", argument->type);
        if (argument->key >= 0) {
            resp_bulk_string(reply, "key_spec_index");
            resp_integer(reply, argument->key);
        }
        put_field(reply, "token", argument->token);
        put_field(reply, "since", argument->since);
        put_field(reply, "deprecated_since", argument->deprecated);
        if (argument->flags != NULL) {
            resp_bulk_string(reply, "flags");
            put_words(reply, argument->flags, "");
        }
        if (argument->argument_count != 0) {
            put_arguments(reply, argument->arguments, argument->argument_count);
        }
    }
}

static void put_docs(struct resp_writer *reply, const struct command_spec *spec)
{
    if (spec == NULL) {
        return;
    }
    const struct command_docs *docs = spec->docs;
    bool deprecated = docs->deprecated != NULL;
    resp_bulk_string(reply, spec->name);
    resp_map(reply, 4 + (size_t)(deprecated || docs->system_command) + (deprecated ? 2 : 0) +
                        (docs->argument_count != 0) + (spec->subcommand_count != 0));
    put_field(reply, "summary", docs->summary);
    put_field(reply, "since", docs->since);
    put_field(reply, "group", docs->group);
    put_field(reply, "complexity", docs->complexity);
    if (deprecated || docs->system_command) {
        resp_bulk_string(reply, "doc_flags");
        resp_set(reply, (size_t)deprecated + docs->system_command);
        if (deprecated) {
            resp_status(reply, "deprecated");
        }
        if (docs->system_command) {
            resp_status(reply, "syscmd");
        }
    }
    put_field(reply, "deprecated_since", docs->deprecated);
    put_field(reply, "replaced_by", docs->replaced_by);
    if (docs->argument_count != 0) {
        put_arguments(reply, docs->arguments, docs->argument_count);
    }
    if (spec->subcommand_count != 0) {
        resp_bulk_string(reply, "subcommands");
        resp_map(reply, spec->subcommand_count);
        for (uint16_t i = 0; i < spec->subcommand_count; i++) {
            put_docs(reply, &spec->subcommands[i]);
        }
    }
}

static void reply_docs(const struct command *command, struct resp_writer *reply)
{
    size_t known = command->argc > 2 ? 0 : command_table_count;
    for (uint32_t i = 2; i < command->argc; i++) {
        known += command_table_find(command->argv[i]) != NULL;
    }
    resp_map(reply, known);
    each_named(command, 2, put_docs, reply);
}

/* ---- COMMAND LIST ---- */

enum filter { FILTER_NONE, FILTER_CATEGORY, FILTER_PATTERN, FILTER_MODULE };

static bool passes(const struct command_spec *spec, enum filter filter, struct slice argument)
{
    switch (filter) {
    case FILTER_NONE: return true;
    case FILTER_PATTERN: return glob_match(argument, slice_from_string(spec->name), true);
    case FILTER_MODULE: return false;
    case FILTER_CATEGORY:
        for (const char *const *category = spec->docs->categories; *category != NULL; category++) {
            if (slice_is_word(argument, *category)) {
                return true;
            }
        }
        return false;
    }
    UNREACHABLE();
}

/* Writes the names that pass, or (reply NULL) only counts them. */
static size_t list(enum filter filter, struct slice argument, struct resp_writer *reply)
{
    size_t count = 0;
    for (uint16_t id = 1; id < COMMAND_MAXIMUM; id++) {
        const struct command_spec *spec = command_by_id(id);
        if (spec != NULL && !spec->internal && passes(spec, filter, argument)) {
            count++;
            if (reply != NULL) {
                resp_bulk_string(reply, spec->name);
            }
        }
    }
    return count;
}

static void reply_list(const struct command *command, struct resp_writer *reply)
{
    enum filter filter = FILTER_NONE;
    struct slice argument = {0};
    if (command->argc > 2) {
        bool valid = command->argc == 5 && slice_is_word(command->argv[2], "filterby");
        if (valid && slice_is_word(command->argv[3], "module")) {
            filter = FILTER_MODULE;
        } else if (valid && slice_is_word(command->argv[3], "aclcat")) {
            filter = FILTER_CATEGORY;
        } else if (valid && slice_is_word(command->argv[3], "pattern")) {
            filter = FILTER_PATTERN;
        } else {
            resp_error(reply, "ERR syntax error");
            return;
        }
        argument = command->argv[4];
    }
    resp_array(reply, list(filter, argument, NULL));
    (void)list(filter, argument, reply);
}

/* ---- COMMAND GETKEYS, GETKEYSANDFLAGS ---- */

/* The last key's position; one that has a count is valid (command_keys). */
static uint32_t last_of(const struct command_key_spec *key, const struct slice *argv, uint32_t argc)
{
    int64_t count;
    if (key->count != 0 && number_parse_int64(argv[key->count], &count)) {
        return (uint32_t)(key->first + count - 1);
    }
    return key->last < 0 ? (uint32_t)((int)argc + key->last) : (uint32_t)(key->first + key->last);
}

/* SET writes, and only with GET also reads. */
static const char *const *flags_of_set(const struct slice *argv, uint32_t argc)
{
    static const char *const written[] = {"OW", "update", NULL};
    static const char *const read_too[] = {"RW", "access", "update", NULL};
    for (uint32_t i = 3; i < argc; i++) {
        if (slice_is_word(argv[i], "get")) {
            return read_too;
        }
    }
    return written;
}

static void put_keys(struct resp_writer *reply, const struct command_spec *spec, const struct slice *argv,
                     uint32_t argc, bool with_flags)
{
    const struct command_docs *docs = spec->docs;
    size_t count = 0;
    for (size_t i = 0; i < docs->key_count; i++) {
        uint32_t behind = last_of(&docs->keys[i], argv, argc) + 1; /* of the last key */
        uint32_t step = (uint32_t)docs->keys[i].step;
        count += (behind - (uint32_t)docs->keys[i].first + step - 1) / step;
    }
    resp_array(reply, count);
    for (size_t i = 0; i < docs->key_count; i++) {
        const struct command_key_spec *key = &docs->keys[i];
        for (uint32_t at = (uint32_t)key->first; at <= last_of(key, argv, argc); at += (uint32_t)key->step) {
            if (with_flags) {
                resp_array(reply, 2);
            }
            resp_bulk(reply, argv[at]);
            if (with_flags) {
                put_words(reply, spec->id == COMMAND_SET ? flags_of_set(argv, argc) : key->flags, "");
            }
        }
    }
}

/* A shard channel stands where clients look for keys, and is none. */
static bool has_keys(const struct command_docs *docs)
{
    return docs->key_count != 0 && strcmp(docs->keys[0].flags[0], "not_key") != 0;
}

static void ignore_key(void *owner, uint32_t position) {}

static void reply_keys(const struct command *command, bool with_flags, struct resp_writer *reply)
{
    const struct slice *argv = command->argv + 2;
    uint32_t argc = command->argc - 2;
    const struct command_spec *spec;
    enum command_lookup found = command_lookup(argv, argc, &spec);
    if (found == COMMAND_UNKNOWN || found == COMMAND_UNKNOWN_SUBCOMMAND) {
        resp_error(reply, "ERR Invalid command specified");
    } else if (!has_keys(spec->docs)) {
        resp_error(reply, "ERR The command has no key arguments");
    } else if (found == COMMAND_WRONG_ARITY) {
        resp_error(reply, "ERR Invalid number of arguments specified for command");
    } else if (spec->key_count != 0 && !command_keys(spec, argv, argc, ignore_key, NULL)) {
        resp_array(reply, 0); /* it needs none */
    } else {
        put_keys(reply, spec, argv, argc, with_flags);
    }
}

/* ---- HELP ---- */

static void reply_help(const struct command *command, struct resp_writer *reply)
{
    const struct command_spec *container =
        command_table_find(slice_of(command->spec->name, strcspn(command->spec->name, "|")));
    resp_array(reply, 1 + 2 * (size_t)container->subcommand_count);
    put_line(reply, container->shown, " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", "");
    for (uint16_t i = 0; i < container->subcommand_count; i++) {
        const struct command_spec *spec = &container->subcommands[i];
        bool bare = spec->docs->syntax[0] == 0;
        put_line(reply, strchr(spec->shown, ' ') + 1, bare ? "" : " ", spec->docs->syntax);
        put_line(reply, "    ", spec->docs->summary, "");
    }
}

static bool is_help(const struct command_spec *spec)
{
    const char *bar = strchr(spec->name, '|');
    return bar != NULL && strcmp(bar, "|help") == 0;
}

void command_reply(const struct command *command, struct resp_writer *reply)
{
    switch (command->spec->id) {
    case COMMAND_COMMAND: reply_info(command, 1, reply); break;
    case COMMAND_COMMAND_INFO: reply_info(command, 2, reply); break;
    case COMMAND_COMMAND_COUNT: resp_integer(reply, (int64_t)command_table_count); break;
    case COMMAND_COMMAND_DOCS: reply_docs(command, reply); break;
    case COMMAND_COMMAND_LIST: reply_list(command, reply); break;
    case COMMAND_COMMAND_GETKEYS: reply_keys(command, false, reply); break;
    case COMMAND_COMMAND_GETKEYSANDFLAGS: reply_keys(command, true, reply); break;
    default: ASSERT(is_help(command->spec)); reply_help(command, reply);
    }
}

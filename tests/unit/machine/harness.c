#include "harness.h"

#include "base/assert.h"
#include "base/number.h"
#include "base/varint.h"
#include "env/fixed_memory.h"
#include "machine/scripts.h"

#include <stdio.h>
#include <stdlib.h>

enum { WORDS_MAXIMUM = 128, SEED = 42 };

struct words {
    struct slice items[WORDS_MAXIMUM];
    uint32_t count;
    struct buffer bytes;
};

/* One for all machines of the process. */
static const struct machine_scripts *scripts_once(void)
{
    static struct machine_scripts scripts;
    if (scripts.engine == NULL) {
        ASSERT(fixed_memory_map(SCRIPT_ADDRESS, SCRIPT_REGION_BYTES) == STATUS_OK);
        scripts.engine = script_engine_open(&(struct script_place){(void *)SCRIPT_ADDRESS, fixed_memory_release, true});
    }
    return &scripts;
}

static struct machine *create(void)
{
    return machine_create(&(struct machine_options){.hash_seed = SEED, .scripts = scripts_once()});
}

void harness_init(struct harness *harness)
{
    *harness = (struct harness){
        .machine = create(),
        .time_ms = 1000,
        .wall_ms = 1700000000000,
        .protocol = RESP2,
    };
}

void harness_deinit(struct harness *harness)
{
    machine_destroy(harness->machine);
    buffer_deinit(&harness->reply);
    buffer_deinit(&harness->text);
}

int harness_setup(void **state)
{
    struct harness *harness = malloc(sizeof(*harness));
    ASSERT(harness != NULL);
    harness_init(harness);
    *state = harness;
    return 0;
}

int harness_teardown(void **state)
{
    harness_deinit(*state);
    free(*state);
    return 0;
}

void harness_pass(struct harness *harness, int64_t ms)
{
    harness->time_ms += ms;
    harness->wall_ms += ms;
}

/* Takes one character of a quoted word, resolving escapes. */
static uint8_t take_quoted(const char **at)
{
    char c = *(*at)++;
    if (c != '\\') {
        return (uint8_t)c;
    }
    c = *(*at)++;
    if (c == 'x') {
        char digits[3] = {(*at)[0], (*at)[1], '\0'};
        *at += 2;
        return (uint8_t)strtoul(digits, NULL, 16);
    }
    return (uint8_t)(c == 'r' ? '\r' : c == 'n' ? '\n' : c);
}

static void split(struct words *words, const char *text)
{
    *words = (struct words){0};
    (void)buffer_reserve(&words->bytes, strlen(text) + 1); /* slices point into it, so it must not move */
    for (const char *at = text; *at != '\0';) {
        if (*at == ' ') {
            at++;
            continue;
        }
        size_t start = words->bytes.size;
        if (*at == '"') {
            for (at++; *at != '"';) {
                buffer_append_byte(&words->bytes, take_quoted(&at));
            }
            at++;
        } else {
            while (*at != ' ' && *at != '\0') {
                buffer_append_byte(&words->bytes, (uint8_t)*at++);
            }
        }
        ASSERT(words->count < WORDS_MAXIMUM);
        words->items[words->count++] = slice_of(words->bytes.data + start, words->bytes.size - start);
    }
}

static const struct command_spec *find_internal(struct slice name)
{
    for (uint16_t id = 0; id < COMMAND_MAXIMUM; id++) {
        const struct command_spec *spec = command_by_id(id);
        if (spec != NULL && spec->internal && slice_is_word(name, spec->shown)) {
            return spec;
        }
    }
    return NULL;
}

static struct command find(const struct harness *harness, const struct words *words)
{
    const struct command_spec *spec = find_internal(words->items[0]);
    ASSERT(spec != NULL || command_lookup(words->items, words->count, &spec) == COMMAND_FOUND);
    return (struct command){spec, words->items, words->count, (uint8_t)harness->protocol};
}

static const char *told(struct harness *harness)
{
    buffer_clear(&harness->text);
    for (size_t i = 0; i < harness->reply.size; i++) {
        uint8_t byte = harness->reply.data[i];
        if (byte == '\r' && i + 1 < harness->reply.size && harness->reply.data[i + 1] == '\n') {
            i++;
            byte = ' ';
        }
        buffer_append_byte(&harness->text, byte);
    }
    ASSERT(harness->text.size > 0 && harness->text.data[harness->text.size - 1] == ' ');
    harness->text.data[harness->text.size - 1] = '\0';
    return (const char *)harness->text.data;
}

static struct machine_context next_context(struct harness *harness)
{
    harness->position += 3;
    return (struct machine_context){harness->position, harness->time_ms, harness->wall_ms, harness->term};
}

/* Applies or reads the command as it comes out of its form in the log. */
static const char *perform(struct harness *harness, const struct command *command, bool read)
{
    struct buffer encoded;
    buffer_init(&encoded);
    command_encode(&encoded, command);
    struct command_arguments arguments;
    command_arguments_init(&arguments);
    struct slice from = buffer_slice(&encoded);
    struct command decoded;
    ASSERT(command_decode(&from, &arguments, &decoded) == STATUS_OK && from.size == 0);

    buffer_clear(&harness->reply);
    buffer_append_string(&harness->reply, "before");
    struct resp_writer writer = resp_writer_to(&harness->reply, harness->protocol);
    bool done = true;
    if (read) {
        struct machine_context context = {0, harness->time_ms, harness->wall_ms};
        done = machine_read(harness->machine, &context, &decoded, &writer);
        ASSERT(done || harness->reply.size == 6);
    } else {
        struct machine_context context = next_context(harness);
        if (harness->discard) {
            writer.out = NULL;
            buffer_append_string(&harness->reply, "\r\n");
        }
        machine_apply(harness->machine, &context, &decoded, &writer);
    }
    buffer_consume(&harness->reply, 6);
    command_arguments_deinit(&arguments);
    buffer_deinit(&encoded);
    return done ? told(harness) : NULL;
}

static const char *perform_text(struct harness *harness, const char *text, bool read)
{
    struct words words;
    split(&words, text);
    struct command command = find(harness, &words);
    const char *reply = perform(harness, &command, read);
    buffer_deinit(&words.bytes);
    return reply;
}

const char *harness_apply(struct harness *harness, const char *command)
{
    return perform_text(harness, command, false);
}

const char *harness_read(struct harness *harness, const char *command) { return perform_text(harness, command, true); }

/* The words of argv, then each command encoded. */
static const char *perform_nested(struct harness *harness, const struct command_spec *spec, struct slice *argv,
                                  uint32_t argc, va_list commands, bool read)
{
    struct buffer encoded[WORDS_MAXIMUM];
    uint32_t count = 0;
    for (const char *text = va_arg(commands, const char *); text != NULL; text = va_arg(commands, const char *)) {
        struct words words;
        split(&words, text);
        struct command command = find(harness, &words);
        buffer_init(&encoded[count]);
        command_encode(&encoded[count], &command);
        argv[argc++] = buffer_slice(&encoded[count++]);
        buffer_deinit(&words.bytes);
    }
    struct command whole = {spec, argv, argc, (uint8_t)harness->protocol};
    const char *reply = perform(harness, &whole, read);
    while (count > 0) {
        buffer_deinit(&encoded[--count]);
    }
    return reply;
}

static const char *perform_exec(struct harness *harness, const char *watches, va_list commands, bool read)
{
    struct words watched;
    split(&watched, watches);
    struct slice argv[WORDS_MAXIMUM] = {SLICE_LITERAL("EXEC")};
    char digits[NUMBER_INT64_BYTES];
    argv[1] = slice_of(digits, number_format_uint64(digits, watched.count / 2));
    uint32_t argc = 2;
    for (uint32_t i = 0; i < watched.count; i++) {
        argv[argc++] = watched.items[i];
    }
    const char *reply = perform_nested(harness, command_by_id(COMMAND_EXEC), argv, argc, commands, read);
    buffer_deinit(&watched.bytes);
    return reply;
}

static const char *perform_head(struct harness *harness, const char *head, va_list commands, bool read)
{
    struct words words;
    split(&words, head);
    struct slice argv[WORDS_MAXIMUM];
    memcpy(argv, words.items, words.count * sizeof(argv[0]));
    const char *reply = perform_nested(harness, find(harness, &words).spec, argv, words.count, commands, read);
    buffer_deinit(&words.bytes);
    return reply;
}

const char *harness_nested(struct harness *harness, const char *head, ...)
{
    va_list commands;
    va_start(commands, head);
    const char *reply = perform_head(harness, head, commands, false);
    va_end(commands);
    return reply;
}

const char *harness_nested_read(struct harness *harness, const char *head, ...)
{
    va_list commands;
    va_start(commands, head);
    const char *reply = perform_head(harness, head, commands, true);
    va_end(commands);
    return reply;
}

const char *harness_exec(struct harness *harness, const char *watches, ...)
{
    va_list commands;
    va_start(commands, watches);
    const char *reply = perform_exec(harness, watches, commands, false);
    va_end(commands);
    return reply;
}

const char *harness_exec_read(struct harness *harness, const char *watches, ...)
{
    va_list commands;
    va_start(commands, watches);
    const char *reply = perform_exec(harness, watches, commands, true);
    va_end(commands);
    return reply;
}

uint64_t harness_version(struct harness *harness, const char *key)
{
    return machine_key_version(harness->machine, slice_from_string(key));
}

static void compare(const char *reply, const char *command, const char *expected, const char *file, int line)
{
    if (reply == NULL || strcmp(reply, expected) != 0) {
        print_error("%s\n", command);
        _assert_string_equal(reply == NULL ? "(to be logged)" : reply, expected, file, line);
    }
}

void harness_check(struct harness *harness, const char *command, const char *expected, const char *file, int line)
{
    struct words words;
    split(&words, command);
    bool reads = (find(harness, &words).spec->flags & COMMAND_READONLY) != 0;
    buffer_deinit(&words.bytes);
    compare(harness_apply(harness, command), command, expected, file, line);
    if (reads) {
        compare(harness_read(harness, command), command, expected, file, line);
    }
}

void harness_check_touch(struct harness *harness, const char *key, const char *command, bool touches, const char *file,
                         int line)
{
    uint64_t before = harness_version(harness, key);
    (void)harness_apply(harness, command);
    bool moved = harness_version(harness, key) != before;
    if (moved != touches) {
        print_error("%s: %s\n", command, moved ? "the version moved" : "the version stayed");
        _fail(file, line);
    }
}

struct machine *harness_load(struct slice records)
{
    struct machine *machine = create();
    while (records.size > 0) {
        uint64_t size;
        ASSERT(varint_take(&records, &size) && size <= records.size);
        ASSERT(machine_load_record(machine, slice_of(records.data, size)) == STATUS_OK);
        records = slice_of(records.data + size, records.size - size);
    }
    return machine;
}

struct machine *harness_copy(struct machine *machine, size_t budget)
{
    struct buffer out;
    buffer_init(&out);
    machine_snapshot_begin(machine);
    while (machine_snapshot_step(machine, &out, budget)) {
    }
    machine_snapshot_end(machine);
    struct machine *copy = harness_load(buffer_slice(&out));
    buffer_deinit(&out);
    return copy;
}

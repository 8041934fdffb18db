#include "command/command.h"

#include "base/number.h"

#include "base/assert.h"
#include "command/command_table.h"

/* ASCII upper case to lower case in eight bytes at once; other bytes stay (see Hacker's Delight, 2-18 on SWAR adds). */
static uint64_t lower_case(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101ULL;
    uint64_t low = word & (0x7f * ones);
    uint64_t at_least_a = low + ((0x80 - 'A') * ones);
    uint64_t beyond_z = low + ((0x7f - 'Z') * ones);
    uint64_t upper = (at_least_a ^ beyond_z) & ~word & (0x80 * ones);
    return word | (upper >> 2);
}

static const struct command_spec *find_top(struct slice name)
{
    if (name.size == 0 || name.size > COMMAND_NAME_BYTES) {
        return NULL;
    }
    uint64_t words[COMMAND_NAME_BYTES / 8] = {0};
    memcpy(words, name.data, name.size);
    for (size_t i = 0; i < COMMAND_NAME_BYTES / 8; i++) {
        words[i] = lower_case(words[i]);
    }
    const struct command_table_slot *slot = &command_table_slots[command_table_hash(words)];
    /* A name with zero bytes at its end would equal the padding: the length is compared too. */
    if (slot->spec == NULL || memcmp(slot->name, words, sizeof(words)) != 0 || name.data[name.size - 1] == 0) {
        return NULL;
    }
    return slot->spec;
}

static const struct command_spec *find_subcommand(const struct command_spec *container, struct slice name)
{
    for (uint16_t i = 0; i < container->subcommand_count; i++) {
        const char *full = container->subcommands[i].name;
        if (slice_is_word(name, strchr(full, '|') + 1)) {
            return &container->subcommands[i];
        }
    }
    return NULL;
}

const struct command_spec *command_table_find(struct slice name)
{
    const uint8_t *bar = name.size == 0 ? NULL : memchr(name.data, '|', name.size);
    if (bar == NULL) {
        return find_top(name);
    }
    size_t size = (size_t)(bar - name.data);
    const struct command_spec *container = find_top(slice_of(name.data, size));
    return container == NULL ? NULL : find_subcommand(container, slice_of(bar + 1, name.size - size - 1));
}

const struct command_spec *command_table(size_t *ret_count)
{
    *ret_count = command_table_count;
    return command_table_top;
}

bool command_arity_ok(const struct command_spec *spec, uint32_t argc)
{
    return spec->arity > 0 ? argc == (uint32_t)spec->arity : argc >= (uint32_t)-spec->arity;
}

enum command_lookup command_lookup(const struct slice *argv, uint32_t argc, const struct command_spec **ret_spec)
{
    ASSERT(argc > 0);
    const struct command_spec *spec = find_top(argv[0]);
    if (spec == NULL) {
        return COMMAND_UNKNOWN;
    }
    *ret_spec = spec;
    if (spec->subcommands != NULL && argc > 1) {
        spec = find_subcommand(spec, argv[1]);
        if (spec == NULL) {
            return COMMAND_UNKNOWN_SUBCOMMAND;
        }
        *ret_spec = spec;
    }
    return command_arity_ok(spec, argc) ? COMMAND_FOUND : COMMAND_WRONG_ARITY;
}

const struct command_spec *command_by_id(uint16_t id) { return id < COMMAND_MAXIMUM ? command_table_by_id[id] : NULL; }

const struct command_spec *command_called_by_name(const struct command *command)
{
    return command_by_id(command->spec->id == COMMAND_EVAL ? COMMAND_EVALSHA : COMMAND_EVALSHA_RO);
}

static bool find_last_key(const struct command_spec *spec, const struct slice *argv, uint32_t argc, int64_t *ret_last)
{
    int64_t last = spec->last_key < 0 ? (int64_t)argc + spec->last_key : spec->last_key;
    if (spec->key_count != 0) {
        int64_t count;
        if (!number_parse_int64(argv[spec->key_count], &count) || count < 0 || count > argc) {
            return false;
        }
        last = spec->first_key + count - 1;
    }
    *ret_last = last;
    return last < argc;
}

bool command_keys(const struct command_spec *spec, const struct slice *argv, uint32_t argc,
                  void (*key)(void *owner, uint32_t position), void *owner)
{
    int64_t last = 0;
    if (spec->first_key == 0 || !command_arity_ok(spec, argc) || !find_last_key(spec, argv, argc, &last)) {
        return false;
    }
    for (int64_t at = spec->first_key; at <= last; at += spec->key_step) {
        key(owner, (uint32_t)at);
    }
    return true;
}

/* The generated table (command_table.c), for this room only.
 *
 * A name is found by a perfect hash that the generator searched for: its lower-case bytes, padded with zeros to
 * COMMAND_NAME_BYTES, are three little-endian words; mixed, times the multiplier, shifted, they give the one slot in
 * which that name can be. tools/generate_commands.py holds the same mix. */
#pragma once

#include "command/command.h"

enum { COMMAND_NAME_BYTES = 24 };

struct command_table_slot {
    uint64_t name[COMMAND_NAME_BYTES / 8]; /* zeros in an empty slot */
    const struct command_spec *spec;
};

extern const struct command_spec command_table_top[]; /* in order of name */
extern const size_t command_table_count;
extern const struct command_spec *const command_table_by_id[COMMAND_MAXIMUM];
extern const struct slice command_table_words[COMMAND_MAXIMUM][2]; /* the words of the name, upper case */
extern const uint64_t command_table_multiplier;
extern const int command_table_shift;
extern const struct command_table_slot command_table_slots[];

static inline uint64_t command_table_hash(const uint64_t name[3])
{
    uint64_t mixed = name[0] ^ (name[1] * 0x9e3779b97f4a7c15ULL) ^ (name[2] * 0xc2b2ae3d27d4eb4fULL);
    return (mixed * command_table_multiplier) >> command_table_shift;
}

/* The command of a name in the form "get" or "object|encoding", in any case; NULL when there is none. */
const struct command_spec *command_table_find(struct slice name);

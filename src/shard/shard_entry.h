/* The payload of a log entry.
 *
 *   version u8 (2) · flags u8 (0) · command count u16 · time_ms i64 · wall_ms i64 · commands, as command_encode makes
 * them
 *
 * Commands that another node forwarded stand behind a marker, COHORT.ORIGIN node start sequence settled_below count,
 * which counts as a command: it says that the next `count` are skipped when the machine had that batch before. Markers
 * do not overlap. Of a batch of which some commands waited for a transaction, the marker is COHORT.PART, and there may
 * be several. Version 1 had none.
 *
 * An entry of kind ENTRY_TIME has no commands: it moves the time and removes what is due (machine_apply_time). One of
 * kind ENTRY_GENESIS is a group's first: after the header the seed of its machine's hashing, u64. A command's position
 * is index × 2^16 + its place in the entry, markers counted. */
#pragma once

#include "base/slice.h"
#include "base/status.h"
#include "machine/machine.h"
#include "raft/raft_message.h"

enum { ENTRY_VERSION = 2, ENTRY_HEADER_BYTES = 20, ENTRY_ORIGIN_BYTES = 128 };

/* In the numbering of consensus, whose own kinds come first. */
enum entry_kind { ENTRY_COMMANDS = RAFT_ENTRY_HOST, ENTRY_TIME, ENTRY_GENESIS };

struct entry_header {
    uint16_t commands;
    int64_t time_ms;
    int64_t wall_ms;
};

void entry_header_put(uint8_t at[static ENTRY_HEADER_BYTES], const struct entry_header *header);
/* Takes the header from the front of *payload. */
MUST_USE enum status entry_header_take(struct slice *payload, struct entry_header *ret_header);

/* The marker before `count` forwarded commands, `part` of their batch; at most ENTRY_ORIGIN_BYTES. */
void entry_origin_put(struct buffer *out, const struct machine_origin *origin, bool part, uint32_t count);
/* False when entry_origin_put cannot have made it. */
bool entry_origin_take(const struct command *command, struct machine_origin *ret_origin, bool *ret_part,
                       uint32_t *ret_count);

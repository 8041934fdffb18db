/* Commands that look at all keys of the shard (DBSIZE, KEYS, RANDOMKEY, SCAN) as part of a transaction: they see what
 * is there, and of the transaction's own keys what it has made of them so far.
 *
 * Two internal commands stand among a transaction's for them:
 *   COHORT.TXN.SEEM FLUSHED|BESIDES key NONE|STRING|HASH …   these keys are so to looks behind it; FLUSHED: and no
 * other is there (in a PREPARE its FLUSHALL says that) COHORT.TXN.SEEN position count                           in a
 * PREPARE: the shard's keys are all as they were when a look told these two numbers (whole_numbers) */
#pragma once

#include "machine/call.h"
#include "machine/txn/overlay.h"

bool whole_looks(const struct command_spec *spec);
/* Runs one in the place of `call`, which is that of the transaction, and writes its reply. */
void whole_run(struct call *call, const struct overlay *overlay, const struct command *command,
               struct resp_writer *reply);

/* Executes SEEM. `loads`: keys that were not loaded are known from now on, by their shapes alone; else they are a
 * mistake. False: malformed, or such a mistake. */
bool whole_seem(struct overlay *overlay, const struct command *command, bool loads);

/* Equal twice: no key was changed in between, and none fell due. The same on every replica. */
struct whole_numbers {
    uint64_t position, count;
};
struct whole_numbers whole_numbers(const struct call *call);
/* Takes SEEN apart; false: malformed. */
bool whole_seen(const struct command *command, struct whole_numbers *ret_seen);
/* As of this entry nothing is due, and all is as it was seen. */
bool whole_is_as_seen(const struct call *call, const struct whole_numbers *seen);

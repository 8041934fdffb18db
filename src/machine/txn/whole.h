/* Commands that look at all keys of the shard (DBSIZE, KEYS, RANDOMKEY, SCAN) as part of a transaction: they see what
 * is there, and of the transaction's own keys what it has made of them so far. */
#pragma once

#include "machine/call.h"
#include "machine/txn/overlay.h"

bool whole_looks(const struct command_spec *spec);
/* Runs one in the place of `call`, which is that of the transaction, and writes its reply. */
void whole_run(const struct call *call, const struct overlay *overlay, const struct command *command,
               struct resp_writer *reply);

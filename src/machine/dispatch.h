/* Which function executes a command, and EXEC, which executes several. */
#pragma once

#include "machine/call.h"

typedef void call_handler(struct call *call);

/* The handler of a command at the machine (asserted). */
call_handler *dispatch_find(const struct command_spec *spec);
/* Runs a command as part of a whole: its reply becomes an element of the whole's. */
void dispatch_within(struct call *whole, const struct command *command);

#include "machine/dispatch.h"

#include "base/assert.h"
#include "command/machine_handlers.h"

static call_handler *const handlers[COMMAND_MAXIMUM] = {
#include "command/machine_table.inc"
};

call_handler *dispatch_find(const struct command_spec *spec)
{
    ASSERT(spec->id < COMMAND_MAXIMUM && handlers[spec->id] != NULL);
    return handlers[spec->id];
}

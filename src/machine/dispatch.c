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

void dispatch_within(struct call *whole, const struct command *command)
{
    bool reads = (command->spec->flags & COMMAND_READONLY) != 0;
    struct call call = *whole;
    call.spec = command->spec;
    call.argv = command->argv;
    call.argc = command->argc;
    call.reply.protocol = command->protocol;
    call.reply_start = call_array_begin(whole);
    ASSERT(reads || whole->position != 0); /* machine_read gets only those that read */
    if (reads && (call.reply.out == NULL || !call_reply_fits(&call))) {
        return;
    }
    dispatch_find(command->spec)(&call);
    whole->must_log = call.must_log;
    whole->hits = call.hits;
    whole->misses = call.misses;
}

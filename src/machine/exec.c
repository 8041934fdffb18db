/* EXEC runs the queued commands with the same time and position, unless a watched key is not what it was. Errors of a
 * command are its reply and stop nothing, as in Redis. command.h describes how the commands travel. */
#include "machine/dispatch.h"

#include "base/assert.h"
#include "command/machine_handlers.h"

/* A watched key is unchanged when its version is; one that is due, though not yet by the applied time, is gone. */
static bool watches_hold(struct call *call, const struct command_exec *exec)
{
    for (uint32_t i = 0; i < exec->watch_count; i++) {
        struct slice key = exec->watches[2 * i];
        int64_t seen;
        (void)call_look(call, key);
        if (!number_parse_int64(exec->watches[2 * i + 1], &seen) ||
            keyspace_version(call->keyspace, &call->time, key) != (uint64_t)seen) {
            return false;
        }
    }
    return true;
}

void exec_exec(struct call *call)
{
    const struct command command = {call->spec, call->argv, call->argc, (uint8_t)call->reply.protocol};
    struct command_exec exec;
    bool valid = command_exec_parts(&command, &exec);
    ASSERT(valid); /* command_decode has looked */
    if (!watches_hold(call, &exec)) {
        resp_null_array(&call->reply);
        return;
    }
    resp_array(&call->reply, exec.queued_count);
    for (uint32_t i = 0; i < exec.queued_count; i++) {
        struct slice from = exec.queued[i];
        struct command queued;
        enum status status = command_decode(&from, call->queued, &queued);
        ASSERT(status == STATUS_OK);
        dispatch_within(call, &queued);
    }
}

/* Its answer says nothing; that it was read tells how far the log is (cluster/level_reads.h). */
void exec_reached(struct call *call) { resp_status(&call->reply, "OK"); }

/* For WATCH: what watches_hold will compare. */
void exec_versions(struct call *call)
{
    resp_array(&call->reply, call->argc - 1);
    for (uint32_t i = 1; i < call->argc; i++) {
        char digits[NUMBER_INT64_BYTES];
        (void)call_look(call, call->argv[i]);
        size_t size = number_format_uint64(digits, keyspace_version(call->keyspace, &call->time, call->argv[i]));
        resp_bulk(&call->reply, slice_of(digits, size));
    }
}

/* COHORT.OUTCOME: a node asks what became of what it forwarded. Only nodes ask, and ask well. */
#include "machine/call.h"

#include "command/machine_handlers.h"
#include "machine/origin.h"

static bool take_number(struct call *call, uint32_t at, uint64_t *ret_number)
{
    int64_t number;
    if (!call_integer(call, call->argv[at], &number)) {
        return false;
    }
    *ret_number = (uint64_t)number;
    return true;
}

void origin_outcome(struct call *call)
{
    uint64_t node = 0;
    uint64_t start = 0;
    uint64_t sequence = 0;
    if (!take_number(call, 1, &node) || !take_number(call, 2, &start)) {
        return;
    }
    for (uint32_t i = 3; i < call->argc; i++) {
        if (!take_number(call, i, &sequence)) {
            return;
        }
    }
    resp_array(&call->reply, call->argc - 3);
    for (uint32_t i = 3; i < call->argc; i++) {
        (void)take_number(call, i, &sequence);
        resp_integer(&call->reply, origins_outcome(call->origins, node, start, sequence));
    }
}

/* A plan of values is run here, over what its shards told; and what shards reply to a plan's steps. */
#include "base/assert.h"
#include "base/memory.h"
#include "machine/call.h"
#include "server/txn_plan_internal.h"
#include "wire/resp_reply.h"

#include <stdlib.h>

void plan_each_command(struct txn_plan *plan,
                       bool (*each)(struct txn_plan *plan, uint32_t at, const struct command *command))
{
    struct command_arguments arguments;
    bool goes_on = true;
    command_arguments_init(&arguments);
    for (uint32_t i = 0; i < plan->command_count && goes_on; i++) {
        struct slice from = buffer_slice(&plan->commands[i].encoded);
        struct command command;
        enum status status = command_decode(&from, &arguments, &command);
        ASSERT(status == STATUS_OK);
        goes_on = each(plan, i, &command);
    }
    command_arguments_deinit(&arguments);
}

/* ---- the answers ---- */

bool txn_plan_take_dump(struct txn_plan *plan, uint32_t part, struct slice answer)
{
    const struct plan_part *of = &plan->parts[part];
    struct slice *keys = memory_allocate((of->key_count + (size_t)1) * sizeof(*keys));
    for (uint32_t i = 0; i < of->key_count; i++) {
        keys[i] = plan->keys[of->first_key + i].key;
    }
    bool taken = txn_values_take(&plan->values, of->shard, keys, of->key_count, answer);
    free(keys);
    return taken;
}

/* A look is the shards': before it, each is told what was made of its keys. */
static void tell_shapes(struct txn_plan *plan, const struct plan_command *look)
{
    for (uint32_t i = look->first_step; i < look->first_step + look->step_count; i++) {
        txn_seem_say(&plan->seem, &plan->values, plan->steps[i].shard, &plan->steps[i].seems);
    }
}

/* False when there is too much of what was read and written by now; of what is replied, only this reply is refused. */
static bool run_command(struct txn_plan *plan, uint32_t at, const struct command *command)
{
    struct buffer *out = &plan->commands[at].reply;
    struct resp_writer reply = resp_writer_to(out, command->protocol);
    if (plan->commands[at].looks) {
        tell_shapes(plan, &plan->commands[at]);
        return true;
    }
    buffer_clear(out);
    txn_values_run(&plan->values, command, &reply);
    if (txn_plan_flushes(command->spec) && out->data[0] == '+') {
        txn_seem_flushed(&plan->seem);
    }
    if (plan->replied_bytes + out->size > CALL_REPLY_BYTES) {
        buffer_deinit(out);
        resp_error(&reply, "ERR the reply would exceed 1 GiB; ask for less in one command");
    }
    plan->replied_bytes += out->size;
    return txn_values_too_much(&plan->values) == NULL;
}

static bool watches_hold(const struct txn_plan *plan)
{
    for (uint32_t i = 0; i < plan->watch_count; i++) {
        const struct plan_watch *watch = &plan->watches[i];
        uint64_t version = watch->version; /* of one that was not read, too */
        if (txn_values_version(&plan->values, buffer_slice(&watch->key), &version) && version != watch->version) {
            return false;
        }
    }
    return true;
}

/* Of a run before. */
static void forget_told(struct txn_plan *plan)
{
    for (uint32_t i = 0; i < plan->step_count; i++) {
        buffer_clear(&plan->steps[i].seems);
    }
    if (plan->looks) {
        txn_seem_begin(&plan->seem, &plan->values);
    }
}

enum plan_run txn_plan_run(struct txn_plan *plan, const char **ret_why)
{
    if (!watches_hold(plan)) {
        return PLAN_CHANGED;
    }
    *ret_why = txn_values_too_much(&plan->values);
    if (*ret_why == NULL) {
        plan->replied_bytes = 0;
        forget_told(plan);
        scripts_spent_forget(&plan->values.spent);
        plan_each_command(plan, run_command);
        *ret_why = txn_values_too_much(&plan->values);
    }
    if (*ret_why == NULL && txn_plan_too_large(plan)) {
        *ret_why = TXN_TOO_LARGE;
    }
    return *ret_why == NULL ? PLAN_RAN : PLAN_LARGE;
}

/* One whole reply from the front of *from. */
static bool take_reply(struct slice *from, struct slice *ret_reply)
{
    const struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_reader reader;
    enum resp_type root = RESP_NULL;
    resp_reader_init(&reader);
    if (resp_reader_skip(&reader, &limits, from->data, from->size, &root) != RESP_REPLY_READY) {
        return false;
    }
    *ret_reply = slice_of(from->data, reader.consumed);
    *from = slice_of(from->data + reader.consumed, from->size - reader.consumed);
    return true;
}

bool txn_plan_take(struct txn_plan *plan, uint32_t part, struct slice from)
{
    const struct plan_part *of = &plan->parts[part];
    for (uint32_t i = 0; i < of->step_count; i++) {
        struct plan_step *step = &plan->steps[plan->order[of->first_step + i]];
        struct slice ok;
        if ((step->seems.size != 0 && !take_reply(&from, &ok)) || !take_reply(&from, &step->reply)) {
            return false;
        }
    }
    return from.size == 0;
}

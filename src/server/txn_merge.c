/* One reply for each command of a plan, of those of its steps. */
#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/prng.h"
#include "server/txn_answer.h"
#include "server/txn_plan.h"

#include <stdlib.h>

static void reply_array(const struct plan_command *command, const struct plan_step *steps, struct resp_writer *reply)
{
    struct slice *rests = memory_allocate(command->step_count * sizeof(*rests));
    struct resp_token token;
    for (uint32_t s = 0; s < command->step_count; s++) {
        rests[s] = steps[s].reply;
        ASSERT(answer_token(&rests[s], &token));
    }
    resp_array(reply, command->order_count);
    for (uint32_t i = 0; i < command->order_count; i++) {
        struct slice *rest = &rests[command->order[i]];
        const uint8_t *start = rest->data;
        bool taken = answer_token(rest, &token);
        if (taken) {
            resp_raw(reply, slice_of(start, (size_t)(rest->data - start)));
        } else {
            resp_null(reply); /* fewer elements than keys: not from our machine */
        }
    }
    free(rests);
}

/* Elements follow one another without the arrays' heads. */
static void reply_arrays(const struct plan_command *command, const struct plan_step *steps, struct resp_writer *reply)
{
    struct buffer elements;
    uint64_t sum = 0;
    buffer_init(&elements);
    for (uint32_t s = 0; s < command->step_count; s++) {
        struct slice rest = steps[s].reply;
        uint64_t count = 0;
        if (answer_array(&rest, &count)) {
            buffer_append_slice(&elements, rest);
            sum += count;
        }
    }
    resp_array(reply, sum);
    resp_raw(reply, buffer_slice(&elements));
    buffer_deinit(&elements);
}

/* A shard's key takes the place of the one that was chosen before it, as often as its share of the keys says (M. T.
 * Chao, Biometrika 1982). Steps are sizes and keys in turn. */
static void reply_random(const struct txn_plan *plan, const struct plan_command *command, const struct plan_step *steps,
                         struct resp_writer *reply)
{
    struct slice chosen = slice_of(NULL, 0);
    struct prng prng;
    uint64_t sum = 0;
    prng_seed(&prng, plan->random);
    for (uint32_t s = 0; s + 1 < command->step_count; s += 2) {
        struct slice size_reply = steps[s].reply;
        struct slice key_reply = steps[s + 1].reply;
        struct resp_token token;
        int64_t size = 0;
        if (answer_token(&key_reply, &token) && token.type == RESP_BULK && answer_integer(&size_reply, &size)) {
            sum += size > 0 ? (uint64_t)size : 1;
            chosen = prng_below(&prng, sum) < (size > 0 ? (uint64_t)size : 1) ? steps[s + 1].reply : chosen;
        }
    }
    if (chosen.size == 0) {
        resp_null(reply);
    } else {
        resp_raw(reply, chosen);
    }
}

/* Its own cursor in the shard, or 0 at its end, becomes the cluster's (gather.h). */
static void reply_scan(const struct txn_plan *plan, const struct plan_step *steps, struct resp_writer *reply)
{
    struct slice rest = steps[0].reply;
    struct slice text;
    uint64_t count = 0;
    uint64_t cursor = 0;
    uint32_t shard = steps[0].shard;
    char digits[NUMBER_INT64_BYTES];
    if (!answer_array(&rest, &count) || count != 2 || !answer_text(&rest, &text) ||
        !number_parse_cursor(text, &cursor)) {
        resp_raw(reply, steps[0].reply); /* not from our machine */
        return;
    }
    cursor = cursor != 0 ? cursor * plan->shards + shard - 1 : shard == plan->shards ? 0 : shard;
    resp_array(reply, 2);
    resp_bulk(reply, slice_of(digits, number_format_uint64(digits, cursor)));
    resp_raw(reply, rest);
}

void txn_plan_reply(const struct txn_plan *plan, uint32_t at, struct resp_writer *reply)
{
    const struct plan_command *command = &plan->commands[at];
    int64_t sum = 0;
    if (plan->of_values && !command->looks) {
        resp_raw(reply, buffer_slice(&command->reply));
        return;
    }
    const struct plan_step *steps = plan->steps + command->first_step;
    ASSERT(command->step_count > 0);
    for (uint32_t s = 0; s < command->step_count; s++) {
        struct slice rest = steps[s].reply;
        struct resp_token token = {0};
        if (command->merge == PLAN_WHOLE || !answer_token(&rest, &token) || token.type == RESP_ERROR) {
            resp_raw(reply, steps[s].reply);
            return;
        }
        sum += token.type == RESP_INTEGER ? token.integer : 0;
    }
    switch ((enum plan_merge)command->merge) {
    case PLAN_SUM: resp_integer(reply, sum); return;
    case PLAN_OK: resp_status(reply, "OK"); return;
    case PLAN_ARRAY: reply_array(command, steps, reply); return;
    case PLAN_ARRAYS: reply_arrays(command, steps, reply); return;
    case PLAN_RANDOM: reply_random(plan, command, steps, reply); return;
    case PLAN_SCAN: reply_scan(plan, steps, reply); return;
    case PLAN_WHOLE: break;
    }
    UNREACHABLE();
}

/* The commands of a host: what they mean for its engine, and how they are answered. As docs/commands.md says of each;
 * what an engine cannot do is -UNSUPPORTED. */
#pragma once

#include "engine/engine.h"
#include "wire/resp_writer.h"

/* A request that waits for a lock. The owner and the note are the connection's, the key stands here. Not to be moved.
 */
struct engine_wait {
    struct lock_wanted wanted;
    uint8_t key[LOCK_STATE_KEY_BYTES];
    int64_t until_ns; /* CLOCK_MONOTONIC */
    int64_t again_ns;
};

enum engine_execution { ENGINE_ANSWERED, ENGINE_MUST_WAIT };

/* ENGINE_MUST_WAIT: nothing was written, and *ret_wait is to be asked again. */
enum engine_execution engine_execute(struct engine *engine, const struct slice *argv, size_t argc,
                                     struct resp_writer *reply, struct engine_wait *ret_wait);

/* Asks again. With nothing left of its time it is answered in any case. */
enum engine_execution engine_execute_wait(struct engine *engine, struct engine_wait *wait, struct resp_writer *reply);

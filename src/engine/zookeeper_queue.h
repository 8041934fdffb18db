/* zookeeper://: places in a queue, and what becomes of them. */
#pragma once

#include "engine/zookeeper_claims.h"

/* For struct engine_ops. */
enum engine_code queue_acquire(struct engine *engine, const struct lock_wanted *wanted,
                               struct lock_granted *ret_granted);

/* At least `ttl_ms` from now; 0: as long as it has. ENGINE_NOT: its node was gone, and it is forgotten. */
enum engine_code queue_renew(struct zookeeper *zookeeper, struct claim *claim, int64_t ttl_ms, int64_t *ret_left_ms);

/* Everything here may be asked twice. After ENGINE_UNCERTAIN it is, while there is time for it; what is then refused
 * for the moment may have been executed the first time. */
bool queue_tries_again(struct zookeeper *zookeeper, enum engine_code code, bool *uncertain);
#define QUEUE_AFTER(uncertain, code)                                                                                   \
    ((uncertain) && ((code) == ENGINE_DOWN || (code) == ENGINE_BUSY) ? ENGINE_UNCERTAIN : (code))

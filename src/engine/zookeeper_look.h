/* zookeeper://: what is only looked at, and tokens that are checked. */
#pragma once

#include "engine/zookeeper_claims.h"

/* ENGINE_NOT: others hold it or wait for it. */
enum engine_code look_whether_free(struct zookeeper *zookeeper, struct slice key, bool shared);

/* Of the one who holds the lock by this token (of that owner, unless it is NULL), in whatever session. ENGINE_NOT:
 * there is none. */
enum engine_code look_find_holder(struct zookeeper *zookeeper, struct slice key, uint64_t token,
                                  const struct slice *owner, char ret_child[static NODES_CHILD_BYTES],
                                  int64_t *ret_since_ms);

/* For struct engine_ops. */
enum engine_code zookeeper_look(struct engine *engine, struct slice key, struct lock_state *ret_state,
                                int64_t *ret_now_ms);
enum engine_code zookeeper_fence(struct engine *engine, struct slice key, uint64_t token);
enum engine_code zookeeper_list(struct engine *engine, engine_listed listed, void *data);

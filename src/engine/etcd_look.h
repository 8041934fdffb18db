/* What people and resources ask about locks in etcd: who holds them, how they ended, which tokens were seen. */
#pragma once

#include "engine/etcd_keys.h"

enum engine_code etcd_look(struct engine *engine, struct slice key, struct lock_state *ret_state, int64_t *ret_now_ms);
enum engine_code etcd_fence(struct engine *engine, struct slice key, uint64_t token);
enum engine_code etcd_list(struct engine *engine, engine_listed listed, void *data);

/* What the commands of a home shard share. */
#pragma once

#include "machine/txn/home.h"

struct call;

/* The home shard is a participant itself, and the transaction is decided: its part is finished in the same step. The
 * record may be gone then. */
void home_finish_own_part(struct call *call, struct home *home);

/* As an array of arrays: label, resource, evidence, state, restores, position, age_ms. */
void home_put_branches(struct call *call, const struct home *home);

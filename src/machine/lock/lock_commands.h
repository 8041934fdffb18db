/* What the files with commands about locks share. */
#pragma once

#include "machine/call.h"
#include "machine/lock/locks.h"

/* Writes the reply of an outcome. */
void lock_put_outcome(struct call *call, enum lock_outcome outcome, const struct lock_answer *answer);

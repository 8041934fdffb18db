/* What the files with commands about locks share. */
#pragma once

#include "machine/call.h"
#include "machine/lock/locks.h"

/* Writes the reply of an outcome. */
void lock_put_outcome(struct call *call, enum lock_outcome outcome, const struct lock_answer *answer);
/* That of LOCK_IS_HELD_OTHERWISE: how the owner has the lock, and how it asks (lock_otherwise.c). */
void lock_put_otherwise(struct call *call, const struct lock_manner *had, const struct lock_request *request);

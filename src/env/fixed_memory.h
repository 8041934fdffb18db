/* Memory at one address that is the same in every process, for what must not depend on where it lies (script/). Not of
 * an env: there is nothing in it that a simulation could do otherwise. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Zeroed pages, taken from the system when first written to. STATUS_BUSY when something lies there. */
MUST_USE enum status fixed_memory_map(uintptr_t address, size_t size);
void fixed_memory_unmap(uintptr_t address, size_t size);
/* Gives pages back; they read as zeroes. */
void fixed_memory_release(void *at, size_t size);

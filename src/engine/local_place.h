/* Whether a folder is on a file system of this machine alone. On one that is of several, record locks, shared memory
 * and CLOCK_BOOTTIME mean nothing to each other. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What it is ("NFS"); NULL: it is of this machine, as far as can be told. */
const char *local_place_problem(const char *folder);

/* The same, of a type as statfs(2) has it. */
const char *local_place_remote(int64_t type);

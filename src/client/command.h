/* What cohort_command lets through. */
#pragma once

#include <cohort/client.h>
#include <stdbool.h>

enum { COMMAND_WORDS_MAXIMUM = 1 << 20 };

/* Whether a command of this name may stand in a batch or a transaction, which change no connection. */
bool command_may_be_queued(struct cohort_bytes name);

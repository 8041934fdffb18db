/* What of a command nobody else may read, where commands are shown: MONITOR, SLOWLOG. */
#pragma once

#include "base/slice.h"

struct command;

/* The word as it may be shown: itself, or "(redacted)": passwords of AUTH, HELLO and CONFIG SET requirepass, and the
 * URL of a resource that is refused, since it may have one. */
struct slice secret_words_shown(const struct command *command, uint32_t place);

/* The processes below one: its children, theirs and so on, whatever group or session they went to. They are found in
 * /proc, by their parents. The one at the top is a subreaper (prctl(2)), so that who loses its parent stays below. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Whether they can be found: /proc is mounted. */
bool descendants_visible(void);

/* Sends a signal to all that have not ended; returns how many it reached. *ret_refused (may be NULL): one that may not
 * be signalled, because it became another user's; 0 for none. Who is born meanwhile is met by the next call. */
size_t descendants_signal(pid_t top, int signal_number, pid_t *ret_refused);

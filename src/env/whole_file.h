/* Small files that are read and replaced as a whole: settings, who a data folder belongs to. */
#pragma once

#include "base/buffer.h"
#include "env/env.h"

/* Appends the content of a file of at most `limit` bytes; TOO_LARGE, and nothing appended, when it has more. */
MUST_USE enum status whole_file_read(struct env *env, const char *path, size_t limit, struct buffer *out);
/* Replaces a file, or makes it, atomically and durably, by way of PATH.tmp: after OK the new content is there for good;
 * after a crash or a failure it is the old or the new. INVALID: the path is too long. */
MUST_USE enum status whole_file_replace(struct env *env, const char *path, struct slice content);

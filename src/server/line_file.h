/* Small files of lines in data folders, read and written as a whole:
 *
 *   WORD FORMAT
 *   NAME = VALUE, for each of its fields
 *   checksum = 8 hexadecimal digits, the CRC32C of what stands before
 *
 * Invariants
 * 1. A file is taken only when it is byte for byte what `render` makes of what `parse` found in it. Anything else is
 *    damage, and nothing of it is used.
 * 2. After a crash a file is the old or the new one (env/whole_file.h). */
#pragma once

#include "base/buffer.h"
#include "env/env.h"

enum { LINE_FILE_PATH_BYTES = 4096, LINE_FILE_MESSAGE_BYTES = 1024 };

struct line_file_kind {
    const char *name; /* in its folder */
    const char *word;
    unsigned format; /* the newest that is known */
    unsigned bare;   /* files of formats up to this one may have no checksum */
    size_t limit_bytes;
    /* All but the checksum. */
    void (*render)(const void *file, struct buffer *out);
    bool (*parse)(const char *text, void *ret_file);
};

/* DIRECTORY/NAME; TOO_LARGE, and a message, when that is too long. */
MUST_USE enum status line_file_path(const struct line_file_kind *kind, const char *directory,
                                    char ret_path[static LINE_FILE_PATH_BYTES],
                                    char ret_message[static LINE_FILE_MESSAGE_BYTES]);
/* NOTFOUND: there is none, which is no message's business. Else, when it is not OK, ret_message says what is wrong:
 * VERSION: of a newer version of cohort; CORRUPT: damaged; or it cannot be read. *ret_file is unspecified then. */
MUST_USE enum status line_file_read(struct env *env, const struct line_file_kind *kind, const char *path,
                                    void *ret_file, char ret_message[static LINE_FILE_MESSAGE_BYTES]);
/* Atomically and durably. */
MUST_USE enum status line_file_write(struct env *env, const struct line_file_kind *kind, const char *directory,
                                     const void *file, char ret_message[static LINE_FILE_MESSAGE_BYTES]);

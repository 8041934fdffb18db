/* DIR/node: who this data folder belongs to. Made once, with the folder; a folder of another node is refused.
 *
 *   cohort-node 1
 *   id = 1
 *   incarnation = 32 hexadecimal digits, random: a node that lost its disk comes back with another one
 */
#pragma once

#include "env/env.h"
#include "server/server.h"

enum { INCARNATION_DIGITS = 32 };

/* Reads the file; *ret_known tells whether there is one. On failure ret_message says what to do. */
MUST_USE enum status node_file_read(struct env *env, const char *directory, uint64_t node_id, bool *ret_known,
                                    char ret_incarnation[static INCARNATION_DIGITS + 1],
                                    char ret_message[static SERVER_MESSAGE_BYTES]);
/* Makes it, durably; only when the data folder has its log, so that a log that is missing later on is noticed. */
MUST_USE enum status node_file_make(struct env *env, const char *directory, uint64_t node_id,
                                    char ret_incarnation[static INCARNATION_DIGITS + 1],
                                    char ret_message[static SERVER_MESSAGE_BYTES]);
/* `digits` random hexadecimal digits and a NUL. */
void make_hex(struct env *env, char *at, size_t digits);
/* Replaces a file atomically and durably. */
MUST_USE enum status file_replace(struct env *env, const char *directory, const char *path, struct slice content);
/* Reads a whole file of at most `limit` bytes. */
MUST_USE enum status file_read(struct env *env, const char *path, size_t limit, struct buffer *out);

/* Scripts by name: the texts that this worker has seen, so that EVALSHA finds them. A text is remembered by EVAL and
 * SCRIPT LOAD, at the worker of the connection alone; elsewhere EVALSHA answers NOSCRIPT, and libraries send the text.
 *
 * What leaves for a shard is always EVAL with its text: the log holds all that a script needs.
 *
 * Bounded: SCRIPTS_COUNT texts of SCRIPTS_BYTES together; the one that was not asked for longest goes first. */
#pragma once

#include "command/command.h"

enum { SCRIPTS_COUNT = 1024, SCRIPTS_BYTES = 8 << 20 };

struct connection;
struct local_call;
struct server;
struct scripts;

struct scripts *scripts_create(void);
void scripts_destroy(struct scripts *scripts);
size_t scripts_bytes(const struct scripts *scripts);

/* Makes EVAL of EVALSHA (its argv then lies in `room`, until the next script is remembered), EVAL_RO of an EVAL whose
 * first line says no-writes, and remembers the text. Others stay as they are. Returns NULL, or the error to answer. */
const char *scripts_resolve(struct server *server, struct command *command, struct command_arguments *room);

void local_script_load(struct local_call *call);
void local_script_exists(struct local_call *call);
void local_script_flush(struct local_call *call);

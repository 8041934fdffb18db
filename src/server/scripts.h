/* Scripts by name, so that EVALSHA finds them at every node.
 *
 * EVAL and SCRIPT LOAD make a text known at all workers of their node before they are answered; SCRIPT LOAD at all
 * other nodes that can be reached, too. Who is asked for a text that it does not have asks the nodes that it is
 * connected with before it answers NOSCRIPT: so a text that was only given to EVAL is found as well, and a node that
 * was started again gets back what the others know (script_peers.h). Texts stand in no log, and what all nodes have
 * forgotten is gone: as in Redis, NOSCRIPT is a client's cue to send the text.
 *
 * Why both: texts that travel before SCRIPT LOAD is answered survive the node that was told them, whatever happens
 * next; texts that travel with each EVAL as well would cost those who build a new text for each call, for nothing.
 *
 * What leaves for a shard is always EVAL with its text: the log holds all that a script needs. */
#pragma once

#include "command/command.h"

struct connection;
struct local_call;
struct server;

/* Makes EVAL of EVALSHA (its argv then lies in `room`, until the next script is kept), EVAL_RO of an EVAL whose
 * first line says no-writes, and remembers the text. In MULTI an unknown name becomes a script that fails as such: that
 * is what EXEC says then. Others stay as they are. Returns NULL, or the error to answer. */
const char *scripts_resolve(struct connection *connection, struct command *command, struct command_arguments *room);

void local_script_load(struct local_call *call);
void local_script_exists(struct local_call *call);
void local_script_flush(struct local_call *call);

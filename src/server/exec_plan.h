/* The commands about the connection or the node inside one EXEC, and where their replies go among those of the machine.
 *
 * They are executed when the machine's answer is there, and only if the EXEC was not refused. */
#pragma once

#include "base/buffer.h"
#include "command/command.h"

struct connection;
struct exec_plan;
struct slot;

/* Commands of the server never travel in the log, so command_encode does not take them: a form of our own. */
void exec_plan_encode(struct buffer *out, const struct command *command);
/* Takes what exec_plan_encode made from the front of *from. */
struct command exec_plan_decode(struct slice *from, struct command_arguments *arguments);

/* Adds the encoded command at `place` among `total`; places ascend. Makes the plan when *plan is NULL. */
void exec_plan_add(struct exec_plan **plan, uint32_t place, uint32_t total, struct slice encoded);
/* Turns the machine's answer in the slot's stash into EXEC's; destroys the plan. */
void exec_plan_finish(struct connection *connection, struct slot *slot);
void exec_plan_destroy(struct exec_plan *plan); /* takes NULL */

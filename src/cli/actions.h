/* Commands that have commands of their own: `cohort lock run`, `cohort lock info`. */
#pragma once

#include "cli/cli.h"

/* Runs the action that argv names; an action is a command whose name is "lock run". `actions` ends with NULL. Returns
 * the exit code. */
int actions_run(const struct cli_command *command, const struct cli_command *const *actions, int argc, char **argv);

/* What `cohort node` can do (node_actions.c). */
#pragma once

#include "cli/cli.h"

extern const struct cli_command cli_node_transfer;

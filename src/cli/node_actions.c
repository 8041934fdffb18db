/* cohort node: which node does what in its cluster. */
#include "cli/actions.h"
#include "cli/node_transfer.h"

static int run(const struct cli_command *command, int argc, char **argv)
{
    static const struct cli_command *const actions[] = {&cli_node_transfer, NULL};
    return actions_run(command, actions, argc, argv);
}

const struct cli_command cli_node = {
    .name = "node",
    .arguments = "transfer SHARD NODE",
    .summary = "say which node leads a shard",
    .examples = "  cohort node transfer 3 2\n",
    .run = run,
};

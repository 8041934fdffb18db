/* cohort lock: commands under locks, and a look at locks. */
#include "cli/lock.h"

#include "cli/actions.h"

static int run(const struct cli_command *command, int argc, char **argv)
{
    static const struct cli_command *const actions[] = {&cli_lock_run,     &cli_lock_info,    &cli_lock_list,
                                                        &cli_lock_history, &cli_lock_release, NULL};
    return actions_run(command, actions, argc, argv);
}

const struct cli_command cli_lock = {
    .name = "lock",
    .arguments = "run NAME -- COMMAND … | info NAME | list [PATTERN] | history NAME | release NAME",
    .summary = "run a command under a lock; show locks, take one away",
    .examples = "  cohort lock run nightly -- ./job.sh\n"
                "  cohort lock run --ttl 30s --wait 0 --url cohort://10.0.0.1:6379,10.0.0.2:6379 nightly -- ./job.sh\n"
                "  cohort lock info nightly\n"
                "  cohort lock list 'job:*' --json\n",
    .run = run,
};

/* The actions of `cohort lock`. */
#pragma once

#include "cli/cli.h"

extern const struct cli_command cli_lock_run;
extern const struct cli_command cli_lock_info;
extern const struct cli_command cli_lock_list;
extern const struct cli_command cli_lock_history;
extern const struct cli_command cli_lock_release;

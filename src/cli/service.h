/* The parts of `cohort service` that have files of their own. */
#pragma once

#include "cli/cli.h"

extern const struct cli_command cli_service_register;

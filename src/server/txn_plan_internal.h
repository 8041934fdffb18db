/* For txn_plan*.c alone. */
#pragma once

#include "server/txn_plan.h"

/* Calls for each command in turn, decoded, until that says false. */
void plan_each_command(struct txn_plan *plan,
                       bool (*each)(struct txn_plan *plan, uint32_t at, const struct command *command));

/* Keys and fields that transactions connect, judged together. For check.c. */
#pragma once

#include "check/check.h"

/* Finds the groups of a check whose keys and order are there, and gives their keys the verdict. */
void check_judge_groups(struct check *check);
void check_groups_deinit(struct check *check);

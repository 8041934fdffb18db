/* Whether a node of `cohort dev` serves. */
#pragma once

#include "cli/node.h"

/* Asks the node at this port of the loopback address, within a moment. It serves when it answers and knows a leader for
 * every shard; one that wants a password is believed. False with the reason. */
bool dev_ready(int port, char ret_why[static NODE_PROBLEM_BYTES]);

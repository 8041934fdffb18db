/* Where SCAN, TXN.LIST, TXN.BRANCHES and LOCK.LIST go on, and what the lists are to show. */
#pragma once

#include "command/command.h"

struct scan {
    uint64_t cursor;
    struct slice count, state, older, pattern, resource;
};

/* What the command says, or what nothing was said about. NULL, or what is wrong with it. */
const char *gather_scan_options(const struct command *command, struct scan *scan);

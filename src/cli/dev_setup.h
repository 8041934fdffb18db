/* What must be there before the nodes of `cohort dev` are started: then what is wrong is one line, and not one from
 * each node. Both return CLI_CONTINUE, or an exit code after an error that they have reported. */
#pragma once

#include <limits.h>

/* Nobody listens at the port of the loopback address. */
int dev_check_port(int port);
/* Makes the folder, and those above it; ret_path is its absolute path. */
int dev_make_folder(const char *path, char ret_path[static PATH_MAX]);

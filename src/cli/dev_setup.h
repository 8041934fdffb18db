/* What must be there before the nodes of `cohort dev` are started: then what is wrong is one line, and not one from
 * each node. They return CLI_CONTINUE, or an exit code after an error that they have reported. */
#pragma once

#include <limits.h>

/* Nobody listens at the port of the loopback address. */
int dev_check_port(int port);
/* Makes the folder, and those above it; ret_path is its absolute path. */
int dev_make_folder(const char *path, char ret_path[static PATH_MAX]);

/* This program, as a person in the folder where it was started can call it. */
void dev_find_program(char ret_path[static PATH_MAX]);

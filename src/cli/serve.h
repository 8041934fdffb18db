/* `cohort serve`: one node in the foreground. */
#pragma once

/* argv[0] is "serve". Returns an exit status of sysexits.h. */
int cli_serve(int argc, char **argv);

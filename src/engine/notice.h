/* Notices of changes in a folder, by inotify: whoever waits for what is kept there asks again at once.
 *
 * They are a hint. Where the system has none to give (a limit of instances, some file systems), whoever waits asks now
 * and then, which NOTICE_POLL_MS bounds. */
#pragma once

#include <stddef.h>

enum { NOTICE_POLL_MS = 20 };

/* A descriptor that is readable when a file of the folder was written; −1: none to be had. */
int notice_open(const char *folder);

/* Takes what has come. */
void notice_take(int fd);

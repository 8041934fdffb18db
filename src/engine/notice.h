/* Notices of changes in a folder, or in files, by inotify: whoever waits for what is kept there asks again at once.
 *
 * They are a hint. Where the system has none to give (a limit of instances, some file systems), whoever waits asks now
 * and then, which NOTICE_POLL_MS bounds. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { NOTICE_POLL_MS = 20 };

/* A descriptor that is readable when a file of the folder was written; −1: none to be had. */
int notice_open(const char *folder);

/* The same, for files that are named later. */
int notice_open_empty(void);

/* Tells when the file is written, moved or removed; whoever has that name later is another one. False: it is not there,
 * or there are no notices of it. */
bool notice_watch(int fd, const char *file);

/* Takes what has come. */
void notice_take(int fd);

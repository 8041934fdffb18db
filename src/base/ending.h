/* How a process ends that cannot go on: a belief was wrong (assert.h), or memory was refused (memory.h). It prints one
 * line to stderr, unless the process is somebody else's: then whoever lives in it says here what is done instead. */
#pragma once

/* Of this process, before other threads run what may end. `end` gets the line, without its end, and never returns. It
 * may be called by any thread, and finds no memory. */
void ending_set(void (*end)(const char *line));

/* Prints the line, or calls what was set, and then does not return. */
void ending_say(const char *line);

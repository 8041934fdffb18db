/* A node of `cohort dev`: a child process, whose output is passed on line by line with its number in front.
 *
 * Invariants
 * 1. A child never outlives this process: the kernel kills it when this one goes, however it goes.
 * 2. Signals of the terminal (Ctrl-C) reach this process alone; it decides what its children are told.
 * 3. A child is never held up for long by its own output: what arrives is read until there is no more. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { DEV_LINE_BYTES = 9 * 1024, DEV_ENDED_BYTES = 64 };

struct dev_child {
    int number; /* of the node, from 1 */
    int port;
    pid_t pid;  /* 0: not running */
    int output; /* what it prints; −1: nothing to read */
    char line[DEV_LINE_BYTES];
    size_t line_size;
    bool serves;        /* dev_ready said so since it was started */
    int64_t began_ms;   /* of the monotonic clock, as all here */
    int64_t restart_ms; /* when to start it again; 0: not */
    int64_t delay_ms;   /* before the last restart; 0: none yet */
};

void dev_child_init(struct dev_child *child, int number, int port);
/* Runs this program again with these arguments (ends with NULL). False when the system refuses; errno says why. */
bool dev_child_start(struct dev_child *child, char *const *argv, int64_t now_ms);
/* Passes on what it has printed; at the end of its output (or `last`, when it is known to be dead) also a line
 * without an end. */
void dev_child_read(struct dev_child *child, bool last);
/* "exit status 69", "killed by signal 9 (Killed)": of a status from waitpid. */
void dev_child_describe_end(int status, char ret_text[static DEV_ENDED_BYTES]);

/* A machine that takes commands as text and tells replies as text.
 *
 * Commands: words between spaces; "…" holds spaces, \xHH, \r, \n, \" and \\. Replies: the bytes of RESP with each
 * line end as one space, the last one left out: `:1`, `$1 a`, `*2 $1 a $1 b`, `-ERR syntax error`. Internal commands
 * are found by their names, too. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs those above */

#include "machine/machine.h"

struct harness {
    struct machine *machine;
    uint64_t position;
    int64_t time_ms, wall_ms; /* of the next command */
    uint64_t term;
    int protocol;
    bool discard; /* replies of applies, as a replica does; they are then told as "" */
    struct buffer reply;
    struct buffer text;
};

/* Times start at 1000 (shard) and 1700000000000 (wall). */
void harness_init(struct harness *harness);
void harness_deinit(struct harness *harness);

/* cmocka's setup and teardown around a struct harness. */
int harness_setup(void **state);
int harness_teardown(void **state);

/* Lets time pass on both clocks. */
void harness_pass(struct harness *harness, int64_t ms);

/* Applies the command and returns its reply as text, which holds until the next call. */
const char *harness_apply(struct harness *harness, const char *command);

/* Reads; NULL when the machine wants it logged. */
const char *harness_read(struct harness *harness, const char *command);

/* Applies an EXEC. `watches` is "key version key version …"; commands end with a NULL. */
const char *harness_exec(struct harness *harness, const char *watches, ...);
const char *harness_exec_read(struct harness *harness, const char *watches, ...);

/* Applies or reads an internal command whose last arguments are commands themselves; they end with a NULL. */
const char *harness_nested(struct harness *harness, const char *head, ...);
const char *harness_nested_read(struct harness *harness, const char *head, ...);

uint64_t harness_version(struct harness *harness, const char *key);

/* The command's reply is as expected; when it only reads, machine_read gives the same. */
#define CHECK(harness, command, expected) harness_check(harness, command, expected, __FILE__, __LINE__)
void harness_check(struct harness *harness, const char *command, const char *expected, const char *file, int line);

/* The command moves (or does not move) the version that watchers of the key see. */
#define CHECK_TOUCHES(harness, key, command) harness_check_touch(harness, key, command, true, __FILE__, __LINE__)
#define CHECK_SPARES(harness, key, command) harness_check_touch(harness, key, command, false, __FILE__, __LINE__)
void harness_check_touch(struct harness *harness, const char *key, const char *command, bool touches, const char *file,
                         int line);

/* Brings the state into another machine by a snapshot, taken in steps of `budget` bytes. */
struct machine *harness_copy(struct machine *machine, size_t budget);

/* Makes a machine from the records of a snapshot. */
struct machine *harness_load(struct slice records);

/* For commands*.c. */
#pragma once

#include "engine/commands.h"

struct call {
    struct engine *engine;
    const struct slice *argv;
    size_t argc;
    struct resp_writer *reply;
    struct engine_wait *wait;
};

/* Answers, each in one call. */
enum engine_execution engine_answer_error(struct call *call, const char *text);
enum engine_execution engine_answer_unsupported(struct call *call, const char *what);

/* A code that is neither ENGINE_OK nor ENGINE_NOT nor ENGINE_WAITS. */
void engine_answer_code(struct resp_writer *reply, const struct engine *engine, enum engine_code code);

/* True: the name is none of a lock, and that was answered. */
bool engine_key_problem(struct call *call, struct slice key);

/* ---- commands_look.c ---- */
enum engine_execution engine_lock_info(struct call *call);
enum engine_execution engine_lock_history(struct call *call);
enum engine_execution engine_lock_list(struct call *call);

/* ELECT.LEADER, of the lock that an election is. */
enum engine_execution engine_leader(struct call *call, struct slice key);

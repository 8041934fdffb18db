/* An engine, and a host that keeps strings, for tests of scripts. */
#pragma once

#include "script/script.h"

struct script_world {
    struct script_engine *engine;
    struct buffer reply;
    struct buffer calls; /* what the host was asked: words with spaces, a line each */
    int protocol;        /* of the reply */
    uint64_t seed, budget;
    size_t memory_bytes;
    enum script_end end; /* of the last run */
    uint64_t used;
    int mistakes;       /* of expect_reply: the teardown fails */
    const char *answer; /* RESP that the command ANSWER gets */
};

int script_world_setup(void **state);
int script_world_teardown(void **state);

/* Runs a text with KEYS k1, k2 and ARGV a1; the reply, as text, until the next run. CR LF in it is "~". */
const char *script_world_run(struct script_world *world, const char *source);
const char *script_world_run_bytes(struct script_world *world, struct slice source);

/* The reply must be this; else both are shown, and the test fails at its end. "<sha>" in it stands for 40 digits. */
void expect_reply(struct script_world *world, const char *source, const char *reply);
/* The value as tostring shows it. */
void expect_text(struct script_world *world, const char *expression, const char *text);

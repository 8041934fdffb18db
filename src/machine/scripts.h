/* What a machine needs to run scripts: the process's one engine, which machines in several threads share. */
#pragma once

#include "script/script.h"

enum { SCRIPTS_PUBLISH_BYTES = 16 << 20 }; /* of messages, by one script */

/* What the scripts of one command have used. An EXEC has many: when they have used a budget together, those that are
 * left are refused, so that no command takes long. Those that may write and those that only read are counted apart, for
 * the latter are executed only where somebody waits for the reply. */
enum { SCRIPTS_TEXTS = 8 };
struct scripts_sum {
    uint64_t steps;
    struct slice texts[SCRIPTS_TEXTS]; /* the first few, borrowed from the command: … */
    uint32_t text_count;               /* … compiling them again takes no time */
};
struct scripts_spent {
    struct scripts_sum reading, writing;
    bool any;      /* not as scripts_spent_forget leaves it */
    uint64_t ever; /* steps, of all commands */
};

static inline void scripts_spent_forget(struct scripts_spent *spent)
{
    if (__builtin_expect(spent->any, 0)) {
        spent->reading.steps = spent->writing.steps = 0;
        spent->reading.text_count = spent->writing.text_count = 0;
        spent->any = false;
    }
}

struct machine_scripts {
    struct script_engine *engine;
    void *owner;
    /* Around each run; NULL: one thread has the engine. False: another thread still has it. */
    bool (*lock)(void *owner);
    void (*unlock)(void *owner);
    /* While a script runs, or waits for the engine: who waits for that may say to others that it lives
     * (script_host.beat). NULL: nothing. */
    void (*beat)(void *beating);
    void *beating;
};

static inline void machine_scripts_enter(const struct machine_scripts *scripts)
{
    while (scripts->lock != NULL && !scripts->lock(scripts->owner)) {
        if (scripts->beat != NULL) {
            scripts->beat(scripts->beating);
        }
    }
}

static inline void machine_scripts_leave(const struct machine_scripts *scripts)
{
    if (scripts->unlock != NULL) {
        scripts->unlock(scripts->owner);
    }
}

/* What a machine needs to run scripts: the process's one engine, which machines in several threads share. */
#pragma once

#include "script/script.h"

enum { SCRIPTS_PUBLISH_BYTES = 16 << 20 }; /* of messages, by one script */

struct machine_scripts {
    struct script_engine *engine;
    void *owner;
    void (*lock)(void *owner); /* around each run; NULL: one thread has the engine */
    void (*unlock)(void *owner);
};

static inline void machine_scripts_enter(const struct machine_scripts *scripts)
{
    if (scripts->lock != NULL) {
        scripts->lock(scripts->owner);
    }
}

static inline void machine_scripts_leave(const struct machine_scripts *scripts)
{
    if (scripts->unlock != NULL) {
        scripts->unlock(scripts->owner);
    }
}

#include "server/script_home.h"

#include <pthread.h>

#include "base/assert.h"
#include "env/fixed_memory.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct machine_scripts scripts;

static void lock(void *owner) { ASSERT(pthread_mutex_lock(owner) == 0); }
static void unlock(void *owner) { ASSERT(pthread_mutex_unlock(owner) == 0); }

static void open_engine(void)
{
    if (fixed_memory_map(SCRIPT_ADDRESS, SCRIPT_REGION_BYTES) != STATUS_OK) {
        return;
    }
    struct script_place place = {(void *)SCRIPT_ADDRESS, fixed_memory_release,
                                 false}; /* NOLINT(performance-no-int-to-ptr) */
    scripts = (struct machine_scripts){script_engine_open(&place), &mutex, lock, unlock};
}

const struct machine_scripts *script_home(void)
{
    ASSERT(pthread_once(&once, open_engine) == 0);
    return scripts.engine == NULL ? NULL : &scripts;
}

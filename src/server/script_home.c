#include "server/script_home.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "base/assert.h"
#include "env/fixed_memory.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct machine_scripts scripts;

enum { LOCK_MS = 20 };

/* By the wall clock, as pthreads have it: when that jumps, the next look is sooner or later, no more. */
static bool lock(void *owner)
{
    struct timespec until;
    ASSERT(clock_gettime(CLOCK_REALTIME, &until) == 0);
    until.tv_nsec += LOCK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    int result = pthread_mutex_timedlock(owner, &until);
    ASSERT(result == 0 || result == ETIMEDOUT);
    return result == 0;
}

static void unlock(void *owner) { ASSERT(pthread_mutex_unlock(owner) == 0); }

static void open_engine(void)
{
    if (fixed_memory_map(SCRIPT_ADDRESS, SCRIPT_REGION_BYTES) != STATUS_OK) {
        return;
    }
    struct script_place place = {(void *)SCRIPT_ADDRESS, fixed_memory_release,
                                 false}; /* NOLINT(performance-no-int-to-ptr) */
    scripts =
        (struct machine_scripts){.engine = script_engine_open(&place), .owner = &mutex, .lock = lock, .unlock = unlock};
}

const struct machine_scripts *script_home(void)
{
    ASSERT(pthread_once(&once, open_engine) == 0);
    return scripts.engine == NULL ? NULL : &scripts;
}

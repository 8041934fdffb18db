#include "server/script_home.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "base/assert.h"
#include "env/fixed_memory.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct machine_scripts scripts;

/* Who has the engine. A condition, since a mutex cannot be waited for by a clock that nobody sets: who waits is to come
 * back and say that it lives, also when the wall clock is set back meanwhile. */
static struct home {
    pthread_mutex_t mutex;
    pthread_cond_t is_free;
    bool is_taken;
} home = {.mutex = PTHREAD_MUTEX_INITIALIZER};

enum { LOCK_MS = 20 };

static bool lock(void *owner)
{
    struct home *at = owner;
    struct timespec until;
    ASSERT(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    until.tv_nsec += LOCK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    ASSERT(pthread_mutex_lock(&at->mutex) == 0);
    int result = 0;
    while (at->is_taken && result == 0) {
        result = pthread_cond_timedwait(&at->is_free, &at->mutex, &until);
        ASSERT(result == 0 || result == ETIMEDOUT);
    }
    bool has_it = !at->is_taken;
    at->is_taken = true;
    ASSERT(pthread_mutex_unlock(&at->mutex) == 0);
    return has_it;
}

static void unlock(void *owner)
{
    struct home *at = owner;
    ASSERT(pthread_mutex_lock(&at->mutex) == 0);
    at->is_taken = false;
    ASSERT(pthread_mutex_unlock(&at->mutex) == 0);
    ASSERT(pthread_cond_signal(&at->is_free) == 0);
}

static void init_home(void)
{
    pthread_condattr_t attributes;
    ASSERT(pthread_condattr_init(&attributes) == 0);
    ASSERT(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    ASSERT(pthread_cond_init(&home.is_free, &attributes) == 0);
    ASSERT(pthread_condattr_destroy(&attributes) == 0);
}

static void open_engine(void)
{
    if (fixed_memory_map(SCRIPT_ADDRESS, SCRIPT_REGION_BYTES) != STATUS_OK) {
        return;
    }
    init_home();
    struct script_place place = {(void *)SCRIPT_ADDRESS, fixed_memory_release,
                                 false}; /* NOLINT(performance-no-int-to-ptr) */
    scripts =
        (struct machine_scripts){.engine = script_engine_open(&place), .owner = &home, .lock = lock, .unlock = unlock};
}

const struct machine_scripts *script_home(void)
{
    ASSERT(pthread_once(&once, open_engine) == 0);
    return scripts.engine == NULL ? NULL : &scripts;
}

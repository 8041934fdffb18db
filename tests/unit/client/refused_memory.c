#include "refused_memory.h"

#include <stddef.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);

static _Thread_local bool armed;
static _Thread_local int left;  /* allocations until the first that is refused */
static _Thread_local int times; /* how many are refused from there on */

static bool is_refused(void)
{
    if (!armed) {
        return false;
    }
    left--;
    return left < 0 && left >= -times;
}

void *__wrap_malloc(size_t bytes) { return is_refused() ? NULL : __real_malloc(bytes); }
void *__wrap_calloc(size_t count, size_t bytes) { return is_refused() ? NULL : __real_calloc(count, bytes); }
void *__wrap_realloc(void *block, size_t bytes) { return is_refused() ? NULL : __real_realloc(block, bytes); }

void refuse_memory(int first, int count)
{
    left = first;
    times = count;
    armed = true;
}

bool refuse_memory_no_more(void)
{
    armed = false;
    return left < 0;
}

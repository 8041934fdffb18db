#include "base/memory.h"

#include "base/ending.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

void memory_refused(size_t bytes)
{
    char line[160];
    (void)snprintf(line, sizeof(line),
                   "cohort: out of memory: %zu bytes were refused; give this process more memory, or a lower maxmemory",
                   bytes);
    ending_say(line);
    _exit(EX_OSERR);
}

void *memory_allocate_zeroed(size_t count, size_t bytes)
{
    void *block = calloc(count, bytes);
    if (block == NULL) {
        memory_refused(bytes > SIZE_MAX / count ? SIZE_MAX : count * bytes);
    }
    return block;
}

void *memory_allocate_aligned(size_t alignment, size_t bytes)
{
    void *block = aligned_alloc(alignment, bytes);
    if (block == NULL) {
        memory_refused(bytes);
    }
    return block;
}

void *memory_resize(void *block, size_t bytes)
{
    void *resized = realloc(block, bytes);
    if (resized == NULL) {
        memory_refused(bytes);
    }
    return resized;
}

char *memory_copy_text(const char *text) { return memory_make_text(text, strlen(text)); }

char *memory_make_text(const void *bytes, size_t size)
{
    char *text = memory_allocate(size + 1);
    if (size > 0) {
        memcpy(text, bytes, size);
    }
    text[size] = '\0';
    return text;
}

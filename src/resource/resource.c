#include "resource/resource.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

enum { NS_PER_MS = 1000000 };

int64_t resource_clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

enum resource_code resource_problem(struct resource *resource, enum resource_code code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(resource->problem, sizeof(resource->problem), format, arguments);
    va_end(arguments);
    return code;
}

bool resource_pause(const struct resource *resource, int64_t pause_ms)
{
    int64_t left_ns = resource->deadline_ns - resource_clock_ns();
    int64_t pause_ns = pause_ms * NS_PER_MS < left_ns ? pause_ms * NS_PER_MS : left_ns;
    if (pause_ns <= 0) {
        return false;
    }
    struct timespec pause = {.tv_sec = pause_ns / 1000000000, .tv_nsec = pause_ns % 1000000000};
    (void)nanosleep(&pause, NULL);
    return resource_clock_ns() < resource->deadline_ns;
}

void resource_close(struct resource *resource)
{
    if (resource != NULL) {
        resource->ops->close(resource);
    }
}

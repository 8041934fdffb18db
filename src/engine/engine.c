#include "engine/engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

int64_t engine_clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

enum engine_code engine_problem(struct engine *engine, enum engine_code code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(engine->problem, sizeof(engine->problem), format, arguments);
    va_end(arguments);
    return code;
}

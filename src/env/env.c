#include "env/env.h"

#include <stdarg.h>
#include <stdio.h>

enum { ENV_LOG_LINE_BYTES = 1024 };

void env_log(struct env *env, enum env_log_level level, const char *format, ...)
{
    char line[ENV_LOG_LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    env->operations->log(env, level, line);
}

#include "base/assert.h"

#include "base/ending.h"

#include <stdio.h>
#include <stdlib.h>

void assert_failed(const char *condition, const char *file, int line)
{
    char text[512];
    (void)snprintf(text, sizeof(text), "cohort: assertion failed: %.400s (%s:%d)", condition, file, line);
    ending_say(text);
    abort();
}

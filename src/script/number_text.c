/* Numbers as text and the mathematics that take longer for some numbers than for others. Texts are printf's, in the
 * locale "C" (script_engine_open asserts that it is): the digits are exact, hence the same everywhere. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "script/engine.h"
#include "script/stand_ins.h"

enum {
    PRINT_STEPS = 12,    /* and one for each byte */
    EXPONENT_STEP = 16,  /* binary digits before or behind the point, which printf multiplies out */
    REMAINDER_STEP = 32, /* binary digits that a remainder is taken over */
    POWER_STEPS = 3,
};

static bool shows_fraction(const char *format)
{
    size_t size = strlen(format);
    return size > 0 && strchr("eEfgG", format[size - 1]) != NULL;
}

/* What the one number of the format costs beside its bytes. */
static uint64_t exponent_steps(const char *format, va_list arguments)
{
    if (!shows_fraction(format)) {
        return 0;
    }
    int exponent = 0;
    double number = va_arg(arguments, double);
    if (isfinite(number)) {
        (void)frexp(number, &exponent);
    }
    return (uint64_t)(exponent < 0 ? -exponent : exponent) / EXPONENT_STEP;
}

__attribute__((format(printf, 3, 0))) static int print(char *to, size_t size, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    uint64_t steps = PRINT_STEPS + exponent_steps(format, again);
    va_end(again);
    int written = vsnprintf(to, size, format, arguments);
    engine_count(engine_here(), steps + (written > 0 ? (uint64_t)written : 0));
    return written;
}

int script_print(char *to, int flag, size_t size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int written = print(to, size, format, arguments);
    va_end(arguments);
    return written;
}

int script_json_print(char *to, size_t size, int flag, size_t room, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int written = print(to, size, format, arguments);
    va_end(arguments);
    return written;
}

double script_fmod(double of, double by)
{
    int more = 0, less = 0;
    if (isfinite(of) && isfinite(by)) {
        (void)frexp(of, &more);
        (void)frexp(by, &less);
    }
    engine_count(engine_here(), 1 + (more > less ? (uint64_t)(more - less) / REMAINDER_STEP : 0));
    return fmod(of, by);
}

double script_vm_power(double base, double exponent)
{
    engine_count(engine_here(), POWER_STEPS);
    return Sleef_cinz_powd1_u10purec(base, exponent);
}

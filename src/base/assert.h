/* Assertions that stay on in production: what the programmer believes.
 *
 * Never on what came from a network, a disk or a user: those get a status. */
#pragma once

#define ASSERT(condition)                                                                                              \
    do {                                                                                                               \
        if (__builtin_expect(!(condition), 0)) {                                                                       \
            assert_failed(#condition, __FILE__, __LINE__);                                                             \
        }                                                                                                              \
    } while (0)

#define UNREACHABLE() assert_failed("unreachable", __FILE__, __LINE__)

/* Prints one line to stderr and aborts. */
__attribute__((noreturn, cold)) void assert_failed(const char *condition, const char *file, int line);

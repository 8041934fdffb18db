#include "base/number.h"

#include "base/assert.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool number_parse_int64(struct slice text, int64_t *ret_value)
{
    const uint8_t *at = text.data;
    size_t size = text.size;
    if (size == 0 || size > 20) {
        return false;
    }
    bool negative = at[0] == '-';
    if (negative) {
        at++;
        size--;
    }
    if (size == 0 || size > 19 || at[0] < '0' || at[0] > '9') {
        return false;
    }
    if (at[0] == '0') {
        if (size != 1 || negative) {
            return false;
        }
        *ret_value = 0;
        return true;
    }
    uint64_t value = 0; /* 19 digits cannot overflow it */
    for (size_t i = 0; i < size; i++) {
        if (at[i] < '0' || at[i] > '9') {
            return false;
        }
        value = value * 10 + (uint64_t)(at[i] - '0');
    }
    if (value > (uint64_t)INT64_MAX + (negative ? 1 : 0)) {
        return false;
    }
    *ret_value = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

size_t number_format_uint64(char *at, uint64_t value)
{
    char digits[NUMBER_INT64_BYTES];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    for (size_t i = 0; i < count; i++) {
        at[i] = digits[count - 1 - i];
    }
    return count;
}

bool number_parse_cursor(struct slice text, uint64_t *ret_cursor)
{
    size_t size = text.size == 0 ? 0 : strnlen((const char *)text.data, text.size);
    size_t at = 0;
    bool negative = size > 0 && text.data[0] == '-';
    if (negative || (size > 0 && text.data[0] == '+')) {
        at++;
        if (at == size) {
            return false;
        }
    }
    uint64_t value = 0;
    for (; at < size; at++) {
        uint8_t digit = (uint8_t)(text.data[at] - '0');
        if (digit > 9 || __builtin_mul_overflow(value, 10U, &value) || __builtin_add_overflow(value, digit, &value)) {
            return false;
        }
    }
    *ret_cursor = negative ? 0 - value : value;
    return true;
}

size_t number_format_int64(char *at, int64_t value)
{
    if (value < 0) {
        at[0] = '-';
        return 1 + number_format_uint64(at + 1, 0 - (uint64_t)value);
    }
    return number_format_uint64(at, (uint64_t)value);
}

bool number_parse_long_double(struct slice text, long double *ret_value)
{
    char copy[NUMBER_LONG_DOUBLE_BYTES];
    if (text.size == 0 || text.size >= sizeof(copy) || isspace(text.data[0])) {
        return false;
    }
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    char *end = NULL;
    errno = 0;
    long double value = strtold(copy, &end);
    if ((size_t)(end - copy) != text.size || isnan(value) ||
        (errno == ERANGE && (value == HUGE_VALL || value == -HUGE_VALL || fpclassify(value) == FP_ZERO))) {
        return false;
    }
    *ret_value = value;
    return true;
}

size_t number_format_long_double(char *at, long double value)
{
    if (isinf(value)) {
        const char *text = value > 0 ? "inf" : "-inf";
        size_t size = strlen(text);
        memcpy(at, text, size);
        return size;
    }
    int size = snprintf(at, NUMBER_LONG_DOUBLE_BYTES, "%.17Lf", value);
    ASSERT(size > 0 && size < NUMBER_LONG_DOUBLE_BYTES);
    while (at[size - 1] == '0') {
        size--;
    }
    if (at[size - 1] == '.') {
        size--;
    }
    if (size == 2 && at[0] == '-' && at[1] == '0') {
        at[0] = '0';
        size = 1;
    }
    return (size_t)size;
}

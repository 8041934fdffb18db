#include "base/units.h"

#include "base/number.h"

#include <inttypes.h>
#include <stdio.h>

struct unit {
    const char *name;
    int64_t factor;
};

/* A number that is not negative, directly followed by one of the units, in all at most `limit`. */
static bool parse_with_unit(struct slice text, const struct unit *units, size_t count, int64_t limit,
                            int64_t *ret_value)
{
    size_t digits = 0;
    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9') {
        digits++;
    }
    int64_t value;
    if (!number_parse_int64(slice_of(text.data, digits), &value)) {
        return false;
    }
    struct slice rest = slice_of(text.data + digits, text.size - digits);
    for (size_t i = 0; i < count; i++) {
        if (slice_is_word(rest, units[i].name)) {
            if (value > limit / units[i].factor) {
                return false;
            }
            *ret_value = value * units[i].factor;
            return true;
        }
    }
    return false;
}

bool units_parse_duration(struct slice text, int64_t *ret_ms)
{
    static const struct unit units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    if (text.size == 1 && text.data[0] == '0') {
        *ret_ms = 0;
        return true;
    }
    return parse_with_unit(text, units, sizeof(units) / sizeof(units[0]), INT64_MAX / 1000000, ret_ms);
}

bool units_parse_size(struct slice text, int64_t *ret_bytes)
{
    static const struct unit units[] = {
        {"", 1},        {"b", 1},        {"k", 1000},       {"kb", 1 << 10},
        {"m", 1000000}, {"mb", 1 << 20}, {"g", 1000000000}, {"gb", 1 << 30},
    };
    return parse_with_unit(text, units, sizeof(units) / sizeof(units[0]), INT64_MAX, ret_bytes);
}

void units_format_size(char ret_text[static UNITS_TEXT_BYTES], uint64_t bytes)
{
    static const char *const names[] = {"KB", "MB", "GB", "TB", "PB", "EB"};
    if (bytes < 1024) {
        (void)snprintf(ret_text, UNITS_TEXT_BYTES, "%" PRIu64 " B", bytes);
        return;
    }
    double value = (double)bytes / 1024;
    size_t unit = 0;
    while (value >= 1024) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(ret_text, UNITS_TEXT_BYTES, "%.2f %s", value, names[unit]);
}

void units_format_duration(char ret_text[static UNITS_TEXT_BYTES], uint64_t seconds)
{
    static const struct unit units[] = {{"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}};
    size_t i = 0;
    while (i < 3 && seconds < (uint64_t)units[i].factor) {
        i++;
    }
    uint64_t major = seconds / (uint64_t)units[i].factor;
    if (i == 3) {
        (void)snprintf(ret_text, UNITS_TEXT_BYTES, "%" PRIu64 " s", major);
        return;
    }
    uint64_t minor = seconds % (uint64_t)units[i].factor / (uint64_t)units[i + 1].factor;
    (void)snprintf(ret_text, UNITS_TEXT_BYTES, "%" PRIu64 " %s %" PRIu64 " %s", major, units[i].name, minor,
                   units[i + 1].name);
}

#include "base/glob.h"

static uint8_t fold(uint8_t byte, bool ignore_case)
{
    return ignore_case && byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte + 32) : byte;
}

/* Matches `byte` against the class whose '[' is at *at; moves *at past its ']'. An unfinished class ends with the
 * pattern. */
static bool class_matches(struct slice pattern, size_t *at, uint8_t byte, bool ignore_case)
{
    size_t i = *at + 1;
    bool negated = i < pattern.size && pattern.data[i] == '^';
    i += negated ? 1 : 0;
    bool found = false;
    for (; i < pattern.size && pattern.data[i] != ']'; i++) {
        if (pattern.data[i] == '\\' && i + 1 < pattern.size) {
            i++;
            found = found || pattern.data[i] == byte;
        } else if (i + 2 < pattern.size && pattern.data[i + 1] == '-') {
            int8_t low = (int8_t)fold(pattern.data[i], ignore_case);
            int8_t high = (int8_t)fold(pattern.data[i + 2], ignore_case);
            int8_t folded = (int8_t)fold(byte, ignore_case);
            if (low > high) {
                int8_t swap = low;
                low = high;
                high = swap;
            }
            found = found || (folded >= low && folded <= high);
            i += 2;
        } else {
            found = found || fold(pattern.data[i], ignore_case) == fold(byte, ignore_case);
        }
    }
    *at = i < pattern.size ? i + 1 : i;
    return found != negated;
}

/* Matches one byte against the element at *at (not `*`) and moves *at past it. */
static bool element_matches(struct slice pattern, size_t *at, uint8_t byte, bool ignore_case)
{
    uint8_t element = pattern.data[*at];
    if (element == '[') {
        return class_matches(pattern, at, byte, ignore_case);
    }
    if (element == '\\' && *at + 1 < pattern.size) {
        (*at)++;
        element = pattern.data[*at];
    } else if (element == '?') {
        (*at)++;
        return true;
    }
    (*at)++;
    return fold(element, ignore_case) == fold(byte, ignore_case);
}

bool glob_match(struct slice pattern, struct slice text, bool ignore_case)
{
    if (text.size == 0) {
        return pattern.size == 0 || (pattern.size == 1 && pattern.data[0] == '*');
    }
    size_t at = 0;
    size_t i = 0;
    size_t star_at = SIZE_MAX; /* in the pattern, after the last star */
    size_t star_i = 0;         /* where in the text that star's run ends, for now */
    while (i < text.size) {
        if (at < pattern.size && pattern.data[at] == '*') {
            star_at = ++at;
            star_i = i;
            continue;
        }
        if (at < pattern.size && element_matches(pattern, &at, text.data[i], ignore_case)) {
            i++;
            continue;
        }
        if (star_at == SIZE_MAX) {
            return false;
        }
        at = star_at;
        i = ++star_i;
    }
    while (at < pattern.size && pattern.data[at] == '*') {
        at++;
    }
    return at == pattern.size;
}

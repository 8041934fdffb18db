#include "server/output_limit.h"

#include "base/number.h"
#include "base/units.h"

#include <stdio.h>

#define HARD_MINIMUM (INT64_C(1) << 20)
#define HARD_MAXIMUM (INT64_C(1) << 40)

enum { WORDS_OF_A_CLASS = 4, SECONDS_MAXIMUM = 1 << 30 };

static bool take_word(struct slice *text, struct slice *ret_word)
{
    while (text->size != 0 && text->data[0] == ' ') {
        *text = slice_of(text->data + 1, text->size - 1);
    }
    size_t size = 0;
    while (size < text->size && text->data[size] != ' ') {
        size++;
    }
    *ret_word = slice_of(text->data, size);
    *text = slice_of(text->data + size, text->size - size);
    return size != 0;
}

static const char *parse_class(const struct slice words[static WORDS_OF_A_CLASS], struct output_limits *limits)
{
    struct output_limit limit;
    struct output_limit none; /* there are no replicas among the clients */
    struct output_limit *to = slice_is_word(words[0], "normal")   ? &limits->normal
                              : slice_is_word(words[0], "pubsub") ? &limits->pubsub
                                                                  : &none;
    if (to == &none && !slice_is_word(words[0], "slave") && !slice_is_word(words[0], "replica")) {
        return "Invalid client class specified in buffer limit configuration.";
    }
    if (!units_parse_size(words[1], &limit.hard_bytes) || !units_parse_size(words[2], &limit.soft_bytes) ||
        !number_parse_int64(words[3], &limit.soft_s)) {
        return "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    }
    if (to != &none && (limit.hard_bytes < HARD_MINIMUM || limit.hard_bytes > HARD_MAXIMUM)) {
        return "argument must be between 1048576 and 1099511627776 inclusive";
    }
    if (limit.soft_bytes < 0 || limit.soft_bytes > HARD_MAXIMUM || limit.soft_s < 0 || limit.soft_s > SECONDS_MAXIMUM) {
        return "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    }
    *to = limit;
    return NULL;
}

const char *output_limits_parse(struct slice text, struct output_limits *limits)
{
    struct output_limits parsed = *limits;
    struct slice words[WORDS_OF_A_CLASS];
    size_t count = 0;
    size_t classes = 0;
    while (take_word(&text, &words[count])) {
        if (++count == WORDS_OF_A_CLASS) {
            const char *wrong = parse_class(words, &parsed);
            if (wrong != NULL) {
                return wrong;
            }
            count = 0;
            classes++;
        }
    }
    if (classes == 0 && count == 1) {
        if (!units_parse_size(words[0], &parsed.normal.hard_bytes)) {
            return "argument must be a memory value";
        }
        if (parsed.normal.hard_bytes < HARD_MINIMUM || parsed.normal.hard_bytes > HARD_MAXIMUM) {
            return "argument must be between 1048576 and 1099511627776 inclusive";
        }
    } else if (classes == 0 || count != 0) {
        return "Wrong number of arguments in buffer limit configuration.";
    }
    *limits = parsed;
    return NULL;
}

static int format_class(const char *name, const struct output_limit *limit, char *at, size_t room)
{
    return snprintf(at, room, "%s %lld %lld %lld", name, (long long)limit->hard_bytes, (long long)limit->soft_bytes,
                    (long long)limit->soft_s);
}

void output_limits_format(const struct output_limits *limits, char ret_text[static OUTPUT_LIMITS_TEXT_BYTES])
{
    int size = format_class("normal", &limits->normal, ret_text, OUTPUT_LIMITS_TEXT_BYTES);
    ret_text[size++] = ' ';
    (void)format_class("pubsub", &limits->pubsub, ret_text + size, OUTPUT_LIMITS_TEXT_BYTES - (size_t)size);
}

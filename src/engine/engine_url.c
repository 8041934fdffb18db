#include "engine/engine_url.h"

#include "base/units.h"

enum { TIMEOUT_DEFAULT_MS = 5000 };

static int digit_of(char letter)
{
    if (letter >= '0' && letter <= '9') {
        return letter - '0';
    }
    letter = (char)(letter | 0x20);
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* Decodes %xx up to one of `ends` into the URL's bytes. NULL: done; else what is wrong. */
static const char *take_part(const char **text, const char *ends, struct engine_url *url, size_t *used,
                             struct slice *ret_part)
{
    size_t start = *used;
    while (**text != '\0' && strchr(ends, **text) == NULL) {
        char letter = *(*text)++;
        if (letter == '%') {
            int high = digit_of((*text)[0]);
            int low = high < 0 ? -1 : digit_of((*text)[1]);
            if (low < 0 || (high == 0 && low == 0)) {
                return "% must be followed by two hexadecimal digits, not 00";
            }
            letter = (char)(16 * high + low);
            *text += 2;
        }
        if (*used + 2 > ENGINE_PLACE_BYTES) {
            return "it is too long";
        }
        url->bytes[(*used)++] = letter;
    }
    url->bytes[*used] = '\0';
    *ret_part = slice_of(&url->bytes[start], *used - start);
    (*used)++;
    return *used >= ENGINE_PLACE_BYTES ? "it is too long" : NULL;
}

static const char *take_option(const char **text, struct engine_url *url, size_t *used)
{
    struct engine_option option = {.value = slice_of("", 0)};
    const char *problem = take_part(text, "=&", url, used, &option.name);
    if (problem == NULL && **text == '=') {
        (*text)++;
        problem = take_part(text, "&", url, used, &option.value);
    }
    if (problem != NULL) {
        return problem;
    }
    if (slice_equal(option.name, SLICE_LITERAL("timeout"))) {
        bool is_time = units_parse_duration(option.value, &url->timeout_ms) && url->timeout_ms > 0;
        return is_time ? NULL : "timeout must be a duration like 250ms, 10s or 5m";
    }
    if (url->option_count == ENGINE_OPTIONS) {
        return "it has too many options";
    }
    url->options[url->option_count++] = option;
    return NULL;
}

enum status engine_url_parse(const char *text, struct engine_url *ret_url, const char **ret_problem)
{
    struct engine_url *url = ret_url;
    size_t used = 0;
    *url = (struct engine_url){.text = text, .timeout_ms = TIMEOUT_DEFAULT_MS};
    const char *end = strstr(text, "://");
    const char *problem = end == NULL ? "it has no scheme://" : take_part(&text, ":", url, &used, &url->scheme);
    if (problem == NULL) {
        text = end + strlen("://");
        problem = take_part(&text, "?", url, &used, &url->place);
    }
    while (problem == NULL && *text != '\0') {
        text++;
        problem = *text == '\0' ? NULL : take_option(&text, url, &used);
    }
    *ret_problem = problem;
    return problem == NULL ? STATUS_OK : STATUS_INVALID;
}

#include "cli/words.h"

#include <ctype.h>

static int hex_of(char letter)
{
    if (isdigit((unsigned char)letter)) {
        return letter - '0';
    }
    letter = (char)tolower((unsigned char)letter);
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* Behind a backslash in "…". */
static const char *take_escape(struct words *words, const char *at)
{
    static const char from[] = "nrtba";
    static const char to[] = "\n\r\t\b\a";
    if (*at == 'x' && hex_of(at[1]) >= 0 && hex_of(at[2]) >= 0) {
        buffer_append_byte(&words->bytes, (uint8_t)(16 * hex_of(at[1]) + hex_of(at[2])));
        return at + 3;
    }
    const char *found = strchr(from, *at);
    buffer_append_byte(&words->bytes, (uint8_t)(found == NULL ? *at : to[found - from]));
    return at + 1;
}

/* Behind the opening quote. NULL: it is not closed. */
static const char *take_quoted(struct words *words, const char *at, char quote)
{
    while (*at != quote) {
        if (*at == '\0') {
            return NULL;
        }
        if (*at == '\\' && at[1] != '\0' && (quote == '"' || at[1] == '\'')) {
            at = quote == '"' ? take_escape(words, at + 1) : at + 2;
            if (quote == '\'') {
                buffer_append_byte(&words->bytes, '\'');
            }
            continue;
        }
        buffer_append_byte(&words->bytes, (uint8_t)*at++);
    }
    return at + 1;
}

const char *words_split(struct words *words, const char *text)
{
    size_t starts[WORDS_MAXIMUM + 1];
    words->count = 0;
    buffer_clear(&words->bytes);
    for (const char *at = text;;) {
        at += strspn(at, " \t\r\n");
        starts[words->count] = words->bytes.size;
        if (*at == '\0') {
            break;
        }
        if (words->count == WORDS_MAXIMUM) {
            return "it has too many words";
        }
        while (*at != '\0' && !isspace((unsigned char)*at)) {
            if (*at == '"' || *at == '\'') {
                at = take_quoted(words, at + 1, *at);
                if (at == NULL) {
                    return "a quotation mark is not closed";
                }
            } else {
                buffer_append_byte(&words->bytes, (uint8_t)*at++);
            }
        }
        words->count++;
    }
    for (size_t i = 0; i < words->count; i++) {
        words->items[i] = slice_of(words->bytes.data + starts[i], starts[i + 1] - starts[i]);
    }
    return words->count == 0 ? "it is empty" : NULL;
}

void words_deinit(struct words *words) { buffer_deinit(&words->bytes); }

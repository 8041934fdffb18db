#include "wire/resp_inline.h"

static bool is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/* Vertical tab and form feed are skipped between words but do not end one. */
static bool ends_word(uint8_t byte) { return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n'; }

static int hex_digit(uint8_t byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static uint8_t unescape(uint8_t byte)
{
    switch (byte) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    default: return byte;
    }
}

/* From the byte after the opening quote to the one after the closing quote; NULL when there is none, or when
 * something other than white space follows it. *to moves with the bytes written. */
static uint8_t *take_double_quoted(uint8_t *at, uint8_t *end, uint8_t **to)
{
    while (at < end && *at != '"') {
        if (*at != '\\' || end - at < 2) {
            *(*to)++ = *at++;
        } else if (at[1] == 'x' && end - at >= 4 && hex_digit(at[2]) >= 0 && hex_digit(at[3]) >= 0) {
            *(*to)++ = (uint8_t)(hex_digit(at[2]) * 16 + hex_digit(at[3]));
            at += 4;
        } else {
            *(*to)++ = unescape(at[1]);
            at += 2;
        }
    }
    return at < end && (end - at == 1 || is_space(at[1])) ? at + 1 : NULL;
}

static uint8_t *take_single_quoted(uint8_t *at, uint8_t *end, uint8_t **to)
{
    while (at < end && *at != '\'') {
        if (*at == '\\' && end - at >= 2 && at[1] == '\'') {
            at++;
        }
        *(*to)++ = *at++;
    }
    return at < end && (end - at == 1 || is_space(at[1])) ? at + 1 : NULL;
}

bool resp_inline_next(uint8_t **at, uint8_t *end, struct slice *ret_word, bool *ret_balanced)
{
    uint8_t *from = *at;
    *ret_balanced = true;
    while (from < end && is_space(*from)) {
        from++;
    }
    *at = from;
    if (from == end) {
        return false;
    }
    uint8_t *word = from;
    uint8_t *to = from; /* never ahead of `from`: no escape is shorter than what it stands for */
    while (from < end && !ends_word(*from)) {
        if (*from == '"' || *from == '\'') {
            from = *from == '"' ? take_double_quoted(from + 1, end, &to) : take_single_quoted(from + 1, end, &to);
            if (from == NULL) {
                *ret_balanced = false;
                return false;
            }
            break; /* a closing quote ends the word */
        }
        *to++ = *from++;
    }
    *at = from;
    *ret_word = slice_of(word, (size_t)(to - word));
    return true;
}

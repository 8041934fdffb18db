/* What it costs to compile a text, beyond its bytes. Lua's parser walks twice:
 *
 * - a list of jumps to its end, for each `or`, `and`, `break`, `else` and `elseif` that joins it;
 * - the variables of all functions around, for each name that is none of theirs: up to 200 in each of up to 200.
 *
 * So the text is gone through once before it is compiled, as Lua's lexer would: strings and comments hold no words.
 * What is no program costs what is before its mistake. */
#include <ctype.h>

#include "script/engine.h"

enum {
    JUMPS_STEP = 16,
    NAMES_STEP = 64,  /* variables passed, for a step */
    NAMES_MOST = 200, /* variables of one function, as Lua has it */
    NESTED_MOST = 200 /* blocks within each other */
};

struct scan {
    const uint8_t *at, *end;
    uint64_t jumps;
    uint64_t passed;                 /* variables, by all names so far */
    uint32_t visible;                /* variables of the functions around, at most */
    uint32_t names[NESTED_MOST + 1]; /* of each block that is a function; the first is the text */
    bool is_function[NESTED_MOST + 1];
    int depth;    /* blocks around, without the text */
    int function; /* the innermost of them that is one */
    bool over;
};

static bool in_word(uint8_t byte) { return isalnum(byte) || byte == '_'; }

/* At "[", or "[==[": how many "=", or −1. */
static int bracket_level(const struct scan *scan)
{
    const uint8_t *at = scan->at + 1;
    while (at < scan->end && *at == '=') {
        at++;
    }
    return at < scan->end && *at == '[' ? (int)(at - scan->at) - 1 : -1;
}

static void skip_bracket(struct scan *scan, int level)
{
    scan->at += level + 2;
    for (; scan->at < scan->end; scan->at++) {
        const uint8_t *close = scan->at + 1;
        if (*scan->at != ']') {
            continue;
        }
        while (close < scan->end && *close == '=') {
            close++;
        }
        if (close < scan->end && *close == ']' && close - scan->at - 1 == level) {
            scan->at = close + 1;
            return;
        }
        scan->at = close - 1;
    }
}

static void skip_line(struct scan *scan)
{
    while (scan->at < scan->end && *scan->at != '\n' && *scan->at != '\r') {
        scan->at++;
    }
}

static void skip_comment(struct scan *scan)
{
    scan->at += 2;
    int level = scan->at < scan->end && *scan->at == '[' ? bracket_level(scan) : -1;
    if (level >= 0) {
        skip_bracket(scan, level);
    } else {
        skip_line(scan);
    }
}

static void skip_quoted(struct scan *scan)
{
    uint8_t quote = *scan->at++;
    while (scan->at < scan->end && *scan->at != quote) {
        scan->at += *scan->at == '\\' && scan->at + 1 < scan->end ? 2 : 1;
    }
    scan->at += scan->at < scan->end ? 1 : 0;
}

static void open_block(struct scan *scan, bool is_function)
{
    if (scan->depth == NESTED_MOST) {
        scan->over = true;
        return;
    }
    scan->depth++;
    scan->is_function[scan->depth] = is_function;
    scan->names[scan->depth] = 0;
    if (is_function) {
        scan->function = scan->depth;
    }
}

static void close_block(struct scan *scan)
{
    if (scan->depth == 0) {
        scan->over = true;
        return;
    }
    if (scan->is_function[scan->depth]) {
        scan->visible -= scan->names[scan->depth];
        do {
            scan->function--;
        } while (scan->function > 0 && !scan->is_function[scan->function]);
    }
    scan->depth--;
}

static void take_name(struct scan *scan)
{
    scan->passed += scan->visible;
    if (scan->names[scan->function] < NAMES_MOST) {
        scan->names[scan->function]++;
        scan->visible++;
    }
}

static bool is_one_of(struct slice word, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (slice_equal(word, slice_from_string(*words))) {
            return true;
        }
    }
    return false;
}

static void take_word(struct scan *scan)
{
    static const char *const jumps[] = {"and", "break", "else", "elseif", "or", NULL};
    static const char *const opening[] = {"do", "if", "repeat", NULL};
    static const char *const closing[] = {"end", "until", NULL};
    static const char *const others[] = {"false",  "for",  "in",   "local", "nil", "not",
                                         "return", "then", "true", "while", NULL};
    const uint8_t *begin = scan->at;
    while (scan->at < scan->end && in_word(*scan->at)) {
        scan->at++;
    }
    struct slice word = slice_of(begin, (size_t)(scan->at - begin));
    if (is_one_of(word, jumps)) {
        scan->jumps++;
    } else if (is_one_of(word, opening)) {
        open_block(scan, false);
    } else if (slice_equal(word, SLICE_LITERAL("function"))) {
        open_block(scan, true);
    } else if (is_one_of(word, closing)) {
        close_block(scan);
    } else if (!isdigit(*begin) && !is_one_of(word, others)) {
        take_name(scan);
    }
}

uint64_t text_cost(struct slice text)
{
    if (text.size == 0) {
        return 0;
    }
    struct scan scan = {.at = text.data, .end = text.data + text.size};
    while (scan.at < scan.end && !scan.over) {
        uint8_t byte = *scan.at;
        int level;
        if (in_word(byte)) {
            take_word(&scan);
        } else if (byte == '-' && scan.at + 1 < scan.end && scan.at[1] == '-') {
            skip_comment(&scan);
        } else if (byte == '"' || byte == '\'') {
            skip_quoted(&scan);
        } else if (byte == '[' && (level = bracket_level(&scan)) >= 0) {
            skip_bracket(&scan, level);
        } else {
            scan.at++;
        }
    }
    return scan.jumps * scan.jumps / JUMPS_STEP + scan.passed / NAMES_STEP;
}

#include "machine/keys/scan_options.h"

#include "base/glob.h"

#include <inttypes.h>
#include <stdio.h>

enum { SCAN_COUNT_DEFAULT = 10 };

bool scan_options_cursor(struct call *call, struct slice text, struct scan_options *options)
{
    *options = (struct scan_options){.count = SCAN_COUNT_DEFAULT};
    if (number_parse_cursor(text, &options->cursor)) {
        return true;
    }
    resp_error(&call->reply, "ERR invalid cursor");
    return false;
}

bool scan_options_read(struct call *call, uint32_t first, bool allow_type, struct scan_options *options)
{
    for (uint32_t i = first; i < call->argc; i += 2) {
        bool has_value = i + 1 < call->argc;
        if (has_value && slice_is_word(call->argv[i], "count")) {
            int64_t count;
            if (!call_integer(call, call->argv[i + 1], &count)) {
                return false;
            }
            if (count < 1) {
                call_syntax_error(call);
                return false;
            }
            options->count = (size_t)count;
        } else if (has_value && slice_is_word(call->argv[i], "match")) {
            options->has_pattern = true;
            options->pattern = call->argv[i + 1];
        } else if (has_value && allow_type && slice_is_word(call->argv[i], "type")) {
            options->has_type = true;
            options->type = call->argv[i + 1];
        } else {
            call_syntax_error(call);
            return false;
        }
    }
    return true;
}

bool scan_options_match(const struct scan_options *options, struct slice text)
{
    return !options->has_pattern || glob_match(options->pattern, text, false);
}

void scan_options_reply(struct call *call, size_t begin, uint64_t cursor, size_t count)
{
    char digits[NUMBER_INT64_BYTES];
    int digits_size = (int)number_format_uint64(digits, cursor);
    char head[96];
    int size = snprintf(head, sizeof(head), "*2\r\n$%d\r\n%" PRIu64 "\r\n*%zu\r\n", digits_size, cursor, count);
    call_insert(call, begin, slice_of(head, (size_t)size));
}

/* "#!lua flags=no-writes,allow-oom": the first line of a script, as Redis 7.0 reads it. */
#include <ctype.h>

#include "script/script.h"

static const struct {
    const char *name;
    uint32_t flag;
} flags_known[] = {
    {"no-writes", SCRIPT_NO_WRITES},
    {"allow-oom", SCRIPT_ALLOW_OOM},
    {"allow-stale", SCRIPT_ALLOW_STALE},
    {"no-cluster", SCRIPT_NO_CLUSTER},
    {"allow-cross-slot-keys", SCRIPT_CROSS_SLOT},
};

static struct slice cut_at(struct slice *rest, bool (*ends)(uint8_t byte))
{
    size_t size = 0;
    while (size < rest->size && !ends(rest->data[size])) {
        size++;
    }
    struct slice part = slice_of(rest->data, size);
    size_t skipped = size < rest->size ? size + 1 : size;
    *rest = slice_of(rest->data + skipped, rest->size - skipped);
    return part;
}

static bool is_space(uint8_t byte) { return isspace(byte) != 0; }
static bool is_comma(uint8_t byte) { return byte == ','; }

static bool refuse(struct resp_writer *reply, const char *text, struct slice what)
{
    resp_error_format(reply, "ERR %s: %.*s", text, (int)(what.size < 128 ? what.size : 128), (const char *)what.data);
    return false;
}

static bool take_flags(struct slice list, uint32_t *flags, struct resp_writer *reply)
{
    while (list.size > 0) {
        struct slice name = cut_at(&list, is_comma);
        uint32_t flag = 0;
        for (size_t i = 0; i < sizeof(flags_known) / sizeof(flags_known[0]); i++) {
            if (slice_equal(name, slice_from_string(flags_known[i].name))) {
                flag = flags_known[i].flag;
            }
        }
        if (flag == 0 && name.size > 0) {
            return refuse(reply, "Unexpected flag in script shebang", name);
        }
        *flags |= flag;
    }
    return true;
}

bool script_shebang(struct slice source, uint32_t *ret_flags, struct slice *ret_body, struct resp_writer *reply)
{
    *ret_flags = 0;
    *ret_body = source;
    if (!slice_starts_with(source, SLICE_LITERAL("#!"))) {
        return true;
    }
    const uint8_t *end = memchr(source.data, '\n', source.size);
    if (end == NULL) {
        resp_error(reply, "ERR Invalid script shebang");
        return false;
    }
    struct slice line = slice_of(source.data, (size_t)(end - source.data));
    *ret_body = slice_of(end, source.size - line.size);
    struct slice engine = cut_at(&line, is_space);
    if (!slice_equal(engine, SLICE_LITERAL("#!lua"))) {
        return refuse(reply, "Unexpected engine in script shebang", engine);
    }
    static const struct slice flags_equal = {(const uint8_t *)"flags=", 6};
    while (line.size > 0) {
        struct slice option = cut_at(&line, is_space);
        if (option.size == 0) {
            continue;
        }
        if (!slice_starts_with(option, flags_equal)) {
            return refuse(reply, "Unknown lua shebang option", option);
        }
        if (!take_flags(slice_of(option.data + flags_equal.size, option.size - flags_equal.size), ret_flags, reply)) {
            return false;
        }
    }
    return true;
}

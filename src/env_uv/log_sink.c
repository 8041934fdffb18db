/* Log lines, each by one write(2), so that lines of several threads or processes do not mix. Parts of a line may come
 * from clients: whatever is not printable UTF-8 is escaped, so a line stays one line and moves no cursor. */
#include "base/printable.h"
#include "env_uv/internal.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LINE_BYTES = 8 * 1024, LOG_ESCAPE_BYTES = 16 };

struct line {
    char text[LOG_LINE_BYTES];
    size_t size;
};

static const char *const level_names[] = {"debug", "info", "warning", "error"};

static void add(struct line *line, const char *text, size_t size)
{
    memcpy(line->text + line->size, text, size);
    line->size += size;
}

static void add_escaped(struct line *line, const char *message, bool json)
{
    struct slice left = slice_from_string(message);
    while (left.size > 0 && line->size + 2 * LOG_ESCAPE_BYTES < sizeof(line->text)) {
        const uint8_t *at = left.data;
        size_t size = printable_size(left);
        if (size > 0 && !(json && (*at == '"' || *at == '\\'))) {
            add(line, (const char *)at, size);
            left = slice_of(at + size, left.size - size);
            continue;
        }
        char escape[LOG_ESCAPE_BYTES];
        int length = size > 0 ? snprintf(escape, sizeof(escape), "\\%c", *at)
                              : snprintf(escape, sizeof(escape), json ? "\\u%04x" : "\\x%02x", *at);
        add(line, escape, (size_t)length);
        left = slice_of(at + 1, left.size - 1);
    }
}

void env_uv_log(struct env *env_any, enum env_log_level level, const char *message)
{
    struct env_uv *env = env_uv_of(env_any);
    if (level < env->log_level || env->log_descriptor < 0) {
        return;
    }
    struct timespec now;
    struct tm utc;
    char seconds[32], head[96];
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &utc));
    int length = snprintf(head, sizeof(head),
                          env->log_json ? "{\"time\":\"%s.%03dZ\",\"level\":\"%s\",\"message\":\"" : "%s.%03dZ %-7s ",
                          seconds, (int)(now.tv_nsec / 1000000), level_names[level]);
    struct line line = {.size = 0};
    add(&line, head, (size_t)length);
    add_escaped(&line, message, env->log_json);
    add(&line, env->log_json ? "\"}\n" : "\n", env->log_json ? 3 : 1);
    ssize_t ignored = write(env->log_descriptor, line.text, line.size); /* nobody is left to be told */
    (void)ignored;
}

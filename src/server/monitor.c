#include "server/monitor.h"

#include "server/secret_words.h"
#include "server/server_state.h"

static void append_quoted(struct buffer *out, struct slice text)
{
    buffer_append_byte(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        switch (byte) {
        case '\\':
        case '"':
            buffer_append_byte(out, '\\');
            buffer_append_byte(out, byte);
            break;
        case '\n': buffer_append_string(out, "\\n"); break;
        case '\r': buffer_append_string(out, "\\r"); break;
        case '\t': buffer_append_string(out, "\\t"); break;
        case '\a': buffer_append_string(out, "\\a"); break;
        case '\b': buffer_append_string(out, "\\b"); break;
        default:
            if (byte >= ' ' && byte < 127) {
                buffer_append_byte(out, byte);
            } else {
                buffer_append_format(out, "\\x%02x", byte);
            }
        }
    }
    buffer_append_byte(out, '"');
}

void monitor_show(struct server *server, struct slice line)
{
    LIST_FOR_EACH (at, &server->connections) {
        struct connection *watcher = CONTAINER_OF(at, struct connection, node);
        bool full = connection_unsent_bytes(watcher) > (size_t)connection_output_limit(watcher)->hard_bytes;
        if (watcher->monitor && !full) { /* else it is closed at the end of this turn */
            buffer_append_slice(connection_output(watcher), line);
            connection_mark_dirty(watcher);
        }
    }
}

void monitor_feed(struct connection *connection, const struct command *command)
{
    struct server *server = connection->server;
    /* Redis shows scripts by another way, which their flag makes room for. */
    uint32_t hidden = COMMAND_ADMIN | (command->spec->key_count != 0 ? 0 : COMMAND_SKIP_MONITOR);
    if ((command->spec->flags & hidden) != 0) {
        return;
    }
    struct buffer *line = &server->scratch;
    buffer_clear(line);
    int64_t wall_us = env_wall_us(server->env);
    buffer_append_format(line, "+%lld.%06lld [0 %s]", (long long)(wall_us / 1000000), (long long)(wall_us % 1000000),
                         connection->peer);
    for (uint32_t i = 0; i < command->argc; i++) {
        buffer_append_byte(line, ' ');
        append_quoted(line, secret_words_shown(command, i));
    }
    buffer_append_string(line, "\r\n");
    monitor_show(server, buffer_slice(line));
    if (server->monitors_elsewhere != 0) {
        crew_tell_monitors(server, buffer_slice(line));
    }
}

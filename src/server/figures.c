#include "server/figures.h"

#include "server/server_state.h"

static const char uncertain[] = "UNCERTAIN";

void figures_error(struct server *server, struct slice text)
{
    struct server_figures *figures = &server->figures;
    figures->errors++;
    figures->uncertain +=
        text.size >= sizeof(uncertain) - 1 && memcmp(text.data, uncertain, sizeof(uncertain) - 1) == 0;
    size_t size = 0;
    while (size < text.size && size < sizeof(figures->error_kinds[0].code) - 1 && text.data[size] != ' ' &&
           text.data[size] != '\r') {
        size++;
    }
    for (size_t i = 0; i < figures->error_kind_count; i++) {
        struct error_figures *kind = &figures->error_kinds[i];
        if (strlen(kind->code) == size && memcmp(kind->code, text.data, size) == 0) {
            kind->count++;
            return;
        }
    }
    if (figures->error_kind_count < SERVER_ERROR_KINDS) {
        struct error_figures *kind = &figures->error_kinds[figures->error_kind_count++];
        memcpy(kind->code, text.data, size);
        kind->code[size] = '\0';
        kind->count = 1;
    }
}

void figures_part(struct server *server, uint16_t id, int64_t duration_ns, bool last)
{
    struct command_figures *figures = &server->figures.by_command[id];
    server->figures.commands += last && id != 0;
    figures->calls += last;
    figures->duration_ns += (uint64_t)duration_ns;
}

void figures_failed(struct server *server, uint16_t id, enum status status)
{
    struct command_figures *figures = &server->figures.by_command[id];
    bool perhaps = status == STATUS_UNCERTAIN || status == STATUS_EXECUTED;
    figures->failed += perhaps;
    figures->rejected += !perhaps;
}

void figures_command(struct server *server, const struct command *command, int64_t duration_ns, const char *peer,
                     const char *name)
{
    figures_part(server, command->spec->id, duration_ns, true);
    int64_t limit_us = server->config.slowlog_log_slower_than_us;
    struct command shown = *command;
    bool transaction = command->spec->id == COMMAND_EXEC; /* one step here: it stands for its commands */
    if (transaction) {
        shown.argc = 1;
    }
    if (limit_us >= 0 && duration_ns / 1000 >= limit_us &&
        (transaction || (command->spec->flags & COMMAND_SKIP_SLOWLOG) == 0)) {
        slowlog_add(&server->slowlog, &shown, duration_ns / 1000, env_wall_ms(server->env) / 1000, peer, name,
                    (size_t)server->config.slowlog_max_len);
    }
}

void figures_sample(struct server *server)
{
    struct server_figures *figures = &server->figures;
    int64_t now_ns = env_monotonic_ns(server->env);
    int64_t elapsed_ms = (now_ns - figures->sampled_ns) / 1000000;
    if (elapsed_ms < SERVER_CRON_MS) {
        return;
    }
    figures->commands_per_second = (figures->commands - figures->sampled_commands) * 1000 / (uint64_t)elapsed_ms;
    figures->sampled_commands = figures->commands;
    figures->sampled_ns = now_ns;
}

void figures_reset(struct server *server)
{
    server->figures = (struct server_figures){.sampled_ns = env_monotonic_ns(server->env)};
}

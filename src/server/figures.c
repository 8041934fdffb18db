#include "server/figures.h"

#include "server/server_state.h"

static const char uncertain[] = "UNCERTAIN";

static void count_kind(struct server_figures *figures, struct slice code, uint64_t count)
{
    for (size_t i = 0; i < figures->error_kind_count; i++) {
        struct error_figures *kind = &figures->error_kinds[i];
        if (slice_equal(slice_from_string(kind->code), code)) {
            kind->count += count;
            return;
        }
    }
    if (figures->error_kind_count < SERVER_ERROR_KINDS) {
        struct error_figures *kind = &figures->error_kinds[figures->error_kind_count++];
        memcpy(kind->code, code.data, code.size);
        kind->code[code.size] = '\0';
        kind->count = count;
    }
}

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
    count_kind(figures, slice_of(text.data, size), 1);
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

/* An EXEC is one step here: it stands for its commands. */
static bool is_transaction(const struct command *command) { return command->spec->id == COMMAND_EXEC; }

static bool is_shown(const struct server *server, const struct command *command)
{
    return server->config.slowlog_log_slower_than_us >= 0 &&
           (is_transaction(command) || (command->spec->flags & COMMAND_SKIP_SLOWLOG) == 0);
}

static bool is_slow(const struct server *server, int64_t duration_ns)
{
    return duration_ns / 1000 >= server->config.slowlog_log_slower_than_us;
}

bool figures_is_slow(const struct server *server, const struct command *command, int64_t duration_ns)
{
    return is_shown(server, command) && is_slow(server, duration_ns);
}

void figures_keep(const struct server *server, const struct command *command, struct slow_words *words)
{
    struct command shown = *command;
    slow_words_deinit(words);
    if (is_shown(server, command)) {
        shown.argc = is_transaction(command) ? 1 : shown.argc;
        slow_words_take(words, &shown);
    }
}

void figures_slow_kept(struct server *server, struct slow_words *words, int64_t duration_ns, const char *peer,
                       const char *name)
{
    if (words->count != 0 && is_slow(server, duration_ns)) {
        slowlog_add(&server->slowlog, words, duration_ns / 1000, env_wall_ms(server->env) / 1000, peer, name,
                    (size_t)server->config.slowlog_max_len);
    }
    slow_words_deinit(words);
}

void figures_slow(struct server *server, const struct command *command, int64_t duration_ns, const char *peer,
                  const char *name)
{
    if (figures_is_slow(server, command, duration_ns)) {
        struct slow_words words = {0};
        figures_keep(server, command, &words);
        figures_slow_kept(server, &words, duration_ns, peer, name);
    }
}

void figures_command(struct server *server, const struct command *command, int64_t duration_ns, const char *peer,
                     const char *name)
{
    figures_part(server, command_called(command)->id, duration_ns, true);
    if (__builtin_expect(is_slow(server, duration_ns), 0)) {
        figures_slow(server, command, duration_ns, peer, name);
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

void figures_add(struct server_figures *sum, const struct server_figures *one)
{
    sum->connections_received += one->connections_received;
    sum->connections_rejected += one->connections_rejected;
    sum->commands += one->commands;
    sum->bytes_read += one->bytes_read;
    sum->bytes_written += one->bytes_written;
    sum->errors += one->errors;
    sum->clients_cut_output += one->clients_cut_output;
    sum->clients_cut_idle += one->clients_cut_idle;
    sum->clients_cut_memory += one->clients_cut_memory;
    sum->uncertain += one->uncertain;
    for (size_t level = 0; level < CONSISTENCY_LEVELS; level++) {
        sum->reads[level] += one->reads[level];
    }
    sum->reads_waited += one->reads_waited;
    sum->reads_stale += one->reads_stale;
    sum->feed_pushes += one->feed_pushes;
    sum->feed_changes += one->feed_changes;
    sum->feeds_ended += one->feeds_ended;
    sum->service_pushes += one->service_pushes;
    sum->lock_deadlocks += one->lock_deadlocks;
    sum->messages_published += one->messages_published;
    sum->messages_delivered += one->messages_delivered;
    sum->turns += one->turns;
    sum->commands_per_second += one->commands_per_second;
    for (size_t i = 0; i < one->error_kind_count; i++) {
        count_kind(sum, slice_from_string(one->error_kinds[i].code), one->error_kinds[i].count);
    }
    for (uint16_t id = 0; id < COMMAND_MAXIMUM; id++) {
        struct command_figures *to = &sum->by_command[id];
        const struct command_figures *from = &one->by_command[id];
        to->calls += from->calls;
        to->rejected += from->rejected;
        to->failed += from->failed;
        to->duration_ns += from->duration_ns;
    }
}

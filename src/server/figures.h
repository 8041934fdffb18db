/* What INFO and the metrics count. */
#pragma once

#include "base/slice.h"
#include "base/status.h"
#include "command/command.h"

struct server;
struct server_figures;
struct slow_words;

/* Counts an error reply by its code (the text up to the first space). */
void figures_error(struct server *server, struct slice text);
/* Counts a command that ran, and offers it to the slow log. */
void figures_command(struct server *server, const struct command *command, int64_t duration_ns, const char *peer,
                     const char *name);
/* Keeps it in the slow log, if it was slow. */
void figures_slow(struct server *server, const struct command *command, int64_t duration_ns, const char *peer,
                  const char *name);
/* The same of one that is gone when its time is known: what it was is kept, for then. */
void figures_keep(const struct server *server, const struct command *command, struct slow_words *words);
void figures_slow_kept(struct server *server, struct slow_words *words, int64_t duration_ns, const char *peer,
                       const char *name);
/* The command, that took so long, belongs there. */
bool figures_is_slow(const struct server *server, const struct command *command, int64_t duration_ns);
/* Counts time of a command that ran in parts, or not here; its last part counts the command. `id` 0: nobody's. */
void figures_part(struct server *server, uint16_t id, int64_t duration_ns, bool last);
/* Counts a command that a shard did not execute, or may not have. */
void figures_failed(struct server *server, uint16_t id, enum status status);
/* CONFIG RESETSTAT. */
void figures_reset(struct server *server);
/* The rates, once per cron. */
void figures_sample(struct server *server);
/* Adds another worker's. */
void figures_add(struct server_figures *sum, const struct server_figures *one);

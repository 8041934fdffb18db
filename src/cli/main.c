/* cohort COMMAND …: finds the subcommand and runs it. */
#include "cli/cli.h"

#include <stdio.h>

/* In the order in which a newcomer meets them. */
static const struct cli_command *const commands[] = {
    &cli_serve, &cli_dev,     &cli_status,  &cli_node,  &cli_lock, &cli_elect,
    &cli_txn,   &cli_service, &cli_balance, &cli_bench, &cli_sim,  &cli_check,
};

enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

static int print_help(void)
{
    printf("usage: cohort COMMAND [OPTION …] [ARGUMENT …]\n\n"
           "A coordination service that speaks the Redis protocol: every acknowledged write is on disk.\n\n"
           "commands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
    }
    printf("\n`cohort COMMAND --help` tells more about each, with examples. `cohort --version` prints the version.\n");
    return EX_OK;
}

static const struct cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[COMMAND_COUNT + 1] = {NULL};
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        names[i] = commands[i]->name;
    }
    const char *meant = cli_suggest(name, names);
    (void)fprintf(stderr, "cohort: unknown %s '%s'", name[0] == '-' ? "option" : "command", name);
    if (meant != NULL) {
        (void)fprintf(stderr, "; did you mean '%s'?\n", meant);
    } else {
        (void)fprintf(stderr, "\ntry: cohort --help\n");
    }
    return EX_USAGE;
}

/* A full disk behind stdout is an error too. */
static int finish(int code)
{
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        (void)fprintf(stderr, "cohort: could not write to standard output\n");
        return code == EX_OK ? EX_IOERR : code;
    }
    return code;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: cohort COMMAND …\ntry: cohort --help\n");
        return EX_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || (strcmp(argv[1], "help") == 0 && argc == 2)) {
        return finish(print_help());
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("cohort %s\n", COHORT_VERSION);
        return finish(EX_OK);
    }
    bool help = strcmp(argv[1], "help") == 0;
    const char *name = argv[help ? 2 : 1];
    const struct cli_command *command = find_command(name);
    if (command == NULL) {
        return unknown_command(name);
    }
    char *help_argv[] = {(char *)"--help", NULL};
    return finish(help ? command->run(command, 1, help_argv) : command->run(command, argc - 2, argv + 2));
}

#include "cli/actions.h"

#include "base/assert.h"

#include <stdio.h>

enum { ACTIONS_MAXIMUM = 16 };

/* "run" of "lock run". */
static const char *word_of(const struct cli_command *action)
{
    const char *space = strrchr(action->name, ' ');
    ASSERT(space != NULL);
    return space + 1;
}

static int print_help(const struct cli_command *command, const struct cli_command *const *actions)
{
    printf("usage: cohort %s %s\n\n%s\n", command->name, command->arguments, command->summary);
    if (command->details != NULL) {
        printf("\n%s\n", command->details);
    }
    printf("\ncommands:\n");
    for (; *actions != NULL; actions++) {
        printf("  %-10s %s\n", word_of(*actions), (*actions)->summary);
    }
    printf("\noptions:\n  --help  this text; `cohort %s COMMAND --help` tells more about each\n", command->name);
    printf("\nexamples:\n%s\n", command->examples);
    return EX_OK;
}

static int unknown_action(const struct cli_command *command, const struct cli_command *const *actions, const char *word)
{
    const char *names[ACTIONS_MAXIMUM + 1] = {NULL};
    for (size_t i = 0; actions[i] != NULL; i++) {
        ASSERT(i < ACTIONS_MAXIMUM);
        names[i] = word_of(actions[i]);
    }
    const char *meant = cli_suggest(word, names);
    const char *kind = word[0] == '-' ? "option" : "command";
    if (meant != NULL) {
        return cli_error(command, EX_USAGE, "unknown %s '%s'; did you mean '%s'?", kind, word, meant);
    }
    (void)cli_error(command, EX_USAGE, "unknown %s '%s'", kind, word);
    return cli_usage_hint(command);
}

int actions_run(const struct cli_command *command, const struct cli_command *const *actions, int argc, char **argv)
{
    if (argc == 0) {
        (void)cli_error(command, EX_USAGE, "say what to do: cohort %s %s", command->name, command->arguments);
        return cli_usage_hint(command);
    }
    if (strcmp(argv[0], "--help") == 0) {
        return print_help(command, actions);
    }
    for (const struct cli_command *const *at = actions; *at != NULL; at++) {
        if (strcmp(argv[0], word_of(*at)) == 0) {
            return (*at)->run(*at, argc - 1, argv + 1);
        }
    }
    return unknown_action(command, actions, argv[0]);
}

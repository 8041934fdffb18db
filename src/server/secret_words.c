#include "server/secret_words.h"

#include "command/command.h"
#include "machine/txn/branch.h"

/* One that can stand in a record has no password (branch_url_problem). */
static bool is_refused_url(struct slice word)
{
    static const char mark[] = "://";
    return word.size > strlen(mark) && memmem(word.data, word.size, mark, strlen(mark)) != NULL &&
           branch_url_problem(word) != NULL;
}

struct slice secret_words_shown(const struct command *command, uint32_t place)
{
    struct slice word = command->argv[place];
    bool secret = false;
    switch (command->spec->id) {
    case COMMAND_AUTH:
    case COMMAND_HELLO: secret = place > 0; break;
    case COMMAND_CONFIG_SET: secret = place > 2 && slice_is_word(command->argv[place - 1], "REQUIREPASS"); break;
    case COMMAND_TXN_JOIN:
    case COMMAND_TXN_BRANCHES: secret = is_refused_url(word); break;
    default: break;
    }
    return secret ? SLICE_LITERAL("(redacted)") : word;
}

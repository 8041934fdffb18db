/* What a client can wait for in one request: the commands that ask for it, ask about it and give it up, and how its
 * answers look. lock_wait.h does the rest. */
#pragma once

#include "command/command.h"

struct wait_kind {
    uint16_t command, inner, ask, leave; /* ids: the client's; and what nodes say, behind an origin */
    uint32_t options_from;               /* of the inner command: where WAIT may stand */
    /* What the command says of WAIT; 0 when it says nothing that can be understood: the shard finds the words. */
    int64_t (*wait_ms)(const struct command *command);
    /* Appends the name by which `ask` and `leave` know it. */
    void (*name)(struct buffer *out, struct slice argument);
    bool leased;       /* what is granted has a token and a time to live, and can be lost; else it is a 1 */
    const char *about; /* the last argument of `ask` and `leave`; NULL: they have none */
    /* Its end is told once the shard has heard of it: until then it may pass together with others. Else at once. */
    bool together;
    const char *unheard; /* the shard does not answer, and the time is over */
};

/* Of a command that may wait; NULL: not for such a thing. */
const struct wait_kind *wait_kind_find(const struct command_spec *spec);
/* NULL: nobody waits in such a command. */
static inline const struct wait_kind *wait_kind_of(const struct command_spec *spec)
{
    return (spec->flags & COMMAND_BLOCKING) == 0 ? NULL : wait_kind_find(spec);
}

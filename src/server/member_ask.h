/* A change of the members that a client asks for: COHORT.TRANSFER. Pure: answers of the meta group in, its next command
 * out. The members are read, the change is judged, and written if they are still the same (cluster/meta.h): else they
 * are read again.
 *
 * Invariants
 * 1. What is written is one change of cluster/members.h, which the version that it replaces allows.
 * 2. It is asked for again without harm: what is so already is answered as if it had just been done.
 * 3. After MEMBER_ASK_TRIES others have changed the members in between each time, and nothing was. */
#pragma once

#include "cluster/cluster_reply.h"
#include "command/command.h"

enum { MEMBER_ASK_TRIES = 16, MEMBER_ASK_ARGUMENTS = 4, MEMBER_ASK_PROBLEM_BYTES = 256 };

struct member_ask;

bool member_ask_takes(const struct command_spec *spec);
/* NULL when the command makes no sense; *ret_problem says why. */
struct member_ask *member_ask_create(const struct command *command, const char **ret_problem);
void member_ask_destroy(struct member_ask *ask); /* takes NULL */

/* The next command for the meta group, RESP2; valid until the next call. False: it is over. */
bool member_ask_next(struct member_ask *ask, struct slice ret_argv[static MEMBER_ASK_ARGUMENTS],
                     struct command *ret_command);
/* Its answer, which is no error; `view`: what this node knows. False when it is none. */
bool member_ask_take(struct member_ask *ask, struct slice answer, const struct cluster_view *view);
/* OK, or why not. */
void member_ask_reply(const struct member_ask *ask, struct resp_writer *reply);

/* The commands of a transcript, on a laboratory.
 *
 *   set NAME VALUE                     an option, before the members are made: lease-reads, append-bytes, inflight, …
 *   group 1 2 3 [learners 4 …]         members with this configuration    join N        a member without any yet
 *   tick MS [N …]                      clocks move (all, or those)        timeout N     its clock moves to its deadline
 *   late MS [N …]                      the same, but the host had no turn meanwhile
 *   beat MS [N …]                      the same, in the middle of a turn: what says that the member lives
 *   quiet [N …]                        so much time that they would vote again, but do not stand yet
 *   elect N                            quiet for the other followers, timeout N, settle
 *   settle                             deliver until nothing is in flight
 *   deliver [A->B] [TYPE]              what is in flight now, oldest first; prints each (* is anybody)
 *   drop [A->B] [TYPE]                 loses it                           repeat [A->B] [TYPE]   makes it arrive twice
 *   flight                             shows it
 *   cut A->B | isolate N | split N …   what is sent from now on is lost (split: between those and the others)
 *   heal | lost A B                    the network is whole | A hears that its connection to B broke
 *   gone A B                           A hears that the process of B has ended
 *   stall N | sync N [OPS] | unstall N the disk                           crash N [OPS] (so many survive) | restart N
 *   propose N TEXT | read N | lease N | transfer N TO | change N [voters …] [learners …] | snapshot N [TAIL]
 *   lazy-install, install N [fails]    the host takes its time
 *   state [N …] | peers N              what they think
 */
#pragma once

#include "tests/unit/raft/lab.h"

enum { SCRIPT_WORDS = 32 };

struct script {
    struct lab lab;
    struct raft_options options; /* of members to come */
    struct buffer out;           /* what the last command printed */
    char *words[SCRIPT_WORDS];
    size_t count;
};

void script_init(struct script *script);
void script_deinit(struct script *script);
/* Runs one line (which is torn apart) and appends it to `text`, with what it printed behind "| ". Comments and empty
 * lines are kept as they are. */
void script_run_line(struct script *script, char *line, struct buffer *text);

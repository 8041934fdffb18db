/* One node of Cohort on a thread of somebody else's process: the server of `cohort serve`, which listens on nothing.
 *
 *   node_start ─▶ STARTING ─recovered─▶ SERVES ─node_stop, SHUTDOWN, a log that failed─▶ ENDS ─folder given back─▶ OVER
 *                     └──── it cannot: words ────────────────────────────────────────────────────────────────────▲
 *   any ─ a belief was wrong, or memory was refused, on a thread of the node's ─▶ STRUCK
 *
 * Invariants
 * 1. The process is the caller's: no signal's action is changed, nothing is printed, and nothing here ends it. Where
 * the server would end its process, its thread stops where it stands, for ever (STRUCK): what was answered is on the
 *    disk, what lies in memory is not trusted, and so it is kept, with the folder's lock, until the process ends.
 * 2. Nobody connects but while it SERVES. Descriptors that were handed over and did not arrive are closed.
 * 3. In OVER nothing of it is left but its words: folder and descriptors are given back, so that it can be opened anew.
 */
#pragma once

#include "embedded/settings.h"

struct node;

/* Blocks until its data are recovered; *ret_node (NULL before) is there already meanwhile, for node_strike. On failure,
 * with words, it is NULL again, unless the node was struck. */
MUST_USE enum status node_start(const struct embedded_settings *settings, const struct engine_url *url,
                                struct node **ret_node, char ret_problem[static ENGINE_PROBLEM_BYTES]);

/* A client of it: non-blocking, closed on exec. From any thread; does not wait. STATUS_CLOSED: it does not serve any
 * more, and node_explain says why. */
MUST_USE enum status node_connect(struct node *node, int *ret_fd);
void node_explain(struct node *node, char ret_why[static CLIENT_WHY_BYTES]);
bool node_serves(struct node *node);
bool node_is_struck(struct node *node);

/* Answers what was received, gives the folder back, and frees the node: no other call follows. False: it was struck, is
 * kept as it is, and its folder with it. */
bool node_stop(struct node *node);

/* ---- the end of a thread that cannot go on (nodes.c) ---- */

void node_strike(struct node *node, const char *line);
/* The one whose first thread this is. False: this is none. */
bool node_strike_here(const char *line);

/* The folders that are open in this process: one node each, however many handles have it.
 *
 * Invariants
 * 1. A folder is known by its device and inode, however it is written, and has at most one node that starts, serves or
 *    stops; who comes meanwhile waits.
 * 2. Who comes to a node that has stopped by itself gets a new one; handles of the old one keep that, and its words.
 * 3. A child of fork has none of its parent's nodes, and keeps none of their locks. Where the parent had any, the child
 *    opens none before it has executed a program: a thread of theirs may have been anywhere (within a script, too). */
#pragma once

#include "embedded/node.h"

struct nodes_entry;

/* The node of the folder, which is made and started when it has to be. Blocks meanwhile. */
MUST_USE enum status nodes_take(const struct embedded_settings *settings, const struct engine_url *url,
                                struct nodes_entry **ret_entry, char ret_problem[static ENGINE_PROBLEM_BYTES]);
struct node *nodes_node(const struct nodes_entry *entry);
/* The last one stops it. */
void nodes_leave(struct nodes_entry *entry);

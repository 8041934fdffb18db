/* A space-time diagram of a run: time goes down, each member is a line, messages are arrows between the lines; what
 * happens at a member stands beside it. One HTML file that needs nothing else. */
#pragma once

#include "base/buffer.h"

struct diagram;

enum diagram_mark {
    DIAGRAM_START,
    DIAGRAM_CRASH,
    DIAGRAM_LEADS,
    DIAGRAM_FOLLOWS,
    DIAGRAM_COMMIT,
    DIAGRAM_SNAPSHOT,
    DIAGRAM_FAULT,
    DIAGRAM_FAILURE,
};

enum { DIAGRAM_BETWEEN_NODES = 12, DIAGRAM_OF_CLIENT = 13 }; /* kinds of messages beside those of consensus */

/* Keeps what happens in [from_ns, to_ns). Clients are the members after the last. */
struct diagram *diagram_create(int members, int clients, int groups, int64_t from_ns, int64_t to_ns);
void diagram_destroy(struct diagram *diagram);
/* Returns what diagram_arrived takes; `kind` is an enum raft_message_type, or one of the above, or 0. A NULL diagram
 * drops everything. */
size_t diagram_sent(struct diagram *diagram, int64_t at_ns, int from, int to, uint32_t group, int kind);
void diagram_arrived(struct diagram *diagram, size_t message, int64_t at_ns);
/* member -1: concerns all. */
void diagram_mark(struct diagram *diagram, int64_t at_ns, int member, uint32_t group, enum diagram_mark kind,
                  const char *text);
void diagram_write(const struct diagram *diagram, const char *title, struct buffer *html);

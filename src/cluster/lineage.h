/* Which process of a node this is, and which came before it on the same data folder. Pure.
 *
 * A copy of a data folder has the node's incarnation, but cannot know of the starts of the folder that it was copied
 * from: so a node shows its lineage to whoever has seen an earlier start of it, and is refused when that start is not
 * in it. Either the folder is an older copy of itself (a backup that was put back), or another process runs on a copy.
 * What such a folder has forgotten (votes, acknowledged entries) its node has promised.
 *
 *      … ── joined ── between[0] ── … ── between[count - 1] ── start (this process)
 *           └ all before it count as known: the members (members.h) had this start, and had checked its lineage
 *
 * Invariants
 * 1. joined < between[0] < … < start; 0 < start. When the members have `start`, joined is that, and nothing between.
 * 2. `start` is durable before anybody is told of it. joined moves only to a start that the members have: starting a
 *    refused copy again and again thus never makes it the successor of what it does not know. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { LINEAGE_BETWEEN = 32 };

struct lineage {
    uint64_t start;
    uint64_t joined; /* 0: none yet */
    uint32_t count;
    uint64_t between[LINEAGE_BETWEEN];
};

bool lineage_valid(const struct lineage *lineage);
/* Another process on the folder; `start` is larger than the last one. Of more starts in between than there is room for,
 * the first ones and the last one are kept: those that somebody may have seen. */
void lineage_begin(struct lineage *lineage, uint64_t start);
/* The members have this start. */
void lineage_join(struct lineage *lineage);
/* The start that somebody has seen was of this folder; 0: none was seen. */
bool lineage_knows(const struct lineage *lineage, uint64_t start);

/* Texts that were compiled, as images of the region: a run begins with a copy of one, where the first of that text
 * begins with the empty engine and compiles.
 *
 * Invariants
 * 1. An image is the region exactly as compiling that text with these limits left it, steps used so far and all: a run
 *    cannot tell, and uses the same, whether its text was compiled just now, or earlier, or at another node only now.
 * 2. Bounded: CHUNKS texts, CHUNKS_BYTES together; the one that was not run longest goes first. Larger ones are
 *    compiled at each run, which costs them little beside what they do. */
#pragma once

#include "base/slice.h"

struct script_engine;
struct script_run;
struct chunks;

enum { CHUNKS = 64, CHUNKS_BYTES = 8 << 20, CHUNK_BYTES = 256 << 10 };

struct chunks *chunks_create(void);
void chunks_destroy(struct chunks *chunks);

/* The image of this text under these limits, or nothing. *ret_common: it has the common frozen part (frozen.h). */
struct slice chunks_find(struct chunks *chunks, const struct script_run *run, bool *ret_common);
/* Keeps the region's first bytes as what compiling the text has made. */
void chunks_keep(struct chunks *chunks, const struct script_run *run, struct slice region, bool common);

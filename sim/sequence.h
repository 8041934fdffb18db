/* A sequence diagram of one transaction in a run, as one SVG: a column for each who takes part, time goes down,
 * messages are arrows with their words, and each state that somebody comes to stands on its line. Time is not to scale:
 * each thing that happens gets the room that its words need, and the margin tells when it was. */
#pragma once

#include "base/buffer.h"

struct sequence;

enum sequence_arrow {
    SEQUENCE_MESSAGE, /* with words */
    SEQUENCE_ENTRY,   /* of replication: thin */
    SEQUENCE_STORED,
};

enum sequence_note {
    SEQUENCE_STATE,     /* it came to */
    SEQUENCE_COMMITTED, /* and to these, which are final */
    SEQUENCE_ABORTED,
    SEQUENCE_SYNC, /* a forced write: no words */
    SEQUENCE_FAULT,
    SEQUENCE_REMARK,
};

struct sequence *sequence_create(void);
/* Takes NULL, as all of these do: then they do nothing. */
void sequence_destroy(struct sequence *sequence);
/* The columns from left to right; `below` is a second line. */
void sequence_column(struct sequence *sequence, const char *name, const char *below);
/* Returns what sequence_arrived takes. */
size_t sequence_sent(struct sequence *sequence, int64_t at_ns, int from, int to, enum sequence_arrow arrow,
                     const char *text);
void sequence_arrived(struct sequence *sequence, size_t sent, int64_t at_ns);
/* column −1: concerns all. */
void sequence_note(struct sequence *sequence, int64_t at_ns, int column, enum sequence_note note, const char *text);
/* Nobody is there any more, or again. */
void sequence_life(struct sequence *sequence, int64_t at_ns, int column, bool alive);
/* What it shows. */
void sequence_entitle(struct sequence *sequence, const char *title);
/* `origin`: where it comes from, as a smaller line. */
void sequence_write(struct sequence *sequence, const char *origin, struct buffer *svg);

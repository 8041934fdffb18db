/* For part.c and txn_snapshot.c alone. */
#pragma once

#include "machine/txn/part.h"

/* In no table and no list, with no body. */
struct part *part_create(struct slice id);
void part_free(struct part *part);
/* Into the table and the list of its state; a prepared one takes its locks, which are free (asserted). */
void part_enter(struct parts *parts, struct part *part);

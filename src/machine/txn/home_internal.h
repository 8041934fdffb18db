/* For home.c and txn_snapshot.c alone. */
#pragma once

#include "machine/txn/home.h"

/* In no table and no list; the id is one (asserted). */
struct home *home_create(struct slice id);
void home_free(struct home *home);
/* Into the table; then home_enter, into the list of its state. */
void home_insert(struct homes *homes, struct home *home);
void home_enter(struct homes *homes, struct home *home);
/* A decided record becomes DONE, if nobody is waited for; it may be forgotten then. */
void home_finish_if_all(struct homes *homes, struct home *home, uint64_t position, int64_t time_ms);

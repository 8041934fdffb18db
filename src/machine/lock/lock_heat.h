/* Locks that others wait for, or are refused, most often. Figures: no part of the state. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct lock;
struct locks;

enum { LOCKS_HOT = 8, LOCK_HEAT_KEY_BYTES = 64 };
struct lock_heat {
    uint64_t number; /* of the lock; 0: none */
    uint64_t count;
    uint16_t key_size;
    uint8_t key[LOCK_HEAT_KEY_BYTES]; /* its beginning */
};

/* Others wait for it, or were refused: counted in few places (the space-saving algorithm; Metwally, Agrawal, El Abbadi,
 * ICDT 2005). */
void lock_note_heat(struct locks *locks, const struct lock *lock);
/* Adds those of another place: the hottest stay. */
void lock_heat_add(struct lock_heat sum[static LOCKS_HOT], const struct lock_heat more[static LOCKS_HOT]);

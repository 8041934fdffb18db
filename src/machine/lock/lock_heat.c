#include "machine/lock/lock_heat.h"

#include "machine/lock/lock.h"

void lock_note_heat(struct locks *locks, const struct lock *lock)
{
    struct lock_heat *least = &locks->heat[0];
    for (size_t i = 0; i < LOCKS_HOT; i++) {
        if (locks->heat[i].number == lock->number) {
            locks->heat[i].count++;
            return;
        }
        least = locks->heat[i].count < least->count ? &locks->heat[i] : least;
    }
    least->number = lock->number;
    least->count++;
    least->key_size = lock->key_size < LOCK_HEAT_KEY_BYTES ? (uint16_t)lock->key_size : LOCK_HEAT_KEY_BYTES;
    memcpy(least->key, lock->key, least->key_size);
}

void lock_heat_add(struct lock_heat sum[static LOCKS_HOT], const struct lock_heat more[static LOCKS_HOT])
{
    for (size_t i = 0; i < LOCKS_HOT; i++) {
        struct lock_heat *least = &sum[0];
        for (size_t j = 1; j < LOCKS_HOT; j++) {
            least = sum[j].count < least->count ? &sum[j] : least;
        }
        if (more[i].count > least->count) {
            *least = more[i];
        }
    }
}

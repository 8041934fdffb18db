/* stub until locks */
#pragma once
#include "client/handle.h"
struct cohort_keeper {
    struct timer timer;
};
static inline void keeper_due(struct cohort_keeper *k, int64_t now)
{
    (void)k;
    (void)now;
}
static inline void keepers_call_back(struct cohort *c) { (void)c; }

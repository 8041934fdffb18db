#include "cluster/lineage.h"

#include "base/assert.h"

bool lineage_valid(const struct lineage *lineage)
{
    uint64_t last = lineage->joined;
    if (lineage->count > LINEAGE_BETWEEN) {
        return false;
    }
    for (uint32_t i = 0; i < lineage->count; i++) {
        if (lineage->between[i] <= last) {
            return false;
        }
        last = lineage->between[i];
    }
    return lineage->start > last || (lineage->start == lineage->joined && lineage->count == 0 && lineage->start != 0);
}

void lineage_begin(struct lineage *lineage, uint64_t start)
{
    ASSERT(start > lineage->start);
    if (lineage->start > lineage->joined) {
        uint32_t at = lineage->count < LINEAGE_BETWEEN ? lineage->count++ : LINEAGE_BETWEEN - 1;
        lineage->between[at] = lineage->start;
    }
    lineage->start = start;
}

void lineage_join(struct lineage *lineage)
{
    lineage->joined = lineage->start;
    lineage->count = 0;
}

bool lineage_knows(const struct lineage *lineage, uint64_t start)
{
    bool known = start <= lineage->joined || start == lineage->start;
    for (uint32_t i = 0; i < lineage->count && !known; i++) {
        known = lineage->between[i] == start;
    }
    return known;
}

/* What must be true of barriers and latches at every moment (meets.h, meet.h), for tests and the simulator. */
#include "machine/meet/meet.h"

struct looking {
    const char *problem;
    uint64_t waiting, passed, busy, open;
};

static uint32_t count_members(const struct list *members, bool passed, const char **problem)
{
    uint32_t count = 0;
    LIST_FOR_EACH (at, members) {
        const struct member *member = member_of(at);
        count++;
        if (member->passed != passed || member->heap_index == 0) {
            *problem = "a member in the wrong place";
        }
    }
    return count;
}

static void look_at_meet(void *owner, void *item)
{
    struct looking *looking = owner;
    const struct meet *meet = item;
    const char *problem = NULL;
    if (count_members(&meet->waiting, false, &problem) != meet->waiting_count ||
        count_members(&meet->passed, true, &problem) != meet->passed_count) {
        problem = "members that are not counted";
    }
    if (meet->waiting_count != 0 && meet->count == 0) {
        problem =
            meet_kind_of(meet) == MEET_LATCH ? "an open latch at which somebody waits" : "a barrier without COUNT";
    }
    if (meet_kind_of(meet) == MEET_BARRIER && meet->count != 0 &&
        (meet->waiting_count == 0 || meet->waiting_count >= meet->count)) {
        problem = meet->waiting_count == 0 ? "a COUNT of nobody" : "a barrier that is full";
    }
    if (meet->count == 0 && meet->heap_index == 0 && meet->passed_count == 0) {
        problem = "what nobody knows anything of";
    }
    looking->waiting += meet->waiting_count;
    looking->passed += meet->passed_count;
    looking->busy += meet->count != 0 ? 1 : 0;
    looking->open += meet->heap_index != 0 ? 1 : 0;
    looking->problem = looking->problem == NULL ? problem : looking->problem;
}

const char *meets_problem(const struct meets *meets)
{
    struct looking looking = {0};
    uint64_t cursor = 0;
    do {
        cursor = table_walk(&meets->table, cursor, look_at_meet, &looking);
    } while (cursor != 0);
    if (looking.problem == NULL && (looking.waiting != meets->waits.count || looking.passed != meets->gone.count ||
                                    looking.busy != meets->busy || looking.open != meets->open.count)) {
        return "members or meets that are not counted";
    }
    return looking.problem;
}

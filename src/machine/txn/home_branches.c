/* Branches of home records. */
#include "base/assert.h"
#include "base/memory.h"
#include "machine/txn/home_internal.h"

static struct branch *labelled(const struct home *home, struct slice label)
{
    for (uint32_t i = 0; i < home->branch_count; i++) {
        if (slice_equal(slice_from_string(home->branches[i].label), label)) {
            return &home->branches[i];
        }
    }
    return NULL;
}

struct branch *home_branch(const struct home *home, struct slice label, uint64_t restores, uint64_t position)
{
    struct branch *branch = labelled(home, label);
    return branch != NULL && branch->restores == restores && branch->position == position ? branch : NULL;
}

/* `branch`: what it has under this label; or NULL. */
static enum home_join may_join(const struct homes *homes, const struct home *home, const struct branch *branch,
                               const struct home_joining *joining)
{
    if (home == NULL || (home->state == HOME_BEGUN && home->opened != joining->begun)) {
        return HOME_JOIN_NONE;
    }
    if (home->state != HOME_BEGUN) {
        return HOME_JOIN_LATE;
    }
    if (home->protocol == TXN_3PC) {
        return HOME_JOIN_THREE;
    }
    if (branch != NULL) {
        bool other = !slice_equal(slice_from_string(branch->resource), joining->resource) ||
                     (branch->evidence != NULL && joining->evidence.size != 0 &&
                      !slice_equal(slice_from_string(branch->evidence), joining->evidence));
        return other ? HOME_JOIN_OTHER : HOME_JOINED;
    }
    if (home->branch_count == TXN_BRANCHES) {
        return HOME_JOIN_MANY;
    }
    return home->branch_count == 0 && homes->joined_count >= TXN_JOINED ? HOME_JOIN_FULL : HOME_JOINED;
}

static struct branch *add(struct homes *homes, struct home *home, const struct home_joining *joining)
{
    if (home->branch_count == 0) {
        home->branches = memory_allocate_zeroed(TXN_BRANCHES, sizeof(*home->branches));
        homes->joined_count++;
    }
    struct branch *branch = &home->branches[home->branch_count++];
    home->branches_left++;
    *branch = (struct branch){.restores = joining->restores,
                              .position = joining->position,
                              .joined_ms = joining->time_ms,
                              .state = BRANCH_JOINED,
                              .label = memory_make_text(joining->label.data, joining->label.size),
                              .resource = memory_make_text(joining->resource.data, joining->resource.size)};
    return branch;
}

const struct branch *home_join(struct homes *homes, struct home *home, const struct home_joining *joining,
                               enum home_join *ret_why)
{
    struct branch *branch = home == NULL ? NULL : labelled(home, joining->label);
    *ret_why = may_join(homes, home, branch, joining);
    if (*ret_why != HOME_JOINED) {
        return NULL;
    }
    if (branch == NULL) {
        branch = add(homes, home, joining);
    }
    if (branch->evidence == NULL && joining->evidence.size != 0) {
        branch->evidence = memory_make_text(joining->evidence.data, joining->evidence.size);
    }
    return branch;
}

void home_end_branch(struct homes *homes, struct home *home, struct branch *branch, enum branch_state state,
                     uint64_t position, int64_t time_ms)
{
    ASSERT(home->outcome != HOME_ABSENT && state != BRANCH_JOINED);
    ASSERT(state == BRANCH_ABANDONED || (state == BRANCH_COMMITTED) == (home->outcome == HOME_COMMIT));
    if (state == BRANCH_ABANDONED && home->outcome == HOME_COMMIT && branch->position > homes->abandoned) {
        homes->abandoned = branch->position;
    }
    home->branches_left -= branch->state == BRANCH_JOINED ? 1 : 0;
    branch->state = (uint8_t)state;
    if (home->state == HOME_COMMIT) {
        home_finish_if_all(homes, home, position, time_ms);
    }
}

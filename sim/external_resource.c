/* Resources that prepare, commit and roll back by name, and never fail. */
#include "external_world.h"

void external_prepare(struct external_world *world, int branch)
{
    struct external_branch *at = &world->branches[branch];
    if (at->state != EXTERNAL_NONE) {
        node_fail(world->nodes, "a branch is prepared twice under the name %s", at->name);
    }
    at->state = EXTERNAL_PREPARED;
    external_point(world);
}

void external_finish(struct external_world *world, int branch, bool commits)
{
    struct external_branch *at = &world->branches[branch];
    enum external_state to = commits ? EXTERNAL_COMMITTED : EXTERNAL_ABORTED;
    if (at->state == EXTERNAL_NONE && commits) {
        node_fail(world->nodes, "a branch is to be committed that was never prepared: %s", at->name);
    } else if (at->state == EXTERNAL_PREPARED) {
        at->state = to;
    } else if (at->state != EXTERNAL_NONE && at->state != to) {
        node_fail(world->nodes, "a branch is %s that was %s: %s", commits ? "to be committed" : "to be rolled back",
                  commits ? "rolled back" : "committed", at->name);
    }
    external_point(world);
}

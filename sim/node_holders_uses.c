/* Holds and uses of the holders, in the history, and the resource outside of the cluster. */
#include "node_holders_internal.h"

static const char *const judge_names[JUDGES] = {"lock", "lock@guard", "lock@resource"};

static uint32_t name_of(struct holder *holder, int judge)
{
    return texts_add(&holder->all->world->history.texts, slice_from_string(judge_names[judge]));
}

void holder_note_hold(struct holder *holder)
{
    for (int judge = 0; judge < JUDGES && holder->token != 0; judge++) {
        struct hold hold = {.key = name_of(holder, judge),
                            .process = (uint32_t)holder->number,
                            .start = (uint64_t)holder->asked_ns,
                            .end = (uint64_t)holder->told_ns,
                            .until = (uint64_t)holder->until_ns,
                            .token = holder->token,
                            .permits = 1,
                            .limit = 1};
        holds_add(&holder->all->world->history.holds, &hold);
    }
    holder->token = 0;
    holder->late = false;
    holder->wanted = false;
    holder->taken_ns = 0;
}

void holder_taken(struct holder *holder, int64_t token)
{
    if (holder->token == token) {
        holder->taken_ns = holder_now(holder);
        node_reach(holder->all->world, NODE_MARK_LOCK_TAKEN, 1);
    }
}

void holder_note_passed(struct holder *holder, const char *where)
{
    if (holder->taken_ns != 0 && holder->start_ns > holder->taken_ns) {
        node_fail(holder->all->world, "token %lld passes (%s), and was taken away by force before",
                  (long long)holder->token, where);
    }
}

void holder_note_use(struct holder *holder, int judge, bool passed)
{
    if (passed && judge != JUDGE_RESOURCE) {
        holder_note_passed(holder, judge_names[judge]);
    }
    struct hold use = {.key = name_of(holder, judge),
                       .process = (uint32_t)holder->number,
                       .start = (uint64_t)holder->start_ns,
                       .end = (uint64_t)holder_now(holder),
                       .token = holder->token,
                       .use = true,
                       .passed = passed};
    holds_add(&holder->all->world->history.holds, &use);
    node_reach(holder->all->world, NODE_MARK_LOCK_FENCED, !passed);
}

/* ---- the resource ---- */

/* Its judgement of a token, and what it does then. */
bool holder_resource_takes(struct holder *holder)
{
    struct node_holders *all = holder->all;
    if (holder->token < all->newest && !all->world->mutation.blind) {
        holder_note_use(holder, JUDGE_RESOURCE, false);
        return false;
    }
    all->newest = holder->token > all->newest ? holder->token : all->newest;
    if (holder->step == STEP_READ) {
        holder->seen = all->value;
    } else if (holder->seen != all->value++) {
        node_fail(all->world, "holder %d overwrites with token %lld what another holder has written",
                  holder->number + 1, (long long)holder->token);
    }
    holder_note_use(holder, JUDGE_RESOURCE, true);
    return true;
}

/* COHORT.TXN.LAST: PREPARE at home when all others have voted yes. Its own yes is the decision. */
#include "command/machine_handlers.h"
#include "machine/call.h"
#include "machine/txn/home_commands.h"
#include "machine/txn/prepare_internal.h"
#include "machine/txn/txn.h"

static struct home_open opening(const struct preparing *preparing)
{
    const struct call *call = preparing->call;
    return (struct home_open){.id = preparing->said.id,
                              .epoch = preparing->said.epoch,
                              .term = call->term,
                              .position = call->position,
                              .protocol = TXN_2PC,
                              .time_ms = call->time.applied_time_ms,
                              .participants = preparing->said.participants,
                              .participant_count = preparing->said.participant_count,
                              .votes = preparing->said.votes,
                              .begun = preparing->said.begun};
}

/* Home's record allows it. Of an epoch or an id that is too old the answer has the term or the position of now. */
static bool home_takes(struct preparing *preparing)
{
    const struct home_open open = opening(preparing);
    uint64_t now = 0;
    const char *why = NULL;
    switch (homes_take_last(&preparing->call->txns->homes, &open)) {
    case HOME_OPENED: return true;
    case HOME_EXISTS: return prepare_no(preparing, "REFUSED", slice_of(NULL, 0));
    case HOME_FULL: return prepare_no(preparing, "FULL", slice_of(NULL, 0));
    case HOME_EPOCH:
        why = "EPOCH";
        now = open.term;
        break;
    case HOME_OLD:
        why = "OLD";
        now = open.position;
        break;
    }
    return prepare_no(preparing, why, slice_of(preparing->number, number_format_uint64(preparing->number, now)));
}

/* By who has said LAST, and needs the replies. What TXN.* has written has told all of them before. */
static bool may_be_asked(const struct home *home)
{
    struct txn_id id;
    return txn_id_parse(home_id(home), &id) && id.runs;
}

void txn_last(struct call *call)
{
    struct preparing preparing;
    if (!prepare_begin(&preparing, call)) {
        return;
    }
    if (home_takes(&preparing)) {
        prepare_vote(&preparing);
    }
    const struct part *own = parts_find(&call->txns->parts, preparing.said.id);
    if (preparing.no == NULL && own != NULL && own->vote == call->position) {
        const struct home_open open = opening(&preparing);
        struct home *home = homes_open_last(&call->txns->homes, &open);
        if (may_be_asked(home)) {
            home_keep_replies(&call->txns->homes, home,
                              preparing.vary ? slice_of(NULL, 0) : buffer_slice(&preparing.replies));
        }
        home_finish_own_part(call, home);
    }
    prepare_end(&preparing);
}

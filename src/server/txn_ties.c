#include "server/txn_ties.h"

#include "base/assert.h"
#include "server/txn_answer.h"

static struct command said(const struct txn_tie *tie, uint16_t id, uint32_t argc)
{
    return (struct command){command_by_id(id), tie->argv, argc, RESP2};
}

static struct command say(struct txn_tie *tie)
{
    if (tie->state == TXN_TIE_JOINS) {
        tie->argv[0] = SLICE_LITERAL("COHORT.SESSION.SHARD");
        tie->argv[1] = SLICE_LITERAL("JOIN");
        tie->argv[2] = slice_of(tie->shard_text, number_format_uint64(tie->shard_text, tie->shard));
        tie->argv[3] = slice_of(tie->number, number_format_uint64(tie->number, tie->id.number));
        return said(tie, COMMAND_COHORT_SESSION_SHARD, 4);
    }
    tie->argv[0] = SLICE_LITERAL("COHORT.SESSION.TIE");
    tie->argv[1] = slice_of(tie->name, session_id_format(tie->name, tie->id));
    tie->argv[2] = slice_of(tie->ordinal_text, number_format_int64(tie->ordinal_text, tie->ordinal));
    return said(tie, COMMAND_COHORT_SESSION_TIE, tie->state == TXN_TIE_CONFIRMS ? 3 : 2);
}

enum txn_tie_end txn_tie_next(struct txn_tie *tie, const struct txn_values *values, struct command *ret_command,
                              uint32_t *ret_shard)
{
    if (tie->state == TXN_TIE_NONE) {
        if (!txn_values_untied(values, &tie->shard, &tie->id)) {
            return TXN_TIE_DONE;
        }
        if (tie->made >= TXN_TIES) {
            return TXN_TIE_MANY;
        }
        if (tie->id.shard > values->shard_count) {
            return TXN_TIE_ENDED; /* no session of this cluster */
        }
        tie->state = TXN_TIE_ASKS;
        tie->tries = 0;
    }
    *ret_command = say(tie);
    *ret_shard = tie->state == TXN_TIE_JOINS ? tie->id.shard : tie->shard;
    return TXN_TIE_MORE;
}

static enum txn_tie_end tied(struct txn_tie *tie, struct txn_values *values)
{
    txn_values_tied(values, tie->shard, tie->id);
    tie->state = TXN_TIE_NONE;
    tie->made++;
    return TXN_TIE_MORE;
}

enum txn_tie_end txn_tie_take(struct txn_tie *tie, struct txn_values *values, const struct txn_round *round)
{
    struct slice answer = txn_round_answer(round, 0);
    enum txn_tie_state asked = tie->state;
    int64_t value;
    if (round->questions[0].status != STATUS_OK || !answer_integer(&answer, &value)) {
        tie->state = TXN_TIE_NONE;
        return TXN_TIE_FAILED;
    }
    switch (asked) {
    case TXN_TIE_ASKS:
        if (value == 0) {
            return tied(tie, values);
        }
        tie->ordinal = value;
        tie->state = value < 0 ? TXN_TIE_NONE : TXN_TIE_JOINS;
        return value < 0 ? TXN_TIE_ENDED : TXN_TIE_MORE;
    case TXN_TIE_JOINS:
        tie->state = value <= 0 ? TXN_TIE_NONE : TXN_TIE_CONFIRMS;
        return value <= 0 ? TXN_TIE_ENDED : TXN_TIE_MORE;
    case TXN_TIE_CONFIRMS:
        if (value == 1) {
            return tied(tie, values);
        }
        tie->state = ++tie->tries < TXN_TIE_TRIES ? TXN_TIE_ASKS : TXN_TIE_NONE;
        return tie->state == TXN_TIE_NONE ? TXN_TIE_FAILED : TXN_TIE_MORE;
    case TXN_TIE_NONE: break;
    }
    UNREACHABLE();
}

#include "server/wait_kind.h"

#include "machine/lock/elections.h"
#include "machine/lock/lock_arguments.h"
#include "machine/meet/meet_arguments.h"

/* ---- locks ---- */

static int64_t lock_wait_ms(const struct command *command)
{
    struct lock_request request;
    return lock_request_parse(command->argv + 1, command->argc - 1, &request) == NULL ? request.wait_ms : 0;
}

static void same_name(struct buffer *out, struct slice argument) { buffer_append_slice(out, argument); }

/* ---- elections ---- */

static int64_t election_wait_ms(const struct command *command)
{
    struct lock_request request;
    return election_request_parse(command->argv + 1, command->argc - 1, &request) == NULL ? request.wait_ms : 0;
}

static void election_name(struct buffer *out, struct slice argument)
{
    uint8_t space[ELECTION_KEY_BYTES];
    buffer_append_slice(out, election_key(argument, space));
}

/* ---- barriers and latches ---- */

static int64_t barrier_wait_ms(const struct command *command)
{
    struct meet_request request;
    return barrier_request_parse(command->argv + 1, command->argc - 1, &request) == NULL ? request.wait_ms : 0;
}

static int64_t latch_wait_ms(const struct command *command)
{
    struct meet_request request;
    return latch_request_parse(command->argv + 1, command->argc - 1, &request) == NULL ? request.wait_ms : 0;
}

static const struct wait_kind kinds[] = {
    {COMMAND_LOCK_ACQUIRE, COMMAND_COHORT_LOCK_ACQUIRE, COMMAND_COHORT_LOCK_ASK, COMMAND_COHORT_LOCK_LEAVE, 4,
     lock_wait_ms, same_name, true, NULL, false,
     "UNCERTAIN the wait for the lock is over, and its shard does not answer; the lock may have been granted: acquire "
     "it "
     "again as the same owner"},
    {COMMAND_ELECT_CAMPAIGN, COMMAND_COHORT_ELECT_CAMPAIGN, COMMAND_COHORT_LOCK_ASK, COMMAND_COHORT_LOCK_LEAVE, 4,
     election_wait_ms, election_name, true, NULL, false,
     "UNCERTAIN the wait is over, and the election's shard does not answer; this candidate may have been elected: "
     "campaign "
     "again as the same candidate"},
    {COMMAND_BARRIER_ENTER, COMMAND_COHORT_BARRIER_ENTER, COMMAND_COHORT_MEET_ASK, COMMAND_COHORT_MEET_LEAVE, 4,
     barrier_wait_ms, same_name, false, "barrier", true,
     "UNCERTAIN the wait is over, and the barrier's shard does not answer; all may have passed it: look at the others, "
     "then enter the next turn"},
    {COMMAND_LATCH_WAIT, COMMAND_COHORT_LATCH_WAIT, COMMAND_COHORT_MEET_ASK, COMMAND_COHORT_MEET_LEAVE, 3,
     latch_wait_ms, same_name, false, "latch", false,
     "UNCERTAIN the wait is over, and the latch's shard does not answer; the latch may be open: wait again"},
};

const struct wait_kind *wait_kind_find(const struct command_spec *spec)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (kinds[i].command == spec->id) {
            return &kinds[i];
        }
    }
    return NULL;
}

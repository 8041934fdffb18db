#include "machine/txn/footprint.h"

#include "machine/txn/prepare.h"

struct visit {
    const struct command *command;
    footprint_key *key;
    void *owner;
};

static void visit_position(void *owner, uint32_t position)
{
    const struct visit *visit = owner;
    bool writes = (visit->command->spec->flags & COMMAND_WRITE) != 0;
    visit->key(visit->owner, visit->command->argv[position], writes);
}

static enum footprint_reach visit_plain(const struct command *command, footprint_key *key, void *owner)
{
    const struct command_spec *spec = command->spec;
    struct visit visit = {command, key, owner};
    if (spec->first_key != 0) {
        (void)command_keys(spec, command->argv, command->argc, visit_position, &visit);
        return FOOTPRINT_KEYS;
    }
    if (spec->internal) { /* about what is no key, but for what was seen of all of them */
        return spec->id == COMMAND_COHORT_TXN_SEEN ? FOOTPRINT_ALL_READ : FOOTPRINT_KEYS;
    }
    return (spec->flags & COMMAND_WRITE) != 0 ? FOOTPRINT_ALL_WRITTEN : FOOTPRINT_ALL_READ;
}

static enum footprint_reach visit_inner(const struct slice *commands, uint32_t count, struct command_arguments *scratch,
                                        footprint_key *key, void *owner)
{
    enum footprint_reach reach = FOOTPRINT_KEYS;
    for (uint32_t i = 0; i < count; i++) {
        struct slice from = commands[i];
        struct command inner;
        if (command_decode(&from, scratch, &inner) == STATUS_OK) {
            enum footprint_reach of_one = visit_plain(&inner, key, owner);
            reach = of_one > reach ? of_one : reach;
        }
    }
    return reach;
}

/* The name of a lock is no key: only what LOCK.GUARD carries touches any. */
static enum footprint_reach visit_guarded(const struct command *command, footprint_key *key, void *owner)
{
    struct command inner = {NULL, command->argv + 3, command->argc - 3, command->protocol};
    return command->argc > 3 && command_lookup(inner.argv, inner.argc, &inner.spec) == COMMAND_FOUND
               ? visit_plain(&inner, key, owner)
               : FOOTPRINT_KEYS;
}

enum footprint_reach footprint_visit(const struct command *command, struct command_arguments *scratch,
                                     footprint_key *key, void *owner)
{
    struct command_exec exec;
    struct txn_prepare prepare;
    switch (command->spec->id) {
    case COMMAND_EXEC:
        if (!command_exec_parts(command, &exec)) {
            return FOOTPRINT_KEYS;
        }
        for (uint32_t i = 0; i < exec.watch_count; i++) {
            key(owner, exec.watches[2 * i], false);
        }
        return visit_inner(exec.queued, exec.queued_count, scratch, key, owner);
    case COMMAND_COHORT_TXN_READ: return visit_inner(command->argv + 1, command->argc - 1, scratch, key, owner);
    case COMMAND_COHORT_TXN_PREPARE:
    case COMMAND_COHORT_TXN_LAST:
        if (!txn_prepare_parse(command, &prepare)) {
            return FOOTPRINT_KEYS;
        }
        for (uint32_t i = 0; i < prepare.check_count; i++) {
            key(owner, prepare.checks[2 * i], false);
        }
        for (uint32_t i = 0; i < prepare.write_count; i++) {
            key(owner, prepare.writes[2 * i], true);
        }
        return visit_inner(prepare.commands, prepare.command_count, scratch, key, owner);
    case COMMAND_LOCK_GUARD: return visit_guarded(command, key, owner);
    case COMMAND_LOCK_ACQUIRE:
    case COMMAND_LOCK_RENEW:
    case COMMAND_LOCK_RELEASE:
    case COMMAND_LOCK_INFO:
    case COMMAND_LOCK_HISTORY:
    case COMMAND_FENCE_CHECK:
    case COMMAND_COHORT_LOCK_ACQUIRE:
    case COMMAND_COHORT_LOCK_ASK:
    case COMMAND_LOCK_MACQUIRE:
    case COMMAND_COHORT_LOCK_RESERVE:
    case COMMAND_COHORT_LOCK_RESERVE_WITH:
    case COMMAND_COHORT_LOCK_GRANT:
    case COMMAND_COHORT_LOCK_BACK:
    case COMMAND_COHORT_LOCK_SETTLE:
    case COMMAND_COHORT_LOCK_LEAVE:
    case COMMAND_ELECT_CAMPAIGN:
    case COMMAND_ELECT_LEADER:
    case COMMAND_ELECT_RESIGN:
    case COMMAND_COHORT_ELECT_CAMPAIGN:
    case COMMAND_COHORT_ELECT_RENEW:
    case COMMAND_BARRIER_ENTER:
    case COMMAND_LATCH_SET:
    case COMMAND_LATCH_DOWN:
    case COMMAND_LATCH_WAIT:
    case COMMAND_COHORT_BARRIER_ENTER:
    case COMMAND_COHORT_LATCH_WAIT:
    case COMMAND_COHORT_MEET_ASK:
    case COMMAND_COHORT_MEET_LEAVE:
    case COMMAND_SERVICE_REGISTER:
    case COMMAND_SERVICE_RENEW:
    case COMMAND_SERVICE_DRAIN:
    case COMMAND_SERVICE_REMOVE:
    case COMMAND_SERVICE_LIST: return FOOTPRINT_KEYS;
    default: return visit_plain(command, key, owner);
    }
}

/* Who belongs to the group: told, and changed. */
#include "shard/shard_state.h"

#include "base/assert.h"

void shard_members(const struct shard *shard, struct raft_configuration *ret_configuration, bool *ret_settled)
{
    struct raft_status status;
    raft_status(shard->raft, &status);
    *ret_configuration = status.configuration;
    *ret_settled = !raft_configuration_is_joint(&status.configuration) && status.configuration_index <= status.commit;
}

enum status shard_change(struct shard *shard, const struct raft_configuration *target)
{
    if (shard->store->failed) {
        return STATUS_CLOSED;
    }
    if (!shard->leading || shard->sink.send == NULL) {
        return STATUS_NOT_LEADER;
    }
    enum status status = log_reserve(shard->log, RAFT_CONFIGURATION_MAXIMUM_BYTES);
    status = status == STATUS_OK ? raft_change(shard->raft, target) : status;
    if (status == STATUS_OK) {
        shard->lone = false; /* from now on it needs the others' word */
        env_wake(shard->env);
    }
    return status;
}

bool shard_is_lone(const struct shard *shard)
{
    struct raft_status status;
    raft_status(shard->raft, &status);
    const struct raft_configuration *now = &status.configuration;
    return now->voter_count == 1 && now->outgoing_count == 0 && now->voters[0] == shard->options.member;
}

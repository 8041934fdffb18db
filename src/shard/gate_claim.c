/* Keys that are claimed: of PREPAREs on their way to be applied, and of what is held. */
#include "base/assert.h"
#include "machine/txn/footprint.h"
#include "machine/txn/txn.h"
#include "shard/gate_held.h"
#include "shard/shard_state.h"

static void claim_key(void *owner, struct slice key, bool writes) { claims_add(owner, key, writes); }

static bool claims_all(const struct command_spec *spec, enum footprint_reach reach)
{
    return reach == FOOTPRINT_ALL_WRITTEN || (reach == FOOTPRINT_ALL_READ && txn_prepares(spec));
}

void gate_claim(struct shard *shard, struct claims *claims, const struct command *command)
{
    shard->gate.awake = true;
    enum footprint_reach reach = footprint_visit(command, &shard->gate_arguments, claim_key, claims);
    if (claims_all(command->spec, reach)) {
        claims_add_all(claims, reach == FOOTPRINT_ALL_WRITTEN);
    }
}

void gate_attach(struct batch *batch, const struct shard *shard, const struct command *command)
{
    if (batch->claimed.size == 0) {
        batch->claim_generation = shard->gate.generation;
    }
    ASSERT(batch->claim_generation == shard->gate.generation);
    command_encode(&batch->claimed, command);
}

static void unclaim_key(void *owner, struct slice key, bool writes) { claims_remove(owner, key, writes); }

void gate_unclaim(struct shard *shard, const struct command *command)
{
    struct claims *coming = &shard->gate.coming;
    enum footprint_reach reach = footprint_visit(command, &shard->gate_arguments, unclaim_key, coming);
    if (claims_all(command->spec, reach)) {
        claims_remove_all(coming, reach == FOOTPRINT_ALL_WRITTEN);
    }
    shard->gate.dirty = true;
}

void gate_detach(struct shard *shard, struct batch *batch)
{
    struct slice rest = buffer_slice(&batch->claimed);
    bool counts = batch->claim_generation == shard->gate.generation;
    while (rest.size != 0 && counts) {
        struct command command;
        struct command_arguments arguments; /* the shard's may be in use */
        command_arguments_init(&arguments);
        ASSERT(command_decode(&rest, &arguments, &command) == STATUS_OK);
        gate_unclaim(shard, &command);
        command_arguments_deinit(&arguments);
    }
    buffer_deinit(&batch->claimed);
}

#include "machine/txn/txn.h"

#include "machine/txn/footprint.h"

void txns_init(struct txns *txns, uint64_t hash_seed)
{
    *txns = (struct txns){.hash_seed = hash_seed};
    homes_init(&txns->homes, hash_seed);
    parts_init(&txns->parts, hash_seed);
}

void txns_deinit(struct txns *txns)
{
    homes_deinit(&txns->homes);
    parts_deinit(&txns->parts);
    overlay_destroy(txns->overlay);
}

struct blocking {
    const struct lock_table *locks;
    bool blocked;
};

static void meet_key(void *owner, struct slice key, bool writes)
{
    struct blocking *blocking = owner;
    blocking->blocked = blocking->blocked || lock_table_blocks(blocking->locks, key, writes, NULL);
}

bool txns_block(const struct txns *txns, const struct command *command, struct command_arguments *scratch)
{
    if (lock_table_empty(&txns->parts.locks)) {
        return false;
    }
    struct blocking blocking = {&txns->parts.locks, false};
    enum footprint_reach reach = footprint_visit(command, scratch, meet_key, &blocking);
    return blocking.blocked || reach == FOOTPRINT_ALL_WRITTEN;
}

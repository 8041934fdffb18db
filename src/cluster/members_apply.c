/* Changes: what each may do, and does. */
#include "base/assert.h"
#include "cluster/members_internal.h"

/* ---- verdicts ---- */

static enum members_verdict judge_bootstrap(const struct members *members)
{
    return members_bootstrapped(members) ? MEMBERS_HAS_CLUSTER : MEMBERS_CHANGED;
}

static enum members_verdict judge_seen(const struct members *members, const struct members_change *change)
{
    const struct member *node = members_find(members, change->node);
    if (node == NULL) {
        return MEMBERS_UNKNOWN_NODE;
    }
    if (!id128_is_zero(&node->incarnation) && !id128_equal(&node->incarnation, &change->incarnation)) {
        return MEMBERS_OTHER_INCARNATION;
    }
    if (change->start < node->start) {
        return MEMBERS_COPY;
    }
    if (change->format < members->format) {
        return MEMBERS_OLD_BINARY;
    }
    if (members_address_taken(members, change->node, &change->client, &change->peer)) {
        return MEMBERS_ADDRESS_TAKEN;
    }
    bool same = id128_equal(&node->incarnation, &change->incarnation) && node->format == change->format &&
                node->start == change->start && members_address_equal(&node->client, &change->client) &&
                members_address_equal(&node->peer, &change->peer);
    return same ? MEMBERS_UNCHANGED : MEMBERS_CHANGED;
}

static enum members_verdict judge_add(const struct members *members, const struct members_change *change)
{
    const struct member *node = members_find(members, change->node);
    if (node != NULL && members_address_equal(&node->client, &change->client) &&
        members_address_equal(&node->peer, &change->peer)) {
        return MEMBERS_UNCHANGED; /* the same request again */
    }
    if (change->node <= members->last_id) {
        return MEMBERS_ID_USED;
    }
    if (members->count == PLACEMENT_MAXIMUM_NODES) {
        return MEMBERS_FULL;
    }
    return members_address_taken(members, change->node, &change->client, &change->peer) ? MEMBERS_ADDRESS_TAKEN
                                                                                        : MEMBERS_CHANGED;
}

static enum members_verdict judge_promote(const struct member *node)
{
    if (node->state != MEMBER_JOINING) {
        return node->state == MEMBER_ACTIVE ? MEMBERS_UNCHANGED : MEMBERS_WRONG_STATE;
    }
    return node->format == 0 ? MEMBERS_NOT_SEEN : MEMBERS_CHANGED;
}

static enum members_verdict judge_remove(const struct members *members, const struct member *node)
{
    uint64_t active[PLACEMENT_MAXIMUM_NODES];
    if (node->state == MEMBER_LEAVING) {
        return MEMBERS_UNCHANGED;
    }
    return node->state == MEMBER_ACTIVE && members_placeable(members, active) == 1 ? MEMBERS_LAST_NODE
                                                                                   : MEMBERS_CHANGED;
}

static enum members_verdict judge_forget(const struct members *members, const struct member *node)
{
    if (node->state != MEMBER_LEAVING) {
        return MEMBERS_WRONG_STATE;
    }
    for (uint32_t i = 0; i < members->placement.shard_count; i++) {
        if (placement_votes(&members->placement.shards[i], node->id)) {
            return MEMBERS_STILL_VOTES;
        }
    }
    return MEMBERS_CHANGED;
}

static enum members_verdict judge_node(const struct members *members, const struct members_change *change)
{
    const struct member *node = members_find(members, change->node);
    if (node == NULL) {
        return MEMBERS_UNKNOWN_NODE;
    }
    switch (change->kind) {
    case MEMBERS_PROMOTE: return judge_promote(node);
    case MEMBERS_REMOVE: return judge_remove(members, node);
    case MEMBERS_FORGET: return judge_forget(members, node);
    default: UNREACHABLE();
    }
}

static bool place_equal(const struct placement_shard *a, const struct placement_shard *b)
{
    return a->leader == b->leader && a->voter_count == b->voter_count &&
           memcmp(a->voters, b->voters, a->voter_count * sizeof(a->voters[0])) == 0;
}

static enum members_verdict judge_place(const struct members *members, const struct members_change *change)
{
    if (change->shard == 0 || change->shard > members->placement.shard_count ||
        !members_place_valid(members, &change->place)) {
        return MEMBERS_BAD_PLACE;
    }
    const struct placement_shard *old = &members->placement.shards[change->shard - 1];
    for (size_t i = 0; i < change->place.voter_count; i++) {
        uint64_t voter = change->place.voters[i];
        if (!placement_votes(old, voter) && members_find(members, voter)->state != MEMBER_ACTIVE) {
            return MEMBERS_BAD_PLACE;
        }
    }
    return place_equal(old, &change->place) ? MEMBERS_UNCHANGED : MEMBERS_CHANGED;
}

static enum members_verdict judge_raise(const struct members *members, const struct members_change *change)
{
    if (change->format <= members->format) {
        return MEMBERS_UNCHANGED;
    }
    for (uint32_t i = 0; i < members->count; i++) {
        if (members->nodes[i].format != 0 && members->nodes[i].format < change->format) {
            return MEMBERS_OLD_BINARY;
        }
    }
    return MEMBERS_CHANGED;
}

enum members_verdict members_judge(const struct members *members, const struct members_change *change)
{
    if (change->kind == MEMBERS_BOOTSTRAP) {
        return judge_bootstrap(members);
    }
    if (!members_bootstrapped(members)) {
        return MEMBERS_NO_CLUSTER;
    }
    switch (change->kind) {
    case MEMBERS_SEEN: return judge_seen(members, change);
    case MEMBERS_ADD: return judge_add(members, change);
    case MEMBERS_PLACE: return judge_place(members, change);
    case MEMBERS_RAISE: return judge_raise(members, change);
    case MEMBERS_PROMOTE:
    case MEMBERS_REMOVE:
    case MEMBERS_FORGET: return judge_node(members, change);
    case MEMBERS_BOOTSTRAP: break;
    }
    UNREACHABLE();
}

/* ---- changes ---- */

static void apply_seen(struct member *node, const struct members_change *change)
{
    node->incarnation = change->incarnation;
    node->client = change->client;
    node->peer = change->peer;
    node->format = change->format;
    node->start = change->start;
}

static void apply_add(struct members *members, const struct members_change *change)
{
    struct member *node = &members->nodes[members->count++]; /* its id is the largest */
    *node = (struct member){.id = change->node, .state = MEMBER_JOINING};
    node->client = change->client;
    node->peer = change->peer;
    members->last_id = change->node;
}

static void apply_forget(struct members *members, uint64_t id)
{
    struct member *node = members_find_mutable(members, id);
    struct member *end = members->nodes + members->count--;
    memmove(node, node + 1, (size_t)(end - (node + 1)) * sizeof(*node));
}

static void apply_change(struct members *members, const struct members_change *change)
{
    switch (change->kind) {
    case MEMBERS_SEEN: apply_seen(members_find_mutable(members, change->node), change); break;
    case MEMBERS_ADD: apply_add(members, change); break;
    case MEMBERS_PROMOTE: members_find_mutable(members, change->node)->state = MEMBER_ACTIVE; break;
    case MEMBERS_REMOVE: members_find_mutable(members, change->node)->state = MEMBER_LEAVING; break;
    case MEMBERS_FORGET: apply_forget(members, change->node); break;
    case MEMBERS_PLACE: members->placement.shards[change->shard - 1] = change->place; break;
    case MEMBERS_RAISE: members->format = change->format; break;
    case MEMBERS_BOOTSTRAP: UNREACHABLE();
    }
    members->epoch++;
}

enum status members_apply(struct members *members, const struct members_change *change,
                          enum members_verdict *ret_verdict)
{
    enum members_verdict verdict = members_judge(members, change);
    if (verdict == MEMBERS_CHANGED && change->kind == MEMBERS_BOOTSTRAP) {
        enum status status = members_decode(change->state, members);
        if (status != STATUS_OK) {
            return status;
        }
        if (!members_bootstrapped(members)) {
            return STATUS_CORRUPT;
        }
    } else if (verdict == MEMBERS_CHANGED) {
        apply_change(members, change);
    }
    ASSERT(members_valid(members));
    *ret_verdict = verdict;
    return STATUS_OK;
}

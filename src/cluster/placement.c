#include "cluster/placement.h"

#include "base/assert.h"

/* The work on one placement; nodes are known by their place in `nodes`. */
struct plan {
    struct placement *placement;
    const uint64_t *nodes;
    size_t node_count;
    uint32_t seats[PLACEMENT_MAXIMUM_NODES]; /* shards voted in */
    uint32_t leads[PLACEMENT_MAXIMUM_NODES]; /* shards led */
};

static const size_t nowhere = PLACEMENT_MAXIMUM_NODES;

void placement_init(struct placement *placement, uint32_t shard_count)
{
    ASSERT(shard_count > 0 && shard_count <= SLOT_MAXIMUM_SHARDS);
    *placement = (struct placement){.shard_count = shard_count};
}

static size_t find_voter(const struct placement_shard *shard, uint64_t node)
{
    size_t at = 0;
    while (at < shard->voter_count && shard->voters[at] != node) {
        at++;
    }
    return at;
}

bool placement_votes(const struct placement_shard *shard, uint64_t node)
{
    return find_voter(shard, node) < shard->voter_count;
}

static size_t place_of(const struct plan *plan, uint64_t node)
{
    size_t at = 0;
    while (at < plan->node_count && plan->nodes[at] != node) {
        at++;
    }
    return at < plan->node_count ? at : nowhere;
}

/* ---- voters ---- */

static void add_voter(struct plan *plan, struct placement_shard *shard, size_t node)
{
    ASSERT(shard->voter_count < PLACEMENT_MAXIMUM_REPLICAS);
    size_t at = shard->voter_count++;
    for (; at > 0 && shard->voters[at - 1] > plan->nodes[node]; at--) {
        shard->voters[at] = shard->voters[at - 1];
    }
    shard->voters[at] = plan->nodes[node];
    plan->seats[node]++;
}

static void remove_voter(struct plan *plan, struct placement_shard *shard, uint64_t voter)
{
    size_t at = find_voter(shard, voter);
    ASSERT(at < shard->voter_count);
    shard->voter_count--;
    memmove(&shard->voters[at], &shard->voters[at + 1], (shard->voter_count - at) * sizeof(shard->voters[0]));
    size_t node = place_of(plan, voter);
    if (node != nowhere) {
        plan->seats[node]--;
    }
    if (shard->leader == voter) {
        shard->leader = 0;
    }
}

/* Forgets voters that are no nodes, and counts the others. */
static void count_voters(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->placement->shard_count; i++) {
        struct placement_shard *shard = &plan->placement->shards[i];
        for (size_t at = shard->voter_count; at > 0; at--) {
            size_t node = place_of(plan, shard->voters[at - 1]);
            if (node == nowhere) {
                remove_voter(plan, shard, shard->voters[at - 1]);
            } else {
                plan->seats[node]++;
            }
        }
    }
}

/* The node with the fewest seats that does not vote in the shard, or nowhere. */
static size_t emptiest_outside(const struct plan *plan, const struct placement_shard *shard)
{
    size_t best = nowhere;
    for (size_t node = 0; node < plan->node_count; node++) {
        if (!placement_votes(shard, plan->nodes[node]) && (best == nowhere || plan->seats[node] < plan->seats[best])) {
            best = node;
        }
    }
    return best;
}

/* The voter with the most seats, rather not the leader. */
static uint64_t fullest_voter(const struct plan *plan, const struct placement_shard *shard)
{
    uint64_t best = shard->leader;
    uint32_t most = 0;
    for (size_t at = 0; at < shard->voter_count; at++) {
        uint32_t seats = plan->seats[place_of(plan, shard->voters[at])];
        if (shard->voters[at] != shard->leader && seats > most) {
            best = shard->voters[at];
            most = seats;
        }
    }
    return best;
}

static void fill_seats(struct plan *plan, uint32_t replicas)
{
    for (uint32_t i = 0; i < plan->placement->shard_count; i++) {
        struct placement_shard *shard = &plan->placement->shards[i];
        while (shard->voter_count > replicas) {
            remove_voter(plan, shard, fullest_voter(plan, shard));
        }
        while (shard->voter_count < replicas) {
            add_voter(plan, shard, emptiest_outside(plan, shard));
        }
    }
}

/* A shard in which `from` votes and `to` does not, rather one that `from` does not lead. */
static struct placement_shard *find_move(const struct plan *plan, size_t from, size_t to)
{
    struct placement_shard *found = NULL;
    for (uint32_t i = 0; i < plan->placement->shard_count; i++) {
        struct placement_shard *shard = &plan->placement->shards[i];
        if (placement_votes(shard, plan->nodes[from]) && !placement_votes(shard, plan->nodes[to])) {
            if (shard->leader != plan->nodes[from]) {
                return shard;
            }
            found = found == NULL ? shard : found;
        }
    }
    return found;
}

/* Each move takes from a node with most to one with fewest. There is always a shard for it, as `from` votes in more
 * shards than `to` does; and it ends, as each move makes the sum of squares of the seats smaller. */
static void even_seats(struct plan *plan)
{
    for (;;) {
        size_t most = 0;
        size_t fewest = 0;
        for (size_t node = 1; node < plan->node_count; node++) {
            most = plan->seats[node] > plan->seats[most] ? node : most;
            fewest = plan->seats[node] < plan->seats[fewest] ? node : fewest;
        }
        if (plan->seats[most] <= plan->seats[fewest] + 1) {
            return;
        }
        struct placement_shard *shard = find_move(plan, most, fewest);
        ASSERT(shard != NULL);
        remove_voter(plan, shard, plan->nodes[most]);
        add_voter(plan, shard, fewest);
    }
}

/* ---- leaders ---- */

static void name_leaders(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->placement->shard_count; i++) {
        size_t leader = place_of(plan, plan->placement->shards[i].leader);
        if (leader != nowhere) {
            plan->leads[leader]++;
        }
    }
    for (uint32_t i = 0; i < plan->placement->shard_count; i++) {
        struct placement_shard *shard = &plan->placement->shards[i];
        if (shard->leader != 0) {
            continue;
        }
        size_t best = place_of(plan, shard->voters[0]);
        for (size_t at = 1; at < shard->voter_count; at++) {
            size_t node = place_of(plan, shard->voters[at]);
            best = plan->leads[node] < plan->leads[best] ? node : best;
        }
        shard->leader = plan->nodes[best];
        plan->leads[best]++;
    }
}

/* A way on which leaderships can be handed on, one shard per step. */
struct path {
    uint32_t shard[PLACEMENT_MAXIMUM_NODES]; /* which shard brings the node one more, by node */
    bool seen[PLACEMENT_MAXIMUM_NODES];
};

/* Searches in breadth for the nearest node that leads at least two shards fewer than `from`. */
static size_t find_path(const struct plan *plan, size_t from, struct path *ret_path)
{
    size_t queue[PLACEMENT_MAXIMUM_NODES] = {from};
    size_t end = 1;
    *ret_path = (struct path){0};
    ret_path->seen[from] = true;
    for (size_t next = 0; next < end; next++) {
        for (uint32_t i = 0; i < plan->placement->shard_count; i++) {
            const struct placement_shard *shard = &plan->placement->shards[i];
            for (size_t at = 0; shard->leader == plan->nodes[queue[next]] && at < shard->voter_count; at++) {
                size_t node = place_of(plan, shard->voters[at]);
                if (ret_path->seen[node]) {
                    continue;
                }
                ret_path->seen[node] = true;
                ret_path->shard[node] = i;
                if (plan->leads[node] + 2 <= plan->leads[from]) {
                    return node;
                }
                queue[end++] = node;
            }
        }
    }
    return nowhere;
}

static void hand_on(struct plan *plan, size_t from, size_t to, const struct path *path)
{
    plan->leads[from]--;
    plan->leads[to]++;
    for (size_t node = to; node != from;) {
        struct placement_shard *shard = &plan->placement->shards[path->shard[node]];
        size_t before = place_of(plan, shard->leader);
        shard->leader = plan->nodes[node];
        node = before;
    }
}

/* An assignment from which no such path leads on has the smallest sum of squares of all (Harvey, Ladner, Lovász and
 * Tamir, "Semi-matchings for bipartite graphs and load balancing", 2003). With even seats that means even leaders:
 * giving each voter an equal part of its shard's leadership makes parts of a sum that differ by at most 1 / replicas,
 * and flows through whole numbers exist wherever such a flow does. */
static void even_leaders(struct plan *plan)
{
    struct path path;
    bool tried[PLACEMENT_MAXIMUM_NODES] = {false};
    for (;;) {
        size_t from = nowhere; /* who leads most goes first: fewer leaderships move */
        for (size_t node = 0; node < plan->node_count; node++) {
            if (!tried[node] && (from == nowhere || plan->leads[node] > plan->leads[from])) {
                from = node;
            }
        }
        if (from == nowhere) {
            return;
        }
        size_t to = find_path(plan, from, &path);
        if (to == nowhere) {
            tried[from] = true;
        } else {
            hand_on(plan, from, to, &path);
            memset(tried, 0, sizeof(tried));
        }
    }
}

void placement_balance(struct placement *placement, uint32_t replicas, const uint64_t *nodes, size_t node_count)
{
    ASSERT(node_count > 0 && node_count <= PLACEMENT_MAXIMUM_NODES);
    ASSERT(replicas > 0 && replicas <= PLACEMENT_MAXIMUM_REPLICAS);
    for (size_t i = 0; i < node_count; i++) {
        ASSERT(nodes[i] > (i == 0 ? 0 : nodes[i - 1]));
    }
    struct plan plan = {.placement = placement, .nodes = nodes, .node_count = node_count};
    count_voters(&plan);
    fill_seats(&plan, replicas < node_count ? replicas : (uint32_t)node_count);
    even_seats(&plan);
    name_leaders(&plan);
    even_leaders(&plan);
}

size_t placement_meta_voters(const uint64_t *nodes, size_t node_count,
                             uint64_t ret_voters[static PLACEMENT_MAXIMUM_REPLICAS])
{
    size_t count = node_count < PLACEMENT_MAXIMUM_REPLICAS ? node_count : PLACEMENT_MAXIMUM_REPLICAS;
    memcpy(ret_voters, nodes, count * sizeof(nodes[0]));
    return count;
}

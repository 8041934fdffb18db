/* A mover: a client that says COHORT.TRANSFER for some shard and some node, by one connection at a time, at any node.
 * What is checked:
 *  1. the answer is OK, or a refusal that can be (no majority, unknown outcome, a node that does not vote or cannot be
 *     reached, …);
 *  2. in the end, when nothing is broken, it says once more for each shard who is to lead it, and that one does. */
#include "node_world.h"

#include "base/assert.h"

#include <stdio.h>
#include <string.h>

enum { READ_BYTES = 1024, FINAL_MS = 20000, LOOK_MS = 200, PATIENCE_MS = 12000 };

static uint64_t draw(struct node_mover *mover, uint64_t bound)
{
    return node_draw(mover->world, SIM_DRAW_CLIENT, bound);
}

static void rest(struct node_mover *mover, int64_t duration_ms)
{
    env_timer_start(mover->env, &mover->timer, env_monotonic_ns(mover->env) + duration_ms * MS);
}

static void disconnect(struct node_mover *mover)
{
    if (mover->stream != NULL) {
        env_stream_close(mover->env, mover->stream);
        mover->stream = NULL;
    }
    buffer_clear(&mover->in);
    mover->asked = false;
}

/* ---- answers ---- */

static bool may_be(struct slice line)
{
    static const char *const begins[] = {"-CLUSTERDOWN ", "-UNCERTAIN ", "-BUSY ", "-MISCONF ", "-ERR node "};
    bool may = slice_equal(line, SLICE_LITERAL("+OK"));
    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
        may = may || slice_starts_with(line, slice_from_string(begins[i]));
    }
    return may;
}

static void take_line(struct node_mover *mover, struct slice line)
{
    mover->asked = false;
    mover->taken = slice_equal(line, SLICE_LITERAL("+OK"));
    if (!may_be(line)) {
        node_fail(mover->world, "COHORT.TRANSFER %d %d: %.*s", mover->shard, mover->node + 1, (int)line.size,
                  (const char *)line.data);
    }
}

static void readable(void *owner)
{
    struct node_mover *mover = owner;
    size_t size = 0;
    uint8_t *at = buffer_reserve(&mover->in, READ_BYTES);
    enum status status = env_stream_read(mover->env, mover->stream, at, READ_BYTES, &size);
    if (status == STATUS_AGAIN) {
        return;
    }
    if (status != STATUS_OK) {
        disconnect(mover);
        return;
    }
    mover->in.size += size;
    const uint8_t *end = memchr(mover->in.data, '\r', mover->in.size);
    if (end != NULL && end + 1 < mover->in.data + mover->in.size) {
        take_line(mover, slice_of(mover->in.data, (size_t)(end - mover->in.data)));
        buffer_clear(&mover->in);
    }
}

static void writable(void *owner)
{
    struct node_mover *mover = owner;
    struct iovec part = {mover->out.data, mover->out.size};
    size_t taken = 0;
    if (mover->out.size > 0 && env_stream_write(mover->env, mover->stream, &part, 1, &taken) == STATUS_OK) {
        buffer_consume(&mover->out, taken);
    }
    env_stream_want_write(mover->env, mover->stream, mover->out.size > 0);
}

static const struct env_stream_events stream_events = {readable, writable};

/* ---- questions ---- */

/* On a connection of its own, through any node. */
static void ask(struct node_mover *mover, int through, int shard, int node)
{
    struct node_world *world = mover->world;
    disconnect(mover);
    mover->taken = false;
    mover->shard = shard;
    mover->node = node;
    if (env_connect(mover->env, sim_node_address(world->sim, through), NODE_PORT, &mover->stream) != STATUS_OK) {
        mover->stream = NULL;
        return;
    }
    mover->asked = true;
    mover->asked_ns = sim_now_ns(world->sim);
    env_stream_attach(mover->env, mover->stream, &stream_events, mover);
    buffer_clear(&mover->out);
    buffer_append_format(&mover->out, "COHORT.TRANSFER %d %d\r\n", shard, node + 1);
    env_stream_want_write(mover->env, mover->stream, true);
}

static bool waits(const struct node_mover *mover)
{
    return mover->asked && sim_now_ns(mover->world->sim) - mover->asked_ns < PATIENCE_MS * MS;
}

static void fire(struct env_timer *timer)
{
    struct node_mover *mover = CONTAINER_OF(timer, struct node_mover, timer);
    struct node_world *world = mover->world;
    if (world->clients_stopped) {
        return;
    }
    if (!waits(mover)) {
        int through = (int)draw(mover, (uint64_t)world->profile.members);
        int shard = 1 + (int)draw(mover, (uint64_t)world->profile.groups);
        ask(mover, through, shard, (int)draw(mover, (uint64_t)world->profile.members));
    }
    rest(mover, 50 + (int64_t)draw(mover, 1500));
}

/* ---- in the end ---- */

static bool belongs(const struct node *node) { return !node->left_out && !node->wiped; }

/* Asked of one node after the other, until one is taken who may lead it; false: nobody was in time. */
static bool name_leader(struct node_mover *mover, int shard, int64_t limit_ns)
{
    struct node_world *world = mover->world;
    int first = (int)draw(mover, (uint64_t)world->profile.members);
    mover->taken = false;
    for (int i = 0; !mover->taken && !world->result->failed && sim_now_ns(world->sim) < limit_ns; i++) {
        int node = (first + i) % world->profile.members;
        if (!belongs(&world->nodes[node])) {
            continue;
        }
        ask(mover, node, shard, node);
        while (waits(mover) && !world->result->failed) {
            node_world_run_for(world, LOOK_MS * MS);
        }
        if (!mover->taken) {
            node_world_run_for(world, LOOK_MS * MS);
        }
    }
    return mover->taken;
}

static void move_finally(struct node_mover *mover, int shard)
{
    struct node_world *world = mover->world;
    int64_t limit_ns = sim_now_ns(world->sim) + FINAL_MS * MS;
    if (!name_leader(mover, shard, limit_ns) && !world->result->failed) {
        node_fail(world, "shard %d: %d s after everything healed nobody may be told to lead it", shard,
                  FINAL_MS / 1000);
    }
    const struct node *leader = NULL;
    while (!world->result->failed && (leader == NULL || leader->number != mover->node)) {
        if (sim_now_ns(world->sim) > limit_ns) {
            node_fail(world, "shard %d: node %d was told to lead it and does not, %d s after everything healed", shard,
                      mover->node + 1, FINAL_MS / 1000);
        }
        node_world_run_for(world, LOOK_MS * MS);
        leader = node_leader(world, shard, SIM_DRAW_TIMING);
    }
}

void node_moves_finish(struct node_world *world)
{
    for (int shard = 1; world->profile.moves != 0 && shard <= world->profile.groups && !world->result->failed;
         shard++) {
        move_finally(&world->mover, shard);
    }
}

/* ---- life ---- */

void node_moves_start(struct node_world *world)
{
    if (world->profile.moves != 0) {
        struct node_mover *mover = &world->mover;
        mover->world = world;
        mover->env = sim_node_start(world->sim, NODE_MOVER_MACHINE);
        env_timer_init(&mover->timer, fire);
        rest(mover, (int64_t)draw(mover, 3000));
    }
}

void node_moves_deinit(struct node_world *world)
{
    struct node_mover *mover = &world->mover;
    if (mover->env != NULL) {
        env_timer_stop(mover->env, &mover->timer);
        disconnect(mover);
    }
    buffer_deinit(&mover->in);
    buffer_deinit(&mover->out);
}

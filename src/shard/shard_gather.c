#include "shard/shard_state.h"

/* On the machine of docs/performance.md clients of one program come 5 to 10 µs apart. */
enum { GAP_NS = 20000, MOST_NS = 500000, MOST_TURNS = 128 };

static void gather_begin(struct gather *gather)
{
    gather->count = 0;
    gather->turns = 0;
}

void gather_turn(struct shard *shard)
{
    struct gather *gather = &shard->gather;
    const struct batch *open = shard->open;
    gather->waits = false;
    if (open->request_count >= gather->last || open->logged_count == 0) {
        gather_begin(gather);
        return;
    }
    int64_t now_ns = env_monotonic_ns(shard->env);
    if (open->request_count != gather->count) {
        gather->count = open->request_count;
        gather->newest_ns = now_ns;
    }
    gather->waits =
        now_ns - gather->newest_ns <= GAP_NS && now_ns - open->since_ns <= MOST_NS && ++gather->turns <= MOST_TURNS;
}

void gather_sealed(struct shard *shard, const struct batch *batch)
{
    if (batch->logged_count != 0) {
        shard->gather.last = batch->request_count;
    }
    gather_begin(&shard->gather);
}

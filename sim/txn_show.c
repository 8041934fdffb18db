/* What is seen of the transaction while it runs, told to the sequence diagram. */
#include "txn_world.h"

#include "machine/txn/txn.h"

#include <stdio.h>

static int64_t since(const struct txn_world *world, int64_t at_ns) { return at_ns - world->began_ns; }

static int64_t now(const struct txn_world *world) { return since(world, sim_now_ns(world->nodes->sim)); }

/* The client, its node, the leaders by shard, the others. */
void txn_show_begin(struct txn_world *world)
{
    int columns = 1;
    bool placed[TXN_NODES] = {false};
    char name[32];
    sequence_column(world->sequence, "client", "");
    for (int i = 0; i <= TXN_SHARDS + TXN_NODES; i++) {
        int node = i == 0 ? world->driver : i <= TXN_SHARDS ? world->leaders[i] : i - TXN_SHARDS - 1;
        char below[64] = "";
        size_t size = 0;
        if (placed[node]) {
            continue;
        }
        placed[node] = true;
        world->column_of[node] = columns++;
        for (int shard = 1; shard <= TXN_SHARDS; shard++) {
            if (world->leaders[shard] == node) {
                size += (size_t)snprintf(below + size, sizeof(below) - size, "%s %d", size == 0 ? "leads shard" : ",",
                                         shard);
            }
        }
        (void)snprintf(name, sizeof(name), "node %d", node + 1);
        sequence_column(world->sequence, name,
                        node == world->driver ? "runs the transaction"
                        : size == 0           ? "follows"
                                              : below);
        world->alive[node] = true;
    }
    memcpy(world->led_by, world->leaders, sizeof(world->led_by));
}

size_t txn_show_sent(struct txn_world *world, int64_t at_ns, int from, int to, enum txn_message message,
                     const char *text)
{
    int columns[2] = {from, to};
    for (int i = 0; i < 2; i++) {
        columns[i] = columns[i] < NODE_CLIENT_MACHINE ? world->column_of[columns[i]] : 0;
    }
    enum sequence_arrow arrow = message == TXN_MESSAGE_ENTRY    ? SEQUENCE_ENTRY
                                : message == TXN_MESSAGE_STORED ? SEQUENCE_STORED
                                                                : SEQUENCE_MESSAGE;
    return sequence_sent(world->sequence, since(world, at_ns), columns[0], columns[1], arrow, text);
}

void txn_show_crash(struct txn_world *world, int column, const char *text)
{
    sequence_note(world->sequence, now(world), column, SEQUENCE_FAULT, text);
    sequence_life(world->sequence, now(world), column, false);
}

/* ---- states ---- */

/* There is one transaction, so one record of it at most. */
static const struct home *home_of(const struct txns *txns)
{
    const struct list *lists[] = {&txns->homes.open, &txns->homes.decided, &txns->homes.done, &txns->homes.kept};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        LIST_FOR_EACH (at, (struct list *)(uintptr_t)lists[i]) {
            return CONTAINER_OF(at, struct home, node);
        }
    }
    return NULL;
}

static const struct part *part_of(const struct txns *txns)
{
    const struct list *lists[] = {&txns->parts.prepared, &txns->parts.finished};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        LIST_FOR_EACH (at, (struct list *)(uintptr_t)lists[i]) {
            return CONTAINER_OF(at, struct part, node);
        }
    }
    return NULL;
}

static enum sequence_note note_of(uint8_t outcome)
{
    return outcome == HOME_COMMIT ? SEQUENCE_COMMITTED : outcome == HOME_ABORT ? SEQUENCE_ABORTED : SEQUENCE_STATE;
}

/* Its new state; NULL: it is the old one. A shard with nothing open shows no records: then one that was decided is
 * done. */
static const char *see_home(struct txn_world *world, int shard, const struct home *home, enum sequence_note *note)
{
    struct txn_seen *seen = &world->seen[shard];
    bool decided = seen->home == HOME_COMMIT || seen->home == HOME_ABORT;
    uint8_t state = home != NULL ? home->state : decided ? HOME_DONE : seen->home;
    if (state == seen->home) {
        return NULL;
    }
    seen->home = state;
    world->decided = home != NULL ? home->outcome : world->decided;
    *note = note_of(world->decided);
    return home_state_name((enum home_state)state);
}

static const char *see_part(struct txn_world *world, int shard, const struct part *part, enum sequence_note *note)
{
    struct txn_seen *seen = &world->seen[shard];
    uint8_t before = seen->part;
    uint8_t state = part == NULL ? PART_NONE : part->state;
    seen->part = state;
    if (state == before) {
        return NULL;
    }
    *note = state == PART_COMMITTED || before == PART_COMMITTED ? SEQUENCE_COMMITTED
            : state == PART_ABORTED || before == PART_ABORTED   ? SEQUENCE_ABORTED
            : state == PART_NONE                                ? note_of(world->decided)
                                                                : SEQUENCE_STATE;
    return state != PART_NONE                                   ? part_state_name((enum part_state)state)
           : before == PART_COMMITTED || before == PART_ABORTED ? "forgotten"
                                                                : "finished";
}

static void show_shard(struct txn_world *world, int node, int shard)
{
    int64_t time_ms;
    char text[64];
    char number[16] = "";
    enum sequence_note note = SEQUENCE_STATE;
    const struct txns *txns = node_txns(&world->nodes->nodes[node], shard, &time_ms);
    const char *home = see_home(world, shard, txns == NULL ? NULL : home_of(txns), &note);
    const char *part = see_part(world, shard, txns == NULL ? NULL : part_of(txns), &note);
    if (node != world->leaders[shard]) {
        (void)snprintf(number, sizeof(number), "shard %d: ", shard);
    }
    if (home != NULL || part != NULL) {
        (void)snprintf(text, sizeof(text), "%s%s%s%s%s", number, home == NULL ? "" : "home ", home == NULL ? "" : home,
                       home == NULL || part == NULL ? "" : ", ", part == NULL ? "" : part);
        sequence_note(world->sequence, now(world), world->column_of[node], note, text);
    }
}

static void show_node(struct txn_world *world, int node)
{
    struct node *at = &world->nodes->nodes[node];
    bool alive = at->server != NULL && !at->crashed;
    if (alive != world->alive[node]) {
        world->alive[node] = alive;
        sequence_life(world->sequence, now(world), world->column_of[node], alive);
        if (alive) {
            sequence_note(world->sequence, now(world), world->column_of[node], SEQUENCE_REMARK, "starts again");
        }
    }
    for (int shard = 1; shard <= TXN_SHARDS && node_alive(at); shard++) {
        struct node_sight sight;
        node_look(at, shard, &sight);
        if (!sight.leading) {
            continue;
        }
        if (world->led_by[shard] != node) {
            char text[32];
            (void)snprintf(text, sizeof(text), "leads shard %d", shard);
            sequence_note(world->sequence, now(world), world->column_of[node], SEQUENCE_REMARK, text);
            world->led_by[shard] = node;
        }
        show_shard(world, node, shard);
    }
}

void txn_show_step(struct txn_world *world)
{
    for (int node = 0; node < TXN_NODES && world->sequence != NULL; node++) {
        uint64_t syncs = sim_disk_operations(sim_node_disk(world->nodes->sim, node), SIM_DISK_SYNC);
        if (syncs != world->syncs[node]) {
            sequence_note(world->sequence, now(world), world->column_of[node], SEQUENCE_SYNC, "");
        }
        show_node(world, node);
    }
}

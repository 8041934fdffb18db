#include "founding_world.h"

#include "base/assert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct owner {
    struct world *world;
    int node;
};

static struct owner owners[WORLD_NODES]; /* of the one world of a test */

struct id128 world_incarnation(int folder)
{
    struct id128 id = {{0xee}};
    id.bytes[15] = (uint8_t)(folder + 1);
    return id;
}

/* ---- what must be true ---- */

static struct world_folder *folder_of(struct world *world, int node)
{
    return &world->folders[world->nodes[node].folder];
}

static int folder_named(const struct world *world, const struct id128 *incarnation)
{
    for (int i = 0; i < world->folder_count; i++) {
        struct id128 id = world_incarnation(i);
        if (id128_equal(&id, incarnation)) {
            return i;
        }
    }
    fail_msg("an incarnation that nobody has");
    return -1;
}

/* Invariants 2 and 3: what this folder founded with, against all others. */
static void check_founded(struct world *world, const struct world_folder *folder)
{
    for (int i = 0; i < world->count; i++) {
        const struct world_folder *other = &world->folders[folder_named(world, &folder->set[i])];
        assert_int_equal(other->node, i + 1);
        assert_true(other->told >= FOUNDING_AGREED || other == folder);
        assert_memory_equal(other->told >= FOUNDING_AGREED ? other->set : folder->set, folder->set,
                            sizeof(folder->set));
    }
    for (int f = 0; f < world->folder_count; f++) {
        const struct world_folder *other = &world->folders[f];
        bool same = memcmp(other->set, folder->set, sizeof(folder->set)) == 0;
        for (int i = 0; other->founded && !same && i < world->count; i++) {
            assert_false(id128_equal(&other->set[i], &folder->set[i]));
        }
    }
}

/* The founding of this node says it is in this state: to others, or in its first words after a start. */
static void check_state(struct world *world, int node, enum founding_state state)
{
    struct world_folder *folder = folder_of(world, node);
    const struct founding_record *record = founding_record(world->nodes[node].founding);
    assert_true(state >= folder->told); /* nothing is taken back, by a crash neither */
    if (state == FOUNDING_FRESH) {
        return;
    }
    struct id128 set[WORLD_NODES] = {0};
    for (int i = 0; i < world->count; i++) {
        set[i] = record->nodes[i].incarnation;
    }
    struct id128 self = world_incarnation(world->nodes[node].folder);
    assert_true(id128_equal(&set[node], &self));
    if (folder->told >= FOUNDING_AGREED) {
        assert_memory_equal(folder->set, set, sizeof(set)); /* invariant 1 */
    }
    memcpy(folder->set, set, sizeof(set));
    folder->told = state;
    if (state == FOUNDING_FOUNDED && !folder->founded) {
        folder->founded = true;
        check_founded(world, folder);
    }
}

/* ---- events ---- */

static void on_send(void *owner_any, uint64_t node, struct slice payload)
{
    struct owner *owner = owner_any;
    struct world *world = owner->world;
    int to = (int)node - 1;
    assert_false(world->nodes[owner->node].refused);
    if (sim_disk_down(world->nodes[owner->node].disk)) {
        return; /* the crash came before */
    }
    assert_true(world->connected[owner->node][to]);
    assert_true(payload.size <= WORLD_MESSAGE_BYTES);
    check_state(world, owner->node, founding_state(world->nodes[owner->node].founding));
    if (!world->connected[to][owner->node]) {
        return; /* it is gone, and this node does not know yet */
    }
    struct world_link *link = &world->links[owner->node][to];
    assert_true(link->count < WORLD_QUEUE);
    struct world_message *message = &link->queue[link->count++];
    memcpy(message->bytes, payload.data, payload.size);
    message->size = payload.size;
}

static void on_founded(void *owner_any, const struct founding_record *record)
{
    struct owner *owner = owner_any;
    struct world_node *node = &owner->world->nodes[owner->node];
    assert_int_equal(++node->founded_events, 1);
    assert_ptr_equal(record, founding_record(node->founding));
    if (!sim_disk_down(node->disk)) {
        check_state(owner->world, owner->node, FOUNDING_FOUNDED);
    }
}

static void on_refused(void *owner_any, enum status status, const char *line)
{
    struct owner *owner = owner_any;
    struct world_node *node = &owner->world->nodes[owner->node];
    assert_false(node->refused);
    node->refused = true;
    node->status = status;
    (void)snprintf(node->line, sizeof(node->line), "%s", line);
}

static const struct founding_events events = {on_send, on_founded, on_refused};

/* ---- connections ---- */

static void went_down(struct world *world, int at, int peer)
{
    if (world->connected[at][peer]) {
        world->connected[at][peer] = false;
        world->links[peer][at].count = 0;
        founding_peer_down(world->nodes[at].founding, (uint64_t)peer + 1);
    }
}

void world_disconnect(struct world *world, int a, int b)
{
    went_down(world, a, b);
    went_down(world, b, a);
}

/* ---- life ---- */

static void new_folder(struct world *world, int node)
{
    assert_true(world->folder_count < WORLD_FOLDERS);
    world->nodes[node].folder = world->folder_count;
    world->folders[world->folder_count++] = (struct world_folder){.node = (uint64_t)node + 1};
}

struct world *world_create(int count, uint64_t seed)
{
    struct world *world = calloc(1, sizeof(*world));
    ASSERT(world != NULL);
    *world = (struct world){.count = count, .shards = 4, .replicas = 3, .seed = seed};
    for (int i = 0; i < count; i++) {
        struct member *founder = &world->founders[i];
        founder->id = (uint64_t)i + 1;
        ASSERT(member_address_make(&founder->client, SLICE_LITERAL("127.0.0.1"), 7001 + i));
        ASSERT(member_address_make(&founder->peer, SLICE_LITERAL("127.0.0.1"), 17001 + i));
        world->nodes[i].disk = sim_disk_create(seed * WORLD_NODES + (uint64_t)i);
        new_folder(world, i);
    }
    return world;
}

void world_destroy(struct world *world)
{
    for (int i = 0; i < world->count; i++) {
        founding_destroy(world->nodes[i].founding);
        sim_disk_destroy(world->nodes[i].disk);
    }
    free(world);
}

bool world_start(struct world *world, int at)
{
    struct world_node *node = &world->nodes[at];
    assert_null(node->founding);
    owners[at] = (struct owner){world, at};
    disk_env_init(&node->env, node->disk);
    node->refused = false;
    node->founded_events = 0;
    struct founding_options options = {.directory = "/",
                                       .node = (uint64_t)at + 1,
                                       .incarnation = world_incarnation(node->folder),
                                       .founders = world->founders,
                                       .founder_count = (size_t)world->count,
                                       .shards = world->shards,
                                       .replicas = world->replicas};
    node->status = founding_create(&node->env.env, &options, &events, &owners[at], &node->founding, node->line);
    node->refused = node->status != STATUS_OK;
    if (!node->refused) {
        check_state(world, at, founding_state(node->founding));
    }
    return !node->refused;
}

static void end(struct world *world, int at, bool silently)
{
    for (int i = 0; i < world->count; i++) {
        if (!silently) {
            world_disconnect(world, at, i);
        }
        world->connected[at][i] = false;
        world->links[i][at].count = 0;
    }
    founding_destroy(world->nodes[at].founding);
    world->nodes[at].founding = NULL;
    world->nodes[at].refused = false;
}

void world_crash(struct world *world, int at, bool silently)
{
    end(world, at, silently);
    sim_disk_crash(world->nodes[at].disk);
}

void world_wipe(struct world *world, int at, bool silently)
{
    end(world, at, silently);
    sim_disk_destroy(world->nodes[at].disk);
    world->nodes[at].disk = sim_disk_create(world->seed + (uint64_t)world->folder_count * 1000);
    new_folder(world, at);
}

/* As the transport: not to one that it does not expect. */
static bool welcome(struct world *world, int at, int peer)
{
    const struct id128 *expected = founding_expected(world->nodes[at].founding, (uint64_t)peer + 1);
    struct id128 incarnation = world_incarnation(world->nodes[peer].folder);
    return expected == NULL || id128_equal(expected, &incarnation);
}

static void came_up(struct world *world, int at, int peer)
{
    struct id128 incarnation = world_incarnation(world->nodes[peer].folder);
    founding_peer_up(world->nodes[at].founding, (uint64_t)peer + 1, &incarnation);
}

void world_connect(struct world *world, int a, int b)
{
    if (a == b || (world->connected[a][b] && world->connected[b][a]) || world->nodes[a].founding == NULL ||
        world->nodes[b].founding == NULL || world->nodes[a].refused || world->nodes[b].refused ||
        !welcome(world, a, b) || !welcome(world, b, a)) {
        return;
    }
    world->links[a][b].count = world->links[b][a].count = 0;
    world->connected[a][b] = world->connected[b][a] = true;
    came_up(world, a, b);
    came_up(world, b, a);
}

bool world_deliver(struct world *world, int a, int b)
{
    struct world_link *link = &world->links[a][b];
    if (link->count == 0) {
        return false;
    }
    struct world_message message = link->queue[0];
    memmove(link->queue, link->queue + 1, (size_t)--link->count * sizeof(message));
    assert_int_equal(founding_receive(world->nodes[b].founding, (uint64_t)a + 1, slice_of(message.bytes, message.size)),
                     STATUS_OK);
    if (!sim_disk_down(world->nodes[b].disk)) {
        check_state(world, b, founding_state(world->nodes[b].founding));
    }
    return true;
}

void world_settle_links(struct world *world)
{
    bool more = true;
    while (more) {
        more = false;
        for (int a = 0; a < world->count; a++) {
            for (int b = 0; b < world->count; b++) {
                more = world_deliver(world, a, b) || more;
            }
        }
    }
}

void world_settle(struct world *world)
{
    for (int a = 0; a < world->count; a++) {
        if (world->nodes[a].founding == NULL) {
            world_start(world, a);
        }
    }
    for (int a = 0; a < world->count; a++) {
        for (int b = 0; b < a; b++) {
            world_connect(world, a, b);
        }
    }
    world_settle_links(world);
}

bool world_all_founded(const struct world *world)
{
    for (int i = 0; i < world->count; i++) {
        const struct world_node *node = &world->nodes[i];
        if (node->founding == NULL || node->refused || founding_state(node->founding) != FOUNDING_FOUNDED ||
            !world->folders[node->folder].founded) {
            return false;
        }
        for (int k = 0; k < world->count; k++) {
            struct id128 incarnation = world_incarnation(world->nodes[k].folder);
            if (!id128_equal(&incarnation, &world->folders[node->folder].set[k])) {
                return false;
            }
        }
    }
    return true;
}

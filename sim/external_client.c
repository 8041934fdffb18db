/* The client: BEGIN, SET, JOIN each, prepare each, COMMIT, finish each, acknowledge each. When its connection ends it
 * is gone: whoever resolves does the rest. */
#include "external_world.h"

#include <stdio.h>

enum { TIMEOUT_MS = 2000 };

enum step { STEP_BEGIN, STEP_SET, STEP_JOIN, STEP_PREPARE, STEP_COMMIT, STEP_FINISH, STEP_TELL, STEP_OVER };

/* Steps of which there is one for each resource take as many numbers. */
static enum step kind_of(const struct external_world *world, int number, int *ret_branch)
{
    static const bool each[] = {[STEP_JOIN] = true, [STEP_PREPARE] = true, [STEP_FINISH] = true, [STEP_TELL] = true};
    enum step kind = STEP_BEGIN;
    for (; kind < STEP_OVER; kind++) {
        int times = each[kind] ? world->what->resources : 1;
        if (number < times) {
            *ret_branch = number;
            return kind;
        }
        number -= times;
    }
    *ret_branch = 0;
    return STEP_OVER;
}

static void say(struct external_world *world, const struct buffer *words)
{
    if (world->step == 0) {
        txn_client_say(&world->client, world->driver, buffer_slice(words));
    } else {
        txn_client_go_on(&world->client, buffer_slice(words));
    }
    world->waits = true;
}

static void act(struct external_world *world, enum step kind, int branch)
{
    struct buffer words = {0};
    switch (kind) {
    case STEP_BEGIN:
        buffer_append_format(&words, "TXN.BEGIN TIMEOUT %d%s%s\r\n", TIMEOUT_MS, world->what->named ? " ID " : "",
                             world->what->named ? world->id : "");
        break;
    case STEP_SET:
        for (int shard = 1; shard <= TXN_SHARDS && !world->what->keyless; shard++) {
            buffer_append_format(&words, "SET {%s}k new\r\n", world->nodes->shards[shard].tag);
        }
        break;
    case STEP_JOIN: buffer_append_format(&words, "TXN.JOIN %s sim://%d b%d\r\n", world->id, branch, branch); break;
    case STEP_PREPARE: external_prepare(world, branch); break;
    case STEP_COMMIT: buffer_append_string(&words, "TXN.COMMIT\r\n"); break;
    case STEP_FINISH: external_finish(world, branch, world->outcome->told); break;
    case STEP_TELL:
        buffer_append_format(&words, "TXN.DONE %s %s %s\r\n", world->id, world->branches[branch].name,
                             world->outcome->told ? "COMMITTED" : "ABORTED");
        break;
    case STEP_OVER: world->over = true; break;
    }
    if (words.size != 0) {
        say(world, &words);
    }
    buffer_deinit(&words);
}

/* A bulk, or a status line. */
static struct slice text_of(struct slice in)
{
    const uint8_t *line = in.data[0] == '$' ? (const uint8_t *)memchr(in.data, '\n', in.size) + 1 : in.data + 1;
    const uint8_t *end = memchr(line, '\r', in.size - (size_t)(line - in.data));
    return slice_of(line, (size_t)(end - line));
}

static void hear(struct external_world *world, enum step kind, int branch)
{
    struct slice in = buffer_slice(&world->client.in);
    bool error = in.data[0] == '-';
    struct slice text = text_of(in);
    if (kind == STEP_COMMIT) {
        world->outcome->told = !error;
        bool unsure = error && memmem(in.data, in.size, "-UNCERTAIN", 10) != NULL;
        world->outcome->refused = error && !unsure;
        world->over = unsure;
    } else if (error) {
        world->over = true; /* it prepares nothing, or has finished already */
    } else if (kind == STEP_BEGIN) {
        (void)snprintf(world->id, sizeof(world->id), "%.*s", (int)text.size, (const char *)text.data);
    } else if (kind == STEP_JOIN) {
        (void)snprintf(world->branches[branch].name, BRANCH_NAME_BYTES, "%.*s", (int)text.size,
                       (const char *)text.data);
    }
}

static int replies_of(const struct external_world *world, enum step kind)
{
    return kind == STEP_SET && !world->what->keyless ? TXN_SHARDS : 1;
}

void external_client_turn(struct external_world *world)
{
    int branch;
    enum step kind = kind_of(world, world->step, &branch);
    if (world->over) {
        return;
    }
    if (world->client.gone || (world->step > 0 && world->client.stream == NULL)) {
        world->over = true;
        return;
    }
    if (world->waits) {
        if (!txn_client_heard(&world->client, replies_of(world, kind))) {
            return;
        }
        world->waits = false;
        hear(world, kind, branch);
        world->step++;
        world->outcome->steps++;
        world->next_ns = sim_now_ns(world->nodes->sim) + external_pause(world);
        external_point(world);
        return;
    }
    if (world->what->stop_after >= 0 && world->step >= world->what->stop_after) {
        world->client.gone = true;
        (void)sim_network_reset(world->nodes->sim, NODE_CLIENT_MACHINE, world->driver);
        return;
    }
    if (sim_now_ns(world->nodes->sim) < world->next_ns) {
        return;
    }
    act(world, kind, branch);
    if (!world->waits && !world->over) {
        world->step++;
        world->outcome->steps++;
        world->next_ns = sim_now_ns(world->nodes->sim) + external_pause(world);
    }
}

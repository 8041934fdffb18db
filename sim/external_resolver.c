/* The resolver: lists, then asks, then acts. A mutation has it read before it lists. */
#include "external_world.h"

enum { REST_MS = 150, LATE_MS = 1500 };

static void go(struct external_world *world, enum resolver_step to)
{
    world->resolving = to;
    world->asked = false;
    world->resolve_ns = sim_now_ns(world->nodes->sim) + (to == RESOLVER_REST ? REST_MS * MS : external_pause(world));
}

static bool early(const struct external_world *world) { return world->nodes->mutation.early; }

/* To any node that is up; in the next turn when there is none. */
static void say(struct external_world *world, const struct buffer *words)
{
    int node = (int)prng_below(&world->prng, TXN_NODES);
    if (!node_alive(&world->nodes->nodes[node])) {
        return;
    }
    txn_client_say(&world->resolver, node, buffer_slice(words));
    world->asked = true;
    world->asked_ns = sim_now_ns(world->nodes->sim);
}

/* What was asked is answered; when it is lost or late, it is asked again, elsewhere. */
static bool heard(struct external_world *world, int replies)
{
    if (txn_client_heard(&world->resolver, replies)) {
        return true;
    }
    bool late = sim_now_ns(world->nodes->sim) > world->asked_ns + LATE_MS * MS;
    world->asked = !late && world->resolver.stream != NULL;
    return false;
}

static void ask(struct external_world *world, const char *command, const char *end)
{
    struct buffer words = {0};
    buffer_append_format(&words, "%s %s %s%s\r\n", command, world->id, world->branches[world->at].name, end);
    say(world, &words);
    buffer_deinit(&words);
}

/* The next branch that was listed, from `at` on. */
static void go_to_next(struct external_world *world, enum resolver_step then)
{
    while (world->at < EXTERNAL_RESOURCES && !world->listed[world->at]) {
        world->at++;
    }
    bool more = world->at < EXTERNAL_RESOURCES;
    go(world, more ? then : early(world) ? RESOLVER_REST : RESOLVER_LOOK);
}

static void list(struct external_world *world)
{
    for (int i = 0; i < EXTERNAL_RESOURCES; i++) {
        bool told = early(world) && world->commits[i] && world->branches[i].state == EXTERNAL_COMMITTED;
        world->listed[i] = told || world->branches[i].state == EXTERNAL_PREPARED;
    }
    world->at = 0;
    go_to_next(world, early(world) ? RESOLVER_ACT : RESOLVER_ASK);
}

static void take_answer(struct external_world *world)
{
    struct slice in = buffer_slice(&world->resolver.in);
    bool commits = memmem(in.data, in.size, "COMMIT", 6) != NULL;
    bool aborts = memmem(in.data, in.size, "ABORT", 5) != NULL;
    if (memmem(in.data, in.size, "FORGOTTEN", 9) != NULL) {
        node_fail(world->nodes, "home tells nobody any more what became of %s", world->branches[world->at].name);
    }
    if (in.data[0] != '*' || commits == aborts) { /* not decided, or no answer: in the next round */
        world->at++;
        go_to_next(world, RESOLVER_ASK);
        return;
    }
    world->commits[world->at] = commits;
    go(world, RESOLVER_ACT);
}

static void act(struct external_world *world)
{
    bool there = world->branches[world->at].state == EXTERNAL_PREPARED;
    external_finish(world, world->at, world->commits[world->at]);
    world->outcome->resolved = world->outcome->resolved || there;
    go(world, RESOLVER_TELL);
}

/* One that is not prepared any more, and whose commit was decided before that was looked at, was finished. */
static void take_look(struct external_world *world)
{
    struct slice in = buffer_slice(&world->resolver.in);
    for (int i = 0; i < EXTERNAL_RESOURCES; i++) {
        const struct external_branch *branch = &world->branches[i];
        size_t size = strlen(branch->name);
        const uint8_t *at = size == 0 ? NULL : memmem(in.data, in.size, branch->name, size);
        size_t left = at == NULL ? 0 : in.size - (size_t)(at - in.data);
        const uint8_t *state = at == NULL ? NULL : memmem(at, left, "state\r\n$", 8);
        world->commits[i] = state != NULL && memcmp(state + 8, "6\r\nCOMMIT", 9) == 0;
        world->listed[i] = world->commits[i] && branch->state == EXTERNAL_COMMITTED;
    }
    if (early(world)) {
        go(world, RESOLVER_LIST);
        return;
    }
    world->at = 0;
    while (world->at < EXTERNAL_RESOURCES && !world->listed[world->at]) {
        world->at++;
    }
    go(world, world->at < EXTERNAL_RESOURCES ? RESOLVER_TELL : RESOLVER_REST);
}

static void look(struct external_world *world)
{
    struct buffer words = {0};
    for (int shard = 0; shard < TXN_SHARDS; shard++) {
        buffer_append_format(&words, "TXN.BRANCHES COUNT 1000 CURSOR %d\r\n", shard);
    }
    say(world, &words);
    buffer_deinit(&words);
}

static void begin_step(struct external_world *world)
{
    switch (world->resolving) {
    case RESOLVER_REST: go(world, early(world) ? RESOLVER_LOOK : RESOLVER_LIST); return;
    case RESOLVER_LIST: list(world); return;
    case RESOLVER_ASK: ask(world, "TXN.OUTCOME", ""); return;
    case RESOLVER_ACT: act(world); return;
    case RESOLVER_TELL: ask(world, "TXN.DONE", world->commits[world->at] ? " COMMITTED" : " ABORTED"); return;
    case RESOLVER_LOOK: look(world); return;
    }
}

void external_resolver_turn(struct external_world *world)
{
    if (!world->asked) {
        if (sim_now_ns(world->nodes->sim) >= world->resolve_ns) {
            begin_step(world);
        }
        return;
    }
    if (!heard(world, world->resolving == RESOLVER_LOOK ? TXN_SHARDS : 1)) {
        return;
    }
    external_point(world);
    switch (world->resolving) {
    case RESOLVER_ASK: take_answer(world); return;
    case RESOLVER_LOOK: take_look(world); return;
    default: /* TELL */
        if (memmem(world->resolver.in.data, world->resolver.in.size, "must not be", 11) != NULL) {
            node_fail(world->nodes, "a branch was finished otherwise than home has decided: %s",
                      world->branches[world->at].name);
        }
        world->at++;
        go_to_next(world, early(world) ? RESOLVER_ACT : RESOLVER_ASK);
        return;
    }
}

/* What clients ask, and what they must be told. */
#include "group_world.h"

#include "base/assert.h"
#include "base/number.h"

#include <stdio.h>

enum {
    LARGE_BYTES = 1200 * 1000, /* raft_options.append_bytes of a shard is 1 MiB */
    READ_DRAW = 8,
};

struct operation *world_operation(struct world *world, uint64_t number)
{
    ASSERT(number < world_operation_count(world));
    return (struct operation *)(void *)world->operations.data + number;
}

size_t world_operation_count(const struct world *world) { return world->operations.size / sizeof(struct operation); }

/* ---- asking ---- */

static enum status submit(struct replica *replica, const struct slice *argv, uint32_t argc, uint64_t tag)
{
    struct command command = {.argv = argv, .argc = argc, .protocol = RESP2};
    ASSERT(command_lookup(argv, argc, &command.spec) == COMMAND_FOUND);
    enum status status = shard_submit(replica->shard, &command, NULL, tag);
    env_wake(replica->member->env);
    return status;
}

uint64_t client_ask(struct replica *replica, enum operation_kind kind, size_t subject)
{
    struct world *world = replica->member->world;
    uint64_t number = world_operation_count(world);
    struct operation operation = {.kind = kind,
                                  .group = (int)replica->group - 1,
                                  .member = replica->member->number,
                                  .asked_ns = sim_now_ns(world->sim),
                                  .floor = world->groups[replica->group - 1].floor,
                                  .subject = subject};
    if (kind == OPERATION_SET_EXPIRING) {
        operation.ttl_ms = 100 + (int64_t)world_draw(world, SIM_DRAW_CLIENT, 2900);
    }
    buffer_append(&world->operations, &operation, sizeof(operation));
    char key[32];
    char text[32];
    (void)snprintf(key, sizeof(key), "t%llu",
                   (unsigned long long)(kind == OPERATION_SET_EXPIRING ? number : (uint64_t)subject));
    enum status status = STATUS_OK;
    if (kind == OPERATION_SET_LARGE) {
        struct buffer large = {0};
        memset(buffer_reserve(&large, LARGE_BYTES), 'x', LARGE_BYTES);
        large.size = LARGE_BYTES;
        const struct slice argv[] = {SLICE_LITERAL("SET"), SLICE_LITERAL("large"), buffer_slice(&large)};
        status = submit(replica, argv, 3, number);
        buffer_deinit(&large);
    } else if (kind == OPERATION_APPEND) {
        (void)snprintf(text, sizeof(text), "%0*llu", WORD_BYTES, (unsigned long long)number);
        const struct slice argv[] = {SLICE_LITERAL("APPEND"), SLICE_LITERAL("k"), slice_of(text, WORD_BYTES)};
        status = submit(replica, argv, 3, number);
    } else if (kind == OPERATION_READ) {
        const struct slice argv[] = {SLICE_LITERAL("GET"), SLICE_LITERAL("k")};
        status = submit(replica, argv, 2, number);
    } else if (kind == OPERATION_SET_EXPIRING) {
        (void)snprintf(text, sizeof(text), "%lld", (long long)operation.ttl_ms);
        const struct slice argv[] = {SLICE_LITERAL("SET"), slice_from_string(key), SLICE_LITERAL("v"),
                                     SLICE_LITERAL("PX"), slice_from_string(text)};
        status = submit(replica, argv, 5, number);
    } else {
        const struct slice argv[] = {SLICE_LITERAL("GET"), slice_from_string(key)};
        status = submit(replica, argv, 2, number);
    }
    if (status != STATUS_OK) {
        client_settled(world, number, OPERATION_RETURNED);
    }
    return number;
}

/* One of the latest keys with a time to live in the group, or SIZE_MAX. */
static size_t expiring_key(struct world *world, int group)
{
    size_t count = world_operation_count(world);
    for (size_t back = 1 + (size_t)world_draw(world, SIM_DRAW_CLIENT, 300); back <= count; back++) {
        const struct operation *operation = world_operation(world, count - back);
        if (operation->kind == OPERATION_SET_EXPIRING && operation->group == group &&
            operation->state == OPERATION_ACKNOWLEDGED) {
            return count - back;
        }
    }
    return SIZE_MAX;
}

void client_fire(struct env_timer *timer)
{
    struct client *client = CONTAINER_OF(timer, struct client, timer);
    struct world *world = client->world;
    if (world->clients_stopped) {
        return;
    }
    int group = (int)world_draw(world, SIM_DRAW_CLIENT, (uint64_t)world->profile.groups);
    struct replica *replica = world_leader(world, group, SIM_DRAW_CLIENT);
    if (replica != NULL) {
        uint64_t what = group_plan_lets_write(replica) ? world_draw(world, SIM_DRAW_CLIENT, 20) : READ_DRAW;
        size_t key = what >= 17 ? expiring_key(world, group) : SIZE_MAX;
        enum operation_kind kind = what < 8          ? OPERATION_APPEND
                                   : what < 15       ? OPERATION_READ
                                   : key == SIZE_MAX ? OPERATION_SET_EXPIRING
                                                     : OPERATION_READ_EXPIRING;
        (void)client_ask(replica, kind, key);
    }
    /* Often several at once, so that some wait behind others. */
    int64_t pause_ns =
        world_draw(world, SIM_DRAW_CLIENT, 3) == 0 ? MS / 2 : (int64_t)world_draw(world, SIM_DRAW_CLIENT, 80) * MS;
    timer_heap_start(&world->events, &client->timer, sim_now_ns(world->sim) + pause_ns);
}

/* ---- being told ---- */

void client_settled(struct world *world, uint64_t number, enum operation_state state)
{
    struct operation *operation = world_operation(world, number);
    if (operation->state != OPERATION_OPEN) {
        world_fail(world, "request %llu is answered twice", (unsigned long long)number);
        return;
    }
    operation->state = state;
    world->result->acknowledged += state == OPERATION_ACKNOWLEDGED ? 1 : 0;
    world->result->returned += state == OPERATION_RETURNED ? 1 : 0;
    world->result->uncertain += state == OPERATION_UNCERTAIN ? 1 : 0;
}

void client_forget(struct world *world, int member)
{
    for (size_t i = 0; i < world_operation_count(world); i++) {
        const struct operation *operation = world_operation(world, i);
        if (operation->state == OPERATION_OPEN && operation->member == member) {
            client_settled(world, i, OPERATION_UNCERTAIN);
        }
    }
}

/* A reply tells of a text this long. */
static void check_length(struct world *world, uint64_t number, size_t size)
{
    const struct operation *operation = world_operation(world, number);
    struct group_state *group = &world->groups[operation->group];
    size_t least = operation->floor + (operation->kind == OPERATION_APPEND ? WORD_BYTES : 0);
    if (size < least) {
        world_fail(world, "group %d: request %llu to member %d is answered from %zu bytes, but %zu were there before",
                   operation->group + 1, (unsigned long long)number, operation->member + 1, size, least);
    }
    group->floor = size > group->floor ? size : group->floor;
}

static void check_text(struct world *world, uint64_t number, struct slice text)
{
    struct buffer *known = &world->groups[world_operation(world, number)->group].known;
    size_t common = text.size < known->size ? text.size : known->size;
    if (common != 0 && memcmp(text.data, known->data, common) != 0) {
        world_fail(world, "read %llu saw another order of words than one before", (unsigned long long)number);
    } else if (text.size > known->size) {
        buffer_append(known, text.data + known->size, text.size - known->size);
    }
    check_length(world, number, text.size);
}

static void check_expiring(struct world *world, const struct operation *read, bool there)
{
    struct operation *set = world_operation(world, read->subject);
    int64_t now_ns = sim_now_ns(world->sim);
    /* Clocks are off by a hundredth at most. */
    int64_t least_ns = (set->ttl_ms * 97 / 100 - 10) * MS;
    if (!there && now_ns < set->asked_ns + least_ns) {
        world_fail(world, "group %d: key t%zu with %lld ms to live is gone after %lld ms", set->group + 1,
                   read->subject, (long long)set->ttl_ms, (long long)((now_ns - set->asked_ns) / MS));
    }
    if (there && set->gone_ns != 0 && set->gone_ns <= read->asked_ns) {
        world_fail(world, "group %d: key t%zu was gone and is there again", set->group + 1, read->subject);
    }
    if (!there && set->gone_ns == 0) {
        set->gone_ns = now_ns;
        world_reach(world, GROUP_MARK_EXPIRED, 1);
    }
}

/* The text of a bulk reply; false for null. */
static bool bulk_of(struct slice reply, struct slice *ret_text)
{
    const uint8_t *end = memchr(reply.data, '\n', reply.size);
    ASSERT(end != NULL && reply.data[0] == '$');
    bool there = reply.data[1] != '-';
    *ret_text = there ? slice_of(end + 1, reply.size - (size_t)(end + 1 - reply.data) - 2) : slice_of(NULL, 0);
    return there;
}

void client_answered(struct member *member, uint64_t number, struct slice reply)
{
    struct world *world = member->world;
    client_settled(world, number, OPERATION_ACKNOWLEDGED);
    struct operation *operation = world_operation(world, number);
    struct slice text;
    switch (operation->kind) {
    case OPERATION_APPEND: {
        int64_t size = 0;
        ASSERT(reply.size > 3 && reply.data[0] == ':' &&
               number_parse_int64(slice_of(reply.data + 1, reply.size - 3), &size));
        operation->position = (size_t)size;
        world->plan.acknowledged = true;
        check_length(world, number, (size_t)size);
        break;
    }
    case OPERATION_READ:
        (void)bulk_of(reply, &text);
        world->result->reads++;
        check_text(world, number, text);
        break;
    case OPERATION_SET_LARGE:
    case OPERATION_SET_EXPIRING: ASSERT(reply.data[0] == '+'); break;
    case OPERATION_READ_EXPIRING: check_expiring(world, operation, bulk_of(reply, &text)); break;
    }
}

/* ---- in the end ---- */

static void check_word(struct world *world, int group, uint64_t word, size_t end, struct buffer *seen)
{
    if (word >= world_operation_count(world) || world_operation(world, word)->kind != OPERATION_APPEND ||
        world_operation(world, word)->group != group) {
        world_fail(world, "group %d: word %llu was never sent there", group + 1, (unsigned long long)word);
        return;
    }
    const struct operation *operation = world_operation(world, word);
    if (seen->data[word]++ != 0) {
        world_fail(world, "group %d: word %llu stands there twice", group + 1, (unsigned long long)word);
    } else if (operation->state == OPERATION_RETURNED) {
        world_fail(world, "group %d: word %llu was returned as not executed, and is there", group + 1,
                   (unsigned long long)word);
    } else if (operation->state == OPERATION_ACKNOWLEDGED && operation->position != end) {
        world_fail(world, "group %d: word %llu stands at %zu, its reply said %zu", group + 1, (unsigned long long)word,
                   end, operation->position);
    }
}

void client_check_final(struct world *world, int group)
{
    const struct buffer *text = &world->groups[group].known;
    struct buffer seen;
    buffer_init(&seen);
    for (size_t i = 0; i < world_operation_count(world); i++) {
        buffer_append(&seen, "", 1);
    }
    for (size_t at = 0; at + WORD_BYTES <= text->size; at += WORD_BYTES) {
        uint64_t word = 0;
        for (size_t i = 0; i < WORD_BYTES; i++) {
            word = word * 10 + (uint64_t)(text->data[at + i] - '0');
        }
        check_word(world, group, word, at + WORD_BYTES, &seen);
    }
    for (size_t i = 0; i < world_operation_count(world); i++) {
        const struct operation *operation = world_operation(world, i);
        if (operation->kind == OPERATION_APPEND && operation->group == group &&
            operation->state == OPERATION_ACKNOWLEDGED && seen.data[i] == 0) {
            world_fail(world, "group %d: word %zu was acknowledged and is lost", group + 1, i);
        }
    }
    buffer_deinit(&seen);
}

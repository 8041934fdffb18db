/* Members and messages of a run. */
#include "group_world.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Messages arrive, clients ask and faults happen at whole steps of this. */
#define STEP_NS (MS / 4)

enum { SLOW_MAXIMUM_MS = 2000 };

uint64_t world_draw(struct world *world, enum sim_draw stream, uint64_t bound)
{
    return prng_below(sim_prng(world->sim, stream), bound);
}

void world_fail(struct world *world, const char *format, ...)
{
    if (world->result->failed) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(world->result->failure, sizeof(world->result->failure), format, arguments);
    va_end(arguments);
    world->result->failed = true;
    diagram_mark(world->record.diagram, sim_now_ns(world->sim), -1, 0, DIAGRAM_FAILURE, world->result->failure);
}

void world_note(struct world *world, int member, enum diagram_mark mark, const char *format, ...)
{
    char text[96];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    diagram_mark(world->record.diagram, sim_now_ns(world->sim), member, 0, mark, text);
    if (world->record.line != NULL) {
        world->record.line(world->record.owner, sim_now_ns(world->sim), member, text);
    }
}

void world_reach(struct world *world, enum sim_mark mark, uint64_t times) { world->result->marks[mark] += times; }

bool member_mute(const struct member *member)
{
    return member->crashed || sim_disk_down(sim_node_disk(member->world->sim, member->number));
}

/* ---- the sink ---- */

static struct resp_writer *sink_begin(void *owner, void *origin, uint64_t tag)
{
    (void)origin;
    (void)tag;
    struct member *member = ((struct replica *)owner)->member;
    buffer_clear(&member->reply);
    member->writer = resp_writer_to(&member->reply, RESP2);
    return &member->writer;
}

static void sink_end(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    (void)origin;
    (void)command;
    struct member *member = ((struct replica *)owner)->member;
    if (!member_mute(member)) {
        client_answered(member, tag, buffer_slice(&member->reply));
    }
}

static void sink_returned(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    (void)origin;
    (void)command;
    struct member *member = ((struct replica *)owner)->member;
    if (!member_mute(member)) {
        enum operation_kind kind = world_operation(member->world, tag)->kind;
        bool read = kind == OPERATION_READ || kind == OPERATION_READ_EXPIRING;
        world_reach(member->world, GROUP_MARK_READ_VOID, read ? 1 : 0);
        client_settled(member->world, tag, OPERATION_RETURNED);
    }
}

static void sink_refused(void *owner, void *origin, uint64_t tag, enum status status)
{
    (void)origin;
    (void)status;
    struct member *member = ((struct replica *)owner)->member;
    if (!member_mute(member)) {
        client_settled(member->world, tag, OPERATION_RETURNED);
    }
}

static void sink_uncertain(void *owner, void *origin, uint64_t tag)
{
    (void)origin;
    struct member *member = ((struct replica *)owner)->member;
    if (!member_mute(member)) {
        world_reach(member->world, GROUP_MARK_UNCERTAIN, 1);
        client_settled(member->world, tag, OPERATION_UNCERTAIN);
    }
}

static void flight_free(struct flight *flight)
{
    buffer_deinit(&flight->bytes);
    free(flight);
}

/* What has arrived is read in the member's next turn: not while it is paused. */
static void arrive(struct env_timer *timer)
{
    struct flight *flight = CONTAINER_OF(timer, struct flight, timer);
    struct world *world = flight->world;
    struct member *member = &world->members[flight->to];
    if (member->store == NULL || member->failed || member_mute(member) || world->cut[flight->from][flight->to]) {
        flight_free(flight);
        return;
    }
    *member->inbox_end = flight;
    member->inbox_end = &flight->next;
    env_wake(member->env);
}

static struct flight *inbox_take(struct member *member)
{
    struct flight *flight = member->inbox;
    if (flight != NULL) {
        member->inbox = flight->next;
        member->inbox_end = member->inbox == NULL ? &member->inbox : member->inbox_end;
    }
    return flight;
}

static void receive(struct member *member, const struct flight *flight)
{
    struct world *world = member->world;
    diagram_arrived(world->record.diagram, flight->drawn, sim_now_ns(world->sim));
    enum status status = shard_receive(member->replicas[flight->group - 1].shard, buffer_slice(&flight->bytes), false);
    if (status != STATUS_OK && !member->failed && !member_mute(member)) {
        world_fail(world, "member %d refuses a message of member %d in group %u: %s", flight->to + 1, flight->from + 1,
                   flight->group, status_text(status));
    }
}

static void launch(struct world *world, int from, int to, uint32_t group, struct slice head, struct slice tail,
                   bool lost)
{
    int64_t now_ns = sim_now_ns(world->sim);
    size_t drawn = diagram_sent(world->record.diagram, now_ns, from, to, group, head.data[0]);
    world->result->messages++;
    if (lost || world->way_closed[from][to]) {
        return;
    }
    struct flight *flight = calloc(1, sizeof(*flight));
    ASSERT(flight != NULL);
    *flight = (struct flight){.world = world, .from = from, .to = to, .group = group, .drawn = drawn};
    buffer_append_slice(&flight->bytes, head);
    buffer_append_slice(&flight->bytes, tail);
    env_timer_init(&flight->timer, arrive);
    int64_t delay_ns = 1 + (int64_t)world_draw(world, SIM_DRAW_NETWORK, (uint64_t)world->delay_ns);
    if (world->way_delay_ns[from][to] != 0) {
        delay_ns += (int64_t)world_draw(world, SIM_DRAW_NETWORK, (uint64_t)world->way_delay_ns[from][to]);
    }
    if (world->slow_one_in != 0 && world_draw(world, SIM_DRAW_NETWORK, world->slow_one_in) == 0) {
        delay_ns += (int64_t)world_draw(world, SIM_DRAW_NETWORK, SLOW_MAXIMUM_MS) * MS;
    }
    timer_heap_start(&world->events, &flight->timer, now_ns + delay_ns);
}

static void sink_send(void *owner, uint32_t group, uint64_t to, struct slice head, struct slice tail)
{
    struct member *member = ((struct replica *)owner)->member;
    struct world *world = member->world;
    if (member_mute(member)) {
        return;
    }
    bool lost = world->lose_one_in != 0 && world_draw(world, SIM_DRAW_NETWORK, world->lose_one_in) == 0;
    launch(world, member->number, (int)to - 1, group, head, tail, lost);
    if (world->repeat_one_in != 0 && world_draw(world, SIM_DRAW_NETWORK, world->repeat_one_in) == 0) {
        launch(world, member->number, (int)to - 1, group, head, tail, false);
    }
    group_plan_sent(owner, head.data[0]);
}

static void sink_led(void *owner, uint32_t group, bool leading, uint64_t leader, uint64_t term)
{
    (void)leader;
    struct replica *replica = owner;
    struct member *member = replica->member;
    struct world *world = member->world;
    if (member_mute(member) || leading == replica->leading) {
        return;
    }
    replica->leading = leading;
    char text[48];
    (void)snprintf(text, sizeof(text), leading ? "leads group %u, term %llu" : "leads group %u no more", group,
                   (unsigned long long)term);
    diagram_mark(world->record.diagram, sim_now_ns(world->sim), member->number, group,
                 leading ? DIAGRAM_LEADS : DIAGRAM_FOLLOWS, text);
    if (!leading) {
        return;
    }
    world->result->leaders++;
    struct buffer *leaders = &world->groups[group - 1].leaders;
    while (leaders->size <= term) {
        buffer_append(leaders, "", 1);
    }
    int before = leaders->data[term];
    if (before != 0 && before != member->number + 1) {
        world_fail(world, "group %u has two leaders in term %llu: members %d and %d", group, (unsigned long long)term,
                   before, member->number + 1);
    }
    leaders->data[term] = (uint8_t)(member->number + 1);
}

static const struct shard_sink sink = {
    .begin = sink_begin,
    .end = sink_end,
    .refused = sink_refused,
    .returned = sink_returned,
    .uncertain = sink_uncertain,
    .send = sink_send,
    .led = sink_led,
};

/* ---- members ---- */

static void store_failed(void *owner, enum status status, const char *what)
{
    struct member *member = owner;
    member->failed = true;
    if (member_mute(member)) {
        return;
    }
    world_note(member->world, member->number, DIAGRAM_FAULT, "store failed: %s", what);
    world_reach(member->world, GROUP_MARK_STORE_FAILED, 1);
    if (status != STATUS_IO && status != STATUS_NOSPACE) {
        world_fail(member->world, "member %d: %s: %s", member->number + 1, what, status_text(status));
    }
}

static const struct store_events store_events = {store_failed};

static void turn(void *owner)
{
    struct member *member = owner;
    struct flight *flight = NULL;
    while ((flight = inbox_take(member)) != NULL) {
        receive(member, flight);
        flight_free(flight);
    }
    if (member->store != NULL && store_turn(member->store)) {
        env_wake(member->env);
    }
}

static void take_stats(struct replica *replica)
{
    struct world *world = replica->member->world;
    struct shard_stats stats;
    shard_stats(replica->shard, &stats);
    world_reach(world, GROUP_MARK_SNAPSHOT_INSTALLED, stats.installed);
    world_reach(world, GROUP_MARK_TRUNCATION, stats.replaced);
    world_reach(world, GROUP_MARK_ORPHAN_RETURNED, stats.orphans_returned);
    world_reach(world, GROUP_MARK_ORPHAN_EXECUTED, stats.orphans_executed);
    world_reach(world, GROUP_MARK_DIVIDED, stats.divided);
    world_reach(world, GROUP_MARK_WAITING_RETURNED, stats.waiting_returned);
    struct group_state *group = &world->groups[replica->group - 1];
    world_reach(world, GROUP_MARK_GENESIS_AGAIN, group->geneses > 0 && stats.geneses > 0 ? 1 : 0);
    group->geneses += stats.geneses;
}

static enum status open_replica(struct member *member, uint32_t group, char *message, size_t capacity)
{
    static const uint64_t voters[SIM_MEMBERS] = {1, 2, 3, 4, 5};
    struct world *world = member->world;
    struct replica *replica = &member->replicas[group - 1];
    *replica = (struct replica){.member = member, .group = group};
    struct shard_options options = {.group = group,
                                    .member = voters[member->number],
                                    .voters = voters,
                                    .voter_count = changes_first_voters(world),
                                    .directory = "/d",
                                    .snapshot_log_bytes = world->snapshot_log_bytes};
    if ((size_t)member->number >= options.voter_count) {
        options.voter_count = 0; /* its leader will tell */
    }
    enum status status = shard_open(member->store, &options, &sink, replica, &replica->shard, message, capacity);
    if (status == STATUS_OK) {
        struct shard_stats stats;
        shard_stats(replica->shard, &stats);
        world_reach(world, GROUP_MARK_SNAPSHOT_RESTART, stats.snapshot_index != 0 ? 1 : 0);
    }
    return status;
}

static void close_member(struct member *member)
{
    struct flight *flight = NULL;
    while ((flight = inbox_take(member)) != NULL) {
        flight_free(flight);
    }
    for (int i = 0; i < member->world->profile.groups; i++) {
        if (member->replicas[i].shard != NULL) {
            take_stats(&member->replicas[i]);
            shard_close(member->replicas[i].shard);
            member->replicas[i].shard = NULL;
        }
    }
    store_close(member->store);
    member->store = NULL;
}

static enum status open_member(struct member *member, char *message, size_t capacity)
{
    struct store_options options = {.directory = "/d",
                                    .log_segment_bytes = 64 << 10,
                                    .folder = {{{(uint8_t)(1 + member->number)}}, 0},
                                    .turn_steps = member->world->turn_steps};
    enum status status = env_make_directory(member->env, "/d");
    if (status == STATUS_OK) {
        status = env_sync_directory(member->env, "/");
    }
    if (status == STATUS_OK) {
        status = store_open(member->env, &options, &store_events, member, &member->store, message, capacity);
    }
    for (int group = 1; group <= member->world->profile.groups && status == STATUS_OK; group++) {
        status = open_replica(member, (uint32_t)group, message, capacity);
    }
    return status;
}

void member_restart_after(struct member *member, int64_t delay_ms)
{
    struct world *world = member->world;
    timer_heap_start(&world->events, &member->restart, sim_now_ns(world->sim) + delay_ms * MS);
}

void member_start(struct member *member)
{
    struct world *world = member->world;
    char message[512] = "the folder";
    member->env = sim_node_start(world->sim, member->number);
    member->failed = false;
    member->crashed = false;
    sim_disk_set_lying(sim_node_disk(world->sim, member->number), world->mutation.no_sync);
    enum status status = open_member(member, message, sizeof(message));
    if (status == STATUS_OK) {
        world_note(world, member->number, DIAGRAM_START, "starts");
        env_set_turn_hook(member->env, turn, member);
        env_wake(member->env);
        return;
    }
    bool down = member_mute(member);
    if (!down && status != STATUS_IO && status != STATUS_NOSPACE) {
        world_fail(world, "member %d cannot start: %s (%s)", member->number + 1, message, status_text(status));
    }
    sim_node_crash(world->sim, member->number, down ? SIM_CRASH_POWER : SIM_CRASH_KILL);
    close_member(member);
    member_restart_after(member, 100);
}

void member_stop(struct member *member, enum sim_crash how)
{
    struct world *world = member->world;
    if (member->store == NULL) {
        if (how == SIM_CRASH_POWER) {
            sim_node_crash(world->sim, member->number, how); /* its machine was still on */
        }
        return;
    }
    world_note(world, member->number, DIAGRAM_CRASH,
               member->crashed          ? "power lost at a crash point"
               : how == SIM_CRASH_POWER ? "power lost"
                                        : "killed");
    sim_node_crash(world->sim, member->number, how);
    member->crashed = true; /* nothing that closing says is heard */
    close_member(member);
    client_forget(world, member->number);
    member->doomed = false;
    member_restart_after(member, (int64_t)world_draw(world, SIM_DRAW_CRASH, 1500));
}

struct replica *world_leader(struct world *world, int group, enum sim_draw stream)
{
    int first = (int)world_draw(world, stream, (uint64_t)world->profile.members);
    for (int i = 0; i < world->profile.members; i++) {
        struct member *member = &world->members[(first + i) % world->profile.members];
        if (member->store != NULL && !member->failed && !member_mute(member) &&
            shard_leading(member->replicas[group].shard)) {
            return &member->replicas[group];
        }
    }
    return NULL;
}

/* ---- time ---- */

/* Equal digests at equal index. */
static void look_at(struct world *world, struct replica *replica)
{
    struct shard_stats stats;
    shard_stats(replica->shard, &stats);
    if (stats.applied_index == replica->applied_index || stats.applied_index == 0) {
        return;
    }
    replica->applied_index = stats.applied_index;
    char text[48];
    (void)snprintf(text, sizeof(text), "group %u applied %llu", replica->group,
                   (unsigned long long)stats.applied_index);
    diagram_mark(world->record.diagram, sim_now_ns(world->sim), replica->member->number, replica->group, DIAGRAM_COMMIT,
                 text);
    if (stats.machine.keys == 0) {
        return; /* perhaps no machine yet */
    }
    uint64_t digest = shard_digest(replica->shard);
    if (digest == 0) {
        return; /* the next entry is half applied */
    }
    struct buffer *digests = &world->groups[replica->group - 1].digests;
    size_t at = (size_t)stats.applied_index * sizeof(digest);
    while (digests->size <= at) {
        uint64_t none = 0;
        buffer_append(digests, &none, sizeof(none));
    }
    uint64_t seen = 0;
    memcpy(&seen, digests->data + at, sizeof(seen));
    if (seen != 0 && seen != digest) {
        world_fail(world, "group %u: member %d has another state than others at entry %llu", replica->group,
                   replica->member->number + 1, (unsigned long long)stats.applied_index);
    }
    memcpy(digests->data + at, &digest, sizeof(digest));
}

void world_look(struct world *world)
{
    for (int group = 0; group < world->profile.groups; group++) {
        int leaders = 0;
        for (int i = 0; i < world->profile.members; i++) {
            struct member *member = &world->members[i];
            if (member->store != NULL && !member->failed && !member_mute(member)) {
                look_at(world, &member->replicas[group]);
                leaders += shard_leading(member->replicas[group].shard);
            }
        }
        world_reach(world, GROUP_MARK_TWO_LEADERS, leaders > 1 ? 1 : 0);
    }
}

static void bury(struct world *world)
{
    for (int i = 0; i < world->profile.members; i++) {
        struct member *member = &world->members[i];
        if (member->crashed && member->store != NULL) {
            world_reach(world, GROUP_MARK_CRASH_POINT, 1);
            member_stop(member, SIM_CRASH_POWER);
        } else if (member->failed && member->store != NULL) {
            member_stop(member, SIM_CRASH_KILL);
        } else if (member->doomed && member->store != NULL) {
            member_stop(member, SIM_CRASH_POWER);
            member_restart_after(member, (int64_t)world_draw(world, SIM_DRAW_CRASH, 30));
        }
    }
}

void world_run_for(struct world *world, int64_t duration_ns)
{
    int64_t end_ns = sim_now_ns(world->sim) + duration_ns;
    int64_t now_ns = sim_now_ns(world->sim);
    while (now_ns < end_ns && !world->result->failed) {
        now_ns = now_ns + STEP_NS < end_ns ? now_ns + STEP_NS : end_ns;
        sim_run_until(world->sim, now_ns);
        bury(world);
        (void)timer_heap_fire(&world->events, now_ns);
        world_look(world);
        group_plan_step(world);
    }
}

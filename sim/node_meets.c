/* Clients that meet: at barriers of three, of which there is another one every so often, and at latches, of which each
 * client sets one, that all count down and wait for.
 *
 * Checked: who passed a barrier was in it while two others were, who may have passed, too (in the end, of all entries);
 * a latch has between what is left when all downs count that were asked for, and when only those that were answered
 * before do; who is told that it is open has seen as many downs asked for as it needs; nobody waits in vain at one that
 * was open before; and in the end, that whoever waits at a latch that is counted down goes on. */
#include "node_world.h"

#include "cluster/cluster.h"
#include "machine/meet/meets.h"

#include <stdio.h>

enum { COUNT = 3, ERA_MS = 800, DOWNS = 4, FINAL_CLIENTS = 4, FINAL_SHARDS = 2 };

enum outcome { OPEN, PASSED, NOT_PASSED, UNKNOWN };

struct entry {
    int64_t asked_ns, ended_ns;
    int client, shard, era;
    enum outcome outcome;
};

static uint64_t draw(struct node_client *client, uint64_t bound)
{
    return node_draw(client->world, SIM_DRAW_CLIENT, bound);
}

static int64_t now_of(const struct node_client *client) { return sim_now_ns(client->world->sim); }

static struct entry *entry_at(struct node_world *world, size_t number)
{
    return (struct entry *)(void *)world->entries.data + number;
}

static void expect(struct node_client *client, enum node_ask ask)
{
    client->meeting.pending = true;
    client->meeting.asked_ns = now_of(client);
    node_expect(client, ask);
}

/* ---- barriers ---- */

static void enter(struct node_client *client, int shard)
{
    struct node_world *world = client->world;
    struct entry entry = {.asked_ns = now_of(client),
                          .client = client->number,
                          .shard = shard,
                          .era = (int)(now_of(client) / (ERA_MS * MS))};
    client->meeting.entry = world->entries.size / sizeof(entry);
    buffer_append(&world->entries, &entry, sizeof(entry));
    node_request(client, "BARRIER.ENTER {%s}B%d m%d COUNT %d WAIT %d", world->shards[shard].tag, entry.era,
                 client->number, COUNT, draw(client, 4) == 0 ? 0 : (int)draw(client, 600));
    expect(client, NODE_ASK_BARRIER_ENTER);
}

static void entered(struct node_client *client, enum outcome outcome)
{
    struct entry *entry = entry_at(client->world, client->meeting.entry);
    entry->outcome = outcome;
    entry->ended_ns = outcome == UNKNOWN ? INT64_MAX : now_of(client);
    node_reach(client->world, NODE_MARK_BARRIER_PASSED, outcome == PASSED);
}

/* Others that may have passed with it. */
static int company(struct node_world *world, const struct entry *one)
{
    unsigned clients = 0;
    for (size_t i = 0; i < world->entries.size / sizeof(struct entry); i++) {
        const struct entry *other = entry_at(world, i);
        int64_t ended_ns = other->outcome == OPEN ? INT64_MAX : other->ended_ns;
        if (other->client != one->client && other->shard == one->shard && other->era == one->era &&
            other->outcome != NOT_PASSED && other->asked_ns < one->ended_ns && ended_ns > one->asked_ns) {
            clients |= 1U << other->client;
        }
    }
    return __builtin_popcount(clients);
}

void node_meets_check(struct node_world *world)
{
    for (size_t i = 0; i < world->entries.size / sizeof(struct entry); i++) {
        const struct entry *entry = entry_at(world, i);
        if (entry->outcome == PASSED && company(world, entry) < COUNT - 1) {
            node_fail(world, "shard %d: client %d passed barrier %d of %d with %d others", entry->shard,
                      entry->client + 1, entry->era, COUNT, company(world, entry));
            return;
        }
    }
}

/* ---- latches ---- */

static struct node_latch *latch_of(struct node_client *client)
{
    return &client->world->clients[client->meeting.whose].latch;
}

static void ask_latch(struct node_client *client, const char *format, enum node_ask ask)
{
    struct node_meeting *meeting = &client->meeting;
    const struct node_latch *latch = latch_of(client);
    char command[32];
    char rest[32];
    (void)sscanf(format, "%31s %31[^\n]", command, rest);
    node_request(client, "%s {%s}T%d.%u%s%s", command, client->world->shards[latch->shard].tag, meeting->whose,
                 latch->serial, strchr(format, ' ') == NULL ? "" : " ", strchr(format, ' ') == NULL ? "" : rest);
    meeting->serial = latch->serial;
    meeting->answered = latch->answered;
    expect(client, ask);
}

static void set_latch(struct node_client *client, int shard)
{
    char text[32];
    client->latch =
        (struct node_latch){.serial = client->latch.serial + 1, .shard = shard, .count = 1 + (int)draw(client, DOWNS)};
    client->meeting.whose = client->number;
    (void)snprintf(text, sizeof(text), "LATCH.SET %d", client->latch.count);
    ask_latch(client, text, NODE_ASK_LATCH_SET);
}

static void meet_at_latch(struct node_client *client, int shard)
{
    char text[32];
    client->meeting.whose = (int)draw(client, (uint64_t)client->world->profile.clients);
    struct node_latch *latch = latch_of(client);
    if (!latch->set) {
        if (client->latch.set && client->latch.answered < client->latch.count) {
            client->meeting.whose = client->number;
            latch = &client->latch;
        } else {
            set_latch(client, shard);
            return;
        }
    }
    if (draw(client, 2) == 0) {
        latch->asked++;
        ask_latch(client, "LATCH.DOWN", NODE_ASK_LATCH_DOWN);
    } else {
        (void)snprintf(text, sizeof(text), "LATCH.WAIT WAIT %d", draw(client, 4) == 0 ? 0 : (int)draw(client, 300));
        ask_latch(client, text, NODE_ASK_LATCH_WAIT);
    }
}

static void counted_down(struct node_client *client, struct node_latch *latch)
{
    int left = (int)client->reply.integer;
    int least = latch->count - latch->asked;
    int most = latch->count - client->meeting.answered - 1;
    latch->answered++;
    if (client->reply.type != RESP_INTEGER || left < (least < 0 ? 0 : least) || left > (most < 0 ? 0 : most)) {
        node_fail(client->world, "client %d: a latch of %d has %d left, after %d to %d downs", client->number + 1,
                  latch->count, left, client->meeting.answered + 1, latch->asked);
    }
}

static void waited(struct node_client *client, const struct node_latch *latch)
{
    bool open = client->reply.type == RESP_INTEGER;
    if (open && latch->asked < latch->count) {
        node_fail(client->world, "client %d: a latch of %d is open after %d downs", client->number + 1, latch->count,
                  latch->asked);
    }
    if (!open && client->meeting.answered >= latch->count) {
        node_fail(client->world, "client %d: waited in vain at a latch of %d that was open", client->number + 1,
                  latch->count);
    }
    node_reach(client->world, NODE_MARK_LATCH_OPENED, open);
}

/* ---- what is asked and answered ---- */

bool node_meet_ask(struct node_client *client, int shard)
{
    if (client->meeting.pending) {
        return false;
    }
    if (draw(client, 2) == 0) {
        enter(client, shard);
    } else if (draw(client, 8) == 0) {
        set_latch(client, shard);
    } else {
        meet_at_latch(client, shard);
    }
    return true;
}

/* All close one latch, and each opens it. */
void node_meet_ask_finally(struct node_client *client, int shard)
{
    static const char *const commands[] = {"LATCH.SET {%s}F 1", "LATCH.DOWN {%s}F", "LATCH.WAIT {%s}F WAIT 10000"};
    for (uint32_t i = 0; i < 3 && client->number < FINAL_CLIENTS && shard <= FINAL_SHARDS; i++) {
        char text[96];
        size_t before = strcspn(commands[i], "%");
        (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)before, commands[i], client->world->shards[shard].tag,
                       commands[i] + before + 2);
        node_request(client, "%s", text);
        node_expect(client, NODE_ASK_LATCH_FINAL)->subject = i;
    }
}

void node_meet_answered(struct node_client *client, const struct node_pending *pending)
{
    const struct node_reply *reply = &client->reply;
    if (pending->ask == NODE_ASK_LATCH_FINAL) {
        if (reply->type != RESP_INTEGER || (pending->subject == 2 && reply->integer != 1)) {
            node_unexpected(client, "no latch that opens");
        }
        return;
    }
    client->meeting.pending = false;
    struct node_latch *latch = latch_of(client);
    bool same = pending->ask != NODE_ASK_BARRIER_ENTER && latch->serial == client->meeting.serial;
    switch (pending->ask) {
    case NODE_ASK_BARRIER_ENTER: entered(client, reply->type == RESP_INTEGER ? PASSED : NOT_PASSED); break;
    case NODE_ASK_LATCH_SET: latch->set = true; break;
    case NODE_ASK_LATCH_DOWN:
        if (same) {
            counted_down(client, latch);
        }
        break;
    default:
        if (same) {
            waited(client, latch);
        }
        break;
    }
}

/* Refused or unanswered: what was asked for may have been done. */
void node_meet_unanswered(struct node_client *client, enum node_ask ask)
{
    client->meeting.pending = false;
    if (ask == NODE_ASK_BARRIER_ENTER) {
        entered(client, UNKNOWN);
    }
}

/* ---- the state of a shard ---- */

void node_meet_look(struct node *node, int shard)
{
    const struct cluster *cluster = server_cluster_of(node->server, (uint32_t)shard);
    const struct meets *meets = cluster == NULL ? NULL : cluster_meets(cluster, (uint32_t)shard);
    const char *problem = meets == NULL ? NULL : meets_problem(meets);
    if (problem != NULL) {
        node_fail(node->world, "shard %d at node %d: %s", shard, node->number + 1, problem);
    }
}

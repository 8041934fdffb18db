/* Candidates: in each shard there is an election. A client campaigns, at once or waiting, campaigns again while it
 * leads, resigns, or forgets it; asks who leads; and now and then, as an administrator, takes the office away from whom
 * it knows to lead (ELECT.RESIGN … FORCE): from the moment this is asked nobody counts on that one's belief.
 *
 * A client that was elected at once, or has renewed its term, may believe to lead for the term from before it asked,
 * less what clocks are off. Checked: no two believe to lead; tokens grow; who may believe to lead is not told that
 * another does; a term that was renewed is as long as was asked for, or longer; and ELECT.LEADER tells of whoever
 * believes to lead, of nobody before the newest leader known when it was asked, and of nobody who has resigned, or
 * whose office was taken away; nor does such a one lead on. */
#include "node_world.h"

#include <stdio.h>

enum { FINAL_CANDIDATES = 4, FINAL_SHARDS = 2, LEADER_ELEMENTS = 8, TAKES = 6 };

static uint64_t draw(struct node_client *client, uint64_t bound)
{
    return node_draw(client->world, SIM_DRAW_CLIENT, bound);
}

static int64_t now_of(const struct node_client *client) { return sim_now_ns(client->world->sim); }

/* Clocks are off by a hundredth at most. */
static int64_t believed_ns(int64_t asked_ns, int64_t ttl_ms) { return asked_ns + (ttl_ms * 97 / 100 - 10) * MS; }

static struct node_election *election_of(struct node_client *client)
{
    return &client->world->shards[client->office.shard].election;
}

static const char *name_of(const struct node_client *client) { return client->world->shards[client->office.shard].tag; }

/* ---- asking ---- */

static void expect(struct node_client *client, enum node_ask ask)
{
    struct node_office *office = &client->office;
    office->pending = true;
    office->asked_ns = now_of(client);
    office->floor = election_of(client)->newest;
    office->resigned = election_of(client)->resigned;
    node_expect(client, ask);
}

static void campaign(struct node_client *client, int64_t ttl_ms, int64_t wait_ms)
{
    struct node_office *office = &client->office;
    node_request(client, "ELECT.CAMPAIGN {%s}E c%d.%u PX %lld WAIT %lld VALUE at%d", name_of(client), client->number,
                 office->serial, (long long)ttl_ms, (long long)wait_ms, client->node);
    office->ttl_ms = ttl_ms;
    office->wait_ms = wait_ms;
    expect(client, NODE_ASK_ELECT_CAMPAIGN);
}

static void campaign_anew(struct node_client *client, int shard)
{
    client->office = (struct node_office){.serial = client->office.serial + 1, .shard = shard};
    campaign(client, 100 + (int64_t)draw(client, 2500), draw(client, 3) == 0 ? 0 : (int64_t)draw(client, 700));
}

static void look(struct node_client *client)
{
    node_request(client, "ELECT.LEADER {%s}E", name_of(client));
    expect(client, NODE_ASK_ELECT_LEADER);
}

static void resign(struct node_client *client)
{
    struct node_office *office = &client->office;
    node_request(client, "ELECT.RESIGN {%s}E c%d.%u %lld", name_of(client), client->number, office->serial,
                 (long long)office->token);
    office->until_before_ns = office->until_ns;
    office->until_ns = 0;
    expect(client, NODE_ASK_ELECT_RESIGN);
}

/* From whoever has the newest token of those who may lead, if there is one. */
static bool take_away(struct node_client *client)
{
    struct node_world *world = client->world;
    struct node_client *victim = NULL;
    for (int i = 0; i < world->profile.clients; i++) {
        struct node_client *other = &world->clients[i];
        bool leads = other->office.holds && other->office.shard == client->office.shard;
        victim = leads && (victim == NULL || other->office.token > victim->office.token) ? other : victim;
    }
    if (victim == NULL || draw(client, TAKES) != 0) {
        return false;
    }
    struct node_office *office = &victim->office;
    node_request(client, "ELECT.RESIGN {%s}E c%d.%u %lld FORCE", name_of(client), victim->number, office->serial,
                 (long long)office->token);
    office->wanted = true;
    office->until_ns = office->until_ns < now_of(client) ? office->until_ns : now_of(client);
    office->until_before_ns = 0; /* nor on what it resigns from now */
    client->office.victim_token = office->token;
    expect(client, NODE_ASK_ELECT_TAKE);
    return true;
}

bool node_office_ask(struct node_client *client, int shard)
{
    struct node_office *office = &client->office;
    if (office->pending) {
        return false;
    }
    if (!office->holds && office->serial > 0 && take_away(client)) {
        return true;
    }
    if (!office->holds) {
        if (office->serial > 0 && draw(client, 3) == 0) {
            look(client);
        } else {
            campaign_anew(client, shard);
        }
        return true;
    }
    bool unsure = office->until_ns == 0 && !office->wanted;
    switch (unsure ? 0 : draw(client, 7)) { /* after a wait, a renewal tells until when it is believed */
    case 0:
    case 1:
    case 2: campaign(client, 100 + (int64_t)draw(client, 2500), 0); break;
    case 3: look(client); break;
    case 4: campaign_anew(client, shard); break; /* and forgets the other */
    default: resign(client); break;
    }
    return true;
}

void node_office_ask_finally(struct node_client *client, int shard)
{
    if (client->number >= FINAL_CANDIDATES || shard > FINAL_SHARDS) {
        return;
    }
    client->office = (struct node_office){.serial = client->office.serial + 1, .shard = shard};
    campaign(client, 20, 10000);
}

/* ---- answers ---- */

/* An answer that was long under way may tell of a term that is over: it says nothing of leaders behind it. */
static void check_others(struct node_client *client)
{
    struct node_world *world = client->world;
    bool led_only = client->office.until_ns <= now_of(client);
    for (int i = 0; i < world->profile.clients; i++) {
        const struct node_office *other = &world->clients[i].office;
        if (i != client->number && other->holds && other->shard == client->office.shard &&
            other->until_ns > now_of(client) && !(led_only && other->token > client->office.token)) {
            node_fail(world, "shard %d: client %d leads, and client %d may believe to lead for %lld ms", other->shard,
                      client->number + 1, i + 1, (long long)((other->until_ns - now_of(client)) / MS));
        }
    }
}

static void elected(struct node_client *client, int64_t token, int64_t ttl_ms)
{
    struct node_office *office = &client->office;
    struct node_world *world = client->world;
    bool again = office->holds && token == office->token;
    if (office->holds && !again && office->until_ns > now_of(client)) {
        node_fail(world, "client %d: an office was lost that it may believe to hold", client->number + 1);
    }
    if (!again && token <= office->floor) {
        node_fail(world, "client %d: token %lld of a leader, after %lld was seen", client->number + 1, (long long)token,
                  (long long)office->floor);
    }
    if (token <= office->resigned) {
        node_fail(world, "client %d: token %lld of a leader, after that of %lld was taken away", client->number + 1,
                  (long long)token, (long long)office->resigned);
    }
    if (office->wait_ms == 0 && ttl_ms < office->ttl_ms) {
        node_fail(world, "client %d: a term of %lld ms has %lld ms left", client->number + 1, (long long)office->ttl_ms,
                  (long long)ttl_ms);
    }
    office->since_ns = again && office->until_ns > now_of(client) ? office->since_ns : now_of(client);
    office->holds = true;
    office->token = token;
    office->wanted = office->wanted && again;
    if (!office->wanted) {
        office->until_ns = office->wait_ms == 0 ? believed_ns(office->asked_ns, ttl_ms) : 0;
    }
    struct node_election *election = election_of(client);
    election->newest = token > election->newest ? token : election->newest;
    check_others(client);
    node_reach(world, NODE_MARK_ELECTED_LATER, !again && office->wait_ms > 0);
    node_reach(world, NODE_MARK_REELECTED, again);
}

static void campaigned(struct node_client *client)
{
    const struct node_reply *reply = &client->reply;
    struct node_office *office = &client->office;
    if (reply->type == RESP_NULL) {
        if (office->holds && office->until_ns > now_of(client)) {
            node_fail(client->world, "client %d: another has the office that it may believe to hold",
                      client->number + 1);
        }
        if (client->final_shard > 0) {
            node_fail(client->world, "shard %d: an election is never won", office->shard);
        }
        office->holds = false;
    } else if (reply->type == RESP_ARRAY && reply->count == 2) {
        elected(client, reply->elements[0].integer, reply->elements[1].integer);
        office->holds = client->final_shard == 0;
    } else {
        node_unexpected(client, "no term of office");
    }
}

/* Whoever led all the time since it was asked is the one that is told. */
static void looked(struct node_client *client)
{
    const struct node_reply *reply = &client->reply;
    struct node_world *world = client->world;
    const struct node_office *mine = &client->office;
    int64_t token = reply->type == RESP_NULL ? 0 : reply->elements[3].integer;
    if (reply->type != RESP_NULL && (reply->count != LEADER_ELEMENTS || reply->elements[5].integer <= 0)) {
        node_unexpected(client, "no leader's term");
        return;
    }
    if (token != 0 && (token < mine->floor || token <= mine->resigned)) {
        node_fail(world, "shard %d: the leader of token %lld is told, after that of %lld, and %lld has resigned",
                  mine->shard, (long long)token, (long long)mine->floor, (long long)mine->resigned);
    }
    for (int i = 0; i < world->profile.clients; i++) {
        const struct node_office *leader = &world->clients[i].office;
        if (leader->holds && leader->shard == mine->shard && leader->until_ns > now_of(client) &&
            leader->since_ns < mine->asked_ns && leader->token != token) {
            node_fail(world, "shard %d: client %d may believe to lead, and the leader of token %lld is told",
                      mine->shard, i + 1, (long long)token);
        }
    }
}

static void taken(struct node_client *client)
{
    struct node_election *election = election_of(client);
    int64_t token = client->office.victim_token;
    if (client->reply.integer == 1) {
        election->resigned = token > election->resigned ? token : election->resigned;
        node_reach(client->world, NODE_MARK_OFFICE_TAKEN, 1);
    }
}

static void resigned(struct node_client *client)
{
    struct node_office *office = &client->office;
    struct node_election *election = election_of(client);
    if (client->reply.integer == 0 && office->until_before_ns > now_of(client)) {
        node_fail(client->world, "client %d: it has not led, %lld ms before its term was over", client->number + 1,
                  (long long)((office->until_before_ns - now_of(client)) / MS));
    }
    election->resigned = office->token > election->resigned ? office->token : election->resigned;
    office->holds = false;
}

void node_office_answered(struct node_client *client, enum node_ask ask)
{
    client->office.pending = false;
    switch (ask) {
    case NODE_ASK_ELECT_CAMPAIGN: campaigned(client); break;
    case NODE_ASK_ELECT_LEADER: looked(client); break;
    case NODE_ASK_ELECT_TAKE: taken(client); break;
    default: resigned(client); break;
    }
}

/* What was held may be held; what was asked for may be, by a candidate who is never heard of again. */
void node_office_unanswered(struct node_client *client)
{
    client->office.pending = false;
    client->office.holds = client->office.holds && client->office.until_ns != 0;
}

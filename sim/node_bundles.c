/* Sessions that take several locks in several shards at once: those locks that all sessions want (node_sessions.c).
 *
 * All that is granted is held as long as the session may be believed to live, and nobody else is granted it meanwhile;
 * nil, or that the session has ended, leaves nothing. Sessions end in the middle: their time is over while they wait,
 * or another client closes them. Who is not answered asks again elsewhere as the same owner. In the end no lock of any
 * session is held or reserved, in any shard: all are to be had at once. What leaders have of a request is looked at in
 * node_many.c. */
#include "node_world.h"

#include <stdio.h>

static uint64_t draw(struct node_client *client, uint64_t bound)
{
    return node_draw(client->world, SIM_DRAW_CLIENT, bound);
}

static bool lives(const struct node_client *client)
{
    return client->session.until_ns > sim_now_ns(client->world->sim);
}

/* ---- asking ---- */

static void ask(struct node_client *client)
{
    const struct node_session *session = &client->session;
    struct node_bundle *bundle = &client->session.bundle;
    char keys[NODE_MANY * NODE_KEY_BYTES] = "";
    size_t size = 0;
    for (int i = 0; i < bundle->count; i++) {
        const char *tag = client->world->shards[bundle->shards[i]].tag;
        size += (size_t)snprintf(keys + size, sizeof(keys) - size, "{%s}Z ", tag);
    }
    node_request(client, "LOCK.MACQUIRE %d %sp%d.%u WAIT %d NOTE p%d.%u SESSION %s", bundle->count, keys,
                 client->number, bundle->serial, draw(client, 3) == 0 ? 0 : (int)draw(client, 1500), client->number,
                 bundle->serial, session->id);
    bundle->asks = true;
    bundle->lived = lives(client);
    node_session_expect(client, NODE_ASK_SESSION_MANY);
}

static void ask_new(struct node_client *client)
{
    struct node_bundle *bundle = &client->session.bundle;
    int groups = client->world->profile.groups;
    *bundle = (struct node_bundle){.serial = ++client->bundles};
    bundle->count = groups < NODE_MANY || draw(client, 2) == 0 ? 2 : NODE_MANY;
    int first = (int)draw(client, (uint64_t)groups);
    int home = groups + 1;
    for (int i = 0; i < bundle->count; i++) {
        bundle->shards[i] = (first + i) % groups + 1;
        bundle->floors[i] = client->world->shards[bundle->shards[i]].of_sessions.token;
        home = bundle->shards[i] < home ? bundle->shards[i] : home;
    }
    client->bundle_requests[bundle->serial % NODE_MANY_REQUESTS] =
        (struct node_many_request){.serial = bundle->serial, .home = home, .of_session = true};
    ask(client);
}

static void release(struct node_client *client)
{
    struct node_bundle *bundle = &client->session.bundle;
    for (int i = 0; i < bundle->count; i++) {
        node_request(client, "LOCK.RELEASE {%s}Z p%d.%u %lld", client->world->shards[bundle->shards[i]].tag,
                     client->number, bundle->serial, (long long)bundle->tokens[i]);
        node_session_expect(client, NODE_ASK_SESSION_MANY_RELEASE);
    }
    bundle->holds = false;
}

/* Another one, of a client that waits for several. */
static bool close_other(struct node_client *client)
{
    struct node_world *world = client->world;
    int first = (int)draw(client, (uint64_t)world->profile.clients);
    for (int i = 0; i < world->profile.clients; i++) {
        struct node_session *other = &world->clients[(first + i) % world->profile.clients].session;
        if (other != &client->session && other->bundle.asks && !other->doomed) {
            other->doomed = true;
            other->until_ns = 0;
            node_request(client, "SESSION.CLOSE %s", other->id);
            node_session_expect(client, NODE_ASK_SESSION_CLOSE_OTHER);
            return true;
        }
    }
    return false;
}

bool node_bundle_ask(struct node_client *client)
{
    const struct node_bundle *bundle = &client->session.bundle;
    if (client->world->profile.groups < 2 || draw(client, 3) != 0) {
        return false;
    }
    if (draw(client, 6) == 0 && close_other(client)) {
        return true;
    }
    switch (bundle->holds ? draw(client, 5) : bundle->again ? 1 : 0) {
    case 0: ask_new(client); break; /* and holds the others as long as the session lives */
    case 1: ask(client); break;
    case 2:
    case 3: return false;
    default: release(client); break;
    }
    return true;
}

void node_bundle_ask_finally(struct node_client *client)
{
    struct node_world *world = client->world;
    char keys[SIM_GROUPS * NODE_KEY_BYTES] = "";
    size_t size = 0;
    for (int shard = 1; shard <= world->profile.groups; shard++) {
        size += (size_t)snprintf(keys + size, sizeof(keys) - size, "{%s}Z ", world->shards[shard].tag);
    }
    node_request(client, "LOCK.MACQUIRE %d %sfinally PX 5 WAIT 10000", world->profile.groups, keys);
    node_session_expect(client, NODE_ASK_SESSION_FINAL);
}

/* ---- answers ---- */

static void granted(struct node_client *client)
{
    struct node_world *world = client->world;
    struct node_bundle *bundle = &client->session.bundle;
    const struct node_reply *reply = &client->reply;
    if (reply->count != (size_t)bundle->count) {
        node_unexpected(client, "no grants");
        return;
    }
    for (int i = 0; i < bundle->count; i++) {
        int64_t token = reply->elements[3 * i + 1].integer;
        bool same = token == bundle->tokens[i];
        if (bundle->holds ? !same && lives(client) : token <= bundle->floors[i]) {
            node_fail(world, "client %d: token %lld of several locks of a session, after %lld", client->number + 1,
                      (long long)token, (long long)(bundle->holds ? bundle->tokens[i] : bundle->floors[i]));
        }
        bundle->tokens[i] = token;
        node_session_note_token(world, bundle->shards[i], token);
    }
    bundle->holds = true;
    bundle->again = false;
    for (int i = 0; i < bundle->count; i++) {
        node_session_told(client, reply->elements[3 * i + 2].integer);
        node_session_check_others(client, bundle->shards[i]);
    }
    node_reach(world, NODE_MARK_BUNDLE, 1);
}

void node_bundle_answered(struct node_client *client, enum node_ask ask)
{
    struct node_bundle *bundle = &client->session.bundle;
    bool lost = false;
    bundle->asks = false;
    if (ask == NODE_ASK_SESSION_MANY_RELEASE) {
        lost = client->reply.integer == 0 && lives(client);
    } else if (client->reply.type == RESP_NULL) {
        lost = bundle->holds && lives(client);
        bundle->holds = false;
        bundle->again = false;
    } else {
        granted(client);
    }
    if (lost) {
        node_fail(client->world, "client %d: one of several locks of its session is lost, and it lives",
                  client->number + 1);
    }
}

bool node_bundle_refused(struct node_client *client)
{
    struct node_bundle *bundle = &client->session.bundle;
    struct slice text = client->reply.text;
    bool some = slice_starts_with(text, SLICE_LITERAL("ERR this owner holds some"));
    bool over = slice_starts_with(text, SLICE_LITERAL("NOSESSION "));
    bool may_be_some = bundle->again || !lives(client); /* of the earlier request, or of what has ended since */
    node_reach(client->world, NODE_MARK_BUNDLE_ENDED, over && bundle->lived);
    node_bundle_unanswered(client, NODE_ASK_SESSION_MANY);
    bundle->again = bundle->again && !some;
    return some && may_be_some;
}

/* What was held is, perhaps, but nothing is expected of it. */
void node_bundle_unanswered(struct node_client *client, enum node_ask ask)
{
    struct node_bundle *bundle = &client->session.bundle;
    bundle->again = ask == NODE_ASK_SESSION_MANY && !bundle->holds;
    bundle->asks = false;
    bundle->holds = false;
}

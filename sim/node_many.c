/* Clients that take several locks in several shards at once: what they may believe, and that it is all or none.
 *
 * In each shard there is one lock for it. A client that was granted some may believe to hold each for its time to live
 * from when it asked, less what clocks are off: no two may believe to hold one, and none that is believed is lost.
 *
 * Some do not wait for the answer: the same owner asks again elsewhere, as it does when the answer was lost. Where
 * the network has faults, the node that was asked first may hear and say nothing from then on for a moment: it takes
 * back what it has asked for when the owner may have been told of it by the other.
 *
 * At the leaders, home (the lowest shard of a request) and the others are looked at: no part is held while home's is
 * still reserved, and none is taken back while home's is held. What is seen so at one moment is a failure when home,
 * looked at later, is as it was: a leader that was ahead may just have been lost. So it is with locks that sessions
 * take (node_bundles.c), but that a session ends at each shard by itself; and those have the note that was given. */
#include "node_world.h"

#include "cluster/cluster.h"
#include "machine/lock/lock_parts.h"

#include <stdio.h>

enum { CUT_MINIMUM_MS = 20, CUT_MAXIMUM_MS = 800 };

static uint64_t draw(struct node_client *client, uint64_t bound)
{
    return node_draw(client->world, SIM_DRAW_CLIENT, bound);
}

static int64_t now_of(const struct node_client *client) { return sim_now_ns(client->world->sim); }

static int64_t believed_ns(int64_t asked_ns, int64_t ttl_ms) { return asked_ns + (ttl_ms * 97 / 100 - 10) * MS; }

bool node_many_takes(const struct node_client *client)
{
    return client->number % 3 == 1 && client->world->profile.groups > 1;
}

/* ---- asking ---- */

static void ask(struct node_client *client)
{
    struct node_many *many = &client->many;
    many->again = false;
    many->hasty = draw(client, 4) == 0;
    char keys[NODE_MANY * NODE_KEY_BYTES] = "";
    size_t size = 0;
    for (int i = 0; i < many->count; i++) {
        size +=
            (size_t)snprintf(keys + size, sizeof(keys) - size, "{%s}M ", client->world->shards[many->shards[i]].tag);
    }
    node_request(client, "LOCK.MACQUIRE %d %sm%d.%u PX %lld WAIT %lld", many->count, keys, client->number, many->serial,
                 (long long)many->ttl_ms, (long long)many->wait_ms);
    many->pending++;
    many->asked_ns = now_of(client);
    node_expect(client, NODE_ASK_LOCK_MANY);
}

static void ask_new(struct node_client *client)
{
    struct node_many *many = &client->many;
    int groups = client->world->profile.groups;
    *many = (struct node_many){.serial = many->serial + 1};
    many->count = groups < NODE_MANY || draw(client, 2) == 0 ? 2 : NODE_MANY;
    many->ttl_ms = 200 + (int64_t)draw(client, 2300);
    many->wait_ms = draw(client, 3) == 0 ? 0 : (int64_t)draw(client, 1500);
    int first = (int)draw(client, (uint64_t)groups);
    int home = groups + 1;
    for (int i = 0; i < many->count; i++) {
        many->shards[i] = (first + i) % groups + 1;
        many->floors[i] = client->world->shards[many->shards[i]].many.token;
        home = many->shards[i] < home ? many->shards[i] : home;
    }
    client->many_requests[many->serial % NODE_MANY_REQUESTS] =
        (struct node_many_request){.serial = many->serial, .home = home};
    ask(client);
}

void node_many_leave(struct node_client *client)
{
    struct node_world *world = client->world;
    bool hasty = client->many.pending > 0 && client->many.hasty && !world->healed;
    if (!hasty || (world->profile.classes & SIM_FAULT_NETWORK) == 0 || draw(client, 2) == 0) {
        return;
    }
    int64_t ms = CUT_MINIMUM_MS + (int64_t)draw(client, CUT_MAXIMUM_MS);
    for (int i = 0; i < world->profile.members; i++) {
        if (i != client->node) {
            sim_network_clog(world->sim, client->node, i, now_of(client) + ms * MS);
            sim_network_clog(world->sim, i, client->node, now_of(client) + ms * MS);
        }
    }
    node_note(world, client->node, DIAGRAM_FAULT, "a client has left: nothing comes and goes for %d ms", (int)ms);
}

static void release(struct node_client *client)
{
    struct node_many *many = &client->many;
    for (int i = 0; i < many->count; i++) {
        node_request(client, "LOCK.RELEASE {%s}M m%d.%u %lld", client->world->shards[many->shards[i]].tag,
                     client->number, many->serial, (long long)many->tokens[i]);
        many->pending++;
        many->until_before_ns = many->until_ns;
        node_expect(client, NODE_ASK_LOCK_MANY_RELEASE);
    }
    many->until_ns = 0;
    many->holds = false;
}

bool node_many_ask(struct node_client *client)
{
    struct node_many *many = &client->many;
    if (many->pending > 0) {
        return false;
    }
    switch (many->holds ? draw(client, 4) : many->again ? 1 : 0) {
    case 0: ask_new(client); break; /* and forgets the others */
    case 1: ask(client); break;
    default: release(client); break;
    }
    return true;
}

/* ---- answers ---- */

static void check_others(struct node_client *client)
{
    struct node_world *world = client->world;
    const struct node_many *mine = &client->many;
    for (int i = 0; i < world->profile.clients; i++) {
        const struct node_many *other = &world->clients[i].many;
        bool together = mine->until_ns > now_of(client);
        if (i == client->number || !together || other->until_ns <= now_of(client)) {
            continue;
        }
        for (int j = 0; j < mine->count * other->count; j++) {
            if (mine->shards[j % mine->count] == other->shards[j / mine->count]) {
                node_fail(world, "shard %d: client %d is granted what client %d may believe to hold of several",
                          mine->shards[j % mine->count], client->number + 1, i + 1);
            }
        }
    }
}

static void granted(struct node_client *client)
{
    struct node_many *many = &client->many;
    const struct node_reply *reply = &client->reply;
    int64_t least_ms = INT64_MAX;
    if (reply->count != (size_t)many->count) {
        node_unexpected(client, "no grants");
        return;
    }
    for (int i = 0; i < many->count; i++) {
        int64_t token = reply->elements[3 * i + 1].integer;
        int64_t ttl_ms = reply->elements[3 * i + 2].integer;
        int64_t *newest = &client->world->shards[many->shards[i]].many.token;
        if (many->holds ? token != many->tokens[i] && many->until_ns > now_of(client) : token <= many->floors[i]) {
            node_fail(client->world, "client %d: token %lld of several locks, after %lld", client->number + 1,
                      (long long)token, (long long)(many->holds ? many->tokens[i] : many->floors[i]));
        }
        many->tokens[i] = token;
        *newest = token > *newest ? token : *newest;
        least_ms = ttl_ms < least_ms ? ttl_ms : least_ms;
    }
    int64_t until_ns = believed_ns(many->asked_ns, least_ms);
    many->until_ns = !many->holds || until_ns < many->until_ns ? until_ns : many->until_ns;
    many->holds = true;
    check_others(client);
    node_reach(client->world, NODE_MARK_MANY, 1);
}

void node_many_answered(struct node_client *client, enum node_ask ask)
{
    struct node_many *many = &client->many;
    many->pending--;
    bool lost = false;
    if (ask == NODE_ASK_LOCK_MANY_RELEASE) {
        lost = client->reply.integer == 0 && many->until_before_ns > now_of(client);
    } else if (client->reply.type == RESP_NULL) {
        lost = many->holds && many->until_ns > now_of(client);
        many->holds = false;
    } else {
        granted(client);
    }
    if (lost) {
        node_fail(client->world, "client %d: one of several locks is lost before its time", client->number + 1);
    }
}

bool node_many_refused(struct node_client *client, enum node_ask ask)
{
    struct node_many *many = &client->many;
    bool some = slice_starts_with(client->reply.text, SLICE_LITERAL("ERR this owner holds some"));
    node_many_unanswered(client, ask);
    client->many.again = client->many.again && !some;
    many->until_ns = 0;
    return some;
}

void node_many_unanswered(struct node_client *client, enum node_ask ask)
{
    client->many.pending--;
    client->many.again = ask == NODE_ASK_LOCK_MANY && !client->many.holds;
    client->many.holds = false;
    client->many.until_ns = 0;
}

/* ---- the state of a shard ---- */

static struct node_many_request *request_of(struct node_world *world, const struct lock_exclusive *seen)
{
    char owner[NODE_KEY_BYTES] = "";
    char kind = '\0';
    int number = -1;
    unsigned serial = 0;
    memcpy(owner, seen->owner.data, seen->owner.size < sizeof(owner) ? seen->owner.size : 0);
    bool fits = sscanf(owner, "%c%d.%u", &kind, &number, &serial) == 3 && (kind == 'm' || kind == 'p');
    if (!fits || number < 0 || number >= world->profile.clients) {
        return NULL;
    }
    struct node_client *client = &world->clients[number];
    struct node_many_request *requests = kind == 'm' ? client->many_requests : client->bundle_requests;
    struct node_many_request *request = &requests[serial % NODE_MANY_REQUESTS];
    return request->serial == serial ? request : NULL;
}

static void look_at_home(struct node_world *world, int shard, struct node_many_request *request, uint64_t held,
                         uint64_t reserved)
{
    if (request->taken != 0 && request->taken == held) {
        node_fail(world, "shard %d holds a lock of several, of which another was taken back", shard);
    }
    if (request->early != 0 && request->early == reserved) {
        node_fail(world, "shard %d reserves a lock of several, of which another is held", shard);
    }
    request->taken = 0;
    request->early = 0;
    request->held = held;
}

static void look_at(struct node_world *world, int shard, const struct locks *locks, uint64_t applied, char name)
{
    struct node_many_seen *before = name == 'M' ? &world->shards[shard].many : &world->shards[shard].of_sessions;
    char key[NODE_KEY_BYTES];
    int size = snprintf(key, sizeof(key), "{%s}%c", world->shards[shard].tag, name);
    struct lock_exclusive seen;
    if (applied <= before->applied) {
        return;
    }
    locks_look(locks, slice_of(key, (size_t)size), &seen);
    if (slice_starts_with(seen.owner, SLICE_LITERAL("p")) && !slice_equal(seen.owner, seen.note)) {
        node_fail(world, "shard %d: a lock of several has another note than was given", shard);
    }
    struct node_many_request *now = request_of(world, &seen);
    struct node_many_request *was = before->request;
    if (was != NULL && was->serial == before->serial && (was != now || before->number != seen.number)) {
        if (was->home == shard) {
            look_at_home(world, shard, was, 0, 0);
        } else if (before->reserved && before->grants == seen.grants && !was->of_session) {
            was->taken = was->held == before->number ? before->number : 0;
        }
    }
    if (now != NULL && now->home == shard) {
        look_at_home(world, shard, now, seen.reserved ? 0 : seen.number, seen.reserved ? seen.number : 0);
    } else if (now != NULL && !seen.reserved && now->held != seen.number) {
        now->early = seen.number;
    }
    before->applied = applied;
    before->request = now;
    before->serial = now == NULL ? 0 : now->serial;
    before->reserved = seen.reserved;
    before->number = seen.number;
    before->grants = seen.grants;
}

void node_many_look(struct node *node, int shard, const struct locks *locks, uint64_t applied)
{
    look_at(node->world, shard, locks, applied, 'M');
    look_at(node->world, shard, locks, applied, 'Z');
}

/* Clients that take locks: what they may believe, and what they are told.
 *
 * In each shard there is a lock, taken exclusively or shared, and a semaphore with three permits. A client that was
 * granted one at once, or has renewed it, may believe to hold it for its time to live from before it asked, less what
 * clocks are off. Checked: no two believe what cannot be at once; tokens grow; what remains of a lease never becomes
 * more by itself (a leader that resets it); nothing is lost that may be believed. */
#include "node_world.h"

#include "cluster/cluster.h"
#include "machine/lock/locks.h"

#include <stdio.h>

enum { LIMIT = 3, FINAL_LOCKERS = 4, FINAL_SHARDS = 2 };

static uint64_t draw(struct node_client *client, uint64_t bound)
{
    return node_draw(client->world, SIM_DRAW_CLIENT, bound);
}

static int64_t now_of(const struct node_client *client) { return sim_now_ns(client->world->sim); }

/* Clocks are off by a hundredth at most. */
static int64_t believed_ns(int64_t asked_ns, int64_t ttl_ms) { return asked_ns + (ttl_ms * 97 / 100 - 10) * MS; }

static int64_t *newest_token(struct node_client *client)
{
    const struct node_lock *lock = &client->lock;
    struct node_shard *shard = &client->world->shards[lock->shard];
    return lock->of_many ? &shard->many.token : &shard->tokens[lock->in_circle ? 2 : lock->mode == LOCK_PERMITS_MODE];
}

const char *node_lock_key(struct node_client *client, char text[static NODE_KEY_BYTES])
{
    const struct node_lock *lock = &client->lock;
    (void)snprintf(text, NODE_KEY_BYTES, "{%s}%s", client->world->shards[lock->shard].tag,
                   lock->in_circle                   ? "D"
                   : lock->of_many                   ? "M"
                   : lock->mode == LOCK_PERMITS_MODE ? "S"
                                                     : "L");
    return text;
}

const char *node_lock_owner(const struct node_client *client, char text[static NODE_KEY_BYTES])
{
    (void)snprintf(text, NODE_KEY_BYTES, "o%d.%u", client->number, client->lock.serial);
    return text;
}

/* ---- asking ---- */

static void expect(struct node_client *client, enum node_ask ask)
{
    client->lock.pending = true;
    client->lock.asked_ns = now_of(client);
    client->lock.floor = client->lock.unsure ? client->lock.floor : *newest_token(client);
    node_expect(client, ask);
}

static void acquire(struct node_client *client, int64_t wait_ms)
{
    static const char *const how[] = {"MODE EXCLUSIVE", "MODE SHARED"};
    struct node_lock *lock = &client->lock;
    char key[NODE_KEY_BYTES];
    char owner[NODE_KEY_BYTES];
    char permits[32];
    (void)snprintf(permits, sizeof(permits), "PERMITS %d LIMIT %d", lock->permits, LIMIT);
    node_request(client, "LOCK.ACQUIRE %s %s PX %lld WAIT %lld %s", node_lock_key(client, key),
                 node_lock_owner(client, owner), (long long)lock->ttl_ms, (long long)wait_ms,
                 lock->mode == LOCK_PERMITS_MODE ? permits : how[lock->mode]);
    lock->wait_ms = wait_ms;
    expect(client, NODE_ASK_LOCK_ACQUIRE);
}

/* Takes two locks, one after the other, as others do the other way round: they come to wait for each other. */
static bool takes_two(const struct node_client *client)
{
    return client->number % 3 == 0 && client->world->profile.groups > 1;
}

static void acquire_as(struct node_client *client, int shard, int64_t wait_ms, int64_t ttl_ms)
{
    client->lock = (struct node_lock){
        .serial = client->lock.serial + 1,
        .shard = shard,
        .mode = takes_two(client) ? LOCK_EXCLUSIVE : (int)draw(client, 3),
        .in_circle = takes_two(client),
        .permits = 1 + (int)draw(client, LIMIT),
        .ttl_ms = ttl_ms,
    };
    client->lock.permits = client->lock.mode == LOCK_PERMITS_MODE ? client->lock.permits : 1;
    acquire(client, wait_ms);
}

static void acquire_new(struct node_client *client, int shard)
{
    int64_t wait_ms = draw(client, 3) == 0 ? 0 : (int64_t)draw(client, 1400);
    acquire_as(client, shard, wait_ms, 100 + (int64_t)draw(client, 2500));
}

/* The first one, for long; or another beside it, as the same owner, who forgets the first. */
static void acquire_in_circle(struct node_client *client)
{
    struct node_lock *lock = &client->lock;
    int first = 1 + client->number / 3 % 2;
    bool further = lock->holds && !lock->further;
    lock->serial -= further ? 1 : 0;
    acquire_as(client, further ? 3 - first : first, 2000 + (int64_t)draw(client, 2000), further ? 50 : 3000);
    lock->further = further;
}

static void renew(struct node_client *client)
{
    struct node_lock *lock = &client->lock;
    char key[NODE_KEY_BYTES];
    char owner[NODE_KEY_BYTES];
    int64_t ttl_ms = 100 + (int64_t)draw(client, 2500);
    node_request(client, "LOCK.RENEW %s %s %lld PX %lld", node_lock_key(client, key), node_lock_owner(client, owner),
                 (long long)lock->token, (long long)ttl_ms);
    lock->ttl_ms = ttl_ms;
    lock->told_ttl_ms = INT64_MAX;
    expect(client, NODE_ASK_LOCK_RENEW);
}

static void release(struct node_client *client)
{
    struct node_lock *lock = &client->lock;
    char key[NODE_KEY_BYTES];
    char owner[NODE_KEY_BYTES];
    node_request(client, "LOCK.RELEASE %s %s %lld", node_lock_key(client, key), node_lock_owner(client, owner),
                 (long long)lock->token);
    lock->until_before_ns = lock->until_ns;
    lock->until_ns = 0;
    expect(client, NODE_ASK_LOCK_RELEASE);
}

bool node_lock_ask(struct node_client *client, int shard)
{
    struct node_lock *lock = &client->lock;
    if (node_many_takes(client)) {
        return node_many_ask(client);
    }
    if (lock->pending) {
        return false;
    }
    if (takes_two(client)) {
        acquire_in_circle(client);
        return true;
    }
    if (!lock->holds) {
        acquire_new(client, shard);
        return true;
    }
    switch (lock->until_ns == 0 ? 0 : draw(client, 6)) { /* after a wait, a renewal tells until when it is believed */
    case 0:
    case 1: renew(client); break;
    case 2: acquire(client, 0); break;
    case 3: acquire_new(client, shard); break; /* and forgets the other */
    default: release(client); break;
    }
    return true;
}

void node_lock_ask_finally(struct node_client *client, int shard)
{
    if (client->number >= FINAL_LOCKERS || shard > FINAL_SHARDS) {
        return;
    }
    client->lock = (struct node_lock){.serial = client->lock.serial + 1, .shard = shard, .ttl_ms = 20, .permits = 1};
    client->lock.of_many = client->number % 2 == 1;
    acquire(client, 20000);
}

/* ---- answers ---- */

static bool may_be_together(const struct node_lock *a, const struct node_lock *b)
{
    return a->mode == LOCK_SHARED && b->mode == LOCK_SHARED;
}

/* Nobody else may believe to hold what excludes this. What is told of a grant after a wait may come late, and others
 * may have been granted the lock meanwhile; who was granted it before holds it together with this one. */
static void check_others(struct node_client *client)
{
    struct node_world *world = client->world;
    const struct node_lock *mine = &client->lock;
    int permits = mine->permits;
    for (int i = 0; i < world->profile.clients; i++) {
        const struct node_lock *other = &world->clients[i].lock;
        bool same = other->shard == mine->shard && other->in_circle == mine->in_circle &&
                    other->of_many == mine->of_many &&
                    (other->mode == LOCK_PERMITS_MODE) == (mine->mode == LOCK_PERMITS_MODE);
        bool together = mine->until_ns > now_of(client) || other->token < mine->token;
        if (i == client->number || !other->holds || !same || !together || other->until_ns <= now_of(client)) {
            continue;
        }
        permits += other->permits;
        if (mine->mode != LOCK_PERMITS_MODE && !may_be_together(mine, other)) {
            node_fail(world, "shard %d: client %d is granted the lock that client %d may believe to hold for %lld ms",
                      mine->shard, client->number + 1, i + 1, (long long)((other->until_ns - now_of(client)) / MS));
        }
    }
    if (mine->mode == LOCK_PERMITS_MODE && permits > LIMIT) {
        node_fail(world, "shard %d: %d permits of %d are believed to be held", mine->shard, permits, LIMIT);
    }
}

static void granted(struct node_client *client, int64_t token, int64_t ttl_ms)
{
    struct node_lock *lock = &client->lock;
    struct node_world *world = client->world;
    bool again = lock->holds && token == lock->token;
    if (lock->holds && !again && lock->until_ns > now_of(client)) {
        node_fail(world, "client %d: a lock was lost that it may believe to hold", client->number + 1);
    }
    if (!again && token <= lock->floor) {
        node_fail(world, "client %d: token %lld of a grant, after %lld was seen", client->number + 1, (long long)token,
                  (long long)lock->floor);
    }
    if (again && ttl_ms > lock->told_ttl_ms) {
        node_fail(world, "client %d: a lease with %lld ms left has %lld ms left", client->number + 1,
                  (long long)lock->told_ttl_ms, (long long)ttl_ms);
    }
    lock->holds = true;
    lock->unsure = false;
    lock->token = token;
    lock->told_ttl_ms = ttl_ms;
    if (!again) {
        lock->until_ns = lock->wait_ms == 0 ? believed_ns(lock->asked_ns, ttl_ms) : 0;
    }
    *newest_token(client) = token > *newest_token(client) ? token : *newest_token(client);
    check_others(client);
    node_reach(world, NODE_MARK_LOCK_WAITED, !again && lock->wait_ms > 0);
}

static void acquired(struct node_client *client)
{
    const struct node_reply *reply = &client->reply;
    struct node_lock *lock = &client->lock;
    if (reply->type == RESP_NULL) {
        if (lock->holds && lock->until_ns > now_of(client)) {
            node_fail(client->world, "client %d: a lock that it may believe to hold is another's", client->number + 1);
        }
        if (client->final_shard > 0) {
            node_fail(client->world, "shard %d: a lock is never free", lock->shard);
        }
        lock->holds = false;
    } else if (reply->type == RESP_ARRAY && reply->count == 2) {
        granted(client, reply->elements[0].integer, reply->elements[1].integer);
        lock->holds = client->final_shard == 0;
    } else {
        node_unexpected(client, "no grant");
    }
}

static void renewed(struct node_client *client)
{
    struct node_lock *lock = &client->lock;
    int64_t left_ms = client->reply.integer;
    if (client->reply.type != RESP_INTEGER || left_ms < lock->ttl_ms) {
        node_unexpected(client, "less time than it was renewed for");
    }
    lock->until_ns = believed_ns(lock->asked_ns, left_ms);
    lock->told_ttl_ms = left_ms;
    check_others(client);
}

static void released(struct node_client *client)
{
    struct node_lock *lock = &client->lock;
    if (client->reply.integer == 0 && lock->until_before_ns > now_of(client)) {
        node_fail(client->world, "client %d: the lock that it releases is not held, %lld ms too early",
                  client->number + 1, (long long)((lock->until_before_ns - now_of(client)) / MS));
    }
    lock->holds = false;
}

static bool is_many(enum node_ask ask) { return ask == NODE_ASK_LOCK_MANY || ask == NODE_ASK_LOCK_MANY_RELEASE; }

void node_lock_answered(struct node_client *client, enum node_ask ask)
{
    if (is_many(ask)) {
        node_many_answered(client, ask);
        return;
    }
    client->lock.pending = false;
    switch (ask) {
    case NODE_ASK_LOCK_ACQUIRE: acquired(client); break;
    case NODE_ASK_LOCK_RENEW: renewed(client); break;
    default: released(client); break;
    }
}

bool node_lock_refused(struct node_client *client, enum node_ask ask)
{
    struct node_lock *lock = &client->lock;
    struct slice lost = SLICE_LITERAL("LOCKLOST ");
    if (is_many(ask)) {
        return node_many_refused(client, ask);
    }
    lock->pending = false;
    if (ask == NODE_ASK_LOCK_ACQUIRE && slice_starts_with(client->reply.text, SLICE_LITERAL("DEADLOCK "))) {
        node_circle_told(client);
        lock->holds = false;
        return true;
    }
    if (ask != NODE_ASK_LOCK_RENEW || !slice_starts_with(client->reply.text, lost)) {
        node_lock_unanswered(client, ask);
        return false;
    }
    if (lock->until_ns > now_of(client)) {
        node_fail(client->world, "client %d: a lock was lost %lld ms before its time", client->number + 1,
                  (long long)((lock->until_ns - now_of(client)) / MS));
    }
    node_reach(client->world, NODE_MARK_LOCK_LOST, 1);
    lock->holds = false;
    return true;
}

/* What was held may be held; what was asked for may be, by an owner who is never heard of again. */
void node_lock_unanswered(struct node_client *client, enum node_ask ask)
{
    if (is_many(ask)) {
        node_many_unanswered(client, ask);
        return;
    }
    client->lock.pending = false;
    client->lock.unsure = client->lock.unsure || ask == NODE_ASK_LOCK_ACQUIRE;
    client->lock.holds = client->lock.holds && client->lock.until_ns != 0;
}

/* ---- the state of a shard ---- */

void node_lock_look(struct node *node, int shard)
{
    const struct cluster *cluster = server_cluster_of(node->server, (uint32_t)shard);
    const struct locks *locks = cluster == NULL ? NULL : cluster_locks(cluster, (uint32_t)shard);
    const char *problem = locks == NULL ? NULL : locks_problem(locks);
    if (problem != NULL) {
        node_fail(node->world, "shard %d at node %d: %s", shard, node->number + 1, problem);
    }
    if (locks != NULL) {
        node_many_look(node, shard, locks, cluster_applied_here(cluster, (uint32_t)shard));
    }
}

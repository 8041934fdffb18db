/* Clients with sessions: what they may believe, and what they are told.
 *
 * A client opens a session, keeps it alive or does not, and gives it a key of its own and, exclusively, the lock of a
 * shard, which all want. It renames its key to other shards, and changes it together with another one there. It may
 * believe that the session lives for its time to live from before the last heartbeat that was answered was sent, less
 * what clocks are off. Some take several such locks at once (node_bundles.c). Checked: while it may be believed to live
 * nobody else is granted its lock, its key is there, and no shard says that it has ended; whoever closed it, or was
 * told that it ended, is told nothing else afterwards; and in the end every lock is free and every key of a session
 * that ended is gone. */
#include "node_world.h"

#include <stdio.h>

enum { FINAL_SHARDS = 2, TTL_MINIMUM_MS = 100, TTL_DRAWN_MS = 2500, ENDS_MS = 2 * TTL_DRAWN_MS };

static uint64_t draw(struct node_client *client, uint64_t bound)
{
    return node_draw(client->world, SIM_DRAW_CLIENT, bound);
}

static int64_t now_of(const struct node_client *client) { return sim_now_ns(client->world->sim); }

/* Clocks are off by a hundredth at most. */
static int64_t believed_ns(int64_t asked_ns, int64_t ttl_ms) { return asked_ns + (ttl_ms * 97 / 100 - 10) * MS; }

static void lives_until(struct node_session *session, int64_t until_ns)
{
    session->until_ns = until_ns > session->until_ns && !session->doomed ? until_ns : session->until_ns;
}

void node_session_told(struct node_client *client, int64_t left_ms)
{
    lives_until(&client->session, believed_ns(client->session.asked_ns, left_ms));
}

static const char *tag_of(const struct node_client *client, int shard) { return client->world->shards[shard].tag; }

/* ---- asking ---- */

void node_session_expect(struct node_client *client, enum node_ask ask)
{
    client->session.pending = true;
    client->session.asked_ns = now_of(client);
    (void)node_expect(client, ask);
}

static void open(struct node_client *client)
{
    uint32_t serial = client->session.serial + 1;
    client->session =
        (struct node_session){.serial = serial, .ttl_ms = TTL_MINIMUM_MS + (int64_t)draw(client, TTL_DRAWN_MS)};
    node_request(client, "SESSION.OPEN PX %lld", (long long)client->session.ttl_ms);
    node_session_expect(client, NODE_ASK_SESSION_OPEN);
}

static void ask_lock(struct node_client *client, int shard)
{
    struct node_session *session = &client->session;
    shard = session->lock_shard != 0 ? session->lock_shard : shard;
    session->asked_shard = shard;
    node_request(client, "LOCK.ACQUIRE {%s}Z o%d.%u SESSION %s WAIT %d", tag_of(client, shard), client->number,
                 session->serial, session->id, draw(client, 3) == 0 ? 1 + (int)draw(client, 900) : 0);
    node_session_expect(client, NODE_ASK_SESSION_LOCK);
}

static void ask_rename(struct node_client *client, int shard)
{
    struct node_session *session = &client->session;
    int from = session->key_shard;
    session->asked_shard = shard;
    session->key_shard = NODE_NOWHERE; /* until it is answered */
    node_request(client, "RENAME {%s}z%d.%u {%s}z%d.%u", tag_of(client, from), client->number, session->serial,
                 tag_of(client, shard), client->number, session->serial);
    node_session_expect(client, NODE_ASK_SESSION_RENAME);
}

/* Its key is written and keeps its session, another one gets it; sometimes beside what moves values. */
static void ask_both(struct node_client *client, int shard)
{
    struct node_session *session = &client->session;
    const char *there = tag_of(client, session->key_shard);
    const char *other = tag_of(client, shard);
    node_ask_prepare(client, "MULTI");
    node_request(client, "SET {%s}z%d.%u w XX KEEPTTL", there, client->number, session->serial);
    (void)node_expect(client, NODE_ASK_PREPARE);
    node_request(client, "SET {%s}z%d.%ua v SESSION %s", other, client->number, session->serial, session->id);
    (void)node_expect(client, NODE_ASK_PREPARE);
    if (draw(client, 2) == 0) {
        node_request(client, "COPY {%s}z%d.%u {%s}z%d.%ub REPLACE", there, client->number, session->serial, other,
                     client->number, session->serial);
        (void)node_expect(client, NODE_ASK_PREPARE);
    }
    node_request(client, "EXEC");
    node_session_expect(client, NODE_ASK_SESSION_EXEC);
}

static void ask_key(struct node_client *client, int shard)
{
    struct node_session *session = &client->session;
    bool sets = session->key_shard == 0;
    session->asked_shard = sets ? shard : session->key_shard;
    const char *tag = tag_of(client, session->asked_shard);
    if (sets) {
        node_request(client, "SET {%s}z%d.%u v SESSION %s", tag, client->number, session->serial, session->id);
        node_session_expect(client, NODE_ASK_SESSION_SET);
        return;
    }
    switch (draw(client, 4)) {
    case 0: ask_rename(client, shard); return;
    case 1: ask_both(client, shard); return;
    default:
        node_request(client, "GET {%s}z%d.%u", tag, client->number, session->serial);
        node_session_expect(client, NODE_ASK_SESSION_GET);
        return;
    }
}

bool node_session_ask(struct node_client *client, int shard)
{
    struct node_session *session = &client->session;
    if (session->pending) {
        return false;
    }
    if (session->id[0] == '\0') {
        open(client);
        return true;
    }
    if (node_bundle_ask(client)) {
        return true;
    }
    switch (draw(client, 12)) {
    case 0: session->id[0] = '\0'; break; /* it is left alone */
    case 1:
        session->until_ns = 0;
        session->lock_shard = 0;
        session->bundle.holds = false;
        node_request(client, "SESSION.CLOSE %s", session->id);
        session->id[0] = '\0'; /* when it is not answered, it may be executed at any time */
        node_session_expect(client, NODE_ASK_SESSION_CLOSE);
        break;
    case 2:
    case 3:
    case 4: ask_lock(client, shard); break;
    case 5:
    case 6:
    case 7:
        if (session->key_shard != NODE_NOWHERE) {
            ask_key(client, shard);
            break;
        } /* fallthrough */
    default:
        node_request(client, "SESSION.KEEPALIVE %s", session->id);
        node_session_expect(client, NODE_ASK_SESSION_KEEPALIVE);
        break;
    }
    return true;
}

/* Sessions have ended by themselves for lack of heartbeats, or will soon: then the lock is free. */
void node_session_ask_finally(struct node_client *client, int shard)
{
    if (client->number != 0 || shard > FINAL_SHARDS) {
        return;
    }
    client->session.pending = true;
    client->session.asked_shard = shard;
    node_request(client, "LOCK.ACQUIRE {%s}Z final PX 5 WAIT 10000", tag_of(client, shard));
    (void)node_expect(client, NODE_ASK_SESSION_FINAL);
    if (shard > 1) {
        return;
    }
    /* So long none can live, and then all has heard of its end. */
    node_request(client, "LOCK.ACQUIRE {%s}W one PX %d", tag_of(client, shard), ENDS_MS);
    (void)node_expect(client, NODE_ASK_SESSION_FINAL);
    node_request(client, "LOCK.ACQUIRE {%s}W other PX 5 WAIT 10000", tag_of(client, shard));
    (void)node_expect(client, NODE_ASK_SESSION_FINAL);
    node_request(client, "KEYS *}z*.*");
    (void)node_expect(client, NODE_ASK_SESSION_KEYS);
    if (client->world->profile.groups > 1) {
        node_bundle_ask_finally(client);
    }
}

/* ---- answers ---- */

static void ended(struct node_client *client, const char *how)
{
    struct node_session *session = &client->session;
    if (session->until_ns > now_of(client)) {
        node_fail(client->world, "client %d: its session %s %s, %lld ms before its time", client->number + 1,
                  session->id, how, (long long)((session->until_ns - now_of(client)) / MS));
    }
    session->id[0] = '\0';
    session->until_ns = 0;
    session->lock_shard = 0;
    session->bundle = (struct node_bundle){0};
    node_reach(client->world, NODE_MARK_SESSION_ENDED, 1);
}

/* It was granted the lock of this shard, together with others. */
static bool has_in_bundle(const struct node_session *session, int shard)
{
    bool has = false;
    for (int i = 0; session->bundle.holds && i < session->bundle.count; i++) {
        has = has || session->bundle.shards[i] == shard;
    }
    return has;
}

void node_session_note_token(struct node_world *world, int shard, int64_t token)
{
    int64_t *newest = &world->shards[shard].of_sessions.token;
    *newest = token > *newest ? token : *newest;
}

/* Unless it was told so late that this session may have ended meanwhile. */
void node_session_check_others(struct node_client *client, int shard)
{
    struct node_world *world = client->world;
    if (client->session.until_ns <= now_of(client)) {
        return;
    }
    for (int i = 0; i < world->profile.clients; i++) {
        const struct node_session *other = &world->clients[i].session;
        bool alone = other->lock_shard == shard;
        bool bundled = has_in_bundle(other, shard);
        bool has = i == client->number ? alone && bundled : alone || bundled; /* by two owners, each with its own */
        if (has && other->until_ns > now_of(client)) {
            node_fail(world, "shard %d: client %d is granted the lock of client %d, whose session lives for %lld ms",
                      shard, client->number + 1, i + 1, (long long)((other->until_ns - now_of(client)) / MS));
        }
    }
}

static void answered_lock(struct node_client *client)
{
    struct node_session *session = &client->session;
    const struct node_reply *reply = &client->reply;
    if (reply->type == RESP_ARRAY && reply->count == 2) {
        node_session_note_token(client->world, session->asked_shard, reply->elements[0].integer);
        node_session_told(client, reply->elements[1].integer);
        session->lock_shard = session->asked_shard;
        node_session_check_others(client, session->asked_shard);
        node_reach(client->world, NODE_MARK_SESSION_LOCK, 1);
    } else if (session->lock_shard != 0 && session->until_ns > now_of(client)) {
        node_fail(client->world, "client %d: the lock of its session is another's", client->number + 1);
    }
}

static void check_there(struct node_client *client, bool there, const char *what)
{
    const struct node_session *session = &client->session;
    if (!there && session->until_ns > now_of(client)) {
        node_fail(client->world, "client %d: the key of its session is gone %lld ms too early (%s)", client->number + 1,
                  (long long)((session->until_ns - now_of(client)) / MS), what);
    }
}

static void answered_exec(struct node_client *client)
{
    const struct node_reply *reply = &client->reply;
    if (reply->type != RESP_ARRAY || reply->count < 2) {
        node_unexpected(client, "an EXEC without its replies");
        return;
    }
    check_there(client, reply->elements[0].type == RESP_STATUS, "EXEC");
    check_there(client, reply->elements[1].type == RESP_STATUS, "SET in EXEC");
    node_reach(client->world, NODE_MARK_SESSION_MOVED, reply->elements[0].type == RESP_STATUS);
}

void node_session_answered(struct node_client *client, enum node_ask ask)
{
    struct node_session *session = &client->session;
    const struct node_reply *reply = &client->reply;
    session->pending = false;
    switch (ask) {
    case NODE_ASK_SESSION_OPEN:
        (void)snprintf(session->id, sizeof(session->id), "%.*s", (int)reply->text.size, (const char *)reply->text.data);
        lives_until(session, believed_ns(session->asked_ns, session->ttl_ms));
        break;
    case NODE_ASK_SESSION_KEEPALIVE:
        if (reply->type != RESP_INTEGER || reply->integer != session->ttl_ms) {
            node_unexpected(client, "another time to live than it was opened with");
        }
        lives_until(session, believed_ns(session->asked_ns, session->ttl_ms));
        break;
    case NODE_ASK_SESSION_CLOSE: ended(client, "is closed"); break;
    case NODE_ASK_SESSION_CLOSE_OTHER: break;
    case NODE_ASK_SESSION_LOCK: answered_lock(client); break;
    case NODE_ASK_SESSION_MANY:
    case NODE_ASK_SESSION_MANY_RELEASE: node_bundle_answered(client, ask); break;
    case NODE_ASK_SESSION_SET: session->key_shard = session->asked_shard; break;
    case NODE_ASK_SESSION_GET: check_there(client, reply->type != RESP_NULL, "GET"); break;
    case NODE_ASK_SESSION_RENAME:
        session->key_shard = session->asked_shard;
        node_reach(client->world, NODE_MARK_SESSION_MOVED, 1);
        break;
    case NODE_ASK_SESSION_EXEC: answered_exec(client); break;
    case NODE_ASK_SESSION_KEYS:
        if (reply->count != 0) {
            node_fail(client->world, "keys of sessions that have ended are there: %.*s",
                      (int)reply->elements[0].text.size, (const char *)reply->elements[0].text.data);
        }
        break;
    default:
        if (reply->type != RESP_ARRAY) {
            node_fail(client->world, "shard %d: the lock of a session is never free", session->asked_shard);
        }
        break;
    }
}

void node_session_unanswered(struct node_client *client, enum node_ask ask)
{
    client->session.pending = false;
    if (ask == NODE_ASK_SESSION_MANY || ask == NODE_ASK_SESSION_MANY_RELEASE) {
        node_bundle_unanswered(client, ask);
    }
}

bool node_session_refused(struct node_client *client, enum node_ask ask)
{
    struct slice text = client->reply.text;
    client->session.pending = false;
    if (ask == NODE_ASK_SESSION_MANY && node_bundle_refused(client)) {
        return true;
    }
    if (slice_starts_with(text, SLICE_LITERAL("ERR no such key"))) {
        check_there(client, false, "RENAME");
        return true;
    }
    if (!slice_starts_with(text, SLICE_LITERAL("NOSESSION "))) {
        return false;
    }
    if (ask == NODE_ASK_SESSION_CLOSE_OTHER) {
        return true;
    }
    ended(client, "has ended");
    return true;
}

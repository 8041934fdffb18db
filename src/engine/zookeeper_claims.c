#include "engine/zookeeper_claims.h"

#include "engine/machine_time.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

enum { NS_PER_MS = 1000000, SWEEP_MS = 500, PAST_TRIES = 3 };

/* ---- words ---- */

static enum engine_code refuse(struct zookeeper *zookeeper, const char *why)
{
    return engine_problem(&zookeeper->engine, ENGINE_REFUSED, "%s (%.100s, in %.60s/); nothing was changed", why,
                          zookeeper->session.hosts, zookeeper->folder);
}

enum engine_code zookeeper_problem(struct zookeeper *zookeeper, int code, bool writes)
{
    if (session_is_uncertain(code)) {
        return engine_problem(&zookeeper->engine, writes ? ENGINE_UNCERTAIN : ENGINE_DOWN,
                              "%.100s: there was no answer in time (%s)", zookeeper->session.hosts, zerror(code));
    }
    switch (code) {
    case ZINVALIDSTATE:
    case ZSESSIONMOVED:
    case ZNOTREADONLY:
        return engine_problem(&zookeeper->engine, ENGINE_DOWN, "%.100s: not sent: %s", zookeeper->session.hosts,
                              zerror(code));
    case SESSION_SENT_NOT:
    case ZSYSTEMERROR:
    case ZMARSHALLINGERROR: return engine_problem(&zookeeper->engine, ENGINE_BUSY, "memory was refused");
    case ZTHROTTLEDOP: return engine_problem(&zookeeper->engine, ENGINE_BUSY, "the server has too much to do");
    case ZNOAUTH: return refuse(zookeeper, "NOPERM the nodes do not let us: give zookeeper://USER:PASSWORD@…");
    case ZINVALIDACL: return refuse(zookeeper, "NOPERM the server takes no user and password of the kind digest");
    case ZUNIMPLEMENTED: return refuse(zookeeper, "ERR the server is older than ZooKeeper 3.5: use a newer one");
    case ZNOCHILDRENFOREPHEMERALS: return refuse(zookeeper, "ERR another node stands where the locks should be");
    case ZEPHEMERALONLOCALSESSION:
        return refuse(zookeeper, "ERR the server has local sessions that cannot be upgraded: set "
                                 "localSessionsUpgradingEnabled=true");
    default: break;
    }
    char text[96];
    (void)snprintf(text, sizeof(text), "ERR ZooKeeper says: %s (%d)", zerror(code), code);
    return refuse(zookeeper, text);
}

enum engine_code zookeeper_ready(struct zookeeper *zookeeper)
{
    if (session_ready(&zookeeper->session, zookeeper->engine.deadline_ns)) {
        return ENGINE_OK;
    }
    return engine_problem(&zookeeper->engine, ENGINE_DOWN, "%.100s: %s", zookeeper->session.hosts,
                          session_problem(&zookeeper->session));
}

/* ---- nodes ---- */

int64_t zookeeper_wall_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / NS_PER_MS;
}

void zookeeper_set_paths(struct zookeeper *zookeeper, struct slice key, const char *child)
{
    char name[NODES_NAME_BYTES];
    nodes_name(key, name);
    (void)snprintf(zookeeper->lock_path, CLAIMS_PATH_BYTES, "%s/%s", zookeeper->folder, name);
    (void)snprintf(zookeeper->child_path, CLAIMS_PATH_BYTES, "%s/%s/%s", zookeeper->folder, name, child);
}

int zookeeper_get(struct zookeeper *zookeeper, const char *path, bool watches, struct session_answer *ret_answer)
{
    struct session_call *call = session_ask_get(&zookeeper->session, path, watches);
    return session_wait(&zookeeper->session, call, zookeeper->engine.deadline_ns, ret_answer);
}

int zookeeper_children(struct zookeeper *zookeeper, const char *path, struct session_answer *ret_answer)
{
    struct session_call *call = session_ask_children(&zookeeper->session, path);
    return session_wait(&zookeeper->session, call, zookeeper->engine.deadline_ns, ret_answer);
}

int zookeeper_make_lock(struct zookeeper *zookeeper, struct slice key)
{
    zookeeper_set_paths(zookeeper, key, "");
    char *path = zookeeper->lock_path;
    int code = ZOK;
    for (char *end = strchr(path + 1, '/'); code == ZOK; end = strchr(end + 1, '/')) {
        struct session_answer answer;
        if (end != NULL) {
            *end = '\0';
        }
        code = session_create(&zookeeper->session, zookeeper->engine.deadline_ns, path, slice_of("", 0), ZOO_PERSISTENT,
                              &answer);
        session_answer_release(&answer);
        code = code == ZNODEEXISTS || (code == ZNOAUTH && end != NULL) ? ZOK : code;
        if (end == NULL) {
            break;
        }
        *end = '/';
    }
    return code;
}

/* ---- the list ---- */

struct claim *claims_find(struct zookeeper *zookeeper, struct slice key, struct slice owner)
{
    LIST_FOR_EACH (at, &zookeeper->claims) {
        struct claim *claim = CONTAINER_OF(at, struct claim, node);
        if (slice_equal(claim->key, key) && slice_equal(claim->owner, owner)) {
            return claim;
        }
    }
    return NULL;
}

static struct slice keep(uint8_t *at, struct slice text)
{
    if (text.size > 0) {
        memcpy(at, text.data, text.size);
    }
    return slice_of(at, text.size);
}

static bool set_guid(struct claim *claim)
{
    uint8_t bytes[(NODES_GUID_BYTES - 1) / 2];
    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        (void)snprintf(&claim->guid[2 * i], 3, "%02x", bytes[i]);
    }
    return true;
}

struct claim *claims_add(struct zookeeper *zookeeper, const struct lock_wanted *wanted)
{
    struct claim *claim = calloc(1, sizeof(*claim) + wanted->key.size + wanted->owner.size + wanted->note.size);
    if (claim == NULL || !set_guid(claim)) {
        free(claim);
        return NULL;
    }
    claim->key = keep(claim->bytes, wanted->key);
    claim->owner = keep(claim->bytes + wanted->key.size, wanted->owner);
    claim->note = keep(claim->bytes + wanted->key.size + wanted->owner.size, wanted->note);
    claim->shared = wanted->kind == LOCK_KIND_SHARED;
    claim->ttl_ms = wanted->ttl_ms;
    claim->asked_ms = machine_time_ms();
    list_append(&zookeeper->claims, &claim->node);
    return claim;
}

void claims_forget(struct claim *claim)
{
    list_remove(&claim->node);
    free(claim);
}

void claims_forget_all(struct zookeeper *zookeeper)
{
    while (!list_empty(&zookeeper->claims)) {
        claims_forget(CONTAINER_OF(zookeeper->claims.next, struct claim, node));
    }
}

/* ---- ends ---- */

int claims_find_child(struct zookeeper *zookeeper, struct claim *claim)
{
    zookeeper_set_paths(zookeeper, claim->key, "");
    struct session_answer answer;
    int code = session_sync(&zookeeper->session, zookeeper->engine.deadline_ns, zookeeper->lock_path);
    if (code != ZOK) {
        return code;
    }
    code = zookeeper_children(zookeeper, zookeeper->lock_path, &answer);
    for (int32_t i = 0; code == ZOK && i < answer.names.count; i++) {
        const char *name = answer.names.data[i];
        if (strncmp(name, claim->guid, NODES_GUID_BYTES - 1) == 0 && strlen(name) < NODES_CHILD_BYTES) {
            memcpy(claim->child, name, strlen(name) + 1);
        }
    }
    session_answer_release(&answer);
    return code == ZOK && claim->child[0] == '\0' ? ZNONODE : code;
}

void claims_doom(struct claim *claim)
{
    claim->was_held = claim->was_held || claim->state == CLAIM_HELD;
    claim->state = CLAIM_ENDS;
}

enum engine_code claims_end(struct zookeeper *zookeeper, struct claim *claim)
{
    enum engine_code ready = zookeeper_ready(zookeeper);
    if (ready != ENGINE_OK) {
        return ready;
    }
    int code = claim->child[0] == '\0' ? claims_find_child(zookeeper, claim) : ZOK;
    bool sent = code == ZOK;
    if (sent) {
        zookeeper_set_paths(zookeeper, claim->key, claim->child);
        code = session_delete(&zookeeper->session, zookeeper->engine.deadline_ns, zookeeper->child_path, -1);
    }
    if (code != ZOK && code != ZNONODE) {
        return zookeeper_problem(zookeeper, code, sent);
    }
    if (claim->was_held && code == ZOK) {
        struct lock_past past = {.owner = claim->owner,
                                 .token = claim->token,
                                 .from_ms = claim->since_wall_ms,
                                 .to_ms = zookeeper_wall_ms(),
                                 .why = claim->released ? LOCK_WHY_RELEASED : LOCK_WHY_EXPIRED};
        claims_note_past(zookeeper, claim->key, &past);
    }
    claims_forget(claim);
    return ENGINE_OK;
}

/* The newest first. False: it cannot be written there. */
static bool prepend_past(struct zookeeper *zookeeper, struct slice before, const struct lock_past *past)
{
    struct lock_state old;
    struct lock_state state;
    lock_state_init(&old);
    lock_state_init(&state);
    bool goes = nodes_read_lock(before, &old) == STATUS_OK && lock_state_add_past(&state, past);
    for (uint32_t i = 0; goes && i < old.past_count; i++) {
        goes = lock_state_add_past(&state, &old.past[i]);
    }
    state.fence = old.fence;
    buffer_clear(&zookeeper->data);
    goes = goes && nodes_write_lock(&zookeeper->data, &state);
    lock_state_deinit(&old);
    lock_state_deinit(&state);
    return goes;
}

void claims_note_past(struct zookeeper *zookeeper, struct slice key, const struct lock_past *past)
{
    int code = ZBADVERSION;
    for (int i = 0; i < PAST_TRIES && code == ZBADVERSION; i++) {
        struct session_answer answer;
        zookeeper_set_paths(zookeeper, key, "");
        code = zookeeper_get(zookeeper, zookeeper->lock_path, false, &answer);
        int32_t version = answer.stat.version;
        bool goes = code == ZOK && prepend_past(zookeeper, buffer_slice(&answer.data), past);
        session_answer_release(&answer);
        if (!goes) {
            return;
        }
        code = session_set(&zookeeper->session, zookeeper->engine.deadline_ns, zookeeper->lock_path,
                           buffer_slice(&zookeeper->data), version, &answer);
        session_answer_release(&answer);
    }
}

/* ---- what happens by itself ---- */

static void mark_fired(struct zookeeper *zookeeper, const char *path)
{
    const char *name = strrchr(path, '/');
    LIST_FOR_EACH (at, &zookeeper->claims) {
        struct claim *claim = CONTAINER_OF(at, struct claim, node);
        bool is_it = path[0] == '\0' || (name != NULL && strcmp(name + 1, claim->ahead) == 0); /* GUIDs: no two alike */
        claim->must_look = claim->must_look || is_it;
    }
}

void claims_hear(struct zookeeper *zookeeper)
{
    if (session_was_lost(&zookeeper->session)) {
        claims_forget_all(zookeeper);
    }
    for (;;) {
        bool all;
        char *path = session_next_fired(&zookeeper->session, &all);
        if (all) {
            mark_fired(zookeeper, "");
        }
        if (path == NULL) {
            return;
        }
        mark_fired(zookeeper, path);
        free(path);
    }
}

static int64_t end_of(const struct claim *claim)
{
    return claim->state == CLAIM_HELD ? claim->due_ms : claim->asked_ms + LOCK_STATE_PATIENCE_MS;
}

void claims_set_timer(struct zookeeper *zookeeper)
{
    int64_t now_ms = machine_time_ms();
    int64_t next_ms = now_ms + session_time_ms(&zookeeper->session) / SESSION_BEATS;
    LIST_FOR_EACH (at, &zookeeper->claims) {
        const struct claim *claim = CONTAINER_OF(at, struct claim, node);
        if (claim->state != CLAIM_ENDS && end_of(claim) < next_ms) {
            next_ms = end_of(claim);
        }
    }
    if (next_ms < zookeeper->timer_ms || zookeeper->timer_ms <= now_ms) {
        zookeeper->timer_ms = next_ms;
        session_set_timer(&zookeeper->session, next_ms);
    }
}

void claims_sweep(struct zookeeper *zookeeper)
{
    int64_t now_ms = machine_time_ms();
    int64_t deadline_ns = engine_clock_ns() + (int64_t)SWEEP_MS * NS_PER_MS;
    zookeeper->engine.deadline_ns = deadline_ns;
    session_beat(&zookeeper->session);
    LIST_FOR_EACH_SAFE (at, after, &zookeeper->claims) {
        struct claim *claim = CONTAINER_OF(at, struct claim, node);
        if (claim->state != CLAIM_ENDS && end_of(claim) <= now_ms) {
            claims_doom(claim);
        }
        if (claim->state == CLAIM_ENDS && session_is_connected(&zookeeper->session) &&
            engine_clock_ns() < deadline_ns) {
            (void)claims_end(zookeeper, claim);
        }
    }
    claims_set_timer(zookeeper);
}

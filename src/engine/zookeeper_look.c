#include "engine/zookeeper_look.h"

#include "engine/machine_time.h"
#include "engine/zookeeper_queue.h"

#include <stdlib.h>

enum { TOGETHER = 32, SHOWN = 512 };

/* ---- whether it is free ---- */

static bool conflicts(const struct session_answer *answer, bool shared)
{
    bool found = false;
    for (int32_t i = 0; i < answer->names.count; i++) {
        struct contender contender;
        found = found || (nodes_read_contender(answer->names.data[i], &contender) && !(shared && contender.shared));
    }
    return found;
}

/* A server may be a little behind, so only what is busy after a sync is busy. That it is free is only a guess. */
enum engine_code look_whether_free(struct zookeeper *zookeeper, struct slice key, bool shared)
{
    enum engine_code ready = zookeeper_ready(zookeeper);
    if (ready != ENGINE_OK) {
        return ready;
    }
    bool busy = true;
    int code = ZOK;
    for (int i = 0; i < 2 && busy && code == ZOK; i++) {
        struct session_answer answer;
        zookeeper_set_paths(zookeeper, key, "");
        code = i == 0 ? ZOK : session_sync(&zookeeper->session, zookeeper->engine.deadline_ns, zookeeper->lock_path);
        if (code == ZOK) {
            code = zookeeper_children(zookeeper, zookeeper->lock_path, &answer);
            busy = code == ZOK && conflicts(&answer, shared);
            session_answer_release(&answer);
        }
    }
    if (code != ZOK && code != ZNONODE) {
        return zookeeper_problem(zookeeper, code, false);
    }
    return busy && code == ZOK ? ENGINE_NOT : ENGINE_OK;
}

/* ---- one lock ---- */

struct looking {
    struct zookeeper *zookeeper;
    struct slice key;
    struct lock_state *state;
    int64_t now_ms; /* of the wall */

    uint64_t token; /* that is looked for */
    const struct slice *owner;
    char child[NODES_CHILD_BYTES]; /* that was found */
    int64_t since_ms;
};

static const struct claim *own_claim(struct zookeeper *zookeeper, const char *child)
{
    LIST_FOR_EACH (at, &zookeeper->claims) {
        const struct claim *claim = CONTAINER_OF(at, struct claim, node);
        if (strcmp(claim->child, child) == 0) {
            return claim;
        }
    }
    return NULL;
}

static int64_t due_of(const struct looking *looking, const struct contender *contender, const struct Stat *stat,
                      int64_t ttl_ms)
{
    const struct claim *own = own_claim(looking->zookeeper, contender->name);
    int64_t due_ms = own != NULL && own->state == CLAIM_HELD ? looking->now_ms + own->due_ms - machine_time_ms()
                                                             : stat->mtime + ttl_ms;
    due_ms = due_ms > looking->now_ms + ttl_ms ? looking->now_ms + ttl_ms : due_ms; /* the clocks are two */
    return due_ms > looking->now_ms ? due_ms : looking->now_ms;
}

/* False: memory was refused. */
typedef bool (*look_seen)(struct looking *looking, const struct contender *contender, bool waits,
                          const struct session_answer *answer);

static bool add_contender(struct looking *looking, const struct contender *contender, bool waits,
                          const struct session_answer *answer)
{
    struct contender_data data;
    nodes_read_contender_data(buffer_slice(&answer->data), &data);
    const struct Stat *stat = &answer->stat;
    struct lock_claim claim = {.owner = data.owner,
                               .note = data.note,
                               .kind = contender->shared ? LOCK_KIND_SHARED : LOCK_KIND_EXCLUSIVE,
                               .permits = 1,
                               .token = (uint64_t)stat->czxid,
                               .since_ms = stat->ctime < looking->now_ms ? stat->ctime : looking->now_ms,
                               .due_ms = due_of(looking, contender, stat, data.ttl_ms)};
    return lock_state_add(looking->state, waits, &claim);
}

/* From `first` on, as many as are asked for together. */
static int look_at_some(struct looking *looking, look_seen seen, const struct contender *contenders, size_t first,
                        size_t end)
{
    struct zookeeper *zookeeper = looking->zookeeper;
    struct session_call *calls[TOGETHER];
    int code = ZOK;
    for (size_t i = first; i < end; i++) {
        zookeeper_set_paths(zookeeper, looking->key, contenders[i].name);
        calls[i - first] = session_ask_get(&zookeeper->session, zookeeper->child_path, false);
    }
    for (size_t i = first; i < end; i++) {
        struct session_answer answer;
        bool waits = nodes_predecessor(contenders, i) >= 0;
        int got = session_wait(&zookeeper->session, calls[i - first], zookeeper->engine.deadline_ns, &answer);
        if (got == ZOK && !seen(looking, &contenders[i], waits, &answer)) {
            got = ZSYSTEMERROR;
        }
        code = got == ZOK || got == ZNONODE ? code : got; /* who has gone meanwhile is not shown */
        session_answer_release(&answer);
    }
    return code;
}

static int look_at_contenders(struct looking *looking, look_seen seen)
{
    struct session_answer answer;
    struct zookeeper *zookeeper = looking->zookeeper;
    zookeeper_set_paths(zookeeper, looking->key, "");
    int code = zookeeper_children(zookeeper, zookeeper->lock_path, &answer);
    size_t count;
    struct contender *contenders = nodes_contenders(answer.names.data, (size_t)answer.names.count, &count);
    code = contenders == NULL ? ZSYSTEMERROR : code;
    count = count < SHOWN ? count : SHOWN;
    for (size_t first = 0; first < count && code == ZOK; first += TOGETHER) {
        size_t end = first + TOGETHER < count ? first + TOGETHER : count;
        code = look_at_some(looking, seen, contenders, first, end);
    }
    free(contenders);
    session_answer_release(&answer);
    return code;
}

/* Fence and past. */
static int read_lock(struct looking *looking)
{
    struct zookeeper *zookeeper = looking->zookeeper;
    struct session_answer answer;
    zookeeper_set_paths(zookeeper, looking->key, "");
    int code = zookeeper_get(zookeeper, zookeeper->lock_path, false, &answer);
    if (code == ZOK && nodes_read_lock(buffer_slice(&answer.data), looking->state) == STATUS_NOMEM) {
        code = ZSYSTEMERROR;
    }
    session_answer_release(&answer);
    return code;
}

enum engine_code zookeeper_look(struct engine *engine, struct slice key, struct lock_state *ret_state,
                                int64_t *ret_now_ms)
{
    struct zookeeper *zookeeper = zookeeper_of(engine);
    struct looking looking = {.zookeeper = zookeeper, .key = key, .state = ret_state, .now_ms = zookeeper_wall_ms()};
    claims_hear(zookeeper);
    *ret_now_ms = looking.now_ms;
    enum engine_code ready = zookeeper_ready(zookeeper);
    if (ready != ENGINE_OK) {
        return ready;
    }
    zookeeper_set_paths(zookeeper, key, "");
    int code = session_sync(&zookeeper->session, engine->deadline_ns, zookeeper->lock_path);
    code = code == ZOK ? read_lock(&looking) : code;
    code = code == ZOK ? look_at_contenders(&looking, add_contender) : code;
    claims_set_timer(zookeeper);
    return code == ZOK || code == ZNONODE ? ENGINE_OK : zookeeper_problem(zookeeper, code, false);
}

/* ---- tokens ---- */

static bool compare_contender(struct looking *looking, const struct contender *contender, bool waits,
                              const struct session_answer *answer)
{
    struct contender_data data;
    nodes_read_contender_data(buffer_slice(&answer->data), &data);
    bool is_it =
        !waits && (uint64_t)answer->stat.czxid == looking->token && strlen(contender->name) < NODES_CHILD_BYTES;
    if (is_it && (looking->owner == NULL || slice_equal(data.owner, *looking->owner))) {
        memcpy(looking->child, contender->name, strlen(contender->name) + 1);
        looking->since_ms = answer->stat.ctime;
    }
    return true;
}

enum engine_code look_find_holder(struct zookeeper *zookeeper, struct slice key, uint64_t token,
                                  const struct slice *owner, char ret_child[static NODES_CHILD_BYTES],
                                  int64_t *ret_since_ms)
{
    struct looking looking = {.zookeeper = zookeeper, .key = key, .token = token, .owner = owner};
    enum engine_code ready = zookeeper_ready(zookeeper);
    if (ready != ENGINE_OK) {
        return ready;
    }
    zookeeper_set_paths(zookeeper, key, "");
    int code = session_sync(&zookeeper->session, zookeeper->engine.deadline_ns, zookeeper->lock_path);
    code = code == ZOK ? look_at_contenders(&looking, compare_contender) : code;
    if (code != ZOK && code != ZNONODE) {
        return zookeeper_problem(zookeeper, code, false);
    }
    memcpy(ret_child, looking.child, NODES_CHILD_BYTES);
    *ret_since_ms = looking.since_ms;
    return looking.child[0] != '\0' ? ENGINE_OK : ENGINE_NOT;
}

/* One try. ZBADVERSION: somebody else has written meanwhile. */
static int try_fence(struct zookeeper *zookeeper, struct slice key, uint64_t token, enum engine_code *ret_code,
                     bool *ret_sent)
{
    struct lock_state state;
    struct session_answer answer;
    lock_state_init(&state);
    zookeeper_set_paths(zookeeper, key, "");
    *ret_sent = false;
    int code = zookeeper_get(zookeeper, zookeeper->lock_path, false, &answer);
    enum status read = code == ZOK ? nodes_read_lock(buffer_slice(&answer.data), &state) : STATUS_OK;
    int32_t version = answer.stat.version;
    session_answer_release(&answer);
    *ret_code = token < state.fence ? ENGINE_NOT : ENGINE_OK;
    if (read == STATUS_CORRUPT) {
        *ret_code = engine_problem(&zookeeper->engine, ENGINE_REFUSED,
                                   "ERR somebody else's data stands in %.200s: no token can be kept there",
                                   zookeeper->lock_path);
    } else if (read == STATUS_NOMEM) {
        code = ZSYSTEMERROR;
    } else if (code == ZOK && *ret_code == ENGINE_OK) { /* also when it is the same: what was read may be old */
        state.fence = token;
        buffer_clear(&zookeeper->data);
        code = nodes_write_lock(&zookeeper->data, &state) ? ZOK : ZSYSTEMERROR;
        if (code == ZOK) {
            *ret_sent = true;
            code = session_set(&zookeeper->session, zookeeper->engine.deadline_ns, zookeeper->lock_path,
                               buffer_slice(&zookeeper->data), version, &answer);
            session_answer_release(&answer);
        }
    }
    lock_state_deinit(&state);
    return code;
}

static enum engine_code fence(struct engine *engine, struct slice key, uint64_t token)
{
    struct zookeeper *zookeeper = zookeeper_of(engine);
    claims_hear(zookeeper);
    enum engine_code ready = zookeeper_ready(zookeeper);
    if (ready != ENGINE_OK) {
        return ready;
    }
    enum engine_code answer = ENGINE_OK;
    bool sent = false;
    int code = try_fence(zookeeper, key, token, &answer, &sent);
    while ((code == ZBADVERSION || code == ZNONODE) && engine_clock_ns() < engine->deadline_ns) {
        code = code == ZNONODE ? zookeeper_make_lock(zookeeper, key) : ZOK;
        zookeeper_set_paths(zookeeper, key, "");
        code = code == ZOK ? session_sync(&zookeeper->session, engine->deadline_ns, zookeeper->lock_path) : code;
        sent = false;
        code = code == ZOK ? try_fence(zookeeper, key, token, &answer, &sent) : code;
    }
    claims_set_timer(zookeeper);
    if (code == ZBADVERSION) {
        return engine_problem(engine, ENGINE_BUSY, "others write the tokens of this lock all the time");
    }
    if (code != ZOK) {
        return zookeeper_problem(zookeeper, code, sent);
    }
    char child[NODES_CHILD_BYTES];
    int64_t since_ms;
    return answer == ENGINE_NOT ? look_find_holder(zookeeper, key, token, NULL, child, &since_ms) : answer;
}

enum engine_code zookeeper_fence(struct engine *engine, struct slice key, uint64_t token)
{
    bool uncertain = false;
    enum engine_code code;
    do {
        code = fence(engine, key, token);
    } while (queue_tries_again(zookeeper_of(engine), code, &uncertain));
    return QUEUE_AFTER(uncertain, code);
}

/* ---- all locks ---- */

static bool has_contender(const struct session_answer *answer)
{
    struct contender contender;
    for (int32_t i = 0; i < answer->names.count; i++) {
        if (nodes_read_contender(answer->names.data[i], &contender)) {
            return true;
        }
    }
    return false;
}

static int list_some(struct zookeeper *zookeeper, char *const *names, size_t count, engine_listed listed, void *data)
{
    struct session_call *calls[TOGETHER];
    int code = ZOK;
    for (size_t i = 0; i < count; i++) {
        uint8_t key[NODES_NAME_BYTES];
        size_t size = strlen(names[i]) < NODES_NAME_BYTES ? nodes_key(names[i], key) : 0;
        zookeeper_set_paths(zookeeper, slice_of(key, size < LOCK_STATE_KEY_BYTES ? size : LOCK_STATE_KEY_BYTES), "");
        calls[i] = session_ask_children(&zookeeper->session, zookeeper->lock_path);
    }
    for (size_t i = 0; i < count; i++) {
        struct session_answer answer;
        uint8_t key[NODES_NAME_BYTES];
        int got = session_wait(&zookeeper->session, calls[i], zookeeper->engine.deadline_ns, &answer);
        size_t size = strlen(names[i]) < NODES_NAME_BYTES ? nodes_key(names[i], key) : SIZE_MAX;
        if (got == ZOK && size <= LOCK_STATE_KEY_BYTES && has_contender(&answer)) {
            listed(data, slice_of(key, size));
        }
        code = got == ZOK || got == ZNONODE || got == ZNOAUTH ? code : got;
        session_answer_release(&answer);
    }
    return code;
}

enum engine_code zookeeper_list(struct engine *engine, engine_listed listed, void *data)
{
    struct zookeeper *zookeeper = zookeeper_of(engine);
    const char *folder = zookeeper->folder[0] == '\0' ? "/" : zookeeper->folder;
    claims_hear(zookeeper);
    enum engine_code ready = zookeeper_ready(zookeeper);
    if (ready != ENGINE_OK) {
        return ready;
    }
    struct session_answer answer;
    session_answer_init(&answer);
    int code = session_sync(&zookeeper->session, engine->deadline_ns, folder);
    code = code == ZOK ? zookeeper_children(zookeeper, folder, &answer) : code;
    size_t count = (size_t)answer.names.count;
    for (size_t first = 0; first < count && code == ZOK; first += TOGETHER) {
        size_t some = count - first < TOGETHER ? count - first : TOGETHER;
        code = list_some(zookeeper, &answer.names.data[first], some, listed, data);
    }
    session_answer_release(&answer);
    claims_set_timer(zookeeper);
    return code == ZOK || code == ZNONODE ? ENGINE_OK : zookeeper_problem(zookeeper, code, false);
}

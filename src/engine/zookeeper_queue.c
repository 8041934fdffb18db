#include "engine/zookeeper_queue.h"

#include "base/assert.h"
#include "engine/machine_time.h"
#include "engine/zookeeper_look.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    TRIES = 4,
    WAITERS = 4096, /* a list of more children is too large for an answer */
    UNSURE_AGAIN_MS = 100,
};

/* ---- a place in the queue ---- */

/* The node is gone: removed by who was behind it, or by a person. */
static enum engine_code gone(struct claim *claim, bool *ret_gone)
{
    claims_forget(claim);
    *ret_gone = true;
    return ENGINE_NOT;
}

static enum engine_code make_child(struct zookeeper *zookeeper, struct claim *claim)
{
    struct session_answer answer;
    char prefix[NODES_CHILD_BYTES];
    int code = ZNONODE;
    (void)snprintf(prefix, sizeof(prefix), "%s%s", claim->guid, nodes_suffix(claim->shared));
    buffer_clear(&zookeeper->data);
    if (!nodes_write_contender(&zookeeper->data, claim->ttl_ms, claim->owner, claim->note)) {
        code = SESSION_SENT_NOT;
    }
    for (int i = 0; code == ZNONODE && i < 2; i++) {
        code = i == 0 ? ZOK : zookeeper_make_lock(zookeeper, claim->key);
        if (code == ZOK) {
            zookeeper_set_paths(zookeeper, claim->key, prefix);
            code = session_create(&zookeeper->session, zookeeper->engine.deadline_ns, zookeeper->child_path,
                                  buffer_slice(&zookeeper->data), ZOO_EPHEMERAL_SEQUENTIAL, &answer);
            const char *name = code == ZOK ? strrchr((const char *)answer.data.data, '/') : NULL;
            if (name != NULL && strlen(name + 1) < NODES_CHILD_BYTES) {
                memcpy(claim->child, name + 1, strlen(name + 1) + 1);
            }
            claim->token = (uint64_t)answer.stat.czxid;
            claim->sent_ms = answer.sent_ms;
            session_answer_release(&answer);
        }
    }
    if (code == ZOK) {
        claim->state = claim->child[0] == '\0' ? CLAIM_UNSURE : CLAIM_WAITS;
        return ENGINE_OK;
    }
    enum engine_code problem = zookeeper_problem(zookeeper, code, true);
    if (problem != ENGINE_UNCERTAIN) {
        claims_forget(claim);
    }
    return problem;
}

static enum engine_code add_claim(struct zookeeper *zookeeper, const struct lock_wanted *wanted,
                                  struct claim **ret_claim)
{
    enum engine_code ready = zookeeper_ready(zookeeper);
    if (ready != ENGINE_OK) {
        return ready;
    }
    if (session_was_lost(&zookeeper->session)) {
        claims_forget_all(zookeeper);
        return engine_problem(&zookeeper->engine, ENGINE_DOWN, "the session has ended; a new one is being opened");
    }
    struct claim *claim = claims_add(zookeeper, wanted);
    if (claim == NULL) {
        return engine_problem(&zookeeper->engine, ENGINE_BUSY, "memory was refused");
    }
    *ret_claim = claim;
    return make_child(zookeeper, claim);
}

/* After an answer was lost. */
static enum engine_code find_again(struct zookeeper *zookeeper, struct claim *claim, bool *ret_gone)
{
    struct session_answer answer;
    int code = claims_find_child(zookeeper, claim);
    if (code == ZOK) {
        zookeeper_set_paths(zookeeper, claim->key, claim->child);
        code = zookeeper_get(zookeeper, zookeeper->child_path, false, &answer);
        claim->token = (uint64_t)answer.stat.czxid;
        session_answer_release(&answer);
    }
    if (code == ZNONODE) {
        return gone(claim, ret_gone);
    }
    if (code != ZOK) {
        return zookeeper_problem(zookeeper, code, true); /* whether it is there */
    }
    claim->state = CLAIM_WAITS;
    return ENGINE_OK;
}

static enum engine_code go_on_waiting(struct zookeeper *zookeeper, struct claim *claim,
                                      const struct lock_wanted *wanted, struct lock_granted *ret_granted)
{
    if (wanted->wait_ms > 0) {
        int64_t left_ms = claim->ahead_seen_ms + claim->ahead_ttl_ms - machine_time_ms();
        ret_granted->again_ms = claim->ahead_holds && claim->ahead_ttl_ms > 0 && left_ms > 0 ? left_ms : 0;
        return ENGINE_WAITS;
    }
    claims_doom(claim);
    (void)claims_end(zookeeper, claim); /* or a little later */
    return ENGINE_NOT;
}

/* ---- grants ---- */

/* What its holder is told: no longer than the session surely lives. */
static int64_t left_ms(struct zookeeper *zookeeper, const struct claim *claim)
{
    int64_t until_ms = session_until_ms(&zookeeper->session);
    return (claim->due_ms < until_ms ? claim->due_ms : until_ms) - machine_time_ms();
}

static enum engine_code not_yet_sure(struct zookeeper *zookeeper)
{
    return engine_problem(&zookeeper->engine, ENGINE_BUSY,
                          "the session has been silent too long for a promise (was this program stopped, or ZooKeeper "
                          "away?): ask again in some seconds");
}

/* A write of its data, from before which its time counts. */
static int confirm(struct zookeeper *zookeeper, struct claim *claim, int64_t ttl_ms)
{
    struct session_answer answer;
    buffer_clear(&zookeeper->data);
    if (!nodes_write_contender(&zookeeper->data, ttl_ms, claim->owner, claim->note)) {
        return SESSION_SENT_NOT;
    }
    zookeeper_set_paths(zookeeper, claim->key, claim->child);
    int code = session_set(&zookeeper->session, zookeeper->engine.deadline_ns, zookeeper->child_path,
                           buffer_slice(&zookeeper->data), -1, &answer);
    claim->sent_ms = code == ZOK ? answer.sent_ms : claim->sent_ms;
    session_answer_release(&answer);
    return code;
}

static enum engine_code grant(struct zookeeper *zookeeper, struct claim *claim, const struct lock_wanted *wanted,
                              bool fresh, struct lock_granted *ret_granted, bool *ret_gone)
{
    claim->must_look = true; /* until it is granted */
    claim->ttl_ms = wanted->ttl_ms;
    if (!fresh || claim->sent_ms + wanted->ttl_ms / 2 <= machine_time_ms()) {
        int code = confirm(zookeeper, claim, wanted->ttl_ms);
        if (code == ZNONODE) {
            return gone(claim, ret_gone);
        }
        if (code != ZOK) {
            enum engine_code problem = zookeeper_problem(zookeeper, code, true);
            return wanted->wait_ms > 0 && problem != ENGINE_REFUSED ? ENGINE_WAITS : problem;
        }
    }
    claim->due_ms = claim->sent_ms + wanted->ttl_ms;
    int64_t told_ms = left_ms(zookeeper, claim);
    if (told_ms <= 0 && claim->due_ms > machine_time_ms()) {
        ret_granted->again_ms = UNSURE_AGAIN_MS;
        if (wanted->wait_ms <= 0) {
            claims_doom(claim);
        }
        return wanted->wait_ms > 0 ? ENGINE_WAITS : not_yet_sure(zookeeper);
    }
    claim->state = CLAIM_HELD;
    claim->since_wall_ms = zookeeper_wall_ms();
    *ret_granted = (struct lock_granted){.token = claim->token, .ttl_ms = told_ms > 0 ? told_ms : 0};
    claims_set_timer(zookeeper);
    return ENGINE_OK;
}

/* ---- whom it waits for ---- */

static int watch_ahead(struct zookeeper *zookeeper, struct claim *claim, const char *name, bool holds)
{
    struct session_answer answer;
    bool known = strlen(name) < NODES_CHILD_BYTES;
    bool same = known && strcmp(claim->ahead, name) == 0 && holds == claim->ahead_holds;
    (void)snprintf(claim->ahead, NODES_CHILD_BYTES, "%s", known ? name : ""); /* before the watch can fire */
    claim->must_look = !known; /* of a name that long nobody tells us: it is looked at again and again */
    zookeeper_set_paths(zookeeper, claim->key, known ? name : "");
    int code = zookeeper_get(zookeeper, known ? zookeeper->child_path : zookeeper->lock_path, known, &answer);
    if (code == ZOK && known && (!same || claim->ahead_version != answer.stat.version)) {
        struct contender_data data;
        nodes_read_contender_data(buffer_slice(&answer.data), &data);
        claim->ahead_version = answer.stat.version;
        claim->ahead_ttl_ms = data.ttl_ms;
        claim->ahead_seen_ms = machine_time_ms();
        claim->ahead_holds = holds;
    }
    session_answer_release(&answer);
    return code;
}

/* Its holder has not renewed it for its whole time, and has not removed it either: it is stopped. */
static bool ahead_is_over(const struct claim *claim)
{
    int64_t ttl_ms = claim->ahead_ttl_ms;
    return claim->ahead_holds && ttl_ms > 0 && machine_time_ms() > claim->ahead_seen_ms + ttl_ms + ttl_ms / 64 + 5;
}

static int remove_ahead(struct zookeeper *zookeeper, struct claim *claim)
{
    struct session_answer answer;
    zookeeper_set_paths(zookeeper, claim->key, claim->ahead);
    int code = zookeeper_get(zookeeper, zookeeper->child_path, false, &answer);
    if (code == ZOK && answer.stat.version == claim->ahead_version) {
        code = session_delete(&zookeeper->session, zookeeper->engine.deadline_ns, zookeeper->child_path,
                              claim->ahead_version);
        if (code == ZOK) {
            struct contender_data data;
            nodes_read_contender_data(buffer_slice(&answer.data), &data);
            struct lock_past past = {.owner = data.owner,
                                     .token = (uint64_t)answer.stat.czxid,
                                     .from_ms = answer.stat.ctime,
                                     .to_ms = zookeeper_wall_ms(),
                                     .why = LOCK_WHY_EXPIRED};
            claims_note_past(zookeeper, claim->key, &past);
        }
    }
    session_answer_release(&answer);
    return code == ZOK || code == ZNONODE || code == ZBADVERSION ? ZOK : code;
}

static ptrdiff_t find_child(const struct contender *contenders, size_t count, const char *child)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(contenders[i].name, child) == 0) {
            return (ptrdiff_t)i;
        }
    }
    return -1;
}

struct place {
    size_t count;
    ptrdiff_t own; /* −1: not there */
    ptrdiff_t ahead;
    bool ahead_holds;
    char *name; /* of who is ahead, or NULL */
};

static int place_among(const struct contender *contenders, const struct claim *claim, struct place *ret_place)
{
    ret_place->own = find_child(contenders, ret_place->count, claim->child);
    ret_place->ahead = ret_place->own < 0 ? -1 : nodes_predecessor(contenders, (size_t)ret_place->own);
    if (ret_place->ahead < 0) {
        return ZOK;
    }
    ret_place->ahead_holds = nodes_predecessor(contenders, (size_t)ret_place->ahead) < 0;
    ret_place->name = strdup(contenders[ret_place->ahead].name);
    return ret_place->name == NULL ? ZSYSTEMERROR : ZOK;
}

/* ZooKeeper's code. The name is to be freed. */
static int find_place(struct zookeeper *zookeeper, const struct claim *claim, struct place *ret_place)
{
    struct session_answer answer;
    *ret_place = (struct place){.own = -1, .ahead = -1};
    zookeeper_set_paths(zookeeper, claim->key, claim->child);
    int code = zookeeper_children(zookeeper, zookeeper->lock_path, &answer);
    if (code == ZOK) {
        struct contender *contenders =
            nodes_contenders(answer.names.data, (size_t)answer.names.count, &ret_place->count);
        code = contenders == NULL ? ZSYSTEMERROR : place_among(contenders, claim, ret_place);
        free(contenders);
    }
    session_answer_release(&answer);
    return code;
}

/* ---- acquire ---- */

static enum engine_code look(struct zookeeper *zookeeper, struct claim *claim, const struct lock_wanted *wanted,
                             bool fresh, struct lock_granted *ret_granted, bool *ret_gone)
{
    int code = ZNONODE;
    for (int i = 0; i < TRIES && code == ZNONODE; i++) { /* until whoever is ahead stays there */
        struct place place;
        code = find_place(zookeeper, claim, &place);
        if (code == ZNONODE || (code == ZOK && place.own < 0)) {
            return gone(claim, ret_gone);
        }
        if (code == ZOK && place.ahead < 0) {
            return grant(zookeeper, claim, wanted, fresh, ret_granted, ret_gone);
        }
        if (code == ZOK && fresh && place.count > WAITERS) {
            free(place.name);
            claims_doom(claim);
            (void)claims_end(zookeeper, claim);
            return engine_problem(&zookeeper->engine, ENGINE_REFUSED,
                                  "BUSY too many wait for this lock; try again later");
        }
        if (code == ZOK && wanted->wait_ms > 0) {
            code = watch_ahead(zookeeper, claim, place.name, place.ahead_holds);
        }
        free(place.name);
    }
    if (code != ZOK && code != ZNONODE && wanted->wait_ms <= 0) {
        claims_doom(claim);
        return zookeeper_problem(zookeeper, code, true);
    }
    claim->must_look = claim->must_look || code != ZOK;
    return go_on_waiting(zookeeper, claim, wanted, ret_granted);
}

static enum engine_code ask_for_claim(struct zookeeper *zookeeper, struct claim *claim,
                                      const struct lock_wanted *wanted, bool fresh, struct lock_granted *ret_granted,
                                      bool *ret_gone)
{
    bool waits = !fresh && claim->state == CLAIM_WAITS;
    bool over = waits && !claim->must_look && ahead_is_over(claim);
    bool may_look = wanted->wait_ms > 0 || fresh || claim->must_look;
    if (waits && !over && (!claim->must_look || !may_look)) {
        return go_on_waiting(zookeeper, claim, wanted, ret_granted);
    }
    if (waits && !session_is_connected(&zookeeper->session)) {
        return go_on_waiting(zookeeper, claim, wanted, ret_granted); /* it keeps its place as long as its session */
    }
    enum engine_code code = zookeeper_ready(zookeeper);
    if (code == ENGINE_OK && claim->state == CLAIM_UNSURE) {
        code = find_again(zookeeper, claim, ret_gone);
    }
    if (code != ENGINE_OK) {
        return code;
    }
    if (over && remove_ahead(zookeeper, claim) != ZOK) {
        return go_on_waiting(zookeeper, claim, wanted, ret_granted);
    }
    return look(zookeeper, claim, wanted, fresh, ret_granted, ret_gone);
}

enum engine_code queue_renew(struct zookeeper *zookeeper, struct claim *claim, int64_t ttl_ms, int64_t *ret_left_ms)
{
    enum engine_code ready = zookeeper_ready(zookeeper);
    if (ready != ENGINE_OK) {
        return ready;
    }
    int64_t now_ms = machine_time_ms();
    int64_t until_ms = claim->due_ms > now_ms + ttl_ms ? claim->due_ms : now_ms + ttl_ms;
    int code = confirm(zookeeper, claim, until_ms - now_ms);
    if (code == ZNONODE) {
        claims_forget(claim);
        return ENGINE_NOT;
    }
    if (code != ZOK) {
        return zookeeper_problem(zookeeper, code, true);
    }
    claim->due_ms = until_ms;
    claim->ttl_ms = until_ms - now_ms;
    *ret_left_ms = left_ms(zookeeper, claim);
    return *ret_left_ms > 0 || claim->due_ms <= machine_time_ms() ? ENGINE_OK : not_yet_sure(zookeeper);
}

static enum engine_code ask_again(struct zookeeper *zookeeper, struct claim *claim, const struct lock_wanted *wanted,
                                  struct lock_granted *ret_granted)
{
    *ret_granted = (struct lock_granted){.token = claim->token, .ttl_ms = left_ms(zookeeper, claim)};
    if (ret_granted->ttl_ms > 0 && !wanted->extends) {
        return ENGINE_OK;
    }
    enum engine_code code = queue_renew(zookeeper, claim, wanted->extends ? wanted->ttl_ms : 0, &ret_granted->ttl_ms);
    ret_granted->ttl_ms = ret_granted->ttl_ms > 0 ? ret_granted->ttl_ms : 0;
    return code;
}

static enum engine_code prepare(struct zookeeper *zookeeper, const struct lock_wanted *wanted, struct claim **ret_claim)
{
    claims_hear(zookeeper);
    struct claim *claim = claims_find(zookeeper, wanted->key, wanted->owner);
    if (claim != NULL && claim->state == CLAIM_HELD && claim->due_ms <= machine_time_ms()) {
        claims_doom(claim);
    }
    if (claim != NULL && claim->state == CLAIM_ENDS) {
        enum engine_code code = claims_end(zookeeper, claim);
        if (code != ENGINE_OK) {
            return code;
        }
        claim = NULL;
    }
    if (claim != NULL && claim->shared != (wanted->kind == LOCK_KIND_SHARED)) {
        return engine_problem(&zookeeper->engine, ENGINE_REFUSED,
                              "ERR this owner has the lock, or waits for it, in another mode: release it, then acquire "
                              "it anew");
    }
    if (claim == NULL && wanted->wait_ms <= 0) {
        enum engine_code code = look_whether_free(zookeeper, wanted->key, wanted->kind == LOCK_KIND_SHARED);
        if (code != ENGINE_OK) {
            return code;
        }
    }
    *ret_claim = claim;
    return ENGINE_OK;
}

static enum engine_code acquire(struct engine *engine, const struct lock_wanted *wanted,
                                struct lock_granted *ret_granted)
{
    struct zookeeper *zookeeper = zookeeper_of(engine);
    struct claim *claim = NULL;
    *ret_granted = (struct lock_granted){0};
    enum engine_code code = prepare(zookeeper, wanted, &claim);
    bool is_gone = code == ENGINE_OK;
    for (int i = 0; i < TRIES && code == ENGINE_OK && is_gone; i++) {
        bool fresh = claim == NULL;
        is_gone = false;
        if (fresh) {
            code = add_claim(zookeeper, wanted, &claim);
        } else {
            claim->asked_ms = machine_time_ms();
        }
        ASSERT(code != ENGINE_OK || claim != NULL);
        if (code == ENGINE_OK && claim->state == CLAIM_HELD) {
            code = ask_again(zookeeper, claim, wanted, ret_granted);
            is_gone = code == ENGINE_NOT;
        } else if (code == ENGINE_OK) {
            code = ask_for_claim(zookeeper, claim, wanted, fresh, ret_granted, &is_gone);
        }
        claim = is_gone ? NULL : claim;
        code = is_gone && i + 1 < TRIES ? ENGINE_OK : code;
    }
    claims_set_timer(zookeeper);
    return is_gone && code == ENGINE_NOT
               ? engine_problem(engine, ENGINE_BUSY, "somebody removes the nodes of this lock again and again")
               : code;
}

bool queue_tries_again(struct zookeeper *zookeeper, enum engine_code code, bool *uncertain)
{
    *uncertain = *uncertain || code == ENGINE_UNCERTAIN;
    return code == ENGINE_UNCERTAIN && engine_clock_ns() < zookeeper->engine.deadline_ns;
}

enum engine_code queue_acquire(struct engine *engine, const struct lock_wanted *wanted,
                               struct lock_granted *ret_granted)
{
    bool uncertain = false;
    enum engine_code code;
    do {
        code = acquire(engine, wanted, ret_granted);
    } while (queue_tries_again(zookeeper_of(engine), code, &uncertain));
    return QUEUE_AFTER(uncertain, code);
}

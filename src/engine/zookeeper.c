/* zookeeper://h1[:2181],h2,…[/folder]: locks by ZooKeeper's published recipe ("ZooKeeper Recipes and Solutions": Locks,
 * Shared Locks, Recoverable Errors and the GUID), in the layout of Python's kazoo (kazoo.recipe.lock), so that its
 * Lock, ReadLock and WriteLock exclude ours and ours exclude them (zookeeper_nodes.h).
 *
 * A lock is a node. Who wants it makes an ephemeral sequential child; the first child holds it (shared: no exclusive
 * one before it), everybody else watches the one before, so nobody is woken in vain. What counts is the order that
 * ZooKeeper gave the children when it made them: a list that is old shows nobody less who came before.
 *
 * Tokens: the number of the transaction that made the child (czxid), which grows for ever, whatever is removed.
 *
 * Clocks. A grant counts from before the write that made it (the child's making when it was first at once, else a write
 * of its data), on the machine's clock. It ends after its time to live, and is told for no longer than the session
 * surely lives (zookeeper_session.h). At its end the host's thread removes the node. When the holder is stopped,
 * whoever waits behind it removes the node once it has seen it unchanged for the whole time, by its own clock, which
 * began later (a removal names the version that was seen, so one of the two is refused if the holder renews meanwhile).
 * When the holder is killed, ZooKeeper removes the node at the end of the session.
 *
 * What breaks it: clocks that run at other speeds than 1 % apart; a ZooKeeper whose disks lost what they had confirmed;
 * a tick of more than half the session's time.
 *
 * Crashes. An answer that is lost: the child is found by the GUID in its name, after a sync, or removed later. A server
 * that is lost: the library goes to another, with the same session and nodes. All of ZooKeeper that is lost for a
 * while: sessions begin anew when it is back, so nodes stay, while what their holders were told runs out. A session
 * that has ended: all of this handle's locks and places are lost, and LOCKLOST is the answer. */

#include "base/units.h"
#include "engine/machine_time.h"
#include "engine/module.h"
#include "engine/zookeeper_claims.h"
#include "engine/zookeeper_look.h"
#include "engine/zookeeper_queue.h"

#include <cohort/engine.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SESSION_DEFAULT_MS = 10000,
    SESSION_LEAST_MS = 500,
    SESSION_MOST_MS = 3600000,
    HOSTS_BYTES = 2048,
};

/* ---- what is held ---- */

static struct claim *find_held(struct zookeeper *zookeeper, struct slice key, struct slice owner, uint64_t token)
{
    claims_hear(zookeeper);
    struct claim *claim = claims_find(zookeeper, key, owner);
    return claim != NULL && claim->token == token && (claim->state == CLAIM_HELD || claim->released) ? claim : NULL;
}

static enum engine_code renew(struct engine *engine, struct slice key, struct slice owner, uint64_t token,
                              int64_t ttl_ms, int64_t *ret_left_ms)
{
    struct zookeeper *zookeeper = zookeeper_of(engine);
    struct claim *claim = find_held(zookeeper, key, owner, token);
    if (claim == NULL || claim->released) {
        return ENGINE_NOT;
    }
    if (claim->due_ms <= machine_time_ms()) {
        claims_doom(claim);
        (void)claims_end(zookeeper, claim);
        return ENGINE_NOT;
    }
    bool uncertain = false;
    enum engine_code code;
    do {
        code = queue_renew(zookeeper, claim, ttl_ms, ret_left_ms);
    } while (queue_tries_again(zookeeper, code, &uncertain));
    code = QUEUE_AFTER(uncertain, code);
    *ret_left_ms = code == ENGINE_OK && *ret_left_ms < 0 ? 0 : *ret_left_ms;
    claims_set_timer(zookeeper);
    return code;
}

/* Its owner asks by another handle than the one that holds it. */
static enum engine_code release_elsewhere(struct zookeeper *zookeeper, struct slice key, struct slice owner,
                                          uint64_t token)
{
    char child[NODES_CHILD_BYTES];
    struct lock_past past = {.owner = owner, .token = token, .why = LOCK_WHY_RELEASED};
    enum engine_code found = look_find_holder(zookeeper, key, token, &owner, child, &past.from_ms);
    if (found != ENGINE_OK) {
        return found;
    }
    zookeeper_set_paths(zookeeper, key, child);
    int code = session_delete(&zookeeper->session, zookeeper->engine.deadline_ns, zookeeper->child_path, -1);
    if (code == ZOK) {
        past.to_ms = zookeeper_wall_ms();
        claims_note_past(zookeeper, key, &past);
    }
    return code == ZOK ? ENGINE_OK : code == ZNONODE ? ENGINE_NOT : zookeeper_problem(zookeeper, code, true);
}

static enum engine_code release(struct engine *engine, struct slice key, struct slice owner, uint64_t token)
{
    struct zookeeper *zookeeper = zookeeper_of(engine);
    struct claim *claim = find_held(zookeeper, key, owner, token);
    if (claim == NULL) {
        return release_elsewhere(zookeeper, key, owner, token);
    }
    enum engine_code ready = zookeeper_ready(zookeeper);
    if (ready != ENGINE_OK) {
        return ready;
    }
    bool over = !claim->released && claim->due_ms <= machine_time_ms();
    claim->released = !over;
    claims_doom(claim);
    bool uncertain = false;
    enum engine_code code;
    do {
        code = claims_end(zookeeper, claim);
    } while (queue_tries_again(zookeeper, code, &uncertain));
    return over ? ENGINE_NOT : QUEUE_AFTER(uncertain, code);
}

static enum engine_code leave(struct engine *engine, struct slice key, struct slice owner)
{
    struct zookeeper *zookeeper = zookeeper_of(engine);
    claims_hear(zookeeper);
    struct claim *claim = claims_find(zookeeper, key, owner);
    if (claim != NULL && (claim->state == CLAIM_WAITS || claim->state == CLAIM_UNSURE)) {
        claims_doom(claim);
        if (session_is_connected(&zookeeper->session)) {
            (void)claims_end(zookeeper, claim); /* or a little later */
        }
    }
    return ENGINE_OK;
}

static int fd_of(const struct engine *engine) { return ((const struct zookeeper *)engine)->session.epoll_fd; }

static void heard(struct engine *engine)
{
    struct zookeeper *zookeeper = zookeeper_of(engine);
    session_take_notices(&zookeeper->session);
    claims_hear(zookeeper);
    claims_sweep(zookeeper);
}

/* ---- opening ---- */

static void close_engine(struct engine *engine)
{
    struct zookeeper *zookeeper = zookeeper_of(engine);
    session_deinit(&zookeeper->session);
    claims_forget_all(zookeeper);
    buffer_deinit(&zookeeper->data);
    free(zookeeper);
}

static enum status refuse_url(char problem[static ENGINE_PROBLEM_BYTES], const char *why)
{
    (void)snprintf(problem, ENGINE_PROBLEM_BYTES, "%s: zookeeper://[USER:PASSWORD@]HOST[:2181][,HOST…][/FOLDER]", why);
    return STATUS_INVALID;
}

/* host[:port][,…] with all their ports. NULL: fine. */
static const char *take_hosts(const char *text, size_t size, char ret_hosts[static HOSTS_BYTES])
{
    size_t used = 0;
    while (size > 0) {
        const char *comma = memchr(text, ',', size);
        size_t length = comma == NULL ? size : (size_t)(comma - text);
        bool has_port = memchr(text, ':', length) != NULL && text[length - 1] != ']';
        if (length == 0 || text[0] == ':') {
            return "a host is missing";
        }
        if (used + length + 8 > HOSTS_BYTES) {
            return "there are too many hosts";
        }
        used += (size_t)snprintf(&ret_hosts[used], HOSTS_BYTES - used, "%s%.*s%s", used == 0 ? "" : ",", (int)length,
                                 text, has_port ? "" : ":2181");
        length += comma != NULL;
        text += length;
        size -= length;
    }
    return used == 0 || text[-1] == ',' ? "a host is missing" : NULL;
}

/* As ZooKeeper wants paths; "/" is the root, which is "". */
static const char *take_folder(const char *text, char ret_folder[static CLAIMS_FOLDER_BYTES])
{
    size_t size = strlen(text);
    if (size >= CLAIMS_FOLDER_BYTES) {
        return "the folder is too long";
    }
    for (size_t i = 0; i < size; i++) {
        const char *next = &text[i + 1];
        bool ends = text[i] == '/' && (next[0] == '/' || strcmp(next, ".") == 0 || strcmp(next, "..") == 0 ||
                                       strncmp(next, "./", 2) == 0 || strncmp(next, "../", 3) == 0);
        if (ends || (uint8_t)text[i] < 0x20 || text[i] == 0x7f) {
            return "the folder has no good path";
        }
    }
    memcpy(ret_folder, text, size + 1);
    if (size > 0 && ret_folder[size - 1] == '/') {
        ret_folder[size - 1] = '\0';
    }
    return NULL;
}

static const char *take_options(const struct engine_url *url, int64_t *ret_session_ms)
{
    *ret_session_ms = SESSION_DEFAULT_MS;
    for (uint32_t i = 0; i < url->option_count; i++) {
        if (!slice_equal(url->options[i].name, SLICE_LITERAL("session"))) {
            return "unknown option; there are: session=DURATION, timeout=DURATION";
        }
        if (!units_parse_duration(url->options[i].value, ret_session_ms) || *ret_session_ms < SESSION_LEAST_MS ||
            *ret_session_ms > SESSION_MOST_MS) {
            return "session is a duration from 500ms to 1h";
        }
    }
    return NULL;
}

static const struct engine_ops engine_zookeeper;

static enum status open_engine(const struct engine_url *url, struct engine **ret_engine,
                               char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    char hosts[HOSTS_BYTES] = "";
    char folder[CLAIMS_FOLDER_BYTES] = "";
    int64_t session_ms;
    char *place = strdup((const char *)url->place.data);
    struct zookeeper *zookeeper = calloc(1, sizeof(*zookeeper));
    if (place == NULL || zookeeper == NULL) {
        free(place);
        free(zookeeper);
        (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "memory was refused");
        return STATUS_NOMEM;
    }
    char *at = strrchr(place, '@');
    char *first = at == NULL ? place : at + 1;
    const char *path = strchr(first, '/');
    size_t hosts_size = path == NULL ? strlen(first) : (size_t)(path - first);
    const char *problem = take_hosts(first, hosts_size, hosts);
    problem = problem == NULL ? take_folder(path == NULL ? "/locks" : path, folder) : problem;
    problem = problem == NULL ? take_options(url, &session_ms) : problem;
    if (problem == NULL && at != NULL) {
        *at = '\0';
        problem = strchr(place, ':') == NULL ? "a password is missing" : NULL;
    }
    enum status status = problem == NULL ? STATUS_OK : refuse_url(ret_problem, problem);
    if (status == STATUS_OK) {
        zookeeper->engine.ops = &engine_zookeeper;
        list_init(&zookeeper->claims);
        memcpy(zookeeper->folder, folder, sizeof(folder));
        if (!session_init(&zookeeper->session, hosts, at == NULL ? NULL : place, (int)session_ms)) {
            (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "memory or descriptors were refused");
            session_deinit(&zookeeper->session);
            status = STATUS_NOMEM;
        }
    }
    free(place);
    if (status != STATUS_OK) {
        free(zookeeper);
        return status;
    }
    *ret_engine = &zookeeper->engine;
    return STATUS_OK;
}

static const struct engine_ops engine_zookeeper = {
    .scheme = "zookeeper",
    .can = COHORT_CAN_PROCESSES | COHORT_CAN_LOCK | COHORT_CAN_SHARE | COHORT_CAN_QUEUE | COHORT_CAN_FENCE |
           COHORT_CAN_ELECT | COHORT_CAN_LOOK | COHORT_CAN_SURVIVE,
    .open = open_engine,
    .close = close_engine,
    .fd = fd_of,
    .heard = heard,
    .acquire = queue_acquire,
    .renew = renew,
    .release = release,
    .leave = leave,
    .look = zookeeper_look,
    .fence = zookeeper_fence,
    .list = zookeeper_list,
};

MODULE_OF(&engine_zookeeper);

#include "base/assert.h"
#include "base/number.h"
#include "server/service_watch_internal.h"

#include "cluster/slot.h"
#include "machine/service/service_limits.h"
#include "server/route_submit.h"

_Static_assert(SERVICE_WATCHES_PER_CLIENT == 1024, "as the text says");

/* ---- life ---- */

static void timer_fire(struct env_timer *timer)
{
    struct service_watches *watches = CONTAINER_OF(timer, struct service_watches, timer);
    watches->timer_ns = INT64_MAX;
    env_wake(watches->server->env);
}

static struct service_watches *make(struct server *server)
{
    if (server->service_watches != NULL) {
        return server->service_watches;
    }
    struct service_watches *watches = memory_allocate_zeroed(1, sizeof(*watches));
    uint64_t seed = 0;
    env_random(server->env, (uint8_t *)&seed, sizeof(seed));
    watches->server = server;
    table_init(&watches->groups, seed, offsetof(struct service_group, name));
    watches->sources = memory_allocate_zeroed(server->shards, sizeof(*watches->sources));
    for (uint32_t i = 0; i < server->shards; i++) {
        list_init(&watches->sources[i].groups);
        watches->sources[i].known = -1;
    }
    list_init(&watches->told);
    list_init(&watches->fetches);
    command_arguments_init(&watches->arguments);
    env_timer_init(&watches->timer, timer_fire);
    watches->timer_ns = INT64_MAX;
    server->service_watches = watches;
    return watches;
}

static void release_nothing(void *owner, void *item)
{
    (void)owner;
    (void)item;
}

void service_watches_destroy(struct server *server)
{
    struct service_watches *watches = server->service_watches;
    if (watches == NULL) {
        return;
    }
    ASSERT(watches->count == 0); /* the connections are closed */
    env_timer_stop(server->env, &watches->timer);
    LIST_FOR_EACH_SAFE (at, after, &watches->fetches) {
        struct service_fetch *fetch = CONTAINER_OF(at, struct service_fetch, node);
        buffer_deinit(&fetch->reply);
        free(fetch);
    }
    while (table_release(&watches->groups, 1024, release_nothing, NULL)) {
    }
    command_arguments_deinit(&watches->arguments);
    buffer_deinit(&watches->scratch);
    buffer_deinit(&watches->digits);
    free(watches->sources);
    free(watches);
    server->service_watches = NULL;
}

size_t service_watches_count(const struct server *server)
{
    return server->service_watches == NULL ? 0 : server->service_watches->count;
}

void service_watches_want_at(struct service_watches *watches, int64_t at_ns)
{
    if (at_ns < watches->timer_ns) {
        watches->timer_ns = at_ns;
        env_timer_start(watches->server->env, &watches->timer, at_ns);
    }
}

/* ---- groups ---- */

static struct service_group *group_find(struct service_watches *watches, struct slice name)
{
    return table_find(&watches->groups, table_hash(&watches->groups, name), name);
}

static struct service_group *group_of(struct service_watches *watches, struct slice name)
{
    struct service_group *group = group_find(watches, name);
    if (group != NULL) {
        return group;
    }
    group = memory_allocate_zeroed(1, sizeof(*group) + name.size);
    group->key_size = (uint32_t)name.size;
    group->shard = slot_shard(key_slot(name), watches->server->shards);
    group->revision = INT64_MAX;
    list_init(&group->watches);
    list_init(&group->node);
    memcpy(group->name, name.data, name.size);
    table_insert(&watches->groups, table_hash(&watches->groups, name), group);
    struct service_source *source = service_source_of(watches, group->shard);
    list_append(&source->groups, &group->node);
    source->count++;
    return group;
}

static void group_leave(struct service_watches *watches, struct service_group *group)
{
    struct service_source *source = service_source_of(watches, group->shard);
    list_remove(&group->node);
    source->count--;
    source->left = source->left < source->count ? source->left : source->count;
    source->spoiled = source->spoiled || source->asked;
    table_remove(&watches->groups, table_hash(&watches->groups, service_group_name(group)), group);
    free(group);
}

void service_source_spoil(struct service_watches *watches, struct service_source *source)
{
    source->known = -1;
    source->forced = true;
    source->spoiled = source->left != 0 || source->asked;
    env_wake(watches->server->env);
}

void service_group_place(struct service_watches *watches, struct service_group *group)
{
    struct service_source *source = service_source_of(watches, group->shard);
    int64_t before = group->revision;
    group->revision = INT64_MAX;
    LIST_FOR_EACH (at, &group->watches) {
        const struct service_watch *watch = CONTAINER_OF(at, struct service_watch, of_group);
        if (!watch->begins && !watch->stuck && watch->revision < group->revision) {
            group->revision = watch->revision;
        }
    }
    if (group->revision < before) {
        service_source_spoil(watches, source);
    }
}

/* ---- one watch ---- */

static struct service_watch *watch_find(const struct connection *connection, struct slice name)
{
    LIST_FOR_EACH (at, &connection->service_watches) {
        struct service_watch *watch = CONTAINER_OF(at, struct service_watch, of_connection);
        if (slice_equal(service_group_name(watch->group), name)) {
            return watch;
        }
    }
    return NULL;
}

static void watch_end(struct service_watch *watch)
{
    struct connection *connection = watch->connection;
    struct service_watches *watches = connection->server->service_watches;
    struct service_group *group = watch->group;
    connection->service_watch_count--;
    connection->feed_bytes -= sizeof(*watch) + sizeof(*group) + group->key_size;
    if (watch->fetch != NULL) {
        watch->fetch->watch = NULL;
    }
    list_remove(&watch->of_group);
    list_remove(&watch->of_connection);
    list_remove(&watch->told_node);
    free(watch);
    watches->count--;
    if (--group->count == 0) {
        group_leave(watches, group);
    } else {
        service_group_place(watches, group);
    }
}

void service_watches_leave(struct connection *connection)
{
    while (!list_empty(&connection->service_watches)) {
        watch_end(CONTAINER_OF(connection->service_watches.next, struct service_watch, of_connection));
    }
}

bool service_watch_may_push(const struct service_watch *watch)
{
    const struct connection *connection = watch->connection;
    const struct server *server = connection->server;
    size_t most = (size_t)server->config.maxmemory_clients_bytes / 2 / server->worker_count;
    return !connection->closed && !connection->close_after_replies && server->client_bytes < most &&
           connection_unsent_bytes(connection) < (size_t)server->config.feed_output_bytes;
}

/* ---- the words ---- */

static const char *refusal(const struct connection *connection, struct slice name)
{
    const struct server *server = connection->server;
    if (name.size == 0 || name.size > SERVICE_NAME_BYTES) {
        return "ERR the name of a service has 1 to 512 bytes";
    }
    if (connection->service_watch_count >= SERVICE_WATCHES_PER_CLIENT) {
        return "ERR this connection has 1024 watches, which is the most; end some with SERVICE.UNWATCH, or open "
               "another";
    }
    if (service_watches_count(server) >= (size_t)server->config.feeds_maximum / server->worker_count) {
        return "ERR this node has as many watches as feed-max allows; end some, ask another node, or raise it";
    }
    return watch_find(connection, name) == NULL
               ? NULL
               : "ERR this connection watches that service already; end it first with SERVICE.UNWATCH";
}

static void watch_add(struct connection *connection, struct slice name, int64_t revision)
{
    struct service_watches *watches = make(connection->server);
    struct service_watch *watch = memory_allocate_zeroed(1, sizeof(*watch));
    watch->connection = connection;
    watch->group = group_of(watches, name);
    watch->revision = revision;
    watch->begins = true;
    watch->told_ns = server_now_ns(connection->server);
    list_append(&watch->group->watches, &watch->of_group);
    list_append(&connection->service_watches, &watch->of_connection);
    list_append(&watches->told, &watch->told_node);
    watch->group->count++;
    watches->count++;
    connection->service_watch_count++;
    connection->feed_bytes += sizeof(*watch) + sizeof(*watch->group) + watch->group->key_size;
    service_watch_begin(watch);
}

static void watch_command(struct connection *connection, const struct command *command)
{
    int64_t revision = SERVICE_FROM_LIST;
    bool from = command->argc == 4;
    if ((!from && command->argc != 2) || (from && !slice_is_word(command->argv[2], "FROM"))) {
        reply_with_error(connection, "ERR syntax error");
        return;
    }
    if (from && (!number_parse_int64(command->argv[3], &revision) || revision < 0)) {
        reply_with_error(connection, "ERR FROM is followed by a revision, as a push of this service told it");
        return;
    }
    const char *problem = refusal(connection, command->argv[1]);
    if (problem != NULL) {
        reply_with_error(connection, problem);
        return;
    }
    resp_status(reply_begin(connection), "OK");
    reply_end(connection);
    watch_add(connection, command->argv[1], revision);
}

static void unwatch_command(struct connection *connection, const struct command *command)
{
    if (command->argc > 2) {
        reply_with_error(connection, "ERR syntax error");
        return;
    }
    int64_t before = connection->service_watch_count;
    struct service_watch *watch = command->argc == 2 ? watch_find(connection, command->argv[1]) : NULL;
    if (watch != NULL) {
        watch_end(watch);
    } else if (command->argc == 1) {
        service_watches_leave(connection);
    }
    resp_integer(reply_begin(connection), before - connection->service_watch_count);
    reply_end(connection);
}

void service_watch_command(struct connection *connection, const struct command *command)
{
    if (command->spec->id == COMMAND_SERVICE_WATCH) {
        watch_command(connection, command);
    } else {
        unwatch_command(connection, command);
    }
    route_measure(connection, command);
}

bool service_watch_refuses(const struct connection *connection, const struct command_spec *spec)
{
    if (!service_watches_of(connection) || connection->protocol == RESP3 || service_watch_takes(spec)) {
        return false;
    }
    switch (spec->id) {
    case COMMAND_PING:
    case COMMAND_QUIT:
    case COMMAND_RESET:
    case COMMAND_HELLO: return false;
    default: return true;
    }
}

/* ---- time ---- */

bool service_watches_turn(struct server *server)
{
    struct service_watches *watches = server->service_watches;
    bool more = false;
    if (watches == NULL || watches->count == 0) {
        return false;
    }
    for (uint32_t shard = 1; shard <= server->shards; shard++) {
        more = service_source_turn(watches, shard) || more;
    }
    return more;
}

/* Who has begun in vain, or whose client had no room, has another try. */
static void try_again(struct service_watches *watches)
{
    LIST_FOR_EACH (at, &watches->told) {
        struct service_watch *watch = CONTAINER_OF(at, struct service_watch, told_node);
        if (watch->begins) {
            service_watch_begin(watch);
        } else if (watch->stuck && service_watch_may_push(watch)) {
            watch->stuck = false;
            service_group_place(watches, watch->group);
        }
    }
}

static void tell_alive(struct service_watches *watches)
{
    int64_t now_ns = server_now_ns(watches->server);
    LIST_FOR_EACH_SAFE (at, after, &watches->told) {
        struct service_watch *watch = CONTAINER_OF(at, struct service_watch, told_node);
        if (now_ns - watch->told_ns < (int64_t)SERVICE_ALIVE_MS * SERVICE_MS_NS) {
            return;
        }
        if (!watch->begins && service_watch_may_push(watch) &&
            cluster_heard_leader(watches->server->cluster, watch->group->shard) != 0) {
            service_watch_tell_alive(watch);
        }
    }
}

void service_watches_tick(struct server *server)
{
    struct service_watches *watches = server->service_watches;
    if (watches == NULL || watches->count == 0 || server->phase != SERVER_SERVING) {
        return;
    }
    try_again(watches);
    tell_alive(watches);
}

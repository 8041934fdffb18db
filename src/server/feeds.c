#include "cluster/cluster_mutation.h"
#include "server/feeds_internal.h"

/* ---- life ---- */

static void timer_fire(struct env_timer *timer)
{
    struct feeds *feeds = CONTAINER_OF(timer, struct feeds, timer);
    feeds->timer_ns = INT64_MAX;
    env_wake(feeds->server->env);
}

struct feeds *feeds_make(struct server *server)
{
    if (server->feeds != NULL) {
        return server->feeds;
    }
    struct feeds *feeds = memory_allocate_zeroed(1, sizeof(*feeds));
    uint64_t key = 0;
    env_random(server->env, (uint8_t *)&key, sizeof(key));
    feeds->server = server;
    feed_prefixes_init(&feeds->prefixes, key);
    feeds->sources = memory_allocate_zeroed(server->shards, sizeof(*feeds->sources));
    feeds->marks = memory_allocate_zeroed(server->shards, sizeof(*feeds->marks));
    list_init(&feeds->told);
    list_init(&feeds->ready);
    list_init(&feeds->later);
    list_init(&feeds->fetches);
    list_init(&feeds->touched);
    env_timer_init(&feeds->timer, timer_fire);
    feeds->timer_ns = INT64_MAX;
    server->feeds = feeds;
    return feeds;
}

void feeds_destroy(struct server *server)
{
    struct feeds *feeds = server->feeds;
    if (feeds == NULL) {
        return;
    }
    ASSERT(feeds->count == 0); /* the connections are closed */
    env_timer_stop(server->env, &feeds->timer);
    LIST_FOR_EACH_SAFE (at, after, &feeds->fetches) {
        struct feed_fetch *fetch = CONTAINER_OF(at, struct feed_fetch, node);
        buffer_deinit(&fetch->reply);
        free(fetch);
    }
    feed_prefixes_deinit(&feeds->prefixes);
    buffer_deinit(&feeds->position);
    buffer_deinit(&feeds->scratch);
    buffer_deinit(&feeds->records);
    free(feeds->sources);
    free(feeds->marks);
    free(feeds);
    server->feeds = NULL;
}

size_t feeds_count(const struct server *server, size_t *ret_behind)
{
    *ret_behind = server->feeds == NULL ? 0 : server->feeds->behind;
    return server->feeds == NULL ? 0 : server->feeds->count;
}

void feeds_want_at(struct feeds *feeds, int64_t at_ns)
{
    if (at_ns < feeds->timer_ns) {
        feeds->timer_ns = at_ns;
        env_timer_start(feeds->server->env, &feeds->timer, at_ns);
    }
}

/* ---- one feed ---- */

static struct feed_group *group_of(struct feeds *feeds, struct slice prefix)
{
    struct feed_prefix *found = feed_prefixes_find(&feeds->prefixes, prefix);
    if (found != NULL) {
        return found->owner;
    }
    struct feed_group *group = memory_allocate_zeroed(1, sizeof(*group));
    list_init(&group->feeds);
    list_init(&group->touched_node);
    group->prefix = feed_prefixes_add(&feeds->prefixes, prefix, group);
    return group;
}

/* The first one says where the front is. */
static void begin_front(struct feeds *feeds, const struct feed_mark *marks)
{
    for (uint32_t i = 0; i < feeds->server->shards; i++) {
        struct feed_source *source = &feeds->sources[i];
        if (!source->known) {
            source->known = true;
            source->mark = marks[i];
            source->applied = 0;
            source->pause_ms = FEED_POLL_MS;
            source->poll_ns = 0;
            source->current_ns = server_now_ns(feeds->server);
        }
    }
    buffer_clear(&feeds->position);
}

void feed_add(struct feeds *feeds, struct connection *connection, struct slice prefix, const struct feed_mark *marks)
{
    begin_front(feeds, marks);
    struct feed *feed = memory_allocate_zeroed(1, sizeof(*feed));
    feed->connection = connection;
    feed->group = group_of(feeds, prefix);
    list_append(&feed->group->feeds, &feed->of_group);
    list_append(&connection->feeds, &feed->of_connection);
    list_append(&feeds->told, &feed->told_node);
    list_init(&feed->behind_node);
    feed->group->count++;
    feeds->count++;
    connection->feed_count++;
    connection->feed_bytes += sizeof(*feed) + sizeof(struct feed_prefix) + prefix.size;
    feed->told_ns = server_now_ns(feeds->server);
    feed->passed_bytes = feeds->passed_bytes;
    for (uint32_t shard = 1; shard <= feeds->server->shards; shard++) {
        bool there = feed_mark_compare(marks[shard - 1], feeds->sources[shard - 1].mark) == 0;
        if (!there && !CLUSTER_MUTATED(FEED_FRONT)) {
            feed_fall_behind(feed, shard, marks[shard - 1]);
        }
    }
    if (feed->behind != 0) {
        feed_make_ready(feed);
    }
    env_wake(feeds->server->env);
}

static void places_free(struct feed *feed)
{
    if (feed->places != NULL) {
        feed->connection->feed_bytes -= feed->connection->server->shards * sizeof(*feed->places);
        free(feed->places);
        feed->places = NULL;
    }
}

void feed_end(struct feed *feed)
{
    struct connection *connection = feed->connection;
    struct feeds *feeds = connection->server->feeds;
    struct feed_group *group = feed->group;
    feeds->behind -= feed->behind != 0;
    connection->feed_bytes -= sizeof(*feed) + sizeof(struct feed_prefix) + group->prefix->size;
    places_free(feed);
    list_remove(&feed->of_group);
    list_remove(&feed->of_connection);
    list_remove(&feed->told_node);
    list_remove(&feed->behind_node);
    if (feed->fetch != NULL) {
        feed->fetch->feed = NULL;
    }
    feeds->count--;
    connection->feed_count--;
    if (--group->count == 0) {
        list_remove(&group->touched_node);
        feed_prefixes_remove(&feeds->prefixes, group->prefix);
        buffer_deinit(&group->body);
        free(group);
    }
    free(feed);
    if (feeds->count == 0) { /* nobody follows any more: the next one begins anew */
        for (uint32_t i = 0; i < feeds->server->shards; i++) {
            feeds->sources[i].known = false;
        }
    }
}

/* ---- where it is ---- */

struct feed_mark feed_mark_of(const struct feed *feed, uint32_t shard)
{
    return feed->places != NULL && feed->places[shard - 1].behind
               ? feed->places[shard - 1].mark
               : feed->connection->server->feeds->sources[shard - 1].mark;
}

void feed_fall_behind(struct feed *feed, uint32_t shard, struct feed_mark mark)
{
    struct feeds *feeds = feed->connection->server->feeds;
    if (feed->places == NULL) {
        feed->places = memory_allocate_zeroed(feeds->server->shards, sizeof(*feed->places));
        feed->connection->feed_bytes += feeds->server->shards * sizeof(*feed->places);
    }
    struct feed_place *place = &feed->places[shard - 1];
    ASSERT(!place->behind);
    *place = (struct feed_place){mark, true};
    feeds->behind += feed->behind++ == 0;
}

void feed_caught_up(struct feed *feed, uint32_t shard)
{
    struct feeds *feeds = feed->connection->server->feeds;
    struct feed_place *place = &feed->places[shard - 1];
    ASSERT(place->behind && feed_mark_compare(place->mark, feeds->sources[shard - 1].mark) == 0);
    place->behind = false;
    if (--feed->behind == 0) {
        feeds->behind--;
        list_remove(&feed->behind_node);
        feed->stuck = false;
        places_free(feed);
    }
}

bool feed_may_push(const struct feed *feed)
{
    const struct connection *connection = feed->connection;
    const struct server *server = connection->server;
    size_t most = (size_t)server->config.maxmemory_clients_bytes / 2 / server->worker_count;
    return !connection->closed && !connection->close_after_replies && server->client_bytes < most &&
           connection_unsent_bytes(connection) < (size_t)server->config.feed_output_bytes;
}

void feed_stick(struct feed *feed)
{
    list_remove(&feed->behind_node);
    const struct config *config = &feed->connection->server->config;
    if (connection_unsent_bytes(feed->connection) < (size_t)config->feed_output_bytes) {
        feed_look_later(feed); /* it is not this client that has to read */
        return;
    }
    feed->stuck = true;
    feed->connection->feed_stuck = true;
}

void feed_make_ready(struct feed *feed)
{
    struct feeds *feeds = feed->connection->server->feeds;
    feed->stuck = false;
    list_remove(&feed->behind_node);
    list_append(&feeds->ready, &feed->behind_node);
}

void feeds_flushed(struct connection *connection)
{
    connection->feed_stuck = false;
    LIST_FOR_EACH (at, &connection->feeds) {
        struct feed *feed = CONTAINER_OF(at, struct feed, of_connection);
        if (feed->stuck) {
            feed_make_ready(feed);
            env_wake(connection->server->env);
        }
    }
}

void feeds_leave(struct connection *connection)
{
    while (!list_empty(&connection->feeds)) {
        feed_end(CONTAINER_OF(connection->feeds.next, struct feed, of_connection));
    }
    connection->feed_stuck = false;
}

/* ---- the turn ---- */

bool feeds_turn(struct server *server)
{
    struct feeds *feeds = server->feeds;
    if (feeds == NULL || feeds->count == 0) {
        return false;
    }
    bool more = feed_front_turn(feeds);
    return feed_behind_turn(feeds) || more;
}

/* As far as this node knows: then what it has of each shard is not old. */
static bool every_shard_is_led(const struct feeds *feeds)
{
    for (uint32_t shard = 1; shard <= feeds->server->shards; shard++) {
        if (cluster_leader(feeds->server->cluster, shard) == 0) {
            return false;
        }
    }
    return true;
}

/* ---- how far this node is behind ---- */

/* A shard that is here: what is applied is handed on, and its leader is heard. Others' answers say it (feed_front.c).
 */
static bool is_current(const struct feeds *feeds, uint32_t shard)
{
    const struct cluster *cluster = feeds->server->cluster;
    uint64_t applied = cluster_applied_here(cluster, shard);
    return applied != 0 && applied == feeds->sources[shard - 1].applied && cluster_heard_leader(cluster, shard) != 0;
}

static void note_current(struct feeds *feeds)
{
    int64_t now_ns = server_now_ns(feeds->server);
    for (uint32_t shard = 1; shard <= feeds->server->shards; shard++) {
        if (is_current(feeds, shard)) {
            feeds->sources[shard - 1].current_ns = now_ns;
        }
    }
}

int64_t feeds_lag_ms(struct server *server)
{
    const struct feeds *feeds = server->feeds;
    int64_t now_ns = server_now_ns(server);
    int64_t lag_ns = 0;
    for (uint32_t shard = 1; feeds != NULL && feeds->count != 0 && shard <= server->shards; shard++) {
        int64_t since_ns = is_current(feeds, shard) ? 0 : now_ns - feeds->sources[shard - 1].current_ns;
        lag_ns = since_ns > lag_ns ? since_ns : lag_ns;
    }
    return lag_ns / FEED_MS_NS;
}

/* ---- ten times a second ---- */

/* Whoever was not told anything for long, or whose position will soon be forgotten. A node that is cut off says nothing
 * without need, so that its clients go elsewhere. */
static void tell_positions(struct feeds *feeds)
{
    bool led = every_shard_is_led(feeds);
    int64_t now_ns = server_now_ns(feeds->server);
    uint64_t quarter = (uint64_t)feeds->server->config.feed_history_bytes / 4;
    for (int i = 0; i < FEED_TOLD_PER_TICK && !list_empty(&feeds->told); i++) {
        struct feed *feed = CONTAINER_OF(feeds->told.next, struct feed, told_node);
        int64_t silent_ms = (now_ns - feed->told_ns) / FEED_MS_NS;
        bool hurry = silent_ms >= FEED_HURRY_MS && feeds->passed_bytes - feed->passed_bytes >= quarter;
        if (!hurry && (!led || silent_ms < FEED_HEARTBEAT_MS)) { /* nor are those behind it in the list */
            return;
        }
        if (feed_may_push(feed)) {
            feed_push(feed, (struct slice){0}, 0);
        } else {
            list_remove(&feed->told_node); /* it has enough to read */
            list_append(&feeds->told, &feed->told_node);
            feed->told_ns = now_ns;
        }
    }
}

static void keep_histories(struct feeds *feeds)
{
    int64_t now_ns = server_now_ns(feeds->server);
    int64_t third_ns = feeds->server->config.feed_history_ms * FEED_MS_NS / 3;
    for (uint32_t shard = 1; shard <= feeds->server->shards; shard++) {
        const struct feed_source *source = &feeds->sources[shard - 1];
        if (!source->keeping && (!source->kept || now_ns - source->kept_ns >= third_ns)) {
            feed_ask_keep(feeds, shard);
        }
    }
}

void feeds_tick(struct server *server)
{
    if (server->feeds == NULL || server->feeds->count == 0 || server->phase != SERVER_SERVING) {
        return;
    }
    note_current(server->feeds);
    tell_positions(server->feeds);
    keep_histories(server->feeds);
}

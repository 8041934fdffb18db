#include "node_services_internal.h"

#include "base/assert.h"
#include "base/hash.h"
#include "cluster/cluster.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { READ_BYTES = 4096, FINAL_MS = 40000, LOOK_MS = 100 };

/* ---- views ---- */

uint64_t view_hash(const struct service_view *view)
{
    uint64_t sum = (uint64_t)view->count;
    for (int i = 0; i < view->count; i++) {
        const struct view_endpoint *endpoint = &view->endpoints[i];
        uint64_t seed = (uint64_t)endpoint->weight * 2 + endpoint->draining;
        sum += hash_bytes(seed, endpoint->id, strlen(endpoint->id));
    }
    return sum;
}

void view_apply(struct service_view *view, const char *event, const char *id, int64_t weight)
{
    int at = 0;
    while (at < view->count && strcmp(view->endpoints[at].id, id) != 0) {
        at++;
    }
    bool there = strcmp(event, "registered") == 0 || strcmp(event, "changed") == 0 || strcmp(event, "draining") == 0;
    if (!there) {
        view->count -= at < view->count;
        view->endpoints[at] = view->endpoints[view->count];
        return;
    }
    if (at == view->count) {
        ASSERT(view->count < VIEW_ENDPOINTS - 1);
        view->endpoints[view->count++] = (struct view_endpoint){.weight = 0};
        (void)snprintf(view->endpoints[at].id, sizeof(view->endpoints[at].id), "%s", id);
    }
    view->endpoints[at].weight = weight;
    view->endpoints[at].draining = view->endpoints[at].draining || strcmp(event, "draining") == 0;
}

/* ---- agents ---- */

uint64_t agent_draw(struct agent *agent, uint64_t bound) { return prng_below(&agent->services->prng, bound); }
int64_t agent_now(const struct agent *agent) { return sim_now_ns(agent->services->world->sim); }

void agent_rest(struct agent *agent, int64_t ms)
{
    env_timer_start(agent->env, &agent->timer, env_monotonic_ns(agent->env) + ms * MS);
}

const char *agent_tag(const struct agent *agent, int shard) { return agent->services->world->shards[shard].tag; }

int service_shards(const struct node_services *services)
{
    int groups = services->world->profile.groups;
    return groups < SERVICE_SHARDS ? groups : SERVICE_SHARDS;
}

static bool is_watcher(const struct agent *agent) { return agent->number >= REGISTRANTS; }

void agent_disconnect(struct agent *agent)
{
    if (agent->stream != NULL) {
        env_stream_close(agent->env, agent->stream);
        agent->stream = NULL;
    }
    buffer_clear(&agent->in);
    buffer_clear(&agent->out);
    resp_reader_init(&agent->reader);
    agent->token_count = 0;
    if (!is_watcher(agent)) {
        registrant_lost(agent);
    }
}

static void take_token(struct agent *agent, const struct resp_token *token)
{
    if (agent->token_count < AGENT_TOKENS) {
        struct agent_token *kept = &agent->tokens[agent->token_count++];
        bool many = token->type == RESP_ARRAY || token->type == RESP_PUSH || token->type == RESP_MAP;
        bool texts = token->type == RESP_BULK || token->type == RESP_STATUS || token->type == RESP_ERROR;
        *kept = (struct agent_token){.type = token->type, .integer = many ? (int64_t)token->count : token->integer};
        (void)snprintf(kept->text, sizeof(kept->text), "%.*s", texts ? (int)token->text.size : 0,
                       texts ? (const char *)token->text.data : "");
    }
    if (token->last) {
        if (is_watcher(agent)) {
            watcher_told(agent);
        } else {
            registrant_answered(agent);
        }
        agent->token_count = 0;
    }
}

static void readable(void *owner)
{
    static const struct resp_reply_limits limits = {.bulk_bytes = 4096, .line_bytes = 1024, .elements = 65536};
    struct agent *agent = owner;
    size_t size = 0;
    uint8_t *at = buffer_reserve(&agent->in, READ_BYTES);
    enum status status = env_stream_read(agent->env, agent->stream, at, READ_BYTES, &size);
    if (status == STATUS_AGAIN) {
        return;
    }
    if (status != STATUS_OK) {
        agent_disconnect(agent);
        return;
    }
    agent->in.size += size;
    enum resp_reply_result result = RESP_REPLY_READY;
    while (result == RESP_REPLY_READY && !agent->services->world->result->failed) {
        struct resp_token token;
        result = resp_reader_next(&agent->reader, &limits, agent->in.data, agent->in.size, &token);
        if (result == RESP_REPLY_INVALID) {
            node_fail(agent->services->world, "agent %d: garbage: %s", agent->number, agent->reader.problem);
        } else if (result == RESP_REPLY_READY) {
            take_token(agent, &token);
        }
        buffer_consume(&agent->in, agent->reader.consumed);
    }
}

static void writable(void *owner)
{
    struct agent *agent = owner;
    struct iovec part = {agent->out.data, agent->out.size};
    size_t taken = 0;
    if (agent->out.size > 0 && env_stream_write(agent->env, agent->stream, &part, 1, &taken) == STATUS_OK) {
        buffer_consume(&agent->out, taken);
    }
    env_stream_want_write(agent->env, agent->stream, agent->out.size > 0);
}

static const struct env_stream_events stream_events = {readable, writable};

bool agent_connect(struct agent *agent)
{
    struct node_world *world = agent->services->world;
    int node = (int)agent_draw(agent, (uint64_t)world->profile.members);
    agent_disconnect(agent);
    if (env_connect(agent->env, sim_node_address(world->sim, node), NODE_PORT, &agent->stream) != STATUS_OK) {
        agent->stream = NULL;
        return false;
    }
    env_stream_attach(agent->env, agent->stream, &stream_events, agent);
    return true;
}

void agent_say(struct agent *agent, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    ASSERT(size > 0 && (size_t)size < sizeof(text));
    buffer_append(&agent->out, text, (size_t)size);
    buffer_append(&agent->out, "\r\n", 2);
    env_stream_want_write(agent->env, agent->stream, true);
}

static void fire(struct env_timer *timer)
{
    struct agent *agent = CONTAINER_OF(timer, struct agent, timer);
    if (agent->services->stopped) {
        return;
    }
    if (is_watcher(agent)) {
        watcher_turn(agent);
    } else {
        registrant_turn(agent);
    }
}

/* ---- the account ---- */

static void take_change(struct service_account *account, int shard, const struct service_change *change)
{
    static const char *const words[SERVICE_EVENTS] = {"registered", "changed", "draining",
                                                      "removed",    "expired", "session"};
    char id[AGENT_TEXT_BYTES];
    struct service_says says = {.weight = 0};
    (void)snprintf(id, sizeof(id), "%.*s", (int)change->id_size, (const char *)change->bytes);
    (void)service_says_take(change_says(change), &says);
    view_apply(&account->view, words[change->event], id, says.weight);
    struct watched entry = {shard, account->last, (int64_t)change->revision, view_hash(&account->view)};
    buffer_append(&account->entries, &entry, sizeof(entry));
    account->last = entry.revision;
}

void node_services_look(struct node_services *services, const struct node *node, int shard)
{
    if (services == NULL || shard < 1 || shard > service_shards(services)) {
        return;
    }
    struct service_account *account = &services->accounts[shard];
    const struct cluster *cluster = server_cluster_of(node->server, (uint32_t)shard);
    const struct services *state = cluster == NULL ? NULL : cluster_services(cluster, (uint32_t)shard);
    char name[16];
    (void)snprintf(name, sizeof(name), "{%s}S", services->world->shards[shard].tag);
    const struct service *service = state == NULL ? NULL : service_find(state, slice_from_string(name));
    if (service == NULL || (int64_t)service->revision <= account->last) {
        return;
    }
    const char *problem = services_problem(state);
    if (problem != NULL || (int64_t)service->floor > account->last) {
        node_fail(services->world, "shard %d at node %d: %s", shard, node->number + 1,
                  problem != NULL ? problem : "changes of a service that nobody saw");
        return;
    }
    LIST_FOR_EACH (at, &service->changes) {
        if ((int64_t)change_of(at)->revision > account->last) {
            take_change(account, shard, change_of(at));
        }
    }
}

static const struct watched *find_entry(const struct service_account *account, int64_t revision)
{
    const struct watched *entries = (const void *)account->entries.data;
    size_t low = 0;
    size_t high = account->entries.size / sizeof(*entries);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (entries[middle].revision < revision) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < account->entries.size / sizeof(*entries) && entries[low].revision == revision;
    return found ? &entries[low] : NULL;
}

static void check_watched(struct node_services *services, const struct watched *watched)
{
    static const struct watched beginning = {.view = 0};
    const struct watched *entry =
        watched->revision == 0 ? &beginning : find_entry(&services->accounts[watched->shard], watched->revision);
    if (entry == NULL) {
        node_fail(services->world, "shard %d: a watcher is told revision %lld, which never was", watched->shard,
                  (long long)watched->revision);
    } else if (watched->before >= 0 && watched->before != entry->before) {
        node_fail(services->world, "shard %d: a watcher is told revision %lld behind %lld, and not what is between",
                  watched->shard, (long long)watched->revision, (long long)watched->before);
    } else if (watched->view != entry->view) {
        node_fail(services->world, "shard %d: what a watcher has at revision %lld is not what was there",
                  watched->shard, (long long)watched->revision);
    }
}

/* ---- in the end ---- */

static bool settled(const struct node_services *services)
{
    for (int shard = 1; shard <= service_shards(services); shard++) {
        if (services->accounts[shard].view.count != 0) {
            return false;
        }
    }
    for (int i = 0; i < AGENTS; i++) {
        const struct agent *agent = &services->agents[i];
        int64_t last = services->accounts[is_watcher(agent) ? agent->shard : 0].last;
        if (is_watcher(agent) ? agent->revision != last : !agent->emptied) {
            return false;
        }
    }
    return true;
}

void node_services_finish(struct node_services *services)
{
    if (services == NULL || services->world->result->failed) {
        return;
    }
    struct node_world *world = services->world;
    int64_t limit_ns = sim_now_ns(world->sim) + FINAL_MS * MS;
    services->finishing = true;
    while (!settled(services) && !world->result->failed) {
        node_world_run_for(world, LOOK_MS * MS);
        if (sim_now_ns(world->sim) > limit_ns) {
            node_fail(world, "%d s after everything healed endpoints are listed, or watchers behind", FINAL_MS / 1000);
        }
    }
    const struct watched *watched = (const void *)services->watched.data;
    for (size_t i = 0; i < services->watched.size / sizeof(*watched) && !world->result->failed; i++) {
        check_watched(services, &watched[i]);
    }
    services->stopped = true;
}

/* ---- life ---- */

struct node_services *node_services_create(struct node_world *world)
{
    if (world->profile.services == 0) {
        return NULL;
    }
    struct node_services *services = calloc(1, sizeof(*services));
    ASSERT(services != NULL);
    services->world = world;
    prng_seed(&services->prng, node_draw(world, SIM_DRAW_CLIENT, INT64_MAX));
    for (int i = 0; i < AGENTS; i++) {
        struct agent *agent = &services->agents[i];
        agent->services = services;
        agent->number = i;
        agent->shard = 1;
        agent->revision = -1;
        resp_reader_init(&agent->reader);
        agent->env = sim_node_start(world->sim, NODE_AGENT_MACHINE + i);
        env_timer_init(&agent->timer, fire);
        agent_rest(agent, (int64_t)agent_draw(agent, 2000));
    }
    return services;
}

void node_services_destroy(struct node_services *services)
{
    for (int i = 0; services != NULL && i < AGENTS; i++) {
        struct agent *agent = &services->agents[i];
        env_timer_stop(agent->env, &agent->timer);
        agent_disconnect(agent);
        buffer_deinit(&agent->in);
        buffer_deinit(&agent->out);
    }
    for (int i = 0; services != NULL && i <= SERVICE_SHARDS; i++) {
        buffer_deinit(&services->accounts[i].entries);
    }
    if (services != NULL) {
        buffer_deinit(&services->watched);
    }
    free(services);
}

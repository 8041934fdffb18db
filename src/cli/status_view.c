#include "cli/status_view.h"

#include "base/assert.h"
#include "base/printable.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#define QUESTION "COHORT.STATUS"

int64_t view_number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value) : -1;
}

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* ---- nodes ---- */

/* An answer is good when it comes from the node of the cluster that was asked for. */
static void check_answer(const struct view *view, struct view_node *node)
{
    const char *cluster = text_of(node->answer, "cluster");
    int64_t id = view_number(node->answer, "node");
    if (id != node->id) {
        (void)snprintf(node->problem, sizeof(node->problem), "at %s answers node %" PRId64, node->address, id);
    } else if (view->cluster != NULL && cluster != NULL && strcmp(view->cluster, cluster) != 0) {
        (void)snprintf(node->problem, sizeof(node->problem), "at %s is a node of another cluster", node->address);
    } else {
        return;
    }
    json_decref(node->answer);
    node->answer = NULL;
}

static void *ask_node(void *argument)
{
    struct view_node *node = argument;
    node->answer = node_ask_json(&node->endpoint, node->timeout_ms, QUESTION, node->problem);
    if (node->answer != NULL && !json_is_object(node->answer)) {
        (void)snprintf(node->problem, sizeof(node->problem), "%s does not know " QUESTION, node->address);
        json_decref(node->answer);
        node->answer = NULL;
    }
    return NULL;
}

static void set_endpoint(struct view_node *node, const struct client_endpoint *endpoint)
{
    node->endpoint = *endpoint;
    client_endpoint_format(endpoint, node->address);
}

/* Takes a node from the list in an answer; false when it makes no sense. */
static bool take_entry(const json_t *entry, struct view_node *ret_node)
{
    char text[CLIENT_ENDPOINT_TEXT_BYTES];
    struct client_url url;
    const char *problem;
    const char *host = text_of(entry, "host");
    const char *state = text_of(entry, "state");
    int64_t id = view_number(entry, "node");
    if (id < 1 || host == NULL || state == NULL) {
        return false;
    }
    bool six = strchr(host, ':') != NULL;
    int size = snprintf(text, sizeof(text), "%s%s%s:%" PRId64, six ? "[" : "", host, six ? "]" : "",
                        view_number(entry, "port"));
    if (size < 0 || (size_t)size >= sizeof(text) || client_url_parse(text, &url, &problem) != STATUS_OK ||
        url.endpoint_count != 1) {
        return false;
    }
    ret_node->id = id;
    set_endpoint(ret_node, &url.endpoints[0]);
    (void)printable_copy(slice_from_string(state), ret_node->state, sizeof(ret_node->state));
    return true;
}

/* Makes the list of nodes from the answer of one of them, which keeps it. */
static void take_nodes(struct view *view, struct view_node *asked)
{
    const json_t *entries = json_object_get(asked->answer, "nodes");
    asked->id = view_number(asked->answer, "node");
    view->node_count = 0;
    for (size_t i = 0; i < json_array_size(entries) && view->node_count < PLACEMENT_MAXIMUM_NODES; i++) {
        struct view_node *node = &view->nodes[view->node_count];
        *node = (struct view_node){.timeout_ms = asked->timeout_ms};
        if (take_entry(json_array_get(entries, i), node)) {
            if (node->id == asked->id && view->first == NULL) {
                node->answer = asked->answer;
                view->first = node;
            }
            view->node_count++;
        }
    }
    if (view->first == NULL) {
        (void)snprintf(asked->state, sizeof(asked->state), "active");
        view->nodes[0] = *asked;
        view->node_count = 1;
        view->first = &view->nodes[0];
    }
    view->cluster = text_of(view->first->answer, "cluster");
}

static void count_shards(struct view *view)
{
    for (size_t i = 0; i < view->node_count; i++) {
        size_t count = json_array_size(json_object_get(view->nodes[i].answer, "shards"));
        count = count < SLOT_MAXIMUM_SHARDS ? count : SLOT_MAXIMUM_SHARDS;
        view->shard_count = count > view->shard_count ? (uint32_t)count : view->shard_count;
        view->has_meta = view->has_meta || json_is_object(json_object_get(view->nodes[i].answer, "meta"));
    }
}

void view_of(struct view_node *asked, struct view *ret_view)
{
    *ret_view = (struct view){0};
    take_nodes(ret_view, asked);
    count_shards(ret_view);
}

static void ask_others(struct view *view)
{
    pthread_t threads[PLACEMENT_MAXIMUM_NODES];
    bool started[PLACEMENT_MAXIMUM_NODES] = {false};
    for (size_t i = 0; i < view->node_count; i++) {
        if (&view->nodes[i] != view->first) {
            started[i] = pthread_create(&threads[i], NULL, ask_node, &view->nodes[i]) == 0;
            if (!started[i]) {
                (void)ask_node(&view->nodes[i]);
            }
        }
    }
    for (size_t i = 0; i < view->node_count; i++) {
        if (started[i]) {
            (void)pthread_join(threads[i], NULL);
        }
        if (view->nodes[i].answer != NULL) {
            check_answer(view, &view->nodes[i]);
        }
    }
}

bool view_ask(const struct client_url *url, int64_t timeout_ms, struct view *ret_view)
{
    _Static_assert((int)CLIENT_ENDPOINTS_MAXIMUM <= (int)PLACEMENT_MAXIMUM_NODES, "each may become a node");
    *ret_view = (struct view){.node_count = url->endpoint_count};
    for (uint32_t i = 0; i < url->endpoint_count; i++) {
        struct view_node *node = &ret_view->nodes[i];
        node->id = -1;
        node->timeout_ms = timeout_ms;
        set_endpoint(node, &url->endpoints[i]);
        (void)ask_node(node);
        if (node->answer != NULL) {
            struct view_node asked = *node;
            view_of(&asked, ret_view);
            ask_others(ret_view);
            count_shards(ret_view);
            return true;
        }
    }
    return false;
}

void view_close(struct view *view)
{
    for (size_t i = 0; i < view->node_count; i++) {
        json_decref(view->nodes[i].answer);
        view->nodes[i].answer = NULL;
    }
}

/* ---- shards ---- */

const char *view_role_name(enum view_role role)
{
    switch (role) {
    case VIEW_NO_VOTER: return "none";
    case VIEW_LEADER: return "leader";
    case VIEW_OLD_LEADER: return "old leader";
    case VIEW_FOLLOWER: return "follower";
    case VIEW_TO_COME: return "to come";
    case VIEW_UNKNOWN: break;
    }
    return "unknown";
}

/* What the node says of the shard; NULL when nothing. */
static const json_t *said_by(const struct view_node *node, uint32_t number)
{
    const json_t *said = number == 0 ? json_object_get(node->answer, "meta")
                                     : json_array_get(json_object_get(node->answer, "shards"), number - 1);
    return json_is_object(said) && view_number(said, "shard") == number ? said : NULL;
}

static bool is_role(const json_t *said, const char *role)
{
    const char *text = text_of(said, "role");
    return text != NULL && strcmp(text, role) == 0;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Marks those that should vote, as one node says. */
static void take_voters(const struct view *view, const json_t *said, struct view_shard *shard)
{
    const json_t *voters = json_object_get(said, "voters");
    for (size_t v = 0; v < json_array_size(voters) && v < PLACEMENT_MAXIMUM_REPLICAS; v++) {
        int64_t id = json_integer_value(json_array_get(voters, v));
        for (size_t i = 0; i < view->node_count; i++) {
            shard->votes[i] = shard->votes[i] || view->nodes[i].id == id;
        }
    }
}

void view_shard(const struct view *view, uint32_t number, struct view_shard *ret_shard)
{
    struct view_shard shard = {.number = number, .term = -1, .commit = -1, .keys = -1};
    int64_t led_term = -1;
    for (size_t i = 0; i < view->node_count; i++) {
        const json_t *said = said_by(&view->nodes[i], number);
        int64_t term = view_number(said, "term");
        if (is_role(said, "leader") && term > led_term) {
            led_term = term;
            shard.led = &view->nodes[i];
            shard.keys = view_number(said, "keys");
        }
        shard.term = larger(shard.term, term);
        shard.commit = larger(shard.commit, view_number(said, "commit"));
        take_voters(view, said, &shard);
    }
    *ret_shard = shard;
}

void view_replica(const struct view *view, const struct view_shard *shard, const struct view_node *node,
                  struct view_replica *ret_replica)
{
    const json_t *said = said_by(node, shard->number);
    struct view_replica replica = {
        .term = view_number(said, "term"),
        .commit = view_number(said, "commit"),
        .applied = view_number(said, "applied"),
        .last = view_number(said, "last"),
        .snapshot_index = view_number(said, "snapshot_index"),
        .lag = -1,
    };
    if (is_role(said, "leader")) {
        replica.role = shard->led == node ? VIEW_LEADER : VIEW_OLD_LEADER;
    } else if (is_role(said, "follower")) {
        replica.role = VIEW_FOLLOWER;
    } else if (shard->votes[node - view->nodes]) {
        replica.role = said == NULL ? VIEW_UNKNOWN : VIEW_TO_COME;
    }
    if (replica.applied >= 0) {
        replica.lag = larger(shard->commit - replica.applied, 0);
    }
    *ret_replica = replica;
}

/* cohort status: asks every node of a cluster, and shows what they say together. */
#include "base/memory.h"
#include "cli/status_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Degraded is told apart from down: a script that restarts things must not take one for the other. */
enum { EXIT_WELL = EX_OK, EXIT_DEGRADED = EX_TEMPFAIL, EXIT_DOWN = EX_UNAVAILABLE };

/* ---- JSON ---- */

static json_t *number_json(int64_t number) { return number < 0 ? json_null() : json_integer(number); }

static void set_number(json_t *object, const char *name, int64_t number)
{
    (void)json_object_set_new(object, name, number_json(number));
}

static json_t *node_json(const struct view_node *node)
{
    static const struct {
        const char *name, *said;
    } values[] = {
        {"version", "version"},           {"incarnation", "incarnation"},
        {"uptime_seconds", "uptime_s"},   {"keys", "keys"},
        {"memory_bytes", "memory_bytes"}, {"clients", "clients"},
        {"log_bytes", "log_bytes"},       {"last_snapshot_unix_seconds", "snapshot_time_s"},
    };
    json_t *json = json_object();
    set_number(json, "node", node->id);
    (void)json_object_set_new(json, "address", json_string(node->address));
    (void)json_object_set_new(json, "state", node->state[0] == '\0' ? json_null() : json_string(node->state));
    (void)json_object_set_new(json, "up", json_boolean(node->answer != NULL));
    if (node->answer == NULL) {
        (void)json_object_set_new(json, "problem", json_string(node->problem));
        return json;
    }
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        json_t *value = json_object_get(node->answer, values[i].said);
        (void)json_object_set_new(json, values[i].name, value == NULL ? json_null() : json_incref(value));
    }
    return json;
}

static json_t *replica_json(const struct view_node *node, const struct view_replica *replica)
{
    json_t *json = json_object();
    set_number(json, "node", node->id);
    (void)json_object_set_new(json, "role", json_string(view_role_name(replica->role)));
    set_number(json, "term", replica->term);
    set_number(json, "commit", replica->commit);
    set_number(json, "applied", replica->applied);
    set_number(json, "last", replica->last);
    set_number(json, "lag", replica->lag);
    set_number(json, "snapshot_index", replica->snapshot_index);
    return json;
}

static json_t *shard_json(const struct view *view, uint32_t number)
{
    struct view_shard shard;
    view_shard(view, number, &shard);
    json_t *json = json_object();
    json_t *replicas = json_array();
    if (number != 0) {
        set_number(json, "shard", number);
        set_number(json, "keys", shard.keys);
    }
    set_number(json, "leader", shard.led == NULL ? -1 : shard.led->id);
    set_number(json, "term", shard.term);
    set_number(json, "commit", shard.commit);
    for (size_t i = 0; i < view->node_count; i++) {
        struct view_replica replica;
        view_replica(view, &shard, &view->nodes[i], &replica);
        if (replica.role != VIEW_NO_VOTER) {
            (void)json_array_append_new(replicas, replica_json(&view->nodes[i], &replica));
        }
    }
    (void)json_object_set_new(json, "replicas", replicas);
    return json;
}

static void print_json(const struct view *view)
{
    json_t *json = json_object();
    json_t *nodes = json_array();
    json_t *shards = json_array();
    for (size_t i = 0; i < view->node_count; i++) {
        (void)json_array_append_new(nodes, node_json(&view->nodes[i]));
    }
    for (uint32_t number = 1; number <= view->shard_count; number++) {
        (void)json_array_append_new(shards, shard_json(view, number));
    }
    (void)json_object_set_new(json, "cluster", view->cluster == NULL ? json_null() : json_string(view->cluster));
    (void)json_object_set_new(json, "nodes", nodes);
    (void)json_object_set_new(json, "shards", shards);
    (void)json_object_set_new(json, "meta", view->has_meta ? shard_json(view, 0) : json_null());
    (void)json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    printf("\n");
    json_decref(json);
}

/* ---- what is wrong ---- */

static int worse(int a, int b) { return a == EXIT_DOWN || b == EXIT_WELL ? a : b; }

static int judge_nodes(const struct view *view)
{
    int code = EXIT_WELL;
    for (size_t i = 0; i < view->node_count; i++) {
        const struct view_node *node = &view->nodes[i];
        if (node->answer == NULL) {
            bool numbered = node->id > 0;
            char name[32] = "";
            if (numbered) {
                (void)snprintf(name, sizeof(name), "node %" PRId64 ": ", node->id);
            }
            code = cli_error(&cli_status, EXIT_DEGRADED, "%s%s", name, node->problem);
        }
    }
    return code;
}

/* Names the first shard without a leader, and says how many more there are. */
static int judge_shards(const struct view *view)
{
    uint32_t without = 0;
    uint32_t first = 0;
    struct view_shard shard;
    if (view->cluster == NULL) {
        return cli_error(&cli_status, EXIT_DOWN,
                         "the cluster is not founded yet: it waits until all its nodes have come up");
    }
    for (uint32_t number = view->shard_count; number > 0; number--) {
        view_shard(view, number, &shard);
        if (shard.led == NULL) {
            without++;
            first = number;
        }
    }
    if (without == 1) {
        return cli_error(&cli_status, EXIT_DOWN, "shard %" PRIu32 " has no leader: nobody serves its keys", first);
    }
    if (without > 1) {
        return cli_error(&cli_status, EXIT_DOWN,
                         "shard %" PRIu32 " and %" PRIu32 " more have no leader: nobody serves their keys", first,
                         without - 1);
    }
    if (view->has_meta) {
        view_shard(view, 0, &shard);
        if (shard.led == NULL) {
            return cli_error(&cli_status, EXIT_DEGRADED, "the meta group has no leader: nodes cannot come or go");
        }
    }
    return EXIT_WELL;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    bool json = false;
    int64_t timeout_ms = 0;
    const struct cli_option options[] = {
        {"json", CLI_FLAG, &json, NULL, "print JSON; null stands for what is not known"},
        {"timeout", CLI_DURATION, &timeout_ms, "DURATION", "to wait for each node (default 5s)", 1, 0},
        {0},
    };
    struct cli_arguments arguments;
    struct client_url url;
    int code = cli_parse(command, options, argc, argv, &arguments);
    if (code == CLI_CONTINUE) {
        code = node_parse_url(command, arguments.count > 0 ? arguments.items[0] : CLIENT_URL_DEFAULT, &url);
    }
    if (code != CLI_CONTINUE) {
        return code;
    }
    struct view *view = memory_allocate(sizeof(*view));
    bool answered = view_ask(&url, timeout_ms > 0 ? timeout_ms : url.timeout_ms, view);
    if (json) {
        print_json(view);
    } else if (answered) {
        status_table_print(view);
    }
    (void)fflush(stdout);
    code = judge_nodes(view);
    code = answered ? worse(judge_shards(view), code) : EXIT_DOWN;
    view_close(view);
    free(view);
    return code;
}

const struct cli_command cli_status = {
    .name = "status",
    .arguments = "[URL]",
    .arguments_maximum = 1,
    .summary = "show nodes, shards, leaders and lag",
    .details = "Asks a node of the URL (default " CLIENT_URL_DEFAULT ") for the nodes of its\n"
               "cluster, and then each of them. A row of the second table is a shard: who leads it,\n"
               "who follows, and how many entries behind; ? stands for a node that does not answer,\n"
               "- for one that does not keep the shard.\n"
               "\n"
               "Exit status: 0 all is well, 75 a node does not answer but every shard has a leader,\n"
               "69 a shard has no leader or nobody answers, 64 wrong usage.",
    .examples = "  cohort status\n"
                "  cohort status cohort://10.0.0.1:6379,10.0.0.2:6379\n"
                "  cohort status --json --timeout 500ms 127.0.0.1:6380",
    .run = run,
};

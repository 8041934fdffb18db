/* Watchers: what they are told, gathered for the account (node_services.h, 2). */
#include "node_services_internal.h"

#include <string.h>

static bool is(const struct agent_token *token, const char *text) { return strcmp(token->text, text) == 0; }

static void note(struct agent *agent, int64_t before, int64_t revision)
{
    struct watched watched = {agent->shard, before, revision, view_hash(&agent->view)};
    buffer_append(&agent->services->watched, &watched, sizeof(watched));
    agent->revision = revision;
    node_reach(agent->services->world, NODE_MARK_WATCHED, 1);
}

/* [[id, state, address, weight, zone, [meta …]] …]: `at` is the array. */
static void take_list(struct agent *agent, size_t at, int64_t revision)
{
    int64_t count = agent->tokens[at].integer;
    agent->view.count = 0;
    at++;
    for (int64_t i = 0; i < count && at + 6 < agent->token_count; i++, at += 7) {
        const struct agent_token *tokens = &agent->tokens[at];
        view_apply(&agent->view, "registered", tokens[1].text, tokens[4].integer);
        if (is(&tokens[2], "draining")) {
            view_apply(&agent->view, "draining", tokens[1].text, tokens[4].integer);
        }
    }
    note(agent, -1, revision);
}

/* push, "service", name, array, revision, what, id, address, weight, … */
void watcher_told(struct agent *agent)
{
    const struct agent_token *tokens = agent->tokens;
    if (tokens[0].type == RESP_STATUS && is(&tokens[0], "OK")) {
        return;
    }
    if (agent->token_count < 6 || !is(&tokens[1], "service") || tokens[4].type != RESP_INTEGER) {
        node_fail(agent->services->world, "watcher %d is told: %s", agent->number, tokens[0].text);
        return;
    }
    int64_t revision = tokens[4].integer;
    agent->asked_ns = agent_now(agent);
    if (is(&tokens[5], "alive")) {
        if (revision != agent->revision) {
            node_fail(agent->services->world, "watcher %d is alive at another revision than it was told",
                      agent->number);
        }
    } else if (is(&tokens[5], "list")) {
        take_list(agent, 6, revision);
    } else if (agent->revision < 0 || revision <= agent->revision) {
        node_fail(agent->services->world, "watcher %d is told a change without a list, or backwards", agent->number);
    } else {
        view_apply(&agent->view, tokens[5].text, tokens[6].text, agent->token_count > 8 ? tokens[8].integer : 0);
        note(agent, agent->revision, revision);
    }
}

void watcher_turn(struct agent *agent)
{
    struct node_services *services = agent->services;
    agent_rest(agent, 100 + (int64_t)agent_draw(agent, services->finishing ? 300 : 2500));
    bool silent = agent_now(agent) - agent->asked_ns > (services->finishing ? 2000 : AGENT_PATIENCE_MS) * MS;
    if (agent->stream != NULL && agent_draw(agent, 3) != 0 && !silent) {
        return;
    }
    agent_disconnect(agent);
    if (!services->finishing && agent_draw(agent, 6) == 0) {
        agent->shard = 1 + (int)agent_draw(agent, (uint64_t)service_shards(services));
        agent->revision = -1;
        agent->view.count = 0;
    }
    if (!agent_connect(agent)) {
        return;
    }
    agent->asked_ns = agent_now(agent);
    if (agent->revision >= 0 && agent_draw(agent, 4) != 0) {
        agent_say(agent, "SERVICE.WATCH {%s}S FROM %lld", agent_tag(agent, agent->shard), (long long)agent->revision);
    } else {
        agent->revision = -1;
        agent_say(agent, "SERVICE.WATCH {%s}S", agent_tag(agent, agent->shard));
    }
}

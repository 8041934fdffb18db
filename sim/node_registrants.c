/* Registrants: what each may believe of its endpoint, and what it must be told (node_services.h, 1). */
#include "node_services_internal.h"

#include <stdio.h>
#include <string.h>

enum { TTL_MINIMUM_MS = 150, TTL_DRAWN_MS = 2500 };

/* Clocks are off by a hundredth at most. */
static int64_t believed_ns(int64_t asked_ns, int64_t ttl_ms) { return asked_ns + (ttl_ms * 97 / 100 - 10) * MS; }

static bool believes(const struct agent *agent, int64_t at_ns)
{
    return agent->registered && !agent->removes && agent->until_ns > at_ns;
}

/* ---- asking ---- */

static void ask(struct agent *agent, enum agent_ask what)
{
    agent->asked = what;
    agent->asked_ns = agent_now(agent);
}

static void say_registration(struct agent *agent, int weight)
{
    char lease[80];
    if (agent->with_session) {
        (void)snprintf(lease, sizeof(lease), "SESSION %s", agent->session);
    } else {
        (void)snprintf(lease, sizeof(lease), "PX %d", (int)agent->ttl_ms);
    }
    agent_say(agent, "SERVICE.REGISTER {%s}S e%d.%d 10.0.0.1:%d %s WEIGHT %d", agent_tag(agent, agent->shard),
              agent->number, agent->serial, 1000 + agent->serial, lease, weight);
    ask(agent, ASK_REGISTER);
}

static void begin(struct agent *agent)
{
    if (agent->serial + 1 >= AGENT_SERIALS) {
        return;
    }
    agent->serial++;
    agent->shard = 1 + (int)agent_draw(agent, (uint64_t)service_shards(agent->services));
    agent->ttl_ms = TTL_MINIMUM_MS + (int64_t)agent_draw(agent, TTL_DRAWN_MS);
    agent->with_session = agent_draw(agent, 4) == 0;
    agent->registered = false;
    agent->removes = false;
    agent->drained = false;
    agent->unsure = false;
    agent->until_ns = 0;
    agent->session[0] = '\0';
    if (agent->with_session) {
        agent_say(agent, "SESSION.OPEN PX %d", (int)agent->ttl_ms);
        ask(agent, ASK_OPEN);
    } else {
        say_registration(agent, 1);
    }
}

static void list(struct agent *agent)
{
    agent_say(agent, "SERVICE.LIST {%s}S", agent_tag(agent, agent->shard));
    ask(agent, ASK_LIST);
}

static void ask_about_endpoint(struct agent *agent)
{
    const char *tag = agent_tag(agent, agent->shard);
    switch (agent_draw(agent, 10)) {
    case 0:
        agent_say(agent, "SERVICE.DRAIN {%s}S e%d.%d", tag, agent->number, agent->serial);
        ask(agent, ASK_DRAIN);
        break;
    case 1:
        agent->removes = true;
        agent_say(agent, "SERVICE.REMOVE {%s}S e%d.%d", tag, agent->number, agent->serial);
        ask(agent, ASK_REMOVE);
        break;
    case 2: begin(agent); break; /* it is forgotten */
    case 3:
    case 4: say_registration(agent, 1 + (int)agent_draw(agent, 3)); break;
    case 5:
    case 6: list(agent); break;
    default:
        if (agent->with_session) {
            list(agent);
            break;
        }
        agent_say(agent, "SERVICE.RENEW {%s}S e%d.%d PX %d", tag, agent->number, agent->serial, (int)agent->ttl_ms);
        ask(agent, ASK_RENEW);
        break;
    }
}

void registrant_turn(struct agent *agent)
{
    struct node_services *services = agent->services;
    agent_rest(agent, 10 + (int64_t)agent_draw(agent, 400));
    if (agent->asked != ASK_NOTHING) {
        int64_t patience_ms = services->finishing ? 1500 : AGENT_PATIENCE_MS;
        if (agent_now(agent) - agent->asked_ns < patience_ms * MS) {
            return;
        }
        agent_disconnect(agent);
    }
    if ((agent->stream == NULL || agent_draw(agent, 30) == 0) && !agent_connect(agent)) {
        return;
    }
    if (services->finishing) {
        agent->shard = agent->shard % service_shards(services) + 1;
        list(agent);
    } else if (services->world->clients_stopped) {
        return;
    } else if (agent->serial == 0 || agent->removes || (agent->registered && agent->until_ns < agent_now(agent))) {
        begin(agent);
    } else if (agent->with_session && agent->session[0] == '\0') {
        begin(agent);
    } else {
        ask_about_endpoint(agent);
    }
}

/* ---- answers ---- */

/* Unless a registration whose outcome nobody knows may come yet. */
static void note_gone(struct agent *agent)
{
    if (agent->gone_ns[agent->serial] == 0 && !agent->unsure) {
        agent->gone_ns[agent->serial] = agent_now(agent);
    }
}

static void gone(struct agent *agent, const char *how)
{
    if (believes(agent, agent_now(agent))) {
        node_fail(agent->services->world, "registrant %d: its endpoint %d %s, %d ms before its time", agent->number,
                  agent->serial, how, (int)((agent->until_ns - agent_now(agent)) / MS));
    }
    note_gone(agent);
    agent->until_ns = 0;
    agent->removes = true;
}

static void answered_error(struct agent *agent)
{
    static const char *const may_be[] = {"CLUSTERDOWN ", "UNCERTAIN ", "BUSY ", "MISCONF ", "OOM ", "LOADING "};
    const char *text = agent->tokens[0].text;
    bool known = false;
    if (strncmp(text, "NOENDPOINT ", 11) == 0 && agent->asked == ASK_RENEW) {
        gone(agent, "is not there");
        return;
    }
    if (strncmp(text, "NOSESSION ", 10) == 0 && agent->with_session) {
        gone(agent, "has no session");
        agent->gone_ns[agent->serial] = 0; /* it stays until the shard hears of that */
        return;
    }
    agent->unsure = agent->unsure || (agent->asked == ASK_REGISTER && strncmp(text, "UNCERTAIN ", 10) == 0);
    for (size_t i = 0; i < sizeof(may_be) / sizeof(may_be[0]); i++) {
        known = known || strncmp(text, may_be[i], strlen(may_be[i])) == 0;
    }
    if (!known) {
        node_fail(agent->services->world, "registrant %d: %s", agent->number, text);
    }
}

/* A session is not kept alive: it was opened when the endpoint began. What may have ended before it was registered
 * again may be a new one, which does not drain. */
static void answered_register(struct agent *agent)
{
    bool is_same = agent->registered && agent->until_ns > agent_now(agent);
    agent->drained = agent->drained && is_same;
    int64_t since_ns = agent->with_session ? 0 : agent->asked_ns;
    if (agent->with_session && agent->tokens[2].type == RESP_INTEGER) { /* what remains of it, from when it was asked */
        int64_t until_ns = believed_ns(agent->asked_ns, agent->tokens[2].integer);
        agent->until_ns = until_ns > agent->until_ns ? until_ns : agent->until_ns;
    }
    if (since_ns != 0) {
        agent->until_ns = believed_ns(since_ns, agent->ttl_ms);
    }
    agent->registered_ns = is_same ? agent->registered_ns : agent_now(agent);
    agent->registered = true;
    node_reach(agent->services->world, NODE_MARK_ENDPOINT, 1);
}

/* id, address, state, … by pairs; the token behind this name, from `at` on. */
static const struct agent_token *field(const struct agent *agent, size_t at, const char *name)
{
    for (; at + 1 < agent->token_count; at++) {
        if (agent->tokens[at].type == RESP_BULK && strcmp(agent->tokens[at].text, name) == 0) {
            return &agent->tokens[at + 1];
        }
    }
    return NULL;
}

static size_t find_listed(const struct agent *agent, const char *id)
{
    for (size_t i = 0; i + 1 < agent->token_count; i++) {
        if (strcmp(agent->tokens[i].text, "id") == 0 && strcmp(agent->tokens[i + 1].text, id) == 0) {
            return i + 1;
        }
    }
    return 0;
}

/* Of another one, whose endpoint was as it is known to be from before this was asked until now. */
static void check_listed(struct agent *agent, const struct agent *other)
{
    char id[AGENT_TEXT_BYTES];
    (void)snprintf(id, sizeof(id), "e%d.%d", other->number, other->serial);
    size_t at = find_listed(agent, id);
    const struct agent_token *state = at == 0 ? NULL : field(agent, at, "state");
    if (other->shard != agent->shard || !believes(other, agent_now(agent)) || other->registered_ns >= agent->asked_ns) {
        return;
    }
    if (at == 0) {
        node_fail(agent->services->world, "registrant %d: endpoint %s is not listed, %d ms before its lease ends",
                  agent->number, id, (int)((other->until_ns - agent_now(agent)) / MS));
    } else if (other->drained && other->drained_ns < agent->asked_ns && strcmp(state->text, "draining") != 0) {
        node_fail(agent->services->world, "registrant %d: endpoint %s drains, and is listed as %s", agent->number, id,
                  state->text);
    }
}

static void check_gone(struct agent *agent, const char *id)
{
    int number;
    int serial;
    if (sscanf(id, "e%d.%d", &number, &serial) != 2 || number >= REGISTRANTS || serial >= AGENT_SERIALS) {
        node_fail(agent->services->world, "registrant %d: nobody has registered %s", agent->number, id);
        return;
    }
    int64_t gone_ns = agent->services->agents[number].gone_ns[serial];
    if (gone_ns != 0 && gone_ns < agent->asked_ns) {
        node_fail(agent->services->world, "registrant %d: endpoint %s is listed, %d ms after it was gone",
                  agent->number, id, (int)((agent->asked_ns - gone_ns) / MS));
    }
}

static void answered_list(struct agent *agent)
{
    if (agent->tokens[0].type != RESP_ARRAY) {
        node_fail(agent->services->world, "registrant %d: a list that is none", agent->number);
        return;
    }
    agent->emptied = agent->tokens[0].integer == 0;
    for (size_t i = 0; i + 1 < agent->token_count; i++) {
        if (strcmp(agent->tokens[i].text, "id") == 0) {
            check_gone(agent, agent->tokens[i + 1].text);
        }
    }
    for (int i = 0; i < REGISTRANTS && agent->token_count < AGENT_TOKENS; i++) {
        check_listed(agent, &agent->services->agents[i]);
    }
}

void registrant_answered(struct agent *agent)
{
    enum agent_ask asked = agent->asked;
    if (agent->tokens[0].type == RESP_ERROR) {
        answered_error(agent);
        agent->asked = ASK_NOTHING;
        return;
    }
    switch (asked) {
    case ASK_NOTHING: node_fail(agent->services->world, "registrant %d: nothing was asked", agent->number); break;
    case ASK_OPEN:
        (void)snprintf(agent->session, sizeof(agent->session), "%s", agent->tokens[0].text);
        agent->until_ns = believed_ns(agent->asked_ns, agent->ttl_ms);
        break;
    case ASK_REGISTER: answered_register(agent); break;
    case ASK_RENEW: agent->until_ns = believed_ns(agent->asked_ns, agent->ttl_ms); break;
    case ASK_DRAIN:
        agent->drained_ns = agent->drained ? agent->drained_ns : agent_now(agent);
        agent->drained = agent->drained || agent->tokens[0].integer == 1;
        if (agent->tokens[0].integer == 0) {
            gone(agent, "is not there to be drained");
        }
        node_reach(agent->services->world, NODE_MARK_DRAINED, agent->drained);
        break;
    case ASK_REMOVE:
        note_gone(agent);
        agent->until_ns = 0;
        break;
    case ASK_LIST: answered_list(agent); break;
    }
    agent->asked = ASK_NOTHING;
}

/* What was asked for may be done at any time. */
void registrant_lost(struct agent *agent)
{
    agent->unsure = agent->unsure || agent->asked == ASK_REGISTER;
    if (agent->asked == ASK_REGISTER && !agent->registered) {
        agent->removes = true; /* another one is begun */
    }
    agent->asked = ASK_NOTHING;
}

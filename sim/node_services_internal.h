/* What node_services.c, node_registrants.c and node_watchers.c share. */
#pragma once

#include "base/prng.h"
#include "machine/service/service.h"
#include "node_services.h"

#include <stdlib.h>

enum {
    AGENTS = NODE_AGENTS,
    REGISTRANTS = 3,
    WATCHERS = AGENTS - REGISTRANTS,
    SERVICE_SHARDS = 2, /* those that have a service */
    AGENT_SERIALS = 512,
    AGENT_TOKENS = 1024, /* of a reply */
    AGENT_TEXT_BYTES = 40,
    AGENT_PATIENCE_MS = 12000,
    VIEW_ENDPOINTS = 256,
};

/* Which endpoints there are, by whoever has gone through the changes. */
struct service_view {
    struct view_endpoint {
        char id[AGENT_TEXT_BYTES];
        int64_t weight;
        bool draining;
    } endpoints[VIEW_ENDPOINTS];
    int count;
};

struct agent_token {
    enum resp_type type;
    int64_t integer; /* also how many follow */
    char text[AGENT_TEXT_BYTES];
};

/* What a watcher has by the change, or list, of this revision. */
struct watched {
    int shard;
    int64_t before, revision; /* before −1: it was a list */
    uint64_t view;
};

/* One connection, and what is read from it, value by value. */
struct agent {
    struct node_services *services;
    int number;
    struct env *env;
    struct env_timer timer;
    struct env_stream *stream; /* NULL: not connected */
    struct resp_reader reader;
    struct buffer in, out;
    struct agent_token tokens[AGENT_TOKENS];
    size_t token_count;
    int shard;
    /* of a registrant */
    enum agent_ask {
        ASK_NOTHING,
        ASK_OPEN,
        ASK_REGISTER,
        ASK_RENEW,
        ASK_DRAIN,
        ASK_REMOVE,
        ASK_LIST,
    } asked;
    int64_t asked_ns;
    int serial; /* of its endpoint, from 1 */
    char session[48];
    bool with_session, registered, removes, drained;
    bool unsure; /* some registration of it has no outcome: it may be executed later */
    int64_t registered_ns, drained_ns, ttl_ms;
    int64_t until_ns;               /* it may believe to hold it so long; 0: it may not */
    int64_t gone_ns[AGENT_SERIALS]; /* since when it is known to be gone; 0: it is not */
    bool emptied;                   /* the last list of its shard had nobody */
    /* of a watcher */
    int64_t revision; /* −1: none */
    struct service_view view;
};

struct node_services {
    struct node_world *world;
    struct prng prng;
    struct agent agents[AGENTS];
    struct service_account {
        int64_t last;
        struct service_view view;
        struct buffer entries; /* of struct watched */
    } accounts[SERVICE_SHARDS + 1];
    struct buffer watched; /* of struct watched */
    bool finishing, stopped;
};

/* ---- node_services.c ---- */
uint64_t agent_draw(struct agent *agent, uint64_t bound);
int64_t agent_now(const struct agent *agent);
void agent_rest(struct agent *agent, int64_t ms);
/* To a node that is drawn. False: it is not there. */
bool agent_connect(struct agent *agent);
void agent_disconnect(struct agent *agent);
__attribute__((format(printf, 2, 3))) void agent_say(struct agent *agent, const char *format, ...);
const char *agent_tag(const struct agent *agent, int shard);
int service_shards(const struct node_services *services);
uint64_t view_hash(const struct service_view *view);
void view_apply(struct service_view *view, const char *event, const char *id, int64_t weight);

/* ---- node_registrants.c and node_watchers.c: one whole reply, or nothing to do ---- */
void registrant_turn(struct agent *agent);
void registrant_answered(struct agent *agent);
void registrant_lost(struct agent *agent);
void watcher_turn(struct agent *agent);
void watcher_told(struct agent *agent);

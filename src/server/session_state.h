/* What the files of session_*.c share. */
#pragma once

#include "base/list.h"
#include "cluster/requester.h"
#include "env/env.h"
#include "machine/session/session_id.h"
#include "server/session_client.h"

struct connection;
struct server;

/* Heartbeats for sessions of one shard that have not left yet. */
struct session_beats {
    struct session_beat {
        struct connection *connection; /* it is owed an answer: it stays */
        uint64_t slot, number;
    } * items;
    uint32_t count, capacity;
    int64_t sent_ns; /* the last ones */
};

enum { SESSION_TEXT_BYTES = 256 };

struct session_known {
    uint64_t number;
    uint32_t session_shard, shard;
};

struct session_clients {
    struct session_beats *beats; /* by shard − 1 */
    size_t waiting, under_way;   /* heartbeats; commands of them */
    struct env_timer timer;      /* the next are to leave */
    struct server *server;
    struct list tyings;            /* struct session_tying */
    struct session_known *known;   /* ties, each at the place of its hash; NULL: none yet */
    char text[SESSION_TEXT_BYTES]; /* what session_client_ready said last */
    uint32_t next_shard;           /* that a session is opened in; from 0 */
};

/* An id that can be one of this cluster. */
bool session_of(const struct server *server, struct slice text, struct session_id *ret_id);

/* ---- session_beats.c ---- */
void session_beats_init(struct server *server);
void session_beats_destroy(struct server *server);
void session_beat_add(struct connection *connection, const struct command_spec *spec, struct session_id id);
bool session_beats_idle(const struct server *server);

/* ---- session_tying.c ---- */
void session_tyings_destroy(struct server *server);

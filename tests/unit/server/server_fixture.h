/* A server and its clients on simulated machines. Requests are inline commands, one a line. */
#pragma once

#include "server/server.h"
#include "shard/shard.h"
#include "sim_net.h"

#define MS 1000000LL
#define SECOND 1000000000LL

enum { FIXTURE_CLIENTS = 32 };

struct fixture_client {
    struct fixture *fixture;
    struct env_stream *stream; /* NULL: closed, by whom ever */
    struct buffer in, out;
    bool deaf;  /* reads nothing */
    bool ended; /* the server closed it */
};

struct fixture {
    struct sim *sim;
    struct env *env;    /* of the server's node */
    struct env *others; /* of the clients' */
    struct server *server;
    struct config config; /* for the next start */
    uint32_t shards;
    struct fixture_client clients[FIXTURE_CLIENTS];
    bool stopped;
    enum status stop_status;
};

/* Settings as "name value" pairs, NULL at the end; the server runs. */
struct fixture *fixture_create(uint64_t seed, const char *const *settings);
struct fixture *fixture_create_shards(uint64_t seed, uint32_t shards, const char *const *settings);
void fixture_destroy(struct fixture *fixture);
void fixture_set(struct fixture *fixture, const char *name, const char *value);
void fixture_start(struct fixture *fixture);
/* The process ends as after kill -9. */
void fixture_kill(struct fixture *fixture);
/* Each sync of the server's disk takes this long. */
void fixture_slow_disk(struct fixture *fixture, int64_t sync_ns);

struct fixture_client *fixture_connect(struct fixture *fixture, int number);
void fixture_disconnect(struct fixture_client *client);
void fixture_send(struct fixture_client *client, const char *text);
/* `count` times the same. */
void fixture_send_many(struct fixture_client *client, int count, const char *text);
/* Everything received so far, with '\n' for each line end; emptied by this. Valid until the next call. */
const char *fixture_received(struct fixture_client *client);
/* Runs until so many lines have come, at most a minute. */
void fixture_wait_lines(struct fixture_client *client, int wanted);
/* Sends, waits for as many lines as `expected` has, and compares. */
void fixture_expect(struct fixture_client *client, const char *text, const char *expected);

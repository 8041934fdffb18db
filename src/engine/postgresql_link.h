/* A connection to PostgreSQL whose every call ends by the engine's deadline, whatever server and network do: libpq's
 * asynchronous calls, and poll(2). (Only the look-up of a host's name is not bounded: give an address, or hostaddr=.)
 *
 * Queries go out together, as one pipeline, and are answered together. One that fails leaves no transaction open; when
 * no answer comes the connection is closed, so the server rolls back what it had not committed.
 *
 * Notices: whoever waits for a lock listens on its channel (LISTEN, sent on by NOTIFY when holders change). The
 * descriptor stays the same when the connection does not. Behind a pooler (its process id is not the server's own)
 * nothing can be listened to, and `listens` says so. */
#pragma once

#include "engine/postgresql_place.h"

enum {
    PG_PARAMETERS = 9,
    PG_QUERIES = 6,
    PG_CHANNELS = 64,
    PG_CHANNEL_BYTES = 48,
    PG_SERVER_BYTES = 64,
};

/* All parameters are texts but the first, when `first_bytes` is not negative. */
struct pg_query {
    const char *text;
    int count;
    const char *values[PG_PARAMETERS];
    bool first_is_binary;
    int first_bytes;
};

struct pg_channel {
    char name[PG_CHANNEL_BYTES]; /* "": none */
    int64_t used_ns;
};

struct pg_link {
    struct engine *engine; /* deadline and problem */
    const struct pg_place *place;
    PGconn *conn;         /* NULL: none */
    uint64_t connections; /* made so far */
    uint32_t server;      /* to begin with */
    bool listens;
    char identity[PG_SERVER_BYTES]; /* the system's, as initdb made it up */
    PGresult *results[PG_QUERIES];  /* of the last queries */
    char state[6];                  /* SQLSTATE of what failed last, or "" */
    int64_t not_before_ns;          /* of the next connection, after one that failed */
    int64_t pause_ns;
    enum engine_code failed; /* how that one did */
    char failed_words[ENGINE_PROBLEM_BYTES];
    int epoll_fd, event_fd;
    int watched_fd; /* the socket's, again: libpq closes its own by itself, and it must leave the set before; −1: none
                     */
    struct pg_channel channels[PG_CHANNELS];
};

/* False: no descriptors. */
MUST_USE bool pg_link_init(struct pg_link *link, struct engine *engine, const struct pg_place *place);
void pg_link_deinit(struct pg_link *link);

/* Connects, unless it is. Otherwise ENGINE_DOWN, ENGINE_BUSY or ENGINE_REFUSED. */
enum engine_code pg_link_ready(struct pg_link *link);
void pg_link_close(struct pg_link *link);
bool pg_link_watch(struct pg_link *link); /* a connection that is made; false: no descriptors */

/* ENGINE_OK: the results are there. With `commits` it is ENGINE_UNCERTAIN when there is no answer. */
enum engine_code pg_link_ask(struct pg_link *link, const struct pg_query *queries, size_t count, bool commits);

/* A transaction that changed nothing. */
void pg_link_roll_back(struct pg_link *link);

/* Without notices it only remembers that the channel is of use. True: it is listened to from now on, and was not
 * before, so that something may have been missed. */
bool pg_link_listen(struct pg_link *link, const char *channel);
bool pg_link_is_listening(struct pg_link *link, const char *channel); /* and goes on to */

int pg_link_fd(const struct pg_link *link);
void pg_link_heard(struct pg_link *link);

/* Of `events` those that came to the socket; 0: the time is over. */
short pg_link_wait(PGconn *conn, short events, int64_t until_ns);

/* ---- values of a result, in binary ---- */

bool pg_number(const PGresult *result, int row, int column, int64_t *ret_number); /* false: NULL, or none */
bool pg_bytes(const PGresult *result, int row, int column, struct slice *ret_bytes);

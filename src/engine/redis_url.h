/* Where the servers of redis:// and redlock:// are, and how to log in there.
 *
 *      redis://[[user]:password@]host[:port][/db]      redlock://[[user]:password@]host[:port],host[:port],…[/db]
 *
 * Options: user=, password=, password-file= (its first line), db=. An IPv6 address stands in brackets. What is said of
 * the password holds for all servers. */
#pragma once

#include "engine/engine.h"

enum {
    REDIS_SERVERS = 31,
    REDIS_HOST_BYTES = 256,
    REDIS_PORT_BYTES = 6,
    REDIS_TEXT_BYTES = 512, /* a user's name, a password */
};

struct redis_place {
    char host[REDIS_HOST_BYTES];
    char port[REDIS_PORT_BYTES];
};

struct redis_login {
    char user[REDIS_TEXT_BYTES];     /* "": the default one */
    char password[REDIS_TEXT_BYTES]; /* "": none */
    int db;
};

struct redis_url {
    struct redis_login login;
    size_t count;
    struct redis_place places[REDIS_SERVERS];
};

/* STATUS_INVALID with words, which never have the password in them. */
MUST_USE enum status redis_url_take(const struct engine_url *url, struct redis_url *ret_url,
                                    char ret_problem[static ENGINE_PROBLEM_BYTES]);

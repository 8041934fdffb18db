/* A connection to one Redis server, of which no call blocks: what is asked is put behind what was asked before, and the
 * replies come in that order. hiredis writes the requests and reads the replies; the sockets are this file's, since
 * they are closed on exec, are looked at together (redis_ask.h), and have addresses that are resolved beside it.
 *
 *      away ──put──▶ resolving ──▶ connecting ──▶ open ──▶ away, with words in `problem`
 *
 * Invariants
 * 1. `asked` requests were put and not taken back, `answered` of them have replies. Serials count from 1.
 * 2. What was put first on a connection is its greeting (AUTH, SELECT, SCRIPT LOAD), whose replies stay in here.
 * Nothing else is sent before they are: a request whose password was refused would be executed as somebody else's.
 * 3. A request of which the server has not all bytes is not executed, so that redis_link_sent says whether one may have
 *    been. One that was not sent can be taken back while it is the last. */
#pragma once

#include "base/buffer.h"
#include "engine/redis_resolve.h"

#include <hiredis/hiredis.h>

enum { REDIS_SCRIPTS = 8, REDIS_SHA_BYTES = 41, REDIS_LINK_PROBLEM_BYTES = 300 };

enum redis_phase { REDIS_AWAY, REDIS_RESOLVING, REDIS_CONNECTING, REDIS_OPEN };

/* A table that ends with NULL. */
typedef const char *const redis_scripts[];

struct redis_words {
    int count;
    const char **words;
    const size_t *sizes;
};

struct redis_link {
    const struct redis_place *place;
    const struct redis_login *login;
    const char *const *scripts; /* NULL: none are loaded */
    enum redis_phase phase;
    int fd;
    int epoll_fd; /* −1; or what looks at the descriptor, which a forked child may keep open */

    struct redis_resolving *resolving;
    struct addrinfo *addresses, *next_address;
    redisReader *reader;
    struct buffer out;
    uint64_t put_bytes, sent_bytes; /* on this connection; what is not sent is in `out` */

    uint32_t greetings_put, greetings_taken;
    uint64_t greeting_bytes; /* of put_bytes */
    uint64_t asked, answered;
    uint64_t last_bytes;  /* where the last request begins, of put_bytes */
    int64_t since_ns;     /* in this phase, or owes an answer */
    int64_t not_until_ns; /* a new connection */
    int64_t pause_ns;

    enum engine_code code; /* what `problem` means */
    char problem[REDIS_LINK_PROBLEM_BYTES];
    char shas[REDIS_SCRIPTS][REDIS_SHA_BYTES]; /* "": not loaded */
};

void redis_link_init(struct redis_link *link, const struct redis_place *place, const struct redis_login *login,
                     const char *const *scripts);
void redis_link_deinit(struct redis_link *link);

/* Begins to connect when it is away and not just refused. Looks whether the peer has gone, and gives up one that does
 * not answer. */
void redis_link_wake(struct redis_link *link, int64_t now_ns);

/* Whether a reply is still to come. */
bool redis_link_owes(const struct redis_link *link);

/* Puts a request; its serial, or 0 when it is away or memory was refused. */
uint64_t redis_link_put(struct redis_link *link, const struct redis_words *words, int64_t now_ns);

/* Whether the server may have the last request, or an earlier one that is `behind_bytes` = link->put_bytes was then. */
bool redis_link_sent(const struct redis_link *link, uint64_t behind_bytes);

/* Takes back the last request, of which nothing was sent, or closes the connection if a part was. */
void redis_link_take_back(struct redis_link *link);

/* What poll is to look for; 0 while an address is being resolved. */
short redis_link_events(const struct redis_link *link);

/* Goes on as far as it can. */
void redis_link_step(struct redis_link *link, int64_t now_ns);

/* The next reply, which is the caller's; NULL: none has come. Its serial is link->answered. */
redisReply *redis_link_reply(struct redis_link *link, int64_t now_ns);

/* Closes it; the words are for people. The next connection is after a pause. */
__attribute__((format(printf, 3, 4))) void redis_link_fail(struct redis_link *link, enum engine_code code,
                                                           const char *format, ...);

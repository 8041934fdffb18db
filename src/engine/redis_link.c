#include "engine/redis_link.h"

#include "engine/redis_error.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_MS INT64_C(1000000)
#define SILENCE_NS (2000 * NS_PER_MS) /* so long a peer may say nothing while it owes something */
#define PAUSE_LEAST_NS (20 * NS_PER_MS)
#define PAUSE_MOST_NS (1000 * NS_PER_MS)

enum { READ_BYTES = 16 * 1024, OUT_BYTES = 256 * 1024, REPLY_BYTES = 32 * 1024 * 1024 };

void redis_link_init(struct redis_link *link, const struct redis_place *place, const struct redis_login *login,
                     const char *const *scripts)
{
    *link = (struct redis_link){
        .place = place, .login = login, .scripts = scripts, .fd = -1, .epoll_fd = -1, .code = ENGINE_DOWN};
}

/* ---- its end ---- */

static void close_socket(struct redis_link *link)
{
    if (link->fd >= 0 && link->epoll_fd >= 0) {
        (void)epoll_ctl(link->epoll_fd, EPOLL_CTL_DEL, link->fd, NULL);
    }
    if (link->fd >= 0) {
        (void)close(link->fd);
    }
    link->fd = -1;
}

static void close_all(struct redis_link *link)
{
    redis_resolve_stop(&link->resolving);
    if (link->addresses != NULL) {
        freeaddrinfo(link->addresses);
    }
    if (link->reader != NULL) {
        redisReaderFree(link->reader);
    }
    close_socket(link);
    buffer_clear(&link->out);
    link->addresses = link->next_address = NULL;
    link->reader = NULL;
    link->phase = REDIS_AWAY;
    link->answered = link->asked;
}

void redis_link_deinit(struct redis_link *link)
{
    close_all(link);
    buffer_deinit(&link->out);
}

void redis_link_fail(struct redis_link *link, enum engine_code code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(link->problem, sizeof(link->problem), format, arguments);
    va_end(arguments);
    link->code = code;
    close_all(link);
    link->pause_ns = link->pause_ns == 0 ? PAUSE_LEAST_NS : 2 * link->pause_ns;
    link->pause_ns = link->pause_ns > PAUSE_MOST_NS ? PAUSE_MOST_NS : link->pause_ns;
    link->not_until_ns = engine_clock_ns() + link->pause_ns;
}

/* ---- requests ---- */

static bool append(struct redis_link *link, const struct redis_words *words)
{
    char *text = NULL;
    int size = redisFormatCommandArgv(&text, words->count, words->words, words->sizes);
    if (size < 0) {
        return false;
    }
    bool fits = link->out.size + (size_t)size <= OUT_BYTES + 4 * ENGINE_PLACE_BYTES &&
                buffer_try_reserve(&link->out, (size_t)size);
    if (fits) {
        buffer_append(&link->out, text, (size_t)size);
        link->last_bytes = link->put_bytes;
        link->put_bytes += (uint64_t)size;
    }
    redisFreeCommand(text);
    return fits;
}

static bool greet(struct redis_link *link, int count, const char **words)
{
    size_t sizes[3];
    for (int i = 0; i < count; i++) {
        sizes[i] = strlen(words[i]);
    }
    struct redis_words all = {count, words, sizes};
    link->greetings_put++;
    return append(link, &all);
}

static bool put_greeting(struct redis_link *link)
{
    const struct redis_login *login = link->login;
    char db[16];
    (void)snprintf(db, sizeof(db), "%d", login->db);
    bool fits = true;
    if (login->password[0] != '\0' && login->user[0] != '\0') {
        fits = greet(link, 3, (const char *[]){"AUTH", login->user, login->password});
    } else if (login->password[0] != '\0') {
        fits = greet(link, 2, (const char *[]){"AUTH", login->password});
    }
    if (login->db != 0) {
        fits = fits && greet(link, 2, (const char *[]){"SELECT", db});
    }
    for (size_t i = 0; fits && link->scripts != NULL && link->scripts[i] != NULL; i++) {
        fits = greet(link, 3, (const char *[]){"SCRIPT", "LOAD", link->scripts[i]});
    }
    return fits;
}

uint64_t redis_link_put(struct redis_link *link, const struct redis_words *words, int64_t now_ns)
{
    if (link->phase == REDIS_AWAY || !append(link, words)) {
        return 0;
    }
    if (link->answered == link->asked && link->phase == REDIS_OPEN) {
        link->since_ns = now_ns;
    }
    return ++link->asked;
}

bool redis_link_sent(const struct redis_link *link, uint64_t behind_bytes) { return link->sent_bytes >= behind_bytes; }

void redis_link_take_back(struct redis_link *link)
{
    if (link->sent_bytes > link->last_bytes) {
        redis_link_fail(link, ENGINE_DOWN, "%s:%s took only a part of a request", link->place->host, link->place->port);
    } else if (link->phase != REDIS_AWAY) {
        link->out.size -= link->put_bytes - link->last_bytes;
        link->put_bytes = link->last_bytes;
        link->asked--;
    }
}

/* ---- connecting ---- */

/* A peer whose machine went without a word is missed also by who only listens. */
static void set_options(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 10},
        {IPPROTO_TCP, TCP_KEEPINTVL, 5}, {IPPROTO_TCP, TCP_KEEPCNT, 3},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(options[i].value));
    }
}

static void connect_next(struct redis_link *link, int code)
{
    while (link->next_address != NULL) {
        const struct addrinfo *address = link->next_address;
        link->next_address = address->ai_next;
        int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, address->ai_protocol);
        if (fd >= 0) {
            set_options(fd);
            if (connect(fd, address->ai_addr, address->ai_addrlen) == 0 || errno == EINPROGRESS) {
                link->fd = fd;
                link->phase = REDIS_CONNECTING;
                return;
            }
        }
        code = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
    }
    redis_link_fail(link, ENGINE_DOWN, "no connection to %s:%s: %s; is the server there?", link->place->host,
                    link->place->port, strerror(code));
}

static void take_addresses(struct redis_link *link, int code, struct addrinfo *addresses)
{
    if (code != 0) {
        redis_link_fail(link, ENGINE_DOWN, "the name %s cannot be resolved: %s", link->place->host, gai_strerror(code));
        return;
    }
    link->addresses = link->next_address = addresses;
    connect_next(link, 0);
}

static void resolve(struct redis_link *link)
{
    struct addrinfo *addresses = NULL;
    int code = redis_resolve(link->place, &link->resolving, &addresses);
    if (code != EAI_INPROGRESS) {
        take_addresses(link, code, addresses);
    }
}

static void look_whether_resolved(struct redis_link *link)
{
    struct addrinfo *addresses = NULL;
    int code = redis_resolve_look(&link->resolving, &addresses);
    if (code != EAI_INPROGRESS) {
        take_addresses(link, code, addresses);
    }
}

static void begin(struct redis_link *link, int64_t now_ns)
{
    link->since_ns = now_ns;
    link->put_bytes = link->sent_bytes = link->last_bytes = 0;
    link->greetings_put = link->greetings_taken = 0;
    link->phase = REDIS_RESOLVING;
    link->reader = redisReaderCreate();
    if (link->reader == NULL || !put_greeting(link)) {
        redis_link_fail(link, ENGINE_BUSY, "memory was refused");
        return;
    }
    link->greeting_bytes = link->put_bytes;
    resolve(link);
}

bool redis_link_owes(const struct redis_link *link)
{
    return link->answered < link->asked || link->greetings_taken < link->greetings_put;
}

/* What nobody waits for any longer. */
static void drain(struct redis_link *link, int64_t now_ns)
{
    redis_link_step(link, now_ns);
    for (redisReply *reply; (reply = redis_link_reply(link, now_ns)) != NULL;) {
        freeReplyObject(reply);
    }
}

void redis_link_wake(struct redis_link *link, int64_t now_ns)
{
    bool idle = link->phase == REDIS_OPEN && !redis_link_owes(link);
    if (link->phase != REDIS_AWAY) {
        drain(link, now_ns);
    }
    if (link->phase == REDIS_AWAY && idle) { /* closed while nothing was asked */
        link->not_until_ns = 0;
    } else if (link->phase != REDIS_AWAY && (redis_link_owes(link) || link->phase != REDIS_OPEN) &&
               now_ns - link->since_ns > SILENCE_NS) {
        redis_link_fail(link, ENGINE_DOWN, "%s:%s does not answer", link->place->host, link->place->port);
    }
    if (link->phase == REDIS_AWAY && now_ns >= link->not_until_ns) {
        begin(link, now_ns);
    }
}

static void finish_connecting(struct redis_link *link, int64_t now_ns)
{
    struct pollfd ready = {.fd = link->fd, .events = POLLOUT};
    if (poll(&ready, 1, 0) <= 0) {
        return;
    }
    int code = 0;
    socklen_t size = sizeof(code);
    if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &code, &size) != 0 || code != 0) {
        close_socket(link);
        connect_next(link, code);
        return;
    }
    link->phase = REDIS_OPEN;
    link->since_ns = now_ns;
}

/* ---- bytes ---- */

static void lose(struct redis_link *link, const char *why)
{
    redis_link_fail(link, ENGINE_DOWN, "%s:%s: %s", link->place->host, link->place->port, why);
}

/* How much of `out` may be sent now. */
static size_t sendable(const struct redis_link *link)
{
    if (link->greetings_taken == link->greetings_put) {
        return link->out.size;
    }
    return link->sent_bytes < link->greeting_bytes ? (size_t)(link->greeting_bytes - link->sent_bytes) : 0;
}

static void flush(struct redis_link *link)
{
    size_t sent = 0;
    size_t end = sendable(link);
    while (sent < end) {
        ssize_t size = send(link->fd, link->out.data + sent, end - sent, MSG_NOSIGNAL);
        if (size >= 0) {
            sent += (size_t)size;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            link->sent_bytes += sent;
            lose(link, strerror(errno));
            return;
        }
    }
    link->sent_bytes += sent;
    buffer_consume(&link->out, sent);
}

static void receive(struct redis_link *link)
{
    char bytes[READ_BYTES];
    for (;;) {
        ssize_t size = recv(link->fd, bytes, sizeof(bytes), 0);
        if (size > 0) {
            if (redisReaderFeed(link->reader, bytes, (size_t)size) != REDIS_OK || link->reader->len > REPLY_BYTES) {
                lose(link, "its reply is too large, or memory was refused");
                return;
            }
        } else if (size == 0) {
            lose(link, "the server closed the connection");
            return;
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR) {
            lose(link, strerror(errno));
            return;
        }
    }
}

short redis_link_events(const struct redis_link *link)
{
    if (link->phase == REDIS_CONNECTING) {
        return POLLOUT;
    }
    return link->phase == REDIS_OPEN ? (short)(POLLIN | (sendable(link) > 0 ? POLLOUT : 0)) : 0;
}

void redis_link_step(struct redis_link *link, int64_t now_ns)
{
    if (link->phase == REDIS_RESOLVING && link->resolving != NULL) {
        look_whether_resolved(link);
    }
    if (link->phase == REDIS_CONNECTING) {
        finish_connecting(link, now_ns);
    }
    if (link->phase == REDIS_OPEN) {
        flush(link);
    }
    if (link->phase == REDIS_OPEN) {
        receive(link);
    }
}

/* ---- replies ---- */

/* A script that could not be loaded is sent as it is, and then the server says why it may not be. */
static void take_greeting(struct redis_link *link, const redisReply *reply)
{
    uint32_t scripts = 0;
    while (link->scripts != NULL && link->scripts[scripts] != NULL) {
        scripts++;
    }
    uint32_t number = link->greetings_taken++;
    uint32_t before = link->greetings_put - scripts;
    bool is_error = reply->type == REDIS_REPLY_ERROR;
    if (is_error && (number < before || strncmp(reply->str, "NOAUTH", 6) == 0)) {
        char words[REDIS_LINK_PROBLEM_BYTES];
        enum engine_code code = redis_error("redis", reply->str, words, sizeof(words));
        redis_link_fail(link, code, "%s", words);
    } else if (number >= before) {
        char *sha = link->shas[number - before];
        bool is_sha = reply->type == REDIS_REPLY_STRING && reply->len == REDIS_SHA_BYTES - 1;
        memcpy(sha, is_sha ? reply->str : "", is_sha ? REDIS_SHA_BYTES : 1);
    }
}

redisReply *redis_link_reply(struct redis_link *link, int64_t now_ns)
{
    while (link->phase == REDIS_OPEN) {
        void *found = NULL;
        if (redisReaderGetReply(link->reader, &found) != REDIS_OK) {
            lose(link, "what answers there is no Redis server");
            return NULL;
        }
        if (found == NULL) {
            return NULL;
        }
        link->since_ns = now_ns;
        link->pause_ns = 0;
        if (link->greetings_taken == link->greetings_put) {
            link->answered += link->answered < link->asked;
            return found;
        }
        take_greeting(link, found);
        freeReplyObject(found);
    }
    return NULL;
}

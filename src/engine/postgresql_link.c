#include "engine/postgresql_link.h"

#include "engine/engine.h"
#include "engine/postgresql_problem.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    NS_PER_MS = 1000000,
    UNUSED_MS = 10000,
    ROLL_BACK_MS = 200,
    WORDS_BYTES = 200,
};

/* ---- its life ---- */

static void forget_results(struct pg_link *link)
{
    for (size_t i = 0; i < PG_QUERIES; i++) {
        PQclear(link->results[i]);
        link->results[i] = NULL;
    }
}

bool pg_link_init(struct pg_link *link, struct engine *engine, const struct pg_place *place)
{
    *link = (struct pg_link){.engine = engine, .place = place, .watched_fd = -1};
    link->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    link->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN};
    return link->epoll_fd >= 0 && link->event_fd >= 0 &&
           epoll_ctl(link->epoll_fd, EPOLL_CTL_ADD, link->event_fd, &event) == 0;
}

bool pg_link_watch(struct pg_link *link)
{
    struct epoll_event event = {.events = EPOLLIN};
    link->watched_fd = fcntl(PQsocket(link->conn), F_DUPFD_CLOEXEC, 0);
    return link->watched_fd >= 0 && epoll_ctl(link->epoll_fd, EPOLL_CTL_ADD, link->watched_fd, &event) == 0;
}

void pg_link_close(struct pg_link *link)
{
    forget_results(link);
    if (link->watched_fd >= 0) { /* closing alone is not enough: a forked child may have it, too */
        (void)epoll_ctl(link->epoll_fd, EPOLL_CTL_DEL, link->watched_fd, NULL);
        (void)close(link->watched_fd);
        link->watched_fd = -1;
    }
    PQfinish(link->conn);
    link->conn = NULL;
    memset(link->channels, 0, sizeof(link->channels));
}

void pg_link_deinit(struct pg_link *link)
{
    pg_link_close(link);
    if (link->epoll_fd >= 0) {
        (void)close(link->epoll_fd);
    }
    if (link->event_fd >= 0) {
        (void)close(link->event_fd);
    }
}

/* ---- waiting for the socket ---- */

short pg_link_wait(PGconn *conn, short events, int64_t until_ns)
{
    for (;;) {
        int64_t left_ns = until_ns - engine_clock_ns();
        struct pollfd ready = {.fd = PQsocket(conn), .events = events};
        int count = poll(&ready, 1, left_ns <= 0 ? 0 : (int)(left_ns / NS_PER_MS) + 1);
        if (count > 0) {
            return (short)(ready.revents & events) != 0 ? ready.revents : events;
        }
        if (engine_clock_ns() >= until_ns) {
            return 0;
        }
    }
}

/* ---- one pipeline ---- */

enum end { END_DONE, END_FAILED, END_LOST, END_LATE };

static bool send_query(PGconn *conn, const struct pg_query *query)
{
    int lengths[PG_PARAMETERS] = {query->first_bytes};
    int formats[PG_PARAMETERS] = {query->first_is_binary};
    return PQsendQueryParams(conn, query->text, query->count, NULL, query->values, lengths, formats, 1) == 1;
}

static enum end flush(struct pg_link *link, int64_t until_ns)
{
    for (;;) {
        int left = PQflush(link->conn);
        if (left <= 0) {
            return left == 0 ? END_DONE : END_LOST;
        }
        short ready = pg_link_wait(link->conn, POLLIN | POLLOUT, until_ns);
        if (ready == 0) {
            return END_LATE;
        }
        if ((ready & ~POLLOUT) != 0 && PQconsumeInput(link->conn) == 0) {
            return END_LOST;
        }
    }
}

static enum end take_result(struct pg_link *link, int64_t until_ns, PGresult **ret_result)
{
    while (PQisBusy(link->conn)) {
        if (pg_link_wait(link->conn, POLLIN, until_ns) == 0) {
            return END_LATE;
        }
        if (PQconsumeInput(link->conn) == 0) {
            return END_LOST;
        }
    }
    *ret_result = PQgetResult(link->conn);
    return PQstatus(link->conn) == CONNECTION_OK ? END_DONE : END_LOST;
}

static void note_failure(struct pg_link *link, const PGresult *result, char words[static WORDS_BYTES])
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    (void)snprintf(link->state, sizeof(link->state), "%s", state == NULL ? "" : state);
    (void)snprintf(words, WORDS_BYTES, "%s", text == NULL ? "no answer" : text);
}

/* Results until the pipeline's end; those of the queries stay. */
static enum end take_results(struct pg_link *link, size_t count, int64_t until_ns, char words[static WORDS_BYTES])
{
    enum end end = END_DONE;
    size_t query = 0;
    for (;;) {
        PGresult *result = NULL;
        enum end got = take_result(link, until_ns, &result);
        ExecStatusType status = PQresultStatus(result);
        if (result != NULL && end == END_DONE && (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE)) {
            note_failure(link, result, words);
            end = END_FAILED;
        }
        if (got != END_DONE || status == PGRES_PIPELINE_SYNC) {
            PQclear(result);
            return got != END_DONE ? got : end;
        }
        if (result == NULL) {
            query++; /* all of this one's have come */
        } else if (query < count && link->results[query] == NULL) {
            link->results[query] = result;
        } else {
            PQclear(result);
        }
    }
}

/* What others sent stays known: whoever waits is to ask. */
static void take_notices(struct pg_link *link)
{
    for (PGnotify *notice = PQnotifies(link->conn); notice != NULL; notice = PQnotifies(link->conn)) {
        PQfreemem(notice);
        uint64_t one = 1;
        ssize_t size = write(link->event_fd, &one, sizeof(one));
        (void)size;
    }
}

static enum end run(struct pg_link *link, const struct pg_query *queries, size_t count, int64_t until_ns,
                    char words[static WORDS_BYTES])
{
    forget_results(link);
    link->state[0] = '\0';
    (void)snprintf(words, WORDS_BYTES, "the connection was lost");
    for (size_t i = 0; i < count; i++) {
        if (!send_query(link->conn, &queries[i])) {
            return END_LOST;
        }
    }
    enum end end = PQpipelineSync(link->conn) == 1 ? flush(link, until_ns) : END_LOST;
    end = end == END_DONE ? take_results(link, count, until_ns, words) : end;
    take_notices(link);
    return end;
}

void pg_link_roll_back(struct pg_link *link)
{
    const struct pg_query query = {.text = "ROLLBACK"};
    char words[WORDS_BYTES];
    if (link->conn == NULL) {
        return;
    }
    int64_t least_ns = engine_clock_ns() + (int64_t)ROLL_BACK_MS * NS_PER_MS;
    int64_t until_ns = least_ns > link->engine->deadline_ns ? least_ns : link->engine->deadline_ns;
    if (run(link, &query, 1, until_ns, words) != END_DONE) {
        pg_link_close(link);
    }
}

/* ---- from outside ---- */

static enum engine_code lost(struct pg_link *link, enum end end, bool commits)
{
    pg_link_close(link);
    const char *what = end == END_LATE ? "the server does not answer in time" : "the connection was lost";
    return engine_problem(link->engine, commits ? ENGINE_UNCERTAIN : ENGINE_DOWN, "%s%s", what,
                          commits ? " while it committed" : "; nothing was changed");
}

enum engine_code pg_link_ask(struct pg_link *link, const struct pg_query *queries, size_t count, bool commits)
{
    char words[WORDS_BYTES];
    if (link->conn == NULL) {
        return engine_problem(link->engine, ENGINE_DOWN, "the connection was lost; nothing was changed");
    }
    enum end end = run(link, queries, count, link->engine->deadline_ns, words);
    if (end == END_DONE) {
        return ENGINE_OK;
    }
    if (end != END_FAILED && (link->state[0] == '\0' || commits)) {
        return lost(link, end, commits);
    }
    const struct pg_meaning *meaning = pg_meaning_of(link->state);
    if (commits && meaning->closes && meaning->code == ENGINE_DOWN) {
        return lost(link, END_LOST, true); /* a server that ends may have committed before */
    }
    enum engine_code code = pg_explain(link->engine, meaning, words);
    if (end != END_FAILED || meaning->closes) {
        pg_link_close(link);
    } else if (PQtransactionStatus(link->conn) != PQTRANS_IDLE) {
        pg_link_roll_back(link);
    }
    return code;
}

/* ---- notices ---- */

static struct pg_channel *find_channel(struct pg_link *link, const char *name)
{
    for (size_t i = 0; i < PG_CHANNELS; i++) {
        if (strcmp(link->channels[i].name, name) == 0) {
            return &link->channels[i];
        }
    }
    return NULL;
}

bool pg_link_is_listening(struct pg_link *link, const char *channel)
{
    struct pg_channel *found = find_channel(link, channel);
    if (found != NULL) {
        found->used_ns = engine_clock_ns();
    }
    return found != NULL;
}

/* The one that was not used for the longest time. */
static struct pg_channel *oldest_channel(struct pg_link *link)
{
    struct pg_channel *oldest = &link->channels[0];
    for (size_t i = 1; i < PG_CHANNELS; i++) {
        oldest = link->channels[i].used_ns < oldest->used_ns ? &link->channels[i] : oldest;
    }
    return oldest;
}

/* So that nobody is woken for what no longer concerns it. */
static bool forget_unused(struct pg_link *link, struct pg_channel *channel)
{
    char text[PG_CHANNEL_BYTES + 16];
    (void)snprintf(text, sizeof(text), "UNLISTEN %s", channel->name);
    const struct pg_query query = {.text = text};
    bool done = !link->listens || pg_link_ask(link, &query, 1, false) == ENGINE_OK;
    *channel = (struct pg_channel){0};
    return done;
}

bool pg_link_listen(struct pg_link *link, const char *channel)
{
    if (pg_link_is_listening(link, channel)) {
        return false;
    }
    int64_t unused_ns = engine_clock_ns() - (int64_t)UNUSED_MS * NS_PER_MS;
    for (size_t i = 0; i < PG_CHANNELS && link->conn != NULL; i++) {
        if (link->channels[i].name[0] != '\0' && link->channels[i].used_ns < unused_ns) {
            (void)forget_unused(link, &link->channels[i]);
        }
    }
    struct pg_channel *place = oldest_channel(link);
    if (link->conn == NULL || (place->name[0] != '\0' && !forget_unused(link, place))) {
        return false;
    }
    char text[PG_CHANNEL_BYTES + 16];
    (void)snprintf(text, sizeof(text), "LISTEN %s", channel);
    const struct pg_query query = {.text = text};
    if (link->listens && pg_link_ask(link, &query, 1, false) != ENGINE_OK) {
        return false;
    }
    (void)snprintf(place->name, sizeof(place->name), "%s", channel);
    place->used_ns = engine_clock_ns();
    return link->listens;
}

int pg_link_fd(const struct pg_link *link) { return link->epoll_fd; }

void pg_link_heard(struct pg_link *link)
{
    uint64_t count;
    if (link->conn != NULL && (PQconsumeInput(link->conn) == 0 || PQstatus(link->conn) != CONNECTION_OK)) {
        pg_link_close(link);
    } else if (link->conn != NULL) {
        PGresult *result = PQisBusy(link->conn) ? NULL : PQgetResult(link->conn); /* FATAL, on its own */
        PQclear(result);
        take_notices(link);
    }
    ssize_t size = read(link->event_fd, &count, sizeof(count));
    (void)size;
}

/* ---- values ---- */

bool pg_bytes(const PGresult *result, int row, int column, struct slice *ret_bytes)
{
    if (row >= PQntuples(result) || column >= PQnfields(result) || PQgetisnull(result, row, column)) {
        return false;
    }
    *ret_bytes = slice_of(PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column));
    return true;
}

bool pg_number(const PGresult *result, int row, int column, int64_t *ret_number)
{
    struct slice bytes;
    if (!pg_bytes(result, row, column, &bytes) || bytes.size != sizeof(uint64_t)) {
        return false;
    }
    uint64_t number = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        number = number << 8 | bytes.data[i];
    }
    *ret_number = (int64_t)number;
    return true;
}

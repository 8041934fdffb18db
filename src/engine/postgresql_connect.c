/* postgresql_link.h: how a connection comes to be. */
#include "engine/engine.h"
#include "engine/postgresql_link.h"
#include "engine/postgresql_problem.h"

#include <ctype.h>
#include <poll.h>
#include <stdio.h>

enum { NS_PER_MS = 1000000, PAUSE_LEAST_MS = 20, PAUSE_MOST_MS = 1000, VERSION_LEAST = 120000, WORDS_BYTES = 200 };

/* libpq has the SQLSTATE of a refused connection in its words alone: "FATAL:  28P01: …". */
static const char *find_state(struct pg_link *link, const char *words)
{
    link->state[0] = '\0';
    for (const char *at = strstr(words, ":  "); at != NULL; at = strstr(at + 1, ":  ")) {
        const char *state = at + 3;
        size_t size = 0;
        while (size < 5 && (isupper((unsigned char)state[size]) || isdigit((unsigned char)state[size]))) {
            size++;
        }
        if (size == 5 && state[5] == ':') {
            memcpy(link->state, state, 5);
            link->state[5] = '\0';
            return state + 7;
        }
    }
    return words;
}

static enum engine_code refused_connection(struct pg_link *link)
{
    static const struct pg_meaning no_password = {"", ENGINE_REFUSED, "give one in the URL, or better in PGPASSFILE",
                                                  true};
    static const struct pg_meaning unreachable = {"", ENGINE_DOWN, "is it started, and does it listen there?", true};
    const char *all = PQerrorMessage(link->conn);
    const char *text = find_state(link, all);
    char words[WORDS_BYTES];
    (void)snprintf(words, sizeof(words), "%.*s", (int)strcspn(text, "\n"), text);
    const struct pg_meaning *meaning = link->state[0] != '\0'                  ? pg_meaning_of(link->state)
                                       : PQconnectionNeedsPassword(link->conn) ? &no_password
                                       : strstr(all, "read-only") != NULL      ? pg_meaning_of("25006")
                                                                               : &unreachable;
    return pg_explain(link->engine, meaning, words);
}

static enum engine_code connect_server(struct pg_link *link, int64_t until_ns)
{
    const char *keywords[PG_WORDS];
    const char *values[PG_WORDS];
    pg_place_words(link->place, link->server, keywords, values);
    link->conn = PQconnectStartParams(keywords, values, 0);
    if (link->conn == NULL) {
        return engine_problem(link->engine, ENGINE_BUSY, "memory was refused");
    }
    (void)PQsetErrorVerbosity(link->conn, PQERRORS_VERBOSE);
    PostgresPollingStatusType polling =
        PQstatus(link->conn) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
    while (polling != PGRES_POLLING_OK && polling != PGRES_POLLING_FAILED) {
        if (pg_link_wait(link->conn, polling == PGRES_POLLING_READING ? POLLIN : POLLOUT, until_ns) == 0) {
            return engine_problem(link->engine, ENGINE_DOWN, "%s does not answer in time", PQhost(link->conn));
        }
        polling = PQconnectPoll(link->conn);
    }
    return polling == PGRES_POLLING_OK ? ENGINE_OK : refused_connection(link);
}

static void ignore_notice(void *data, const PGresult *result)
{
    (void)data;
    (void)result;
}

/* What the server must be: new enough, no standby, and one that keeps what it has committed. */
static enum engine_code check_server(struct pg_link *link)
{
    static const struct pg_query query = {
        .text = "SELECT pg_catalog.pg_backend_pid()::int8, (pg_catalog.current_setting('fsync') = 'on')::int::int8, "
                "pg_catalog.pg_is_in_recovery()::int::int8, "
                "(SELECT system_identifier FROM pg_catalog.pg_control_system())::text"};
    if (PQserverVersion(link->conn) < VERSION_LEAST) {
        return engine_problem(link->engine, ENGINE_REFUSED,
                              "ERR postgresql: the server has version %d; Cohort needs 12 or a newer one",
                              PQserverVersion(link->conn) / 10000);
    }
    enum engine_code code = pg_link_ask(link, &query, 1, false);
    if (code != ENGINE_OK) {
        return code;
    }
    int64_t process = 0;
    int64_t syncs = 0;
    int64_t standby = 0;
    struct slice identity = {0};
    (void)pg_number(link->results[0], 0, 0, &process);
    (void)pg_number(link->results[0], 0, 1, &syncs);
    (void)pg_number(link->results[0], 0, 2, &standby);
    (void)pg_bytes(link->results[0], 0, 3, &identity);
    (void)snprintf(link->identity, sizeof(link->identity), "%.*s", (int)identity.size, (const char *)identity.data);
    link->listens = process == PQbackendPID(link->conn);
    if (standby != 0) {
        return pg_explain(link->engine, pg_meaning_of("25006"), "this server is in recovery");
    }
    if (syncs == 0) {
        return engine_problem(link->engine, ENGINE_REFUSED,
                              "ERR postgresql: the server has fsync=off, so a crash of its machine could grant a lock "
                              "twice: set fsync=on");
    }
    return ENGINE_OK;
}

static enum engine_code open_server(struct pg_link *link, int64_t until_ns)
{
    enum engine_code code = connect_server(link, until_ns);
    if (code == ENGINE_OK) {
        (void)PQsetnonblocking(link->conn, 1);
        (void)PQsetNoticeReceiver(link->conn, ignore_notice, NULL);
        (void)PQenterPipelineMode(link->conn);
        code = check_server(link);
        if (code == ENGINE_OK && !pg_link_watch(link)) {
            code = engine_problem(link->engine, ENGINE_BUSY, "the system has no descriptor left");
        }
    }
    if (code != ENGINE_OK) {
        pg_link_close(link);
    }
    return code;
}

/* Each server has its part of the time that is left, beginning with the one that was good last. */
static enum engine_code open_any(struct pg_link *link)
{
    enum engine_code code = ENGINE_DOWN;
    int64_t deadline_ns = link->engine->deadline_ns;
    for (uint32_t i = 0; i < link->place->count; i++) {
        int64_t now_ns = engine_clock_ns();
        int64_t part_ns = (deadline_ns - now_ns) / (link->place->count - i);
        link->engine->deadline_ns = now_ns + part_ns;
        code = open_server(link, now_ns + part_ns);
        link->engine->deadline_ns = deadline_ns;
        if (code == ENGINE_OK) {
            return ENGINE_OK;
        }
        link->server = (link->server + 1) % link->place->count;
    }
    return code;
}

enum engine_code pg_link_ready(struct pg_link *link)
{
    if (link->conn != NULL && PQstatus(link->conn) == CONNECTION_OK) {
        return ENGINE_OK;
    }
    pg_link_close(link);
    int64_t now_ns = engine_clock_ns();
    if (now_ns < link->not_before_ns) {
        return engine_problem(link->engine, link->failed, "%s", link->failed_words);
    }
    enum engine_code code = open_any(link);
    if (code == ENGINE_OK) {
        link->pause_ns = 0;
        link->connections++;
        return ENGINE_OK;
    }
    int64_t longer_ns = link->pause_ns * 2 > (int64_t)PAUSE_LEAST_MS * NS_PER_MS ? link->pause_ns * 2
                                                                                 : (int64_t)PAUSE_LEAST_MS * NS_PER_MS;
    link->pause_ns = longer_ns < (int64_t)PAUSE_MOST_MS * NS_PER_MS ? longer_ns : (int64_t)PAUSE_MOST_MS * NS_PER_MS;
    now_ns = engine_clock_ns();
    link->not_before_ns = now_ns + link->pause_ns / 2 + now_ns / 1000 % (link->pause_ns / 2);
    link->failed = code;
    memcpy(link->failed_words, link->engine->problem, sizeof(link->failed_words));
    return code;
}

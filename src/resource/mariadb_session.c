#include "resource/mariadb_session.h"

#include <errmsg.h>
#include <mysqld_error.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { NS_PER_MS = 1000000, PORT_DEFAULT = 3306, ROWS_BETWEEN_LOOKS = 256 };

/* ---- a connection ---- */

static unsigned seconds_left(const struct resource *resource)
{
    int64_t left_ns = resource->deadline_ns - resource_clock_ns();
    return left_ns <= 0 ? 1 : (unsigned)(left_ns / ((int64_t)1000 * NS_PER_MS)) + 1;
}

/* A password in a URL is seen by who lists processes, so there are other ways; that of MariaDB's own programs is a
 * file. */
static void set_options(struct maria_session *session)
{
    unsigned seconds = seconds_left(session->resource);
    my_bool no = 0;
    unsigned zero = 0;
    const char *file = resource_url_option(session->url, "defaults-file");
    (void)mysql_options(session->mysql, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
    (void)mysql_options(session->mysql, MYSQL_OPT_READ_TIMEOUT, &seconds);
    (void)mysql_options(session->mysql, MYSQL_OPT_WRITE_TIMEOUT, &seconds);
    (void)mysql_options(session->mysql, MYSQL_OPT_RECONNECT, &no);
    (void)mysql_options(session->mysql, MYSQL_OPT_LOCAL_INFILE, &zero);
    (void)mysql_options(session->mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    if (file != NULL) {
        (void)mysql_options(session->mysql, MYSQL_READ_DEFAULT_FILE, file);
        (void)mysql_options(session->mysql, MYSQL_READ_DEFAULT_GROUP, "client");
    }
}

static const char *or_null(const char *text) { return text[0] == '\0' ? NULL : text; }

static enum resource_code refused_connection(struct maria_session *session)
{
    const char *words = mysql_error(session->mysql);
    switch (mysql_errno(session->mysql)) {
    case ER_ACCESS_DENIED_ERROR:
    case ER_DBACCESS_DENIED_ERROR:
    case ER_HOST_NOT_PRIVILEGED:
        return resource_problem(session->resource, RESOURCE_REFUSED,
                                "MariaDB: %s: look at user and password in the URL, or in the file of "
                                "?defaults-file=, and at the server's grants",
                                words);
    case ER_BAD_DB_ERROR:
        return resource_problem(session->resource, RESOURCE_REFUSED, "MariaDB: %s: make the database first", words);
    default:
        return resource_problem(session->resource, RESOURCE_DOWN,
                                "MariaDB: %s: is it started, and does it listen there?", words);
    }
}

enum resource_code maria_session_ready(struct maria_session *session)
{
    const struct resource_url *url = session->url;
    if (session->mysql != NULL) {
        return RESOURCE_OK;
    }
    session->mysql = mysql_init(NULL);
    if (session->mysql == NULL) {
        return resource_problem(session->resource, RESOURCE_DOWN, "memory was refused");
    }
    set_options(session);
    unsigned port = url->port == 0 ? PORT_DEFAULT : (unsigned)url->port;
    if (mysql_real_connect(session->mysql, or_null(url->host), or_null(url->user), or_null(url->password),
                           or_null(url->path), port, resource_url_option(url, "socket"),
                           CLIENT_MULTI_RESULTS) == NULL) {
        enum resource_code code = refused_connection(session);
        maria_session_close(session);
        return code;
    }
    return RESOURCE_OK;
}

void maria_session_close(struct maria_session *session)
{
    if (session->mysql != NULL) {
        mysql_close(session->mysql);
        session->mysql = NULL;
    }
}

/* ---- one statement ---- */

static enum maria_end lost(struct maria_session *session, const char *words)
{
    (void)resource_problem(session->resource, RESOURCE_UNKNOWN, "MariaDB: %s", words);
    maria_session_close(session);
    return MARIA_LOST;
}

/* False: the deadline has come. */
static bool wait_for_answer(const struct maria_session *session)
{
    for (;;) {
        int64_t left_ns = session->resource->deadline_ns - resource_clock_ns();
        struct pollfd ready = {.fd = mysql_get_socket(session->mysql), .events = POLLIN};
        if (poll(&ready, 1, left_ns <= 0 ? 0 : (int)(left_ns / NS_PER_MS) + 1) > 0) {
            return true;
        }
        if (resource_clock_ns() >= session->resource->deadline_ns) {
            return false;
        }
    }
}

static enum maria_end failed(struct maria_session *session)
{
    session->error = mysql_errno(session->mysql);
    bool over = session->error == ER_SERVER_SHUTDOWN || session->error == ER_CONNECTION_KILLED ||
                (session->error >= CR_MIN_ERROR && session->error <= CR_MYSQL_LAST_ERROR) || session->error >= 5000 ||
                session->error == 0;
    if (over) {
        return lost(session, session->error == 0 ? "the connection was lost" : mysql_error(session->mysql));
    }
    (void)resource_problem(session->resource, RESOURCE_REFUSED, "MariaDB: %s (%u)", mysql_error(session->mysql),
                           session->error);
    return MARIA_FAILED;
}

/* One at a time, kept by nobody; after the deadline no more of them. (Freeing a result reads what is left of it, so the
 * connection is cut before.) */
static bool take_rows(struct maria_session *session, maria_row row, void *data)
{
    MYSQL_RES *result = mysql_use_result(session->mysql);
    if (result == NULL) {
        return mysql_field_count(session->mysql) == 0;
    }
    uint64_t count = 0;
    for (MYSQL_ROW fields = mysql_fetch_row(result); fields != NULL; fields = mysql_fetch_row(result)) {
        if (row != NULL) {
            row(data, fields, mysql_fetch_lengths(result), mysql_num_fields(result));
        }
        if (++count % ROWS_BETWEEN_LOOKS == 0 && resource_clock_ns() >= session->resource->deadline_ns) {
            (void)shutdown(mysql_get_socket(session->mysql), SHUT_RDWR);
        }
    }
    bool whole = mysql_errno(session->mysql) == 0;
    mysql_free_result(result);
    return whole;
}

enum maria_end maria_session_ask(struct maria_session *session, const char *text, maria_row row, void *data,
                                 int64_t *ret_changed)
{
    session->error = 0;
    if (session->mysql == NULL) {
        return lost(session, "the connection was lost");
    }
    if (mysql_send_query(session->mysql, text, strlen(text)) != 0) {
        return failed(session);
    }
    if (!wait_for_answer(session)) {
        return lost(session, "the server does not answer in time");
    }
    if (mysql_read_query_result(session->mysql) != 0) {
        return failed(session);
    }
    int64_t changed = 0;
    for (;;) {
        bool is_change = mysql_field_count(session->mysql) == 0;
        if (!take_rows(session, row, data)) {
            return failed(session);
        }
        changed += is_change ? (int64_t)mysql_affected_rows(session->mysql) : 0;
        int next = mysql_next_result(session->mysql);
        if (next > 0) {
            return failed(session);
        }
        if (next < 0) {
            break;
        }
    }
    if (ret_changed != NULL) {
        *ret_changed = changed;
    }
    return MARIA_DONE;
}

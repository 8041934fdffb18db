/* One connection to MariaDB or MySQL. The answer to a statement is waited for until the resource's deadline (poll(2));
 * what follows its first byte, and the making of a connection, until whole seconds beyond it: the library knows no
 * others. */
#pragma once

#include "resource/resource.h"
#include "resource/resource_url.h"

#include <mysql.h>

enum maria_end {
    MARIA_DONE,
    MARIA_FAILED, /* the server refused it: `error`, and the words of `resource` */
    MARIA_LOST,   /* no answer: it may have been executed; the session is closed */
};

enum { MARIA_ROWS = 16, MARIA_TEXT_BYTES = 64 };

struct maria_session {
    struct resource *resource; /* deadline and problem */
    const struct resource_url *url;
    MYSQL *mysql; /* NULL: none */
    unsigned error;
};

/* Called for each row; `sizes` beside `fields`, as many as the result has. */
typedef void (*maria_row)(void *data, char *const *fields, const unsigned long *sizes, unsigned count);

/* Connects, unless it is. OK, DOWN or REFUSED. */
enum resource_code maria_session_ready(struct maria_session *session);
void maria_session_close(struct maria_session *session);

/* One statement; rows of all its results are told (NULL: to nobody). */
enum maria_end maria_session_ask(struct maria_session *session, const char *text, maria_row row, void *data,
                                 int64_t *ret_changed);

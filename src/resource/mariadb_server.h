/* The server behind a connection to MariaDB or MySQL: whether it can take part, and which one it is. */
#pragma once

#include "resource/mariadb_session.h"

/* New enough, no Galera, and what it has prepared survives a crash; else REFUSED with words. DOWN: no answer. */
enum resource_code maria_server_check(struct maria_session *session);

/* Which server this is, so that absence at another one proves nothing: a digest of what stays when it starts anew
 * (hostname, port, data folder, and the identifiers that newer servers have). */
enum maria_end maria_server_identify(struct maria_session *session, char ret_text[static RESOURCE_EVIDENCE_BYTES]);

/* Since it was started. */
enum maria_end maria_server_uptime(struct maria_session *session, int64_t *ret_seconds);

#include "resource/mariadb_server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { MARIADB_LEAST = 100500, MYSQL_LEAST = 80000 };

/* ---- what it must be ---- */

struct settings {
    bool galera, syncs;
};

static void take_setting(void *data, char *const *fields, const unsigned long *sizes, unsigned count)
{
    struct settings *settings = data;
    if (strcmp(fields[0], "wsrep_on") == 0) {
        settings->galera = strcmp(fields[1], "ON") == 0;
    } else if (strcmp(fields[0], "innodb_flush_log_at_trx_commit") == 0) {
        settings->syncs = strcmp(fields[1], "1") == 0;
    }
}

enum resource_code maria_server_check(struct maria_session *session)
{
    struct resource *resource = session->resource;
    MYSQL *mysql = session->mysql;
    struct settings settings = {0};
    bool is_mariadb = mariadb_connection(mysql);
    if (mysql_get_server_version(mysql) < (unsigned long)(is_mariadb ? MARIADB_LEAST : MYSQL_LEAST)) {
        return resource_problem(resource, RESOURCE_REFUSED,
                                "MariaDB: the server has version %s, which rolls prepared branches back when their "
                                "connection ends: MariaDB 10.5 or MySQL 8.0 is the least",
                                mysql_get_server_info(mysql));
    }
    enum maria_end end = maria_session_ask(
        session, "SHOW VARIABLES WHERE Variable_name IN ('wsrep_on', 'innodb_flush_log_at_trx_commit')", take_setting,
        &settings, NULL);
    if (end != MARIA_DONE) {
        return end == MARIA_FAILED ? RESOURCE_REFUSED : RESOURCE_DOWN;
    }
    if (settings.galera) {
        return resource_problem(resource, RESOURCE_REFUSED,
                                "MariaDB: the server is part of a Galera cluster (wsrep_on), which has no XA "
                                "transactions: use a server that is none");
    }
    if (!settings.syncs) {
        return resource_problem(
            resource, RESOURCE_REFUSED,
            "MariaDB: innodb_flush_log_at_trx_commit is not 1, so what is prepared may not survive a "
            "crash: set it to 1");
    }
    return RESOURCE_OK;
}

/* ---- who the server is ---- */

/* FNV-1a (Fowler, Noll, Vo), for which it does not matter in which order the rows come: their digests are added up. */
static void add_digest(void *data, char *const *fields, const unsigned long *sizes, unsigned count)
{
    uint64_t digest = 0xcbf29ce484222325;
    for (unsigned i = 0; i < count; i++) {
        for (unsigned long at = 0; fields[i] != NULL && at < sizes[i]; at++) {
            digest = (digest ^ (uint8_t)fields[i][at]) * 0x100000001b3;
        }
        digest = (digest ^ 0xff) * 0x100000001b3; /* in no text of UTF-8 */
    }
    *(uint64_t *)data += digest;
}

enum maria_end maria_server_identify(struct maria_session *session, char ret_text[static RESOURCE_EVIDENCE_BYTES])
{
    uint64_t digest = 0;
    enum maria_end end =
        maria_session_ask(session,
                          "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('hostname', 'port', 'datadir', "
                          "'server_uid', 'server_uuid')",
                          add_digest, &digest, NULL);
    (void)snprintf(ret_text, RESOURCE_EVIDENCE_BYTES, "server@%016" PRIx64, digest);
    return end;
}

/* ---- how old it is ---- */

static void take_number(void *data, char *const *fields, const unsigned long *sizes, unsigned count)
{
    *(int64_t *)data = fields[count - 1] == NULL ? 0 : strtoll(fields[count - 1], NULL, 10);
}

enum maria_end maria_server_uptime(struct maria_session *session, int64_t *ret_seconds)
{
    *ret_seconds = 0;
    return maria_session_ask(session, "SHOW GLOBAL STATUS LIKE 'Uptime'", take_number, ret_seconds, NULL);
}

#include "engine/postgresql_sql.h"

#include <stdlib.h>
#include <string.h>

/* search_path is set in every transaction, so that names of functions mean PostgreSQL's own. Durable is what a
 * transaction commits even where the database's own setting is less. Keepalives: a client whose machine is gone in the
 * middle of a transaction keeps its row some seconds long. */
static const char *const templates[PG_SQLS] = {
    [PG_EXISTS] =
        "SELECT (to_regnamespace('@') IS NOT NULL)::int::int8, (to_regclass('@.locks') IS NOT NULL)::int::int8, "
        "coalesce((SELECT (relpersistence = 'p' AND relkind IN ('r', 'p'))::int::int8 FROM pg_catalog.pg_class "
        "WHERE oid = to_regclass('@.locks')), 1)",
    [PG_MAKE_ALONE] = "SELECT pg_catalog.pg_advisory_xact_lock(7308618167)",
    [PG_MAKE_SCHEMA] = "CREATE SCHEMA IF NOT EXISTS @",
    [PG_MAKE_TABLE] = "CREATE TABLE IF NOT EXISTS @.locks ("
                      "name bytea PRIMARY KEY, "
                      "label text GENERATED ALWAYS AS (pg_catalog.encode(name, 'escape')) STORED, "
                      "form smallint NOT NULL DEFAULT 1, "
                      "token bigint NOT NULL, "
                      "fence bigint NOT NULL DEFAULT 0, "
                      "permit_limit bigint NOT NULL DEFAULT 0, "
                      "holders jsonb NOT NULL DEFAULT '[]', "
                      "waiters jsonb NOT NULL DEFAULT '[]', "
                      "past jsonb NOT NULL DEFAULT '[]', "
                      "changed timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), "
                      "server text NOT NULL DEFAULT ''"
                      ") WITH (fillfactor = 50)",
    [PG_MAKE_HOLDERS] =
        "CREATE OR REPLACE VIEW @.holders AS SELECT l.label AS lock, h.owner, h.mode, h.permits, h.token, "
        "h.since, h.until, h.note FROM @.locks l, jsonb_to_recordset(l.holders) AS h(owner text, mode text, "
        "permits bigint, token bigint, since timestamptz, until timestamptz, note text) "
        "WHERE h.until > clock_timestamp()",
    [PG_MAKE_WAITERS] =
        "CREATE OR REPLACE VIEW @.waiters AS SELECT l.label AS lock, w.owner, w.mode, w.permits, w.since, "
        "w.until, w.note FROM @.locks l, jsonb_to_recordset(l.waiters) AS w(owner text, mode text, "
        "permits bigint, since timestamptz, until timestamptz, asked timestamptz, note text) "
        "WHERE w.until > clock_timestamp() AND w.asked > clock_timestamp() - interval '2 s'",
    [PG_SETTINGS] =
        "SELECT substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8), "
        "pg_catalog.set_config('search_path', 'pg_catalog', true), "
        "pg_catalog.set_config('lock_timeout', $1, true), pg_catalog.set_config('statement_timeout', $3, true), "
        "pg_catalog.set_config('idle_in_transaction_session_timeout', $2, true), "
        "pg_catalog.set_config('synchronous_commit', CASE pg_catalog.current_setting('synchronous_commit') WHEN "
        "'remote_apply' THEN 'remote_apply' ELSE 'on' END, true), "
        "pg_catalog.set_config('tcp_keepalives_idle', '5', true), "
        "pg_catalog.set_config('tcp_keepalives_interval', '2', true), "
        "pg_catalog.set_config('tcp_keepalives_count', '3', true)",
    [PG_SETTINGS_LOOK] = "SELECT pg_catalog.set_config('search_path', 'pg_catalog', true), "
                         "pg_catalog.set_config('statement_timeout', $1, true)",
    [PG_LOCK] = "SELECT 1 FROM @.locks WHERE name = $1::bytea FOR UPDATE",
    [PG_SELECT] =
        "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::int8, l.form::int8, l.token, l.fence, "
        "l.permit_limit, "
        "ceil(extract(epoch FROM l.changed) * 1000)::int8, l.server, c.part::int8, decode(c.claim->>'owner', "
        "'escape'), "
        "decode(c.claim->>'note', 'escape'), c.claim->>'mode', (c.claim->>'permits')::int8, (c.claim->>'token')::int8, "
        "round(extract(epoch FROM (c.claim->>'since')::timestamptz) * 1000)::int8, "
        "round(extract(epoch FROM (c.claim->>'until')::timestamptz) * 1000)::int8, "
        "round(extract(epoch FROM (c.claim->>'asked')::timestamptz) * 1000)::int8, c.claim->>'why' "
        "FROM @.locks l LEFT JOIN LATERAL ("
        "SELECT 0, at, claim FROM jsonb_array_elements(l.holders) WITH ORDINALITY AS e(claim, at) UNION ALL "
        "SELECT 1, at, claim FROM jsonb_array_elements(l.waiters) WITH ORDINALITY AS e(claim, at) UNION ALL "
        "SELECT 2, at, claim FROM jsonb_array_elements(l.past) WITH ORDINALITY AS e(claim, at)"
        ") AS c(part, at, claim) ON true WHERE l.name = $1::bytea ORDER BY c.part, c.at",
    [PG_INSERT] = "INSERT INTO @.locks (name, token, changed, server) VALUES ($1::bytea, "
                  "floor(extract(epoch FROM clock_timestamp()) * 1000)::int8 << 10, "
                  "date_trunc('milliseconds', clock_timestamp()), $2) ON CONFLICT (name) DO NOTHING",
    [PG_UPDATE] = "UPDATE @.locks SET form = 1, token = $2::int8, fence = $3::int8, permit_limit = $4::int8, "
                  "changed = $5::timestamptz, server = $6, holders = $7::jsonb, waiters = $8::jsonb, past = $9::jsonb "
                  "WHERE name = $1::bytea",
    [PG_NOTIFY] = "SELECT pg_notify($1, '')",
    [PG_LIST] =
        "SELECT l.name FROM @.locks l WHERE (l.holders <> '[]' OR l.waiters <> '[]') AND (EXISTS (SELECT 1 FROM "
        "jsonb_array_elements(l.holders) AS h WHERE (h->>'until')::timestamptz > clock_timestamp()) OR EXISTS ("
        "SELECT 1 FROM jsonb_array_elements(l.waiters) AS w WHERE (w->>'until')::timestamptz > clock_timestamp() AND "
        "(w->>'asked')::timestamptz > clock_timestamp() - interval '2 s')) ORDER BY l.name LIMIT 100000",
};

/* The schema has letters, digits and _ alone. */
static char *fill(const char *template, const char *schema)
{
    size_t marks = 0;
    for (const char *at = template; *at != '\0'; at++) {
        marks += *at == '@';
    }
    char *text = malloc(strlen(template) + marks * (strlen(schema) + 2) + 1);
    char *end = text;
    for (const char *at = template; text != NULL && *at != '\0'; at++) {
        if (*at != '@') {
            *end++ = *at;
            continue;
        }
        *end++ = '"';
        memcpy(end, schema, strlen(schema));
        end += strlen(schema);
        *end++ = '"';
    }
    if (text != NULL) {
        *end = '\0';
    }
    return text;
}

bool pg_sqls_init(struct pg_sqls *sqls, const char *schema)
{
    bool all = true;
    for (int i = 0; i < PG_SQLS; i++) {
        sqls->texts[i] = fill(templates[i], schema);
        all = all && sqls->texts[i] != NULL;
    }
    return all;
}

void pg_sqls_deinit(struct pg_sqls *sqls)
{
    for (int i = 0; i < PG_SQLS; i++) {
        free(sqls->texts[i]);
        sqls->texts[i] = NULL;
    }
}

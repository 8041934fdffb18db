/* What people and programs may read, and what their transactions may ask (docs/engines.md).
 *
 *   cohort_meta     one row: the form of the tables, the boot that times count from, the newest token of all locks, and
 *                   up to where tokens are on disk already
 *   cohort_locks    each lock that was ever taken: its newest token, the newest that FENCE.CHECK has seen
 *   cohort_holders  who holds: a row is taken away in the transaction that gives the lock to another at the latest
 *   cohort_waiters  who waits, in the order of `place`
 *   cohort_history  how the last 16 grants of each lock ended
 *
 * Names, owners and notes are text where they are UTF-8, else blobs. Times in _ms are CLOCK_BOOTTIME's; those for
 * people are UTC. */
#include "engine/sqlite_tables.h"

const struct sqlite_table sqlite_tables[TABLES] = {
    {"cohort_meta", "id:1,form:0,boot:0,token:0,tokens_until:0",
     "CREATE TABLE cohort_meta (\n"
     "  id INTEGER PRIMARY KEY CHECK (id = 1),\n"
     "  form INTEGER NOT NULL,\n"
     "  boot TEXT NOT NULL,\n"
     "  token INTEGER NOT NULL,\n"
     "  tokens_until INTEGER NOT NULL\n"
     ")"},
    {"cohort_locks", "name:1,token:0,fence:0,limit:0",
     "CREATE TABLE cohort_locks (\n"
     "  name BLOB NOT NULL PRIMARY KEY,\n"
     "  token INTEGER NOT NULL,\n"
     "  fence INTEGER NOT NULL,\n"
     "  \"limit\" INTEGER NOT NULL\n"
     ") WITHOUT ROWID"},
    {"cohort_holders", "lock:1,token:2,owner:0,note:0,kind:0,permits:0,since_ms:0,due_ms:0,since:0",
     "CREATE TABLE cohort_holders (\n"
     "  lock BLOB NOT NULL,\n"
     "  token INTEGER NOT NULL,\n"
     "  owner BLOB NOT NULL,\n"
     "  note BLOB NOT NULL,\n"
     "  kind TEXT NOT NULL,\n"
     "  permits INTEGER NOT NULL,\n"
     "  since_ms INTEGER NOT NULL,\n"
     "  due_ms INTEGER NOT NULL,\n"
     "  since TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,\n"
     "  PRIMARY KEY (lock, token)\n"
     ") WITHOUT ROWID"},
    {"cohort_waiters", "lock:1,place:2,owner:0,note:0,kind:0,permits:0,since_ms:0,due_ms:0,asked_ms:0,since:0",
     "CREATE TABLE cohort_waiters (\n"
     "  lock BLOB NOT NULL,\n"
     "  place INTEGER NOT NULL,\n"
     "  owner BLOB NOT NULL,\n"
     "  note BLOB NOT NULL,\n"
     "  kind TEXT NOT NULL,\n"
     "  permits INTEGER NOT NULL,\n"
     "  since_ms INTEGER NOT NULL,\n"
     "  due_ms INTEGER NOT NULL,\n"
     "  asked_ms INTEGER NOT NULL,\n"
     "  since TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,\n"
     "  PRIMARY KEY (lock, place)\n"
     ") WITHOUT ROWID"},
    {"cohort_history", "lock:1,number:2,token:0,owner:0,from_ms:0,to_ms:0,why:0,noted:0",
     "CREATE TABLE cohort_history (\n"
     "  lock BLOB NOT NULL,\n"
     "  number INTEGER NOT NULL,\n"
     "  token INTEGER NOT NULL,\n"
     "  owner BLOB NOT NULL,\n"
     "  from_ms INTEGER NOT NULL,\n"
     "  to_ms INTEGER NOT NULL,\n"
     "  why TEXT NOT NULL,\n"
     "  noted TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,\n"
     "  PRIMARY KEY (lock, number)\n"
     ") WITHOUT ROWID"},
};

const char *const sqlite_texts[STATEMENTS] = {
    [STATEMENT_BEGIN_READ] = "BEGIN",
    [STATEMENT_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [STATEMENT_COMMIT] = "COMMIT",
    [STATEMENT_META_READ] = "SELECT form, boot, token, tokens_until FROM cohort_meta",
    [STATEMENT_META_TOKEN] = "UPDATE cohort_meta SET token = ?1",
    [STATEMENT_META_SET] = "UPDATE cohort_meta SET boot = ?1, token = ?2, tokens_until = ?3",
    /* Who held before this boot: to the history, of which each lock keeps 16. */
    [STATEMENT_BOOT_HISTORY] =
        "INSERT INTO cohort_history (lock, number, token, owner, from_ms, to_ms, why) SELECT lock,"
        " coalesce((SELECT max(number) FROM cohort_history AS h WHERE h.lock = cohort_holders.lock), 0)"
        " + row_number() OVER (PARTITION BY lock ORDER BY token), token, owner, since_ms, ?1, ?2 FROM cohort_holders",
    [STATEMENT_BOOT_TRIM] =
        "DELETE FROM cohort_history WHERE (lock, number) IN (SELECT lock, number FROM (SELECT lock, number,"
        " row_number() OVER (PARTITION BY lock ORDER BY number DESC) AS nth FROM cohort_history)"
        " WHERE nth > 16)",
    [STATEMENT_BOOT_HOLDERS] = "DELETE FROM cohort_holders",
    [STATEMENT_BOOT_WAITERS] = "DELETE FROM cohort_waiters",
    [STATEMENT_LOCK_READ] = "SELECT token, fence, \"limit\" FROM cohort_locks WHERE name = ?1",
    [STATEMENT_LOCK_WRITE] = "INSERT INTO cohort_locks (name, token, fence, \"limit\") VALUES (?1, ?2, ?3, ?4)"
                             " ON CONFLICT (name) DO UPDATE SET token = ?2, fence = ?3, \"limit\" = ?4",
    [STATEMENT_HOLDERS_READ] = "SELECT token, owner, note, kind, permits, since_ms, due_ms, 0 FROM cohort_holders"
                               " WHERE lock = ?1 ORDER BY token",
    [STATEMENT_HOLDER_ADD] = "INSERT INTO cohort_holders (lock, token, owner, note, kind, permits, since_ms, due_ms)"
                             " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [STATEMENT_HOLDER_CHANGE] = "UPDATE cohort_holders SET due_ms = ?3 WHERE lock = ?1 AND token = ?2",
    [STATEMENT_HOLDER_REMOVE] = "DELETE FROM cohort_holders WHERE lock = ?1 AND token = ?2",
    [STATEMENT_WAITERS_READ] =
        "SELECT place, owner, note, kind, permits, since_ms, due_ms, asked_ms FROM cohort_waiters"
        " WHERE lock = ?1 ORDER BY place",
    [STATEMENT_WAITER_ADD] =
        "INSERT INTO cohort_waiters (lock, place, owner, note, kind, permits, since_ms, due_ms, asked_ms)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [STATEMENT_WAITER_CHANGE] = "UPDATE cohort_waiters SET due_ms = ?3, asked_ms = ?4 WHERE lock = ?1 AND place = ?2",
    [STATEMENT_WAITER_REMOVE] = "DELETE FROM cohort_waiters WHERE lock = ?1 AND place = ?2",
    [STATEMENT_HISTORY_READ] = "SELECT token, owner, from_ms, to_ms, why FROM cohort_history WHERE lock = ?1"
                               " ORDER BY number DESC LIMIT 16",
    [STATEMENT_HISTORY_ADD] =
        "INSERT INTO cohort_history (lock, number, token, owner, from_ms, to_ms, why) VALUES (?1,"
        " coalesce((SELECT max(number) FROM cohort_history WHERE lock = ?1), 0) + 1, ?2, ?3, ?4, ?5, ?6)",
    [STATEMENT_HISTORY_TRIM] = "DELETE FROM cohort_history WHERE lock = ?1"
                               " AND number <= (SELECT max(number) FROM cohort_history WHERE lock = ?1) - 16",
    [STATEMENT_LIST] = "SELECT lock FROM cohort_holders WHERE due_ms >= ?1 UNION"
                       " SELECT lock FROM cohort_waiters WHERE due_ms > ?1 AND asked_ms > ?1 - 2000",
};

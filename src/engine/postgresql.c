/* postgresql://user@host:port/database[?schema=NAME&…]: each lock is a row of the table NAME.locks (cohort.locks), for
 * all programs that use the database.
 *
 * How: a transaction (READ COMMITTED) locks the row by SELECT … FOR UPDATE, reads it after that, asks lock_state.h what
 * the request does to it, writes it, and commits: PostgreSQL's manual, 13.3.2, row-level locks. A lock's first request
 * inserts its row (ON CONFLICT DO NOTHING). Two round trips; looks, and whoever waits and asks again, take one and lock
 * nothing. The row is kept from others between the two, so the server ends a transaction that stands still (its process
 * was stopped) after HOLD_MS, and one that waits for the row before its own deadline.
 *
 * Whose clock: the server's clock_timestamp(), read when the row is locked. A row has the time of its last change; a
 * clock that was set back moves all of the row's times back by as much, so that what was left of a lease is left of it,
 * and leases still end. A clock that is set forward ends leases early, which their holders cannot see: tokens are for
 * that. (The other way, of Amazon's DynamoDB lock client and Kubernetes' leader election: each contender looks
 * for a whole time to live, by its own clock, whether the holder's record changes. It needs no clock of the server; but
 * a program that tries without waiting, as cron's do, would never be granted what a dead one held, since it never
 * watched before; and a lease's end could not be looked at.)
 *
 * Tokens: in the row, durable as the database is; synchronous_commit is on for every transaction, and a server with
 * fsync=off is refused. A server that was promoted may lack commits that its predecessor had answered (asynchronous
 * replication), and a restored one lacks what was done since. So the row has the system's identity and timeline; where
 * they are others now the token goes on at the server's clock, its milliseconds times 2^10, which is beyond all of the
 * lost ones (unless the new server's clock is behind the old one's by more than the row is old); a new row begins
 * there, too. What FENCE.CHECK had seen may be lost with such commits, as a lease may.
 *
 * Crashes and cuts: before COMMIT was sent nothing was changed (ENGINE_DOWN); when COMMIT has no answer it is
 * ENGINE_UNCERTAIN, and the same owner that asks again gets the same token. A server that crashed has all it answered.
 * Its errors: postgresql_problem.c. */
#include "engine/module.h"
#include "engine/postgresql_store.h"

#include <cohort/engine.h>
#include <stdio.h>
#include <stdlib.h>

enum { POLL_MS = 40 }; /* where there are no notices */

static const struct engine_ops engine_postgresql;

static struct postgresql *postgresql_of(struct engine *engine) { return (struct postgresql *)engine; }

/* ---- waiting ---- */

/* Whoever has its place in the queue and nothing new to say asks without locking the row. */
static enum engine_code ask_again(struct postgresql *postgresql, const struct lock_wanted *wanted,
                                  struct lock_granted *ret_granted)
{
    struct lock_state state;
    char problem[LOCK_STATE_PROBLEM_BYTES];
    lock_state_init(&state);
    enum engine_code code = pg_store_look_at_row(postgresql, wanted->key, &state);
    if (code == ENGINE_OK && postgresql->row.now_ms >= postgresql->row.changed_ms) {
        (void)lock_state_expire(&state, postgresql->row.now_ms);
        enum lock_answer answer = lock_state_acquire(&state, wanted, postgresql->row.now_ms, ret_granted, problem);
        code = answer == LOCK_ANSWER_WAITS && ret_granted->unchanged ? ENGINE_WAITS : ENGINE_NOT;
    }
    lock_state_deinit(&state);
    return code;
}

static enum engine_code acquire(struct engine *engine, const struct lock_wanted *wanted,
                                struct lock_granted *ret_granted)
{
    struct postgresql *postgresql = postgresql_of(engine);
    struct pg_link *link = &postgresql->link;
    char channel[PG_CHANNEL_BYTES];
    pg_store_channel(wanted->key, channel);
    enum engine_code code = ENGINE_NOT;
    bool was_waited_for = wanted->wait_ms > 0 && pg_link_is_listening(link, channel);
    if (was_waited_for) {
        code = ask_again(postgresql, wanted, ret_granted);
    }
    if (code != ENGINE_WAITS) {
        code = stored_acquire(engine, wanted, ret_granted);
    }
    if (code == ENGINE_WAITS && pg_link_listen(link, channel)) {
        ret_granted->again_ms = 1; /* what changed before is not told */
    }
    if (code == ENGINE_WAITS && !link->listens) {
        ret_granted->again_ms = POLL_MS / 2 + engine_clock_ns() / 1000 % POLL_MS;
    }
    return code;
}

/* ---- the rest ---- */

static enum engine_code list(struct engine *engine, engine_listed listed, void *data)
{
    struct postgresql *postgresql = postgresql_of(engine);
    const struct pg_query query = pg_store_query(postgresql, PG_LIST);
    enum engine_code code = pg_store_look(postgresql, &query);
    if (code != ENGINE_OK) {
        return code;
    }
    const PGresult *result = postgresql->link.results[2];
    for (int row = 0; row < PQntuples(result); row++) {
        struct slice key;
        if (pg_bytes(result, row, 0, &key)) {
            listed(data, key);
        }
    }
    return ENGINE_OK;
}

static void close_engine(struct engine *engine)
{
    struct postgresql *postgresql = postgresql_of(engine);
    pg_link_deinit(&postgresql->link);
    pg_sqls_deinit(&postgresql->sqls);
    pg_place_deinit(&postgresql->place);
    buffer_deinit(&postgresql->holders);
    buffer_deinit(&postgresql->waiters);
    buffer_deinit(&postgresql->past);
    free(postgresql);
}

static enum status open_engine(const struct engine_url *url, struct engine **ret_engine,
                               char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    struct postgresql *postgresql = calloc(1, sizeof(*postgresql));
    if (postgresql == NULL) {
        (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "memory was refused");
        return STATUS_NOMEM;
    }
    postgresql->stored = (struct stored){.engine = {.ops = &engine_postgresql}, .store = &pg_store};
    bool fine = pg_link_init(&postgresql->link, &postgresql->stored.engine, &postgresql->place);
    enum status status = fine ? pg_place_init(&postgresql->place, url, ret_problem) : STATUS_FULL;
    if (!fine) {
        (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "the system has no descriptor left");
    } else if (status == STATUS_OK && !pg_sqls_init(&postgresql->sqls, postgresql->place.schema)) {
        (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "memory was refused");
        status = STATUS_NOMEM;
    }
    if (status != STATUS_OK) {
        close_engine(&postgresql->stored.engine);
        return status;
    }
    *ret_engine = &postgresql->stored.engine;
    return STATUS_OK;
}

static int fd_of(const struct engine *engine) { return pg_link_fd(&((const struct postgresql *)engine)->link); }
static void heard(struct engine *engine) { pg_link_heard(&postgresql_of(engine)->link); }

#define OPS(name)                                                                                                      \
    {                                                                                                                  \
        .scheme = (name),                                                                                              \
        .can = COHORT_CAN_PROCESSES | COHORT_CAN_LOCK | COHORT_CAN_SHARE | COHORT_CAN_PERMITS | COHORT_CAN_QUEUE |     \
               COHORT_CAN_FENCE | COHORT_CAN_ELECT | COHORT_CAN_LOOK,                                                  \
        .open = open_engine, .close = close_engine, .fd = fd_of, .heard = heard, .acquire = acquire,                   \
        .renew = stored_renew, .release = stored_release, .leave = stored_leave, .look = stored_look,                  \
        .fence = stored_fence, .list = list,                                                                           \
    }

static const struct engine_ops engine_postgresql = OPS("postgresql");
static const struct engine_ops engine_postgres = OPS("postgres");

MODULE_OF(&engine_postgresql, &engine_postgres);

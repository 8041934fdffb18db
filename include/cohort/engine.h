/* Engines: where the locks are. The scheme of cohort_open's URL says:
 *
 *   cohort://host:port[,…]   a cohort: everything in this library (default)
 *   embedded:///folder       a whole node within this process: everything in this library, durable in the folder, for
 *                            one process at a time; the first handle of a folder starts it, closing the last one stops
 *                            it. ?create=no&shards=N&log=/path&maxmemory=1gb&…
 *   file:///folder           files of one machine: no server at all. The folder is made when it is not there
 *   sqlite:///path/to.db     tables of an SQLite database of one machine; ?local=yes: the file system is of it alone
 *   redis://host:port        one Redis server, beside other libraries that lock there; no tokens for ever
 *   redlock://h1,h2,h3       most of several Redis servers, as the algorithm of that name says; no tokens for ever
 *   postgresql://user@host:port/database[?schema=NAME&…]   a table of PostgreSQL; all of libpq's forms of a URL
 *   etcd://h1:2379,h2[/prefix]   an etcd cluster, beside `etcdctl lock`
 *   zookeeper://h1,h2,h3[/folder]   ZooKeeper, by its own recipe of locks, beside kazoo; ?session=10s
 *
 * All options: ?timeout=5s (of each operation). A space, a question mark or a percent sign in a path is %20, %3F, %25.
 * Without a cohort or embedded:// there are locks, and what is made of them (cohort/lock.h, cohort/elect.h, keepers):
 * what an engine cannot do, it answers with COHORT_UNSUPPORTED, and says so before, by cohort_can. An engine has a
 * thread of its own in the program. docs/engines.md says for each how long a lease is believed, and what may go wrong.
 */
#ifndef COHORT_ENGINE_H
#define COHORT_ENGINE_H

#include <cohort/client.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    COHORT_CAN_LOCK = 1 << 0,      /* exclusive locks, renewed, released, waited for */
    COHORT_CAN_SHARE = 1 << 1,     /* shared ones */
    COHORT_CAN_PERMITS = 1 << 2,   /* semaphores */
    COHORT_CAN_QUEUE = 1 << 3,     /* first come, first served */
    COHORT_CAN_FENCE = 1 << 4,     /* tokens that only grow, for ever, and FENCE.CHECK */
    COHORT_CAN_ELECT = 1 << 5,     /* cohort/elect.h */
    COHORT_CAN_LOOK = 1 << 6,      /* LOCK.INFO, LOCK.LIST, LOCK.HISTORY */
    COHORT_CAN_SURVIVE = 1 << 7,   /* it goes on when one machine of it is lost */
    COHORT_CAN_ALL = 1 << 8,       /* keys, scripts, transactions, feeds, sessions, several locks at once, guards */
    COHORT_CAN_PROCESSES = 1 << 9, /* several processes may use it at the same time */
};

/* What the handle's engine can do: the sum of the above. */
COHORT_API unsigned cohort_can(const struct cohort *cohort);

#ifdef __cplusplus
}
#endif

#endif

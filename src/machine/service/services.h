/* The services of a shard: under which addresses each can be reached, until when, and what changed there lately.
 * Replicated and pure; a part of the machine, beside keys and locks and never touched by commands about these.
 *
 * An endpoint, known by the id that its registrant chose:
 *
 *   none ──REGISTER──▶ UP ──DRAIN──▶ DRAINING (gets no new work, and stays listed)
 *                      │ ▲              │
 *   REGISTER, with what it says already: only its lease begins anew; with something else: CHANGED
 *                      └────────────────┴──REMOVE, its lease or its session ends──▶ none
 *
 * Invariants
 * 1. An endpoint has a lease of its own, by cluster time, or ends with a session; never both, never neither. One whose
 *    lease is due is not there for any command that looks, whether a time entry has come or not.
 * 2. Each change has a revision: restores × 2^56 + the position of the command that made it, or one more than the
 * change before it when that is more. So revisions of a shard grow, through failover and restore.
 * 3. `revision` of a service is that of its last change; its changes behind `floor` are known, each with all that an
 *    endpoint says. Whoever has the endpoints as they were at `floor`, or behind any of these changes, has them as they
 *    are now by going through those that follow.
 * 4. Renewing is no change.
 * 5. A service without endpoints stays known for its changes as long as there is room; of what is forgotten the largest
 *    revision is known (`floor` of all), under which no other is taken for one that is there.
 * 6. All of it is bounded by service_limits.h. */
#pragma once

#include "base/buffer.h"
#include "machine/due_heap.h"
#include "machine/keys/table.h"
#include "machine/lock/locks.h"
#include "machine/service/service_limits.h"
#include "machine/snapshot_walk.h"

struct tie;
struct ties;

enum endpoint_state { ENDPOINT_UP, ENDPOINT_DRAINING, ENDPOINT_STATES };

enum service_event {
    SERVICE_REGISTERED,
    SERVICE_CHANGED,
    SERVICE_DRAINING,
    SERVICE_REMOVED,
    SERVICE_EXPIRED,
    SERVICE_SESSION_ENDED,
    SERVICE_EVENTS,
};

enum service_outcome {
    SERVICE_DONE,
    SERVICE_NONE, /* no such endpoint */
    SERVICE_TIED, /* it ends with a session: there is nothing to renew */
    SERVICE_MANY_ENDPOINTS,
    SERVICE_MANY_ENDPOINTS_IN_ALL,
    SERVICE_MANY,
    SERVICE_SESSION_FULL,
};

/* What a registration says. `says` is service_says.h's form of address, weight, zone and meta. */
struct service_request {
    struct slice name, id, says;
    int64_t ttl_ms;  /* with a session: what remains of that */
    struct tie *tie; /* borrowed; NULL: it has a lease of its own */
};

struct service;
struct endpoint;

struct services {
    struct table table;     /* of struct service */
    struct table index;     /* of struct endpoint */
    struct due_heap leases; /* endpoints, by the end of their leases */
    struct due_heap idle;   /* services without endpoints, by their last change */
    struct due_heap oldest; /* services with changes that are known, by the first of these */
    uint64_t busy;          /* services with endpoints */
    uint64_t last_revision;
    uint64_t floor;        /* the largest revision of a service that is forgotten */
    uint64_t change_bytes; /* of all changes that are known */
    uint64_t memory_bytes;
    const uint64_t *restores; /* borrowed: how often the cluster was restored */
    struct ties *ties;        /* borrowed */
    /* No part of the state. */
    uint64_t last_number;
    uint64_t registered, expired, changed; /* since the process started; `changed` counts all changes */
    struct snapshot_walk walk;             /* kind: services_snapshot */
};

void services_init(struct services *services, uint64_t seed, struct ties *ties, const uint64_t *restores);
void services_deinit(struct services *services);

/* ---- changes; each ends what is due of its service, and some of what else is due, first ---- */

/* ret_since: the revision at which the endpoint was registered. */
enum service_outcome services_register(struct services *services, const struct service_request *request,
                                       const struct lock_now *now, uint64_t *ret_since);
enum service_outcome services_renew(struct services *services, struct slice name, struct slice id, int64_t ttl_ms,
                                    const struct lock_now *now);
/* SERVICE_DONE also when it drains already. */
enum service_outcome services_drain(struct services *services, struct slice name, struct slice id,
                                    const struct lock_now *now);
enum service_outcome services_remove(struct services *services, struct slice name, struct slice id,
                                     const struct lock_now *now);
/* Ends what is due, at most `limit`, in the order (due, since); returns how many. */
size_t services_expire(struct services *services, const struct lock_now *now, size_t limit);
/* Ends endpoints of a session that has ended, at most `limit`, in the order of their registrations. */
size_t services_end_tied(struct services *services, struct tie *tie, size_t limit, const struct lock_now *now);

/* ---- looking ---- */

/* When a lease is due next; INT64_MAX: never. */
int64_t services_next_due(const struct services *services);
static inline uint64_t services_endpoints(const struct services *services) { return services->index.count; }
/* What is wrong with the state, by the invariants; NULL. Walks everything: for tests and the simulator. */
const char *services_problem(const struct services *services);

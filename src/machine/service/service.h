/* What a service, an endpoint and a change look like in memory. For the files of this folder alone.
 *
 * Invariants
 * 1. A service is in services.idle exactly when it has no endpoints, in services.oldest exactly when it has changes.
 * 2. An endpoint is in services.leases exactly when it has no tie; else in the list of its tie.
 * 3. The changes of a service are in the order of their revisions; all are above its floor, and the last one has the
 *    service's revision. Without changes, floor and revision are equal.
 * 4. A service with neither endpoints nor changes is not there. */
#pragma once

#include "base/list.h"
#include "machine/service/service_says.h"
#include "machine/service/services.h"
#include "machine/session/ties.h"

struct service {
    uint32_t key_size;     /* first: struct table_item */
    uint32_t heap_index;   /* in services.idle */
    uint32_t oldest_index; /* in services.oldest */
    uint32_t epoch;        /* of the last snapshot that has it, or need not */
    uint64_t number;       /* in this process */
    uint64_t revision, floor;
    struct list endpoints; /* in the order of their registrations */
    struct list changes;
    uint32_t endpoint_count, change_count;
    uint8_t key[]; /* its name */
};

struct endpoint {
    uint32_t key_size;    /* first: struct table_item */
    uint32_t heap_index;  /* in services.leases */
    struct list node;     /* of service.endpoints */
    struct list tie_node; /* of tie.endpoints */
    struct service *service;
    struct tie *tie; /* NULL: it has a lease */
    uint64_t since;  /* the revision at which it was registered */
    int64_t due_ms, since_ms;
    uint8_t *says; /* service_says.h */
    uint32_t says_size;
    uint8_t state;   /* enum endpoint_state */
    uint8_t bytes[]; /* number of the service u64, id */
};

enum { ENDPOINT_PREFIX = sizeof(uint64_t) };

struct service_change {
    struct list node; /* of service.changes */
    uint64_t revision;
    uint32_t id_size, says_size;
    uint8_t event;   /* enum service_event */
    uint8_t bytes[]; /* id, says: nothing of an endpoint that is gone */
};

static inline struct slice service_name(const struct service *service)
{
    return slice_of(service->key, service->key_size);
}
static inline struct endpoint *endpoint_of(const struct list *node)
{
    return CONTAINER_OF(node, struct endpoint, node);
}
static inline struct slice endpoint_id(const struct endpoint *endpoint)
{
    return slice_of(endpoint->bytes + ENDPOINT_PREFIX, endpoint->key_size - ENDPOINT_PREFIX);
}
static inline struct slice endpoint_says(const struct endpoint *endpoint)
{
    return slice_of(endpoint->says, endpoint->says_size);
}
static inline struct service_change *change_of(const struct list *node)
{
    return CONTAINER_OF(node, struct service_change, node);
}
static inline struct slice change_id(const struct service_change *change)
{
    return slice_of(change->bytes, change->id_size);
}
static inline struct slice change_says(const struct service_change *change)
{
    return slice_of(change->bytes + change->id_size, change->says_size);
}
static inline bool service_event_is_end(enum service_event event)
{
    return event == SERVICE_REMOVED || event == SERVICE_EXPIRED || event == SERVICE_SESSION_ENDED;
}

/* ---- service_record.c ---- */

struct service *service_find(const struct services *services, struct slice name);
/* One that is not there: in no heap, and settled by the caller. */
struct service *service_add(struct services *services, struct slice name);
/* It is idle, or not; or it goes, when there is nothing to know about it. */
void service_settle(struct services *services, struct service *service);
struct endpoint *endpoint_find(const struct services *services, const struct service *service, struct slice id);
/* Puts one in that is not there, behind the others, with a lease until due_ms or with the tie. */
struct endpoint *endpoint_enter(struct services *services, struct service *service, struct slice id, struct slice says,
                                struct tie *tie, int64_t due_ms);
void endpoint_say(struct services *services, struct endpoint *endpoint, struct slice says);
/* From now on it has this lease, or this tie. */
void endpoint_hold(struct services *services, struct endpoint *endpoint, struct tie *tie, int64_t due_ms);
void endpoint_leave(struct services *services, struct endpoint *endpoint);

/* ---- service_history.c ---- */

/* What happened to the endpoint: takes the next revision, and forgets what is too old for the limits. Then the service
 * is settled by the caller. */
uint64_t service_note(struct services *services, struct service *service, enum service_event event,
                      const struct endpoint *endpoint, const struct lock_now *now);
/* For loading, and inside: a change behind the others; the first one goes. */
void change_append(struct services *services, struct service *service, uint64_t revision, enum service_event event,
                   struct slice id, struct slice says);
void change_forget(struct services *services, struct service *service);
/* Services that have been idle for longest, as many as there are too many, but not this one. */
void services_forget_idle(struct services *services, const struct service *but);
/* Where the change behind this revision is in the list; NULL: it is none that is known. */
const struct list *service_behind(const struct service *service, uint64_t revision);

/* ---- service_snapshot.c ---- */

extern const struct snapshot_walk_kind services_snapshot;
/* Before each change of a service: the running snapshot has it as it was. */
static inline void service_keep(struct services *services, struct service *service)
{
    snapshot_walk_keep(&services->walk, service);
}

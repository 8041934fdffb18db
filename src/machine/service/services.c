#include "machine/service/services.h"

#include "base/assert.h"
#include "base/memory.h"
#include "machine/machine_mutation.h"
#include "machine/service/service.h"

#include <stdlib.h>

enum { STEP = 16 /* that are due, ended on the way of another command */ };

static bool registered_before(const void *a, const void *b)
{
    const struct endpoint *x = a;
    const struct endpoint *y = b;
    return x->since < y->since;
}

/* Revisions are of one service each; this is never asked. */
static bool named_before(const void *a, const void *b) { return slice_compare(service_name(a), service_name(b)) < 0; }

void services_init(struct services *services, uint64_t seed, struct ties *ties, const uint64_t *restores)
{
    static const struct due_order leases = {offsetof(struct endpoint, heap_index), registered_before};
    static const struct due_order idle = {offsetof(struct service, heap_index), named_before};
    static const struct due_order oldest = {offsetof(struct service, oldest_index), named_before};
    *services = (struct services){.ties = ties, .restores = restores};
    table_init(&services->table, seed, offsetof(struct service, key));
    table_init(&services->index, seed, offsetof(struct endpoint, bytes));
    due_heap_init(&services->leases, &leases);
    due_heap_init(&services->idle, &idle);
    due_heap_init(&services->oldest, &oldest);
    snapshot_walk_init(&services->walk, &services_snapshot, &services->table);
}

static void release_endpoint(void *owner, void *item)
{
    struct endpoint *endpoint = item;
    (void)owner;
    free(endpoint->says);
    free(endpoint);
}

static void release_service(void *owner, void *item)
{
    struct service *service = item;
    (void)owner;
    LIST_FOR_EACH_SAFE (at, after, &service->changes) {
        free(change_of(at));
    }
    free(service);
}

void services_deinit(struct services *services)
{
    while (table_release(&services->index, 1024, release_endpoint, NULL)) {
    }
    while (table_release(&services->table, 1024, release_service, NULL)) {
    }
    due_heap_deinit(&services->leases);
    due_heap_deinit(&services->idle);
    due_heap_deinit(&services->oldest);
    snapshot_walk_deinit(&services->walk);
}

/* ---- ends ---- */

static void end(struct services *services, struct endpoint *endpoint, enum service_event event,
                const struct lock_now *now)
{
    struct service *service = endpoint->service;
    service_keep(services, service);
    (void)service_note(services, service, event, endpoint, now);
    endpoint_leave(services, endpoint);
    service_settle(services, service);
    services_forget_idle(services, service);
}

static struct endpoint *due(const struct services *services, int64_t time_ms)
{
    const struct due_item *first = due_heap_first(&services->leases);
    return first == NULL || first->due_ms > time_ms ? NULL : first->of;
}

size_t services_expire(struct services *services, const struct lock_now *now, size_t limit)
{
    int64_t time_ms = MACHINE_MUTATED(SERVICE_EARLY)  ? now->time_ms + 100
                      : MACHINE_MUTATED(SERVICE_LATE) ? now->time_ms - 60 * 1000
                                                      : now->time_ms;
    size_t ended = 0;
    for (struct endpoint *first; ended < limit && (first = due(services, time_ms)) != NULL; ended++) {
        end(services, first, SERVICE_EXPIRED, now);
        services->expired++;
    }
    return ended;
}

/* What is due of it is ended; more that is due elsewhere comes by itself. */
static struct service *find_settled(struct services *services, struct slice name, const struct lock_now *now)
{
    (void)services_expire(services, now, STEP);
    struct service *service = service_find(services, name);
    if (service == NULL || due(services, now->time_ms) == NULL) {
        return service;
    }
    LIST_FOR_EACH_SAFE (at, after, &service->endpoints) {
        struct endpoint *endpoint = endpoint_of(at);
        if (endpoint->tie == NULL && endpoint->due_ms <= now->time_ms) {
            end(services, endpoint, SERVICE_EXPIRED, now); /* it stays: its last change is known */
            services->expired++;
        }
    }
    return service;
}

/* ---- registering ---- */

static enum service_outcome may_enter(const struct services *services, const struct service *service,
                                      const struct tie *tie)
{
    if (service != NULL && service->endpoint_count >= SERVICE_ENDPOINTS) {
        return SERVICE_MANY_ENDPOINTS;
    }
    if (services->index.count >= SERVICES_ENDPOINTS) {
        return SERVICE_MANY_ENDPOINTS_IN_ALL;
    }
    if ((service == NULL || service->endpoint_count == 0) && services->busy >= SERVICES_MAXIMUM) {
        return SERVICE_MANY;
    }
    return tie != NULL && tie->endpoint_count >= SESSION_CLAIMS ? SERVICE_SESSION_FULL : SERVICE_DONE;
}

static enum service_outcome enter(struct services *services, struct service *service,
                                  const struct service_request *request, const struct lock_now *now,
                                  uint64_t *ret_since)
{
    enum service_outcome outcome = may_enter(services, service, request->tie);
    if (outcome != SERVICE_DONE) {
        return outcome;
    }
    service = service != NULL ? service : service_add(services, request->name);
    service_keep(services, service);
    struct endpoint *endpoint =
        endpoint_enter(services, service, request->id, request->says, request->tie, now->time_ms + request->ttl_ms);
    endpoint->since_ms = now->time_ms;
    endpoint->since = service_note(services, service, SERVICE_REGISTERED, endpoint, now);
    if (request->tie == NULL) { /* its place among those due at the same time is known only now */
        endpoint_hold(services, endpoint, NULL, endpoint->due_ms);
    }
    service_settle(services, service);
    services->registered++;
    *ret_since = endpoint->since;
    return SERVICE_DONE;
}

/* It is there: its lease begins anew, or it gets another kind of end; and what it says may be new. */
static enum service_outcome enter_again(struct services *services, struct endpoint *endpoint,
                                        const struct service_request *request, const struct lock_now *now)
{
    struct tie *tie = request->tie;
    if (tie != NULL && tie != endpoint->tie && tie->endpoint_count >= SESSION_CLAIMS) {
        return SERVICE_SESSION_FULL;
    }
    service_keep(services, endpoint->service);
    if (tie == NULL || tie != endpoint->tie) {
        endpoint_hold(services, endpoint, tie, now->time_ms + request->ttl_ms);
    }
    if (!slice_equal(endpoint_says(endpoint), request->says)) {
        endpoint_say(services, endpoint, request->says);
        (void)service_note(services, endpoint->service, SERVICE_CHANGED, endpoint, now);
    }
    return SERVICE_DONE;
}

enum service_outcome services_register(struct services *services, const struct service_request *request,
                                       const struct lock_now *now, uint64_t *ret_since)
{
    struct service *service = find_settled(services, request->name, now);
    struct endpoint *endpoint = service == NULL ? NULL : endpoint_find(services, service, request->id);
    if (endpoint == NULL) {
        return enter(services, service, request, now, ret_since);
    }
    *ret_since = endpoint->since;
    return enter_again(services, endpoint, request, now);
}

/* ---- what is done to one that is there ---- */

static struct endpoint *find(struct services *services, struct slice name, struct slice id, const struct lock_now *now)
{
    struct service *service = find_settled(services, name, now);
    return service == NULL ? NULL : endpoint_find(services, service, id);
}

enum service_outcome services_renew(struct services *services, struct slice name, struct slice id, int64_t ttl_ms,
                                    const struct lock_now *now)
{
    struct endpoint *endpoint = find(services, name, id, now);
    if (endpoint == NULL || endpoint->tie != NULL) {
        return endpoint == NULL ? SERVICE_NONE : SERVICE_TIED;
    }
    service_keep(services, endpoint->service);
    endpoint_hold(services, endpoint, NULL, now->time_ms + ttl_ms);
    return SERVICE_DONE;
}

enum service_outcome services_drain(struct services *services, struct slice name, struct slice id,
                                    const struct lock_now *now)
{
    struct endpoint *endpoint = find(services, name, id, now);
    if (endpoint == NULL) {
        return SERVICE_NONE;
    }
    if (endpoint->state != ENDPOINT_DRAINING) {
        service_keep(services, endpoint->service);
        endpoint->state = ENDPOINT_DRAINING;
        (void)service_note(services, endpoint->service, SERVICE_DRAINING, endpoint, now);
    }
    return SERVICE_DONE;
}

enum service_outcome services_remove(struct services *services, struct slice name, struct slice id,
                                     const struct lock_now *now)
{
    struct endpoint *endpoint = find(services, name, id, now);
    if (endpoint == NULL) {
        return SERVICE_NONE;
    }
    end(services, endpoint, SERVICE_REMOVED, now);
    return SERVICE_DONE;
}

/* ---- sessions ---- */

static int by_since(const void *a, const void *b)
{
    const struct endpoint *const *x = a;
    const struct endpoint *const *y = b;
    return ((*x)->since > (*y)->since) - ((*x)->since < (*y)->since);
}

size_t services_end_tied(struct services *services, struct tie *tie, size_t limit, const struct lock_now *now)
{
    if (tie->endpoint_count == 0 || limit == 0) {
        return 0;
    }
    size_t count = 0;
    struct endpoint **endpoints = memory_allocate(tie->endpoint_count * sizeof(struct endpoint *));
    LIST_FOR_EACH (at, &tie->endpoints) {
        endpoints[count++] = CONTAINER_OF(at, struct endpoint, tie_node);
    }
    ASSERT(count == tie->endpoint_count);
    qsort(endpoints, count, sizeof(struct endpoint *), by_since); /* the list is in another order after a snapshot */
    count = count < limit ? count : limit;
    for (size_t i = 0; i < count; i++) {
        end(services, endpoints[i], SERVICE_SESSION_ENDED, now);
    }
    free(endpoints);
    return count;
}

/* ---- looking ---- */

int64_t services_next_due(const struct services *services)
{
    const struct due_item *first = due_heap_first(&services->leases);
    return first == NULL ? INT64_MAX : first->due_ms;
}

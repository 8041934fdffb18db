/* What must be true of services at every moment (services.h, service.h), for tests and the simulator. */
#include "machine/service/service.h"

struct looking {
    const struct services *services;
    const char *problem;
    uint64_t endpoints, leases, busy, idle, with_changes, change_bytes;
};

static void look_at_endpoints(struct looking *looking, const struct service *service)
{
    uint32_t count = 0;
    uint64_t before = 0;
    LIST_FOR_EACH (at, &service->endpoints) {
        const struct endpoint *endpoint = endpoint_of(at);
        count++;
        looking->leases += endpoint->tie == NULL ? 1 : 0;
        if (endpoint->since <= before || endpoint->since > service->revision) {
            looking->problem = "an endpoint out of its order";
        }
        if ((endpoint->heap_index != 0) != (endpoint->tie == NULL)) {
            looking->problem = "an endpoint without an end";
        }
        before = endpoint->since;
    }
    if (count != service->endpoint_count) {
        looking->problem = "endpoints of a service that are not counted";
    }
    looking->endpoints += count;
}

static void look_at_changes(struct looking *looking, const struct service *service)
{
    uint32_t count = 0;
    uint64_t before = service->floor;
    LIST_FOR_EACH (at, &service->changes) {
        count++;
        if (change_of(at)->revision <= before) {
            looking->problem = "a change out of its order";
        }
        before = change_of(at)->revision;
    }
    if (count != service->change_count || count > SERVICE_CHANGES) {
        looking->problem = "changes of a service that are not counted";
    }
    if (before != service->revision || before > looking->services->last_revision) {
        looking->problem = "a service whose revision is not that of its last change";
    }
}

/* What its endpoints are now, by the changes that are known: the last one about each says the same as the endpoint. */
static void compare(struct looking *looking, const struct service *service)
{
    LIST_FOR_EACH (at, &service->changes) {
        const struct service_change *change = change_of(at);
        const struct endpoint *endpoint = endpoint_find(looking->services, service, change_id(change));
        bool last = true;
        for (const struct list *next = at->next; last && next != &service->changes; next = next->next) {
            last = !slice_equal(change_id(change_of(next)), change_id(change));
        }
        bool gone = service_event_is_end((enum service_event)change->event);
        if (last && (gone != (endpoint == NULL) ||
                     (endpoint != NULL && !slice_equal(endpoint_says(endpoint), change_says(change))))) {
            looking->problem = "an endpoint that is not as its last change says";
        }
        if (last && change->event == SERVICE_DRAINING && endpoint != NULL && endpoint->state != ENDPOINT_DRAINING) {
            looking->problem = "an endpoint that was drained, and does not drain";
        }
    }
}

static void look_at(void *owner, void *item)
{
    struct looking *looking = owner;
    const struct service *service = item;
    look_at_endpoints(looking, service);
    look_at_changes(looking, service);
    compare(looking, service);
    looking->busy += service->endpoint_count != 0 ? 1 : 0;
    looking->idle += service->heap_index != 0 ? 1 : 0;
    looking->with_changes += service->oldest_index != 0 ? 1 : 0;
    if (service->endpoint_count == 0 && service->change_count == 0) {
        looking->problem = "a service of which nothing is known";
    }
}

const char *services_problem(const struct services *services)
{
    struct looking looking = {.services = services};
    uint64_t cursor = 0;
    do {
        cursor = table_walk(&services->table, cursor, look_at, &looking);
    } while (cursor != 0);
    if (looking.problem == NULL &&
        (looking.endpoints != services->index.count || looking.leases != services->leases.count ||
         looking.busy != services->busy || looking.busy + looking.idle != services->table.count ||
         looking.idle != services->idle.count || looking.with_changes != services->oldest.count)) {
        return "services or endpoints that are not counted";
    }
    return looking.problem;
}

/* What changed lately: of each service the last changes, of all no more than fits. */
#include "base/assert.h"
#include "base/memory.h"
#include "machine/machine_mutation.h"
#include "machine/service/service.h"

#include <stdlib.h>

enum { CHARGE_CHANGE = 64 };

static uint64_t bytes_of(const struct service_change *change)
{
    return CHARGE_CHANGE + change->id_size + change->says_size;
}

/* In services.oldest by the first of its changes, or not there. */
static void place(struct services *services, struct service *service)
{
    bool there = service->oldest_index != 0;
    if (service->change_count == 0) {
        if (there) {
            due_heap_remove(&services->oldest, service);
        }
        return;
    }
    int64_t first = (int64_t)change_of(service->changes.next)->revision;
    if (there) {
        due_heap_change(&services->oldest, service, first);
    } else {
        due_heap_insert(&services->oldest, service, first);
    }
}

void change_append(struct services *services, struct service *service, uint64_t revision, enum service_event event,
                   struct slice id, struct slice says)
{
    ASSERT(revision > service->revision || service->change_count == 0);
    struct service_change *change = memory_allocate(sizeof(*change) + id.size + says.size);
    *change = (struct service_change){
        .revision = revision, .id_size = (uint32_t)id.size, .says_size = (uint32_t)says.size, .event = (uint8_t)event};
    memcpy(change->bytes, id.data, id.size);
    if (says.size > 0) {
        memcpy(change->bytes + id.size, says.data, says.size);
    }
    list_append(&service->changes, &change->node);
    service->change_count++;
    service->revision = revision;
    services->change_bytes += bytes_of(change);
    services->memory_bytes += bytes_of(change);
    if (service->change_count == 1) {
        place(services, service);
    }
}

void change_forget(struct services *services, struct service *service)
{
    struct service_change *change = change_of(service->changes.next);
    ASSERT(service->change_count > 0);
    list_remove(&change->node);
    service->change_count--;
    service->floor = change->revision;
    services->change_bytes -= bytes_of(change);
    services->memory_bytes -= bytes_of(change);
    free(change);
    place(services, service);
}

/* Of any service, the oldest first, but for the last change of this one. */
static void forget_old(struct services *services, struct service *but)
{
    while (but->change_count > SERVICE_CHANGES) {
        change_forget(services, but);
    }
    while (services->change_bytes > SERVICES_CHANGE_BYTES) {
        struct service *service = due_heap_first(&services->oldest)->of;
        if (service == but && but->change_count == 1) {
            return; /* one change is far smaller than the limit: nothing else is left */
        }
        service_keep(services, service);
        change_forget(services, service);
        if (service != but && service->change_count == 0) {
            service_settle(services, service);
        }
    }
}

uint64_t service_note(struct services *services, struct service *service, enum service_event event,
                      const struct endpoint *endpoint, const struct lock_now *now)
{
    uint64_t least = (*services->restores << LOCK_TOKEN_RESTORE_SHIFT) + now->position;
    uint64_t revision = services->last_revision + 1 > least ? services->last_revision + 1 : least;
    bool gone = service_event_is_end(event);
    services->last_revision = revision;
    services->changed++;
    if (MACHINE_MUTATED(SERVICE_UNNOTED) && event == SERVICE_DRAINING) {
        return revision;
    }
    change_append(services, service, revision, event, endpoint_id(endpoint),
                  gone ? slice_of(NULL, 0) : endpoint_says(endpoint));
    forget_old(services, service);
    return revision;
}

const struct list *service_behind(const struct service *service, uint64_t revision)
{
    if (revision == service->floor) {
        return service->changes.next;
    }
    for (const struct list *at = service->changes.prev; at != &service->changes; at = at->prev) {
        if (change_of(at)->revision <= revision) {
            return change_of(at)->revision == revision ? at->next : NULL;
        }
    }
    return NULL;
}

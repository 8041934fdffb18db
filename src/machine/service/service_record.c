/* Memory of services and endpoints, and what is charged for it: alike on every replica. */
#include "base/assert.h"
#include "base/memory.h"
#include "machine/service/service.h"

#include <stdlib.h>

enum { CHARGE_SERVICE = 200, CHARGE_ENDPOINT = 200 /* header, allocator, places in tables and heaps */ };

/* ---- services ---- */

static uint64_t service_hash(const struct services *services, const struct service *service)
{
    return table_hash(&services->table, service_name(service));
}

struct service *service_find(const struct services *services, struct slice name)
{
    return table_find(&services->table, table_hash(&services->table, name), name);
}

struct service *service_add(struct services *services, struct slice name)
{
    ASSERT(name.size <= SERVICE_NAME_BYTES);
    struct service *service = memory_allocate(sizeof(*service) + name.size + 1);
    *service = (struct service){.key_size = (uint32_t)name.size,
                                .epoch = services->walk.epoch,
                                .number = ++services->last_number,
                                .revision = services->floor,
                                .floor = services->floor};
    list_init(&service->endpoints);
    list_init(&service->changes);
    if (name.size > 0) {
        memcpy(service->key, name.data, name.size);
    }
    table_insert(&services->table, service_hash(services, service), service);
    services->memory_bytes += CHARGE_SERVICE + service->key_size;
    return service;
}

static void service_forget(struct services *services, struct service *service)
{
    if (service->heap_index != 0) {
        due_heap_remove(&services->idle, service);
    }
    services->floor = service->revision > services->floor ? service->revision : services->floor;
    services->memory_bytes -= CHARGE_SERVICE + service->key_size;
    table_remove(&services->table, service_hash(services, service), service);
    free(service);
}

void service_settle(struct services *services, struct service *service)
{
    if (service->endpoint_count == 0 && service->change_count == 0) {
        service_forget(services, service);
        return;
    }
    bool idle = service->endpoint_count == 0;
    if (idle && service->heap_index == 0) {
        due_heap_insert(&services->idle, service, (int64_t)service->revision);
    } else if (!idle && service->heap_index != 0) {
        due_heap_remove(&services->idle, service);
    }
}

void services_forget_idle(struct services *services, const struct service *but)
{
    while (services->idle.count > SERVICES_IDLE && due_heap_first(&services->idle)->of != but) {
        struct service *service = due_heap_first(&services->idle)->of;
        service_keep(services, service);
        while (service->change_count > 0) {
            change_forget(services, service);
        }
        service_settle(services, service);
    }
}

/* ---- endpoints ---- */

static uint64_t endpoint_hash(const struct services *services, const struct endpoint *endpoint)
{
    return table_hash(&services->index, slice_of(endpoint->bytes, endpoint->key_size));
}

struct endpoint *endpoint_find(const struct services *services, const struct service *service, struct slice id)
{
    uint8_t key[ENDPOINT_PREFIX + SERVICE_ID_BYTES];
    if (id.size == 0 || id.size > SERVICE_ID_BYTES) {
        return NULL;
    }
    memcpy(key, &service->number, ENDPOINT_PREFIX);
    memcpy(key + ENDPOINT_PREFIX, id.data, id.size);
    struct slice whole = slice_of(key, ENDPOINT_PREFIX + id.size);
    return table_find(&services->index, table_hash(&services->index, whole), whole);
}

/* Into the heap of leases or the list of its tie, and out of them. */
static void hold(struct services *services, struct endpoint *endpoint)
{
    if (endpoint->tie == NULL) {
        due_heap_insert(&services->leases, endpoint, endpoint->due_ms);
    } else {
        list_append(&endpoint->tie->endpoints, &endpoint->tie_node);
        endpoint->tie->endpoint_count++;
    }
}

static void let_go(struct services *services, struct endpoint *endpoint)
{
    if (endpoint->tie == NULL) {
        due_heap_remove(&services->leases, endpoint);
    } else {
        list_remove(&endpoint->tie_node);
        endpoint->tie->endpoint_count--;
    }
}

void endpoint_hold(struct services *services, struct endpoint *endpoint, struct tie *tie, int64_t due_ms)
{
    if (endpoint->tie == NULL && tie == NULL) {
        endpoint->due_ms = due_ms;
        due_heap_change(&services->leases, endpoint, due_ms);
        return;
    }
    let_go(services, endpoint);
    endpoint->tie = tie;
    endpoint->due_ms = tie == NULL ? due_ms : 0;
    hold(services, endpoint);
}

void endpoint_say(struct services *services, struct endpoint *endpoint, struct slice says)
{
    services->memory_bytes += says.size;
    services->memory_bytes -= endpoint->says_size;
    free(endpoint->says);
    endpoint->says = memory_allocate(says.size);
    memcpy(endpoint->says, says.data, says.size);
    endpoint->says_size = (uint32_t)says.size;
}

struct endpoint *endpoint_enter(struct services *services, struct service *service, struct slice id, struct slice says,
                                struct tie *tie, int64_t due_ms)
{
    ASSERT(id.size > 0 && id.size <= SERVICE_ID_BYTES && says.size > 0);
    struct endpoint *endpoint = memory_allocate(sizeof(*endpoint) + ENDPOINT_PREFIX + id.size);
    *endpoint = (struct endpoint){.key_size = ENDPOINT_PREFIX + (uint32_t)id.size,
                                  .service = service,
                                  .tie = tie,
                                  .due_ms = tie == NULL ? due_ms : 0,
                                  .state = ENDPOINT_UP};
    memcpy(endpoint->bytes, &service->number, ENDPOINT_PREFIX);
    memcpy(endpoint->bytes + ENDPOINT_PREFIX, id.data, id.size);
    list_init(&endpoint->tie_node);
    list_append(&service->endpoints, &endpoint->node);
    services->busy += service->endpoint_count++ == 0;
    services->memory_bytes += CHARGE_ENDPOINT + endpoint->key_size;
    table_insert(&services->index, endpoint_hash(services, endpoint), endpoint);
    endpoint_say(services, endpoint, says);
    hold(services, endpoint);
    return endpoint;
}

void endpoint_leave(struct services *services, struct endpoint *endpoint)
{
    struct service *service = endpoint->service;
    let_go(services, endpoint);
    list_remove(&endpoint->node);
    services->busy -= --service->endpoint_count == 0;
    services->memory_bytes -= CHARGE_ENDPOINT + endpoint->key_size + endpoint->says_size;
    table_remove(&services->index, endpoint_hash(services, endpoint), endpoint);
    free(endpoint->says);
    free(endpoint);
}

/* Services as records of snapshots (machine/snapshot_walk.h).
 *
 * After the kind and a version (1), u8 each; numbers are varints, texts a size and bytes:
 *   'v' marks     last revision · floor; the first one
 *   'V' service   name · revision · floor · endpoints · changes, then so many endpoints, each: id · says · since ·
 *                 since_ms · due_ms · state · shard of its session (0: none) · number of that; then so many changes,
 *                 each: id · says · revision · event */
#include "base/record.h"
#include "machine/machine_mutation.h"
#include "machine/service/service.h"

enum {
    RECORD = 'V',
    RECORD_MARKS = 'v',
    RECORD_VERSION = 1,
    MARKS = 2,
    SERVICE_NUMBERS = 4,
    ENDPOINT_NUMBERS = 6,
    CHANGE_NUMBERS = 2,
    SAYS_BYTES = SERVICE_ADDRESS_BYTES + SERVICE_ZONE_BYTES + SERVICE_META_BYTES + 1024,
};

static struct services *services_of(const struct snapshot_walk *walk)
{
    return CONTAINER_OF(walk, struct services, walk);
}

static void put_endpoint(struct buffer *out, const struct endpoint *endpoint)
{
    struct session_id session = endpoint->tie == NULL ? (struct session_id){0} : tie_id(endpoint->tie);
    const uint64_t numbers[ENDPOINT_NUMBERS] = {
        endpoint->since, (uint64_t)endpoint->since_ms, (uint64_t)endpoint->due_ms, endpoint->state, session.shard,
        session.number};
    record_put_text(out, endpoint_id(endpoint));
    record_put_text(out, endpoint_says(endpoint));
    record_put_numbers(out, numbers, ENDPOINT_NUMBERS);
}

static void put_change(struct buffer *out, const struct service_change *change)
{
    const uint64_t numbers[CHANGE_NUMBERS] = {change->revision, change->event};
    record_put_text(out, change_id(change));
    record_put_text(out, change_says(change));
    record_put_numbers(out, numbers, CHANGE_NUMBERS);
}

static void put_service(struct buffer *out, const void *item)
{
    const struct service *service = item;
    const uint64_t numbers[SERVICE_NUMBERS] = {service->revision, service->floor, service->endpoint_count,
                                               service->change_count};
    record_put_head(out, RECORD, RECORD_VERSION);
    record_put_text(out, service_name(service));
    record_put_numbers(out, numbers, SERVICE_NUMBERS);
    LIST_FOR_EACH (at, &service->endpoints) {
        put_endpoint(out, endpoint_of(at));
    }
    LIST_FOR_EACH (at, &service->changes) {
        put_change(out, change_of(at));
    }
}

static bool unused(const struct services *services)
{
    return services->last_revision == 0 && services->table.count == 0;
}

static void put_marks(struct buffer *out, const struct snapshot_walk *walk)
{
    const struct services *services = services_of(walk);
    const uint64_t numbers[MARKS] = {services->last_revision, services->floor};
    if (!unused(services)) {
        record_put_head(out, RECORD_MARKS, RECORD_VERSION);
        record_put_numbers(out, numbers, MARKS);
    }
}

/* ---- back: whatever the bytes are, what was taken before stays sound ---- */

static bool says_sound(struct slice bytes)
{
    struct service_says says;
    return service_says_take(bytes, &says);
}

static bool take_endpoint(struct services *services, struct service *service, struct slice *from)
{
    struct slice id;
    struct slice says;
    uint64_t numbers[ENDPOINT_NUMBERS];
    if (!record_take_text(from, SERVICE_ID_BYTES, &id) || id.size == 0 || !record_take_text(from, SAYS_BYTES, &says) ||
        !says_sound(says) || !record_take_numbers(from, INT64_MAX, numbers, ENDPOINT_NUMBERS) || numbers[0] == 0 ||
        numbers[0] > services->last_revision || numbers[1] > INT64_MAX / 2 || numbers[2] > INT64_MAX / 2 ||
        numbers[3] >= ENDPOINT_STATES || numbers[4] > UINT16_MAX || (numbers[4] == 0) != (numbers[5] == 0) ||
        (numbers[4] != 0 && numbers[2] != 0) || endpoint_find(services, service, id) != NULL ||
        (!list_empty(&service->endpoints) && endpoint_of(service->endpoints.prev)->since >= numbers[0])) {
        return false;
    }
    struct tie *tie =
        numbers[4] == 0 ? NULL : ties_enter(services->ties, (struct session_id){(uint32_t)numbers[4], numbers[5]});
    struct endpoint *endpoint = endpoint_enter(services, service, id, says, tie, (int64_t)numbers[2]);
    endpoint->since = numbers[0];
    endpoint->since_ms = (int64_t)numbers[1];
    endpoint->state = (uint8_t)numbers[3];
    if (tie == NULL) {
        endpoint_hold(services, endpoint, NULL, endpoint->due_ms);
    }
    return true;
}

static bool take_change(struct services *services, struct service *service, uint64_t floor, struct slice *from)
{
    struct slice id;
    struct slice says;
    uint64_t numbers[CHANGE_NUMBERS];
    if (!record_take_text(from, SERVICE_ID_BYTES, &id) || id.size == 0 || !record_take_text(from, SAYS_BYTES, &says) ||
        !record_take_numbers(from, INT64_MAX, numbers, CHANGE_NUMBERS) || numbers[0] > services->last_revision ||
        numbers[0] <= floor || (service->change_count > 0 && numbers[0] <= service->revision) ||
        numbers[1] >= SERVICE_EVENTS) {
        return false;
    }
    bool gone = service_event_is_end((enum service_event)numbers[1]);
    if (gone ? says.size != 0 : !says_sound(says)) {
        return false;
    }
    change_append(services, service, numbers[0], (enum service_event)numbers[1], id, says);
    return true;
}

static bool take_parts(struct services *services, struct service *service, struct slice *from,
                       const uint64_t numbers[static SERVICE_NUMBERS])
{
    for (uint64_t i = 0; i < numbers[2]; i++) {
        if (!take_endpoint(services, service, from)) {
            return false;
        }
    }
    for (uint64_t i = 0; i < numbers[3]; i++) {
        if (!take_change(services, service, numbers[1], from)) {
            return false;
        }
    }
    return from->size == 0 && (numbers[3] == 0 ? numbers[0] == numbers[1] : numbers[0] == service->revision);
}

static void drop(struct services *services, struct service *service, uint64_t floor)
{
    LIST_FOR_EACH_SAFE (at, after, &service->endpoints) {
        endpoint_leave(services, endpoint_of(at));
    }
    while (service->change_count > 0) {
        change_forget(services, service);
    }
    service->revision = 0;
    service_settle(services, service);
    services->floor = floor;
}

static enum status service_load(struct services *services, struct slice record)
{
    struct slice name;
    uint64_t numbers[SERVICE_NUMBERS];
    uint64_t floor = services->floor;
    if (!record_take_text(&record, SERVICE_NAME_BYTES, &name) || service_find(services, name) != NULL ||
        !record_take_numbers(&record, INT64_MAX, numbers, SERVICE_NUMBERS) || numbers[0] > services->last_revision ||
        numbers[1] > numbers[0] || numbers[2] > SERVICE_ENDPOINTS || numbers[3] > SERVICE_CHANGES ||
        numbers[2] + numbers[3] == 0 || services->index.count + numbers[2] > SERVICES_ENDPOINTS) {
        return STATUS_CORRUPT;
    }
    struct service *service = service_add(services, name);
    if (!take_parts(services, service, &record, numbers)) {
        drop(services, service, floor);
        return STATUS_CORRUPT;
    }
    service->revision = numbers[0];
    service->floor = numbers[1];
    if (MACHINE_MUTATED(SERVICE_DRAIN_FORGOTTEN) && service->endpoint_count > 0) {
        endpoint_of(service->endpoints.next)->state = ENDPOINT_UP;
    }
    service_settle(services, service);
    return STATUS_OK;
}

static enum status marks_load(struct services *services, struct slice record)
{
    uint64_t numbers[MARKS];
    if (!unused(services) || !record_take_numbers(&record, INT64_MAX, numbers, MARKS) || record.size != 0 ||
        numbers[0] == 0 || numbers[1] > numbers[0]) {
        return STATUS_CORRUPT;
    }
    services->last_revision = numbers[0];
    services->floor = numbers[1];
    return STATUS_OK;
}

static enum status load(struct snapshot_walk *walk, uint8_t record_kind, struct slice rest)
{
    return record_kind == RECORD ? service_load(services_of(walk), rest) : marks_load(services_of(walk), rest);
}

const struct snapshot_walk_kind services_snapshot = {
    .records = {RECORD, RECORD_MARKS},
    .version = RECORD_VERSION,
    .epoch_offset = offsetof(struct service, epoch),
    .put_marks = put_marks,
    .put_item = put_service,
    .load = load,
};

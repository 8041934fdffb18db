/* The order of what waits: requests of one requester by their tags, however they came to wait.
 *
 * What came back stands behind what came meanwhile, so it is sorted. And it may have been overtaken: of two parcels on
 * their way the leader refused the first, or its reads, and executed the second, and both answers were lost. Then the
 * first is not sent again: its effects would come behind those of later requests, and its reads would see these. */
#include "cluster/cluster_internal.h"

#include "base/memory.h"

#include <stdlib.h>

/* A request that was executed, though its answer is lost. */
struct executed {
    uint64_t requester, tag;
};

void lane_note_executed(struct lane *lane, const struct parcel_request *request)
{
    struct executed executed = {request->requester->id, request->tag};
    if (executed.requester != 0) {
        buffer_append(&lane->executed, &executed, sizeof(executed));
        lane->disordered = true;
    }
}

static int compare_executed(const void *a, const void *b)
{
    const struct executed *x = a;
    const struct executed *y = b;
    if (x->requester != y->requester) {
        return x->requester < y->requester ? -1 : 1;
    }
    return (x->tag > y->tag) - (x->tag < y->tag);
}

/* Where a waiting request is. */
struct place {
    struct parcel *parcel;
    uint32_t number;
    bool overtaken;
    size_t order; /* as they stand */
};

static const struct parcel_request *request_at(const struct place *place)
{
    return &place->parcel->requests[place->number];
}

/* Requests of one requester in the order of their tags; what others asked for at the same time may stand anywhere. */
static int compare_places(const void *a, const void *b)
{
    const struct place *x = a;
    const struct place *y = b;
    struct executed one = {request_at(x)->requester->id, request_at(x)->tag};
    struct executed other = {request_at(y)->requester->id, request_at(y)->tag};
    int order = compare_executed(&one, &other);
    return order != 0 ? order : (x->order > y->order) - (x->order < y->order);
}

static size_t list_places(const struct list *parcels, struct place *ret_places)
{
    size_t count = 0;
    LIST_FOR_EACH (node, parcels) {
        struct parcel *parcel = CONTAINER_OF(node, struct parcel, node);
        for (uint32_t number = 0; number < parcel->count; number++) {
            if (!parcel->requests[number].settled) {
                ret_places[count] = (struct place){parcel, number, false, count};
                count++;
            }
        }
    }
    return count;
}

/* Both are in order. */
static void mark_overtaken(struct lane *lane, struct place *places, size_t count)
{
    size_t noted = lane->executed.size / sizeof(struct executed);
    if (noted == 0) {
        return;
    }
    struct executed *executed = (struct executed *)(void *)lane->executed.data;
    qsort(executed, noted, sizeof(*executed), compare_executed);
    size_t next = 0;
    for (size_t i = 0; i < count; i++) {
        struct executed here = {request_at(&places[i])->requester->id, request_at(&places[i])->tag};
        while (next < noted && compare_executed(&executed[next], &here) < 0) {
            next++;
        }
        places[i].overtaken = next < noted && executed[next].requester == here.requester;
    }
    buffer_deinit(&lane->executed);
}

/* The requesters may submit again from here: what they submit comes behind. */
static void fail_overtaken(const struct place *places, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (places[i].overtaken) {
            bool logged = parcel_logged(places[i].parcel, places[i].number);
            parcel_fail(places[i].parcel, places[i].number, logged ? STATUS_NOT_LEADER : STATUS_EXECUTED);
        }
    }
}

void lane_close_gaps(struct lane *lane, struct parcel *parcel)
{
    if (parcel->settled == 0) {
        return;
    }
    if (parcel->settled != parcel->count) {
        struct parcel *rest = parcel_create();
        list_append(&parcel->node, &rest->node); /* before it */
        for (uint32_t place = 0; place < parcel->count; place++) {
            if (!parcel->requests[place].settled) {
                parcel_move(parcel, place, rest);
            }
        }
        lane_weigh(lane, rest);
    }
    lane_forget_parcel(lane, parcel);
}

void lane_put_in_order(struct lane *lane)
{
    struct list before;
    list_init(&before);
    size_t count = 0;
    while (!list_empty(&lane->waiting)) {
        struct parcel *parcel = CONTAINER_OF(lane->waiting.next, struct parcel, node);
        list_remove(&parcel->node);
        list_append(&before, &parcel->node);
        count += parcel->count;
    }
    struct place *places = memory_allocate((count + 1) * sizeof(*places));
    count = list_places(&before, places);
    qsort(places, count, sizeof(*places), compare_places);
    mark_overtaken(lane, places, count);
    lane->disordered = false;
    for (size_t i = 0; i < count; i++) {
        if (!places[i].overtaken) {
            lane_move(lane, places[i].parcel, places[i].number);
        }
    }
    fail_overtaken(places, count);
    free(places);
    while (!list_empty(&before)) {
        lane_forget_parcel(lane, CONTAINER_OF(before.next, struct parcel, node));
    }
}

#include "cluster/parcel.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/record.h"

#include <stdlib.h>

enum { PARCEL_LOGGED = 1 };

struct parcel *parcel_create(void)
{
    struct parcel *parcel = memory_allocate_zeroed(1, sizeof(*parcel));
    list_init(&parcel->node);
    return parcel;
}

void parcel_destroy(struct parcel *parcel)
{
    list_remove(&parcel->node);
    buffer_deinit(&parcel->bytes);
    buffer_deinit(&parcel->answers);
    free(parcel->requests);
    free(parcel);
}

bool parcel_takes(const struct parcel *parcel, size_t command_bytes)
{
    return parcel->count == 0 ||
           (parcel->count < FORWARD_REQUESTS && parcel->bytes.size + command_bytes <= PARCEL_BYTES);
}

static struct parcel_request *next_request(struct parcel *parcel)
{
    if (parcel->count == parcel->capacity) {
        parcel->capacity = parcel->capacity == 0 ? 16 : parcel->capacity * 2;
        parcel->requests = memory_resize(parcel->requests, parcel->capacity * sizeof(*parcel->requests));
    }
    return &parcel->requests[parcel->count++];
}

void parcel_add(struct parcel *parcel, const struct command *command, bool logged, struct requester *requester,
                uint64_t tag, int64_t since_ns)
{
    *next_request(parcel) =
        (struct parcel_request){.requester = requester, .tag = tag, .since_ns = since_ns, .at = parcel->bytes.size};
    parcel->logged += logged ? 1 : 0;
    buffer_append_byte(&parcel->bytes, logged ? PARCEL_LOGGED : 0);
    record_put_number(&parcel->bytes, requester->id);
    command_encode(&parcel->bytes, command);
}

size_t parcel_request_bytes(const struct parcel *parcel, uint32_t place)
{
    size_t end = place + 1 < parcel->count ? parcel->requests[place + 1].at : parcel->bytes.size;
    return end - parcel->requests[place].at;
}

void parcel_move(struct parcel *from, uint32_t place, struct parcel *to)
{
    struct parcel_request request = from->requests[place];
    const uint8_t *bytes = from->bytes.data + request.at;
    request.at = to->bytes.size;
    request.returned = false;
    buffer_append(&to->bytes, bytes, parcel_request_bytes(from, place));
    to->logged += (bytes[0] & PARCEL_LOGGED) != 0 ? 1 : 0;
    *next_request(to) = request;
    parcel_settle(from, place);
}

bool parcel_logged(const struct parcel *parcel, uint32_t place)
{
    return (parcel->bytes.data[parcel->requests[place].at] & PARCEL_LOGGED) != 0;
}

bool parcel_command(const struct parcel *parcel, uint32_t place, struct command_arguments *arguments,
                    struct command *ret_command)
{
    size_t at = parcel->requests[place].at;
    struct slice from = slice_of(parcel->bytes.data + at + 1, parcel->bytes.size - at - 1);
    uint64_t who;
    ASSERT(varint_take(&from, &who) && command_decode(&from, arguments, ret_command) == STATUS_OK);
    return parcel_logged(parcel, place);
}

void parcel_settle(struct parcel *parcel, uint32_t place)
{
    ASSERT(!parcel->requests[place].settled);
    parcel->requests[place].settled = true;
    parcel->settled++;
}

void parcel_fail(struct parcel *parcel, uint32_t place, enum status status)
{
    struct parcel_request request = parcel->requests[place];
    parcel_settle(parcel, place);
    request.requester->events->failed(request.requester, request.tag, status);
}

size_t parcel_cost_bytes(const struct parcel *parcel)
{
    return parcel->bytes.size + parcel->count * sizeof(*parcel->requests);
}

/* PROXY headers: any bytes, cut anywhere, are told to be one, to be none, or perhaps to become one, and no later byte
 * takes back what was said; what one names is the same when it is written again, in either version. */
#include "base/memory.h"
#include "fuzz.h"
#include "proxy/proxy_header.h"

#include <string.h>

static enum status parse(struct slice input, size_t *ret_size, union proxy_peer *ret_source,
                         union proxy_peer *ret_destination)
{
    uint8_t *bytes = memory_allocate(input.size + (input.size == 0)); /* so that reading beyond is seen */
    memcpy(bytes, input.data, input.size);
    enum status status = proxy_header_parse(slice_of(bytes, input.size), ret_size, ret_source, ret_destination);
    free(bytes);
    return status;
}

static bool same(const union proxy_peer *a, const union proxy_peer *b)
{
    if (a->any.sa_family != b->any.sa_family) {
        return false;
    }
    if (a->any.sa_family == AF_INET) {
        return a->four.sin_port == b->four.sin_port && a->four.sin_addr.s_addr == b->four.sin_addr.s_addr;
    }
    return a->any.sa_family != AF_INET6 ||
           (a->six.sin6_port == b->six.sin6_port && memcmp(&a->six.sin6_addr, &b->six.sin6_addr, 16) == 0);
}

static void check_written(const union proxy_peer *source, const union proxy_peer *destination)
{
    ASSERT(source->any.sa_family == destination->any.sa_family);
    for (int version = 1; version <= 2; version++) {
        uint8_t bytes[PROXY_HEADER_WRITTEN_BYTES];
        size_t size = proxy_header_write(version, source, destination, bytes);
        size_t used = 0;
        union proxy_peer from;
        union proxy_peer to;
        ASSERT(size <= sizeof(bytes));
        ASSERT(parse(slice_of(bytes, size), &used, &from, &to) == STATUS_OK && used == size);
        ASSERT(same(&from, source) && same(&to, destination));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_of(data, size > 2 * PROXY_HEADER_MAXIMUM_BYTES ? 2 * PROXY_HEADER_MAXIMUM_BYTES : size);
    union proxy_peer source;
    union proxy_peer destination;
    union proxy_peer other_source;
    union proxy_peer other_destination;
    size_t used = 0;
    enum status decided = STATUS_AGAIN;
    for (size_t cut = 0; cut <= input.size; cut++) {
        size_t now_used = 0;
        enum status status = parse(slice_of(input.data, cut), &now_used, &other_source, &other_destination);
        ASSERT(status == STATUS_OK || status == STATUS_AGAIN || status == STATUS_INVALID || status == STATUS_TOO_LARGE);
        ASSERT(status != STATUS_AGAIN || cut < PROXY_HEADER_MAXIMUM_BYTES); /* nobody waits for more than is read */
        if (decided == STATUS_AGAIN) {
            decided = status;
            used = now_used;
            source = other_source;
            destination = other_destination;
            ASSERT(status != STATUS_OK || used == cut);
        } else {
            ASSERT(status == decided && now_used == used);
            ASSERT(status != STATUS_OK || (same(&source, &other_source) && same(&destination, &other_destination)));
        }
    }
    if (decided == STATUS_OK) {
        check_written(&source, &destination);
    }
    return 0;
}

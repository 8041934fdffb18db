#include "proxy/proxy_header.h"

#include "base/assert.h"
#include "base/number.h"

#include <arpa/inet.h>
#include <stdio.h>

static const uint8_t SIGNATURE[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

enum {
    V1_MAXIMUM_BYTES = 107,
    V2_HEAD_BYTES = 16,
    V2_LOCAL = 0x20,
    V2_PROXY = 0x21,
    V2_TCP4 = 0x11,
    V2_TCP6 = 0x21,
    V2_FOUR_BYTES = 12,
    V2_SIX_BYTES = 36,
};

/* ---- version 2 ---- */

static uint16_t get_port(const uint8_t *bytes) { return (uint16_t)(bytes[0] << 8 | bytes[1]); }

static void get_four(const uint8_t *address, const uint8_t *port, union proxy_peer *ret_peer)
{
    ret_peer->four = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(get_port(port))};
    memcpy(&ret_peer->four.sin_addr, address, 4);
}

static void get_six(const uint8_t *address, const uint8_t *port, union proxy_peer *ret_peer)
{
    ret_peer->six = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(get_port(port))};
    memcpy(&ret_peer->six.sin6_addr, address, 16);
}

static enum status parse_v2(struct slice bytes, size_t *ret_size, union proxy_peer *ret_source,
                            union proxy_peer *ret_destination)
{
    if (bytes.size < V2_HEAD_BYTES) {
        return STATUS_AGAIN;
    }
    const uint8_t *body = bytes.data + V2_HEAD_BYTES;
    uint8_t command = bytes.data[12];
    uint8_t family = bytes.data[13];
    size_t size = (size_t)(bytes.data[14] << 8 | bytes.data[15]);
    if (command != V2_LOCAL && command != V2_PROXY) {
        return STATUS_INVALID;
    }
    if (V2_HEAD_BYTES + size > PROXY_HEADER_MAXIMUM_BYTES) {
        return STATUS_TOO_LARGE;
    }
    if ((command == V2_PROXY && family == V2_TCP4 && size < V2_FOUR_BYTES) ||
        (command == V2_PROXY && family == V2_TCP6 && size < V2_SIX_BYTES)) {
        return STATUS_INVALID;
    }
    if (bytes.size < V2_HEAD_BYTES + size) {
        return STATUS_AGAIN;
    }
    ret_source->any.sa_family = ret_destination->any.sa_family = AF_UNSPEC;
    if (command == V2_PROXY && family == V2_TCP4) {
        get_four(body, body + 8, ret_source);
        get_four(body + 4, body + 10, ret_destination);
    } else if (command == V2_PROXY && family == V2_TCP6) {
        get_six(body, body + 32, ret_source);
        get_six(body + 16, body + 34, ret_destination);
    }
    *ret_size = V2_HEAD_BYTES + size;
    return STATUS_OK;
}

/* ---- version 1: "PROXY TCP4 source destination port port\r\n" ---- */

/* The next word, which one space ends, or the line. */
static struct slice take_word(struct slice *line)
{
    const uint8_t *space = line->size == 0 ? NULL : memchr(line->data, ' ', line->size);
    size_t size = space == NULL ? line->size : (size_t)(space - line->data);
    struct slice word = slice_of(line->data, size);
    size_t skip = size + (space != NULL);
    *line = slice_of(line->data + skip, line->size - skip);
    return word;
}

static bool parse_peer(int family, struct slice address, struct slice port, union proxy_peer *ret_peer)
{
    char text[INET6_ADDRSTRLEN];
    int64_t number = 0;
    if (address.size == 0 || address.size >= sizeof(text) || port.size == 0 || port.size > 5 ||
        !number_parse_int64(port, &number) || number < 0 || number > 65535) {
        return false;
    }
    memcpy(text, address.data, address.size);
    text[address.size] = '\0';
    if (family == AF_INET) {
        ret_peer->four = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)number)};
        return inet_pton(AF_INET, text, &ret_peer->four.sin_addr) == 1;
    }
    ret_peer->six = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)number)};
    return inet_pton(AF_INET6, text, &ret_peer->six.sin6_addr) == 1;
}

static enum status parse_line(struct slice line, union proxy_peer *ret_source, union proxy_peer *ret_destination)
{
    struct slice family = take_word(&line);
    if (slice_equal(family, SLICE_LITERAL("UNKNOWN"))) {
        ret_source->any.sa_family = ret_destination->any.sa_family = AF_UNSPEC;
        return STATUS_OK; /* whatever follows is to be ignored */
    }
    bool four = slice_equal(family, SLICE_LITERAL("TCP4"));
    if (!four && !slice_equal(family, SLICE_LITERAL("TCP6"))) {
        return STATUS_INVALID;
    }
    struct slice source = take_word(&line);
    struct slice destination = take_word(&line);
    struct slice source_port = take_word(&line);
    union proxy_peer from;
    union proxy_peer to;
    if (!parse_peer(four ? AF_INET : AF_INET6, source, source_port, &from) ||
        !parse_peer(four ? AF_INET : AF_INET6, destination, line, &to)) {
        return STATUS_INVALID;
    }
    *ret_source = from;
    *ret_destination = to;
    return STATUS_OK;
}

static enum status parse_v1(struct slice bytes, size_t *ret_size, union proxy_peer *ret_source,
                            union proxy_peer *ret_destination)
{
    struct slice start = SLICE_LITERAL("PROXY ");
    const uint8_t *end = memchr(bytes.data, '\n', bytes.size < V1_MAXIMUM_BYTES ? bytes.size : V1_MAXIMUM_BYTES);
    if (end == NULL) {
        return bytes.size >= V1_MAXIMUM_BYTES ? STATUS_INVALID : STATUS_AGAIN;
    }
    size_t size = (size_t)(end - bytes.data) + 1;
    if (size < start.size + 2 || bytes.data[size - 2] != '\r') {
        return STATUS_INVALID;
    }
    struct slice line = slice_of(bytes.data + start.size, size - 2 - start.size);
    enum status status = parse_line(line, ret_source, ret_destination);
    if (status == STATUS_OK) {
        *ret_size = size;
    }
    return status;
}

/* Whether the bytes so far and these agree. */
static bool may_start_with(struct slice bytes, struct slice start)
{
    size_t common = bytes.size < start.size ? bytes.size : start.size;
    return slice_equal(slice_of(bytes.data, common), slice_of(start.data, common));
}

enum status proxy_header_parse(struct slice bytes, size_t *ret_size, union proxy_peer *ret_source,
                               union proxy_peer *ret_destination)
{
    struct slice words = SLICE_LITERAL("PROXY ");
    struct slice signature = slice_of(SIGNATURE, sizeof(SIGNATURE));
    if (bytes.size == 0) {
        return STATUS_AGAIN;
    }
    if (may_start_with(bytes, signature)) {
        return bytes.size < signature.size ? STATUS_AGAIN : parse_v2(bytes, ret_size, ret_source, ret_destination);
    }
    if (may_start_with(bytes, words)) {
        return bytes.size < words.size ? STATUS_AGAIN : parse_v1(bytes, ret_size, ret_source, ret_destination);
    }
    return STATUS_INVALID;
}

void proxy_peer_unmap(union proxy_peer *peer)
{
    if (peer->any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&peer->six.sin6_addr)) {
        return;
    }
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = peer->six.sin6_port};
    memcpy(&four.sin_addr, &peer->six.sin6_addr.s6_addr[12], 4);
    peer->four = four;
}

/* ---- writing ---- */

static size_t write_v1(const union proxy_peer *source, const union proxy_peer *destination, uint8_t *ret_bytes)
{
    char from[INET6_ADDRSTRLEN];
    char to[INET6_ADDRSTRLEN];
    int family = source->any.sa_family;
    if (family != destination->any.sa_family || (family != AF_INET && family != AF_INET6)) {
        memcpy(ret_bytes, "PROXY UNKNOWN\r\n", 15);
        return 15;
    }
    bool four = family == AF_INET;
    const void *source_address = four ? (const void *)&source->four.sin_addr : &source->six.sin6_addr;
    const void *destination_address = four ? (const void *)&destination->four.sin_addr : &destination->six.sin6_addr;
    bool fits = inet_ntop(family, source_address, from, sizeof(from)) != NULL &&
                inet_ntop(family, destination_address, to, sizeof(to)) != NULL;
    ASSERT(fits);
    int size = snprintf((char *)ret_bytes, PROXY_HEADER_WRITTEN_BYTES, "PROXY TCP%d %s %s %u %u\r\n", four ? 4 : 6,
                        from, to, ntohs(four ? source->four.sin_port : source->six.sin6_port),
                        ntohs(four ? destination->four.sin_port : destination->six.sin6_port));
    return (size_t)size;
}

static size_t write_v2(const union proxy_peer *source, const union proxy_peer *destination, uint8_t *ret_bytes)
{
    int family = source->any.sa_family;
    bool known = family == destination->any.sa_family && (family == AF_INET || family == AF_INET6);
    uint8_t *body = ret_bytes + V2_HEAD_BYTES;
    uint8_t size = !known ? 0 : family == AF_INET ? V2_FOUR_BYTES : V2_SIX_BYTES;
    memcpy(ret_bytes, SIGNATURE, sizeof(SIGNATURE));
    ret_bytes[12] = known ? V2_PROXY : V2_LOCAL;
    ret_bytes[13] = !known ? 0 : family == AF_INET ? V2_TCP4 : V2_TCP6;
    ret_bytes[14] = 0;
    ret_bytes[15] = size;
    if (known && family == AF_INET) {
        memcpy(body, &source->four.sin_addr, 4);
        memcpy(body + 4, &destination->four.sin_addr, 4);
        memcpy(body + 8, &source->four.sin_port, 2);
        memcpy(body + 10, &destination->four.sin_port, 2);
    } else if (known) {
        memcpy(body, &source->six.sin6_addr, 16);
        memcpy(body + 16, &destination->six.sin6_addr, 16);
        memcpy(body + 32, &source->six.sin6_port, 2);
        memcpy(body + 34, &destination->six.sin6_port, 2);
    }
    return V2_HEAD_BYTES + (size_t)size;
}

size_t proxy_header_write(int version, const union proxy_peer *source, const union proxy_peer *destination,
                          uint8_t ret_bytes[static PROXY_HEADER_WRITTEN_BYTES])
{
    ASSERT(version == 1 || version == 2);
    return version == 1 ? write_v1(source, destination, ret_bytes) : write_v2(source, destination, ret_bytes);
}

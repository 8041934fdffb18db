/* The PROXY protocol (haproxy.org, proxy-protocol.txt, 2020), versions 1 and 2: a header before the first byte that
 * says who the client is. Pure: bytes in, addresses out. */
#pragma once

#include "base/slice.h"
#include "base/status.h"

#include <netinet/in.h>

enum {
    PROXY_HEADER_MAXIMUM_BYTES = 536, /* that are accepted: more is refused */
    PROXY_HEADER_WRITTEN_BYTES = 108,
};

union proxy_peer {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

/* STATUS_OK: *ret_size is the header's size, and the addresses are set, or AF_UNSPEC when it names none (UNKNOWN,
 * LOCAL, other families). STATUS_AGAIN: so far it may become one. STATUS_INVALID: it is none. STATUS_TOO_LARGE. */
MUST_USE enum status proxy_header_parse(struct slice bytes, size_t *ret_size, union proxy_peer *ret_source,
                                        union proxy_peer *ret_destination);

/* An IPv4 address within IPv6, as a listener on [::] sees it, becomes the IPv4 address that it is. */
void proxy_peer_unmap(union proxy_peer *peer);

/* Version 1 or 2; returns the size. Addresses of different or other families are told as UNKNOWN (1) or LOCAL (2). */
size_t proxy_header_write(int version, const union proxy_peer *source, const union proxy_peer *destination,
                          uint8_t ret_bytes[static PROXY_HEADER_WRITTEN_BYTES]);

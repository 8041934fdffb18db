#include "env_uv/internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>

enum { KEEPALIVE_PROBES = 3 };

static const struct sockaddr_in *as_v4(const union socket_address *address)
{
    return (const struct sockaddr_in *)(const void *)address;
}

static const struct sockaddr_in6 *as_v6(const union socket_address *address)
{
    return (const struct sockaddr_in6 *)(const void *)address;
}

int socket_address_port(const union socket_address *address)
{
    switch (address->any.sa_family) {
    case AF_INET: return ntohs(as_v4(address)->sin_port);
    case AF_INET6: return ntohs(as_v6(address)->sin6_port);
    default: return 0;
    }
}

void socket_address_format(const union socket_address *address, char *ret_text, size_t capacity)
{
    char host[INET6_ADDRSTRLEN] = "?";
    int port = socket_address_port(address);
    if (address->any.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &as_v6(address)->sin6_addr, host, sizeof(host));
        (void)snprintf(ret_text, capacity, "[%s]:%d", host, port);
        return;
    }
    if (address->any.sa_family == AF_UNIX) { /* of a pair, which have no names */
        (void)snprintf(ret_text, capacity, "/socketpair:0");
        return;
    }
    if (address->any.sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &as_v4(address)->sin_addr, host, sizeof(host));
    }
    (void)snprintf(ret_text, capacity, "%s:%d", host, port);
}

enum status socket_address_parse(const char *host, int port, union socket_address *ret_address, socklen_t *ret_size)
{
    union socket_address address = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&address;
    if (port <= 0 || port > UINT16_MAX) {
        return STATUS_INVALID;
    }
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        *ret_size = sizeof(*v4);
    } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        *ret_size = sizeof(*v6);
    } else {
        return STATUS_INVALID;
    }
    *ret_address = address;
    return STATUS_OK;
}

/* These make a connection better but it works without them, so failures are ignored. */
void socket_set_options(int fd, int keepalive_s)
{
    int on = 1, probes = KEEPALIVE_PROBES;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (keepalive_s > 0) {
        int between_s = keepalive_s / KEEPALIVE_PROBES > 0 ? keepalive_s / KEEPALIVE_PROBES : 1;
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &keepalive_s, sizeof(keepalive_s));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between_s, sizeof(between_s));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    }
}

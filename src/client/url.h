/* Where a cohort is: cohort://host:port[,host:port…][?timeout=5s], or plain host:port[,host:port…].
 *
 * A host is a name, an IPv4 address or an IPv6 address in brackets; the port is 6379 when left out. */
#pragma once

#include "base/status.h"

#include <stdint.h>

#define CLIENT_URL_DEFAULT "cohort://127.0.0.1:6379"

enum {
    CLIENT_ENDPOINTS_MAXIMUM = 64,
    CLIENT_HOST_BYTES = 256, /* with the NUL */
    CLIENT_ENDPOINT_TEXT_BYTES = CLIENT_HOST_BYTES + 8,
    CLIENT_PORT_DEFAULT = 6379,
    CLIENT_TIMEOUT_DEFAULT_MS = 5000,
};

struct client_endpoint {
    char host[CLIENT_HOST_BYTES]; /* without brackets */
    int port;
};

struct client_url {
    struct client_endpoint endpoints[CLIENT_ENDPOINTS_MAXIMUM]; /* at least one */
    uint32_t endpoint_count;
    int64_t timeout_ms; /* for one operation, connecting included; > 0 */
};

/* STATUS_INVALID with a problem for a person in *ret_problem (static storage). */
MUST_USE enum status client_url_parse(const char *text, struct client_url *ret_url, const char **ret_problem);

/* "host:port", an IPv6 address in brackets. */
void client_endpoint_format(const struct client_endpoint *endpoint, char ret_text[static CLIENT_ENDPOINT_TEXT_BYTES]);

/* "HOST:PORT", "[::1]:PORT". */
#pragma once

#include "base/slice.h"

enum { HOST_BYTES = 256 };

struct host_port {
    char host[HOST_BYTES];
    int port; /* 0 to 65535 */
};

bool host_port_parse(struct slice text, struct host_port *ret_at);

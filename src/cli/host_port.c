#include "cli/host_port.h"

#include "base/number.h"

bool host_port_parse(const char *text, struct host_port *ret_at)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text) {
        return false;
    }
    struct slice host = slice_of(text, (size_t)(colon - text));
    int64_t port = 0;
    if (!number_parse_int64(slice_from_string(colon + 1), &port) || port < 0 || port > 65535) {
        return false;
    }
    if (host.data[0] == '[' && host.data[host.size - 1] == ']' && host.size > 2) {
        host = slice_of(host.data + 1, host.size - 2);
    } else if (memchr(host.data, ':', host.size) != NULL) {
        return false; /* IPv6 needs brackets */
    }
    if (host.size >= HOST_BYTES) {
        return false;
    }
    memcpy(ret_at->host, host.data, host.size);
    ret_at->host[host.size] = '\0';
    ret_at->port = (int)port;
    return true;
}

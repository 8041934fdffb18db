#include "cli/host_port.h"

#include "base/number.h"

/* Where the last colon stands, or NULL. */
static const uint8_t *last_colon(struct slice text)
{
    return text.size == 0 ? NULL : memrchr(text.data, ':', text.size);
}

bool host_port_parse(struct slice text, struct host_port *ret_at)
{
    const uint8_t *colon = last_colon(text);
    if (colon == NULL || colon == text.data || memchr(text.data, '\0', text.size) != NULL) {
        return false;
    }
    struct slice host = slice_of(text.data, (size_t)(colon - text.data));
    struct slice digits = slice_of(colon + 1, text.size - host.size - 1);
    int64_t port = 0;
    if (!number_parse_int64(digits, &port) || port < 0 || port > 65535) {
        return false;
    }
    if (host.data[0] == '[' && host.data[host.size - 1] == ']' && host.size > 2) {
        host = slice_of(host.data + 1, host.size - 2);
    } else if (last_colon(host) != NULL) {
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

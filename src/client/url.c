#include "client/url.h"

#include "base/number.h"
#include "base/units.h"

#include <stdio.h>

static struct slice before(struct slice text, size_t at) { return slice_of(text.data, at); }
static struct slice behind(struct slice text, size_t at) { return slice_of(text.data + at, text.size - at); }

/* Position of the byte, or the size when it is not there. */
static size_t find(struct slice text, char byte)
{
    const uint8_t *at = text.size == 0 ? NULL : memchr(text.data, byte, text.size);
    return at == NULL ? text.size : (size_t)(at - text.data);
}

static bool starts_with(struct slice text, const char *prefix)
{
    return text.size >= strlen(prefix) && memcmp(text.data, prefix, strlen(prefix)) == 0;
}

/* Splits "[v6]:port" or "host:port"; the port part is empty when there is none. */
static const char *split_endpoint(struct slice text, struct slice *ret_host, struct slice *ret_port)
{
    size_t end;
    if (text.size > 0 && text.data[0] == '[') {
        end = find(text, ']');
        if (end == text.size) {
            return "an IPv6 address lacks its closing bracket";
        }
        *ret_host = slice_of(text.data + 1, end - 1);
        end++;
    } else {
        end = find(text, ':');
        *ret_host = before(text, end);
        if (end < text.size && find(behind(text, end + 1), ':') != text.size - end - 1) {
            return "an IPv6 address needs brackets: [::1]:6379";
        }
    }
    if (end < text.size && text.data[end] != ':') {
        return "expected ':' and a port after the host";
    }
    if (end + 1 == text.size) {
        return "a port is missing after ':'";
    }
    *ret_port = end == text.size ? behind(text, end) : behind(text, end + 1);
    return NULL;
}

static const char *parse_endpoint(struct slice text, struct client_endpoint *ret_endpoint)
{
    struct slice host;
    struct slice port;
    const char *problem = split_endpoint(text, &host, &port);
    if (problem != NULL) {
        return problem;
    }
    if (host.size == 0) {
        return "a host is missing";
    }
    if (host.size >= CLIENT_HOST_BYTES) {
        return "a host name is too long";
    }
    for (size_t i = 0; i < host.size; i++) {
        if (host.data[i] <= ' ' || host.data[i] == '/' || host.data[i] == '@' || host.data[i] >= 0x7f) {
            return "a host name holds a character that it may not";
        }
    }
    int64_t number = CLIENT_PORT_DEFAULT;
    if (port.size > 0 && (!number_parse_int64(port, &number) || number < 1 || number > 65535)) {
        return "a port must be a number from 1 to 65535";
    }
    memcpy(ret_endpoint->host, host.data, host.size);
    ret_endpoint->host[host.size] = '\0';
    ret_endpoint->port = (int)number;
    return NULL;
}

static const char *parse_endpoints(struct slice text, struct client_url *url)
{
    for (;;) {
        if (url->endpoint_count == CLIENT_ENDPOINTS_MAXIMUM) {
            return "too many hosts";
        }
        size_t end = find(text, ',');
        const char *problem = parse_endpoint(before(text, end), &url->endpoints[url->endpoint_count]);
        if (problem != NULL) {
            return problem;
        }
        url->endpoint_count++;
        if (end == text.size) {
            return NULL;
        }
        text = behind(text, end + 1);
    }
}

static const char *parse_options(struct slice text, struct client_url *url)
{
    while (text.size > 0) {
        size_t end = find(text, '&');
        struct slice option = before(text, end);
        if (!starts_with(option, "timeout=")) {
            return "unknown option; there is: timeout=DURATION";
        }
        if (!units_parse_duration(behind(option, strlen("timeout=")), &url->timeout_ms) || url->timeout_ms == 0) {
            return "timeout must be a duration like 250ms, 10s or 5m";
        }
        text = end == text.size ? behind(text, end) : behind(text, end + 1);
    }
    return NULL;
}

enum status client_url_parse(const char *text, struct client_url *ret_url, const char **ret_problem)
{
    struct slice rest = slice_from_string(text);
    struct client_url url = {.timeout_ms = CLIENT_TIMEOUT_DEFAULT_MS};
    const char *problem = NULL;
    if (starts_with(rest, "cohort://")) {
        rest = behind(rest, strlen("cohort://"));
    } else if (strstr(text, "://") != NULL) {
        problem = "the scheme must be cohort://";
    }
    size_t end = find(rest, '?');
    struct slice endpoints = before(rest, end);
    if (endpoints.size > 0 && endpoints.data[endpoints.size - 1] == '/') {
        endpoints.size--; /* cohort://host:port/ */
    }
    if (problem == NULL) {
        problem = parse_endpoints(endpoints, &url);
    }
    if (problem == NULL && end < rest.size) {
        problem = parse_options(behind(rest, end + 1), &url);
    }
    if (problem != NULL) {
        *ret_problem = problem;
        return STATUS_INVALID;
    }
    *ret_url = url;
    return STATUS_OK;
}

void client_endpoint_format(const struct client_endpoint *endpoint, char ret_text[static CLIENT_ENDPOINT_TEXT_BYTES])
{
    bool is_ipv6 = strchr(endpoint->host, ':') != NULL;
    (void)snprintf(ret_text, CLIENT_ENDPOINT_TEXT_BYTES, "%s%s%s:%d", is_ipv6 ? "[" : "", endpoint->host,
                   is_ipv6 ? "]" : "", endpoint->port);
}
